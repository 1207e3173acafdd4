"""Magica's list of runs, in which the run of a lost start may be found. Pure.

Source: the page `tools` under "MCP server" of magica.com/docs names `list_runs` with the filters workflow, status and search.
What its items hold is not documented: the names are those of a single run, and values are looked for where a start has them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from flowport.domain.models import JsonValue
from flowport.providers.interface import ToolOffer
from flowport.providers.lost_runs import ListedRun
from flowport.providers.magica.answers import find_items
from flowport.providers.magica.inputs import MAX_ID_LENGTH, get_node_type
from flowport.providers.magica.mcp_tools import pick_argument
from flowport.providers.parsing import parse_instant

MAX_READ: Final = 5
"""Runs of one search that are read alone, because the list does not show their values."""

_WORKFLOW_KEYS: Final = ("workflowId", "workflow_id", "workflow")
_BEGIN_KEYS: Final = ("createdAt", "startedAt", "created_at", "started_at")
_VALUE_KEYS: Final = ("values", "inputs", "input")
_ID_KEYS: Final = ("runId", "id", "run_id")

Values = Mapping[str, Mapping[str, JsonValue]]
"""Node id, then field id, then value; as a start request has them."""


def build_list_arguments(workflow_id: str, offer: ToolOffer) -> Mapping[str, JsonValue] | None:
    """Ask `list_runs` for the runs of a workflow; of all workflows where it takes no such argument."""
    key = pick_argument(offer, _WORKFLOW_KEYS)
    return {key: workflow_id} if key else {}


def parse_listed_runs(body: Any, workflow_id: str, values: Values, since: float) -> tuple[ListedRun, ...] | None:
    """Return the runs of a workflow that began since a time, oldest first; None when the body is not a list.

    A run that does not say when it began, or of which workflow it is, is left out.
    """
    runs = body.get("runs") if isinstance(body, Mapping) else None
    items = runs if isinstance(runs, list) else find_items(body)
    if items is None:
        return None
    found = [_read_run(item, workflow_id, values) for item in items if isinstance(item, Mapping)]
    return tuple(sorted((one for one in found if one and one.begun_at >= since), key=lambda one: one.begun_at))


def has_same_values(run: Any, values: Values) -> bool | None:
    """Return whether a run was given these values; None when it does not show what it was given, or nothing can be compared."""
    if not values or not isinstance(run, Mapping):
        return None
    for holder in (run, run.get("run"), run.get("data")):
        if not isinstance(holder, Mapping):
            continue
        shown = next((holder[key] for key in _VALUE_KEYS if isinstance(holder.get(key), Mapping)), None)
        shown = shown or _find_request_output(holder)
        if shown:
            return all(
                _has_value(shown, node_id, field_id, value)
                for node_id, fields in values.items()
                for field_id, value in fields.items()
            )
    return None


def _read_run(item: Mapping[str, Any], workflow_id: str, values: Values) -> ListedRun | None:
    run_id = next((item[key] for key in _ID_KEYS if isinstance(item.get(key), str) and item[key].strip()), "")
    begun_at = next((at for key in _BEGIN_KEYS if (at := parse_instant(item.get(key))) is not None), None)
    if not run_id or len(run_id) > MAX_ID_LENGTH or begun_at is None or workflow_id not in _find_workflows(item):
        return None
    return ListedRun(run_id, begun_at, has_same_values(item, values))


def _find_workflows(item: Mapping[str, Any]) -> set[Any]:
    """Return by which ids an item names its workflow."""
    found = [item.get(key) for key in _WORKFLOW_KEYS]
    inner = [one.get(key) for one in found if isinstance(one, Mapping) for key in ("id", "slug", "workflowId")]
    return {one for one in (*found, *inner) if isinstance(one, str)}


def _find_request_output(run: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what the request node of a run has put out, which is what it was given."""
    nodes: Sequence[Any] = next((run[key] for key in ("nodeRuns", "nodes") if isinstance(run.get(key), list)), ())
    requests = (one for one in nodes if isinstance(one, Mapping) and get_node_type(one).lower() == "request")
    return next((one["output"] for one in requests if isinstance(one.get("output"), Mapping) and one["output"]), None)


def _has_value(shown: Mapping[str, Any], node_id: str, field_id: str, value: JsonValue) -> bool:
    node = shown.get(node_id)
    fields = node if isinstance(node, Mapping) else shown
    return field_id in fields and (fields[field_id] == value or str(fields[field_id]) == str(value))
