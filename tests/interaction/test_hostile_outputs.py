"""Hostile links and files of outputs, in one table: each must be refused.

A case is let through when a forbidden connection was made, when forbidden bytes were read, or when a client would be
shown forbidden content. The figure is printed with the names of the cases.
"""

import io
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.abc
import httpx2
import pytest
from PIL import Image, ImageFile

from flowport.domain.models import LOCAL_OWNER, Output, OutputKind, Run, RunState
from flowport.domain.uris import format_output_uri
from flowport.media.previews import Preview, Previewer, build_preview
from flowport.media.saving import build_output_path
from flowport.network.causes import FetchError
from flowport.network.file_transfer import Fetcher, FetchRules
from flowport.server.resources import Resources
from tests.fakes.client import Client as SandboxClient
from tests.fakes.client import open_sandbox
from tests.media.bombs import PACKED, build_cut_jpeg, build_large_webp_header, build_stuffed_png, chunk
from tests.media.containers import cover, movie_header, mp4
from tests.media.test_previews import build_png_header
from tests.runs.test_downloads import open_bench
from tests.store.samples import build_run
from tests.support.fetching import Names, Speak, build_answer, fetching, serving
from tests.support.harness import READER, Harness, open_harness
from tests.support.raw_server import build_reply
from tests.support.scripted import FaultyStore

MIN_TRIED: Final = 110
PUBLIC: Final = "93.184.216.34"

URLS: Final = {
    "a loopback address": "https://127.0.0.1/",
    "a short loopback address": "https://127.1/",
    "a decimal loopback address": "https://2130706433/",
    "a hexadecimal loopback address": "https://0x7f000001/",
    "an octal loopback address": "https://0177.0.0.1/",
    "a loopback address as one octal number": "https://017700000001/",
    "a loopback address in letters of other scripts": "https://①②⑦.⓪.⓪.①/",
    "the unspecified address": "https://0.0.0.0/",
    "the name of this computer": "https://localhost/",
    "the name of this computer with a dot": "https://localhost.:8443/",
    "a private address, 10": "https://10.0.0.1/",
    "a private address, 172.16": "https://172.16.0.1/",
    "a private address, 192.168": "https://192.168.1.1/admin",
    "a decimal private address": "https://3232235777/",
    "an octal private address": "https://012.0.0.1/",
    "a link-local address": "https://169.254.10.10/",
    "a cloud's metadata": "https://169.254.169.254/latest/meta-data",
    "a decimal metadata address": "https://2852039166/",
    "a carrier's shared address": "https://100.64.0.1/",
    "a multicast address": "https://224.0.0.1/",
    "a broadcast address": "https://255.255.255.255/",
    "loopback of IPv6": "https://[::1]/",
    "loopback mapped into IPv6": "https://[::ffff:127.0.0.1]/",
    "metadata mapped into IPv6": "https://[::ffff:a9fe:a9fe]/",
    "loopback translated into IPv6": "https://[64:ff9b::7f00:1]/",
    "loopback tunnelled in IPv6": "https://[2002:7f00:1::]/",
    "a link-local address of IPv6": "https://[fe80::1]/",
    "a unique local address of IPv6": "https://[fd00:ec2::254]/",
    "no encryption": "http://example.com/a.png",
    "a file": "file:///etc/passwd",
    "a password": "https://user:secret@example.com/",
    "the port of a mail server": "https://example.com:25/",
    "the port of a database": "https://example.com:6379/",
    "a line of its own in the request": "https://example.com/\r\nX-Evil: 1",
}

NAMED: Final = {
    "a name that leads to loopback": ["127.0.0.1"],
    "a name that leads to a private address": ["192.168.0.1"],
    "a name that leads to metadata": ["169.254.169.254"],
    "a name that leads to mapped loopback": ["::ffff:127.0.0.1"],
    "a name that leads to link-local IPv6": ["fe80::1%eth0"],
    "a name with several private addresses": ["10.0.0.1", "192.168.0.1"],
    "a name that leads to loopback behind NAT64": ["64:ff9b::7f00:1"],
    "a name that leads to a private address behind NAT64": ["64:ff9b::c0a8:1"],
    "a name that leads to a closed NAT64 network": ["64:ff9b:1::808:808"],
    "a name that leads to a placeholder": ["198.18.0.21"],
    "a name without an address": [],
}

LOCATIONS: Final = {
    "a redirect to loopback": "https://127.0.0.1/",
    "a redirect to this server by another name": "http://localhost:{port}/next",
    "a redirect to this server by a short address": "http://127.1:{port}/next",
    "a redirect to a decimal address": "https://2130706433/",
    "a redirect to an octal address": "https://0177.0.0.1/",
    "a redirect to IPv6": "https://[::1]/",
    "a redirect to a mapped address": "https://[::ffff:10.0.0.1]/",
    "a redirect to metadata": "http://169.254.169.254/",
    "a redirect to a private address": "//192.168.0.1/",
    "a redirect to a file": "file:///etc/passwd",
    "a redirect to an unusual port": "https://example.com:22/",
    "a redirect without encryption": "http://example.com/",
    "a redirect to itself without an end": "/",
    "a redirect that cannot be read": "https://[bad",
}


async def send_without_end(stream: anyio.abc.ByteStream) -> None:
    """Answer with a body that has no end and no length."""
    await stream.send(build_answer(length=""))
    while True:
        await stream.send(bytes(65536))


async def send_chunks_without_end(stream: anyio.abc.ByteStream) -> None:
    """Answer with chunks without an end."""
    await stream.send(build_answer(b"", "Transfer-Encoding: chunked", length=""))
    while True:
        await stream.send(b"10000\r\n" + bytes(65536) + b"\r\n")


async def send_interim_responses_without_end(stream: anyio.abc.ByteStream) -> None:
    """Send interim responses without an end."""
    while True:
        await stream.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 100)


async def send_headers_without_end(stream: anyio.abc.ByteStream) -> None:
    """Answer with headers without an end."""
    await stream.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await stream.send(b"X-More: and more\r\n" * 1000)


async def send_half(stream: anyio.abc.ByteStream) -> None:
    """Answer with the beginning of a body and nothing more."""
    await stream.send(build_answer(b"begun", length="100"))
    await anyio.sleep_forever()


ZIPPED: Final = zlib.compress(bytes(10_000_000), wbits=31)
ANSWERS: Final[Mapping[str, bytes | Speak]] = {
    "a body without an end": send_without_end,
    "pieces without an end": send_chunks_without_end,
    "interim responses without an end": send_interim_responses_without_end,
    "headers without an end": send_headers_without_end,
    "a body that never comes": send_half,
    "a length that is too long": build_answer(b"four", length="5"),
    "a length that is too short": build_answer(b"4\r\nfour\r\n0\r\n\r\n", "Transfer-Encoding: chunked", length="3"),
    "two lengths": build_answer(b"four", "Content-Length: 7"),
    "a length below nothing": build_answer(b"four", length="-4"),
    "a length of gigabytes": build_answer(b"four", length="9" * 12),
    "a bomb that was zipped for the way": build_answer(ZIPPED, "Content-Encoding: gzip"),
    "a bomb that was zipped for the way twice": build_answer(ZIPPED, "Content-Encoding: gzip, br"),
    "a bomb that was zipped in pieces": build_answer(ZIPPED, "Transfer-Encoding: gzip, chunked", length=""),
    "a part of the file": build_answer(b"part", "Content-Range: bytes 0-3/4000", status=206),
    "an error page": build_answer(b"<html>", status=500),
}


PICTURES: Final[Mapping[str, bytes]] = {
    "a drawing with a program": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "a page with a program": b"<!doctype html><script>alert(1)</script>",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "a document": b"%PDF-1.7\n",
    "a picture that calls its library": b"II*\0" + bytes(100),
    "an empty picture": b"",
    "a picture cut off": b"\x89PNG\r\n\x1a\n",
    "a bomb of a hundred megapixels": build_png_header(10_001, 10_001),
    "a bomb of ten gigapixels": build_png_header(100_000, 100_000),
    "a bomb of pixels that just pass for a picture": build_png_header(8000, 8000),
    "a bomb in a picture's note": build_stuffed_png(name=b"zTXt", data=b"note\0\0" + PACKED),
    "a bomb in a picture's other note": build_stuffed_png(name=b"iTXt", data=b"note\0\1\0\0\0" + PACKED),
    "a bomb in a picture's colours": build_stuffed_png(name=b"iCCP", data=b"colours\0\0" + PACKED),
    "a bomb of a JPEG": b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\3\1\x22\0\2\x11\1\3\x11\1" + bytes(90),
    "a JPEG cut off in its middle": build_cut_jpeg(),
    "a PNG of more parts than any picture": b"\x89PNG\r\n\x1a\n" + chunk(b"prVt", b"") * 100_001,
    "a raw photo of a camera": b"II*\0\x08\0\0\0" + bytes(100),
    "a bomb of a WebP": build_large_webp_header(),
    "a bomb of a GIF": b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b",\0\0\0\0\xff\xff\xff\xff\0\2\1\0\0;",
}
"""Files that a decoder must not be given, or must abandon."""

COVERS: Final = ("a drawing with a program", "a page with a program", "PostScript", "a bomb of ten gigapixels")

NAMES: Final = {
    "a name that climbs": ("../../etc/cron", "run_1", "png"),
    "a name from the root": ("/etc/passwd", "/", "/"),
    "a hidden name": (".bashrc", ".", ".png"),
    "a name with an end in the middle": ("cat.png\0.exe", "run\0", "png\0exe"),
    "a name that reads backwards": ("cat\u202egnp.exe", "run_1", "png"),
    "a name of a device": ("con", "nul", "aux"),
    "a name without an end": ("x" * 5000, "y" * 5000, "z" * 5000),
    "a name of another drive": ("C:\\Windows\\cat", "D:", "png:stream"),
}

UNWANTED: Final = {
    "a page that is called a picture": (OutputKind.IMAGE, "image/png", b"<!doctype html><title>Log in</title>"),
    "a program that is called a picture": (OutputKind.IMAGE, "image/jpeg", b"MZ\x90\0" + bytes(100)),
    "a page that is called a video": (OutputKind.VIDEO, "video/mp4", b"<html><body>expired"),
    "nothing that is called a sound": (OutputKind.AUDIO, "audio/mpeg", b""),
    "an error in XML that is called a video": (OutputKind.VIDEO, "video/mp4", b"<?xml version='1.0'?><Error/>"),
    "an error in JSON that is called a sound": (OutputKind.AUDIO, "audio/mpeg", b'{"error": "expired"}'),
    "a sentence that is called a picture": (OutputKind.IMAGE, "image/png", b"This link has expired."),
    "a script that is called a picture": (OutputKind.IMAGE, "image/png", b"#!/bin/sh\nid\n"),
    "a page in UTF-16 that is called a picture": (OutputKind.IMAGE, "image/png", "<html>".encode("utf-16")),
    "a page in UTF-16 without its mark that is called a picture": (
        OutputKind.IMAGE,
        "image/png",
        "<html>expired</html>".encode("utf-16-le"),
    ),
    "a page in Latin letters of one byte that is called a picture": (
        OutputKind.IMAGE,
        "image/png",
        "<html><title>ungültig</title></html>".encode("latin-1"),
    ),
    "a sentence in Cyrillic of one byte that is called a video": (
        OutputKind.VIDEO,
        "video/mp4",
        "Ссылка устарела, получите новую. ".encode("koi8-r") * 4,
    ),
    "a Linux program that is called a video": (OutputKind.VIDEO, "video/mp4", b"\x7fELF\2\1\1" + bytes(100)),
    "a macOS program that is called a sound": (OutputKind.AUDIO, "audio/mpeg", b"\xcf\xfa\xed\xfe" + bytes(100)),
}

UNSHOWN: Final = {
    "a saved page": ("text/html", b"<!doctype html><script>alert(1)</script>"),
    "a saved page that is called a picture": ("image/png", b"<!doctype html><script>alert(1)</script>"),
    "a saved drawing": ("image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    "a saved drawing that is called a picture": ("image/png", b"<?xml version='1.0'?><svg:svg onload='x()'/>"),
    "a saved script": ("", b"#!/bin/sh\nrm -rf ~\n"),
    "a saved archive": ("image/png", b"PK\x03\x04" + bytes(100)),
}


class Recorder(httpx2.AsyncBaseTransport):
    """An HTTP transport without a network: it records each URL; its first response may redirect."""

    def __init__(self, location: str = "") -> None:
        self.hosts: list[str] = []
        self._location = location

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Record the URL."""
        self.hosts.append(request.url.host)
        if not self._location:
            raise httpx2.ReadError("connection refused")
        return httpx2.Response(302, headers={"location": self._location}, stream=httpx2.ByteStream(b""))


async def is_fetched(fetcher: Fetcher, url: str, rules: FetchRules | None = None) -> bool:
    """Return whether something was read from a URL."""
    try:
        await fetcher.fetch_to_file(url, io.BytesIO(), rules=rules or FetchRules())
    except FetchError:
        return False
    return True


async def try_url(url: str) -> bool:
    """Resolve a URL with this computer's own name service; not even a connection may be made."""
    async with fetching() as fetcher:
        return await is_fetched(fetcher, url) or not fetcher.outlet.is_unused


async def try_name(addresses: list[str]) -> bool:
    """Resolve a name to the given addresses."""
    async with fetching(Names(addresses)) as fetcher:
        return await is_fetched(fetcher, "https://cdn.example/") or not fetcher.outlet.is_unused


async def try_changing_name(location: str = "") -> bool:
    """Resolve a name to a public address once and to this computer afterwards."""
    recorder = Recorder(location)
    async with fetching(Names([PUBLIC], ["127.0.0.1"])) as fetcher:
        fetcher.outlet._transports["", True, "cdn.example"] = recorder  # type: ignore[assignment]  # the used part is compatible
        return await is_fetched(fetcher, "https://cdn.example/") or recorder.hosts != [PUBLIC]


async def try_answer(answer: bytes | Speak) -> bool:
    """Fetch from a server that answers in the given way."""
    async with serving({"/": answer}) as server, fetching() as fetcher:
        rules = FetchRules(
            max_bytes=1024**2,
            trusted_origins=frozenset({server.origin}),
            total_timeout_seconds=5,
            read_timeout_seconds=0.1,
        )
        if answer is send_interim_responses_without_end:
            rules = replace(rules, total_timeout_seconds=0.2)
        return await is_fetched(fetcher, f"{server.origin}/", rules)


async def try_location(location: str) -> bool:
    """Follow a redirect from a trusted server; only that server itself may be asked."""
    answers: dict[str, bytes | Speak] = {"/next": build_answer(b"got you")}
    async with serving(answers) as server, fetching() as fetcher:
        answers["/"] = build_answer(b"", f"Location: {location.format(port=server.port)}", status=302)
        rules = FetchRules(trusted_origins=frozenset({server.origin}))
        was_fetched = await is_fetched(fetcher, f"{server.origin}/", rules)
        return was_fetched or any(" /next " in request for request in server.requests)


async def try_picture(data: bytes) -> bool:
    """Make a preview of the data."""
    return isinstance(build_preview(data), Preview)


async def try_cover(folder: Path, data: bytes) -> bool:
    """Show the data as the cover of a video."""
    path = anyio.Path(folder / "cover.mp4")
    await path.write_bytes(mp4(movie_header(scale=1, ticks=1), cover(data)))
    outputs = (Output(1, OutputKind.VIDEO, None, saved_path=str(path)),)
    run = replace(build_run("run_abc"), state=RunState.SUCCEEDED, outputs=outputs)
    return bool((await Previewer(anyio.CapacityLimiter(1)).build_shown(run)).previews)


async def try_path(folder: Path, tool: str, run_id: str, extension: str) -> bool:
    """Create a file of the given name."""
    path = build_output_path(folder, date="../..", tool_name=tool, n=1, run_id=run_id, extension=extension)
    path.parent.mkdir(exist_ok=True)
    path.touch()
    return path.resolve().parent.parent != folder.resolve() or path.name.startswith(".") or not path.name.isascii()


async def try_saving(folder: Path, kind: OutputKind, called: str, data: bytes) -> bool:
    """Save the data as an output of a kind."""
    folder.mkdir()
    store = FaultyStore(folder / "store.sqlite3")
    async with open_bench(store, folder / "results", build_reply(data, f"Content-Type: {called}")) as bench:
        saved = (await bench.save("/0", kind=kind)).outputs[0]
        left = bench.list_files()
    await store.close()
    return bool(saved.saved_path or left)


async def try_reading(flowport: Harness, folder: Path, n: int, mime_type: str, data: bytes) -> bool:
    """Read the data as a resource."""
    path = folder / f"unshown-{n}.png"
    path.write_bytes(data)
    output = Output(1, OutputKind.IMAGE, None, mime_type=mime_type, saved_path=str(path))
    run: Run = replace(build_run(f"run_unshown{n}"), owner=LOCAL_OWNER, outputs=(output,))
    await flowport.assembly.workspace.store.accept(run)
    resources = Resources(flowport.assembly.workspace, anyio.CapacityLimiter(1))
    content = await resources.read(format_output_uri(run.id, 1), READER)
    return content.data is not None or content.mime_type != "text/plain" or "<" in content.text


Attempt = Callable[[], Awaitable[bool]]


def iterate_attempts(flowport: Harness, folder: Path) -> Iterator[tuple[str, Attempt]]:
    """Yield every case of every table, by name."""
    yield from ((name, partial(try_url, url)) for name, url in URLS.items())
    yield from ((name, partial(try_name, addresses)) for name, addresses in NAMED.items())
    yield "a name that changes between check and connection", try_changing_name
    yield "a name that changes before a redirect", partial(try_changing_name, "https://cdn.example/next")
    yield "a redirect to a name that leads here", partial(try_changing_name, "https://inner.example/")
    yield from ((name, partial(try_location, location)) for name, location in LOCATIONS.items())
    yield from ((name, partial(try_answer, answer)) for name, answer in ANSWERS.items())
    yield from ((name, partial(try_picture, data)) for name, data in PICTURES.items())
    yield from ((f"as a cover, {name}", partial(try_cover, folder, PICTURES[name])) for name in COVERS)
    yield from ((name, partial(try_path, folder, *parts)) for name, parts in NAMES.items())
    for n, (name, unwanted) in enumerate(UNWANTED.items()):
        yield name, partial(try_saving, folder / str(n), *unwanted)
    for n, (name, unshown) in enumerate(UNSHOWN.items()):
        yield name, partial(try_reading, flowport, folder, n, *unshown)


@pytest.fixture(scope="module")
async def sandbox() -> AsyncIterator[SandboxClient]:
    """Run one sandbox for the tests of this module."""
    async with open_sandbox() as client:
        yield client


async def test_no_hostile_output_is_let_through(
    sandbox: SandboxClient, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """The author of an app must not reach this computer's network, fill its memory, or run a program in a client."""
    async with open_harness(sandbox, tmp_path / "person", should_save_outputs=False) as flowport:
        attempts = dict(iterate_attempts(flowport, tmp_path))
        outcomes = {name: await attempt() for name, attempt in attempts.items()}

    through = [name for name, is_through in outcomes.items() if is_through]
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\nhostile outputs: {len(outcomes)} tried, {len(through)} let through: {', '.join(outcomes)}")  # noqa: T201
    assert through == []
    assert len(outcomes) >= MIN_TRIED


async def test_harmless_outputs_pass_each_check(tmp_path: Path) -> None:
    """Harmless cases pass each check, which proves that the checks can fail."""
    buffer = io.BytesIO()
    Image.new("RGB", (90, 90)).save(buffer, "PNG")
    good = buffer.getvalue()

    assert await try_answer(build_answer(good))
    assert await try_location("/next")
    assert await try_picture(good)
    assert await try_cover(tmp_path, good)
    assert await try_saving(tmp_path / "saved", OutputKind.IMAGE, "text/html", good)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
