"""Serve the gallery to a browser of this computer: the page, the history as JSON, and the saved files.

The address holds a random token: requests with it may read everything, and change nothing but cancel a run.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
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
from flowport.domain.models import LOCAL_OWNER, OutputKind, RunState
from flowport.domain.principal import LOCAL, Principal
from flowport.domain.spending import Consent
from flowport.media.previews import NoPreview
from flowport.runtime.exchange import Exchange
from flowport.store.records import RunSearch
from flowport.web.listen_address import Address, HostCheck, build_origins

Answer: TypeAlias = Callable[[Workspace, Request], Awaitable[Response]]

_LIVE: Final = "live"
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
_NOTHING_POLICY: Final = "default-src 'none'; sandbox; frame-ancestors 'none'"
_INLINE: Final = re.compile(r"<(script|style)\b[^>]*>(.*?)</\1>", re.DOTALL)

_STOP_FOLLOWING: Final = re.compile(r"; cancel_run with stop_following .*")
"""What the page cannot do."""


@dataclass(frozen=True, slots=True)
class PageCaller:
    """The person at the page, who gets the answer alone and is asked nothing."""

    arrived_at_seconds: float
    principal: Principal = LOCAL
    owner: str = LOCAL_OWNER
    connection: str = "gallery"
    client: str = "gallery"
    exchange: Exchange = field(default_factory=Exchange)

    async def report(self, elapsed_seconds: float, message: str, /) -> None:
        """Report nothing: the page asks by itself."""

    async def confirm(self, question: str, patience_seconds: float, /) -> Consent:  # noqa: ARG002 - the protocol's
        """Ask nothing."""
        return Consent.CANNOT_ASK


def build_gallery(workspace: Workspace, address: Address, token: str) -> ASGIApp:
    """Return the web application of the gallery at an address."""
    routes: list[tuple[str, Answer, str]] = [
        ("/", _answer_page, "GET"),
        ("/api/runs", _answer_list, "GET"),
        ("/api/runs/{run_id}", _answer_record, "GET"),
        ("/api/runs/{run_id}/cancel", partial(_answer_cancel, origins=build_origins(address)), "POST"),
        ("/files/{run_id}/{n:int}", _answer_file, "GET"),
        ("/files/{run_id}/{n:int}/preview", _answer_preview, "GET"),
    ]
    app = Starlette(
        routes=[Route(path, _guard(workspace, answer), methods=[method]) for path, answer, method in routes]
    )
    return HostCheck(_TokenCheck(app, token), address, "/")


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


def _guard(workspace: Workspace, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    """Return the handler of a route: errors that a person can act on are JSON."""

    async def handle(request: Request) -> Response:
        try:
            response = await answer(workspace, request)
        except RunNotFound:
            response = _refuse("RunNotFound", "There is no such run or file on record.", 404)
        except FlowportError as exc:
            response = _refuse(type(exc).__name__, str(exc), 409)
        for name, value in {**_HEADERS, "Content-Security-Policy": _NOTHING_POLICY}.items():
            response.headers.setdefault(name, value)
        return response

    return handle


def _refuse(kind: str, message: str, status: int) -> Response:
    return _answer({"error": {"kind": kind, "message": message}}, status)


def _answer(facts: Facts, status: int = 200) -> Response:
    # As ASCII: half of a character, from a provider's text, cannot be encoded.
    return Response(json.dumps(facts), status, media_type="application/json")


async def _answer_page(_: Workspace, __: Request) -> Response:
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
    return Response(page, media_type="text/html", headers={"Content-Security-Policy": policy, "Link": first})


async def _answer_list(workspace: Workspace, request: Request) -> Response:
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
    return _answer(await list_history(workspace, search, state=wanted, before=before, limit=limit))


def _parse_number(query: QueryParams, name: str) -> float | None:
    """Return a number of the query; anything else counts as not given."""
    try:
        number = float(query.get(name, ""))
    except ValueError:
        return None
    return number if abs(number) < _MAX_INSTANT else None


async def _answer_record(workspace: Workspace, request: Request) -> Response:
    start = int(max(_parse_number(request.query_params, "from") or 1, 1))
    return _answer(await get_history_record(workspace, request.path_params["run_id"], start=start))


async def _answer_cancel(workspace: Workspace, request: Request, *, origins: frozenset[str]) -> Response:
    # A page of another origin was refused before; a request without an origin does not come from a page.
    if request.headers.get("origin") not in origins:
        return _refuse("Forbidden", "Only the page itself may cancel a run.", 403)
    caller = PageCaller(workspace.clock.monotonic())
    view = await cancel_run(workspace, caller, {"run_id": request.path_params["run_id"]})
    # The assistant that asked for the run has not learned of its end.
    caller.exchange.withdraw()
    return _answer({**view.facts, "summary": word_for_page(str(view.facts["summary"]))})


def word_for_page(summary: str) -> str:
    """Return a sentence for the person at the page, which does what the tools that it names do for an assistant."""
    return _STOP_FOLLOWING.sub(".", summary).replace("get_run", "this page")


async def _answer_file(workspace: Workspace, request: Request) -> Response:
    output, path = await find_output(workspace, request.path_params["run_id"], request.path_params["n"])
    is_media = output.kind in _SHOWN_KINDS and output.mime_type.startswith(f"{output.kind}/")
    is_shown = is_media and output.mime_type != _SVG and "download" not in request.query_params
    return FileResponse(
        path,
        media_type=output.mime_type if is_shown else "application/octet-stream",
        filename=path.name,
        content_disposition_type="inline" if is_shown else "attachment",
        headers={"Cache-Control": "private, max-age=3600"},
    )


async def _answer_preview(workspace: Workspace, request: Request) -> Response:
    output, _ = await find_output(workspace, request.path_params["run_id"], request.path_params["n"])
    preview = await workspace.previewer.build_thumbnail(output)
    if isinstance(preview, NoPreview):
        return Response(status_code=204)
    return Response(preview.data, media_type=preview.mime_type, headers={"Cache-Control": "private, max-age=3600"})
