"""Serve the gallery of a server for several people: sign-in by a token or a one-time link, and sessions in a cookie.

A session and a link are signed texts, so neither is stored. Only what must not be used again is remembered, see
`web/used_marks.py`; the replicas of a team remember it in their database. Without one a link from before the process began is
refused, because it may have been used.
"""

import hashlib
import html
import json
import secrets
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from flowport.domain.errors import StoreError
from flowport.domain.principal import LOCAL, Principal
from flowport.runs.file_links import WebLink
from flowport.store.cluster import UsedMarks
from flowport.web.auth import Refusal
from flowport.web.elsewhere import ElsewhereWords
from flowport.web.gallery import Visit, build_gallery_routes, refuse
from flowport.web.limits import build_address_key, refuse_rate
from flowport.web.signing import Purpose
from flowport.web.site import SAFE_HEADERS, Site
from flowport.web.used_marks import SESSION_PREFIX, LocalMarks

PATH: Final = "/gallery"
COOKIE: Final = "flowport_session"
SESSION_SECONDS: Final = 12 * 3600
LINK_SECONDS: Final = 600
"""How long a sign-in link works, once."""

_SERVER_ERROR: Final = 500
_MAX_FORM_BYTES: Final = 16_384
_NONCE_BYTES: Final = 16
_LINK: Final = "link:"
_SESSION: Final = SESSION_PREFIX
_STYLE: Final = (
    ":root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}main{max-width:26rem;margin:15vh auto;padding:0 1rem}"
    "label,input,button{display:block;width:100%;box-sizing:border-box;font:inherit}input,button{margin:.4rem 0 1rem;padding:.5rem}"
)
_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; img-src data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEAD: Final = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Flowport</title><link rel="icon" href="data:,"><style>{_STYLE}</style></head>
<body><main><h1>Flowport</h1>"""
_FOOT: Final = "</main></body></html>\n"
_FORM: Final = """<form method="post" action="sign-in">
<p role="alert">%s</p>
<label for="token">Your access token</label>
<input id="token" name="token" type="password" required autocomplete="current-password" autofocus>
<button>Sign in</button></form>
<p>Without a token, ask your assistant for a link to your gallery. Signed in already? <a href="./">Open your gallery</a>.</p>"""
_CONFIRMATION: Final = """<form method="post" action="sign-in">
<p>This link opens the gallery of <strong>%s</strong> in this browser.</p>
<input type="hidden" name="link" value="%s"><button>Open the gallery</button></form>"""
_SIGN_OUT: Final = """<form method="post" action="sign-out"><p>Signed in as <strong>%s</strong>.</p><button>Sign out</button></form>
<p><a href="./">Back to your gallery</a></p>"""
_BANNER: Final = '<nav class="facts"><span>Signed in as %s</span> <a href="sign-out">Sign out</a></nav>'
_OLD_LINK: Final = "This link was used before or is too old. Ask for another one."
_FOREIGN: Final = "<p>This form was sent from another page. Nothing was done.</p>"


@dataclass(frozen=True, slots=True)
class Pass:
    """What a session or a link says."""

    owner: str
    token_id: str
    made_at: float
    expires_at: float
    nonce: str


class GallerySessions:
    """Signs people in to the gallery, and finds who sends a request."""

    def __init__(self, site: Site) -> None:
        """Serve a site; without authentication every visitor is the person at this computer."""
        self._site = site
        self._words = ElsewhereWords(site.settings)
        self._authenticator = site.authenticator
        self._marks: UsedMarks = site.used_marks or LocalMarks(site.settings.home, site.get_now())
        self._links_since = site.get_now() if site.used_marks is None else 0.0
        """Links made before may have been used."""
        address = urlsplit(site.public_url.lower())
        self._origin = f"{address.scheme}://{address.netloc}"
        self._is_https = address.scheme == "https"
        self._cookie_path = f"{urlsplit(site.public_url).path}{PATH}/"

    def build_routes(self) -> list[Route]:
        """Return the routes of the gallery and of its sessions."""
        return [
            Route(PATH, _redirect_to_gallery, methods=["GET"]),
            Route(f"{PATH}/sign-in", self._answer_sign_in, methods=["GET", "POST"]),
            Route(f"{PATH}/sign-out", self._answer_sign_out, methods=["GET", "POST"]),
            *build_gallery_routes(self._find_visit, self._is_from_page, PATH),
        ]

    def build_gallery_link(self, principal: Principal) -> WebLink:
        """Return an address at which the person signs in, once and soon, without a token."""
        ticket, expires_at = self._seal(Purpose.SIGN_IN, principal, LINK_SECONDS), self._site.get_now() + LINK_SECONDS
        return WebLink(f"{self._site.public_url}{PATH}/sign-in?{urlencode({'link': ticket})}", expires_at)

    async def _find_visit(self, request: Request) -> Visit | Response:
        try:
            session = await self._read_session(request)
        except StoreError as exc:
            return refuse("StoreError", str(exc), 503)
        found = await self._find_principal(request, session)
        if isinstance(found, Refusal):
            if found.status >= _SERVER_ERROR:
                return refuse("StoreError", found.sentence, found.status)
            if request.url.path.endswith(f"{PATH}/"):
                return RedirectResponse("sign-in", 303)
            return refuse("SignInNeeded", "You are signed out. Load this page again to sign in.", 401)
        # As every other request of the person.
        key = build_address_key(request.scope) if found is LOCAL else f"owner {found.owner}"
        if seconds := self._site.rate_limit.take(key):
            self._site.traffic.refused["rate"] += 1
            limited = refuse_rate(seconds)
            answer = refuse("TooManyRequests", bytes(limited.body).decode(), limited.status_code)
            answer.headers["Retry-After"] = limited.headers["Retry-After"]
            return answer
        banner = _BANNER % html.escape(found.owner) if session is not None else ""
        word = dict if found.is_local else self._words.word_facts
        return Visit(self._site.tenants.get_workspace(found), found, banner, word)

    async def _find_principal(self, request: Request, session: Pass | None) -> Principal | Refusal:
        """Return who sends a request: by a token in its header, as every other request, or by the session."""
        if session is None or "authorization" in request.headers:
            return await self._authenticator.authenticate(request.headers.raw)
        return await self._authenticator.identify_again(session.owner, session.token_id)

    async def _answer_sign_in(self, request: Request) -> Response:
        try:
            return await self._sign_in(request)
        except StoreError as exc:
            return _answer_page(_FORM % html.escape(str(exc)), 503)

    async def _sign_in(self, request: Request) -> Response:
        if request.method != "POST":
            return await self._answer_link(request.query_params.get("link", ""))
        if not self._is_from_page(request):
            return _answer_page(_FOREIGN, 403)
        form = await _read_form(request)
        if "link" in form:
            ticket = await self._open_ticket(form["link"])
            if ticket is None:
                return _answer_page(_FORM % _OLD_LINK, 403)
            found = await self._authenticator.identify_again(ticket.owner, ticket.token_id)
            is_usable = isinstance(found, Principal)
            # A record that cannot be read must not use the link up; of several requests at once one uses it.
            if is_usable and not await self._use(_LINK, ticket):
                return _answer_page(_FORM % _OLD_LINK, 403)
        else:
            found = await self._authenticator.identify(form.get("token", "").strip())
        if isinstance(found, Refusal):
            return _answer_page(_FORM % html.escape(found.sentence), max(found.status, 403))
        answer = RedirectResponse("./", 303, SAFE_HEADERS)
        self._set_cookie(answer, self._seal(Purpose.SESSION, found, SESSION_SECONDS), SESSION_SECONDS)
        return answer

    async def _answer_link(self, link: str) -> Response:
        """Return a page with a button: programs that only look at a link must not use it up."""
        if not link:
            return _answer_page(_FORM % "")
        ticket = await self._open_ticket(link)
        if ticket is None:
            return _answer_page(_FORM % _OLD_LINK, 403)
        return _answer_page(_CONFIRMATION % (html.escape(ticket.owner), html.escape(link)))

    async def _answer_sign_out(self, request: Request) -> Response:
        try:
            return await self._sign_out(request)
        except StoreError as exc:
            return _answer_page(f"<p>{html.escape(str(exc))}</p>", 503)

    async def _sign_out(self, request: Request) -> Response:
        session = await self._read_session(request)
        if request.method != "POST" and session is not None:
            return _answer_page(_SIGN_OUT % html.escape(session.owner))
        if request.method == "POST" and not self._is_from_page(request):
            return _answer_page(_FOREIGN, 403)
        if session is not None:
            await self._use(_SESSION, session)
        answer = RedirectResponse("sign-in", 303, SAFE_HEADERS)
        self._set_cookie(answer, "", 0)
        return answer

    def _is_from_page(self, request: Request) -> bool:
        """Return whether a request names its own origin; one without an origin does not come from a page.

        The host was checked before, so a hostile page cannot name one of its own.
        """
        origin = request.headers.get("origin", "")
        return origin in {self._origin, f"http://{request.headers.get('host', '')}"}

    def _set_cookie(self, answer: Response, value: str, seconds: int) -> None:
        answer.set_cookie(
            COOKIE, value, seconds, path=self._cookie_path, secure=self._is_https, httponly=True, samesite="strict"
        )

    async def _read_session(self, request: Request) -> Pass | None:
        """Return the session of a request; None without one, and for one whose person has signed out.

        Raises:
            StoreError: Whether it has ended cannot be read.
        """
        session = self._open(Purpose.SESSION, request.cookies.get(COOKIE, ""))
        is_ended = session is not None and await self._marks.is_used(f"{_SESSION}{session.nonce}")
        return None if is_ended else session

    async def _open_ticket(self, link: str) -> Pass | None:
        """Return what a link says; None if it is not ours, was used or is too old.

        Raises:
            StoreError: Whether it was used cannot be read.
        """
        ticket = self._open(Purpose.SIGN_IN, link)
        if ticket is None or ticket.made_at < self._links_since:
            return None
        return None if await self._marks.is_used(f"{_LINK}{ticket.nonce}") else ticket

    async def _use(self, kind: str, found: Pass) -> bool:
        """Mark a link as used, or a session as ended, and return whether that was the first time."""
        return await self._marks.use(f"{kind}{found.nonce}", expires_at=found.expires_at, now=self._site.get_now())

    def _seal(self, purpose: Purpose, principal: Principal, seconds: float) -> str:
        now = self._site.get_now()
        fields = [principal.owner, principal.token_id, now, now + seconds, secrets.token_urlsafe(_NONCE_BYTES)]
        text = urlsafe_b64encode(json.dumps(fields).encode()).decode()
        return f"{text}.{self._site.signer.sign(purpose, text)}"

    def _open(self, purpose: Purpose, sealed: str) -> Pass | None:
        """Return what a signed text says; None if it is not ours or has expired."""
        text, _, signature = sealed.partition(".")
        if not self._site.signer.is_valid(purpose, text, signature):
            return None
        found = Pass(*json.loads(urlsafe_b64decode(text)))
        return found if self._site.get_now() < found.expires_at else None


async def _redirect_to_gallery(_: Request) -> Response:
    return RedirectResponse("gallery/", 307, SAFE_HEADERS)


async def _read_form(request: Request) -> dict[str, str]:
    """Return the fields of a short form; none of a longer one, or of one whose sender has left."""
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > _MAX_FORM_BYTES:
                return {}
    except ClientDisconnect:
        return {}
    fields = parse_qs(body.decode("ascii", "replace"), max_num_fields=10) if body.count(b"&") < 10 else {}  # noqa: PLR2004
    return {name: values[0] for name, values in fields.items()}


def _answer_page(content: str, status: int = 200) -> Response:
    # With `no-referrer` the browser would name no origin when it sends the form.
    headers = {**SAFE_HEADERS, "Referrer-Policy": "same-origin", "Content-Security-Policy": _POLICY}
    return Response(_HEAD + content + _FOOT, status, headers, "text/html; charset=utf-8")


def build_gallery_part(site: Site) -> list[Route]:
    """Return the routes of the gallery, and let answers name it."""
    sessions = GallerySessions(site)
    site.tenants.shared.file_links.gallery = sessions
    return sessions.build_routes()
