"""Finished files and uploads (Magnific's page upload-files), and the signed links that lead to them."""

import hmac
import math
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from flowport.sandbox.apps import Product, ProductKind
from flowport.sandbox.storage import Storage
from flowport.sandbox.web import KEY_HEADERS, Refused, format_instant

NOT_ITS_OWN: Final = "The sandbox takes files of this computer and its own results"
LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})
FILES_PREFIX: Final = "/private/production/"
UPLOAD_PREFIX: Final = "/uploads/"
UPLOAD_SECONDS: Final = 120
ASSET_SECONDS: Final = 86_400
FILE_SECONDS: Final = 7 * 86_400  # how long an upload is listed; its link lives shorter
MAX_FILES: Final = 14
MAX_KEPT_BYTES: Final = 64_000_000  # what is taken of the gigabyte that the header allows: files pass through memory
CONTENT_TYPES: Final[Mapping[str, ProductKind]] = {
    **dict.fromkeys(("image/png", "image/jpeg", "image/webp"), ProductKind.IMAGES),
    **dict.fromkeys(("video/mp4", "video/webm", "video/quicktime"), ProductKind.VIDEOS),
    **dict.fromkeys(("audio/mpeg", "audio/wav", "audio/mp4", "audio/webm", "audio/ogg"), ProductKind.AUDIOS),
}
"""The eleven types that clients of the real provider name, and what a creation of each is."""
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_SUFFIXES: Final = {"image/png": ".png", "image/jpeg": ".jpg", "video/mp4": ".mp4", "audio/wav": ".wav"}


class Files:
    """All files of the sandbox: those of runs, and those that were uploaded, which have no run."""

    def __init__(
        self, origin: str, storage: Storage, link_seconds: float, clock: Callable[[], float] = time.time
    ) -> None:
        """Use what the storage holds; `origin` is where the files are served, without a final slash."""
        self.origin = origin
        self._storage = storage
        self._link_seconds = link_seconds
        self._clock = clock

    def add(self, run_id: str, product: Product) -> None:
        """Keep a product of a run; raises `OSError`."""
        self._insert(run_id, product, self._link_seconds, product.data)

    def describe_run(self, run_id: str) -> dict[str, list[dict[str, Any]]]:
        """Describe the files of a run as get-run does, with fresh links where the last ones have expired."""
        found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in ProductKind}
        for row in self._storage.read("SELECT * FROM files WHERE run_id = ? ORDER BY rowid", run_id):
            item = {name: row[name] for name in ("id", "tool", "width", "height")}
            item |= {"url": self._get_url(row, self._link_seconds), "duration": row["duration_seconds"]}
            found[row["kind"]].append({**item, "created_at": format_instant(row["created_at"])})
        return found

    def find(self, value: str) -> Product | None:
        """Return the file that an id or a link names, else None; raises `Refused` with 422 for an unusable link."""
        if (row := self._get(value)) is not None and row["content"] is not None:
            return _build_product(row)
        if not _URL.match(value):
            return None
        try:
            parts = urlsplit(value)
            # An earlier process may have listened on another port: the signature decides.
            is_here = parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS and parts.port != 0
        except ValueError:
            is_here = False
        if not is_here or not parts.path.startswith(FILES_PREFIX):
            raise Refused(422, NOT_ITS_OWN)
        try:
            return self.open_link(parts.path, parse_qs(parts.query).get("token", [""])[0])
        except Refused as exc:
            raise Refused(422, exc.message) from exc

    def open_link(self, path: str, token: str) -> Product:
        """Return the file of a link; raises `Refused` with 404, or with 403 for a wrong or expired token."""
        row = self._get(path.removeprefix(FILES_PREFIX).partition("/")[0])
        if row is None or row["content"] is None or path != _build_path(row):
            raise Refused(404, "Not found")
        is_signed = hmac.compare_digest(token.encode(), self._build_token(row).encode())
        if not is_signed or row["link_expires_at"] <= self._clock():
            raise Refused(403, "The link has expired or its token is wrong")
        return _build_product(row)

    def request_uploads(self, content_types: Sequence[str]) -> list[dict[str, Any]]:
        """Make a place for each file and describe it as request-url does; raises `OSError`."""
        products = [Product(CONTENT_TYPES[kind], "upload", kind, b"") for kind in content_types]
        return [self._describe_place(self._insert(None, product, ASSET_SECONDS)) for product in products]

    def check_put(self, upload_id: str, signature: str, headers: Mapping[str, str]) -> None:
        """Check the address and the headers of a PUT; raises `Refused`. The real storage's statuses are not documented."""
        row = self._get(upload_id)
        if row is None or row["run_id"] is not None:
            raise Refused(404, "Not found")
        if not hmac.compare_digest(signature.encode(), self._storage.sign(f"put|{upload_id}").encode()):
            raise Refused(403, "The signature of the upload is wrong")
        if row["created_at"] + UPLOAD_SECONDS <= self._clock():
            raise Refused(403, "The upload address has expired")
        if {*KEY_HEADERS, "authorization"} & {name.lower() for name in headers}:
            raise Refused(400, "The API key does not belong here")
        for name, value in _build_headers(row["mime_type"]).items():
            if headers.get(name.lower()) != value:
                raise Refused(403, f"The header {name} is not what was signed")

    def put(self, upload_id: str, data: bytes) -> None:
        """Keep the bytes of an upload that `check_put` let pass; raises `Refused` with 507."""
        try:
            with self._storage.write() as changes:
                changes.execute("UPDATE files SET content = ? WHERE id = ?", (data, upload_id))
        except OSError as exc:
            raise Refused(507, f"The sandbox cannot store the file ({exc.strerror})") from exc

    def list_uploads(self) -> list[dict[str, Any]]:
        """Describe all uploads whose file has come, with fresh links where the last ones have expired."""
        now = self._clock()
        rows = self._storage.read(
            "SELECT * FROM files WHERE run_id IS NULL AND content IS NOT NULL AND created_at > ? ORDER BY rowid",
            now - FILE_SECONDS,
        )
        return [{**_describe_upload(row), **self._describe_asset(row)} for row in rows]

    def _insert(self, run_id: str | None, product: Product, link_seconds: float, content: bytes | None = None) -> Any:
        now, file_id = self._clock(), secrets.token_hex(8)
        size = (product.width, product.height, product.duration_seconds)
        values = (file_id, run_id, product.kind, product.tool, product.mime_type, *size, now, int(now + link_seconds))
        with self._storage.write() as changes:
            changes.execute("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*values, content))
        return self._get(file_id)

    def _get(self, file_id: str) -> Any:
        rows = self._storage.read("SELECT * FROM files WHERE id = ?", file_id)
        return rows[0] if rows else None

    def _get_url(self, row: Any, link_seconds: float) -> str:
        if row["link_expires_at"] <= self._clock():
            with self._storage.write() as changes:
                expires_at = int(self._clock() + link_seconds)
                changes.execute("UPDATE files SET link_expires_at = ? WHERE id = ?", (expires_at, row["id"]))
            row = self._get(row["id"])
        return f"{self.origin}{_build_path(row)}?token={self._build_token(row)}"

    def _build_token(self, row: Any) -> str:
        expires_at = row["link_expires_at"]
        return f"exp_{expires_at}~hmac_{self._storage.sign(f'{_build_path(row)}|{expires_at}')}"

    def _describe_place(self, row: Any) -> dict[str, Any]:
        return {
            "file_id": row["id"],
            "upload_url": f"{self.origin}{UPLOAD_PREFIX}{row['id']}?signature={self._storage.sign('put|' + row['id'])}",
            "headers": _build_headers(row["mime_type"]),
            "expires_in": UPLOAD_SECONDS,
            **self._describe_asset(row),
        }

    def _describe_asset(self, row: Any) -> dict[str, Any]:
        url = self._get_url(row, ASSET_SECONDS)
        expires_at = self._get(row["id"])["link_expires_at"]
        return {"asset_url": url, "asset_url_expires_in": math.ceil(expires_at - self._clock())}


def _describe_upload(row: Any) -> dict[str, Any]:
    instants = {"created_at": row["created_at"], "expires_at": row["created_at"] + FILE_SECONDS}
    described = {"file_id": row["id"], "content_type": row["mime_type"], "size_bytes": len(row["content"])}
    return described | {name: format_instant(instant) for name, instant in instants.items()}


def _build_path(row: Any) -> str:
    return f"{FILES_PREFIX}{row['id']}/{'asset' if row['run_id'] is None else 'render' + _SUFFIXES[row['mime_type']]}"


def _build_headers(mime_type: str) -> dict[str, str]:
    """Return what a client must echo. That the type is among them is assumed."""
    return {"x-goog-content-length-range": "0,1073741824", "Content-Type": mime_type}


def _build_product(row: Any) -> Product:
    size = (row["width"], row["height"], row["duration_seconds"])
    return Product(ProductKind(row["kind"]), row["tool"], row["mime_type"], row["content"], *size)
