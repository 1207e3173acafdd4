"""Ten sessions of the built-in sandbox in a row, and two at once: each uses results of earlier ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.client import build_photo, write
from tests.interaction.test_sandbox_sessions import call_together, open_session
from tests.support.children import Child

SESSIONS = 10
SKETCH = "sandbox_photo_to_pencil_sketch"
END = (Child.close_input, lambda child: child.process.terminate(), lambda child: child.process.kill())


def build_calls(photo: Path, first: dict[str, Any], n: int) -> list[tuple[str, dict[str, Any]]]:
    """Return the calls of a session: the same picture, the newest result, an earlier one by its id and by its link."""
    return [
        ("sandbox_retro_poster", {"photo": str(photo), "title": f"session {n}"}),
        (SKETCH, {"photo": "last", "line_strength": n / 10}),
        (SKETCH, {"photo": f"run:{first['run_id']}#1", "line_strength": 1 + n / 10}),
        (SKETCH, {"photo": first["outputs"][0]["url"], "line_strength": 2 + n / 10}),
    ]


def end_session(child: Child, end: Callable[[Child], None]) -> None:
    """End a process and wait until it has ended."""
    end(child)
    child.process.wait(timeout=60)


def test_ten_sessions_in_a_row_and_two_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every call succeeds, however the session before it has ended."""
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "me.png").write_bytes(write(build_photo()))
    with open_session(folder) as child:
        first = child.call("sandbox_retro_poster", photo=str(folder / "me.png"), title="first")
        end_session(child, Child.close_input)
    answers = [first]
    for n in range(1, SESSIONS):
        with open_session(folder) as child:
            answers += call_together(child, *build_calls(folder / "me.png", first, n))
            # A killed process may not have recorded its last delivery, so every second session ends by closing its input.
            end_session(child, END[n % len(END)] if n % 2 else Child.close_input)
    with open_session(folder) as one, open_session(folder) as two:
        for n in range(3):
            asked = []
            for number, child in enumerate((one, two)):
                calls = build_calls(folder / "me.png", first, 20 + 2 * n + number)
                sent = [child.send("tools/call", {"name": tool, "arguments": given}) for tool, given in calls]
                asked.append((child, sent))
            for child, wanted in asked:
                while wanted:
                    message = child.read()
                    if message.get("id") in wanted:
                        wanted.remove(message["id"])
                        answers.append(message["result"]["structuredContent"])
    failures = [answer for answer in answers if answer.get("state") != "succeeded"]
    with capsys.disabled():
        print(f"\nsandbox: {SESSIONS} sessions in a row and 2 at once, {len(answers)} calls, {len(failures)} failures")  # noqa: T201 - the figure
    assert failures == []
    assert len(answers) == 1 + 4 * (SESSIONS - 1) + 4 * 3 * 2
