"""A worker of a team, on the instant provider, which is polled without pauses.

    python team_worker.py <home> <provider url> <database url> <saves: yes or no> <provider in this process: yes or no>

Prints a line when it has begun, and works until its standard input ends. With TEAM_WORKER_PROFILE it writes a profile there.
A provider in this process answers in place of the HTTP library's connections: requests and responses are built and read, and
no byte is sent.
"""

import cProfile
import gc
import os
import sys
from pathlib import Path
from unittest import mock

import anyio
import anyio.to_thread
import httpx2
from instant import open_team
from instant_provider import build_response

from flowport.cli.serve import SWITCH_SECONDS, YOUNG_OBJECTS


class InstantTransport(httpx2.AsyncBaseTransport):
    """Answers as the instant provider does, with the library's events."""

    def __init__(self, **_: object) -> None:
        """Take the place of the library's transport."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Return the answer at once."""
        for step in ("send_request_headers", "send_request_body", "receive_response_headers"):
            for moment in ("started", "complete"):
                if (trace := request.extensions.get("trace")) is not None:
                    await trace(f"http11.{step}.{moment}", {"request": request})
        place = str(request.url.copy_with(raw_path=b"/"))[:-1]
        status, kind, body = build_response(f"{request.method} {request.url.raw_path.decode()}".encode(), place)
        return httpx2.Response(status, headers={"content-type": kind}, stream=httpx2.ByteStream(body), request=request)


async def main() -> None:
    """Work until the input ends."""
    home, url, database_url, saves, is_in_process = sys.argv[1:]
    if is_in_process == "yes":
        # Every connection is made with it.
        mock.patch.object(httpx2, "AsyncHTTPTransport", InstantTransport).start()
    sys.setswitchinterval(SWITCH_SECONDS)
    async with open_team(Path(home), url, database_url, is_worker=True, should_save_outputs=saves == "yes"):
        # As the program does.
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await anyio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)


if __name__ == "__main__":
    if path := os.environ.get("TEAM_WORKER_PROFILE"):
        with cProfile.Profile() as profile:
            anyio.run(main)
        profile.dump_stats(path)
    else:
        anyio.run(main)
