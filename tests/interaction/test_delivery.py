"""Whether the process knows that its client received an answer."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.children import CONDITIONS, Child, open_child
from tests.support.patience import poll_until
from tests.support.provider_process import open_provider

CALL = {"name": "text_to_picture", "arguments": {"prompt": "a lake"}}
ENVELOPE = {
    "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
}
MANY_LISTS = 12
"""Tool lists that together are several times the size of a pipe's buffer."""


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Run a sandbox as a process and return how to reach it."""
    with open_provider(tmp_path_factory.mktemp("sandbox"), speed=0.1) as provider:
        yield provider.environment


@contextmanager
def open_unread(folder: Path, sandbox: dict[str, str]) -> Iterator[Child]:
    """Run a Flowport whose client has stopped reading: its output is full, and a run's result waits to be written."""
    with open_child(folder, environment=sandbox) as child:
        child.greet()
        child.ask("tools/list")
        for _ in range(MANY_LISTS):
            child.send("tools/list")
        child.send("tools/call", CALL)
        poll_until(lambda: any((folder / "outputs").glob("*/*.json")))
        yield child


def get_row(child: Child, envelope: dict[str, Any]) -> dict[str, Any]:
    """Return the newest run of `list_runs`."""
    result = child.ask("tools/call", {"name": "list_runs", "arguments": {}, **envelope})
    row: dict[str, Any] = result["structuredContent"]["runs"][0]
    return row


def cancel(child: Child, request_id: int) -> None:
    """Cancel a request, as some clients do with each request whose answer they have read."""
    child.send("notifications/cancelled", {"requestId": request_id}, is_request=False)


@pytest.mark.parametrize("first_id", [1, 0], ids=["from one", "from zero"])
@pytest.mark.parametrize("envelope", [{}, ENVELOPE], ids=["older", "newer"])
def test_a_cancellation_after_delivery_changes_nothing(
    tmp_path: Path, sandbox: dict[str, str], envelope: dict[str, Any], first_id: int
) -> None:
    """A delivered run stays delivered, so `last` is right: OpenCode cancels each request after its answer."""
    with open_child(tmp_path / "f", environment=sandbox) as child:
        child.numbers = first_id - 1
        if not envelope:
            child.greet()
        pictures = []
        for prompt in ("a lake", "a hill"):
            call = {"name": "text_to_picture", "arguments": {"prompt": prompt}, **envelope}
            pictures.append(child.ask("tools/call", call)["structuredContent"])
            cancel(child, child.numbers)
        sketch = {"name": "photo_to_pencil_sketch", "arguments": {"photo": "last"}, **envelope}
        drawn = child.ask("tools/call", sketch)["structuredContent"]
        content = json.loads(child.ask("resources/read", {"uri": drawn["resource"], **envelope})["contents"][0]["text"])
        row = get_row(child, envelope)
        equal, other = (child.ask("tools/call", {**CALL, **envelope})["structuredContent"] for _ in range(2))
    assert pictures[1]["run_id"] in json.dumps(content["arguments"])
    assert (row["run_id"], row["is_seen"]) == (drawn["run_id"], True)
    assert not any("unseen" in facts for facts in (*pictures, drawn, equal, other))
    # For a minute it is unknown whether the cancelled answer was used; the next one was.
    assert (equal["run_id"], "joined" in equal) == (pictures[0]["run_id"], True)
    assert other["run_id"] != equal["run_id"]


def test_an_invalid_line_is_answered_and_half_a_character_is_refused(tmp_path: Path, sandbox: dict[str, str]) -> None:
    """An unanswered client waits until it gives up, and a text with half an emoji must not start a paid run."""
    with open_child(tmp_path / "f", environment=sandbox) as child:
        child.greet()
        assert child.process.stdin is not None
        child.process.stdin.write(b"not json\n[1]\n")
        child.process.stdin.flush()
        problems = [child.read() for _ in range(2)]
        # Written as a JSON escape: these bytes are ASCII.
        request = child.send("tools/call", {"name": "text_to_picture", "arguments": {"prompt": "a cat \ud83d"}})
        refused = child.read()
        runs = child.call("list_runs")["runs"]
    assert [(one["id"], one["error"]["code"]) for one in problems] == [(None, -32700), (None, -32600)]
    assert refused["id"] == request
    assert "half of a character" in refused["error"]["message"]
    assert runs == []


def test_an_unwritten_answer_is_undelivered(tmp_path: Path, sandbox: dict[str, str]) -> None:
    """The next session reports the result of a client that stopped reading and was ended."""
    with open_unread(tmp_path / "f", sandbox) as child:
        child.process.send_signal(signal.SIGTERM)
        child.process.wait(timeout=60)
    with open_child(tmp_path / "f", environment=sandbox) as child:
        child.greet()
        row = get_row(child, {})
    assert (row["state"], row["is_seen"]) == ("succeeded", False)


def test_an_answer_that_waits_to_be_written_stays_undelivered(tmp_path: Path, sandbox: dict[str, str]) -> None:
    """Hours later an equal call of another program joins the run and pays nothing."""
    folder = tmp_path / "f"
    # Minutes pass in a second here; a time limit that marked the answer as written would take effect.
    hasty = {**sandbox, CONDITIONS: "rate=200", "FLOWPORT_WAIT_SECONDS": "3600"}
    with open_unread(folder, hasty):
        home = {"FLOWPORT_HOME": str(folder / "home")}
        with open_child(tmp_path / "other", environment={**hasty, **home}) as other:
            other.greet()
            other.call("text_to_picture", prompt="a hill")
            waiting = [row for row in other.call("list_runs")["runs"] if not row["is_seen"]]
            joined = other.call("text_to_picture", prompt="a lake")
            rows = other.call("list_runs")["runs"]
    assert [row["run_id"] for row in waiting] == [joined["run_id"]]
    assert "joined" in joined
    assert [row["is_seen"] for row in rows] == [True, True]


def test_a_client_that_closes_only_its_output_gets_its_answers(tmp_path: Path, sandbox: dict[str, str]) -> None:
    """A client that closes only its output still reads, so pending answers are written before the process ends."""
    with open_unread(tmp_path / "f", sandbox) as child:
        child.close_input()
        lists = 0
        while lists < MANY_LISTS:
            lists += "tools" in child.read().get("result", {})
        assert child.wait() == 0


def test_a_client_that_closes_its_output_and_stops_reading_is_abandoned(
    tmp_path: Path, sandbox: dict[str, str]
) -> None:
    """A blocked write must not keep the process alive."""
    with open_unread(tmp_path / "f", sandbox) as child:
        child.close_input()
        child.process.wait(timeout=60)
        assert child.process.returncode == 0
