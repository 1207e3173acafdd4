"""The end of a server whose clients wait: each gets an answer, and nothing new begins."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.callers import ERAS, HttpCaller
from tests.support.children import Child
from tests.web.test_http import open_http_child

TOOL = "sandbox_slow_cinema_still"


@contextmanager
def open_server(folder: Path) -> Iterator[tuple[Child, str, ExitStack]]:
    """Run a server whose calls wait longer than any test, and the clients of a test."""
    with open_http_child(folder, FLOWPORT_WAIT_SECONDS="600") as (child, url), ExitStack() as stack:
        yield child, url, stack


@pytest.mark.parametrize("era", ERAS)
def test_a_waiting_call_is_answered_with_its_run_when_the_server_ends(tmp_path: Path, era: str) -> None:
    """The client asks for the run after the restart, as it does when its wait budget ends."""
    with open_server(tmp_path / "f") as (child, url, stack):
        client = HttpCaller(url, era, stack)
        calls = [client.call(TOOL, {"prompt": f"a lake {n}"}) for n in range(3)]
        while len(list_runs(client)) < len(calls):
            pass
        child.process.send_signal(signal.SIGTERM)
        facts = [call.read()[1]["result"]["structuredContent"] for call in calls]
        code = child.wait()

    assert len({one["run_id"] for one in facts}) == len(calls)
    assert all("get_run" in one["next_step"] for one in facts)
    assert code == 0
    with open_server(tmp_path / "f") as (_, url, stack):
        rows = list_runs(HttpCaller(url, era, stack))
    assert {one["run_id"] for one in facts} == {row["run_id"] for row in rows}


def list_runs(client: HttpCaller) -> list[dict[str, Any]]:
    """Return the runs on record."""
    rows: list[dict[str, Any]] = client.call("list_runs", {"limit": 9}).read()[1]["result"]["structuredContent"]["runs"]
    return rows
