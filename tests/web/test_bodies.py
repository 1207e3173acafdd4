"""HTTP bodies that are not UTF-8 or not a single message: refused by their ids, and nothing is started."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.server.test_json_rpc import BAD_BYTES
from tests.support.children import HELLO
from tests.web.test_http import ACCEPTED, open_client, open_http_child

MODERN = {
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": "tools/call",
    "mcp-name": "sandbox_text_to_picture",
}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
ERAS = ("legacy", "modern")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run one Flowport on the built-in sandbox for the tests of this module."""
    with open_http_child(tmp_path_factory.mktemp("flowport")) as (_, url):
        yield url


def build_body(era: str, prompt: bytes = b"a lake", **changes: Any) -> bytes:
    """Return a call of a paid app."""
    params: dict[str, Any] = {"name": "sandbox_text_to_picture", "arguments": {"prompt": "PROMPT"}}
    if era == "modern":
        params["_meta"] = META
    message = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params, **changes}
    return json.dumps(message).encode().replace(b"PROMPT", prompt)


async def post(url: str, era: str, body: bytes, **headers: str) -> tuple[int, Any]:
    """Send a body as a client of an era does, and return the status and the JSON of the answer."""
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as http:
        common = {**ACCEPTED, "content-type": "application/json"}
        if era == "modern":
            common |= MODERN
        else:
            hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}
            session = (await http.post(url, json=hello, headers=ACCEPTED)).headers["mcp-session-id"]
            common |= {"mcp-session-id": session, "mcp-protocol-version": HELLO["protocolVersion"]}  # type: ignore[dict-item]
        answer = await http.post(url, content=body, headers={**common, **headers})
        return answer.status_code, answer.json() if "json" in answer.headers.get("content-type", "") else answer.text


async def count_runs(url: str) -> int:
    """Return the number of runs."""
    async with open_client(url, "auto") as client:
        facts = (await client.call_tool("list_runs", {})).structured_content
    assert facts is not None
    return len(facts["runs"])


async def refuse(url: str, era: str, body: bytes, **headers: str) -> tuple[Any, int]:
    """Return the id and the code of the refusal of a body; nothing was started."""
    status, answer = await post(url, era, body, **headers)
    assert (status, await count_runs(url)) == (400, 0)
    return answer["id"], answer["error"]["code"]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("bad", BAD_BYTES.values(), ids=BAD_BYTES)
async def test_a_body_with_invalid_utf8_is_refused_by_its_id(url: str, era: str, bad: bytes) -> None:
    """The library guesses at encodings in one era, and answers without the id in the other."""
    assert await refuse(url, era, build_body(era, b"caf" + bad)) == (7, -32600)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
async def test_a_body_in_a_wide_encoding_is_refused(url: str, era: str, encoding: str) -> None:
    """With and without its charset."""
    body = build_body(era).decode().encode(encoding)
    kind = {"content-type": f"application/json; charset={encoding}"}
    assert (await refuse(url, era, body), await refuse(url, era, body, **kind)) == ((None, -32700), (None, -32700))


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("charset", ["iso-8859-1", '"windows-1252"', "ISO-8859-15", "shift_jis"])
async def test_a_body_of_another_charset_is_refused(url: str, era: str, charset: str) -> None:
    """The bytes may be valid UTF-8 by chance, with another meaning."""
    kind = {"content-type": f"application/json; charset={charset}"}
    assert await refuse(url, era, build_body(era, "café".encode()), **kind) == (7, -32600)


@pytest.mark.parametrize("era", ERAS)
async def test_a_lone_surrogate_is_refused(url: str, era: str) -> None:
    """As on standard input."""
    assert await refuse(url, era, build_body(era, rb"\ud83d")) == (7, -32600)


@pytest.mark.parametrize("era", ERAS)
async def test_an_invalid_id_is_refused(url: str, era: str) -> None:
    """The message must not be treated as a notification and acknowledged."""
    assert await refuse(url, era, build_body(era, id=7.5)) == (7.5, -32600)


@pytest.mark.parametrize("era", ERAS)
async def test_each_id_of_an_array_is_refused(url: str, era: str) -> None:
    """Over HTTP one answer belongs to one request."""
    body = b"[" + build_body(era) + b"," + build_body(era, id="b") + b',{"jsonrpc": "2.0", "method": "x"}]'
    status, answers = await post(url, era, body)
    assert (status, await count_runs(url)) == (400, 0)
    assert {(one["id"], one["error"]["code"]) for one in answers} == {(7, -32600), ("b", -32600)}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("before", [b"", b" \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n"])
@pytest.mark.parametrize("prompt", ["a lake", "caf\xe9", "a\tlake"])
@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1"])
async def test_an_array_is_answered_by_each_id_in_an_array(
    *, url: str, era: str, before: bytes, prompt: str, charset: str
) -> None:
    """Whatever precedes the array, and whatever other faults it has; also when it holds one message."""
    bodies = [build_body(era, prompt.encode("latin-1"), id=one) for one in (7, "b")]
    kind = {"content-type": f"application/json; charset={charset}"}
    for some in (bodies, bodies[:1]):
        status, answers = await post(url, era, before + b"[" + b",".join(some) + b"]", **kind)
        assert status == 400
        assert [(one["id"], one["error"]["code"]) for one in answers] == [(7, -32600), ("b", -32600)][: len(some)]
    assert await count_runs(url) == 0


@pytest.mark.parametrize("body", [b"[]", b"[1]", b'[{"jsonrpc": "2.0", "method": "notifications/initialized"}]'])
async def test_an_array_without_an_id_is_refused_by_one_object(url: str, body: bytes) -> None:
    """JSON-RPC requires it for an invalid request."""
    assert await refuse(url, "legacy", body) == (None, -32600)


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "https://evil.example"}])
async def test_a_page_in_the_browser_gets_no_details(url: str, headers: dict[str, str]) -> None:
    """Under a foreign host name the refusal is the usual one, whatever the body is."""
    status, _ = await post(url, "modern", b"\xff", **headers)
    assert status in {403, 421}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("mark", "kind", "request_id"),
    [
        (b"", "application/json", 7),
        (b"\xef\xbb\xbf", "application/json", 7),
        (b"", 'application/json; charset="UTF-8"', 7),
        (b"", "application/json; charset=utf8", 7),
        (b"", "application/json", 7.0),
    ],
)
async def test_a_valid_body_is_served(*, url: str, era: str, mark: bytes, kind: str, request_id: float) -> None:
    """With a byte order mark, its charset, or an id as another language writes it."""
    body = build_body(era, "café \N{GRINNING FACE}".encode(), id=request_id)
    body = mark + body.replace(b"sandbox_text_to_picture", b"find_apps").replace(b'"prompt"', b'"query"')
    status, answer = await post(url, era, body, **{"content-type": kind, "mcp-name": "find_apps"})
    assert (status, "No app has all of that" in str(answer)) == (200, True)
    assert '"id":7' in str(answer).replace(" ", "").replace("'", '"')
