"""What clients gave to the media library: files under public URLs that never expire."""

import secrets
from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

from flowport.sandbox.apps import Product, ProductKind
from flowport.sandbox.web import Refused

LIBRARY_PREFIX: Final = "/library/"

_TYPES: Final[Mapping[bytes, tuple[str, ProductKind]]] = {
    b"\x89PNG\r\n\x1a\n": ("image/png", ProductKind.IMAGES),
    b"\xff\xd8\xff": ("image/jpeg", ProductKind.IMAGES),
    b"RIFF": ("image/webp", ProductKind.IMAGES),
    b"ID3": ("audio/mpeg", ProductKind.AUDIOS),
}
_MAX_SIGNATURE: Final = 12


class Library:
    """All files of the library, in memory."""

    def __init__(self, origin: str) -> None:
        """Start empty; `origin` is where files are fetched, without a final slash."""
        self._origin = origin
        self._files: dict[str, Product] = {}

    def add(self, data: bytes) -> str:
        """Keep bytes and return their URL."""
        mime_type, kind = _report_type(data)
        file_id = secrets.token_hex(16)
        self._files[file_id] = Product(kind, "upload", mime_type, data)
        return f"{self._origin}{LIBRARY_PREFIX}{file_id}"

    def get(self, file_id: str) -> Product:
        """Return a file; raises `Refused` with 404."""
        if file_id not in self._files:
            raise Refused(404, "Not found")
        return self._files[file_id]

    def open_url(self, url: str) -> Product | None:
        """Return what a link of the library means, or None for a link of another kind; raises `Refused` as `get`."""
        prefix = f"{self._origin}{LIBRARY_PREFIX}"
        return self.get(url.removeprefix(prefix)) if url.startswith(prefix) else None

    def build_answer(self, file_id: str) -> Response:
        """Answer a request of the files origin; raises `Refused` as `get`."""
        product = self.get(file_id)
        return Response(product.data, media_type=product.mime_type)

    def clear(self) -> None:
        """Forget all files."""
        self._files.clear()


def _report_type(data: bytes) -> tuple[str, ProductKind]:
    if data[4:8] == b"ftyp":
        return "video/mp4", ProductKind.VIDEOS
    if data[:4] == b"RIFF" and data[8:_MAX_SIGNATURE] == b"WAVE":
        return "audio/wav", ProductKind.AUDIOS
    for signature, found in _TYPES.items():
        if data.startswith(signature):
            return found
    return "application/octet-stream", ProductKind.IMAGES
