"""Serve saved results by signed links, which are proof enough and expire, so that they work in a browser and in a chat.

A link names a run and an output, or the table of a batch. What is served comes from others, so no browser runs it: types are
never guessed, only pictures, videos and sounds are shown, and everything else is a download.
"""

import math
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from flowport.domain.errors import RunNotFound, StoreError
from flowport.domain.models import Output, OutputKind, Run
from flowport.runs.file_links import WebLink
from flowport.store.received_files import ReceivedFile
from flowport.web.gallery import FILE_POLICY
from flowport.web.signing import Purpose, Signer
from flowport.web.site import SAFE_HEADERS, Site

HOUR_SECONDS: Final = 3600.0
TABLE: Final = "table"
"""Stands for the number of an output in the link of a batch's table."""

OUTPUTS_PATH: Final = "/outputs/"
"""Below it are the links to results. Pages of any origin may read them, as chats do: the signature is the proof."""

_SHOWN_KINDS: Final = frozenset({OutputKind.IMAGE, OutputKind.VIDEO, OutputKind.AUDIO})
_SVG: Final = "image/svg+xml"
"""The one type of media that carries programs: it is only downloaded."""
_DOWNLOAD: Final = "application/octet-stream"
_PLACE: Final = re.compile(r"/outputs/([a-z0-9_]{1,80})/([1-9][0-9]{0,5})(?:[?#].*)?", re.DOTALL)
_UPLOAD: Final = re.compile(r"/uploads/([a-z0-9]{8,20})(?:[.?#].*)?$", re.DOTALL)
_EXPIRES: Final = re.compile(r"[1-9][0-9]{0,11}")
_AGAIN_SECONDS: Final = 5

_FOREIGN: Final = "There is nothing at this address. A link to a result has to be copied whole."
_EXPIRED: Final = "This link has expired. get_run with the id of the run gives a new one."
_UNSAVED: Final = "This result is not saved here yet. Try again in a moment; get_run has the provider's own link."
_GONE: Final = "This result is no longer here: its run was erased, or its file was removed."
_BROKEN: Final = "The record of runs cannot be read just now. Try again in a moment."


@dataclass(frozen=True, slots=True)
class SignedLinks:
    """The links of a web server that listens; see `WebLinks`."""

    public_url: str
    signer: Signer
    get_now: Callable[[], float]
    link_seconds: float

    def build_output_link(self, run_id: str, n: int) -> WebLink:
        """Return the link of a saved output."""
        return self._build(run_id, str(n))

    def build_table_link(self, batch_id: str) -> WebLink:
        """Return the link of a batch's table."""
        return self._build(batch_id, TABLE)

    def build_upload_link(self, ticket: ReceivedFile) -> WebLink:
        """Return the link under which a file can be uploaded once."""
        expires = int(ticket.expires_at)
        signature = self.signer.sign(Purpose.UPLOAD, format_ticket(ticket.id, expires))
        return WebLink(f"{self.public_url}/uploads/{ticket.id}.{expires}.{signature}", float(expires))

    def parse_output_link(self, url: str) -> tuple[str, int] | None:
        """Return the run id and number of the output that an address names; the signature may be missing or expired."""
        if not url.startswith(f"{self.public_url}/"):
            return None
        found = _PLACE.fullmatch(url.removeprefix(self.public_url))
        return None if found is None else (found[1], int(found[2]))

    def parse_upload_link(self, url: str) -> str:
        """Return the id of the file that was or may be uploaded at an address; the signature may be missing."""
        found = _UPLOAD.match(url.removeprefix(self.public_url)) if url.startswith(f"{self.public_url}/") else None
        return found[1] if found else ""

    def _build(self, run_id: str, place: str) -> WebLink:
        # Whole hours: the same result has the same link for an hour, so a browser keeps it.
        hours = math.ceil((self.get_now() + self.link_seconds) / HOUR_SECONDS)
        expires = int(hours * HOUR_SECONDS)
        signature = self.signer.sign(Purpose.OUTPUT, _format_place(run_id, place, expires))
        return WebLink(f"{self.public_url}/outputs/{run_id}/{place}?e={expires}&s={signature}", float(expires))


def format_ticket(file_id: str, expires: int) -> str:
    """Return the text that the signature of an upload link is for."""
    return f"{file_id}\n{expires}"


def _format_place(run_id: str, place: str, expires: int) -> str:
    return f"{run_id}\n{place}\n{expires}"


def build_file_routes(site: Site) -> list[Route]:
    """Return the routes of saved results, and let answers name them."""
    links = SignedLinks(
        site.public_url, site.signer, site.get_now, link_seconds=site.settings.http.link_hours * HOUR_SECONDS
    )
    site.tenants.shared.file_links.web = links
    return [Route("/outputs/{run_id}/{place}", guard_answer(partial(_answer_output, site)), methods=["GET"])]


Answer = Callable[[Request], Awaitable[Response]]


def guard_answer(answer: Answer) -> Answer:
    """Return a handler whose answers have the headers of untrusted files, and whose errors are sentences."""

    async def handle(request: Request) -> Response:
        try:
            response = await answer(request)
        except StoreError:
            response = refuse(HTTPStatus.SERVICE_UNAVAILABLE, _BROKEN, retry_seconds=_AGAIN_SECONDS)
        for name, value in {**SAFE_HEADERS, "Content-Security-Policy": FILE_POLICY}.items():
            response.headers.setdefault(name, value)
        return response

    return handle


def refuse(status: HTTPStatus, sentence: str, *, retry_seconds: int | None = None) -> Response:
    """Return a refusal as a sentence."""
    headers = {} if retry_seconds is None else {"Retry-After": str(retry_seconds)}
    return PlainTextResponse(f"{sentence}\n", status, headers)


async def _answer_output(site: Site, request: Request) -> Response:
    run_id, place = request.path_params["run_id"], request.path_params["place"]
    given, signature = request.query_params.get("e", ""), request.query_params.get("s", "")
    expires = int(given) if _EXPIRES.fullmatch(given) else 0
    if not site.signer.is_valid(Purpose.OUTPUT, _format_place(run_id, place, expires), signature):
        return refuse(HTTPStatus.NOT_FOUND, _FOREIGN)
    if expires <= site.get_now():
        return refuse(HTTPStatus.GONE, _EXPIRED)
    try:
        run = await site.tenants.shared.store.get_run_of_any_owner(run_id)
        if place == TABLE:
            return await _serve_table(site, run)
        output = next((one for one in run.outputs if one.n == int(place)), None)
    except RunNotFound:
        return refuse(HTTPStatus.NOT_FOUND, _GONE)
    if output is None or not output.saved_path:
        return refuse(HTTPStatus.NOT_FOUND, _UNSAVED, retry_seconds=_AGAIN_SECONDS)
    return await _serve_file(site, output)


async def _serve_table(site: Site, batch: Run) -> Response:
    progress = await site.tenants.shared.store.get_batch_progress(batch.id)
    path = await _find_file(progress.csv_path, site.settings.output_dir)
    if path is None:
        return refuse(HTTPStatus.NOT_FOUND, _GONE if progress.csv_path else _UNSAVED)
    return _build_file(path, "text/csv; charset=utf-8", is_shown=False)


async def _serve_file(site: Site, output: Output) -> Response:
    path = await _find_file(output.saved_path, site.settings.output_dir)
    if path is None:
        return refuse(HTTPStatus.NOT_FOUND, _GONE)
    is_media = output.kind in _SHOWN_KINDS and output.mime_type.startswith(f"{output.kind}/")
    is_shown = is_media and output.mime_type != _SVG
    return _build_file(path, output.mime_type if is_shown else _DOWNLOAD, is_shown=is_shown)


def _build_file(path: Path, mime_type: str, *, is_shown: bool) -> Response:
    return FileResponse(
        path,
        media_type=mime_type,
        filename=path.name,
        content_disposition_type="inline" if is_shown else "attachment",
        headers={
            "Cache-Control": "private, max-age=3600",
            # Chats show pictures on pages of their own, and some read the bytes.
            "Cross-Origin-Resource-Policy": "cross-origin",
            "Access-Control-Allow-Origin": "*",
        },
    )


async def _find_file(saved_path: str, folder: Path) -> Path | None:
    """Return where a saved file is: below the folder for results, also when links are followed; None when it is gone."""
    return await anyio.to_thread.run_sync(_resolve_file, saved_path, folder) if saved_path else None


def _resolve_file(saved_path: str, folder: Path) -> Path | None:
    resolved = Path(saved_path).resolve()
    return resolved if resolved.is_relative_to(folder.resolve()) and resolved.is_file() else None
