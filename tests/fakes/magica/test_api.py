"""Magica's REST API over real HTTP."""

from typing import Any

import pytest

from flowport.sandbox.apps import APPS
from tests.fakes.client import IDS, Client
from tests.fakes.magica.client import MAGICA_KEY, MagicaClient
from tests.fakes.magica.workflows import build_name

PICTURE = "Text to Picture"


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer gx_wrong"}, {"authorization": f"Basic {MAGICA_KEY}"}, {"authorization": "Bearer"}],
)
async def test_no_key_and_another_key_are_refused(sandbox: Client, headers: dict[str, str]) -> None:
    """Magica's page on authentication; the other provider's header does not count here."""
    answer = await sandbox.http.get("/magica/v1/workflows", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHORIZED")


async def test_own_workflows_have_ids_and_system_ones_slugs(magica: MagicaClient) -> None:
    """The quickstart reads `items`; nothing is in both lists."""
    own, system = (await magica.get("/v1/workflows"))["items"], (await magica.get("/v1/system-workflows"))["items"]
    assert [item["name"] for item in own] == [app.name for app in APPS if app.is_own]
    assert [item["slug"] for item in system] == [build_name(app) for app in APPS if not app.is_own]


async def test_a_workflow_is_a_graph_from_request_to_response(magica: MagicaClient) -> None:
    """The graph that the contract suggests: fields on the request node, edges through every processing node."""
    graph = await magica.find("Clip and Jingle")
    assert [node["type"] for node in graph["nodes"]] == ["request", "image_to_video", "music", "response"]
    assert graph["nodes"][0]["data"]["fields"] == [{"id": "mood", "name": "Mood", "type": "text", "value": None}]
    ids = [node["id"] for node in graph["nodes"]]
    assert ids[0].startswith("node_1")
    assert ids[0].endswith("_request")
    assert {(edge["source"], edge["target"]) for edge in graph["edges"]} == {
        (ids[0], ids[1]),
        (ids[0], ids[2]),
        (ids[1], ids[3]),
        (ids[2], ids[3]),
    }


@pytest.mark.parametrize("path", ["workflows/x", "system-workflows/x", "runs/x", "nothing", "runs/x/more"])
async def test_what_does_not_exist_is_not_found(magica: MagicaClient, path: str) -> None:
    """An unknown path of the face has the face's own error."""
    answer = await magica.ask("GET", f"/v1/{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")


async def test_a_run_is_started_once_and_shown_to_its_end(magica: MagicaClient) -> None:
    """One start, one accepted run, one picture at a URL that can be fetched."""
    await magica.post("/_sandbox/next_run", {"hold": True, "app": IDS[PICTURE]})
    run_id = await magica.start(PICTURE, prompt="a llama on a bike")
    before = await magica.get(f"/v1/runs/{run_id}")
    assert (before["runId"], before["response"]) == (run_id, {})
    await magica.post(f"/_sandbox/runs/{run_id}", {"release": True})
    await magica.sandbox.end(run_id)
    after = await magica.get(f"/v1/runs/{run_id}")
    assert (after["status"], [node["status"] for node in after["nodes"]]) == ("COMPLETED", ["COMPLETED"] * 3)
    picture = await magica.sandbox.http.get(after["response"]["result"][0], headers={})
    assert picture.headers["content-type"] == "image/png"
    counts = await magica.count()
    assert (counts["run"], counts["runs_accepted_by_app"], counts["families"]["magica"]) == (1, {IDS[PICTURE]: 1}, 5)


async def test_a_slug_can_be_run(magica: MagicaClient) -> None:
    """Magica's page on starting runs: an id or a slug."""
    run = await magica.finish("Clip and Jingle", mood="merry")
    assert [node["status"] for node in run["nodes"]] == ["COMPLETED"] * 4
    kinds = [(await magica.sandbox.http.get(url)).headers["content-type"] for url in run["response"]["result"]]
    assert kinds == ["video/mp4", "audio/wav"]


async def test_a_failed_node_says_why(magica: MagicaClient) -> None:
    """The node's error is the step's; what came after it was never reached."""
    run = await magica.finish("Always Fails")
    assert (run["status"], run["response"]) == ("FAILED", {})
    failed = run["nodes"][1]
    assert (failed["status"], failed["error"]) == ("FAILED", "input image exceeds maximum resolution")
    assert [node["status"] for node in run["nodes"]] == ["COMPLETED", "FAILED", "CANCELED"]


async def test_another_key_sees_nothing_of_a_run(magica: MagicaClient) -> None:
    """Run ids belong to the account that made them."""
    run_id = await magica.start(PICTURE, prompt="hills")
    await magica.switch(keys=["gx_other"])
    other = MagicaClient(magica.sandbox, "gx_other")
    assert (await other.ask("GET", f"/v1/runs/{run_id}")).status_code == 404
    assert (await other.get("/v1/credits/balance"))["availableBalance"] == 1_000_000_000


async def test_a_run_of_the_other_face_is_not_found(magica: MagicaClient) -> None:
    """Two providers do not know each other's runs."""
    run_id = await magica.sandbox.start(PICTURE, prompt="hills")
    assert (await magica.ask("GET", f"/v1/runs/{run_id}")).status_code == 404


async def test_the_balance_falls_with_what_is_started(magica: MagicaClient) -> None:
    """Microcredits, and `formatted` counts in millions of them."""
    await magica.finish(PICTURE, prompt="hills")
    assert await magica.get("/v1/credits/balance") == {
        "availableBalance": 998_000_000,
        "formatted": "998.00M",
        "hasActiveSubscription": True,
        "isOrganization": False,
    }


@pytest.mark.parametrize("status", [403, 402])
async def test_a_run_beyond_the_balance_is_refused(magica: MagicaClient, status: int) -> None:
    """403 as it was observed, 402 as some clients expect; nothing is started."""
    await magica.switch(balance=1_999_999, insufficient_status=status)
    answer = await magica.run(PICTURE, prompt="hills")
    assert (answer.status_code, answer.json()["code"]) == (status, "INSUFFICIENT_CREDITS")
    assert (await magica.count())["runs_accepted"] == 0
    await magica.switch(balance=2_000_000)
    assert (await magica.run(PICTURE, prompt="hills")).status_code == 202


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"{", None),
        (b"[]", None),
        (b"{}", ["workflowId"]),
        (b'{"workflowId": 3}', ["workflowId"]),
    ],
)
async def test_a_malformed_start_is_a_400(magica: MagicaClient, body: bytes, path: list[str] | None) -> None:
    """With zod's details where a part of it is wrong."""
    answer = await magica.ask("POST", "/v1/runs", content=body)
    reported: dict[str, Any] = answer.json()
    assert (answer.status_code, reported["code"]) == (400, "VALIDATION_ERROR")
    assert [issue["path"] for issue in reported.get("details", [])] == ([] if path is None else [path])


async def test_an_unknown_workflow_cannot_be_run(magica: MagicaClient) -> None:
    """Neither id nor slug."""
    answer = await magica.ask("POST", "/v1/runs", json={"workflowId": "nope"})
    assert (answer.status_code, answer.json()["message"]) == (404, "Workflow not found")


async def test_the_switches_answer_under_the_prefix_and_to_either_key(magica: MagicaClient) -> None:
    """A test turns them by whichever API it speaks."""
    counts = await magica.get("/_sandbox/counts")
    assert (await magica.sandbox.http.get("/_sandbox/counts")).json() == counts
