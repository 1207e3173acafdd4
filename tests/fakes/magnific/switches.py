"""The switches under `/_sandbox` by which tests make things slow, held, broken or expired, and read the counts."""

from dataclasses import replace
from functools import partial
from typing import Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from flowport.sandbox.web import Refused, get_message
from tests.fakes.magica.workflows import find_workflow
from tests.fakes.magnific.access import check_either_key
from tests.fakes.magnific.faults import Fault, FaultKind
from tests.fakes.magnific.plans import PlanChange
from tests.fakes.magnific.runs import Run, RunStatus, build_run
from tests.fakes.magnific.state import SandboxState
from tests.fakes.magnific.switch_bodies import Switch, read_switch
from tests.fakes.magnific.traffic import Operation

_MAX_SECONDS = 3600.0
_MAX_TIMES = 1000
_MAX_OUTPUTS = 100


_EndStatus = Literal[RunStatus.COMPLETED, RunStatus.COMPLETED_WITH_ERRORS, RunStatus.FAILED, RunStatus.CANCELLED]


class _FaultSwitch(Switch):
    operation: Operation
    fault: FaultKind
    times: int = Field(1, ge=1, le=_MAX_TIMES)
    app: str | None = None
    status: int = Field(500, ge=200, le=599)
    body: str | None = None
    retry_after: float | None = Field(None, ge=0)
    location: str | None = None
    seconds: float = Field(0, ge=0, le=_MAX_SECONDS)


class _NextRunSwitch(Switch):
    app: str | None = None
    seconds: float | None = Field(None, ge=0, le=_MAX_SECONDS)
    pending_seconds: float | None = Field(None, ge=0, le=_MAX_SECONDS)
    status: _EndStatus | None = None
    error_message: str | None = None
    outputs: int | None = Field(None, ge=0, le=_MAX_OUTPUTS)
    hold: bool = False
    runs: int = 1
    """How many runs it is about."""


class _RunSwitch(Switch):
    release: bool = False
    status: _EndStatus | None = None
    error_message: str | None = None
    outputs: int | None = Field(None, ge=0, le=_MAX_OUTPUTS)
    expire_links: bool = False


def build_switch_routes(state: SandboxState) -> list[Route]:
    """Build the routes of the switches. All need the key; none is counted, limited or subject to faults."""
    return [
        Route("/_sandbox/counts", partial(_show_counts, state)),
        Route("/_sandbox/reset", partial(_reset, state), methods=["POST"]),
        Route("/_sandbox/faults", partial(_add_fault, state), methods=["POST"]),
        Route("/_sandbox/next_run", partial(_change_next_run, state), methods=["POST"]),
        Route("/_sandbox/runs", partial(_show_runs, state)),
        Route("/_sandbox/runs/{run_id}", partial(_change_run, state), methods=["POST"]),
        Route("/_sandbox/runs/{run_id}/end", partial(_show_end, state)),
    ]


async def _show_counts(state: SandboxState, request: Request) -> Response:
    check_either_key(request, state.options.key, state.options.magica_key)
    return JSONResponse(state.traffic.build_counts())


async def _reset(state: SandboxState, request: Request) -> Response:
    check_either_key(request, state.options.key, state.options.magica_key)
    state.reset()
    return JSONResponse({})


async def _add_fault(state: SandboxState, request: Request) -> Response:
    check_either_key(request, state.options.key, state.options.magica_key)
    switch = await read_switch(request, _FaultSwitch)
    fault = Fault(
        switch.operation,
        switch.fault,
        _check_app(state, switch.app),
        switch.status,
        switch.body,
        switch.retry_after,
        switch.location,
        switch.seconds,
    )
    state.faults.add(fault, switch.times)
    return JSONResponse({})


async def _change_next_run(state: SandboxState, request: Request) -> Response:
    check_either_key(request, state.options.key, state.options.magica_key)
    switch = await read_switch(request, _NextRunSwitch)
    change = PlanChange(
        _check_app(state, switch.app),
        switch.seconds,
        switch.pending_seconds,
        switch.status,
        switch.error_message,
        switch.outputs,
        switch.hold,
    )
    for _ in range(switch.runs):
        state.plans.add(change)
    return JSONResponse({})


async def _show_runs(state: SandboxState, request: Request) -> Response:
    """Return when each run started and ended, to the fraction of a second, which the API's own instants do not have."""
    check_either_key(request, state.options.key, state.options.magica_key)
    runs = {run.id: {"started_at": run.started_at, "completed_at": run.completed_at} for run in state.runs.get_all()}
    return JSONResponse({"runs": runs, "prompts": state.prompts, "prompt_runs": state.prompt_runs})


async def _change_run(state: SandboxState, request: Request) -> Response:
    check_either_key(request, state.options.key, state.options.magica_key)
    run = _find_run(state, request)
    switch = await read_switch(request, _RunSwitch)
    if switch.expire_links:
        for file in run.files:
            state.files.expire_link(file.id)
    if switch.release or switch.status:
        _end_run(state, run, switch)
    return JSONResponse({})


def _end_run(state: SandboxState, run: Run, switch: _RunSwitch) -> None:
    if run.status.is_over:
        raise Refused(400, f"The run {run.id} is over; it cannot be released or given another end")
    plan = state.runs.get_plan(run.id)
    changed = replace(
        plan,
        status=switch.status or plan.status,
        error_message=plan.error_message if switch.error_message is None else switch.error_message,
        output_count=plan.output_count if switch.outputs is None else switch.outputs,
    )
    state.runs.hurry(run.id, changed)


async def _show_end(state: SandboxState, request: Request) -> Response:
    """Answer what the run's status would be, once the run is over; so no test needs to wait by the clock."""
    check_either_key(request, state.options.key, state.options.magica_key)
    await state.runs.wait_until_over(_find_run(state, request).id)
    return JSONResponse({"data": build_run(_find_run(state, request), state.files)})


def _find_run(state: SandboxState, request: Request) -> Run:
    run = state.runs.get(request.path_params["run_id"])
    if run is None:
        raise Refused(404, get_message(404))
    return run


def _check_app(state: SandboxState, app_id: str | None) -> str | None:
    """Return the app that is named by its id, or as Magica's face names its workflow; None for any."""
    if app_id is None:
        return None
    workflow = find_workflow(state.shelf.apps, app_id)
    return state.shelf.find(app_id).id if workflow is None else workflow.app.id
