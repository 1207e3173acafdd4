"""The tools of Magica's MCP endpoint that reach what its REST API does not, and their neighbours."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import anyio

from flowport.sandbox.web import get_message
from tests.fakes.magica.api import cancel_run, list_workflows, require_workflow
from tests.fakes.magica.credits import build_balance
from tests.fakes.magica.dialect import GraphShape, ListShape, MagicaDialect, RunListForm
from tests.fakes.magica.graphs import build_field, build_graph, get_field_name
from tests.fakes.magica.pages import build_page
from tests.fakes.magica.refusals import Denied, deny_values
from tests.fakes.magica.run_bodies import format_status, get_links
from tests.fakes.magica.starting import start_workflow
from tests.fakes.magica.timestamps import format_instant
from tests.fakes.magica.uploading import keep_upload
from tests.fakes.magica.workflows import Workflow, build_name
from tests.fakes.magnific.state import SandboxState
from tests.fakes.magnific.traffic import Operation

POLL_SECONDS: Final = 20.0
"""How long `get_run_status` waits for the end of a run; shorter at a speed below 1."""

OPERATIONS: Final[Mapping[str, Operation]] = {
    "start_run": Operation.RUN,
    "cancel_run": Operation.CANCEL,
    "get_run_status": Operation.STATUS,
    "list_runs": Operation.STATUS_BATCH,
    "upload_file": Operation.UPLOAD,
    "list_workflows": Operation.LIST_OWN,
    "list_system_workflows": Operation.LIST,
    "get_workflow": Operation.GET,
    "get_balance": Operation.BALANCE,
}
"""Every tool, and what its calls are counted as."""

DRY_RUN: Final = (
    " When called without `values`, returns the Request Node fields (names, types and defaults, keyed node id, then field "
    "id) instead of starting the run."
)
"""What a careful client waits to read before it asks for fields, in the words of the page `runs` under "MCP server"."""

_DESCRIPTIONS: Final[Mapping[str, str]] = {
    "start_run": "Start a run of a workflow, named by its id or by its name; your own workflows come first.",
    "cancel_run": "Cancel a run of a workflow. The unused part of its estimate is refunded.",
    "get_run_status": "Wait for a run and return its status and its assets.",
    "list_runs": "List your runs, newest first; filter them by workflow and status.",
    "upload_file": "Upload a file from a url, a data_uri or base64, and return its permanent public URL.",
    "list_workflows": "List your workflows.",
    "list_system_workflows": "List the workflows that Magica provides.",
    "get_workflow": "Return a workflow with its nodes and edges.",
    "get_balance": "Return your balance in microcredits.",
}

_TEXT: Final = {"type": "string"}
_PAGE: Final = {"page": {"type": "integer"}, "pageSize": {"type": "integer"}, "cursor": _TEXT}
_PROPERTIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "start_run": {
        "workflow": {"type": "string", "description": "An id, a slug or a name."},
        "values": {"type": "object", "description": "Node id, then field id, then value."},
    },
    "cancel_run": {"runId": _TEXT},
    "get_run_status": {"runId": _TEXT, "runType": {"type": "string", "enum": ["workflow", "node"]}},
    "list_runs": {"workflow": _TEXT, "status": _TEXT, **_PAGE},
    "upload_file": {"url": _TEXT, "data_uri": _TEXT, "base64": _TEXT},
    "list_workflows": _PAGE,
    "list_system_workflows": _PAGE,
    "get_workflow": {"workflow": _TEXT},
    "get_balance": {},
}
_REQUIRED: Final[Mapping[str, list[str]]] = {
    "start_run": ["workflow"],
    "cancel_run": ["runId"],
    "get_run_status": ["runId"],
    "get_workflow": ["workflow"],
}

_Tool: TypeAlias = Callable[[SandboxState, str, dict[str, Any]], Awaitable[dict[str, Any]]]


def list_tools(dialect: MagicaDialect) -> list[dict[str, Any]]:
    """Describe the tools that there are at present."""
    return [
        {
            "name": name,
            "description": _DESCRIPTIONS[name] + (DRY_RUN if name == "start_run" and dialect.has_dry_run else ""),
            "inputSchema": {
                "type": "object",
                "properties": dict(_PROPERTIES[name]),
                "required": _REQUIRED.get(name, []),
            },
        }
        for name in OPERATIONS
        if has_tool(name, dialect)
    ]


def has_tool(name: str, dialect: MagicaDialect) -> bool:
    """Return whether a tool exists at present."""
    is_listed = name != "list_runs" or dialect.run_list is not RunListForm.NONE
    return name in OPERATIONS and name not in dialect.missing_tools and is_listed


async def call_tool(state: SandboxState, key: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Do what a known tool does; raises `Denied` or `Refused`."""
    return await _TOOLS[name](state, key, arguments)


async def _start_run(state: SandboxState, key: str, arguments: dict[str, Any]) -> dict[str, Any]:
    workflow, dialect = _find_workflow(state, arguments), state.magica.dialect
    if arguments.get("values") is None and dialect.has_dry_run:
        fields = {get_field_name(field, dialect): build_field(field, dialect) for field in workflow.fields}
        return {"workflowId": workflow.id, "name": workflow.app.name, "fields": {workflow.request.id: fields}}
    run_id = await start_workflow(state, key, workflow, arguments.get("values"), None)
    return {"runId": run_id, "status": dialect.queued}


async def _cancel_run(state: SandboxState, key: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return await cancel_run(state, key, _read_text(arguments, "runId"))


async def _get_run_status(state: SandboxState, key: str, arguments: dict[str, Any]) -> dict[str, Any]:
    run_id = _read_text(arguments, "runId")
    if state.magica.records.find(run_id, key) is not None:
        with anyio.move_on_after(POLL_SECONDS * min(1, state.options.speed)):
            await state.runs.wait_until_over(run_id)
    found = state.magica.records.find(run_id, key)
    if found is None:
        raise Denied(404, "Run not found", "NOT_FOUND")
    run = found[1]
    assets = [] if state.magica.dialect.is_text else [{"url": url} for url in get_links(run.files, state.files)]
    status = format_status(run.status, state.magica.dialect)
    return {"runId": run_id, "status": status, "assets": assets, "error": run.error_message}


async def _list_runs(state: SandboxState, key: str, arguments: dict[str, Any]) -> dict[str, Any]:
    wanted, dialect = arguments.get("workflow"), state.magica.dialect
    items = [
        {
            "runId": run.id,
            "workflowId": record.workflow.id,
            "status": format_status(run.status, dialect),
            "createdAt": format_instant(record.created_at),
            **({"values": record.values} if dialect.run_list is RunListForm.VALUES else {}),
        }
        for record, run in state.magica.records.get_all(key)
        if record.workflow is not None and wanted in {None, record.workflow.id}
    ]
    query = {name: str(arguments[name]) for name in _PAGE if arguments.get(name) is not None}
    page: dict[str, Any] = build_page(items, query, ListShape.PAGED)
    return page


async def _upload_file(state: SandboxState, _key: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"url": await keep_upload(state, arguments)}


async def _list_own(state: SandboxState, _key: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return _list(state, arguments, is_system=False)


async def _list_system(state: SandboxState, _key: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return _list(state, arguments, is_system=True)


async def _get_workflow(state: SandboxState, _key: str, arguments: dict[str, Any]) -> dict[str, Any]:
    workflow = _find_workflow(state, arguments)
    if state.magica.dialect.graph is GraphShape.MISSING:
        raise Denied(404, get_message(404), "NOT_FOUND")
    return build_graph(workflow, state.magica.dialect)


async def _get_balance(state: SandboxState, key: str, _arguments: dict[str, Any]) -> dict[str, Any]:
    return build_balance(state.magica.get_balance(key))


_TOOLS: Final[Mapping[str, _Tool]] = {
    "start_run": _start_run,
    "cancel_run": _cancel_run,
    "get_run_status": _get_run_status,
    "list_runs": _list_runs,
    "upload_file": _upload_file,
    "list_workflows": _list_own,
    "list_system_workflows": _list_system,
    "get_workflow": _get_workflow,
    "get_balance": _get_balance,
}


def _list(state: SandboxState, arguments: dict[str, Any], *, is_system: bool) -> dict[str, Any]:
    shape = state.magica.dialect.lists
    query = {name: str(arguments[name]) for name in _PAGE if arguments.get(name) is not None}
    # Structured content is an object, whatever the REST API answers.
    shape = ListShape.ITEMS if shape is ListShape.ARRAY else shape
    page: dict[str, Any] = build_page(list_workflows(state, is_system=is_system), query, shape)
    return page


def _find_workflow(state: SandboxState, arguments: dict[str, Any]) -> Workflow:
    """Find a workflow by id or slug, by its name, or by a part of it; the account's own come first."""
    wanted = _read_text(arguments, "workflow").casefold()
    apps = sorted(state.shelf.apps, key=lambda app: not app.is_own)
    for fits in (_is_id, _is_name, _is_part):
        for app in apps:
            if fits(wanted, build_name(app), app.name.casefold()):
                return require_workflow(state, build_name(app))
    raise Denied(404, "Workflow not found", "NOT_FOUND")


def _is_id(wanted: str, workflow_id: str, _name: str) -> bool:
    return wanted == workflow_id


def _is_name(wanted: str, _workflow_id: str, name: str) -> bool:
    return wanted == name


def _is_part(wanted: str, _workflow_id: str, name: str) -> bool:
    return wanted in name


def _read_text(arguments: dict[str, Any], name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str) or not value:
        raise deny_values([name], "invalid_type", "Required", expected="string")
    return value
