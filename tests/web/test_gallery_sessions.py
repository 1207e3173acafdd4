"""The gallery of a server for several people over real HTTP: sign-in, sessions, links, and whose runs are shown."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import httpx2
import pytest
from starlette.applications import Starlette

from flowport.domain.access_tokens import AccessToken, hash_token
from flowport.domain.models import RunState
from flowport.domain.principal import LOCAL, Principal
from flowport.runtime.http_server import HttpServer
from flowport.store.interface import Store
from flowport.web.auth import Authenticator
from flowport.web.gallery_sessions import COOKIE, LINK_SECONDS, SESSION_SECONDS, GallerySessions
from flowport.web.listen_address import Address, HostCheck, listen
from flowport.web.signing import Purpose, Signer
from flowport.web.site import Site
from tests.fakes.client import open_sandbox
from tests.store.samples import OUTPUT, build_run
from tests.support.end_of_test import EndOfTest
from tests.support.harness import Harness, open_harness
from tests.support.people import open_team
from tests.support.tokens import SilentIssuer

ANNA = Principal("anna", token_id="t-anna")
CARA = Principal("oauth|cara")
BEGUN_AT = 1_000_000.0
SIGNER = Signer([b"k" * 32])


TOKENS = {name: f"fp_{name:a>43}" for name in ("anna", "boris", "<img src=x onerror=1>")}
TOKENS["<img src=x onerror=1>"] = f"fp_{'h' * 43}"


async def add_tokens(store: Store) -> None:
    """Put the tokens on record, each with the id `t-OWNER`."""
    for name, token in TOKENS.items():
        made = AccessToken(f"t-{name}", name, hash_token(token), name, None, None, created_at=BEGUN_AT)
        assert await store.add_token(made)


@dataclass
class Server:
    """A server that listens, and what is behind it."""

    harness: Harness
    origin: str
    sessions: GallerySessions
    now: list[float]

    @asynccontextmanager
    async def open_browser(self) -> AsyncIterator[httpx2.AsyncClient]:
        """Open a browser without cookies that names the page's own origin, and follows no redirect by itself."""
        headers = {"origin": self.origin}
        async with httpx2.AsyncClient(base_url=self.origin, trust_env=False, timeout=60, headers=headers) as browser:
            yield browser

    @asynccontextmanager
    async def sign_in(self, name: str) -> AsyncIterator[httpx2.AsyncClient]:
        """Open a browser whose person has signed in."""
        async with self.open_browser() as browser:
            answer = await browser.post("/gallery/sign-in", data={"token": TOKENS[name]})
            assert (answer.status_code, answer.headers["location"]) == (303, "./")
            yield browser

    async def keep_runs(self) -> None:
        """Put one run of each person on record, with a saved file."""
        path = self.harness.outputs / "picture.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x89PNG\r\n\x1a\n picture of a person")
        store = self.harness.assembly.workspace.store
        for name in ("anna", "boris", "oauth|cara", "local"):
            output = replace(OUTPUT, n=1, saved_path=str(path))
            run = build_run(f"run_{name.rpartition('|')[2]}", RunState.SUCCEEDED, outputs=(output,))
            await store.accept(replace(run, owner=name))
        await store.accept(replace(build_run("run_live", RunState.ACCEPTED), owner="boris"))


@asynccontextmanager
async def open_server(folder: Path, *, has_auth: bool = True, public_url: str = "") -> AsyncIterator[Server]:
    """Serve the gallery to the people who have a token, and to those of an issuer."""
    now = [BEGUN_AT]
    async with open_sandbox() as sandbox, open_harness(sandbox, folder) as harness:
        listener = listen(Address("127.0.0.1", 0))
        address = Address(*listener.getsockname()[:2])
        workspace = harness.assembly.workspace
        await add_tokens(workspace.store)
        people = Authenticator(workspace.store, lambda: now[0], is_on=has_auth, verifier=SilentIssuer())
        url = public_url or address.origin
        site = Site(workspace.settings, url, harness.assembly.tenants, SIGNER, lambda: now[0], EndOfTest(), people)
        sessions = GallerySessions(site)
        app = HostCheck(Starlette(routes=sessions.build_routes()), address, "/gallery/")
        web = HttpServer(app, log_level=30, lifespan="off")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(web.serve, [listener])
            yield Server(harness, address.origin, sessions, now)
            web.should_exit = True


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """Serve Anna, Boris and Cara."""
    async with open_server(tmp_path / "home") as server:
        await server.keep_runs()
        yield server


async def list_runs(browser: httpx2.AsyncClient) -> list[str]:
    """Return the ids that the gallery lists."""
    answer = await browser.get("/gallery/api/runs")
    assert answer.status_code == 200
    return [run["run_id"] for run in answer.json()["runs"]]


async def test_a_person_signs_in_with_a_token_and_sees_own_runs(server: Server) -> None:
    """The page names who is signed in; facts hold no path of the server."""
    async with server.open_browser() as browser:
        start = await browser.get("/gallery/")
        form = await browser.get("/gallery/sign-in")
        signed = await browser.post("/gallery/sign-in", data={"token": f" {TOKENS['anna']} "})
        page = await browser.get("/gallery/")
        runs = await list_runs(browser)
        record = await browser.get("/gallery/api/runs/run_anna")
        file = await browser.get("/gallery/files/run_anna/1")

    assert (start.status_code, start.headers["location"]) == (303, "sign-in")
    assert 'name="token"' in form.text
    assert "<script" not in form.text
    assert signed.status_code == 303
    assert "Signed in as anna" in page.text
    assert runs == ["run_anna"]
    assert record.json()["outputs"][0]["file"] == "files/run_anna/1"
    assert str(server.harness.outputs) not in record.text
    assert file.content.endswith(b"picture of a person")


@pytest.mark.parametrize(("public_url", "is_secure"), [("", False), ("https://flows.example/team", True)])
async def test_the_cookie_is_for_the_gallery_alone(tmp_path: Path, public_url: str, is_secure: bool) -> None:
    """Scripts and other sites never get it, and it leaves this computer only encrypted."""
    async with open_server(tmp_path / "home", public_url=public_url) as server, server.open_browser() as browser:
        answer = await browser.post("/gallery/sign-in", data={"token": TOKENS["anna"]})
        parts = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}

    assert {"httponly", "samesite=strict", f"max-age={SESSION_SECONDS}"} < parts
    assert f"path={'/team' if public_url else ''}/gallery/" in parts
    assert ("secure" in parts) is is_secure
    assert not any(part.startswith("domain") for part in parts)
    assert TOKENS["anna"] not in str(answer.headers)


@pytest.mark.parametrize(
    "path",
    [
        "api/runs/run_{}",
        "files/run_{}/1",
        "files/run_{}/1/preview",
        "files/run_{}/1?download",
        "files/run_{}/2",
        "api/runs?before=run_{}",
        "api/runs?text=run_{}&before=run_{}",
    ],
)
@pytest.mark.parametrize("other", ["boris", "cara", "local", "none"])
async def test_the_run_of_another_person_does_not_exist(server: Server, path: str, other: str) -> None:
    """The answer is the one about a run that does not exist."""
    async with server.sign_in("anna") as browser:
        answer = await browser.get(f"/gallery/{path.replace('{}', other)}")
        unknown = await browser.get(f"/gallery/{path.replace('{}', 'unknown')}")

    assert answer.status_code == 404
    assert (answer.status_code, answer.content) == (unknown.status_code, unknown.content)
    assert dict(answer.headers) | {"date": ""} == dict(unknown.headers) | {"date": ""}


@pytest.mark.parametrize("query", ["text=run", "state=succeeded", "app=", "state=live", "since=0", "limit=200"])
async def test_no_search_finds_the_run_of_another_person(server: Server, query: str) -> None:
    """A search covers the person's own runs."""
    async with server.sign_in("anna") as browser:
        listed = (await browser.get(f"/gallery/api/runs?{query}")).json()["runs"]

    assert {run["run_id"] for run in listed} <= {"run_anna"}


async def test_only_the_owner_cancels_a_run(server: Server) -> None:
    """Boris may cancel his run; for Anna it does not exist."""
    path = "/gallery/api/runs/run_live/cancel"
    async with server.sign_in("anna") as anna, server.sign_in("boris") as boris:
        refused = await anna.post(path)
        unknown = await anna.post("/gallery/api/runs/run_no/cancel")
        foreign = await boris.post(path, headers={"origin": "http://127.0.0.1:1"})
        del boris.headers["origin"]
        unnamed = await boris.post(path)
        done = await boris.post(path, headers={"origin": server.origin})

    assert (refused.status_code, refused.content) == (404, unknown.content)
    assert [foreign.status_code, unnamed.status_code] == [403, 403]
    assert (done.status_code, done.json()["state"]) == (200, "cancelled")


async def test_a_revoked_token_ends_its_sessions(server: Server) -> None:
    """The gallery is closed at the next request."""
    async with server.sign_in("anna") as browser:
        await server.harness.assembly.workspace.store.revoke_token("t-anna", at=BEGUN_AT)
        answers = [await browser.get(f"/gallery/{path}") for path in ("", "api/runs", "files/run_anna/1")]
        again = await browser.post("/gallery/sign-in", data={"token": TOKENS["anna"]})

    assert [answer.status_code for answer in answers] == [303, 401, 401]
    assert again.status_code == 403
    assert "was revoked" in again.text


async def test_a_session_ends_by_itself_and_by_signing_out(server: Server) -> None:
    """A copy of the cookie is worth nothing afterwards."""
    async with server.sign_in("anna") as browser, server.open_browser() as thief:
        thief.cookies.set(COOKIE, browser.cookies[COOKIE], path="/gallery/")
        before = (await thief.get("/gallery/api/runs")).status_code
        question = await browser.get("/gallery/sign-out")
        out = await browser.post("/gallery/sign-out")
        after = [(await one.get("/gallery/api/runs")).status_code for one in (browser, thief)]
    async with server.sign_in("anna") as browser:
        server.now[0] += SESSION_SECONDS
        late = (await browser.get("/gallery/api/runs")).status_code

    assert "anna" in question.text
    assert (out.status_code, out.headers["location"]) == (303, "sign-in")
    assert (before, after, late) == (200, [401, 401], 401)


def forge_sessions() -> dict[str, str]:
    """Return cookies that no sign-in made."""
    text, signature = "WyJhbm5hIiwgInQxIiwgMSwgOTk5OTk5OTk5OSwgIngiXQ==", "0" * 32
    other = Signer([b"o" * 32])
    return {
        "empty": "",
        "dot": ".",
        "no signature": text,
        "wrong signature": f"{text}.{signature}",
        "another secret": f"{text}.{other.sign(Purpose.SESSION, text)}",
        **{
            f"signed as {purpose}": f"{text}.{SIGNER.sign(purpose, text)}"
            for purpose in Purpose
            if purpose is not Purpose.SESSION
        },
        "not ASCII": "é.é",
        "long": "a" * 4000,
    }


@pytest.mark.parametrize("name", forge_sessions())
async def test_a_forged_session_is_refused(server: Server, name: str) -> None:
    """Only what the server signed as a session opens the gallery."""
    cookie = f"{COOKIE}={forge_sessions()[name]}".encode()
    async with server.open_browser() as browser:
        answer = await browser.get("/gallery/api/runs", headers=[(b"cookie", cookie)])

    assert answer.status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"token=",
        b"token=wrong",
        b"token=%FF%00",
        b"link=",
        b"link=a.b",
        b"token=" + b"a" * 20_000,
        b"&" * 200,
        "token=é".encode(),
    ],
)
async def test_a_bad_form_opens_no_session(server: Server, body: bytes) -> None:
    """It gets the form again, with a sentence."""
    async with server.open_browser() as browser:
        answer = await browser.post("/gallery/sign-in", content=body)

    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    assert 'role="alert"' in answer.text


async def test_another_page_can_neither_sign_in_nor_out(server: Server) -> None:
    """Forms are taken from the server's own pages alone."""
    async with server.sign_in("anna") as browser:
        for origin in ("https://evil.example", "null", "http://127.0.0.1:1", ""):
            headers = {"origin": origin}
            signed = await browser.post("/gallery/sign-in", data={"token": TOKENS["boris"]}, headers=headers)
            out = await browser.post("/gallery/sign-out", headers=headers)
            assert [signed.status_code, out.status_code] == [403, 403]
        assert await list_runs(browser) == ["run_anna"]


async def test_a_link_signs_in_once(server: Server) -> None:
    """People of an authorization server have no token: their assistant gets a link that opens their gallery."""
    link = server.sessions.build_gallery_link(CARA).url
    async with server.open_browser() as browser, server.open_browser() as thief:
        looked = [await browser.get(link), await browser.head(link), await browser.get(link)]
        ticket = re.findall(r'name="link" value="([^"]+)"', looked[0].text)[0]
        first = await browser.post("/gallery/sign-in", data={"link": ticket})
        second = await thief.post("/gallery/sign-in", data={"link": ticket})
        shown = await thief.get(link)
        runs = await list_runs(browser)

    assert [answer.status_code for answer in looked] == [200, 200, 200]
    assert "oauth|cara" in looked[0].text
    assert [first.status_code, second.status_code, shown.status_code] == [303, 403, 403]
    assert runs == ["run_cara"]


async def test_a_link_is_refused_when_it_is_old_or_its_token_is_revoked(server: Server) -> None:
    """It works for minutes, and not longer than what it was made with."""
    old, ticket = (server.sessions.build_gallery_link(ANNA).url.partition("link=")[2] for _ in range(2))
    await server.harness.assembly.workspace.store.revoke_token("t-anna", at=BEGUN_AT)
    async with server.open_browser() as browser:
        revoked = await browser.post("/gallery/sign-in", content=f"link={ticket}")
        server.now[0] += LINK_SECONDS
        late = await browser.post("/gallery/sign-in", content=f"link={old}")

    assert [revoked.status_code, late.status_code] == [403, 403]


async def test_a_link_from_before_the_start_is_refused(tmp_path: Path) -> None:
    """A new process does not know which links were used."""
    async with open_server(tmp_path / "a") as one:
        ticket = one.sessions.build_gallery_link(CARA).url.partition("link=")[2]
        one.now[0] += 1
        again = GallerySessions(one.sessions._site)
        assert await one.sessions._open_ticket(ticket.replace("%3D", "=")) is not None
        assert await again._open_ticket(ticket.replace("%3D", "=")) is None


async def test_without_authentication_the_gallery_is_the_local_person_s(tmp_path: Path) -> None:
    """A loopback server without authentication serves the person at this computer."""
    async with open_server(tmp_path / "home", has_auth=False) as server, server.open_browser() as browser:
        await server.keep_runs()
        page = await browser.get("/gallery/")
        runs = await list_runs(browser)

    assert "Signed in" not in page.text
    assert runs == ["run_local"]


async def test_names_are_shown_as_text(tmp_path: Path) -> None:
    """An owner's name comes from a token or an authorization server."""
    hostile = "<img src=x onerror=1>"
    async with open_server(tmp_path / "home") as server, server.sign_in(hostile) as browser:
        texts = [(await browser.get(f"/gallery/{path}")).text for path in ("", "sign-out")]
        texts.append(
            (
                await browser.get(server.sessions.build_gallery_link(Principal(hostile, token_id=f"t-{hostile}")).url)
            ).text
        )

    assert not any("<img" in text for text in texts)


FILE = "files/run_anna/1"


@pytest.mark.parametrize("path", ["", "sign-in", "sign-in?link=x", "sign-out", "api/runs", FILE, f"{FILE}/preview"])
async def test_nothing_of_the_gallery_is_cached_or_framed(server: Server, path: str) -> None:
    """Signed in and signed out."""
    async with server.sign_in("anna") as signed_in, server.open_browser() as signed_out:
        answers = [await browser.get(f"/gallery/{path}") for browser in (signed_in, signed_out)]

    for answer in answers:
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        if answer.status_code != 303:
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


async def test_the_address_without_its_last_slash_leads_to_the_gallery(server: Server) -> None:
    """Also below the path of a reverse proxy."""
    async with server.open_browser() as browser:
        answer = await browser.get("/gallery")

    assert (answer.status_code, answer.headers["location"]) == (307, "gallery/")


async def test_list_runs_hands_the_person_a_link_to_the_gallery(tmp_path: Path) -> None:
    """Each answer has another one; a person at this computer needs none."""
    async with open_team(tmp_path) as team:
        links = [(await team.ask("anna", "list_runs"))["gallery"]["url"] for _ in range(2)]
        page = await team.http.get(links[0])
        local = team.harness.assembly.workspace.file_links.find_gallery(LOCAL)

    assert links[0] != links[1]
    assert all(link.startswith(f"{team.origin}/gallery/sign-in?link=") for link in links)
    assert (page.status_code, "anna" in page.text) == (200, True)
    assert local is None
