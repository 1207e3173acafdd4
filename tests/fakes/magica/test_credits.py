"""Estimates mirror what a run is charged."""

from typing import Any

import pytest

from flowport.sandbox.apps import APPS
from tests.fakes.client import IDS
from tests.fakes.magica.client import MagicaClient


@pytest.mark.parametrize("name", [app.name for app in APPS])
async def test_the_estimate_of_a_graph_is_the_price(magica: MagicaClient, name: str) -> None:
    """Whichever nodes of the graph are sent, those that cost nothing included."""
    nodes = (await magica.find(name))["nodes"]
    price = next(app.cost_credits for app in APPS if app.name == name) * 1_000_000
    estimate = await magica.post("/v1/workflows/estimate-credits", {"nodes": nodes})
    assert (estimate["totalMicrocredits"], len(estimate["estimates"])) == (price, len(nodes))
    assert sum(part["microcredits"] for part in estimate["estimates"]) == price
    assert (await magica.post("/v1/nodes/estimate-credits", {"nodes": nodes[1:-1]}))["estimates"] == [
        part for part in estimate["estimates"] if part["microcredits"]
    ]


async def test_a_price_that_changes_is_estimated_and_charged(magica: MagicaClient) -> None:
    """The switch of both faces."""
    await magica.post("/_sandbox/catalogue", {"prices": {IDS["Text to Picture"]: 7}})
    nodes = (await magica.find("Text to Picture"))["nodes"]
    estimate = await magica.post("/v1/workflows/estimate-credits", {"nodes": nodes})
    await magica.start("Text to Picture", prompt="hills")
    left = (await magica.get("/v1/credits/balance"))["availableBalance"]
    assert (estimate["totalMicrocredits"], left) == (7_000_000, 993_000_000)


@pytest.mark.parametrize("data", [None, {}, {"preset": "x"}, {"preset": IDS["Clip and Jingle"]}])
async def test_a_node_that_no_workflow_has_set_costs_what_was_seen(magica: MagicaClient, data: Any) -> None:
    """About 61,520 microcredits an image."""
    estimate = await magica.post("/v1/nodes/estimate-credits", {"nodes": [{"type": "text_to_image", "data": data}]})
    assert estimate == {"estimates": [{"microcredits": 61_520}]}


@pytest.mark.parametrize(
    "nodes", [None, [], "x", [{"type": "request"}] * 101, [{"type": "nosuch"}], ["text_to_image"], [{}]]
)
async def test_what_cannot_be_estimated_is_a_400(magica: MagicaClient, nodes: Any) -> None:
    """At most a hundred nodes, of known types."""
    answer = await magica.ask("POST", "/v1/workflows/estimate-credits", json={"nodes": nodes})
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")
    assert (await magica.count())["estimate"] == 1
