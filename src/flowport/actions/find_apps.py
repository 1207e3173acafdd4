"""Find apps: those that match, and what is left out of the tool list and why."""

import logging
from collections.abc import Mapping, Sequence
from typing import Final

import anyio

from flowport.actions.tool import PROVIDER_NAMES, Arguments, BuiltInTool, build_input
from flowport.actions.views.app import KnownApp, build_app_row, build_options
from flowport.actions.views.view import MAX_RUN_BYTES, Facts, View, count_twice
from flowport.actions.workspace import OpenCatalog, Workspace
from flowport.catalog.search import Candidate, Search, is_provider, search_apps
from flowport.domain.errors import StoreError
from flowport.domain.models import InputKind, JsonValue, OutputKind, Source
from flowport.domain.text import clean_line, format_duration
from flowport.providers.registry import get_key_advice
from flowport.runs.delivery import Caller
from flowport.store.records import AppHistory

logger = logging.getLogger(__name__)

MAX_ROWS: Final = 25
"""Apps that one answer lists, and apps whose reasons it tells."""

REFRESH_SECONDS: Final = 20.0
"""How long `refresh` waits for the providers."""


async def find_apps(workspace: Workspace, _: Caller, arguments: Arguments) -> View:
    """Return the answer to a search; `refresh` asks the providers again first."""
    # Clients fill in every field of a form: nothing, 0 and false are no condition.
    given = FIND_APPS.parse({name: value for name, value in arguments.items() if value not in ("", 0, None)})
    await workspace.wait_for_catalogues()
    if given.get("refresh"):
        await refresh_catalogues(workspace)
    makes = OutputKind(str(given["makes"])) if "makes" in given else None
    asked = [one for one in workspace.catalogs if is_provider(one.provider_names, str(given.get("provider", "")))]
    apps = [item for one in asked or workspace.catalogs for item in await get_known_apps(workspace, one)]
    able = [item for item in apps if makes is None or not item.history.kinds or makes in item.history.kinds]
    found = search_apps([Candidate(item.listing, item.history.kinds) for item in able or apps], _parse_search(given))
    is_exact = bool(asked and able) and found.is_exact
    shown = [(able or apps)[place] for place in found.places]
    if makes is not None and is_exact:
        # Those known to make this, then those whose outputs are unknown.
        shown.sort(key=lambda item: not item.history.kinds)
    listed = {tool["name"] for tool in workspace.get_tools()}
    rows = [
        build_app_row(
            item,
            provider=item.provider if len(workspace.catalogs) > 1 else "",
            is_listed=item.listing.tool_name in listed,
            is_kind_wanted=makes is not None,
        )
        for item in shown[:MAX_ROWS]
    ]
    sentences = [
        f"{_count(len(shown))} found." if is_exact else _format_nearest(len(shown), len(apps)),
        "" if asked else f"No provider is called so; there is {_name_providers(workspace.catalogs)}.",
        "" if makes is None or not is_exact else _format_unknown(shown, makes),
        f"The first {MAX_ROWS} are shown; give more words." if len(shown) > MAX_ROWS else "",
        workspace.get_catalogue_problem(),
    ]
    catalogues = [_build_catalogue_facts(workspace, one) for one in workspace.catalogs]
    facts: Facts = {"summary": " ".join(filter(None, sentences)), "apps": rows, "catalogues": catalogues}
    place = _find_meant(shown[:MAX_ROWS], str(given.get("query", ""))) if is_exact else None
    if place is not None:
        words, room = str(given.get("option", "")), MAX_RUN_BYTES - count_twice(facts)
        rows[place] |= build_options(shown[place].listing, words=words, room_bytes=room)
    return View(facts)


def _format_nearest(shown: int, total: int) -> str:
    if not total:
        return "0 apps found: the account has none."
    return f"No app has all of that; the nearest {shown} of {_count(total)} {'is' if shown == 1 else 'are'} shown, the best first."


async def refresh_catalogues(workspace: Workspace) -> None:
    """Ask the providers again, all at once; what takes too long is left as it is."""
    with anyio.move_on_after(REFRESH_SECONDS):
        async with anyio.create_task_group() as group:
            for one in workspace.catalogs:
                group.start_soon(one.catalog.refresh)


def _find_meant(found: Sequence[KnownApp], words: str) -> int | None:
    """Return the place of the one app that a search is about; None when it is about several."""
    wanted = words.strip().casefold()
    exact = [
        place
        for place, item in enumerate(found)
        if wanted
        in {item.listing.tool_name, item.listing.app.id.casefold(), clean_line(item.listing.app.name).casefold()}
    ]
    if len(exact) == 1:
        return exact[0]
    return 0 if len(found) == 1 else None


def _parse_search(given: Mapping[str, JsonValue]) -> Search:
    takes, price = given.get("takes"), given.get("max_credits")
    return Search(
        words=str(given.get("query", "")),
        takes=InputKind(takes) if isinstance(takes, str) else None,
        max_credits=float(price) if isinstance(price, int | float) else None,
    )


async def get_known_apps(workspace: Workspace, one: OpenCatalog) -> list[KnownApp]:
    """Return the apps of a catalogue with what is known of their runs."""
    listings = one.catalog.current.listings
    app_ids = [listing.app.id for listing in listings]
    histories: Mapping[str, AppHistory] = {}
    try:
        histories = await workspace.store.get_histories(account_id=one.account.account.id, app_ids=app_ids)
    except StoreError as exc:
        # Apps are found without it; only what is known of earlier runs is missing.
        logger.warning("apps are shown without their history: %s", exc)
    title = one.account.provider.title
    return [KnownApp(listing, histories.get(listing.app.id, AppHistory()), title) for listing in listings]


def _format_unknown(found: Sequence[KnownApp], makes: OutputKind) -> str:
    unknown = sum(not item.history.kinds for item in found)
    if not unknown:
        return ""
    known = len(found) - unknown
    return (
        f"{known or 'None'} of them {'has' if known <= 1 else 'have'} made {makes} here before; what the other {unknown} "
        "make is not told before they are run."
    )


def _build_catalogue_facts(workspace: Workspace, one: OpenCatalog) -> Facts:
    catalog = one.catalog
    source = catalog.current.source
    listed = {tool["name"] for tool in workspace.get_tools()}
    with_tool = sum(ranked.tool["name"] in listed for ranked in catalog.ranked)
    facts: Facts = {
        "provider": one.account.provider.title,
        "apps": len(catalog.current.listings),
        "with_own_tool": with_tool,
        "without_own_tool": _format_unlisted(
            workspace, one, with_tool=with_tool, is_full=len(listed) >= workspace.settings.max_tools
        ),
        "not_asked_for": "" if source is Source.ALL else f"other apps than {source} ones: FLOWPORT_SOURCE is {source}",
        "read": _format_age(workspace, one),
        "could_not_be_refreshed_because": catalog.problem,
        "to_run_own_apps": f"{get_key_advice()}, in the client's configuration." if one.account.is_sandbox else "",
        "left_out": _format_left_out(one),
    }
    return {key: value for key, value in facts.items() if value not in ("", [])}


def _format_unlisted(workspace: Workspace, one: OpenCatalog, *, with_tool: int, is_full: bool) -> str:
    """Return how many apps that could be tools are none, and why; empty when all are."""
    unlisted = sum(not listing.left_out for listing in one.catalog.current.listings) - with_tool
    if unlisted <= 0:
        return ""
    if not is_full:
        return f"{_count(unlisted)}, because their definitions were not read yet; run_app runs them"
    order = (
        "FLOWPORT_APPS names those that come first" if workspace.settings.apps else "FLOWPORT_APPS can name the first"
    )
    return f"{_count(unlisted)}, because FLOWPORT_MAX_TOOLS is {workspace.settings.max_tools}; {order}; run_app runs the rest"


def _format_left_out(one: OpenCatalog) -> list[str]:
    current = one.catalog.current
    unnamed = [f"an app without a usable id, because {item.reason}" for item in current.left_out]
    named = [f"{item.tool_name}, because {item.left_out}" for item in current.listings if item.left_out]
    told = named + unnamed
    more = len(told) - MAX_ROWS
    return [*told[:MAX_ROWS], *([f"and {more} more"] if more > 0 else [])]


def _format_age(workspace: Workspace, one: OpenCatalog) -> str:
    listed_at = one.catalog.current.listed_at
    return "not yet" if listed_at is None else f"{format_duration(workspace.clock.now() - listed_at)} ago"


def _name_providers(catalogs: Sequence[OpenCatalog]) -> str:
    return " and ".join(one.account.provider.title for one in catalogs)


def _count(apps: int) -> str:
    return f"{apps} app{'s' * (apps != 1)}"


FIND_APPS: Final = BuiltInTool(
    "find_apps",
    "Find apps",
    "Search all apps of the account, also those without a tool of their own, and see their prices, usual durations and "
    "inputs, of one app all its options, and what is left out of the tool list and why.",
    find_apps,
    (
        build_input("query", InputKind.TEXT, "Words or a whole sentence, in any language; leave it out for all"),
        build_input(
            "takes", InputKind.SELECT, "Only apps with such an input", options=("image", "video", "audio", "text")
        ),
        build_input(
            "makes",
            InputKind.SELECT,
            "Only apps that made this in earlier runs; then those never run, as unknown",
            options=("image", "video", "audio"),
        ),
        build_input("provider", InputKind.TEXT, f"Only apps of this provider: {PROVIDER_NAMES}"),
        build_input("max_credits", InputKind.NUMBER, "Only apps of a known price up to this"),
        build_input("option", InputKind.TEXT, "Of the one app that is meant, only options that hold this text"),
        build_input("refresh", InputKind.BOOLEAN, "true: ask the provider again first"),
    ),
)
