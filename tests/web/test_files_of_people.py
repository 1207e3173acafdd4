"""Files of people with tokens, on a server in a process of its own that is started again."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from flowport.web.local_token import NAME
from tests.support.children import Child, open_child
from tests.support.tokens import add_token, show_token
from tests.support.uploading import PICTURE

SKETCH = "sandbox_photo_to_pencil_sketch"


@contextmanager
def open_server(folder: Path) -> Iterator[tuple[Child, str]]:
    """Start a server that authenticates, and return its origin."""
    with open_child(folder, "--http", "127.0.0.1:0") as child:
        assert child.process.stdout is not None
        found = re.search(r"(http://\S+)/mcp", child.process.stdout.readline().decode())
        assert found, (folder / "stderr.txt").read_text()
        yield child, found[1]


async def ask(origin: str, token: str, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool with a token and return the facts of the answer."""
    async with (
        httpx2.AsyncClient(trust_env=False, timeout=60, headers=show_token(token)) as http,
        Client(streamable_http_client(f"{origin}/mcp", http_client=http)) as client,
    ):
        result = await client.call_tool(tool, arguments)
    assert isinstance(result.structured_content, dict)
    return result.structured_content


def fetch(method: str, url: str, content: bytes | None = None) -> httpx2.Response:
    """Send a request without any credential."""
    return httpx2.request(method, url, content=content, trust_env=False, timeout=60)


async def test_links_and_uploads_outlive_the_process(tmp_path: Path) -> None:
    """The secret of the signatures is kept in the home, and so is which tickets were used."""
    home = tmp_path / "f/home"
    ann, _ = await add_token(home, "ann")
    bob, _ = await add_token(home, "bob")
    with open_server(tmp_path / "f") as (_, origin):
        asked = await ask(origin, ann, "request_upload", purpose="a cup")
        unused = await ask(origin, ann, "request_upload")
        sent = fetch("PUT", asked["link"], PICTURE)
        made = await ask(origin, ann, SKETCH, photo=asked["use_as"])
        theirs = await ask(origin, bob, SKETCH, photo=asked["use_as"])
        link = made["outputs"][0]["url"]
        served = fetch("GET", link)
    with open_server(tmp_path / "f") as (_, second):
        again = [url.replace(origin, second) for url in (link, asked["link"], unused["link"])]
        later, used, first = fetch("GET", again[0]), fetch("PUT", again[1], PICTURE), fetch("PUT", again[2], PICTURE)
        named = await ask(second, ann, SKETCH, photo=again[0])

    assert (sent.status_code, made["state"], theirs["error"]) == (201, "succeeded", "ArgumentsInvalid")
    assert served.content == later.content
    assert served.content.startswith(b"\x89PNG")
    assert (used.status_code, first.status_code, named["state"]) == (409, 201, "succeeded")
    text = json.dumps([asked, sent.json(), made, theirs, named])
    assert str(tmp_path) not in text
    log = (tmp_path / "f/stderr.txt").read_text()
    assert not any(secret in log for secret in (link.partition("s=")[2], asked["link"].rpartition(".")[2]))


async def test_a_token_of_this_computer_may_name_paths_and_a_persons_may_not(tmp_path: Path) -> None:
    """The token decides on the same server; the file is there for both."""
    home = tmp_path / "f/home"
    with open_server(tmp_path / "f") as (_, origin):
        ann, _ = await add_token(home, "ann")
        local = (home / NAME).read_text().strip()
        picture = tmp_path / "f" / "cup.png"
        picture.write_bytes(PICTURE)
        mine = await ask(origin, local, SKETCH, photo=str(picture))
        theirs = await ask(origin, ann, SKETCH, photo=str(picture))
        missing = await ask(origin, ann, SKETCH, photo=str(picture.with_name("none.png")))

    assert Path(mine["outputs"][0]["saved_path"]).is_file()
    assert theirs == missing
    assert "request_upload" in theirs["message"]
