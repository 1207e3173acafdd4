"""Sending a file to where the provider takes it, over real HTTP, and not sending it anywhere else."""

import hashlib
import io
import os
import tracemalloc
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from flowport.media.sources import Fingerprint
from flowport.network.causes import UploadError
from flowport.network.file_route import resolve_host
from flowport.network.file_transfer import Uploader, count_put_seconds
from flowport.providers.interface import UploadPlace
from tests.support.put_server import PutServer, open_put_server

DATA = b"picture" * 1000
FINGERPRINT = Fingerprint(hashlib.sha256(DATA).hexdigest(), len(DATA))
HEADERS = {"Content-Type": "image/png", "X-Odd": "As It Came"}


def build_place(url: str, seconds: float = 10.0) -> UploadPlace:
    """Return a place at an address."""
    return UploadPlace(
        put_url=url,
        headers=HEADERS,
        put_seconds=seconds,
        asset_url="https://storage.example/asset",
        asset_seconds=86400.0,
        provider_upload_id="f1",
    )


async def put(
    url: str,
    *,
    origins: Sequence[str] = (),
    expected: Fingerprint = FINGERPRINT,
    seconds: float = 10.0,
    resolve: Callable[[str, int], Awaitable[Sequence[str]]] = resolve_host,
) -> None:
    """Send the data to an address."""
    uploader = Uploader(file_threads=anyio.CapacityLimiter(1), resolve=resolve)
    await uploader.put(build_place(url, seconds), io.BytesIO(DATA), expected, trusted_origins=origins)


async def refuse(url: str, server: PutServer | None = None, **options: Any) -> str:
    """Return the problem of an upload that does not go through."""
    origins = [server.origin] if server else []
    with pytest.raises(UploadError) as caught:
        await put(url, origins=origins, **options)
    return caught.value.problem


async def test_a_file_arrives_whole_with_the_headers_that_were_signed() -> None:
    """The signature covers them letter by letter; a key has no business there."""
    async with open_put_server() as server:
        await put(f"{server.origin}/put?signature=s%2F1", origins=[server.origin])

    (got,) = server.puts
    assert (got.sha256, got.size_bytes) == (FINGERPRINT.sha256, FINGERPRINT.size_bytes)
    assert got.head.startswith("put /put?signature=s%2f1 http/1.1\r\n")
    assert "x-odd: as it came" in got.head
    assert not {"api-key", "authorization", "cookie", "transfer-encoding"} & set(got.head.replace(":", " ").split())


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 403, 404, 412, 500, 503])
async def test_whatever_is_not_a_success_is_an_error(status: int) -> None:
    """A redirect is one too: the file goes where it was checked to go, and nowhere else."""
    async with open_put_server() as server, open_put_server() as other:
        server.statuses, server.extra_header = [status], f"location: {other.origin}/put\r\n"
        assert await refuse(f"{server.origin}/put", server) == f"its server answered HTTP {status}"
        assert other.puts == []


FORBIDDEN = [
    "http://storage.example/put",
    "ftp://storage.example/put",
    "https://user:word@storage.example/put",
    "https://storage.example:22/put",
    "https://127.0.0.1/put",
    "https://[::1]/put",
    "https://[::ffff:127.0.0.1]/put",
    "https://10.0.0.1/put",
    "https://192.168.1.1/put",
    "https://169.254.169.254/latest/meta-data",
    "https://localhost/put",
    "https://0.0.0.0/put",
]


@pytest.mark.parametrize("url", FORBIDDEN)
async def test_no_file_goes_to_this_computer_or_its_network(url: str) -> None:
    """The address is the provider's word, and a broken provider could name anything."""
    assert await refuse(url) in {
        "its address is not one that files are sent to",
        "its host is not on the public internet",
    }


async def test_the_loopback_is_open_for_the_exact_origin_alone() -> None:
    """Another port of this computer is another program."""
    async with open_put_server() as server, open_put_server() as other:
        assert "not one that files are sent to" in await refuse(f"{other.origin}/put", server)
    assert other.puts == []


async def test_a_host_that_is_not_known_is_an_error() -> None:
    """As is one without an address, and one of whose addresses none is public."""

    async def fail(_: str, __: int) -> Sequence[str]:
        """Know nothing."""
        raise OSError("no such host")

    async def answer(host: str, _: int) -> Sequence[str]:
        """Return what the host's name says."""
        return () if host == "nowhere.example" else ("192.168.0.1", "10.0.0.1")

    assert "not known" in await refuse("https://storage.example/", resolve=fail)
    assert "has no address" in await refuse("https://nowhere.example/", resolve=answer)
    assert "public internet" in await refuse("https://mixed.example/", resolve=answer)


async def test_the_next_address_is_tried_when_one_cannot_be_reached() -> None:
    """Many hosts name an address that this network does not reach."""

    async def answer(_: str, __: int) -> Sequence[str]:
        """Return one without a listener and one with."""
        return "127.0.0.2", "127.0.0.1"

    async with open_put_server() as server:
        await put(f"{server.origin}/put", origins=[server.origin], resolve=answer)
        url = server.origin
    assert server.puts[0].sha256 == FINGERPRINT.sha256
    with pytest.raises(UploadError, match="no connection"):
        await put(f"{url}/put", origins=[url], resolve=answer)


async def test_a_connection_that_breaks_off_is_an_error() -> None:
    """What arrived before is the provider's to throw away."""
    async with open_put_server() as server:
        server.statuses = [0]
        assert await refuse(f"{server.origin}/put", server) == "its server's answer was not valid HTTP"


async def test_a_malformed_address_is_an_error() -> None:
    """The HTTP library has several ways to say so."""
    assert await refuse("https://storage.example:port/") == "its address is malformed"


async def test_a_place_that_is_slow_to_be_reached_is_given_up() -> None:
    """Its signature ends after two minutes, whatever it still takes."""

    async def wait(_: str, __: int) -> Sequence[str]:
        """Never answer."""
        await anyio.sleep_forever()
        raise AssertionError

    assert await refuse("https://storage.example/", resolve=wait, seconds=0.01) == "it took longer than 0.01 seconds"


async def test_a_file_that_changed_or_shrank_is_not_what_was_meant() -> None:
    """What was checked is what is sent; the provider never learns of the asset of anything else."""
    other = Fingerprint("0" * 64, len(DATA))
    longer = Fingerprint(FINGERPRINT.sha256, len(DATA) + 1)
    async with open_put_server() as server:
        assert await refuse(f"{server.origin}/put", server, expected=other) == "the file changed while it was sent"
        assert "cannot be read" in await refuse(f"{server.origin}/put", server, expected=longer)


async def test_a_hundred_megabytes_never_lie_in_memory(tmp_path: Path) -> None:
    """They go from the disk to the wire piece by piece."""
    path = tmp_path / "large.png"
    path.write_bytes(b"\x89PNG")
    os.truncate(path, 100_000_000)
    with path.open("rb") as file:
        expected = Fingerprint(hashlib.file_digest(file, "sha256").hexdigest(), 100_000_000)
        async with open_put_server() as server:
            tracemalloc.start()
            uploader = Uploader(file_threads=anyio.CapacityLimiter(1))
            place = build_place(f"{server.origin}/put", 120.0)
            await uploader.put(place, file, expected, trusted_origins=[server.origin])
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    assert server.puts[0].sha256 == expected.sha256
    assert peak < 16 * 1024**2


@pytest.mark.parametrize(("size_bytes", "least_seconds"), [(1, 120), (10_000_000, 200), (1024**3, 10_000)])
def test_a_file_may_take_as_long_as_a_slow_line_needs(size_bytes: int, least_seconds: float) -> None:
    """The place is good for two minutes to be reached; on most lines a gigabyte is not through by then."""
    assert count_put_seconds(120.0, size_bytes) >= least_seconds
