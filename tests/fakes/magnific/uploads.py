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

from flowport.sandbox.apps import Product
from flowport.sandbox.files import ASSET_SECONDS, CONTENT_TYPES, FILE_SECONDS, UPLOAD_PREFIX, UPLOAD_SECONDS
from flowport.sandbox.web import KEY_HEADERS, Refused, format_instant
from tests.fakes.magnific.files import parse_own_link

_LENGTH_RANGE: Final = "0,1073741824"


@dataclass(frozen=True, slots=True)
class Upload:
    """One place for a file."""

    id: str
    content_type: str
    put_until: float
    asset_until: float
    created_at: float
    content: bytes | None = field(default=None, repr=False)
    """None until the file was put."""

    @property
    def size_bytes(self) -> int:
        """The length of the file; 0 until it was put."""
        return 0 if self.content is None else len(self.content)

    @property
    def headers(self) -> dict[str, str]:
        """What a client must echo, letter by letter. That the type is among them is assumed."""
        return {"x-goog-content-length-range": _LENGTH_RANGE, "Content-Type": self.content_type}


class UploadStore:
    """All uploads, and the secret that signs their addresses."""

    def __init__(self, origin: str, clock: Callable[[], float] = time.time) -> None:
        """Begin with none; `origin` is where files are put and fetched, without a final slash."""
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
        if {*KEY_HEADERS, "authorization"} & {name.lower() for name in headers}:
            raise Refused(400, "The API key does not belong here")
        for name, value in upload.headers.items():
            if headers.get(name.lower()) != value:
                raise Refused(403, f"The header {name} is not what was signed")

    def put(self, upload_id: str, data: bytes) -> None:
        """Keep the bytes of an upload that `check_put` let pass; a second time replaces them."""
        if upload_id in self._uploads:
            self._uploads[upload_id] = replace(self._uploads[upload_id], content=data)

    def expire(self, upload_id: str, *, is_place: bool) -> None:
        """End now the life of the address to put to, or of the asset; raises `Refused` with 404 for an unknown one."""
        if upload_id not in self._uploads:
            raise Refused(404, "Not found")
        upload = self._uploads[upload_id]
        upload = replace(upload, put_until=0.0) if is_place else replace(upload, asset_until=0.0)
        self._uploads[upload_id] = upload

    def open_asset(self, upload_id: str, token: str) -> Product:
        """Return an uploaded file; raises `Refused` with 404 or 403."""
        upload = self._uploads.get(upload_id)
        if upload is None or upload.content is None:
            raise Refused(404, "Not found")
        if not self._is_signed(upload, "asset", token) or upload.asset_until <= self._clock():
            raise Refused(403, "The link has expired or its token is wrong")
        return Product(CONTENT_TYPES[upload.content_type], "upload", upload.content_type, upload.content)

    def open_url(self, url: str) -> Product | None:
        """Return what an asset's link means, or None for a link of another kind; raises `Refused` as `open_asset`."""
        link = parse_own_link(url, self._origin)
        if link is None or not link.path.startswith(UPLOAD_PREFIX):
            return None
        upload_id, _, rest = link.path.removeprefix(UPLOAD_PREFIX).partition("/")
        if rest != "asset":
            raise Refused(404, "Not found")
        return self.open_asset(upload_id, link.token)

    def has(self, upload_id: str) -> bool:
        """Check whether a file has come and its link works."""
        upload = self._uploads.get(upload_id)
        return upload is not None and upload.content is not None and upload.asset_until > self._clock()

    def get_all(self) -> tuple[Upload, ...]:
        """Return all uploads, the oldest first."""
        return tuple(self._uploads.values())

    def list_uploads(self) -> list[dict[str, Any]]:
        """Describe all uploads whose file has come, and sign a new link where the last has expired.

        Which members the list has is read from clients.
        """
        now = self._clock()
        for upload in self._uploads.values():
            until = min(now + ASSET_SECONDS, upload.created_at + FILE_SECONDS)
            if upload.asset_until <= now < until:
                self._uploads[upload.id] = replace(upload, asset_until=until)
        return [
            {
                "file_id": upload.id,
                "content_type": upload.content_type,
                "size_bytes": len(upload.content),
                "created_at": format_instant(upload.created_at),
                "expires_at": format_instant(upload.created_at + FILE_SECONDS),
                "asset_url": self._build_asset_url(upload),
                "asset_url_expires_in": max(0, int(upload.asset_until - now)),
            }
            for upload in self._uploads.values()
            if upload.content is not None
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
