"""An upload server over real HTTP that records uploads and answers with prepared statuses."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Put:
    """One upload."""

    head: str
    """The request line and the headers, in lower case."""
    sha256: str
    size_bytes: int


@dataclass
class PutServer:
    """The prepared statuses, and the uploads."""

    port: int = 0
    statuses: list[int] = field(default_factory=list)
    """Statuses of the next answers; 200 if empty, and 0 closes the connection without an answer."""
    extra_header: str = ""
    puts: list[Put] = field(default_factory=list)

    @property
    def origin(self) -> str:
        """Its origin."""
        return f"http://127.0.0.1:{self.port}"

    def build_place(self, **changes: object) -> dict[str, object]:
        """Return the provider's answer that names this server as the upload address, as JSON."""
        place = {
            "file_id": "f1",
            "upload_url": f"{self.origin}/put?signature=s",
            "headers": {"x-goog-content-length-range": "0,1073741824", "Content-Type": "image/png"},
            "expires_in": 120,
            "asset_url": "https://storage.example/asset?token=t",
            "asset_url_expires_in": 86400,
        }
        return {"files": [place | changes]}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Receive one file."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        remaining = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        digest, size = hashlib.sha256(), 0
        while size < remaining and (chunk := await reader.read(min(65536, remaining - size))):
            digest.update(chunk)
            size += len(chunk)
        self.puts.append(Put(head, digest.hexdigest(), size))
        status = self.statuses.pop(0) if self.statuses else 200
        if status:
            writer.write(f"HTTP/1.1 {status} X\r\n{self.extra_header}content-length: 0\r\n\r\n".encode())
            await writer.drain()
        writer.close()


@asynccontextmanager
async def open_put_server() -> AsyncIterator[PutServer]:
    """Serve on the loopback interface."""
    served = PutServer()
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    async with server:
        yield served
