"""Run an app once for each row of a table: many runs by one call."""

from dataclasses import replace
from functools import partial
from typing import Final

from flowport.actions.get_run import answer_batch, get_batch_view
from flowport.actions.tool import Arguments, BuiltInTool, build_input, get_whole
from flowport.actions.views.view import View
from flowport.actions.workspace import OpenCatalog, Workspace
from flowport.catalog.arguments import name_arguments
from flowport.catalog.listing import Listing
from flowport.catalog.schema import NEW_RUN
from flowport.domain.call_errors import build_refusal
from flowport.domain.models import InputKind
from flowport.media.input_files import MediaRules
from flowport.runs.batch.prepare import CSV, MAX_ROWS, BatchRequest, PreparedBatch, prepare_batch, read_rows
from flowport.runs.delivery import Caller
from flowport.runs.prepare import price_call
from flowport.runs.submit import UNWATCHED, Offer, RunRequest, Watcher
from flowport.runs.waiting import report_while

VARIATIONS: Final = replace(
    build_input("variations", InputKind.NUMBER, "How many of the same, each paid for; 1 unless said"),
    minimum=1,
    maximum=16,
)


async def run_batch(workspace: Workspace, caller: Caller, arguments: Arguments) -> View:
    """Run the app that `app` names for each of the rows, or for each row of a table."""
    given = RUN_BATCH.parse(arguments)
    named = name_arguments(RUN_BATCH.app, RUN_BATCH.argument_names, arguments)
    if CSV not in given and named.get("rows") is not None:
        # An empty list is left out of what is parsed, as everywhere; here it was meant.
        given = {"rows": [], **given}
    shared = given.get("arguments") or {}
    if not isinstance(shared, dict):
        raise build_refusal("arguments", "is not an object", "It takes what all rows share, by name.")
    home, listing = await workspace.fetch_app(str(given["app"]), caller)
    rules = MediaRules(workspace.settings.file_roots, is_local=caller.principal.is_local)
    table = str(given.get(CSV, ""))
    uploaded = await workspace.received.find_source(table, argument=CSV, owner=caller.owner)
    rows, note = await read_rows(given, listing, rules, uploaded)
    order = BatchRequest(
        rows,
        shared,
        get_whole(given, "variations", 1),
        min(get_whole(given, "stop_after_failures", 0), MAX_ROWS),
        CSV if CSV in given else "rows",
        note,
    )
    is_new_wanted, should_wait = given.get(NEW_RUN) is True, given.get("wait") is not False
    return await start_batch(
        workspace, caller, home, listing, order, is_new_wanted=is_new_wanted, should_wait=should_wait
    )


async def start_batch(
    workspace: Workspace,
    caller: Caller,
    home: OpenCatalog,
    listing: Listing,
    order: BatchRequest,
    *,
    is_new_wanted: bool,
    should_wait: bool = True,
    watcher: Watcher = UNWATCHED,
) -> View:
    """Start a batch, or join the one that the call repeats, and return its answer."""
    request = workspace.build_request(caller, is_new_wanted=is_new_wanted)
    prepare = partial(_prepare, workspace=workspace, home=home, listing=listing, order=order, watcher=watcher)
    async with workspace.batch_submitter.submit(prepare, request, caller) as submission:
        watcher.note_run(submission.run, is_joined=submission.is_joined)
        if submission.is_joined:
            await workspace.recovery.resume(submission.run)
        view = await get_batch_view(workspace, caller, submission.run, wait=should_wait)
    return await answer_batch(workspace, caller, replace(view, is_joined=submission.is_joined), call_id=request.id)


async def _prepare(
    request: RunRequest,
    caller: Caller,
    *,
    workspace: Workspace,
    home: OpenCatalog,
    listing: Listing,
    order: BatchRequest,
    watcher: Watcher,
) -> Offer[PreparedBatch]:
    """Check and price all rows, and report meanwhile: thousands of files take their time."""
    report = partial(_report_checked, workspace, caller, len(order.rows))
    batch = await prepare_batch(workspace.preparer, home.account, listing, order, request, report=report)
    # The rows are runs of one workflow, so one estimate is that of each.
    call = await report_while(price_call(batch.call, home.account), caller, workspace.clock, "asking what a run costs")
    runs = len(batch.rows)
    total = None if call.app.price_credits is None else call.app.price_credits * runs
    watcher.note_price(total, runs)
    question = workspace.find_price_question(caller, call.app_name, total, runs=runs)
    return Offer(replace(batch, call=call), question)


async def _report_checked(workspace: Workspace, caller: Caller, count: int, checked: int) -> None:
    """Report how many rows are checked."""
    elapsed = workspace.clock.monotonic() - caller.arrived_at_seconds
    await caller.report(elapsed, f"checking the rows, {checked} of {count}")


RUN_BATCH: Final = BuiltInTool(
    "run_batch",
    "Run an app for many rows",
    "Run one app once for each row of a table, up to 2,000 runs: all rows are checked and priced first, then run by "
    "themselves, each once. Costs the app's price for each. get_run with the batch's id waits and tells more.",
    run_batch,
    (
        build_input("app", InputKind.TEXT, "Tool name or id from find_apps", is_required=True),
        replace(build_input("rows", InputKind.ANY, "The inputs of each run by name, a JSON object each"), is_list=True),
        build_input("csv", InputKind.TEXT, "Instead of rows: full path of a .csv; its first row names the inputs"),
        build_input("arguments", InputKind.ANY, "Inputs that all rows share, as a JSON object"),
        VARIATIONS,
        replace(
            build_input("stop_after_failures", InputKind.NUMBER, "Start no more rows after so many failed"), minimum=1
        ),
        build_input(NEW_RUN, InputKind.BOOLEAN, "true: pay again though an equal batch is there"),
        build_input("wait", InputKind.BOOLEAN, "false: answer at once with the batch's id"),
    ),
    is_read_only=False,
    is_for_run=True,
)
