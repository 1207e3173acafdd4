"""Svix-style webhooks, to a real receiver on this machine."""

import base64
import hashlib
import hmac
from typing import Any

import httpx2
import pytest

from tests.fakes.client import build_photo, write
from tests.fakes.magica.client import MagicaClient
from tests.fakes.magnific.test_webhooks import Receiver, receiver

__all__ = ["receiver"]

METADATA = {"myJob": "42"}


async def start(magica: MagicaClient, name: str, webhook: Any, **values: Any) -> httpx2.Response:
    """Ask for a run that reports a receiver."""
    graph = await magica.find(name)
    body = {"workflowId": graph.get("id") or graph["slug"], "values": {graph["nodes"][0]["id"]: values}}
    return await magica.ask("POST", "/v1/runs", json={**body, "webhook": webhook})


async def test_a_receiver_receives_of_every_step_and_of_no_url(magica: MagicaClient, receiver: Receiver) -> None:
    """Magica's page on webhooks: the body has the documented fields, and results are to be read."""
    answer = await start(magica, "Clip and Jingle", {"url": receiver.url, "metadata": METADATA}, mood="merry")
    bodies = await receiver.wait_for(4)
    assert [body["type"] for body in bodies] == ["run.started", "node.completed", "node.completed", "run.completed"]
    last = bodies[-1]
    assert last == {
        "success": True,
        "type": "run.completed",
        "runId": answer.json()["runId"],
        "workflowId": "clip-and-jingle",
        "data": {"status": "COMPLETED", "completedNodes": 4, "failedNodes": 0},
        "metadata": METADATA,
        "error": None,
        "createdAt": last["createdAt"],
    }
    assert not any(b"http" in body for _, body in receiver.came)


async def test_events_are_signed_as_svix_signs(magica: MagicaClient, receiver: Receiver) -> None:
    """HMAC-SHA256 with the decoded secret over id, instant and body; whatever the other face reads as its key."""
    secret = (await magica.get("/_sandbox/webhooks"))["secret"]
    key = base64.b64decode(secret.removeprefix("whsec_"))
    await start(magica, "Always Fails", {"url": receiver.url, "events": ["run.failed"]})
    (body,) = await receiver.wait_for(1)
    headers, raw = receiver.came[0]
    signed = f"{headers['svix-id']}.{headers['svix-timestamp']}.".encode() + raw
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert expected in headers["svix-signature"].split(" ")
    assert not [name for name in headers if name.startswith("webhook-")]
    assert (body["success"], body["metadata"]) == (False, None)
    assert body["error"] == "Node 'image-upscaler' failed: input image exceeds maximum resolution"


async def test_events_come_twice_and_in_the_wrong_order_when_reported_to(
    magica: MagicaClient, receiver: Receiver
) -> None:
    """Svix delivers at least once; copies of an event share its id."""
    await magica.post("/_sandbox/webhooks", {"copies": 2, "out_of_order": True})
    await start(magica, "Always Fails", {"url": receiver.url, "events": ["run.started", "run.failed"]})
    bodies = await receiver.wait_for(4)
    assert [body["type"] for body in bodies] == ["run.failed", "run.failed", "run.started", "run.started"]
    ids = [headers["svix-id"] for headers, _ in receiver.came]
    assert (ids[0] == ids[1], ids[2] == ids[3], ids[0] == ids[2]) == (True, True, False)


async def test_a_node_that_failed_is_reported(magica: MagicaClient, receiver: Receiver) -> None:
    """Although the run is completed."""
    photo = magica.sandbox.addresses.files_url
    url = await upload(magica)
    assert url.startswith(photo)
    await start(magica, "Product Shots, Half of Them", {"url": receiver.url, "events": ["node.failed"]}, photo=url)
    (body,) = await receiver.wait_for(1)
    assert (body["error"], body["data"]["nodeType"]) == ("the lamp went out", "relight")


async def upload(magica: MagicaClient) -> str:
    """Put a photograph into the library."""
    data = base64.b64encode(write(build_photo())).decode()
    params = {"name": "upload_file", "arguments": {"base64": data}}
    reported = await magica.post("/mcp", {"id": 1, "method": "tools/call", "params": params})
    return str(reported["result"]["structuredContent"]["url"])


@pytest.mark.parametrize(("path", "event"), [("runs", "run.canceled"), ("nodes/gpt_5/run", "run.failed")])
async def test_a_cancelled_run_is_reported(magica: MagicaClient, receiver: Receiver, path: str, event: str) -> None:
    """Runs of models have no event of their own for it."""
    await magica.post("/_sandbox/next_run", {"status": "cancelled"})
    found = (await magica.find("Always Fails"))["id"]
    body = {"workflowId": found, "input": {"prompt": "x"}, "webhook": {"url": receiver.url}}
    await magica.post(f"/v1/{path}", body)
    bodies = await receiver.wait_for(2)
    assert [reported["type"] for reported in bodies] == ["run.started", event]
    assert bodies[1]["workflowId"] == (found if path == "runs" else "gpt_5")


async def test_a_reset_ends_the_watch_over_a_run(magica: MagicaClient, receiver: Receiver) -> None:
    """What is forgotten is not reported; the next test's receiver must not learn of it."""
    for plan in ({"pending_seconds": 3000}, {"hold": True}):
        await magica.post("/_sandbox/next_run", plan)
        await start(magica, "Always Fails", {"url": receiver.url, "events": ["run.started", "run.failed"]})
        if "hold" in plan:
            await receiver.wait_for(1)
        await magica.post("/_sandbox/reset", {})
    await start(magica, "Always Fails", {"url": receiver.url, "events": ["run.started", "run.failed"]})
    assert [body["type"] for body in await receiver.wait_for(3)] == ["run.started", "run.started", "run.failed"]


@pytest.mark.parametrize(
    ("webhook", "path"),
    [
        ("http://127.0.0.1/x", ["webhook"]),
        ({}, ["webhook", "url"]),
        ({"url": "hooks"}, ["webhook", "url"]),
        ({"url": "https://example.com/hook"}, ["webhook", "url"]),
        ({"url": "http://127.0.0.1/x", "events": "all"}, ["webhook", "events"]),
        ({"url": "http://127.0.0.1/x", "events": ["run.exploded"]}, ["webhook", "events"]),
        ({"url": "http://127.0.0.1/x", "metadata": []}, ["webhook", "metadata"]),
    ],
)
async def test_a_wrong_webhook_starts_nothing(magica: MagicaClient, webhook: Any, path: list[str]) -> None:
    """No other machine is ever called."""
    answer = await start(magica, "Always Fails", webhook)
    assert (answer.status_code, answer.json()["details"][0]["path"]) == (400, path)
    assert (await magica.count())["runs_accepted"] == 0


async def test_the_headers_of_a_receiver_are_sent(magica: MagicaClient, receiver: Receiver) -> None:
    """Galaxy.ai's page runs/start: a receiver behind a gateway may need one of its own."""
    webhook = {
        "url": receiver.url,
        "events": ["run.failed"],
        "headers": {"X-Job": "42", "Authorization": "Bearer mine"},
    }
    await start(magica, "Always Fails", webhook)
    await receiver.wait_for(1)
    headers, _ = receiver.came[0]
    lowered = {name.lower(): value for name, value in headers.items()}
    assert (lowered["x-job"], lowered["authorization"]) == ("42", "Bearer mine")
    assert lowered["content-type"] == "application/json"


@pytest.mark.parametrize(
    "headers", ["x", [], {"X-Job": 42}, {"X Job": "42"}, {"X-Job": "a\r\nHost: b"}, {"svix-id": "x"}, {"Host": "x"}]
)
async def test_headers_that_cannot_be_sent_are_refused(magica: MagicaClient, receiver: Receiver, headers: Any) -> None:
    """Nor may they stand in the place of ours."""
    answer = await start(magica, "Always Fails", {"url": receiver.url, "headers": headers})
    assert (answer.status_code, answer.json()["details"][0]["path"][:2]) == (400, ["webhook", "headers"])
