"""One key and several real processes of one home: together they stay within its rate limit."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.children import Child, open_child
from tests.support.provider_process import ProviderProcess, open_provider

LIMIT = 40
WINDOW_SECONDS = 60.0
GIVE_UP_SECONDS = 100.0
"""When a test stops waiting for the second window, which begins after sixty seconds."""


@contextmanager
def open_sandbox(folder: Path) -> Iterator[ProviderProcess]:
    """Run a sandbox that refuses requests beyond the limit."""
    with open_provider(folder, "--style", "flows", requests_per_minute=LIMIT) as provider:
        yield provider


@contextmanager
def open_programs(folder: Path, sandbox: ProviderProcess, count: int) -> Iterator[list[Child]]:
    """Run a number of processes that share home and key; calls return before their runs end."""
    environment = {
        **sandbox.environment,
        "FLOWPORT_REQUESTS_PER_MINUTE": str(LIMIT),
        "FLOWPORT_WAIT_SECONDS": "1",
        "FLOWPORT_SAVE_OUTPUTS": "false",
        "FLOWPORT_PREVIEWS": "false",
    }
    with ExitStack() as stack:
        programs = [stack.enter_context(open_child(folder, environment=environment)) for _ in range(count)]
        for program in programs:
            program.greet()
        yield programs


def start_runs(program: Child, count: int, name: str) -> str:
    """Start runs concurrently, read the answers, and return the id of the last one."""
    numbers = [
        program.send("tools/call", {"name": "text_to_picture", "arguments": {"prompt": f"{name} {n}"}})
        for n in range(count)
    ]
    answers: dict[int, str] = {}
    while len(answers) < count:
        message = program.read()
        if message.get("id") in numbers:
            answers[message["id"]] = message["result"]["structuredContent"]["run_id"]
    return answers[numbers[-1]]


def count_requests(sandbox: ProviderProcess) -> tuple[int, int]:
    """Return the number of limited requests that the sandbox accepted and refused."""
    counts: dict[str, Any] = sandbox.ask("counts")
    return sum(counts[name] for name in ("list", "list_own", "get", "run", "status")), counts["refused_429"]


def wait_for_requests(sandbox: ProviderProcess, wanted: int, program: Child, run_id: str) -> None:
    """Wait until the sandbox has had a number of requests; a call for the live run spaces the counts."""
    give_up_at = time.monotonic() + GIVE_UP_SECONDS
    while count_requests(sandbox)[0] < wanted:
        assert time.monotonic() < give_up_at
        program.call("get_run", run_id=run_id)


def report(request: pytest.FixtureRequest, sentence: str) -> None:
    """Print a figure in the test output."""
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{sentence}")  # noqa: T201 - the figure is part of the report


@pytest.mark.parametrize("count", [2, 4])
def test_processes_on_one_key_are_never_refused(tmp_path: Path, request: pytest.FixtureRequest, count: int) -> None:
    """Each could use up the limit alone; together they use all of it and no more, and each gets a share."""
    with open_sandbox(tmp_path / "sandbox") as sandbox, open_programs(tmp_path / "me", sandbox, count) as programs:
        for n, program in enumerate(programs):
            last = start_runs(program, LIMIT, str(n))
        wait_for_requests(sandbox, LIMIT, programs[-1], last)
        balances = [program.call("get_balance")["accounts"][0] for program in programs]
        taken, refused = count_requests(sandbox)
    report(request, f"sharing: {count} processes, {taken} requests in a window of {LIMIT}, {refused} refused")
    assert (taken, refused) == (LIMIT, 0)
    assert [(one["requests_last_minute"], one["requests_per_minute"]) for one in balances] == [(LIMIT, LIMIT)] * count


@pytest.mark.long
def test_requests_of_a_killed_process_count_until_the_window_has_passed(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The process was killed after using the whole window; another begins a minute later, as fast as four can."""
    with open_sandbox(tmp_path / "sandbox") as sandbox, open_programs(tmp_path / "me", sandbox, 4) as programs:
        began_at = time.monotonic()
        last = start_runs(programs[0], 2 * LIMIT, "first")
        wait_for_requests(sandbox, LIMIT, programs[0], last)
        programs[0].process.kill()
        programs[0].process.wait()
        for n, program in enumerate(programs[1:]):
            last = start_runs(program, LIMIT, str(n))
        balance = programs[1].call("get_balance")["accounts"][0]
        assert (balance["requests_last_minute"], count_requests(sandbox)) == (LIMIT, (LIMIT, 0))
        wait_for_requests(sandbox, 2 * LIMIT, programs[3], last)
        seconds = time.monotonic() - began_at
        taken, refused = count_requests(sandbox)
    report(request, f"sharing: one of 4 processes killed, {taken} requests in {seconds:.1f} s, {refused} refused")
    assert (taken, refused) == (2 * LIMIT, 0)
    assert seconds >= WINDOW_SECONDS
