"""Reading the lists in the right path family, and narrowing what is known to a source."""

from collections.abc import Mapping
from typing import Any

import pytest

from flowport.catalog.fetch import MAX_PAGES, FetchedLists, fetch_lists
from flowport.catalog.listing import Catalogue
from flowport.catalog.snapshots import narrow_catalogue
from flowport.domain.errors import Breakage, Operation, ProviderError, ProviderRefused, ProviderUnreachable
from flowport.domain.models import Source
from flowport.providers.interface import ApiRequest
from flowport.providers.magica.api import Magica
from flowport.providers.magnific.api import Magnific
from tests.catalog.samples import DOWN, LIST_OWN, LIST_PUBLISHED, build_flow, build_listing
from tests.support.fake_clock import FakeClock
from tests.support.scripted import Reply, ScriptedAccount, build_answer, build_breakage

OLD_OWN, OLD_PUBLISHED = "/v1/ai/me/apps", "/v1/ai/apps"
UNKNOWN = build_answer({"message": "Not found"}, 404)
BARE = build_answer(b"", 404)
REFUSED = build_answer({"message": "Invalid API key"}, 401)
CUT_OFF = build_breakage(Breakage.BROKEN_OFF, Operation.LIST_APPS)
MINE, THEIRS = build_answer({"data": [build_flow("a")]}), build_answer({"data": [build_flow("b")]})


def build_account(replies: Mapping[str, Reply], **options: Any) -> ScriptedAccount:
    """Return an account where each list has its answer; a list without one must not be asked for."""

    def answer(request: ApiRequest) -> Reply:
        """Look the path up."""
        return replies[request.path]

    return ScriptedAccount(answer, FakeClock(), **options)


def get_paths(account: ScriptedAccount) -> list[str]:
    """Return what was asked for; the two lists of a family go out side by side."""
    return [request.path for request in account.asked]


def get_ids(found: FetchedLists) -> list[str]:
    """Return the ids of the apps that were found."""
    return [app.id for one in found.lists for app in one.apps]


@pytest.mark.parametrize("unknown", [UNKNOWN, BARE], ids=["json", "empty"])
async def test_the_older_family_is_tried_when_the_newer_one_does_not_exist(unknown: Reply) -> None:
    """It is not published whether the older paths still answer, nor since when the newer ones do."""
    account = build_account({LIST_OWN: unknown, LIST_PUBLISHED: unknown, OLD_OWN: MINE, OLD_PUBLISHED: THEIRS})
    found = await fetch_lists(account, Source.ALL)

    assert (get_ids(found), found.failures) == (["a", "b"], [])
    assert account.provider.style == "apps"
    assert await fetch_lists(account, Source.ALL) == found
    assert get_paths(account) == [LIST_OWN, LIST_PUBLISHED, *[OLD_OWN, OLD_PUBLISHED] * 2]


async def test_the_newer_family_is_found_again_when_the_older_one_ends() -> None:
    """What was remembered must not lock an account out permanently."""
    account = build_account({LIST_OWN: MINE, LIST_PUBLISHED: THEIRS, OLD_OWN: UNKNOWN, OLD_PUBLISHED: UNKNOWN})
    account.use_path_family("apps")
    assert get_ids(await fetch_lists(account, Source.ALL)) == ["a", "b"]
    assert account.provider.style == "flows"


@pytest.mark.parametrize("reply", [REFUSED, DOWN, CUT_OFF, build_answer(b"<html>"), build_answer(status=410)])
async def test_no_other_failure_leads_to_the_older_family(reply: Reply) -> None:
    """A wrong key or a provider that is down says nothing about the paths."""
    account = build_account({LIST_OWN: reply, LIST_PUBLISHED: reply})
    with pytest.raises(ProviderError):
        await fetch_lists(account, Source.ALL)
    assert (get_paths(account), account.provider.style) == ([LIST_OWN, LIST_PUBLISHED], "flows")


@pytest.mark.parametrize("other", [THEIRS, DOWN])
async def test_one_unknown_list_of_two_leads_nowhere_else(other: Reply) -> None:
    """The family may well exist: its other list answered, or was down."""
    account = build_account({LIST_OWN: UNKNOWN, LIST_PUBLISHED: other})
    if other is DOWN:
        with pytest.raises(ProviderError):
            await fetch_lists(account, Source.ALL)
    else:
        found = await fetch_lists(account, Source.ALL)
        assert (get_ids(found), len(found.failures)) == (["b"], 1)
    assert get_paths(account) == [LIST_OWN, LIST_PUBLISHED]


async def test_without_any_family_the_first_one_stands() -> None:
    """A base URL that leads nowhere must not be remembered as the older family."""
    account = build_account(dict.fromkeys((LIST_OWN, LIST_PUBLISHED, OLD_OWN, OLD_PUBLISHED), UNKNOWN))
    with pytest.raises(ProviderError) as caught:
        await fetch_lists(account, Source.ALL)
    assert (getattr(caught.value, "status", 0), account.provider.style) == (404, "flows")


@pytest.mark.parametrize(("reply", "error"), [(REFUSED, ProviderRefused), (CUT_OFF, ProviderUnreachable)])
async def test_the_older_familys_own_trouble_is_reported_and_proves_nothing(
    reply: Reply, error: type[ProviderError]
) -> None:
    """That the key is refused helps a person more than that a path is unknown."""
    account = build_account({LIST_OWN: UNKNOWN, LIST_PUBLISHED: UNKNOWN, OLD_OWN: reply, OLD_PUBLISHED: reply})
    with pytest.raises(error):
        await fetch_lists(account, Source.ALL)
    assert account.provider.style == "flows"


@pytest.mark.parametrize("style", ["flows", "apps"])
async def test_a_family_that_was_named_is_the_only_one(style: str) -> None:
    """A user who sets it wants no other requests."""
    paths = {"flows": [LIST_OWN, LIST_PUBLISHED], "apps": [OLD_OWN, OLD_PUBLISHED]}[style]
    account = build_account(dict.fromkeys(paths, UNKNOWN), provider=Magnific(styles=(style,)))
    with pytest.raises(ProviderError):
        await fetch_lists(account, Source.ALL)
    assert get_paths(account) == paths


@pytest.mark.parametrize(
    ("source", "paths", "ids"),
    [
        (Source.ALL, [LIST_OWN, LIST_PUBLISHED], ["a", "b"]),
        (Source.OWN, [LIST_OWN], ["a"]),
        (Source.PUBLISHED, [LIST_PUBLISHED], ["b"]),
    ],
)
async def test_only_the_lists_of_the_source_are_read(source: Source, paths: list[str], ids: list[str]) -> None:
    """A list that is not shown is not worth a request."""
    account = build_account({LIST_OWN: MINE, LIST_PUBLISHED: THEIRS})
    assert get_ids(await fetch_lists(account, source)) == ids
    assert get_paths(account) == paths


async def test_with_one_list_its_own_404_is_enough() -> None:
    """With one source there is no other list to ask."""
    account = build_account({LIST_OWN: UNKNOWN, OLD_OWN: MINE})
    assert get_ids(await fetch_lists(account, Source.OWN)) == ["a"]
    assert account.provider.style == "apps"


@pytest.mark.parametrize(("source", "ids"), [(Source.ALL, ["a", "b"]), (Source.OWN, ["a"]), (Source.PUBLISHED, ["b"])])
def test_what_is_known_is_narrowed_to_the_source(source: Source, ids: list[str]) -> None:
    """The first list after a change of the setting comes from the file of the time before."""
    known = Catalogue((build_listing("a", is_own=True), build_listing("b")))
    assert [item.app.id for item in narrow_catalogue(known, source).listings] == ids


def test_a_catalogue_of_the_same_source_stays_as_it_is() -> None:
    """Then everything in it was asked for."""
    known = Catalogue((build_listing("b"),), source=Source.OWN)
    assert narrow_catalogue(known, Source.OWN) is known


def build_page(*ids: str, page: int, is_last: bool = False) -> Reply:
    """Return a page of Magica's list."""
    body = {"items": [{"id": one} for one in ids], "page": page, "pageSize": 2, "hasMore": not is_last}
    return build_answer(body)


async def test_a_list_is_read_page_by_page() -> None:
    """What stands on the second page is an app like any other."""
    pages = {"/v1/workflows": build_page("a", "b", page=1)}
    pages["/v1/workflows?page=2&pageSize=2"] = build_page("c", page=2, is_last=True)
    account = build_account(pages, provider=Magica())
    assert get_ids(await fetch_lists(account, Source.OWN)) == ["a", "b", "c"]


async def test_a_server_that_gives_the_first_page_again_and_again_is_left() -> None:
    """It would cost every request of the minute."""
    account = build_account(
        {"/v1/workflows": build_page("a", page=1), "/v1/workflows?page=2&pageSize=2": build_page("a", page=1)},
        provider=Magica(),
    )
    found = await fetch_lists(account, Source.OWN)
    assert (get_ids(found), len(account.asked)) == (["a"], 2)


async def test_a_list_of_ever_new_pages_has_an_end() -> None:
    """A hostile one goes on for as long as it is asked."""
    n = 0

    def answer(_: ApiRequest) -> Reply:
        """Give another page."""
        nonlocal n
        n += 1
        return build_page(f"app{n}", page=n)

    account = ScriptedAccount(answer, FakeClock(), provider=Magica())
    assert len(get_ids(await fetch_lists(account, Source.OWN))) == MAX_PAGES


async def test_the_pages_before_a_failure_stand() -> None:
    """And the failure is reported, so that what was known of the rest stands too."""
    pages: dict[str, Reply] = {"/v1/workflows": build_page("a", page=1), "/v1/workflows?page=2&pageSize=2": CUT_OFF}
    found = await fetch_lists(build_account(pages, provider=Magica()), Source.OWN)
    assert (get_ids(found), found.failures) == (["a"], [CUT_OFF])
