"""What one person may take of a server for several people: sessions, streams, memory, and the disk while uploads arrive."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from flowport.runs import received_files
from flowport.server import announcer
from flowport.server.announcer import MAX_LISTEN_CHARACTERS
from flowport.settings.http_settings import HttpSettings
from flowport.web import bodies
from tests.support.children import HELLO
from tests.support.people import OWNER_HEADER, Team, open_team
from tests.support.uploading import find_uploads, request_link
from tests.web.test_http import ACCEPTED, build_listen


@pytest.fixture
async def team(tmp_path: Path) -> AsyncIterator[Team]:
    """Serve a team that may have eight sessions."""
    async with open_team(tmp_path, http=HttpSettings(max_sessions=8)) as team:
        yield team


async def begin_session(team: Team, owner: str) -> httpx2.Response:
    """Ask for a session as an older client of a person."""
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}
    return await team.http.post("/mcp", json=message, headers={**ACCEPTED, OWNER_HEADER: owner})


async def test_one_person_has_a_quarter_of_the_sessions(team: Team) -> None:
    """Others begin theirs, requests that name a session go on, and a closed one makes room."""
    first, second, third = [await begin_session(team, "ann") for _ in range(3)]
    other = await begin_session(team, "bob")
    own = {**ACCEPTED, OWNER_HEADER: "ann", "mcp-session-id": first.headers["mcp-session-id"]}
    pinged = await team.http.post("/mcp", json={"jsonrpc": "2.0", "id": 2, "method": "ping"}, headers=own)
    modern = await (await team.connect("ann")).list_tools()
    await team.http.delete("/mcp", headers=own)
    again = await begin_session(team, "ann")

    codes = [one.status_code for one in (first, second, third, other, pinged, again)]
    assert codes == [200, 200, 429, 200, 200, 200]
    assert "2 sessions of this person are open" in third.text
    assert third.headers["retry-after"] == "60"
    assert team.site.traffic.refused["sessions"] == 1
    assert modern.tools


async def test_requests_that_come_together_begin_no_more_sessions(team: Team) -> None:
    """Each one counts those that are not admitted yet."""
    answers: list[httpx2.Response] = []

    async def begin() -> None:
        """Begin a session."""
        answers.append(await begin_session(team, "ann"))

    async with anyio.create_task_group() as tasks:
        for _ in range(12):
            tasks.start_soon(begin)

    assert sum(one.status_code == 200 for one in answers) in {1, 2}
    assert {one.status_code for one in answers} == {200, 429}


@pytest.mark.parametrize("place", ["resourceSubscriptions", "other", "_meta"])
async def test_a_long_request_for_a_stream_is_refused(team: Team, place: str) -> None:
    """It would be in memory for as long as the stream lasts."""
    request = build_listen(team.http, "/mcp")
    message: dict[str, Any] = json.loads(request.content)
    within = message["params"]["notifications"] if place != "_meta" else message["params"]["_meta"]
    within[place] = ["x" * 100] * (MAX_LISTEN_CHARACTERS // 100)
    headers = {**ACCEPTED, OWNER_HEADER: "ann", "mcp-protocol-version": "2026-07-28", "mcp-method": message["method"]}
    answer = await team.http.post("/mcp", json=message, headers=headers)

    assert answer.status_code == 400
    assert "longer than 200000 characters" in answer.json()["error"]["message"]


async def test_one_person_has_so_many_streams(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is refused in a sentence; another person opens one."""
    monkeypatch.setattr(announcer, "MAX_STREAMS", 2)
    answers = []
    for owner in ("ann", "ann", "ann", "bob"):
        request = build_listen(team.http, "/mcp")
        request.headers.update({**ACCEPTED, OWNER_HEADER: owner})
        answers.append(await team.http.send(request, stream=True))
    starts = [await anext(one.aiter_bytes()) for one in answers]
    for one in answers:
        await one.aclose()

    assert ["acknowledged" in one.decode() for one in starts] == [True, True, False, True]
    assert b"2 streams of changes of this person are open" in starts[2]


async def test_the_message_that_begins_a_session_is_short(team: Team) -> None:
    """The session remembers what it says of the client, and of each person there may be hundreds."""
    client = {"name": "x" * bodies.MAX_HELLO_BYTES, "version": "1"}
    for before in ("", "\N{BYTE ORDER MARK}"):
        message = {"jsonrpc": "2.0", "id": 7, "method": "initialize", "params": {**HELLO, "clientInfo": client}}
        content = f"{before}{json.dumps(message)}".encode()
        headers = {**ACCEPTED, OWNER_HEADER: "ann", "content-type": "application/json"}
        answer = await team.http.post("/mcp", content=content, headers=headers)

        assert (answer.status_code, answer.json()["id"]) == (413, 7)
        assert "longer than 64 KB, so nothing was done" in answer.json()["error"]["message"]


@pytest.mark.parametrize("session", ["none", "s" * 129, "s" * 30_000])
async def test_an_unknown_session_is_not_found_however_long_its_name_is(team: Team, session: str) -> None:
    """Names are remembered with the requests of a session, so long ones are not."""
    headers = {**ACCEPTED, OWNER_HEADER: "ann", "mcp-session-id": session}
    answer = await team.http.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "ping"}, headers=headers)

    assert (answer.status_code, "Session not found" in answer.text) == (404, True)


async def test_messages_that_arrive_side_by_side_hold_so_much_memory(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow one is in memory for as long as it arrives; of another person, and afterwards, they are taken (no session is meant)."""
    monkeypatch.setattr(bodies, "MAX_HELD_BYTES", 100_000)
    is_sent, is_over = anyio.Event(), anyio.Event()
    message = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}).encode()

    async def send_slowly() -> AsyncIterator[bytes]:
        """Send a message, its end later."""
        yield b" " * 80_000
        is_sent.set()
        await is_over.wait()
        yield message

    async def send(owner: str, content: bytes | AsyncIterator[bytes]) -> int:
        """Send a message."""
        headers = {**ACCEPTED, OWNER_HEADER: owner, "content-type": "application/json", "mcp-session-id": "x"}
        codes.append((await team.http.post("/mcp", content=content, headers=headers)).status_code)
        return codes[-1]

    codes: list[int] = []
    large = b" " * 60_000 + message
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send, "ann", send_slowly())
        await is_sent.wait()
        while await send("ann", large) == 404:
            await anyio.lowlevel.checkpoint()
        assert codes[-1] == 429
        assert [await send("bob", large), await send("ann", message)] == [404, 404]
        is_over.set()
    assert codes[-1] == 404
    assert await send("ann", b" " * 101_000 + message) == 429


async def test_uploads_under_way_count_for_the_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has room by itself; together they would fill the disk before one of them is refused."""
    monkeypatch.setattr(received_files, "_PIECE_BYTES", 1)
    async with open_team(tmp_path, http=HttpSettings(max_file_bytes=100_000)) as team:
        links = [(await request_link(team, owner))[0] for owner in ("ann", "ann", "bob")]
        is_sent, is_over = anyio.Event(), anyio.Event()

        async def send_slowly() -> AsyncIterator[bytes]:
            """Send a file, its end later."""
            yield b"\0" * 80_000
            is_sent.set()
            await is_over.wait()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: team.http.put(links[0], content=send_slowly()))
            await is_sent.wait()
            while not any(path.stat().st_size for path in find_uploads(team)):
                await anyio.lowlevel.checkpoint()
            second = await team.http.put(links[1], content=b"\0" * 80_000)
            third = await team.http.put(links[2], content=b"\0" * 80_000)
            is_over.set()
        later = await team.http.put(links[1], content=b"\0" * 80_000)

    # What arrives is neither a picture nor a table.
    assert [one.status_code for one in (second, third, later)] == [507, 415, 415]
