"""The end of a process, tested on real processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from flowport.server import shutdown as ending
from flowport.server.shutdown import CLOSING_SECONDS
from tests.support.patience import PATIENCE_SECONDS

STUCK = """
import sys, anyio
from flowport.server.shutdown import End, listen_for_signals, open_client_fd

async def main():
    end = End(open_client_fd())
    listen_for_signals(end)
    print("ready", flush=True)
    while True:
        pass

anyio.run(main)
"""
WAITING = STUCK.replace(
    """    while True:
        pass
""",
    """    if sys.argv[1:]:
        end.ask(int(sys.argv[1]))
    await end.asked.wait()
    print("clean", flush=True)
    sys.exit(end.code)
""",
)


def interrupt(process: subprocess.Popen[str]) -> None:
    """Send an interrupt, like Ctrl-C."""
    process.send_signal(signal.SIGINT)


def close_output(process: subprocess.Popen[str]) -> None:
    """Close the reading end of its output."""
    assert process.stdout is not None
    process.stdout.close()


ENDS = pytest.mark.parametrize("end", [subprocess.Popen.terminate, interrupt, close_output])


def run(program: str, end: Callable[[subprocess.Popen[str]], None], *arguments: str) -> tuple[int, str]:
    """Start a program, end it when it is ready, and return its exit code and further output."""
    command = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            end(process)
            code = process.wait(timeout=PATIENCE_SECONDS)
            return code, "" if process.stdout.closed else process.stdout.read()
        finally:
            process.kill()


def test_the_clean_up_has_less_time_than_clients_give() -> None:
    """Clients kill a process after two seconds; the rest is for starting the watchdog and for the exit itself."""
    assert 0 < CLOSING_SECONDS < 1.8


@ENDS
def test_a_blocked_event_loop_cannot_delay_the_end(end: Callable[[subprocess.Popen[str]], None]) -> None:
    """A watchdog on its own thread ends the process."""
    assert run(STUCK, end) == (0, "")


@pytest.mark.parametrize("end", [subprocess.Popen.terminate, interrupt])
def test_a_signal_starts_the_clean_up(end: Callable[[subprocess.Popen[str]], None]) -> None:
    """Tasks that wait for the end are notified and have their time."""
    assert run(WAITING, end) == (0, "clean\n")


def test_a_requested_end_has_its_exit_code() -> None:
    """The exit code reports to the client whether something went wrong."""
    assert run(WAITING, lambda _: None, "3") == (3, "clean\n")


def test_a_missing_output_is_not_watched() -> None:
    """Some starters give none."""
    program = WAITING.replace('print("ready", flush=True)', "end.ask(4)").replace('print("clean", flush=True)', "pass")
    done = subprocess.run(
        [sys.executable, "-c", f"import os; os.close(1)\n{program}"], check=False, stderr=subprocess.PIPE
    )
    assert (done.returncode, done.stderr) == (4, b"")
    assert os.fstat(1)


PARENT = """
import subprocess, sys
sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
print(sleeper.pid, flush=True)
child.wait()
"""
QUICK = WAITING.replace(
    "async def main", "from flowport.server import shutdown\nshutdown.PARENT_SECONDS = 0.05\n\nasync def main"
)


def test_a_killed_client_ends_the_process_although_the_pipes_stay_open() -> None:
    """As in DeusData/codebase-memory-mcp#406: neither pipe closes, and the server would stay with its locks."""
    if sys.platform == "win32":
        pytest.skip("there is no signal that ends the sleeper")
    command = [sys.executable, "-c", PARENT, QUICK]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as parent:
        assert parent.stdout is not None
        first = {parent.stdout.readline().strip(), parent.stdout.readline().strip()}
        sleeper_id = int(min(first - {"ready"}))
        try:
            parent.kill()
            assert parent.stdout.readline() == "clean\n"
        finally:
            os.kill(sleeper_id, signal.SIGKILL)


def test_the_parent_is_checked_often_enough() -> None:
    """The documented limit is fifteen seconds, clean-up included."""
    assert ending.PARENT_SECONDS + ending.CLOSING_SECONDS < 15
