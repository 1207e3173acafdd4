"""What a workflow's price is asked with, and how the answer is read."""

from typing import Any

import pytest

from flowport.providers.magica.runs import MAX_NODES, build_estimate_body, parse_estimate
from tests.providers import magica_examples as examples


def test_the_nodes_that_cost_are_asked_about() -> None:
    """As the page's request has them, sub-model and all; request and response cost nothing."""
    graph = {
        "nodes": [{"id": "n", **examples.ESTIMATE_REQUEST["nodes"][0]}, {"type": "Request"}, {"nodeType": "response"}]
    }
    assert build_estimate_body(graph) == examples.ESTIMATE_REQUEST
    inner = {"nodes": [{"type": "flux", "data": {"subModelId": "s", "x": 1}}]}
    assert build_estimate_body(inner) == {
        "nodes": [{"type": "flux", "data": {"subModelId": "s", "x": 1}, "subModelId": "s"}]
    }


@pytest.mark.parametrize("graph", [None, {}, {"nodes": []}, {"nodes": [{"type": "request"}, {}]}])
def test_without_nodes_nothing_is_asked(graph: Any) -> None:
    """There is no price of nothing."""
    assert build_estimate_body(graph) is None


def test_more_nodes_than_are_taken_have_no_price() -> None:
    """Half a price would pass a cap."""
    assert build_estimate_body({"nodes": [{"type": "flux"}] * (MAX_NODES + 1)}) is None


@pytest.mark.parametrize(
    ("body", "price"),
    [
        (examples.ESTIMATE, 0.06152),
        ({"estimates": [{"microcredits": 1}, {"microcredits": 2}]}, 3e-06),
        ({"estimates": [{"microcredits": 1}, {}]}, None),
        ({"estimates": [5]}, None),
        ({"estimates": []}, None),
        ({"totalMicrocredits": "5"}, None),
        ([], None),
    ],
)
def test_the_price_is_the_total_or_the_sum(body: Any, price: float | None) -> None:
    """Microcredits become credits; what is known in part is not known."""
    assert parse_estimate(body) == (None if price is None else pytest.approx(price))
