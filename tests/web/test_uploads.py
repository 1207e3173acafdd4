"""The upload page over real HTTP: one file for each link, whole or not at all, and for its owner alone."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import httpx2
import pytest

from flowport.runs import received_files
from flowport.web import uploads
from flowport.web.signing import Purpose
from tests.support.people import Team, open_team
from tests.support.shifted_clock import ShiftedClock
from tests.support.uploading import PICTURE, build_picture, find_uploads, request_link

SVG = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"
PAGE = b"<!doctype html><html><script>alert(1)</script></html>"


@pytest.fixture
async def team(tmp_path: Path) -> AsyncIterator[Team]:
    """Serve a team."""
    async with open_team(tmp_path) as team:
        yield team


async def test_an_agent_sends_the_bytes_alone(team: Team) -> None:
    """The answer says what they are; the tool's answer holds the command."""
    answer = await team.ask("ann", "request_upload")
    sent = await team.http.put(answer["link"], content=PICTURE)

    assert f"curl --upload-file FILE '{answer['link']}'" in answer["next_step"] or answer["link"] in answer["next_step"]
    assert sent.status_code == 201
    assert sent.json()["use_as"] == answer["use_as"]
    assert (sent.json()["mime_type"], sent.json()["size_bytes"]) == ("image/png", len(PICTURE))


async def test_a_link_is_used_once_also_after_a_restart(tmp_path: Path) -> None:
    """The second use gets the name of the file that is there, and changes nothing."""
    async with open_team(tmp_path) as team:
        link, name = await request_link(team)
        assert (await team.http.put(link, content=PICTURE)).status_code == 201
        again = await team.http.put(link, content=build_picture(colour="blue"))
        assert (again.status_code, name in again.text) == (409, True)
    async with open_team(tmp_path) as team:
        later = await team.http.post(link, files={"file": ("b.png", build_picture(colour="blue"))})
        page = await team.http.get(link)
        assert (later.status_code, page.status_code) == (409, 409)
        assert name in page.text
        (kept,) = find_uploads(team)
        assert kept.read_bytes() == PICTURE


async def test_of_two_uses_at_once_one_is_kept(team: Team) -> None:
    """The others leave no file."""
    link, _ = await request_link(team)
    pictures = [build_picture(colour=colour) for colour in ("red", "blue", "green", "white", "black")]
    answers: dict[int, httpx2.Response] = {}

    async def send(n: int) -> None:
        """Send one picture."""
        answers[n] = await team.http.put(link, content=pictures[n])

    async with anyio.create_task_group() as tasks:
        for n in range(len(pictures)):
            tasks.start_soon(send, n)

    kept = [n for n, answer in answers.items() if answer.status_code == 201]
    assert len(kept) == 1
    assert {answer.status_code for n, answer in answers.items() if n not in kept} == {409}
    (file,) = find_uploads(team)
    assert file.read_bytes() == pictures[kept[0]]


async def test_a_wrong_link_is_not_found(team: Team) -> None:
    """Each part of it is signed."""
    link, name = await request_link(team)
    ticket = link.removeprefix("/uploads/")
    file_id, expires, signature = ticket.split(".")
    other = team.site.signer.sign(Purpose.OUTPUT, f"{file_id}\n{expires}")
    wrong = [
        ticket[:-1],
        f"{ticket}0",
        f"{file_id}.{int(expires) + 1}.{signature}",
        f"{file_id}.0{expires}.{signature}",
        f"{file_id[:-1]}a.{expires}.{signature}" if file_id[-1] != "a" else f"{file_id[:-1]}b.{expires}.{signature}",
        f"{file_id}.{expires}.{other}",
        f"{file_id}.{expires}.{'0' * 32}",
        f"..%2f{ticket}",
        f"{ticket}%00",
        f"{ticket}%0a",
        file_id,
        name,
        "é",
    ]
    for text in wrong:
        for method in ("GET", "PUT", "POST"):
            answer = await team.http.request(method, f"/uploads/{text}", content=None if method == "GET" else PICTURE)
            assert answer.status_code == 404, (method, text)
    assert find_uploads(team) == []


async def test_an_expired_link_is_gone(tmp_path: Path) -> None:
    """The page says what to do; the name of the file says so too."""
    clock = ShiftedClock()
    async with open_team(tmp_path, clock=clock) as team:
        link, name = await request_link(team)
        clock.shift(received_files.TICKET_SECONDS + 1)
        answers = [await team.http.get(link), await team.http.put(link, content=PICTURE)]
        used = await team.ask("ann", "photo_to_pencil_sketch", photo=name)

    assert [answer.status_code for answer in answers] == [410, 410]
    assert "Ask your assistant for a new one" in answers[0].text
    assert "request_upload" in used["message"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (SVG, "SVG"),
        (PAGE, "not an image"),
        (b"", "empty"),
        (PICTURE[:-20], "damaged"),
        (b"%PDF-1.7\n%", "a CSV table (application/pdf)"),
        (b"\x7fELF" + bytes(64), "not an image"),
        (b'{"a": 1}', "not an image"),
        (b"\0\1\2\3", "table (CSV)"),
    ],
)
async def test_only_inputs_of_apps_are_taken(team: Team, content: bytes, words: str) -> None:
    """The bytes decide, whatever the name or type says; the link can be used for another file."""
    link, _ = await request_link(team)
    form = await team.http.post(link, files={"file": ("cup.png", content, "image/png")})
    raw = await team.http.put(link, content=content, headers={"content-type": "image/png"})

    assert (form.status_code, raw.status_code) == (415, 415)
    assert words in raw.json()["message"]
    assert raw.json()["message"].startswith("The file ")
    assert "<form" in form.text
    assert find_uploads(team) == []
    assert (await team.http.put(link, content=PICTURE)).status_code == 201


@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_a_file_that_is_too_large_leaves_nothing(
    team: Team, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Whether its length is said beforehand or not."""
    monkeypatch.setattr(received_files, "MAX_FILE_BYTES", 100)
    link, _ = await request_link(team)

    async def stream() -> AsyncIterator[bytes]:
        """Give a body of unknown length."""
        for _ in range(20):
            yield b"\x89PNG\r\n\x1a\n" + bytes(1000)

    content = stream()
    if method == "PUT":
        answer = await team.http.put(link, content=content)
    else:
        answer = await team.http.post(link, files={"file": ("a.png", bytes(20_000))})
    assert (answer.status_code, "larger than" in answer.text) == (413, True)
    assert find_uploads(team) == []


async def test_a_length_that_is_too_large_is_refused_before_the_body(team: Team) -> None:
    """A client that asks first, as curl does, sends nothing."""
    link, _ = await request_link(team)
    host, port = team.origin.removeprefix("http://").split(":")
    async with await anyio.connect_tcp(host, int(port)) as stream:
        head = (
            f"PUT {link} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 900000000\r\nExpect: 100-continue\r\n\r\n"
        )
        await stream.send(head.encode())
        answer = await stream.receive()

    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_an_upload_that_breaks_off_leaves_nothing(team: Team) -> None:
    """Half a file is not a file, and the link still works."""
    link, _ = await request_link(team)
    host, port = team.origin.removeprefix("http://").split(":")
    async with await anyio.connect_tcp(host, int(port)) as stream:
        head = f"PUT {link} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(PICTURE)}\r\n\r\n"
        await stream.send(head.encode() + PICTURE[:20])
    while (answer := await team.http.put(link, content=PICTURE)).status_code == 409:
        pass
    assert answer.status_code == 201
    assert [path.read_bytes() for path in find_uploads(team)] == [PICTURE]


async def test_an_upload_that_stops_is_given_up(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that brings nothing holds no link forever."""
    monkeypatch.setattr(uploads, "IDLE_SECONDS", 0.05)
    link, _ = await request_link(team)
    host, port = team.origin.removeprefix("http://").split(":")
    async with await anyio.connect_tcp(host, int(port)) as stream:
        head = f"PUT {link} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(PICTURE)}\r\n\r\n"
        await stream.send(head.encode() + PICTURE[:20])
        answer = await stream.receive()

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert find_uploads(team) == []


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"--y\r\n\r\n"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\ncontent-disposition: form-data; name="file"\r\n\r\nabc\r\n--x--\r\n',
        ),
        ("multipart/form-data; boundary=x", b'--x\r\ncontent-disposition: form-data; filename="a"\r\n\r\nabc'),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\ncontent-disposition: form-data; filename="a"\r\n\r\n1\r\n--x\r\ncontent-disposition: form-data; filename="b"\r\n\r\n2\r\n--x--\r\n',
        ),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"a" * 20_000 + b": b\r\n\r\n"),
        ("multipart/form-data", b"x"),
        ("application/x-www-form-urlencoded", b"file=x"),
        ("", b"x"),
    ],
)
async def test_a_broken_form_is_refused(team: Team, content_type: str, body: bytes) -> None:
    """With the page, so that a person can try again."""
    link, _ = await request_link(team)
    answer = await team.http.post(link, content=body, headers={"content-type": content_type})

    assert (answer.status_code, "<form" in answer.text) == (400, True)
    assert find_uploads(team) == []


async def test_the_name_of_a_file_on_the_device_matters_nowhere(team: Team) -> None:
    """It is untrusted text, and no part of a path or page."""
    link, name = await request_link(team)
    hostile = '../../../etc/passwd"><script>alert(1)</script>.png'
    answer = await team.http.post(link, files={"file": (hostile, PICTURE, "text/html")})

    assert answer.status_code == 201
    assert "alert(1)" not in answer.text
    (path,) = find_uploads(team)
    assert path.name == f"{name.removeprefix('upload:')}.png"
    assert path.parent.parent == team.site.settings.home / "uploads" / "people"


async def test_the_page_holds_no_markup_of_others_and_loads_nothing(team: Team) -> None:
    """What the assistant asks for may have been put in its mouth by a web page."""
    link, _ = await request_link(team, purpose="<img src=x onerror=alert(1)>\n\u202eevil " + "x" * 500)
    page = await team.http.get(link)
    policy = page.headers["content-security-policy"]

    assert "<img" not in page.text
    assert "\u202e" not in page.text
    assert not re.findall(r"(?:src|href)=", page.text.replace("src=x onerror", ""))
    assert "http" not in re.sub(r"&lt;.*?&gt;", "", page.text).replace("http-equiv", "")
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "frame-ancestors 'none'" in policy
    # Without any referrer a browser would send a form with the origin "null".
    assert page.headers["referrer-policy"] == "same-origin"
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["x-content-type-options"] == "nosniff"


async def test_what_was_uploaded_is_never_served(team: Team) -> None:
    """Neither by its link nor by its name or place."""
    link, name = await request_link(team)
    await team.http.put(link, content=PICTURE)
    (path,) = find_uploads(team)
    for place in (
        link,
        f"/uploads/{name}",
        f"/uploads/{path.name}",
        f"/outputs/{path.stem}/1",
        f"/uploads/people/{path.name}",
    ):
        answer = await team.http.get(place)
        assert PICTURE not in answer.content
