"""What workflows and models cost, in microcredits. An estimate mirrors what a run will be charged."""

from typing import Any, Final

from flowport.sandbox.apps import SandboxApp
from tests.fakes.magica.accounts import MICROCREDITS
from tests.fakes.magica.refusals import Denied, deny_values
from tests.fakes.magica.workflows import PROCESSING, REQUEST, RESPONSE
from tests.fakes.magnific.shelf import Shelf

MAX_NODES: Final = 100
PLAIN_NODE_MICROCREDITS: Final = 61_520
"""A node that no workflow here has set: what one picture was seen to cost."""

_KNOWN_TYPES: Final = frozenset(kind for kinds in PROCESSING.values() for kind in kinds)


def get_price(app: SandboxApp) -> int:
    """Return what a run of an app costs, in microcredits."""
    return app.cost_credits * MICROCREDITS


def estimate(body: dict[str, Any], shelf: Shelf, *, has_total: bool) -> dict[str, Any]:
    """Answer a request for an estimate; raises `Denied` with 400."""
    nodes = body.get("nodes")
    if not isinstance(nodes, list) or not nodes:
        raise deny_values(["nodes"], "invalid_type", "Invalid input: expected array", expected="array")
    if len(nodes) > MAX_NODES:
        raise deny_values(
            ["nodes"], "too_big", f"Too big: expected array to have <={MAX_NODES} items", maximum=MAX_NODES
        )
    prices = [_estimate_node(node, ["nodes", str(number)], shelf) for number, node in enumerate(nodes)]
    total = {"totalMicrocredits": sum(prices)} if has_total else {}
    return {**total, "estimates": [{"microcredits": price} for price in prices]}


def build_balance(microcredits: int) -> dict[str, Any]:
    """Describe what an account has left; `formatted` counts microcredits, as it was seen to."""
    return {
        "availableBalance": microcredits,
        "formatted": f"{microcredits / MICROCREDITS:.2f}M",
        "hasActiveSubscription": True,
        "isOrganization": False,
    }


def check_balance(price: int, balance: int, status: int) -> None:
    """Let a run pass that the account can pay; raises `Denied`."""
    if price > balance:
        raise Denied(status, f"Insufficient credits: {price} needed, {balance} available", "INSUFFICIENT_CREDITS")


def _estimate_node(node: Any, path: list[str], shelf: Shelf) -> int:
    kind = node.get("type") if isinstance(node, dict) else None
    if kind in {REQUEST, RESPONSE}:
        return 0
    if kind not in _KNOWN_TYPES:
        raise deny_values([*path, "type"], "custom", f"Unknown node type: {ascii(kind)[:80]}")
    data = node.get("data")
    app = shelf.get(str(data.get("preset"))) if isinstance(data, dict) else None
    if app is None or kind not in PROCESSING[app.recipe]:
        return PLAIN_NODE_MICROCREDITS
    kinds = PROCESSING[app.recipe]
    share = get_price(app) // len(kinds)
    # The first node carries what cannot be divided, so that the parts add up to the price.
    return get_price(app) - share * (len(kinds) - 1) if kind == kinds[0] else share
