"""What a run of a Magica workflow would cost. Pure.

Source: the page `workflows/estimate-credits` in the API reference of magica.com/docs: at most 100 nodes, microcredits. It
mirrors what a run is charged and has no effects.
"""

from collections.abc import Mapping
from typing import Any, Final

from flowport.domain.models import JsonValue
from flowport.providers.magica.inputs import find_nodes, get_node_type
from flowport.providers.magica.outputs import read_microcredits

MAX_NODES: Final = 100

_FREE_TYPES: Final = frozenset({"", "request", "response"})
_SUB_MODEL_KEYS: Final = ("subModelId", "sub_model_id")


def build_estimate_body(workflow: Any) -> Mapping[str, JsonValue] | None:
    """Return the request's body for a workflow's graph; None when it cannot be estimated whole."""
    nodes = find_nodes(workflow)
    costly = [node for node in nodes or () if get_node_type(node).lower() not in _FREE_TYPES]
    if not costly or len(costly) > MAX_NODES:
        return None
    return {"nodes": [_build_node(node) for node in costly]}


def _build_node(node: Mapping[str, Any]) -> dict[str, JsonValue]:
    data = node.get("data")
    settings: dict[str, JsonValue] = dict(data) if isinstance(data, Mapping) else {}
    holders = (node, settings)
    sub_model = next((one[key] for one in holders for key in _SUB_MODEL_KEYS if isinstance(one.get(key), str)), None)
    built: dict[str, JsonValue] = {"type": get_node_type(node), "data": settings}
    return built if sub_model is None else {**built, "subModelId": sub_model}


def parse_estimate(body: Any) -> float | None:
    """Return the price in credits; None when the answer lacks that of a node."""
    if not isinstance(body, Mapping):
        return None
    total = read_microcredits(body.get("totalMicrocredits"))
    if total is not None:
        return total
    estimates = body.get("estimates")
    items = estimates if isinstance(estimates, list) else []
    prices = [read_microcredits(item.get("microcredits")) if isinstance(item, Mapping) else None for item in items]
    known = [price for price in prices if price is not None]
    return sum(known) if known and len(known) == len(prices) else None
