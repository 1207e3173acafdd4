"""Serve the gallery to a browser: the page, the history as JSON, and the saved files.

`flowport gallery` serves it to this computer at an address that holds a random token; the team server serves it to people who
signed in (`web/gallery_sessions.py`). A visit may read its owner's runs, and change nothing but cancel one.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import anyio.to_thread
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from flowport.actions.cancel_run import cancel_run
from flowport.actions.run_history import MAX_LISTED, find_output, get_history_record, list_history
from flowport.actions.views.page import read_page
from flowport.actions.views.view import Facts
from flowport.actions.workspace import Workspace
from flowport.domain.errors import FlowportError, RunNotFound
from flowport.domain.models import Output, OutputKind, RunState
from flowport.domain.principal import LOCAL, Principal
from flowport.domain.spending import Consent
from flowport.media.previews import NoPreview
from flowport.runtime.exchange import Exchange
from flowport.store.records import RunSearch
from flowport.web.listen_address import Address, HostCheck, build_origins


@dataclass(frozen=True, slots=True)
class Visit:
    """Who looks, and at what."""

    workspace: Workspace
    principal: Principal
    banner: str = ""
    """What the page shows above the runs, as HTML without scripts and styles."""
    word: Callable[[Facts], Facts] = dict
    """Words facts for the person who looks."""


FindVisit: TypeAlias = Callable[[Request], Awaitable[Visit | Response]]
"""Returns the visit that a request belongs to, or the answer to a request without one."""

Answer: TypeAlias = Callable[[Visit, Request], Awaitable[Response]]

_LIVE: Final = "live"
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,5}")
"""Of an output."""
_MAX_WORDS: Final = 8
_MAX_INSTANT: Final = 1e11
_SHOWN_KINDS: Final = frozenset({OutputKind.IMAGE, OutputKind.VIDEO, OutputKind.AUDIO})
_SVG: Final = "image/svg+xml"
"""The one type of media that carries programs: it is only downloaded."""
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
FILE_POLICY: Final = (
    "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox allow-same-origin; "
    "frame-ancestors 'none'"
)
"""For files: a picture or video that is opened by itself is shown, and nothing runs. In an origin of its own Chromium's page
around a video could not load the video; without scripts that origin is of no use to a page."""
_NOTHING_POLICY: Final = "default-src 'none'; sandbox; frame-ancestors 'none'"
_INLINE: Final = re.compile(r"<(script|style)\b[^>]*>(.*?)</\1>", re.DOTALL)

_MAIN: Final = "<main>"

_STOP_FOLLOWING: Final = re.compile(r"; cancel_run with stop_following .*")
"""What the page cannot do."""


@dataclass(frozen=True, slots=True)
class PageCaller:
    """The person at the page, who gets the answer alone and is asked nothing."""

    arrived_at_seconds: float
    principal: Principal
    connection: str = "gallery"
    client: str = "gallery"
    exchange: Exchange = field(default_factory=Exchange)
    is_progress_wanted: bool = False

    @property
    def owner(self) -> str:
        """Whose runs are meant."""
        return self.principal.owner

    async def report(self, elapsed_seconds: float, message: str, /) -> None:
        """Report nothing: the page asks by itself."""

    async def confirm(self, question: str, patience_seconds: float, /) -> Consent:  # noqa: ARG002 - the protocol's
        """Ask nothing."""
        return Consent.CANNOT_ASK


def build_gallery(workspace: Workspace, address: Address, token: str) -> ASGIApp:
    """Return the web application of this computer's gallery at an address."""
    origins = build_origins(address)

    async def find_visit(_: Request) -> Visit:
        return Visit(workspace, LOCAL)

    routes = build_gallery_routes(find_visit, lambda request: request.headers.get("origin") in origins)
    return HostCheck(_TokenCheck(Starlette(routes=routes), token), address, "/")


def build_gallery_routes(
    find_visit: FindVisit, is_from_page: Callable[[Request], bool], prefix: str = ""
) -> list[Route]:
    """Return the routes of a gallery below a path.

    Args:
        is_from_page: Whether a request comes from the page itself.
    """
    routes: list[tuple[str, Answer, str]] = [
        ("/", _answer_page, "GET"),
        ("/api/runs", _answer_list, "GET"),
        ("/api/runs/{run_id}", _answer_record, "GET"),
        ("/api/runs/{run_id}/cancel", partial(_answer_cancel, is_from_page=is_from_page), "POST"),
        ("/files/{run_id}/{n}", _answer_file, "GET"),
        ("/files/{run_id}/{n}/preview", _answer_preview, "GET"),
    ]
    return [Route(prefix + path, _guard(find_visit, answer), methods=[method]) for path, answer, method in routes]


class _TokenCheck:
    """ASGI middleware that serves only paths below the token, and sets the headers of every answer."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        _, given, rest = (*scope.get("path", "").split("/", 2), "", "")[:3]
        if not hmac.compare_digest(given.encode(errors="replace"), self._token.encode()):
            await PlainTextResponse("Not found. `flowport gallery` prints the address.", 404, _HEADERS)(
                scope, receive, send
            )
        elif scope["path"] == f"/{given}":
            await RedirectResponse(f"/{given}/", headers=_HEADERS)(scope, receive, send)
        else:
            await self._app({**scope, "path": f"/{rest}", "raw_path": b""}, receive, send)


def _guard(find_visit: FindVisit, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    """Return the handler of a route: errors that a person can act on are JSON."""

    async def handle(request: Request) -> Response:
        word: Callable[[Facts], Facts] = dict
        try:
            visit = await find_visit(request)
            word = word if isinstance(visit, Response) else visit.word
            response = visit if isinstance(visit, Response) else await answer(visit, request)
        except RunNotFound:
            response = refuse("RunNotFound", "There is no such run or file on record.", 404)
        except FlowportError as exc:
            response = _answer(word(_build_refusal(type(exc).__name__, str(exc))), 409)
        for name, value in {**_HEADERS, "Content-Security-Policy": _NOTHING_POLICY}.items():
            response.headers.setdefault(name, value)
        return response

    return handle


def refuse(kind: str, message: str, status: int) -> Response:
    """Return a refusal that the page shows."""
    return _answer(_build_refusal(kind, message), status)


def _build_refusal(kind: str, message: str) -> Facts:
    return {"error": {"kind": kind, "message": message}}


def _answer(facts: Facts, status: int = 200) -> Response:
    # As ASCII: half of a character, from a provider's text, cannot be encoded.
    return Response(json.dumps(facts), status, media_type="application/json")


async def _answer_page(visit: Visit, _: Request) -> Response:
    page = await anyio.to_thread.run_sync(read_page)
    hashes = {"script": "", "style": ""}
    for kind, text in _INLINE.findall(page):
        hashes[kind] += f" 'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
    policy = (
        f"default-src 'none'; script-src{hashes['script']}; style-src{hashes['style']}; img-src 'self' data:; "
        "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    # The browser reads the list while it still reads the page.
    first = f"<api/runs?limit={MAX_LISTED}>; rel=preload; as=fetch; crossorigin=anonymous"
    shown = page.replace(_MAIN, f"{_MAIN}{visit.banner}", 1)
    return Response(shown, media_type="text/html", headers={"Content-Security-Policy": policy, "Link": first})


async def _answer_list(visit: Visit, request: Request) -> Response:
    query = request.query_params
    state = query.get("state", "")
    search = RunSearch(
        tuple(query.get("text", "").split()[:_MAX_WORDS]),
        query.get("app", "").strip(),
        is_live=state == _LIVE,
        since=_parse_number(query, "since"),
        until=_parse_number(query, "until"),
    )
    wanted = RunState(state) if state in set(RunState) else None
    limit = int(min(max(_parse_number(query, "limit") or MAX_LISTED, 1), MAX_LISTED))
    before = query.get("before") or None
    facts = await list_history(visit.workspace, visit.principal, search, state=wanted, before=before, limit=limit)
    return _answer(visit.word(facts))


def _parse_number(query: QueryParams, name: str) -> float | None:
    """Return a number of the query; anything else counts as not given."""
    try:
        number = float(query.get(name, ""))
    except ValueError:
        return None
    return number if abs(number) < _MAX_INSTANT else None


async def _answer_record(visit: Visit, request: Request) -> Response:
    start = int(max(_parse_number(request.query_params, "from") or 1, 1))
    facts = await get_history_record(visit.workspace, visit.principal, request.path_params["run_id"], start=start)
    return _answer(visit.word(facts))


async def _answer_cancel(visit: Visit, request: Request, *, is_from_page: Callable[[Request], bool]) -> Response:
    # A page of another origin was refused before; a request without an origin does not come from a page.
    if not is_from_page(request):
        return refuse("Forbidden", "Only the page itself may cancel a run.", 403)
    caller = PageCaller(visit.workspace.clock.monotonic(), visit.principal)
    view = await cancel_run(visit.workspace, caller, {"run_id": request.path_params["run_id"]})
    # The assistant that asked for the run has not learned of its end.
    caller.exchange.withdraw()
    return _answer({**view.facts, "summary": word_for_page(str(view.facts["summary"]))})


def word_for_page(summary: str) -> str:
    """Return a sentence for the person at the page, which does what the tools that it names do for an assistant."""
    return _STOP_FOLLOWING.sub(".", summary).replace("get_run", "this page")


async def _find_output(visit: Visit, request: Request) -> tuple[Output, Path]:
    """Return the saved output that a path names, and where its file is.

    Raises:
        RunNotFound: There is no such file.
    """
    run_id, n = request.path_params["run_id"], request.path_params["n"]
    if not _NUMBER.fullmatch(n):
        raise RunNotFound(run_id)
    return await find_output(visit.workspace, visit.principal, run_id, int(n))


async def _answer_file(visit: Visit, request: Request) -> Response:
    output, path = await _find_output(visit, request)
    is_media = output.kind in _SHOWN_KINDS and output.mime_type.startswith(f"{output.kind}/")
    is_shown = is_media and output.mime_type != _SVG and "download" not in request.query_params
    return FileResponse(
        path,
        media_type=output.mime_type if is_shown else "application/octet-stream",
        filename=path.name,
        content_disposition_type="inline" if is_shown else "attachment",
        headers={**_build_cache_headers(visit), "Content-Security-Policy": FILE_POLICY},
    )


async def _answer_preview(visit: Visit, request: Request) -> Response:
    output, _ = await _find_output(visit, request)
    preview = await visit.workspace.previewer.build_thumbnail(output)
    if isinstance(preview, NoPreview):
        return Response(status_code=204)
    return Response(preview.data, media_type=preview.mime_type, headers=_build_cache_headers(visit))


def _build_cache_headers(visit: Visit) -> dict[str, str]:
    """Let the browser of this computer keep a file; people who sign in may share a browser."""
    return {"Cache-Control": "private, max-age=3600"} if visit.principal.is_local else {}
