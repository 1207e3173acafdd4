"""The bodies in which an error may come, and the faults that every request may meet."""

from typing import Any

import httpx2
import pytest

from tests.fakes.client import IDS
from tests.fakes.magica.client import MagicaClient

MISSING = "Workflow not found"


@pytest.mark.parametrize(
    ("shape", "body"),
    [
        ("message", {"message": MISSING}),
        ("nested", {"error": {"message": MISSING, "code": "NOT_FOUND"}}),
        ("error", {"error": MISSING}),
        ("code", {"code": "NOT_FOUND"}),
    ],
)
async def test_an_error_comes_in_the_switched_shape(magica: MagicaClient, shape: str, body: Any) -> None:
    """The documentation's table of errors was not readable; these were seen or supposed."""
    await magica.switch(error_body=shape)
    answer = await magica.ask("GET", "/v1/workflows/x")
    assert (answer.status_code, answer.json()) == (404, body)


@pytest.mark.parametrize(("shape", "text"), [("raw", MISSING), ("empty", "")])
async def test_an_error_may_be_no_json(magica: MagicaClient, shape: str, text: str) -> None:
    """Gateways answer like that."""
    await magica.switch(error_body=shape)
    answer = await magica.ask("GET", "/v1/workflows/x")
    assert (answer.status_code, answer.text) == (404, text)


async def test_the_fullest_error_names_a_trace(magica: MagicaClient) -> None:
    """As a user's test double has it."""
    reported = (await magica.ask("GET", "/v1/workflows/x")).json()
    assert reported == {"error": "NOT_FOUND", "message": MISSING, "code": "NOT_FOUND", "traceId": reported["traceId"]}


async def test_a_wrong_method_is_refused_in_the_face_s_own_words(magica: MagicaClient) -> None:
    """Also the framework's own refusals have the shape."""
    answer = await magica.ask("DELETE", "/v1/workflows")
    assert (answer.status_code, answer.json()["code"]) == (405, "METHOD_NOT_ALLOWED")


async def test_too_large_a_body_is_refused_in_the_switches_words(magica: MagicaClient) -> None:
    """A body is read before anything is counted."""
    answer = await magica.ask("POST", "/v1/runs", content=bytes(64_000_001))
    assert (answer.status_code, (await magica.count())["run"]) == (413, 0)


@pytest.mark.parametrize(("fault", "accepted"), [("status", 0), ("status_after", 1)])
async def test_an_error_status_may_come_before_or_after_the_work(
    magica: MagicaClient, fault: str, accepted: int
) -> None:
    """With the face's own error body; the run may have been started all the same."""
    await magica.post("/_sandbox/faults", {"operation": "run", "fault": fault, "status": 500})
    answer = await magica.run("Text to Picture", prompt="hills")
    assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL_SERVER_ERROR")
    counts = await magica.count()
    assert (counts["run"], counts["runs_accepted"]) == (1, accepted)


@pytest.mark.parametrize(("fault", "accepted"), [("drop", 1), ("truncate", 1), ("not_http", 1), ("reset", 0)])
async def test_a_broken_answer_may_hide_an_accepted_run(magica: MagicaClient, fault: str, accepted: int) -> None:
    """The fault waits for a run of this app, however the face names it."""
    found = await magica.find("Text to Picture")
    await magica.post("/_sandbox/faults", {"operation": "run", "fault": fault, "app": found["id"]})
    assert (await magica.run("Clip and Jingle", mood="merry")).status_code == 202
    with pytest.raises(httpx2.TransportError):
        await magica.run("Text to Picture", prompt="hills")
    assert (await magica.count())["runs_accepted_by_app"].get(IDS["Text to Picture"], 0) == accepted


async def test_a_fault_has_the_body_that_it_was_given(magica: MagicaClient) -> None:
    """A test's own words go out as they are."""
    fault = {"operation": "status", "fault": "status", "status": 503, "body": "busy", "retry_after": 2}
    run_id = await magica.start("Text to Picture", prompt="hills")
    await magica.post("/_sandbox/faults", {**fault, "app": IDS["Text to Picture"]})
    answer = await magica.ask("GET", f"/v1/runs/{run_id}")
    assert (answer.status_code, answer.text, answer.headers["retry-after"]) == (503, "busy", "2")
    assert (await magica.ask("GET", f"/v1/runs/{run_id}")).status_code == 200


@pytest.mark.parametrize("body", [{"nosuch": 1}, {"graph": "x"}, {"failed": "BROKEN"}, {"balance": -1}])
async def test_a_misspelt_switch_changes_nothing(magica: MagicaClient, body: dict[str, Any]) -> None:
    """A test with a misspelt switch must not pass by accident."""
    before = await magica.get("/_sandbox/magica")
    assert (await magica.ask("POST", "/_sandbox/magica", json=body)).status_code == 400
    assert await magica.get("/_sandbox/magica") == before


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_switch_needs_a_key(magica: MagicaClient, method: str) -> None:
    """Either provider's; a page in a browser has none."""
    path, keyless = "/magica/_sandbox/magica", {"x-magnific-api-key": "", "authorization": "Bearer gx_no"}
    assert (await magica.sandbox.http.request(method, path, headers=keyless, json={})).status_code == 401
    assert (await magica.sandbox.http.request(method, path, json={})).status_code == 200
