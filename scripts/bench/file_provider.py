"""A provider whose one app returns the requested files, however large, over Magnific's API on the loopback."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

APP_ID: Final = "show"
TOOL_NAME: Final = "show"
LARGE_NAME: Final = "large.mp4"
"""A video of zeros, which is not on the disk."""
LARGE_BYTES: Final = 500 * 1024**2

_MP4_HEAD: Final = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2"
_PIECE: Final = bytes(1024**2)
_APP: Final = {
    "sqid": APP_ID,
    "name": "Show",
    "inputs": [{"id": "names", "api_key": "names", "type": "text", "label": "Names", "required": True}],
}


class _Handler(BaseHTTPRequestHandler):
    """Answers the few requests of a run."""

    protocol_version = "HTTP/1.1"
    folder = Path()

    def do_GET(self) -> None:
        """Answer a GET request."""
        *_, kind, name = unquote(self.path).split("/")
        if kind == "file":
            self._send_file(name)
        elif kind == "runs":
            self._send({"data": {"status": "completed", "result": self._build_result(name.split("+"))}})
        else:
            self._send({"data": [_APP] if name == "flows" else _APP})

    def do_POST(self) -> None:
        """Start a run, whose id contains the names of its outputs."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._send({"workflow_run_identifier": body["inputs"]["names"]}, status=202)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Log nothing."""

    @property
    def _origin(self) -> str:
        return f"http://127.0.0.1:{self.connection.getsockname()[1]}"

    def _build_result(self, names: list[str]) -> dict[str, Any]:
        items = [{"url": f"{self._origin}/file/{name}"} for name in names]
        return {"videos" if names == [LARGE_NAME] else "images": items}

    def _send(self, value: Any, *, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self._begin(status, len(body))
        self.wfile.write(body)

    def _send_file(self, name: str) -> None:
        if name != LARGE_NAME:
            data = (self.folder / name).read_bytes()
            self._begin(200, len(data))
            self.wfile.write(data)
            return
        self._begin(200, LARGE_BYTES)
        self.wfile.write(_MP4_HEAD + bytes(len(_PIECE) - len(_MP4_HEAD)))
        for _ in range(LARGE_BYTES // len(_PIECE) - 1):
            self.wfile.write(_PIECE)

    def _begin(self, status: int, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()


@contextmanager
def open_file_provider(folder: Path) -> Iterator[str]:
    """Serve the files of a folder as outputs, and yield the URL of the API."""
    handler = type("Handler", (_Handler,), {"folder": folder})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
