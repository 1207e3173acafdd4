"""A provider whose runs end at once: starts and polls over HTTP, in a separate process.

    python instant_provider.py [--running | --pictures]

With the first flag no run ever ends; with the second the result is a picture that can be fetched here. Prints its URL and serves
until it is killed. It is minimal, because its own cost hides what is measured.
"""

import asyncio
import base64
import itertools
import json
import sys
from typing import Any, Final

_PICTURE: Final = {"id": "c1", "url": "https://cdn.example/1.png?token=exp_4000000000"}
_LOOK: Final = {"data": {"status": "completed", "error_message": None, "result": {"images": [_PICTURE]}}}
_RUNNING: Final = {"data": {"status": "running", "error_message": None, "result": None}}
_numbers = itertools.count()
_PIXEL: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGPgEpEDAABoAD1UCKP3AAAAAElFTkSuQmCC"
)
_places: list[str] = []
"""The address of this process, once it listens."""


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.split(b"\r\n") if line.lower()[:15] == b"content-length:"), 0
            )
            await reader.readexactly(length)
            status, kind, data = build_response(head, _places[0] if "--pictures" in sys.argv else "")
            lines = f"HTTP/1.1 {status} OK\r\ncontent-type: {kind}\r\ncontent-length: {len(data)}\r\n\r\n"
            writer.write(lines.encode() + data)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def build_response(head: bytes, place: str) -> tuple[int, str, bytes]:
    """Return the status, the type and the body of the response to a request, of which the first line counts.

    Args:
        place: Where the pictures are; empty where they are nowhere.
    """
    if head.startswith(b"GET /pictures/"):
        return 200, "image/png", _PIXEL
    status, body = choose(head, place)
    return status, "application/json", json.dumps(body).encode()


def choose(head: bytes, place: str) -> tuple[int, dict[str, Any]]:
    """Return the answer of the API; lists of apps fail, so that the cached catalogue is used."""
    if head.startswith(b"POST "):
        return 202, {"status": "running", "workflow_run_identifier": f"remote-{next(_numbers)}"}
    if b"/runs/" not in head.partition(b"\r\n")[0]:
        return 500, {}
    if place:
        picture = {**_PICTURE, "url": f"{place}/pictures/{next(_numbers)}.png?token=exp_4000000000"}
        return 200, {"data": {"status": "completed", "error_message": None, "result": {"images": [picture]}}}
    return 200, _RUNNING if "--running" in sys.argv else _LOOK


async def main() -> None:
    """Serve on a free port."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1000)
    _places.append(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    sys.stdout.write(f"{_places[0]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
