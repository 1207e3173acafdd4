"""The finished files, and the second origin that serves them by links that expire."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from flowport.sandbox.apps import Product
from flowport.sandbox.files import LOOPBACK_HOSTS, NOT_ITS_OWN
from flowport.sandbox.web import Refused

PATH_PREFIX: Final = "/private/production/"

_SUFFIXES: Final = {"image/png": ".png", "image/jpeg": ".jpg", "video/mp4": ".mp4", "audio/wav": ".wav"}


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of one run."""

    id: str
    """The id of the result item; a later run may name it as its input."""
    app_id: str
    product: Product
    created_at: float
    link_expires_at: int
    """A whole second, as the link's token has it."""
    links_drawn: int = 0
    """How many links were made before the present one; the earlier ones are no longer good."""

    @property
    def path(self) -> str:
        """The path of the file's links."""
        return f"{PATH_PREFIX}{self.id}/render{_SUFFIXES[self.product.mime_type]}"


class FileStore:
    """All files of the sandbox, and the secret that signs their links."""

    def __init__(self, origin: str, link_seconds: float, clock: Callable[[], float] = time.time) -> None:
        """Begin with none; `origin` is where the files are served, without a final slash."""
        self.origin = origin
        self._link_seconds = link_seconds
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._files: dict[str, StoredFile] = {}

    def add(self, app_id: str, product: Product) -> StoredFile:
        """Keep a product under a new id."""
        now = self._clock()
        file = StoredFile(secrets.token_hex(8), app_id, product, now, int(now + self._link_seconds))
        self._files[file.id] = file
        return file

    def get(self, file_id: str) -> StoredFile | None:
        """Return the file with this id, or None."""
        return self._files.get(file_id)

    def get_all(self) -> tuple[StoredFile, ...]:
        """Return all files, the oldest first."""
        return tuple(self._files.values())

    def get_url(self, file_id: str) -> str:
        """Return the file's present link, a fresh one when the last has expired.

        Whether the real provider issues fresh links is not documented; the sandbox does.
        """
        file = self._files[file_id]
        now = self._clock()
        if file.link_expires_at <= now:
            file = self._replace_link(file, int(now + self._link_seconds))
        return f"{self.origin}{file.path}?token={self._sign(file)}"

    def expire_link(self, file_id: str) -> None:
        """End the life of the file's present link now."""
        self._replace_link(self._files[file_id], 0)

    def open_link(self, path: str, token: str) -> StoredFile:
        """Return the file that a link points to.

        Raises:
            Refused: 404 without such a file; 403 when the token is wrong or its time is over.
        """
        file = self._files.get(path.removeprefix(PATH_PREFIX).partition("/")[0])
        if file is None or path != file.path:
            raise Refused(404, "Not found")
        is_signed = hmac.compare_digest(token.encode(), self._sign(file).encode())
        # The status of an expired link is not documented; 403 is what signed links answer elsewhere.
        if not is_signed or file.link_expires_at <= self._clock():
            raise Refused(403, "The link has expired or its token is wrong")
        return file

    def open_url(self, url: str) -> StoredFile:
        """Return the file behind a complete URL; raises `Refused` as `open_link` does, and 422 for other origins."""
        link = parse_own_link(url, self.origin)
        if link is None:
            raise Refused(422, NOT_ITS_OWN)
        if not link.is_present and not link.path.startswith(PATH_PREFIX):
            # Some other program of this computer.
            raise Refused(422, NOT_ITS_OWN)
        return self.open_link(link.path, link.token)

    def clear(self) -> None:
        """Forget all files."""
        self._files.clear()

    def _replace_link(self, file: StoredFile, expires_at: int) -> StoredFile:
        fresh = replace(file, link_expires_at=expires_at, links_drawn=file.links_drawn + 1)
        self._files[file.id] = fresh
        return fresh

    def _sign(self, file: StoredFile) -> str:
        text = f"{file.path}|{file.link_expires_at}|{file.links_drawn}"
        digest = hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()
        return f"exp_{file.link_expires_at}~hmac_{digest}"


@dataclass(frozen=True, slots=True)
class OwnLink:
    """A link that may be one of this sandbox's."""

    path: str
    token: str
    is_present: bool
    """Whether it names where the sandbox listens now."""


def parse_own_link(url: str, origin: str) -> OwnLink | None:
    """Return the parts of a link that leads to this sandbox, or to where it may have listened before; None for others.

    The port of an earlier process does not matter: who made a link is reported by its signature.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    is_own = f"{parts.scheme}://{parts.netloc}" == origin
    if not is_own and not (parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS):
        return None
    return OwnLink(parts.path, parse_qs(parts.query).get("token", [""])[0], is_own)


def build_file_answer(files: FileStore, request: Request) -> Response:
    """Answer a request of the files origin: the bytes with their type and length, or a refusal."""
    return build_content(files.open_link(request.url.path, request.query_params.get("token", "")).product)


def build_content(product: Product) -> Response:
    """Answer with a file's content."""
    return Response(product.data, media_type=product.mime_type, headers={"cache-control": "private"})
