"""What each tool does, in the words of the domain; `server` brings the calls and takes the answers away."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Final

import anyio

from flowport.actions.built_in_tools import (
    BUILT_IN_TOOLS,
    CANCEL_RUN,
    FIND_APPS,
    GET_BALANCE,
    GET_RUN,
    LIST_RUNS,
    RUN_APP,
    RUN_BATCH,
    BuiltInTool,
)
from flowport.actions.cancel_run import MAX_NAMED, format_cancellation, refuse_last
from flowport.actions.definitions import DefinitionReader, tell_while
from flowport.actions.find_apps import find_apps
from flowport.actions.get_balance import tell_balance
from flowport.actions.list_runs import ListedRun, build_listed_batch, build_listed_run, build_run_list_answer
from flowport.actions.run_batch import CSV, BatchCalls
from flowport.actions.submit import Offer, Submitter, note_cancelled, note_learnt
from flowport.actions.views.run import (
    Answer,
    RunView,
    add_fact,
    add_reminder,
    build_facts_answer,
    build_run_answer,
    drop_links,
)
from flowport.actions.waiting import Caller, get_run_view, wait_for_end, wait_for_run
from flowport.actions.workspace import OpenCatalog, Workspace
from flowport.catalog.arguments import find_input, find_unknown, name_arguments, parse_arguments
from flowport.catalog.listing import Listing
from flowport.catalog.schema import NEW_RUN, get_inputs
from flowport.catalog.search import MAX_NEAREST
from flowport.catalog.values import InvalidValue, parse_value
from flowport.domain.call_errors import AppAmbiguous, AppNotFound
from flowport.domain.errors import ArgumentProblem, ArgumentsInvalid, FlowportError, StoreError
from flowport.domain.models import JsonValue, Run, RunState
from flowport.domain.spending import find_price_question
from flowport.domain.uris import names_last
from flowport.media.previews import Shown, drop_paths
from flowport.runs.batch.prepare import MAX_ROWS, BatchRequest, InputRow
from flowport.runs.calls import RunRequest
from flowport.runs.cancel import CancelOutcome
from flowport.runs.prepare import price_call
from flowport.runs.service import Submission

logger = logging.getLogger(__name__)

FIRST_CATALOGUE_SECONDS: Final = 8.0
"""How long the first list and the first call wait for a catalogue when none is cached."""

REFRESH_SECONDS: Final = 20.0
"""How long `find_apps(refresh: true)` waits for the providers."""

CANCEL_SECONDS: Final = 5.0
"""How long `cancel_run` waits for the end of a run that its provider was asked to cancel."""

DEFAULT_RUNS: Final = 10
"""Runs that `list_runs` shows unless told otherwise."""

MAX_SUBMITTING: Final = 5
"""Calls that are prepared and written down side by side. When hundreds come at once the others wait for a place: more of
them would not be done sooner, each would only wait longer for the store, and so would something quick."""

REMINDER_SECONDS: Final = 1.0
"""Between two looks for unseen runs, so that hundreds of answers at once do not cost hundreds of looks."""

_MAX_READ_NAMES: Final = 500
"""Arguments of one call whose names may be spelled in other ways."""
Arguments = Mapping[str, JsonValue]


class ToolCalls:
    """Carries out tool calls on a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._submitter = Submitter(workspace, MAX_SUBMITTING)
        self._batches = BatchCalls(workspace)
        self._reader = DefinitionReader(workspace)
        self._reminded_at: float | None = None
        self._view: dict[str, Callable[[Arguments, Caller], Awaitable[Answer]]] = {
            FIND_APPS.name: self._find_apps,
            RUN_APP.name: self._run_any_app,
            RUN_BATCH.name: self._run_batch,
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
        answer = await self._call(name, arguments or {}, caller)
        answer = answer if name == LIST_RUNS.name else await self._reminder(answer, caller)
        return answer if self._workspace.settings.should_send_links else drop_links(answer)

    async def _call(self, name: str, arguments: Arguments, caller: Caller) -> Answer:
        view = self._view.get(name)
        if view is not None:
            return _add_ignored(await view(arguments, caller), BUILT_IN_TOOLS[name], arguments)
        try:
            _, listing = await self._find(name)
        except AppNotFound as exc:
            raise replace(exc, is_tool=True) from exc
        except AppAmbiguous as exc:
            nearest = tuple(one.tool_name for one in exc.namesakes[:MAX_NEAREST])
            raise AppNotFound(name[:80], nearest, is_tool=True) from exc
        if listing.tool_name != name:
            raise AppNotFound(name[:80], (listing.tool_name,), is_tool=True)
        return await self._run(name, arguments, caller)

    async def _find(self, wanted: str) -> tuple[OpenCatalog, Listing]:
        """Return the app that is meant; only a tool that is known already waits for no catalogue that is still to come."""
        try:
            home, listing = self._workspace.get_open_catalog(wanted)
        except AppNotFound:
            is_tool = False
        else:
            is_tool = listing.tool_name == wanted
        if is_tool:
            return home, listing
        # Another app may bear the name too, and then this one was perhaps not meant.
        await self.wait_for_catalogues()
        return self._workspace.get_open_catalog(wanted)

    async def wait_for_catalogues(self) -> None:
        """Wait until every catalogue has something to show, at most eight seconds."""
        awaited = [one.catalog for one in self._workspace.catalogs if not one.catalog.is_ready]
        if not awaited:
            return
        async with anyio.create_task_group() as group:
            for catalog in awaited:
                group.start_soon(catalog.wait_until_attempted, FIRST_CATALOGUE_SECONDS)

    async def _run_any_app(self, arguments: Arguments, caller: Caller) -> Answer:
        given = _parse(RUN_APP, arguments)
        inputs = given.get("arguments") or {}
        if not isinstance(inputs, dict):
            problem = ArgumentProblem("arguments", "is not an object", "It takes the app's inputs by name.")
            raise ArgumentsInvalid((problem,))
        is_new_wanted, variations = given.get("new_run") is True, parse_whole(given, "variations", 1)
        if variations == 1:
            return await self._run(str(given["app"]), inputs, caller, is_new_wanted=is_new_wanted)
        wish = BatchRequest((InputRow("each", {}),), inputs, variations)
        return await self._batches.run(
            await self._find_described(given, caller), wish, caller, is_new_wanted=is_new_wanted
        )

    async def _run_batch(self, arguments: Arguments, caller: Caller) -> Answer:
        given = _parse(RUN_BATCH, arguments)
        named = name_arguments(RUN_BATCH.app, RUN_BATCH.argument_names, arguments)
        if CSV not in given and named.get("rows") is not None:
            # An empty list is left out of what is parsed, as everywhere; here it was meant.
            given = {"rows": [], **given}
        shared = given.get("arguments") or {}
        if not isinstance(shared, dict):
            problem = ArgumentProblem("arguments", "is not an object", "It takes what all rows share, by name.")
            raise ArgumentsInvalid((problem,))
        place = await self._find_described(given, caller)
        table = await self._batches.read_rows(given, place[1])
        wish = BatchRequest(
            table.rows,
            shared,
            parse_whole(given, "variations", 1),
            min(parse_whole(given, "stop_after_failures", 0), MAX_ROWS),
            CSV if CSV in given else "rows",
            table.note,
        )
        is_new_wanted, should_wait = given.get("new_run") is True, given.get("wait") is not False
        return await self._batches.run(place, wish, caller, is_new_wanted=is_new_wanted, should_wait=should_wait)

    async def _find_described(self, given: Arguments, caller: Caller) -> tuple[OpenCatalog, Listing]:
        """Return the app that a call names, with its definition."""
        home, listing = await self._find(str(given["app"]))
        return home, await self._reader.fetch_listing(home, listing, caller)

    async def _run(self, wanted: str, arguments: Arguments, caller: Caller, *, is_new_wanted: bool = False) -> Answer:
        home, listing = await self._find(wanted)
        listing = await self._reader.fetch_listing(home, listing, caller)
        arguments, is_asked_for = _take_new_run(listing, arguments)
        is_new_wanted = is_new_wanted or is_asked_for
        origin = RunRequest(
            caller.owner,
            caller.connection,
            is_stopped_with_caller=self._workspace.settings.should_stop_on_cancel,
            is_new_wanted=is_new_wanted,
            exchange=caller.exchange,
        )
        submission: Submission | None = None
        try:
            prepare = partial(self._prepare, home, listing, arguments, origin)
            submission = await self._submitter.submit(
                partial(tell_while, self._workspace, caller, "preparing the call", prepare), origin, caller
            )
            if submission.is_joined:
                await self._workspace.claimer.resume(submission.run)
            view = await wait_for_run(self._workspace, submission.run, caller)
        except anyio.get_cancelled_exc_class():
            # The client has cancelled or has gone.
            self._part(submission, origin)
            raise
        except FlowportError:
            self._workspace.deliveries.leave(origin.id)
            raise
        return await self._tell(replace(view, is_joined=submission.is_joined), caller, origin)

    async def _prepare(self, home: OpenCatalog, listing: Listing, arguments: Arguments, origin: RunRequest) -> Offer:
        call = await self._workspace.preparer.prepare(home.account, listing, arguments, origin)
        call = await price_call(call, home.account)
        price = find_price_question(self._workspace.settings.spending_limits, call.app_name, call.app.price_credits)
        return Offer(partial(self._workspace.runner.submit, call), price)

    def _part(self, submission: Submission | None, origin: RunRequest) -> None:
        """Note that the caller has gone; its run goes on unless that is not wanted."""
        if submission is not None and origin.is_stopped_with_caller:
            self._workspace.runner.stop_unwanted(submission.run, origin)
        else:
            self._workspace.deliveries.leave(origin.id)

    async def _find_run(self, text: str, caller: Caller) -> Run:
        """Return the run or batch that an argument names."""
        call = RunRequest(caller.owner, caller.connection)
        return await self._workspace.preparer.finder.find_run(text, argument="run_id", call=call)

    async def _get_run(self, arguments: Arguments, caller: Caller) -> Answer:
        given = _parse(GET_RUN, arguments)
        run = await self._find_run(str(given["run_id"]), caller)
        if run.is_batch:
            return await self._batches.get(run, caller, should_wait=given.get("wait") is not False)
        await self._workspace.claimer.resume(run)
        if given.get("wait") is False:
            return await self._tell(await get_run_view(self._workspace, run), caller, RunRequest(caller.owner))
        return await self._tell(await wait_for_run(self._workspace, run, caller), caller, RunRequest(caller.owner))

    async def _tell(self, view: RunView, caller: Caller, origin: RunRequest) -> Answer:
        """Return the run's answer, and note in the store what the caller learns by it."""
        run = view.run
        previewer = self._workspace.previewer
        gone = Shown(gone=await previewer.find_gone(run.outputs)) if view.is_saving else None
        shown = gone or await previewer.build_shown(run)
        view = replace(view, run=drop_paths(run, shown.gone))
        answer = build_run_answer(view, shown.previews, shown.without)
        await note_learnt(self._workspace, run, caller, origin, shown=(run.id,))
        return answer

    async def _reminder(self, answer: Answer, caller: Caller) -> Answer:
        """Return the answer with a line about runs that are over and that nobody has seen."""
        now = self._workspace.clock.monotonic()
        if self._reminded_at is not None and now - self._reminded_at < REMINDER_SECONDS:
            return answer
        self._reminded_at = now
        try:
            reminder = await self._workspace.store.take_reminder(
                owner=caller.owner, but=self._workspace.deliveries.pending_runs
            )
        except StoreError as exc:
            logger.warning("unseen runs could not be looked for: %s", exc)
            return answer
        return answer if reminder is None else add_reminder(answer, reminder)

    async def _list_runs(self, arguments: Arguments, caller: Caller) -> Answer:
        given = _parse(LIST_RUNS, arguments)
        state = RunState(str(given["state"])) if "state" in given else None
        runs = await self._workspace.store.get_runs(
            account_id=None,
            owner=caller.owner,
            limit=parse_whole(given, "limit", DEFAULT_RUNS),
            unseen_first=False,
            state=state,
        )
        rows = [await self._build_row(run) for run in runs]
        undelivered = await self._workspace.store.count_unseen(owner=caller.owner)
        return build_run_list_answer(rows, undelivered=undelivered)

    async def _build_row(self, run: Run) -> ListedRun:
        if run.is_batch:
            return build_listed_batch(run, await self._batches.build_row(run))
        view = await get_run_view(self._workspace, run)
        # The list of live runs tells how a live run goes; whether its result was delivered only the store knows.
        listed = await self._workspace.previewer.drop_gone(view.run)
        return build_listed_run(replace(view, run=replace(listed, delivered_at=run.delivered_at)))

    async def _cancel_run(self, arguments: Arguments, caller: Caller) -> Answer:
        given = _parse(CANCEL_RUN, arguments)
        if names_last(str(given["run_id"])):
            under_way = await self._workspace.store.get_runs_under_way(owner=caller.owner, limit=MAX_NAMED + 1)
            raise refuse_last(under_way)
        run = await self._find_run(str(given["run_id"]), caller)
        if run.is_batch:
            return await self._batches.cancel(run, caller)
        should_stop = bool(given.get("stop_following"))
        outcome = await self._workspace.runner.cancel(run, should_stop_following=should_stop)
        if outcome is CancelOutcome.ASKED:
            await wait_for_end(self._workspace, run.id, CANCEL_SECONDS)
        view = await get_run_view(self._workspace, run)
        await note_cancelled(self._workspace, view.run, caller)
        summary = format_cancellation(outcome, view.run, self._workspace.get_account(run.account_id))
        facts = {"summary": summary, "run_id": run.id, "outcome": outcome.value}
        return build_facts_answer({**facts, "state": view.run.state.value})

    async def _get_balance(self, arguments: Arguments, caller: Caller) -> Answer:
        given = _parse(GET_BALANCE, arguments)
        provider = str(given.get("provider", ""))
        return build_facts_answer(await tell_balance(self._workspace, owner=caller.owner, provider=provider))

    async def _find_apps(self, arguments: Arguments, _: Caller) -> Answer:
        given = _parse(FIND_APPS, arguments)
        await self.wait_for_catalogues()
        if given.get("refresh"):
            await self._refresh_catalogues()
        return build_facts_answer(await find_apps(self._workspace, given))

    async def _refresh_catalogues(self) -> None:
        """Ask the providers again, all at once; what takes too long is left as it is."""
        with anyio.move_on_after(REFRESH_SECONDS):
            async with anyio.create_task_group() as group:
                for one in self._workspace.catalogs:
                    group.start_soon(one.catalog.refresh)


def _take_new_run(listing: Listing, arguments: Arguments) -> tuple[Arguments, bool]:
    """Return the arguments of an app without `new_run`, and whether it asks for another run.

    An app without inputs lists it, and each app's tool takes it, unless one of its own inputs is called so.

    Raises:
        ArgumentsInvalid: It is neither true nor false.
    """
    inputs, names = get_inputs(listing.app), listing.property_names
    own = next(item for item in RUN_APP.inputs if item.id == NEW_RUN)
    given = [
        name
        for name in islice(arguments, _MAX_READ_NAMES)
        if find_input(name, (own,), {NEW_RUN: NEW_RUN}) is not None and find_input(name, inputs, names) is None
    ]
    if not given:
        return arguments, False
    if len(given) > 1:
        raise ArgumentsInvalid((ArgumentProblem(NEW_RUN, f"was given {len(given)} times"),))
    flag = arguments[given[0]]
    parsed = False if flag in (None, "") else parse_value(own, flag)
    if isinstance(parsed, InvalidValue):
        raise ArgumentsInvalid((ArgumentProblem(NEW_RUN, parsed.problem, parsed.expected),))
    return {name: value for name, value in arguments.items() if name != given[0]}, parsed is True


def _add_ignored(answer: Answer, tool: BuiltInTool, arguments: Arguments) -> Answer:
    """Return the answer with a word about arguments that the tool does not know and that changed nothing."""
    unknown = find_unknown(tool.app, tool.argument_names, arguments)
    if not unknown:
        return answer
    return add_fact(answer, "ignored", f"{', '.join(unknown)}: not an argument of this tool; it changed nothing.")


def _parse(tool: BuiltInTool, arguments: Arguments) -> dict[str, JsonValue]:
    try:
        return parse_arguments(tool.app, tool.argument_names, arguments, ignores_unknown=tool.is_read_only)
    except ArgumentsInvalid as exc:
        raise replace(exc, is_for_run=tool in (RUN_APP, RUN_BATCH)) from exc


def parse_whole(given: Arguments, name: str, default: int) -> int:
    """Return a whole number that was given.

    Raises:
        ArgumentsInvalid: It is a fraction; the range is checked by now.
    """
    number = given.get(name, default)
    if isinstance(number, float) and not number.is_integer():
        problem = ArgumentProblem(name, "was given a fraction", "It takes a whole number.")
        raise ArgumentsInvalid((problem,), is_for_run=name != "limit")
    return int(str(number).partition(".")[0])
