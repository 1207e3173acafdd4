"""A provider whose runs end at once: starts and polls over HTTP, in a separate process.

    python instant_provider.py [--running]

With the flag no run ever ends. Prints its URL and serves until it is killed. It is minimal, because its own cost hides what is measured.
"""

import asyncio
import itertools
import json
import sys
from typing import Any, Final

_PICTURE: Final = {"id": "c1", "url": "https://cdn.example/1.png?token=exp_4000000000"}
_LOOK: Final = {"data": {"status": "completed", "error_message": None, "result": {"images": [_PICTURE]}}}
_RUNNING: Final = {"data": {"status": "running", "error_message": None, "result": None}}
_numbers = itertools.count()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.split(b"\r\n") if line.lower()[:15] == b"content-length:"), 0
            )
            await reader.readexactly(length)
            status, body = choose(head)
            data = json.dumps(body).encode()
            writer.write(
                f"HTTP/1.1 {status} OK\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n".encode()
                + data
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def choose(head: bytes) -> tuple[int, dict[str, Any]]:
    """Return the response to a request; lists of apps fail, so that the cached catalogue is used."""
    if head.startswith(b"POST "):
        return 202, {"status": "running", "workflow_run_identifier": f"remote-{next(_numbers)}"}
    look = _RUNNING if "--running" in sys.argv else _LOOK
    return (200, look) if b"/runs/" in head.partition(b"\r\n")[0] else (500, {})


async def main() -> None:
    """Serve on a free port."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1000)
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
