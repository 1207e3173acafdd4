"""Standard input of a real process: a damaged call is refused by its id, and nothing is started."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.server.test_json_rpc import BAD_BYTES
from tests.support.children import Child, open_child
from tests.web.test_bodies import ERAS, META


def build_line(era: str, request_id: int, prompt: bytes) -> bytes:
    """Return a call of a paid app."""
    params: dict[str, Any] = {"name": "sandbox_text_to_picture", "arguments": {"prompt": "PROMPT"}}
    if era == "modern":
        params["_meta"] = META
    message = {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}
    return json.dumps(message).encode().replace(b"PROMPT", prompt) + b"\n"


def ask(child: Child, line: bytes) -> dict[str, Any]:
    """Write a line and return the next answer."""
    assert child.process.stdin is not None
    child.process.stdin.write(line)
    child.process.stdin.flush()
    while "id" not in (answer := child.read()):
        pass
    return answer


@pytest.mark.parametrize("era", ERAS)
def test_a_line_with_invalid_utf8_is_refused_by_its_id_and_nothing_is_started(tmp_path: Path, era: str) -> None:
    """Each kind of invalid byte, and half a character; the connection remains open."""
    bad = [*(b"caf" + one for one in BAD_BYTES.values()), rb"\ud83d"]
    with open_child(tmp_path / "flowport") as child:
        if era == "legacy":
            child.greet()
        answers = [ask(child, build_line(era, 100 + n, prompt)) for n, prompt in enumerate(bad)]
        listed = (
            build_line(era, 99, b"").replace(b"sandbox_text_to_picture", b"list_runs").replace(b'"prompt": ""', b"")
        )
        runs = ask(child, listed)["result"]["structuredContent"]["runs"]
    assert [(one["id"], one["error"]["code"]) for one in answers] == [(100 + n, -32600) for n in range(len(bad))]
    assert runs == []


TEXTS = {
    '{"limit": 3}': None,
    ' {"limit": 3}\n': None,
    "": None,
    "null": None,
    "limit=3": "is text that is not a JSON object",
    "[1]": "is text that is not a JSON object",
    '"{}"': "is text that is not a JSON object",
    '{"limit": NaN}': "is text that is not a JSON object",
    "[" * 100_000: "is text that is not a JSON object",
    '{"state": "\\ud83d"}': "holds half of a character",
}


@pytest.mark.parametrize("era", ERAS)
def test_arguments_given_as_json_text_are_parsed(tmp_path: Path, era: str) -> None:
    """Some models and adapters encode them twice; other types are refused by name."""
    given = [*TEXTS, 3, [1], True]
    with open_child(tmp_path / "flowport") as child:
        if era == "legacy":
            child.greet()
        answers = []
        for n, arguments in enumerate(given):
            message = json.loads(build_line(era, 100 + n, b""))
            message["params"] |= {"name": "list_runs", "arguments": arguments}
            answers.append(ask(child, json.dumps(message).encode() + b"\n"))
    for arguments, words, answer in zip(given, [*TEXTS.values(), *["is not an object"] * 3], answers, strict=True):
        if words is None:
            assert "runs" in answer["result"]["structuredContent"], arguments
        else:
            assert answer["error"]["code"] == -32602
            assert answer["error"]["message"].startswith(f"arguments {words}"), arguments
            assert "Nothing was started" in answer["error"]["message"]
