"""Run an app: by the tool of its own, or any app by its name, also several times."""

from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Final

from flowport.actions.get_run import answer_run
from flowport.actions.run_batch import VARIATIONS, start_batch
from flowport.actions.tool import Arguments, BuiltInTool, build_input, get_whole
from flowport.actions.views.view import View
from flowport.actions.workspace import OpenCatalog, Workspace
from flowport.catalog.arguments import find_input
from flowport.catalog.listing import Listing
from flowport.catalog.schema import NEW_RUN, NEW_RUN_LABEL
from flowport.catalog.values import InvalidValue, get_inputs, parse_value
from flowport.domain.call_errors import build_refusal
from flowport.domain.models import InputKind
from flowport.runs.batch.prepare import BatchRequest, InputRow
from flowport.runs.delivery import Caller
from flowport.runs.prepare import PreparedCall, price_call
from flowport.runs.submit import UNWATCHED, Offer, RunRequest, Watcher
from flowport.runs.waiting import report_while

_MAX_READ_NAMES: Final = 500
"""Arguments of one call whose names may be spelled in other ways."""


async def run_any_app(workspace: Workspace, caller: Caller, arguments: Arguments) -> View:
    """Run the app that `app` names, with the inputs in `arguments`; several times as a batch."""
    given = RUN_APP.parse(arguments)
    # Strict clients write something for each argument: empty text and an empty list mean none.
    inputs = {} if given.get("arguments") in (None, "", []) else given["arguments"]
    if not isinstance(inputs, dict):
        raise build_refusal("arguments", "is not an object", "It takes the app's inputs by name.")
    is_new_wanted, variations = given.get(NEW_RUN) is True, get_whole(given, "variations", 1)
    home, listing = await workspace.fetch_app(str(given["app"]), caller)
    app_arguments, is_asked_for = _take_new_run(listing, inputs)
    is_new_wanted |= is_asked_for
    if variations == 1:
        return await run_app(workspace, caller, home, listing, app_arguments, is_new_wanted=is_new_wanted)
    order = BatchRequest((InputRow("each", {}),), app_arguments, variations)
    return await start_batch(workspace, caller, home, listing, order, is_new_wanted=is_new_wanted)


async def run_app(
    workspace: Workspace,
    caller: Caller,
    home: OpenCatalog,
    listing: Listing,
    arguments: Arguments,
    *,
    is_new_wanted: bool = False,
    watcher: Watcher = UNWATCHED,
) -> View:
    """Start a run, or join the one that the call repeats, and return its answer."""
    arguments, is_asked_for = _take_new_run(listing, arguments)
    request = workspace.build_request(caller, is_new_wanted=is_new_wanted or is_asked_for)
    prepare = partial(_prepare, workspace=workspace, home=home, listing=listing, arguments=arguments, watcher=watcher)
    async with workspace.run_submitter.submit(prepare, request, caller) as submission:
        watcher.note_run(submission.run, is_joined=submission.is_joined)
        if submission.is_joined:
            await workspace.recovery.resume(submission.run)
        view = await workspace.waiter.wait_for_run(submission.run, caller)
    return await answer_run(workspace, caller, replace(view, is_joined=submission.is_joined), call_id=request.id)


async def _prepare(
    request: RunRequest,
    caller: Caller,
    *,
    workspace: Workspace,
    home: OpenCatalog,
    listing: Listing,
    arguments: Arguments,
    watcher: Watcher,
) -> Offer[PreparedCall]:
    """Check the arguments and files, and price the run."""
    work = _price(workspace, home, listing, arguments, request)
    call = await report_while(work, caller, workspace.clock, "preparing the call")
    price = call.app.price_credits
    watcher.note_price(price, 1)
    return Offer(call, workspace.find_price_question(caller, call.app_name, price))


async def _price(
    workspace: Workspace, home: OpenCatalog, listing: Listing, arguments: Arguments, request: RunRequest
) -> PreparedCall:
    return await price_call(await workspace.preparer.prepare(home.account, listing, arguments, request), home.account)


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
        raise build_refusal(NEW_RUN, f"was given {len(given)} times")
    flag = arguments[given[0]]
    parsed = False if flag in (None, "") else parse_value(own, flag)
    if isinstance(parsed, InvalidValue):
        raise build_refusal(NEW_RUN, parsed.problem, parsed.expected)
    return {name: value for name, value in arguments.items() if name != given[0]}, parsed is True


RUN_APP: Final = BuiltInTool(
    "run_app",
    "Run any app",
    "Run an app that has no tool of its own, or any app several times; find_apps names it and its inputs. Costs credits.",
    run_any_app,
    (
        build_input("app", InputKind.TEXT, "Tool name or id from find_apps", is_required=True),
        build_input("arguments", InputKind.ANY, "The app's inputs by name, as a JSON object"),
        build_input(NEW_RUN, InputKind.BOOLEAN, NEW_RUN_LABEL),
        VARIATIONS,
    ),
    is_read_only=False,
    is_for_run=True,
)
