"""Sessions of the gallery that ended stay so, its links wait for a record that can be read, and its requests are counted."""

import logging
import stat
import sys
from pathlib import Path

import pytest
from starlette.requests import Request

from flowport.domain.errors import StoreError
from flowport.store.sqlite.store import SqliteStore
from flowport.web.gallery_sessions import COOKIE, SESSION_SECONDS, GallerySessions
from flowport.web.used_marks import ENDED_NAME
from tests.web.test_gallery_sessions import ANNA, TOKENS, open_server


async def is_session(sessions: GallerySessions, cookie: str) -> bool:
    """Return whether a cookie is a session."""
    header = (b"cookie", f"{COOKIE}={cookie}".encode())
    return await sessions._read_session(Request({"type": "http", "headers": [header]})) is not None


async def test_an_ended_session_stays_so_in_the_next_process(tmp_path: Path) -> None:
    """Sessions outlive a process, so their ends do too; the file is for the user of the server, and does not grow for good."""
    async with open_server(tmp_path / "a") as server:
        async with server.sign_in("anna") as browser, server.sign_in("anna") as other:
            ended, kept = browser.cookies[COOKIE], other.cookies[COOKIE]
            await browser.post("/gallery/sign-out")
        site = server.sessions._site
        path = site.settings.home / ENDED_NAME
        later = GallerySessions(site)
        assert [await is_session(later, ended), await is_session(later, kept)] == [False, True]
        assert path.read_text().count("\n") == 1
        assert sys.platform == "win32" or stat.S_IMODE(path.stat().st_mode) == 0o600
        server.now[0] += SESSION_SECONDS
        GallerySessions(site)
        assert path.read_text() == ""


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a b\n", b"a\n1 2 3\n\n"])
async def test_a_damaged_file_of_ended_sessions_stops_nothing(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """The server starts, and the log says what is wrong where it can be known."""
    async with open_server(tmp_path / "a") as server:
        path = server.sessions._site.settings.home / ENDED_NAME
        path.write_bytes(content)
        with caplog.at_level(logging.WARNING):
            later = GallerySessions(server.sessions._site)
        async with server.sign_in("anna") as browser:
            assert await is_session(later, browser.cookies[COOKIE])

    assert ("ended-sessions cannot be used" in caplog.text) is (b"1 2 3" not in content)


async def test_a_link_is_not_used_up_while_the_record_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer asks the person to try again, and then it works."""
    async with open_server(tmp_path / "a") as server, server.open_browser() as browser:
        ticket = server.sessions.build_gallery_link(ANNA).url.partition("link=")[2]

        async def fail(_: SqliteStore) -> None:
            """Fail as a record that cannot be read."""
            raise StoreError("the disk is full", "Make room.")

        with monkeypatch.context() as patch:
            patch.setattr(SqliteStore, "get_tokens", fail)
            failed = await browser.post("/gallery/sign-in", content=f"link={ticket}")
        again = await browser.post("/gallery/sign-in", content=f"link={ticket}")

    assert "Try again" in failed.text
    assert [failed.status_code, again.status_code] == [503, 303]


async def test_requests_of_the_gallery_count_for_their_person(tmp_path: Path) -> None:
    """Previews cost as much as other requests; the refusal is one that the page shows."""
    async with open_server(tmp_path / "a") as server, server.sign_in("anna") as anna, server.sign_in("boris") as boris:
        server.sessions._site.rate_limit._per_minute = 2
        answers = [await anna.get("/gallery/api/runs") for _ in range(3)]
        other = await boris.get("/gallery/api/runs")
        header = {"authorization": f"Bearer {TOKENS['anna']}"}
        by_token = await boris.get("/gallery/api/runs", headers=header)

    assert [one.status_code for one in (*answers, other, by_token)] == [200, 200, 429, 200, 429]
    assert "too many requests in a minute" in answers[2].json()["error"]["message"]
    assert int(answers[2].headers["retry-after"]) >= 1
