"""Starting and stopping the demo."""

import signal
import socket

import anyio
import httpx2
import pytest

from flowport.sandbox.serve import Leases, SandboxOptions, serve
from tests.fakes.client import KEY
from tests.sandbox.client import Client, open_sandbox
from tests.support.patience import PATIENCE_SECONDS

PLACE = {"files": [{"content_type": "image/png"}]}


async def test_the_two_origins_listen_on_the_loopback_interface_alone(sandbox: Client) -> None:
    """On ports that the system chose."""
    origins = [sandbox.addresses.api_url, sandbox.addresses.files_url]
    assert all(origin.startswith("http://127.0.0.1:") for origin in origins)
    assert len(set(origins)) == 2


async def test_a_cancelled_sandbox_ends_although_requests_are_open() -> None:
    """The body of one is not here, one is half sent, one connection is idle."""
    async with open_sandbox() as client, anyio.create_task_group() as tasks:
        (place,) = (await client.http.post("/v1/ai/uploads/request-url", json=PLACE)).json()["files"]
        port = int(client.addresses.files_url.rpartition(":")[2])
        path = place["upload_url"].removeprefix(client.addresses.files_url)
        waiting = f"PUT {path} HTTP/1.1\r\nhost: localhost:{port}\r\ncontent-length: 9\r\n"
        for request in (waiting + "\r\n", waiting, ""):
            stream = await anyio.connect_tcp("127.0.0.1", port)
            await stream.send(request.encode())
            tasks.start_soon(drain, stream)
        await client.http.get("/v1/ai/flows")
        with anyio.fail_after(60):
            await client.stop()
    assert tasks.cancel_scope.cancel_called is False


async def drain(stream: anyio.abc.SocketStream) -> None:
    """Read until the other end closes."""
    async with stream:
        try:
            while True:
                await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return


@pytest.mark.parametrize("turns", range(8))
async def test_a_sandbox_that_is_cancelled_while_it_starts_lets_go_of_its_listeners(turns: int) -> None:
    """Else the event loop waits for closed files, and their numbers stop the next servers; the loop of a test reports that."""
    leases = Leases(KEY, lambda: None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve, SandboxOptions(KEY), lambda _: None, None, leases)
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    leases.listener.close()


async def test_after_the_end_nothing_listens() -> None:
    """The ports are free again."""
    async with open_sandbox() as client:
        addresses = client.addresses
    async with httpx2.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as http:
        with pytest.raises(httpx2.ConnectError):
            await http.get(addresses.api_url)


async def test_signals_are_left_to_the_command_line() -> None:
    """Uvicorn would otherwise take SIGINT and SIGTERM for itself."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with open_sandbox() as client:
        await client.http.get("/v1/ai/flows")
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_a_taken_port_is_an_error_of_the_system() -> None:
    """Anyone who asked for the port can say so."""
    called: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        await serve(SandboxOptions(key=KEY, port=taken.getsockname()[1]), lambda *given: called.append(given))
    assert called == []


def test_the_key_is_not_shown_with_the_options() -> None:
    """It may end in a log."""
    assert KEY not in repr(SandboxOptions(key=KEY))
