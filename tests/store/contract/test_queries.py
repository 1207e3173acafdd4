"""Reads about runs."""

from dataclasses import replace

import pytest

from flowport.domain.errors import RunNotFound
from flowport.domain.models import Output, OutputKind, Run, RunState
from flowport.store.interface import Store
from flowport.store.records import AppHistory, RunSearch
from tests.store.samples import ACCOUNT, OUTPUT, OWNER, RUN, build_run

S = RunState
OTHER_ACCOUNT = "magica:api.example:f2"


async def accept(store: Store, *runs: Run) -> None:
    """Write runs, whatever their state."""
    for run in runs:
        await store.accept(run)


async def accept_mixture(store: Store) -> None:
    """Write runs of which b and d are over and unseen; names are in the order of acceptance."""
    await accept(
        store,
        build_run("a", S.SUCCEEDED, accepted_at=1.0, delivered_at=50.0),
        build_run("b", S.FAILED, accepted_at=2.0),
        build_run("c", S.RUNNING, accepted_at=3.0),
        build_run("d", S.UNKNOWN, accepted_at=4.0),
        build_run("e", S.CANCELLED, accepted_at=5.0, delivered_at=50.0),
        build_run("f", S.ACCEPTED, accepted_at=6.0, account_id=OTHER_ACCOUNT),
        build_run("g", S.SUCCEEDED, accepted_at=7.0, owner="other"),
    )


async def list_ids(
    store: Store,
    *,
    limit: int = 10,
    before: str | None = None,
    undelivered_first: bool = False,
    account_id: str | None = None,
) -> str:
    """Return the ids of a page of the owner's runs, joined."""
    runs = await store.get_runs(
        account_id=account_id, owner=OWNER, limit=limit, before=before, undelivered_first=undelivered_first
    )
    return "".join(run.id for run in runs)


@pytest.mark.parametrize("account_id", [ACCOUNT, None])
async def test_a_run_is_found_by_its_owner(store: Store, account_id: str | None) -> None:
    """With or without the account, since an id is given once."""
    await store.accept(RUN)
    assert await store.get_run(RUN.id, account_id=account_id, owner=OWNER) == RUN


@pytest.mark.parametrize(
    ("run_id", "account_id", "owner"),
    [("run_none", None, OWNER), (RUN.id, None, "other"), (RUN.id, OTHER_ACCOUNT, OWNER)],
)
async def test_no_other_owner_finds_it(store: Store, run_id: str, account_id: str | None, owner: str) -> None:
    """Another's run and no run give the same answer."""
    await store.accept(RUN)
    with pytest.raises(RunNotFound) as caught:
        await store.get_run(run_id, account_id=account_id, owner=owner)
    assert caught.value.run_id == run_id


async def test_runs_are_listed_newest_first(store: Store) -> None:
    """People ask about what they just did; others' runs are not theirs to see."""
    await accept_mixture(store)
    assert await list_ids(store) == "fedcba"
    assert await list_ids(store, account_id=ACCOUNT) == "edcba"


async def test_unseen_runs_that_are_over_come_first(store: Store) -> None:
    """An undelivered result must not slide off the first page."""
    await accept_mixture(store)
    assert await list_ids(store, undelivered_first=True) == "dbfeca"
    assert await list_ids(store, undelivered_first=True, account_id=ACCOUNT) == "dbeca"


@pytest.mark.parametrize("undelivered_first", [True, False])
@pytest.mark.parametrize("limit", [1, 2, 3, 4, 6])
async def test_pages_make_up_the_whole_list(store: Store, limit: int, undelivered_first: bool) -> None:
    """Nothing falls between two pages or comes twice, wherever the cut is."""
    await accept_mixture(store)
    pages, before = "", None
    while page := await list_ids(store, limit=limit, before=before, undelivered_first=undelivered_first):
        assert len(page) <= limit
        pages, before = pages + page, page[-1]
    assert pages == await list_ids(store, undelivered_first=undelivered_first)


async def test_runs_of_the_same_instant_are_all_paged(store: Store) -> None:
    """A batch is accepted within one tick of the clock."""
    await accept(store, *(build_run(name, accepted_at=1.0) for name in "abc"))
    assert [await list_ids(store, limit=2), await list_ids(store, limit=2, before="b")] == ["cb", "a"]


async def test_a_page_behind_a_run_of_another_owner_does_not_exist(store: Store) -> None:
    """Where it would begin must not show when another owner's run was made."""
    await accept_mixture(store)
    with pytest.raises(RunNotFound):
        await list_ids(store, before="g")


async def test_listed_runs_have_their_own_outputs(store: Store) -> None:
    """One query brings the outputs of a whole page."""
    first = replace(RUN, id="a", batch_id="")
    second = build_run("b", S.SUCCEEDED, outputs=(replace(OUTPUT, n=3),))
    await accept(store, first, second)
    runs = await store.get_runs(account_id=None, owner=OWNER, limit=2, undelivered_first=False)
    assert runs == (second, first)


async def test_a_state_and_what_is_unseen_are_asked_of_the_whole_list(store: Store) -> None:
    """A rare state lies behind any number of others."""
    await accept_mixture(store)
    found = [
        await store.get_runs(account_id=None, owner=OWNER, limit=10, undelivered_first=is_first, state=S.SUCCEEDED)
        for is_first in (False, True)
    ]

    assert [[run.id for run in runs] for runs in found] == [["a"], ["a"]]
    assert await store.count_undelivered(owner=OWNER) == 2


async def test_runs_under_way_are_the_owners_newest_without_rows(store: Store) -> None:
    """A refusal of "last" names them: each once, whatever its state, and a batch instead of its rows."""
    states = (S.ACCEPTED, S.QUEUED, S.RUNNING, S.SUCCEEDED)
    alone = [build_run(f"run_{n}", state, accepted_at=float(n), batch_id="") for n, state in enumerate(states)]
    row = build_run("row", S.RUNNING, accepted_at=8.0, batch_id="batch_1")
    foreign = build_run("foreign", S.RUNNING, accepted_at=9.0, batch_id="", owner="other")
    await accept(store, *alone, row, foreign)

    found = await store.get_runs_under_way(owner=OWNER, limit=2)

    assert [run.id for run in found] == ["run_2", "run_1"]
    assert [run.id for run in await store.get_runs_under_way(owner=OWNER, limit=9)] == ["run_2", "run_1", "run_0"]


async def test_live_runs_of_all_owners_come_oldest_first(store: Store) -> None:
    """The process that follows them serves every owner of the key, and the oldest links expire first."""
    await accept(
        store,
        *(build_run(state, state, accepted_at=100.0 - n) for n, state in enumerate(RunState)),
        build_run("theirs", S.RUNNING, owner="other", accepted_at=1.0),
        build_run("elsewhere", S.RUNNING, account_id=OTHER_ACCOUNT),
    )
    live = await store.get_live_runs(account_id=ACCOUNT)
    assert [run.id for run in live] == ["theirs", "running", "queued", "starting", "accepted"]


async def test_a_run_is_found_by_the_link_of_an_output(store: Store) -> None:
    """A client may read the provider's link; the newest run is the likeliest to be meant."""
    await accept(store, replace(RUN, id="old", accepted_at=1.0), replace(RUN, id="new", accepted_at=2.0))
    assert OUTPUT.url is not None
    assert (await store.get_run_by_output_url(OUTPUT.url, owner=OWNER)).id == "new"


async def test_a_link_that_was_replaced_still_finds_its_run(store: Store) -> None:
    """Clients keep links for days; a fresh one differs in its token alone."""
    await accept(
        store,
        RUN,
        replace(RUN, id="longer", outputs=(replace(OUTPUT, url="https://cdn.example/1.png/2?token=t"),)),
        replace(RUN, id="theirs", owner="other"),
    )
    found = await store.get_run_by_output_url("https://cdn.example/1.png?token=old#top", owner=OWNER)
    assert found.id == RUN.id


async def test_a_place_of_several_outputs_is_nobodys(store: Store) -> None:
    """Where only the query distinguishes files, another's file must not be served in place of the one that was meant."""
    other = replace(OUTPUT, url="https://cdn.example/1.png?token=v")
    await accept(store, RUN, replace(RUN, id="other", outputs=(other,)))
    with pytest.raises(RunNotFound):
        await store.get_run_by_output_url("https://cdn.example/1.png?token=u", owner=OWNER)


@pytest.mark.parametrize(("url", "owner"), [(OUTPUT.url, "other"), ("https://cdn.example/1.png/?token=u", OWNER)])
async def test_a_strange_link_is_nobodys(store: Store, url: str, owner: str) -> None:
    """We are no proxy, and a link's token does not belong into a sentence."""
    await store.accept(RUN)
    with pytest.raises(RunNotFound) as caught:
        await store.get_run_by_output_url(url, owner=owner)
    assert caught.value.run_id.startswith("https://cdn.example/1.png")
    assert "token" not in caught.value.run_id


async def test_unsaved_runs_are_those_whose_links_may_still_work(store: Store) -> None:
    """What a dead process did not fetch is fetched by the next, while it is available."""
    due = replace(OUTPUT, saved_path="", save_problem="", expires_at=500.0)
    failed = replace(due, save_problem="It was not saved: the network is gone.")
    changes = {"fresh": due, "failed": failed, "endless": replace(failed, expires_at=None), "saved": OUTPUT}
    changes |= {"dead": replace(failed, expires_at=50.0), "untried": replace(due, expires_at=50.0)}
    await accept(
        store,
        *(build_run(name, S.SUCCEEDED, outputs=(output,)) for name, output in changes.items()),
        build_run("text", S.SUCCEEDED, outputs=(Output(1, OutputKind.TEXT, None, text="hello"),)),
        build_run("old", S.SUCCEEDED, finished_at=5.0, outputs=(due,)),
        build_run("elsewhere", S.SUCCEEDED, account_id=OTHER_ACCOUNT, outputs=(due,)),
    )
    unsaved = await store.get_unsaved_runs(account_id=ACCOUNT, now=100.0, since=10.0)
    assert {run.id for run in unsaved} == {"fresh", "failed", "endless", "untried"}


async def test_stranded_runs_are_those_of_another_key_that_a_user_waits_for(store: Store) -> None:
    """A person who changes the key has not given up what the old one paid for."""
    old = {"account_id": "magnific:api.example:f0"}
    await accept(
        store,
        build_run("live", S.RUNNING, provider_run_id="r1", accepted_at=1.0, **old),
        build_run("unsent", S.ACCEPTED, accepted_at=2.0, **old),
        build_run("unseen", S.SUCCEEDED, provider_run_id="r2", accepted_at=3.0, **old),
        build_run("seen", S.SUCCEEDED, provider_run_id="r3", delivered_at=1.0, **old),
        build_run("never sent", S.FAILED, **old),
        build_run("tried", S.RUNNING, provider_run_id="r4", adoption_tried_by=ACCOUNT, **old),
        build_run("tried by another", S.RUNNING, provider_run_id="r5", adoption_tried_by=OTHER_ACCOUNT, **old),
        build_run("ours", S.RUNNING, provider_run_id="r6"),
        build_run("other host", S.RUNNING, provider_run_id="r7", account_id="magnific:api.example:8080:f0"),
        build_run("other provider", S.RUNNING, provider_run_id="r8", account_id=OTHER_ACCOUNT),
    )
    stranded = await store.get_stranded_runs(scope="magnific:api.example", account_id=ACCOUNT, limit=9)
    assert [run.id for run in stranded] == ["live", "unsent", "unseen", "tried by another"]
    first = await store.get_stranded_runs(scope="magnific:api.example", account_id=ACCOUNT, limit=1)
    assert [run.id for run in first] == ["live"]


async def test_durations_are_those_of_the_latest_successes(store: Store) -> None:
    """ "Usually about 60 s" comes from them; failures end early and say nothing."""
    await accept(
        store,
        build_run("a", S.SUCCEEDED, started_at=10.0, finished_at=20.0),
        build_run("b", S.SUCCEEDED, started_at=30.0, finished_at=50.0),
        build_run("c", S.SUCCEEDED, started_at=60.0, finished_at=90.0),
        build_run("failed", S.FAILED, started_at=99.0, finished_at=100.0),
        build_run("clock set back", S.SUCCEEDED, started_at=200.0, finished_at=100.0),
        build_run("never started", S.SUCCEEDED, finished_at=100.0),
        build_run("other app", S.SUCCEEDED, app_id="app2", started_at=99.0, finished_at=100.0),
    )
    assert await store.get_durations(account_id=ACCOUNT, app_id="app1") == (30.0, 20.0, 10.0)
    assert await store.get_durations(account_id=ACCOUNT, app_id="app1", limit=1) == (30.0,)


async def test_a_history_is_what_the_latest_runs_of_an_app_made_and_how_long_they_took(store: Store) -> None:
    """No provider states what an app makes before it ran; a run in part shows it, but ends early."""
    video, sound = replace(OUTPUT, kind=OutputKind.VIDEO), replace(OUTPUT, n=2, kind=OutputKind.AUDIO)
    await accept(
        store,
        build_run("a", S.SUCCEEDED, started_at=10.0, finished_at=20.0, outputs=(OUTPUT,)),
        build_run("b", S.SUCCEEDED, started_at=30.0, finished_at=50.0, outputs=(video, sound)),
        build_run("partial", S.PARTIAL, started_at=51.0, finished_at=52.0, app_id="app2", outputs=(OUTPUT,)),
        build_run("never started", S.SUCCEEDED, finished_at=53.0, app_id="app3"),
        build_run("failed", S.FAILED, started_at=99.0, finished_at=100.0, app_id="app4"),
        build_run("elsewhere", S.SUCCEEDED, started_at=9.0, finished_at=100.0, account_id=OTHER_ACCOUNT),
    )
    apps = ("app1", "app2", "app3", "app4", 'odd"\u00e9')
    image = frozenset({OutputKind.IMAGE})
    assert await store.get_histories(account_id=ACCOUNT, app_ids=apps) == {
        "app1": AppHistory((20.0, 10.0), image | {OutputKind.VIDEO, OutputKind.AUDIO}),
        "app2": AppHistory((), image),
        "app3": AppHistory(),
    }
    latest = await store.get_histories(account_id=ACCOUNT, app_ids=("app1",), limit=1)
    assert latest == {"app1": AppHistory((20.0,), frozenset({OutputKind.VIDEO, OutputKind.AUDIO}))}


async def test_used_apps_are_those_of_the_span(store: Store) -> None:
    """They come first in the list of tools."""
    await accept(
        store,
        build_run("a", app_id="app1", accepted_at=99.0),
        build_run("b", app_id="app2", accepted_at=100.0),
        build_run("c", app_id="app3", accepted_at=101.0, owner="other"),
        build_run("d", app_id="app4", accepted_at=101.0, account_id=OTHER_ACCOUNT),
    )
    assert await store.get_used_apps(account_id=ACCOUNT, since=100.0) == {"app2", "app3"}


async def test_a_text_without_a_link_is_an_output_as_well(store: Store) -> None:
    """Only links are indexed, and text has none."""
    text = Output(n=1, kind=OutputKind.TEXT, url=None, text="hello")
    await store.accept(build_run("a", S.SUCCEEDED, outputs=(text,)))
    assert (await store.get_run("a", account_id=None, owner=OWNER)).outputs == (text,)


async def test_what_a_provider_must_still_have_is_named(store: Store) -> None:
    """Runs that are live or not delivered, of every owner; of other accounts and without an id of theirs none."""
    await accept(
        store,
        build_run("a", S.SUCCEEDED, provider_run_id="pa"),
        build_run("b", S.SUCCEEDED, provider_run_id="pb", delivered_at=50.0),
        build_run("c", S.RUNNING, provider_run_id="pc"),
        build_run("d", S.FAILED, provider_run_id="pd", owner="other"),
        build_run("e", S.SUCCEEDED, provider_run_id="pe", account_id=OTHER_ACCOUNT),
        build_run("f", S.UNKNOWN),
    )
    assert await store.get_needed_provider_ids(account_id=ACCOUNT) == {"pa", "pc", "pd"}


SEARCHES: dict[str, tuple[RunSearch, str]] = {
    "nothing": (RunSearch(), "edcba"),
    "a word of the arguments": (RunSearch(words=("straße",)), "b"),
    "in another case": (RunSearch(words=("STRASSE",)), "b"),
    "of the app's name": (RunSearch(words=("portrait",)), "ca"),
    "each word, wherever it is": (RunSearch(words=("lake", "upscale")), "a"),
    "no pattern": (RunSearch(words=("%",)), ""),
    "a part of the tool's name": (RunSearch(app="UPSCALE_"), "ca"),
    "not over": (RunSearch(is_live=True), "cb"),
    "since": (RunSearch(since=4.0), "ed"),
    "until, excluded": (RunSearch(until=2.0), "a"),
    "between": (RunSearch(since=2.0, until=4.0), "cb"),
    "everything": (RunSearch(words=("fox",), app="upscale", is_live=True, since=3.0, until=4.0), "c"),
}


@pytest.mark.parametrize(("search", "found"), SEARCHES.values(), ids=SEARCHES.keys())
async def test_a_search_keeps_the_runs_that_it_describes(store: Store, search: RunSearch, found: str) -> None:
    """The text may be anywhere: quotes and patterns in it are text too."""
    portrait = {"app_name": "Portrait", "tool_name": "upscale_portrait"}
    await accept(
        store,
        build_run("a", S.SUCCEEDED, accepted_at=1.0, arguments_json='{"prompt": "a lake"}', **portrait),
        build_run("b", S.RUNNING, accepted_at=2.0, arguments_json='{"prompt": "Straße"}'),
        build_run("c", S.QUEUED, accepted_at=3.0, arguments_json='{"prompt": "a fox"}', **portrait),
        build_run("d", S.FAILED, accepted_at=4.0),
        build_run("e", S.CANCELLED, accepted_at=5.0),
        build_run("f", S.SUCCEEDED, accepted_at=6.0, owner="another"),
    )
    runs = await store.get_runs(account_id=None, owner=OWNER, limit=10, undelivered_first=False, search=search)

    assert "".join(run.id for run in runs) == found
