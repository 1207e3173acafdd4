"""Files that clients upload before a run: an address to put them to, good for two minutes, and a link for a day.

Magnific's page upload-files, read through clients that implement it. What those leave open is marked.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from flowport.sandbox.engine import Product, ProductKind
from flowport.sandbox.refusals import Refused
from flowport.sandbox.timestamps import format_instant

UPLOAD_PREFIX: Final = "/uploads/"
UPLOAD_SECONDS: Final = 120
ASSET_SECONDS: Final = 86_400
MAX_FILES: Final = 14
CONTENT_TYPES: Final = ("image/png", "image/jpeg", "image/webp")
KEY_HEADERS: Final = frozenset({"x-magnific-api-key", "x-freepik-api-key", "authorization"})

_LENGTH_RANGE: Final = "0,1073741824"
MAX_KEPT_BYTES: Final = 64_000_000
"""What this store takes of the gigabyte that the header allows: it keeps files in memory."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One place for a file."""

    id: str
    content_type: str
    put_until: float
    asset_until: float
    created_at: float
    data: bytes | None = field(default=None, repr=False)
    """None until the file was put."""

    @property
    def headers(self) -> dict[str, str]:
        """What a client must echo, letter by letter. That the type is among them is assumed."""
        return {"x-goog-content-length-range": _LENGTH_RANGE, "Content-Type": self.content_type}


class UploadStore:
    """All uploads, in memory, and the secret that signs their addresses."""

    def __init__(self, origin: str, clock: Callable[[], float] = time.time) -> None:
        """Start empty; `origin` is where files are put and fetched, without a final slash."""
        self._origin = origin
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._uploads: dict[str, Upload] = {}

    def request(self, content_types: Sequence[str]) -> list[dict[str, Any]]:
        """Make a place for each file and describe it as request-url does."""
        now = self._clock()
        made = [
            Upload(secrets.token_hex(8), kind, now + UPLOAD_SECONDS, now + ASSET_SECONDS, now) for kind in content_types
        ]
        self._uploads |= {upload.id: upload for upload in made}
        return [self._describe_place(upload) for upload in made]

    def check_put(self, upload_id: str, signature: str, headers: Mapping[str, str]) -> None:
        """Let a PUT with the right address and headers pass.

        Raises:
            Refused: 404, 403 or 400. Which statuses the real storage answers is not documented; those of its kind are
                403 for whatever the signature does not cover, its end included.
        """
        upload = self._uploads.get(upload_id)
        if upload is None:
            raise Refused(404, "Not found")
        if not self._is_signed(upload, "put", signature):
            raise Refused(403, "The signature of the upload is wrong")
        if upload.put_until <= self._clock():
            raise Refused(403, "The upload address has expired")
        if KEY_HEADERS & {name.lower() for name in headers}:
            raise Refused(400, "The API key does not belong here")
        for name, value in upload.headers.items():
            if headers.get(name.lower()) != value:
                raise Refused(403, f"The header {name} is not what was signed")

    def put(self, upload_id: str, data: bytes) -> None:
        """Keep the bytes of an upload that `check_put` let pass; a second time replaces them."""
        if upload_id in self._uploads:
            self._uploads[upload_id] = replace(self._uploads[upload_id], data=data)

    def expire(self, upload_id: str, *, is_place: bool) -> None:
        """End now the life of the address to put to, or of the asset; raises `Refused` with 404 for an unknown one."""
        if upload_id not in self._uploads:
            raise Refused(404, "Not found")
        upload = self._uploads[upload_id]
        self._uploads[upload_id] = replace(upload, put_until=0.0) if is_place else replace(upload, asset_until=0.0)

    def open_asset(self, upload_id: str, token: str) -> Product:
        """Return an uploaded file; raises `Refused` with 404 or 403."""
        upload = self._uploads.get(upload_id)
        if upload is None or upload.data is None:
            raise Refused(404, "Not found")
        if not self._is_signed(upload, "asset", token) or upload.asset_until <= self._clock():
            raise Refused(403, "The link has expired or its token is wrong")
        return Product(ProductKind.IMAGES, "upload", upload.content_type, upload.data)

    def open_url(self, url: str) -> Product | None:
        """Return what an asset's link means, or None for a link of another kind; raises `Refused` as `open_asset`."""
        prefix = f"{self._origin}{UPLOAD_PREFIX}"
        if not url.startswith(prefix):
            return None
        parts = urlsplit(url)
        upload_id, _, rest = parts.path.removeprefix(UPLOAD_PREFIX).partition("/")
        if rest != "asset":
            raise Refused(404, "Not found")
        return self.open_asset(upload_id, parse_qs(parts.query).get("token", [""])[0])

    def list_uploads(self) -> list[dict[str, Any]]:
        """Describe all uploads whose file has come. The shape of this list is assumed."""
        kept = [upload for upload in self._uploads.values() if upload.data is not None]
        return [
            {
                "file_id": upload.id,
                "content_type": upload.content_type,
                "size": len(upload.data or b""),
                "created_at": format_instant(upload.created_at),
                "asset_url": self._build_asset_url(upload),
            }
            for upload in kept
        ]

    def clear(self) -> None:
        """Forget all uploads."""
        self._uploads.clear()

    def _describe_place(self, upload: Upload) -> dict[str, Any]:
        signature = self._sign(upload, "put")
        return {
            "file_id": upload.id,
            "upload_url": f"{self._origin}{UPLOAD_PREFIX}{upload.id}?signature={signature}",
            "headers": upload.headers,
            "expires_in": UPLOAD_SECONDS,
            "asset_url": self._build_asset_url(upload),
            "asset_url_expires_in": ASSET_SECONDS,
        }

    def _build_asset_url(self, upload: Upload) -> str:
        return f"{self._origin}{UPLOAD_PREFIX}{upload.id}/asset?token={self._sign(upload, 'asset')}"

    def _is_signed(self, upload: Upload, purpose: str, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._sign(upload, purpose).encode())

    def _sign(self, upload: Upload, purpose: str) -> str:
        return hmac.new(self._secret, f"{purpose}|{upload.id}".encode(), hashlib.sha256).hexdigest()
