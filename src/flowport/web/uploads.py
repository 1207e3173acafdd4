"""The upload page: a link that takes one file from a person's device, or from an agent that has the file itself.

`GET` shows a page that works on a phone and without scripts; `POST` takes its form, `PUT` the bytes alone. The link is signed
and expires, and the store remembers that it was used. What is uploaded is never served again.
"""

import base64
import hashlib
import html
import logging
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache, partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, assert_never

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from flowport.actions.views.view import format_instant
from flowport.domain.errors import StoreError
from flowport.domain.text import format_size
from flowport.domain.uris import format_upload_name
from flowport.runs.received_files import (
    MAX_FILE_BYTES,
    InUse,
    TooLarge,
    Unfit,
    UploadOutcome,
)
from flowport.store.received_files import Kept, QuotaExceeded, ReceivedFile, TicketUsed
from flowport.web.files import format_ticket
from flowport.web.form_files import FormBroken, iterate_form_file
from flowport.web.signing import Purpose
from flowport.web.site import SAFE_HEADERS, Site

logger = logging.getLogger(__name__)

IDLE_SECONDS: Final = 60.0
"""How long an upload may bring nothing."""

_MAX_SKIPPED_BYTES: Final = 256 * 1024**2
"""Of the rest of a body that is refused: a browser that still sends does not read its answer."""

_MAX_FRAME_BYTES: Final = 10_000
"""What a form adds to its file."""
_LENGTH: Final = re.compile(r"[0-9]{1,15}")

_PAGE_PATH: Final = Path(__file__).with_name("upload.html")
_TICKET: Final = re.compile(r"(?P<id>[a-z0-9]{8,20})\.(?P<expires>[1-9][0-9]{0,11})\.(?P<signature>[0-9a-f]{32})")
_INLINE: Final = re.compile(r"<(script|style)\b[^>]*>(.*?)</\1>", re.DOTALL)
_HEADERS: Final = {
    **SAFE_HEADERS,
    # A form that is sent without any referrer names no origin, and is refused as one of another page.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_TAKES: Final = "an image, a video, a sound or a CSV table"


@dataclass(frozen=True, slots=True)
class _Answer:
    """What became of a request, for a person and for a program."""

    status: HTTPStatus
    message: str
    facts: dict[str, Any]
    is_over: bool = False
    """Whether the link is of no more use, so that the page shows no form."""
    is_done: bool = False


class _Stalled(Exception):
    """No more of the body came."""


class _Body:
    """The body of a request, which may be left before its end."""

    def __init__(self, request: Request) -> None:
        self._receive = request.receive
        # A client that waits to be asked, and is refused, sends nothing.
        self._is_asked = request.headers.get("expect", "").lower() != "100-continue"
        self._is_over = False

    async def iterate(self) -> AsyncIterator[bytes]:
        """Give the pieces.

        Raises:
            _Stalled: No more came for a while, or the client has left.
        """
        while not self._is_over:
            self._is_asked = True
            event = None
            with anyio.move_on_after(IDLE_SECONDS):
                event = await self._receive()
            if event is None or event["type"] != "http.request":
                self._is_over = True
                raise _Stalled
            self._is_over = not event.get("more_body", False)
            if piece := event.get("body", b""):
                yield piece

    async def skip(self) -> None:
        """Read what the client still sends, so that it comes to read its answer."""
        size_bytes = 0
        with anyio.move_on_after(IDLE_SECONDS):
            while self._is_asked and not self._is_over and size_bytes < _MAX_SKIPPED_BYTES:
                event = await self._receive()
                size_bytes += len(event.get("body", b""))
                self._is_over = event["type"] != "http.request" or not event.get("more_body", False)


def build_upload_routes(site: Site) -> list[Route]:
    """Return the routes of the upload page."""
    return [Route("/uploads/{ticket}", partial(_handle, site), methods=["GET", "POST", "PUT"])]


async def _handle(site: Site, request: Request) -> Response:
    is_program, body = request.method == "PUT", _Body(request)
    try:
        found = await _find_ticket(site, request.path_params["ticket"])
        if request.method in {"GET", "HEAD"}:
            return _build_page(found, None) if isinstance(found, ReceivedFile) else _build_page(None, found)
        answer = found if isinstance(found, _Answer) else await _receive(site, request, body, found)
    except StoreError:
        answer = _refuse(HTTPStatus.SERVICE_UNAVAILABLE, "The record of uploads cannot be written just now. Try again.")
        found = answer
    except OSError as exc:
        logger.warning("an upload could not be written: %s", exc.strerror)
        answer = _refuse(HTTPStatus.INSUFFICIENT_STORAGE, "The server could not write the file. Try again later.")
        found = answer
    if answer.status is not HTTPStatus.CREATED:
        await body.skip()
    if is_program:
        return JSONResponse({**answer.facts, "message": answer.message}, answer.status, _HEADERS)
    ticket = found if isinstance(found, ReceivedFile) and not answer.is_over else None
    return _build_page(ticket, answer)


async def _find_ticket(site: Site, text: str) -> ReceivedFile | _Answer:
    """Return the ticket of a link that may be used, or why it may not."""
    given = _TICKET.fullmatch(text)
    if given is None or not site.signer.is_valid(
        Purpose.UPLOAD, format_ticket(given["id"], int(given["expires"])), given["signature"]
    ):
        message = "There is nothing at this address. The link has to be copied whole."
        return _refuse(HTTPStatus.NOT_FOUND, message, is_over=True)
    ticket = await site.tenants.shared.received.find_ticket(given["id"])
    if ticket is not None and ticket.received_at is not None:
        return _describe(TicketUsed(), ticket)
    if ticket is None or int(given["expires"]) <= site.get_now():
        return _refuse(HTTPStatus.GONE, "This link has expired. Ask your assistant for a new one.", is_over=True)
    return ticket


async def _receive(site: Site, request: Request, body: _Body, ticket: ReceivedFile) -> _Answer:
    length = request.headers.get("content-length", "")
    if _LENGTH.fullmatch(length) and int(length) > MAX_FILE_BYTES + _MAX_FRAME_BYTES:
        return _describe(TooLarge(), ticket)
    pieces = body.iterate()
    if request.method == "POST":
        pieces = iterate_form_file(request.headers.get("content-type", ""), pieces)
    try:
        outcome = await site.tenants.shared.received.receive(ticket, pieces)
    except FormBroken as exc:
        return _refuse(HTTPStatus.BAD_REQUEST, f"{exc} Choose a file and send it again.")
    except _Stalled:
        return _refuse(HTTPStatus.REQUEST_TIMEOUT, "The upload stopped before its end. Try again.")
    return _describe(outcome, ticket)


def _describe(outcome: UploadOutcome, ticket: ReceivedFile) -> _Answer:
    """Return what is said of an upload."""
    name = format_upload_name(ticket.id)
    match outcome:
        case Kept(file):
            facts = {
                "use_as": name,
                "mime_type": file.mime_type,
                "size_bytes": file.size_bytes,
                "sha256": file.sha256,
                "expires_at": format_instant(file.expires_at),
            }
            message = "Done. Go back to the chat and say that the file is uploaded."
            return _Answer(HTTPStatus.CREATED, message, facts, is_over=True, is_done=True)
        case TicketUsed():
            message = f"This link was used. The file is {name}; ask your assistant for another link to upload more."
            return _refuse(HTTPStatus.CONFLICT, message, is_over=True)
        case InUse():
            return _refuse(HTTPStatus.CONFLICT, "Another upload by this link has not ended yet.")
        case QuotaExceeded(used_bytes):
            message = (
                f"There is no room for this file: your uploads and results fill {format_size(used_bytes)} of what they may "
                "occupy here. Uploads leave after a week; the operator of the server can make room."
            )
            return _refuse(HTTPStatus.INSUFFICIENT_STORAGE, message)
        case TooLarge():
            return _refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _format_too_large())
        case Unfit(problem):
            return _refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, problem)
        case _:
            assert_never(outcome)


def _format_too_large() -> str:
    return f"The file is larger than {MAX_FILE_BYTES // 1_000_000} MB, the most that can be uploaded. Choose a smaller one."


def _refuse(status: HTTPStatus, message: str, *, is_over: bool = False) -> _Answer:
    return _Answer(status, message, {"error": status.phrase}, is_over=is_over)


@cache
def _read_page() -> tuple[str, str]:
    """Return the page, and the policy that names its style and its script alone."""
    page = _PAGE_PATH.read_text(encoding="utf-8")
    hashes = {
        kind: f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for kind, text in _INLINE.findall(page)
    }
    policy = (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    return page, policy


def _build_page(ticket: ReceivedFile | None, answer: _Answer | None) -> Response:
    """Return the page: with the form for a ticket that can be used, and with what became of the request before."""
    page, policy = _read_page()
    is_done = answer is not None and answer.is_done
    parts = {
        "heading": "The file is uploaded" if is_done else "Upload a file" if ticket else "This link cannot be used",
        "note": "" if answer is None else _build_note(answer),
        "form": "" if ticket is None else _build_form(ticket),
    }
    text = re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], page)
    status = HTTPStatus.OK if answer is None else answer.status
    return Response(
        text, status, {**_HEADERS, "Content-Security-Policy": policy}, media_type="text/html; charset=utf-8"
    )


def _build_note(answer: _Answer) -> str:
    kind = "done" if answer.is_done else "problem"
    name = (
        f"<p>Your assistant knows it as <code>{html.escape(answer.facts['use_as'])}</code>.</p>"
        if answer.is_done
        else ""
    )
    return f'<p class="{kind}">{html.escape(answer.message)}</p>{name}'


def _build_form(ticket: ReceivedFile) -> str:
    purpose = (
        f'<p>Your assistant asks for:</p><p class="purpose">{html.escape(ticket.purpose)}</p>' if ticket.purpose else ""
    )
    most = f"{MAX_FILE_BYTES // 1_000_000} MB"
    return f"""{purpose}
<form method="post" enctype="multipart/form-data" data-most="{MAX_FILE_BYTES}" data-large="{html.escape(_format_too_large())}">
<label class="drop"><span>Choose a file, or drop it on this page</span>
<input type="file" name="file" required aria-describedby="hint"></label>
<p id="hint" class="small">One file: {_TAKES}, of at most {most}. It can be used by your assistant alone, and is removed after a week.</p>
<button type="submit">Upload</button>
<progress hidden aria-label="How much is sent"></progress>
</form>"""
