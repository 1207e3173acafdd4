"""The REST API of Magica: workflows, runs and credits."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flowport.sandbox.web import get_message
from tests.fakes.magica.answering import Call, Handler, build_json, perform, read_call
from tests.fakes.magica.credits import build_balance, estimate
from tests.fakes.magica.dialect import GraphShape
from tests.fakes.magica.graphs import build_graph, build_item
from tests.fakes.magica.pages import build_page
from tests.fakes.magica.refusals import Denied, deny_values
from tests.fakes.magica.run_bodies import build_run, format_status
from tests.fakes.magica.starting import start_workflow
from tests.fakes.magica.workflows import Workflow, build_workflow, find_workflow
from tests.fakes.magnific.runs import RunStatus
from tests.fakes.magnific.state import SandboxState
from tests.fakes.magnific.traffic import Operation

MAX_BATCH: Final = 100
_SOURCES: Final = (None, "ui", "mcp", "api")


def build_api_routes(state: SandboxState) -> list[Route]:
    """Build the routes of workflows, runs and credits."""
    table: Sequence[tuple[str, str, Operation, Handler]] = (
        ("GET", "/v1/workflows", Operation.LIST_OWN, _list_own),
        ("GET", "/v1/system-workflows", Operation.LIST, _list_system),
        ("GET", "/v1/workflows/{name}", Operation.GET, _show_workflow),
        ("GET", "/v1/system-workflows/{name}", Operation.GET, _show_workflow),
        ("POST", "/v1/workflows/estimate-credits", Operation.ESTIMATE, _estimate_workflow),
        ("POST", "/v1/nodes/estimate-credits", Operation.ESTIMATE, _estimate_nodes),
        ("POST", "/v1/runs", Operation.RUN, _start_run),
        ("POST", "/v1/runs/batch", Operation.STATUS_BATCH, _show_runs),
        ("POST", "/v1/runs/{run_id}/cancel", Operation.CANCEL, _cancel_run),
        ("GET", "/v1/runs/{run_id}", Operation.STATUS, _show_run),
        ("GET", "/v1/credits/balance", Operation.BALANCE, _show_balance),
    )
    return [build_route(state, *row) for row in table]


def build_route(state: SandboxState, method: str, path: str, operation: Operation, handler: Handler) -> Route:
    """Build one route, whose requests go through everything that answers go through."""

    async def answer(request: Request) -> Response:
        """Answer a request."""
        call = await read_call(state, request)
        return await perform(state, call, operation, handler, _get_app_id(state, call))

    endpoint: Callable[[Request], Awaitable[Response]] = answer
    return Route(path, endpoint, methods=[method])


def require_workflow(state: SandboxState, name: str) -> Workflow:
    """Return the workflow with this id or slug; raises `Denied` with 404."""
    found = find_workflow(state.shelf.apps, name, has_all_types=state.magica.dialect.has_all_types)
    if found is None:
        raise Denied(404, "Workflow not found")
    return found


def list_workflows(state: SandboxState, *, is_system: bool) -> list[dict[str, Any]]:
    """Describe the account's own workflows, or the system's."""
    apps = [app for app in state.shelf.apps if (app.is_published and not app.is_own if is_system else app.is_own)]
    return [build_item(build_workflow(app)) for app in apps]


def _get_app_id(state: SandboxState, call: Call) -> str | None:
    """Return which app a request is about, for the faults that wait for one."""
    if "run_id" in call.path:
        return state.magica.records.get_app_id(call.path["run_id"])
    body = call.body if isinstance(call.body, dict) else {}
    found = find_workflow(state.shelf.apps, str(call.path.get("name") or body.get("workflowId")))
    return None if found is None else found.app.id


async def _list_own(state: SandboxState, call: Call) -> Response:
    return build_json(build_page(list_workflows(state, is_system=False), call.query, state.magica.dialect.lists))


async def _list_system(state: SandboxState, call: Call) -> Response:
    return build_json(build_page(list_workflows(state, is_system=True), call.query, state.magica.dialect.lists))


async def _show_workflow(state: SandboxState, call: Call) -> Response:
    workflow = require_workflow(state, call.path["name"])
    if state.magica.dialect.graph is GraphShape.MISSING:
        raise Denied(404, get_message(404))
    return build_json(build_graph(workflow, state.magica.dialect))


async def _estimate_workflow(state: SandboxState, call: Call) -> Response:
    return build_json(estimate(call.get_object(), state.shelf, has_total=True))


async def _estimate_nodes(state: SandboxState, call: Call) -> Response:
    return build_json(estimate(call.get_object(), state.shelf, has_total=False))


async def _start_run(state: SandboxState, call: Call) -> Response:
    body = call.get_object()
    name = body.get("workflowId")
    if not isinstance(name, str):
        raise deny_values(["workflowId"], "invalid_type", "Required", expected="string", received="undefined")
    workflow = require_workflow(state, name)
    _check_overrides(body)
    run_id = await start_workflow(state, call.key, workflow, body.get("values"), body.get("webhook"))
    return build_json({"runId": run_id}, 202)


def _check_overrides(body: dict[str, Any]) -> None:
    """Refuse what would change the graph itself: this face cannot obey it, and obeying it in part would mislead.

    Galaxy.ai's page runs/start, Magica's earlier name, has these members beside `values` and `webhook`.
    """
    for name in ("graphInputOverrides", "nodeOverrides"):
        if body.get(name):
            raise deny_values([name], "custom", "the sandbox cannot change a workflow's graph")
    if body.get("source") not in _SOURCES:
        raise deny_values(["source"], "invalid_enum_value", "must be one of: ui, mcp, api")


async def _show_run(state: SandboxState, call: Call) -> Response:
    wants_details = call.query.get("inDetails", "").lower() == "true"
    run = _find_run(state, call.key, call.path["run_id"], wants_details=wants_details)
    if run is None:
        raise Denied(404, "Run not found")
    return build_json(run)


async def _show_runs(state: SandboxState, call: Call) -> Response:
    """Read several runs, as the page under Galaxy.ai, Magica's earlier name, has it: `ids` leads to `runs`.

    How many it takes, and that a run which is not found is left out, is assumed.
    """
    if not state.magica.dialect.has_batch:
        raise Denied(404, get_message(404))
    run_ids = call.get_object().get("ids")
    if not isinstance(run_ids, list) or not 1 <= len(run_ids) <= MAX_BATCH:
        raise deny_values(["ids"], "invalid_type", f"Invalid input: expected array of 1 to {MAX_BATCH}")
    found = (_find_run(state, call.key, str(run_id), wants_details=True) for run_id in run_ids)
    return build_json({"runs": [run for run in found if run is not None]})


def _find_run(state: SandboxState, key: str, run_id: str, *, wants_details: bool) -> dict[str, Any] | None:
    """Describe the run of a workflow; None when this key has no such run."""
    record, run = state.magica.records.find(run_id, key) or (None, None)
    if record is None or record.workflow is None or run is None:
        return None
    return build_run(record, record.workflow, run, state.files, state.magica.dialect, wants_details=wants_details)


async def _cancel_run(state: SandboxState, call: Call) -> Response:
    """Cancel a run over REST: a path that only re-implementations have."""
    if not state.magica.dialect.has_cancel:
        raise Denied(404, get_message(404))
    return build_json(await cancel_run(state, call.key, call.path["run_id"]))


async def cancel_run(state: SandboxState, key: str, run_id: str) -> dict[str, Any]:
    """Cancel a run and say what it is then; raises `Denied` with 404, and 400 for one that is over."""
    found = state.magica.records.find(run_id, key)
    if found is None:
        raise Denied(404, "Run not found")
    if found[1].status.is_over:
        raise Denied(400, "The run is over and cannot be cancelled", "RUN_NOT_CANCELABLE")
    await state.magica.records.cancel(run_id, found[1])
    return {"runId": run_id, "status": format_status(RunStatus.CANCELLED, state.magica.dialect)}


async def _show_balance(state: SandboxState, call: Call) -> Response:
    return build_json(build_balance(state.magica.get_balance(call.key)))
