"""What each tool does, in the words of the domain; `server` brings the calls and takes the answers away."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final

import anyio

from flowport.answers import (
    Answer,
    Facts,
    Standing,
    build_facts_answer,
    build_run_answer,
    build_run_facts,
    format_duration,
    format_instant,
    plain,
)
from flowport.arguments import parse_arguments
from flowport.catalog.discovery import Catalog
from flowport.catalog.records import Listing
from flowport.catalog.search import Search, find_listings
from flowport.desk import Desk, OpenCatalog
from flowport.errors import AppNotFound, ArgumentProblem, ArgumentsInvalid, LedgerError
from flowport.labels import clean_line
from flowport.model import InputKind, JsonValue, Run, RunState
from flowport.runner.runs import CancelOutcome
from flowport.standing_tools import (
    CANCEL_RUN,
    FIND_APPS,
    GET_BALANCE,
    GET_RUN,
    LIST_RUNS,
    RUN_APP,
    StandingTool,
)
from flowport.waiting import Caller, get_standing, wait_for_run

logger = logging.getLogger(__name__)

FIRST_CATALOGUE_SECONDS: Final = 8.0
"""How long the first list and the first call wait for a catalogue when none is cached."""

REFRESH_SECONDS: Final = 20.0
"""How long `find_apps(refresh: true)` waits for the providers."""

MAX_ROWS: Final = 25
"""Apps that one `find_apps` answer lists."""

DEFAULT_RUNS: Final = 10
"""Runs that `list_runs` shows unless told otherwise."""
MAX_SUBMITTING: Final = 10
"""Calls that are prepared and written down side by side. When hundreds come at once the others wait for a place, so that
between two of them there is time to answer something quick."""

DAY_SECONDS: Final = 24 * 3600.0

Arguments = Mapping[str, JsonValue]


class ToolCalls:
    """Carries out tool calls on a desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._places = anyio.CapacityLimiter(MAX_SUBMITTING)
        self._standing: dict[str, Callable[[Arguments, Caller], Awaitable[Answer]]] = {
            FIND_APPS.name: self._find_apps,
            RUN_APP.name: self._run_any_app,
            GET_RUN.name: self._get_run,
            LIST_RUNS.name: self._list_runs,
            CANCEL_RUN.name: self._cancel_run,
            GET_BALANCE.name: self._get_balance,
        }

    async def call(self, name: str, arguments: Arguments | None, caller: Caller) -> Answer:
        """Return the answer of a tool.

        Raises:
            AppNotFound: No tool has this name.
            FlowportError: The call cannot be carried out, for the reason that the error tells.
        """
        standing = self._standing.get(name)
        if standing is not None:
            return await standing(arguments or {}, caller)
        await self.wait_for_catalogues()
        try:
            _, listing = self._desk.get_open_catalog(name)
        except AppNotFound as exc:
            raise replace(exc, is_tool=True) from exc
        if listing.tool_name != name:
            raise AppNotFound(name[:80], (listing.tool_name,), is_tool=True)
        return await self._run(name, arguments or {}, caller)

    async def wait_for_catalogues(self) -> None:
        """Wait until every catalogue has something to show, at most eight seconds."""
        async with anyio.create_task_group() as group:
            for one in self._desk.catalogs:
                if not one.catalog.is_ready:
                    group.start_soon(one.catalog.wait_until_attempted, FIRST_CATALOGUE_SECONDS)

    async def _run_any_app(self, arguments: Arguments, caller: Caller) -> Answer:
        given = _parse(RUN_APP, arguments)
        inputs = given.get("arguments") or {}
        if not isinstance(inputs, dict):
            problem = ArgumentProblem("arguments", "is not an object", "It takes the app's inputs by name.")
            raise ArgumentsInvalid((problem,))
        await self.wait_for_catalogues()
        return await self._run(str(given["app"]), inputs, caller)

    async def _run(self, wanted: str, arguments: Arguments, caller: Caller) -> Answer:
        home, listing = self._desk.get_open_catalog(wanted)
        listing = await home.catalog.fetch_listing(listing.tool_name)
        async with self._places:
            call = await self._desk.preparer.prepare(home.account, listing, arguments)
            run = await self._desk.runner.submit(call, owner=caller.owner)
        try:
            standing = await wait_for_run(self._desk, run, caller)
        except anyio.get_cancelled_exc_class():
            if self._desk.settings.should_stop_on_cancel:
                self._desk.runner.stop_unwanted(run)
            raise
        return await self._tell(standing)

    async def _get_run(self, arguments: Arguments, caller: Caller) -> Answer:
        given = _parse(GET_RUN, arguments)
        run = await self._desk.ledger.get_run(str(given["run_id"]).strip(), account_id=None, owner=caller.owner)
        await self._desk.inheritor.take_up(run)
        if given.get("wait") is False:
            return await self._tell(await get_standing(self._desk, run))
        return await self._tell(await wait_for_run(self._desk, run, caller))

    async def _tell(self, standing: Standing) -> Answer:
        """Return the run's answer, and note in the ledger what the caller learns by it."""
        run = standing.run
        previews = () if standing.is_saving else await self._desk.previewer.build_previews(run)
        answer = build_run_answer(standing, previews)
        try:
            if run.state.is_final:
                await self._desk.ledger.note_seen(run.id, at=self._desk.clock.now())
            else:
                await self._desk.ledger.note_told(run.id, at=self._desk.clock.now())
        except LedgerError as exc:
            # The result is in hand: it is delivered although the note that it was cannot be made.
            logger.warning("the answer for run %s could not be noted: %s", run.id, exc)
        return answer

    async def _list_runs(self, arguments: Arguments, caller: Caller) -> Answer:
        given = _parse(LIST_RUNS, arguments)
        state = RunState(str(given["state"])) if "state" in given else None
        runs = await self._desk.ledger.get_runs(
            account_id=None, owner=caller.owner, limit=_parse_limit(given), unseen_first=True, state=state
        )
        rows = [await self._build_row(run) for run in runs]
        unseen = await self._desk.ledger.count_unseen(owner=caller.owner)
        shown = f"{len(rows)} run{'s' * (len(rows) != 1)}."
        waiting = f"{unseen} finished run{'s' * (unseen != 1)} in all not seen yet."
        return build_facts_answer({"summary": f"{shown} {waiting}", "runs": rows})

    async def _build_row(self, run: Run) -> Facts:
        standing = await get_standing(self._desk, run)
        facts = build_run_facts(standing, max_outputs=0)
        row: Facts = {
            key: facts[key] for key in ("run_id", "tool", "state", "seconds", "credits", "problem") if key in facts
        }
        row["outputs"] = len(standing.run.outputs)
        row["accepted_at"] = format_instant(run.accepted_at)
        row["is_seen"] = run.seen_at is not None
        return row

    async def _cancel_run(self, arguments: Arguments, caller: Caller) -> Answer:
        given = _parse(CANCEL_RUN, arguments)
        run = await self._desk.ledger.get_run(str(given["run_id"]).strip(), account_id=None, owner=caller.owner)
        should_stop = bool(given.get("stop_following"))
        outcome = await self._desk.runner.cancel(run, should_stop_following=should_stop)
        account = self._desk.get_account(run.account_id)
        title = account.provider.title if account else run.provider
        sentences = {
            CancelOutcome.CANCELLED: "The run is cancelled. Nothing had been sent, so nothing is charged.",
            CancelOutcome.CANNOT: f"{title} cannot cancel a run that was started: it goes on and is charged. "
            "get_run fetches its result; cancel_run with stop_following true only stops looking at it.",
            CancelOutcome.UNFOLLOWED: f"{title} cannot cancel a run that was started: it goes on there and is charged. "
            "Flowport no longer looks at it; get_run takes it up again.",
            CancelOutcome.ALREADY_OVER: "The run is over already; get_run has its result.",
        }
        standing = await get_standing(self._desk, run)
        facts = {"summary": sentences[outcome], "run_id": run.id, "outcome": outcome.value}
        return build_facts_answer({**facts, "state": standing.run.state.value})

    async def _get_balance(self, arguments: Arguments, caller: Caller) -> Answer:
        _parse(GET_BALANCE, arguments)
        accounts = [await self._build_balance(one, caller) for one in self._desk.catalogs]
        spent = sum(one["spent_credits_24_hours"] for one in accounts)
        return build_facts_answer(
            {"summary": f"{plain(spent)} credits spent through Flowport in the last 24 hours.", "accounts": accounts}
        )

    async def _build_balance(self, one: OpenCatalog, caller: Caller) -> Facts:
        account, provider = one.account, one.account.provider
        since = self._desk.clock.now() - DAY_SECONDS
        spending = await self._desk.ledger.get_spending(account_id=account.account.id, owner=caller.owner, since=since)
        return {
            "provider": account.provider.title,
            "provider_balance": "Its credits are play money."
            if account.is_sandbox
            else f"{provider.title} does not tell a key's balance; its website does.",
            "spent_credits_24_hours": plain(spending.spent_credits),
            "of_which_unknown_credits": plain(spending.unknown_credits),
            "reserved_credits": plain(spending.reserved_credits),
            "runs_24_hours": spending.runs,
            "requests_last_minute": account.budget.get_used(),
            "requests_per_minute": account.budget.limit or "no limit",
        }

    async def _find_apps(self, arguments: Arguments, _: Caller) -> Answer:
        given = _parse(FIND_APPS, arguments)
        await self.wait_for_catalogues()
        if given.get("refresh"):
            await self._refresh_catalogues()
        search = _parse_search(given)
        found = [
            (one, item) for one in self._desk.catalogs for item in find_listings(one.catalog.current.listings, search)
        ]
        listed = {tool["name"] for tool in self._desk.get_tools()}
        rows = [_build_app_row(item, is_listed=item.tool_name in listed) for _, item in found[:MAX_ROWS]]
        more = f" The first {MAX_ROWS} are shown; give more words." if len(found) > MAX_ROWS else ""
        problem = self._desk.get_catalogue_problem()
        facts: Facts = {
            "summary": f"{len(found)} app{'s' * (len(found) != 1)} found.{more} {problem}".rstrip(),
            "apps": rows,
            "catalogues": [self._build_catalogue_facts(one) for one in self._desk.catalogs],
        }
        return build_facts_answer(facts)

    async def _refresh_catalogues(self) -> None:
        """Ask the providers again, all at once; what takes too long is left as it is."""
        with anyio.move_on_after(REFRESH_SECONDS):
            async with anyio.create_task_group() as group:
                for one in self._desk.catalogs:
                    group.start_soon(one.catalog.refresh)

    def _build_catalogue_facts(self, one: OpenCatalog) -> Facts:
        catalog = one.catalog
        facts: Facts = {
            "provider": one.account.provider.title,
            "apps": len(catalog.current.listings),
            "with_own_tool": len(catalog.tools),
            "read": self._format_age(catalog),
            "could_not_be_refreshed_because": catalog.problem,
            "left_out": _format_left_out(catalog),
        }
        return {key: value for key, value in facts.items() if value not in ("", [])}

    def _format_age(self, catalog: Catalog) -> str:
        if catalog.current.listed_at is None:
            return "not yet"
        return f"{format_duration(self._desk.clock.now() - catalog.current.listed_at)} ago"


def _parse(tool: StandingTool, arguments: Arguments) -> dict[str, JsonValue]:
    try:
        return parse_arguments(tool.app, tool.argument_names, arguments)
    except ArgumentsInvalid as exc:
        raise replace(exc, is_for_run=tool is RUN_APP) from exc


def _parse_limit(given: Arguments) -> int:
    limit = given.get("limit", DEFAULT_RUNS)
    # The range is checked by now; only a fraction is left to be refused.
    if isinstance(limit, float) and not limit.is_integer():
        problem = ArgumentProblem("limit", "was given a fraction", "It takes a whole number.")
        raise ArgumentsInvalid((problem,), is_for_run=False)
    return int(str(limit).partition(".")[0])


def _parse_search(given: Mapping[str, JsonValue]) -> Search:
    takes, price = given.get("takes"), given.get("max_credits")
    return Search(
        words=str(given.get("query", "")),
        takes=InputKind(takes) if isinstance(takes, str) else None,
        max_credits=float(price) if isinstance(price, int | float) else None,
    )


def _build_app_row(listing: Listing, *, is_listed: bool) -> Facts:
    row: Facts = {
        "tool": listing.tool_name,
        "app": clean_line(listing.app.name),
        "id": clean_line(listing.app.id),
        "price_credits": plain(listing.app.price_credits),
        "call_it_by": "" if listing.left_out else listing.tool_name if is_listed else "run_app",
        "inputs": _format_inputs(listing),
        "left_out_because": listing.left_out,
    }
    return {key: value for key, value in row.items() if value not in ("", None)}


def _format_inputs(listing: Listing) -> str:
    if listing.app.inputs is None:
        return "" if listing.left_out else "read when the app is first run"
    names = [
        f"{listing.property_names.get(item.id, '?')} ({item.kind.value}{', required' if item.is_required else ''})"
        for item in listing.app.inputs
    ]
    return ", ".join(names) or "none"


def _format_left_out(catalog: Catalog) -> list[str]:
    unnamed = [f"an app without a usable id, because {item.reason}" for item in catalog.current.left_out]
    named = [f"{item.tool_name}, because {item.left_out}" for item in catalog.current.listings if item.left_out]
    return (named + unnamed)[:MAX_ROWS]
