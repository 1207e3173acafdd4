"""Stopping the fake; what it shares with the demo is tested there."""

import anyio

from tests.fakes.client import KEY, open_sandbox
from tests.fakes.magnific.state import FakeOptions
from tests.sandbox.test_serve import drain


async def test_a_cancelled_fake_ends_although_requests_are_open() -> None:
    """One waits for its run, one is half sent, one connection is idle."""
    async with open_sandbox() as client, anyio.create_task_group() as tasks:
        await client.switch("next_run", hold=True)
        run_id = await client.start("Text to Picture", prompt="hills")
        port = int(client.addresses.api_url.rpartition(":")[2])
        waiting = f"GET /_sandbox/runs/{run_id}/end HTTP/1.1\r\nhost: localhost:{port}\r\nx-magnific-api-key: {KEY}\r\n"
        for request in (waiting + "\r\n", waiting, ""):
            stream = await anyio.connect_tcp("127.0.0.1", port)
            await stream.send(request.encode())
            tasks.start_soon(drain, stream)
        await client.http.get("/v1/ai/flows")
        with anyio.fail_after(60):
            await client.stop()
    assert tasks.cancel_scope.cancel_called is False


def test_the_key_is_not_shown_with_the_options() -> None:
    """It may end in a log."""
    assert KEY not in repr(FakeOptions(key=KEY))
