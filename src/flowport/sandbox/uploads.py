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

from flowport.sandbox.engine import Product, ProductKind
from flowport.sandbox.files import parse_own_link
from flowport.sandbox.refusals import Refused
from flowport.sandbox.storage import Blob, Fields, MemoryStorage, Storage
from flowport.sandbox.timestamps import format_instant

UPLOAD_PREFIX: Final = "/uploads/"
UPLOAD_SECONDS: Final = 120
ASSET_SECONDS: Final = 86_400
FILE_SECONDS: Final = 7 * 86_400
"""How long a file is kept; the link to it lives shorter."""
MAX_FILES: Final = 14
CONTENT_TYPES: Final[Mapping[str, ProductKind]] = {
    **dict.fromkeys(("image/png", "image/jpeg", "image/webp"), ProductKind.IMAGES),
    **dict.fromkeys(("video/mp4", "video/webm", "video/quicktime"), ProductKind.VIDEOS),
    **dict.fromkeys(("audio/mpeg", "audio/wav", "audio/mp4", "audio/webm", "audio/ogg"), ProductKind.AUDIOS),
}
"""The eleven types that clients of the real provider name, and what a creation of each is."""

KEY_HEADERS: Final = frozenset({"x-magnific-api-key", "x-freepik-api-key", "authorization"})

_LENGTH_RANGE: Final = "0,1073741824"
MAX_KEPT_BYTES: Final = 64_000_000
"""What this store takes of the gigabyte that the header allows: files pass through memory."""

_KIND: Final = "upload"
"""Of its records."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One place for a file."""

    id: str
    content_type: str
    put_until: float
    asset_until: float
    created_at: float
    content: Blob | None = field(default=None, repr=False)
    """None until the file was put."""

    @property
    def size_bytes(self) -> int:
        """The length of the file; 0 until it was put."""
        return 0 if self.content is None else self.content.size_bytes

    @property
    def headers(self) -> dict[str, str]:
        """What a client must echo, letter by letter. That the type is among them is assumed."""
        return {"x-goog-content-length-range": _LENGTH_RANGE, "Content-Type": self.content_type}


class UploadStore:
    """All uploads, and the secret that signs their addresses."""

    def __init__(self, origin: str, clock: Callable[[], float] = time.time, storage: Storage | None = None) -> None:
        """Start with what the storage holds; `origin` is where files are put and fetched, without a final slash."""
        self._origin = origin
        self._clock = clock
        self._storage = storage or MemoryStorage()
        self._secret = self._storage.derive_secret("uploads")
        self._uploads: dict[str, Upload] = {}
        for upload_id, fields in self._storage.load(_KIND).items():
            if (upload := _restore(upload_id, fields, self._storage)) is not None:
                self._uploads[upload_id] = upload

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
        """Keep the bytes of an upload that `check_put` let pass; a second time replaces them.

        Raises:
            Refused: 507 when they cannot be stored.
        """
        if upload_id not in self._uploads:
            return
        try:
            upload = replace(self._uploads[upload_id], content=self._storage.keep(data))
            self._write(upload)
        except OSError as exc:
            raise Refused(507, f"The sandbox cannot store the file ({exc.strerror})") from exc
        self._uploads[upload_id] = upload

    def expire(self, upload_id: str, *, is_place: bool) -> None:
        """End now the life of the address to put to, or of the asset; raises `Refused` with 404 for an unknown one."""
        if upload_id not in self._uploads:
            raise Refused(404, "Not found")
        upload = self._uploads[upload_id]
        upload = replace(upload, put_until=0.0) if is_place else replace(upload, asset_until=0.0)
        self._uploads[upload_id] = upload
        self._write(upload)

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
        """Tell whether a file has come and its link works."""
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
                "size_bytes": upload.content.size_bytes,
                "created_at": format_instant(upload.created_at),
                "expires_at": format_instant(upload.created_at + FILE_SECONDS),
                "asset_url": self._build_asset_url(upload),
                "asset_url_expires_in": max(0, int(upload.asset_until - now)),
            }
            for upload in self._uploads.values()
            if upload.content is not None
        ]

    def remove(self, upload_id: str) -> None:
        """Forget an upload; raises `OSError`."""
        self._storage.remove(_KIND, upload_id)
        self._uploads.pop(upload_id, None)

    def clear(self) -> None:
        """Forget all uploads."""
        self._uploads.clear()

    def _write(self, upload: Upload) -> None:
        # A place without a file is not worth a record: it lives for two minutes.
        if upload.content is None:
            return
        fields = {
            "content_type": upload.content_type,
            "put_until": upload.put_until,
            "asset_until": upload.asset_until,
            "created_at": upload.created_at,
            "size_bytes": upload.content.size_bytes,
        }
        self._storage.put(_KIND, upload.id, fields, [upload.content])

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


def _restore(upload_id: str, fields: Fields, storage: Storage) -> Upload | None:
    """Return the upload of a record; None when something about it is missing."""
    try:
        (sha256,) = fields["blobs"]
        if fields["content_type"] not in CONTENT_TYPES:
            return None
        return Upload(
            upload_id,
            fields["content_type"],
            float(fields["put_until"]),
            float(fields["asset_until"]),
            float(fields["created_at"]),
            storage.open_blob(sha256, int(fields["size_bytes"])),
        )
    except (KeyError, TypeError, ValueError):
        return None
