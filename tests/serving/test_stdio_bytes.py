"""Standard input of a real process: a call that is not what its client wrote is refused by its id, and nothing is started."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.commands.children import Child, open_child
from tests.serving.test_bodies import ERAS, META
from tests.serving.test_json_rpc import BAD_BYTES


def build_line(era: str, request_id: int, prompt: bytes) -> bytes:
    """Return a call of an app that would be paid."""
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
def test_a_line_that_is_no_utf8_is_refused_by_its_id_and_nothing_is_started(tmp_path: Path, era: str) -> None:
    """Each kind of byte, and half of a character; the connection lives on."""
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
