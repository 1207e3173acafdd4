"""Webhooks, to a real receiver on this machine."""

import base64
import hashlib
import hmac
import json
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any

import anyio
import anyio.abc
import pytest

from tests.fakes.client import Client
from tests.fakes.magnific.webhooks import SecretReading, build_signature

PROMPT = "Text to Picture"


class Receiver:
    """Answers 204 to each POST and keeps it."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/hooks/one?a=b"
        self.came: list[tuple[dict[str, str], bytes]] = []
        self._arrived = anyio.Event()

    async def wait_for(self, count: int) -> list[dict[str, Any]]:
        """Wait for so many deliveries and return their bodies."""
        with anyio.fail_after(60):
            while len(self.came) < count:
                await self._arrived.wait()
        return [json.loads(body) for _, body in self.came]

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        """Take one request."""
        async with stream:
            data = b""
            while b"\r\n\r\n" not in data:
                data += await stream.receive()
            head, _, body = data.partition(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            while len(body) < int(headers["content-length"]):
                body += await stream.receive()
            self.came.append(({"": first, **headers}, body))
            await stream.send(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        arrived, self._arrived = self._arrived, anyio.Event()
        arrived.set()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Listen on this machine."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        found = Receiver(listener.extra(anyio.abc.SocketAttribute.local_port))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, found.serve)
            yield found
            tasks.cancel_scope.cancel()


async def start(sandbox: Client, url: object, app: str = "t2P6yGfJ0x", **inputs: Any) -> Any:
    """Start a run that reports a receiver."""
    body = {"inputs": inputs or {"prompt": "hills"}, "webhook": url}
    return await sandbox.http.post(f"/v1/ai/flows/{app}/run", json=body)


async def test_a_receiver_receives_of_the_start_and_of_the_end(sandbox: Client, receiver: Receiver) -> None:
    """Magnific API 1.0.0, run-flow: `initialized`, then `finished` with the result."""
    run_id = (await start(sandbox, receiver.url)).json()["workflow_run_identifier"]
    first, last = await receiver.wait_for(2)
    run = await sandbox.end(run_id)
    assert (first["event"], first["status"], first["run_id"], first["result"]) == (
        "initialized",
        "running",
        run_id,
        None,
    )
    assert last == {"event": "finished", **run}
    assert receiver.came[0][0][""] == "POST /hooks/one?a=b HTTP/1.1"


@pytest.mark.parametrize(
    ("status", "event"),
    [("completed_with_errors", "finished"), ("failed", "failed"), ("cancelled", "failed")],
)
async def test_the_second_event_says_how_it_ended(sandbox: Client, receiver: Receiver, status: str, event: str) -> None:
    """Only `finished` and `failed` are documented for the end."""
    await sandbox.switch("next_run", status=status)
    await start(sandbox, receiver.url)
    assert [body["event"] for body in await receiver.wait_for(2)] == ["initialized", event]


async def test_events_come_twice_and_in_the_wrong_order_when_reported_to(sandbox: Client, receiver: Receiver) -> None:
    """Receivers must stand both; copies of an event share its id."""
    await sandbox.switch("webhooks", copies=2, out_of_order=True)
    await start(sandbox, receiver.url)
    bodies = await receiver.wait_for(4)
    assert [body["event"] for body in bodies] == ["finished", "finished", "initialized", "initialized"]
    ids = [headers["webhook-id"] for headers, _ in receiver.came]
    assert (ids[0], ids[2]) == (ids[1], ids[3])
    assert ids[0] != ids[2]


def is_signed_with(key: bytes, headers: Mapping[str, str], body: bytes) -> bool:
    """Verify as the page webhooks says: one match in the list is enough."""
    text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
    return expected in headers["webhook-signature"].split(" ")


@pytest.mark.parametrize("reading", ["text", "base64"])
async def test_events_are_signed_in_either_reading_of_the_secret(
    sandbox: Client, receiver: Receiver, reading: str
) -> None:
    """The provider's own samples do not agree on what the key is."""
    secret = (await sandbox.http.get("/_sandbox/webhooks")).json()["secret"]
    keys = {"text": secret.encode(), "base64": base64.b64decode(secret.removeprefix("whsec_"))}
    await sandbox.switch("webhooks", secret_reading=reading)
    await start(sandbox, receiver.url)
    await receiver.wait_for(2)
    for headers, body in receiver.came:
        assert [name for name, key in keys.items() if is_signed_with(key, headers, body)] == [reading]


async def test_events_may_come_without_a_signature(sandbox: Client, receiver: Receiver) -> None:
    """The page of run-flow does not say that they are signed."""
    await sandbox.switch("webhooks", signed=False)
    await start(sandbox, receiver.url)
    await receiver.wait_for(2)
    assert not [name for headers, _ in receiver.came for name in headers if name.startswith("webhook-")]


def test_a_signature_covers_id_instant_and_body() -> None:
    """A known answer, so that sender and verifier cannot be wrong alike."""
    headers = build_signature(b"{}", "whsec_c2VjcmV0", SecretReading.BASE64, message_id="msg_1", now=1700000000.9)
    expected = base64.b64encode(hmac.new(b"secret", b"msg_1.1700000000.{}", hashlib.sha256).digest()).decode()
    assert headers["webhook-timestamp"] == "1700000000"
    assert headers["webhook-signature"].endswith(f" v1,{expected}")


@pytest.mark.parametrize(
    ("url", "status"),
    [
        (7, 400),
        ("", 400),
        ("hooks", 400),
        ("ftp://127.0.0.1/x", 400),
        ("http://", 400),
        ("http://127.0.0.1:x/", 400),
        ("http://127.0.0.1/a b", 400),
        ("https://example.com/hook", 422),
        ("http://example.com/hook", 422),
        ("http://127.0.0.1.example.com/", 422),
        ("http://127.0.0.1@example.com/", 422),
    ],
)
async def test_no_other_machine_is_ever_called(sandbox: Client, url: object, status: int) -> None:
    """And a run whose receiver cannot be reported is not started."""
    assert (await start(sandbox, url)).status_code == status
    assert (await sandbox.http.get("/_sandbox/counts")).json()["runs_accepted"] == 0


async def test_a_receiver_that_is_not_there_harms_no_run(sandbox: Client) -> None:
    """Nothing is known of retries, so there are none."""
    with socket.socket() as closed, anyio.fail_after(60):
        closed.bind(("127.0.0.1", 0))
        started = await start(sandbox, f"http://localhost:{closed.getsockname()[1]}")
        run_id = started.json()["workflow_run_identifier"]
        assert (await sandbox.end(run_id))["status"] == "completed"
        while len(found := (await sandbox.http.get("/_sandbox/webhooks")).json()["deliveries"]) < 2:
            await anyio.lowlevel.checkpoint()
    attempts = [(one["run_id"], one["event"], one["status"]) for one in found]
    assert attempts == [(run_id, event, None) for event in ("initialized", "finished")]


@pytest.mark.parametrize("plan", [{"pending_seconds": 3000}, {"hold": True}])
async def test_a_reset_ends_the_watch_over_a_run(sandbox: Client, receiver: Receiver, plan: dict[str, Any]) -> None:
    """What is forgotten is not reported; the next test's receiver must not learn of it."""
    await sandbox.switch("next_run", **plan)
    await start(sandbox, receiver.url)
    if "hold" in plan:
        await receiver.wait_for(1)
    await sandbox.switch("reset")
    await start(sandbox, receiver.url)
    bodies = await receiver.wait_for(3 if "hold" in plan else 2)
    assert [body["event"] for body in bodies][-2:] == ["initialized", "finished"]
