"""The built-in sandbox over several sessions, as a user meets it: real processes of one home, started and ended."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_serve import has_ended, open_watch
from tests.fakes.client import build_photo, write
from tests.support.children import Child, is_of_python, open_child
from tests.support.patience import PATIENCE_SECONDS

SLOW = "sandbox_slow_cinema_still"
"""Takes 45 s: long enough for everything that happens to a live run."""

ENDS: dict[str, Callable[[Child], None]] = {
    "end of input": Child.close_input,
    "SIGTERM": lambda child: child.process.send_signal(signal.SIGTERM),
    "SIGKILL": lambda child: child.process.kill(),
}


@contextmanager
def open_session(folder: Path, **environment: str) -> Iterator[Child]:
    """Start and initialise a process of the folder's home; each session has its own standard error."""
    with open_child(folder, environment=environment) as child:
        child.greet()
        child.ask("tools/list")
        yield child


def count_runs(database: Path) -> int:
    """Return the number of runs that a sandbox has."""
    with closing(sqlite3.connect(database)) as connection:
        return int(connection.execute("SELECT count(*) FROM runs").fetchone()[0])


def call_together(child: Child, *calls: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Make several concurrent calls and return their structured answers, in order."""
    numbers = [child.send("tools/call", {"name": tool, "arguments": arguments}) for tool, arguments in calls]
    answers: dict[int, dict[str, Any]] = {}
    while len(answers) < len(numbers):
        message = child.read()
        if message.get("id") in numbers:
            answers[message["id"]] = message["result"]["structuredContent"]
    return [answers[number] for number in numbers]


def kill(process_id: int) -> None:
    """Kill a process at once."""
    if sys.platform != "win32":
        os.kill(process_id, signal.SIGKILL)


def send_to_group(process: subprocess.Popen[bytes], number: signal.Signals, *, is_alone: bool) -> None:
    """Send a signal to a process and, like a terminal, to its group, unless it has no group of its own yet."""
    if sys.platform != "win32" and not is_alone:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)


def find_sandboxes(folder: Path) -> list[int]:
    """Return the processes that serve, or are about to serve, the home's sandbox."""
    wanted = str(folder / "home" / "sandbox").encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue  # it has ended meanwhile
            if b"--child" in words and wanted in words:
                found.append(int(entry.name))
    return found


def find_sandbox(folder: Path) -> int:
    """Return the process that serves the home's sandbox."""
    (only,) = find_sandboxes(folder)
    return only


def test_the_next_session_has_the_results_of_the_last_one(tmp_path: Path) -> None:
    """The same picture again, the newest result, an earlier one and a link from the conversation all work."""
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "me.png").write_bytes(write(build_photo()))
    poster = {"photo": str(folder / "me.png")}
    with open_session(folder) as first:
        made = first.call("sandbox_retro_poster", **poster, title="one")
        first.close_input()
        first.wait()
    with open_session(folder) as second:
        sketch = "sandbox_photo_to_pencil_sketch"
        answers = call_together(
            second,
            ("sandbox_retro_poster", {**poster, "title": "two"}),
            (sketch, {"photo": "last"}),
            (sketch, {"photo": f"run:{made['run_id']}", "line_strength": 2}),
            (sketch, {"photo": made["outputs"][0]["url"], "line_strength": 3}),
        )
        second.close_input()
        assert second.wait() == 0
    assert [(answer["state"], answer.get("failure")) for answer in [made, *answers]] == [("succeeded", None)] * 5
    assert (folder / "stderr.txt").read_text() == ""


def test_results_that_were_not_saved_are_there_in_the_next_session(tmp_path: Path) -> None:
    """The sandbox is the only holder of unsaved results, so it keeps them between sessions."""
    with open_session(tmp_path / "f", FLOWPORT_SAVE_OUTPUTS="false") as first:
        made = first.call("sandbox_text_to_picture", prompt="a lake")
        first.close_input()
        first.wait()
    with open_session(tmp_path / "f", FLOWPORT_SAVE_OUTPUTS="false") as second:
        read = second.ask("resources/read", {"uri": f"flowport://runs/{made['run_id']}/outputs/1"})
        answer = second.call("sandbox_photo_to_pencil_sketch", photo="last")
    assert (answer["state"], read["contents"][0]["mimeType"]) == ("succeeded", "image/png")


def test_saved_results_outlive_the_sandbox_state(tmp_path: Path) -> None:
    """Saved results remain when the sandbox's folder was deleted or has expired; lost uploads are repeated."""
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "me.png").write_bytes(write(build_photo()))
    with open_session(folder) as first:
        first.call("sandbox_retro_poster", photo=str(folder / "me.png"), title="one")
        first.close_input()
        first.wait()
    (folder / "home/sandbox/sandbox.sqlite3").write_bytes(b"\xff damaged")
    with open_session(folder) as second:
        answers = call_together(
            second,
            ("sandbox_retro_poster", {"photo": str(folder / "me.png"), "title": "two"}),
            ("sandbox_photo_to_pencil_sketch", {"photo": "last"}),
        )
    assert [(answer["state"], answer.get("failure")) for answer in answers] == [("succeeded", None)] * 2
    assert (
        "the sandbox's stored state is damaged; it was kept as sandbox.unreadable-1"
        in (folder / "stderr.txt").read_text()
    )


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_two_processes_share_one_sandbox_and_the_last_ends_it(tmp_path: Path, end: Callable[[Child], None]) -> None:
    """However the process that started it ends, the other one continues; afterwards no process is left."""
    with open_session(tmp_path / "f") as first, open_session(tmp_path / "f") as second:
        process_id = find_sandbox(tmp_path / "f")
        watch = open_watch(process_id)
        made = first.call("sandbox_text_to_picture", prompt="a lake")
        second.call("sandbox_always_fails", note="x")
        end(first)
        first.process.wait(timeout=60)
        answer = second.call("sandbox_photo_to_pencil_sketch", photo=f"run:{made['run_id']}")
        assert find_sandbox(tmp_path / "f") == process_id
        end(second)
        second.process.wait(timeout=60)
        assert has_ended(watch)
    assert answer["state"] == "succeeded"
    assert not (tmp_path / "f/home/sandbox/address.json").exists() or end is ENDS["SIGKILL"]


def test_a_killed_sandbox_restarts_with_its_live_runs(tmp_path: Path) -> None:
    """The waiting caller and the other process both get the result; nothing is started twice."""
    with open_session(tmp_path / "f") as first, open_session(tmp_path / "f") as second:
        number = first.send("tools/call", {"name": "sandbox_text_to_picture", "arguments": {"prompt": "a lake"}})
        while not count_runs(tmp_path / "f/home/sandbox/sandbox.sqlite3"):
            time.sleep(0.02)
        kill(find_sandbox(tmp_path / "f"))
        other = second.call("sandbox_variations_on_a_theme", prompt="a hill", count=1)
        while (message := first.read()).get("id") != number:
            pass
        runs = second.call("list_runs")["runs"]
    assert message["result"]["structuredContent"]["state"] == "succeeded"
    assert (other["state"], len(runs)) == ("succeeded", 2)


def test_a_run_that_no_sandbox_can_finish_fails_and_can_be_started_again(tmp_path: Path) -> None:
    """Its sandbox was killed and its state deleted; an equal call must not wait for it without end."""
    with open_session(tmp_path / "f", FLOWPORT_WAIT_SECONDS="1") as first:
        lost = first.call(SLOW, prompt="a lake")
        watch = open_watch(find_sandbox(tmp_path / "f"))
        first.process.kill()
        assert has_ended(watch)
    (tmp_path / "f/home/sandbox/sandbox.sqlite3").unlink()
    with open_session(tmp_path / "f", FLOWPORT_WAIT_SECONDS="20") as second:
        failed = second.call("get_run", run_id=lost["run_id"])
        second.send("notifications/initialized", is_request=False)
        again = second.call("sandbox_text_to_picture", prompt="a lake")
    with open_session(tmp_path / "f", FLOWPORT_WAIT_SECONDS="1") as third:
        repeated = third.call(SLOW, prompt="a lake")
    assert (failed["state"], "The same call starts it again." in failed["failure"]) == ("failed", True)
    assert again["state"] == "succeeded"
    assert repeated["run_id"] != lost["run_id"]


def test_the_next_process_finishes_the_run_of_a_killed_one(tmp_path: Path) -> None:
    """The run was live; an equal call joins it and pays once."""
    with open_session(tmp_path / "f", FLOWPORT_WAIT_SECONDS="0.2") as first:
        made = first.call("sandbox_text_to_picture", prompt="a lake")
        first.process.kill()
    with open_session(tmp_path / "f") as second:
        answer = second.call("sandbox_text_to_picture", prompt="a lake")
    assert (answer["state"], answer["run_id"]) == ("succeeded", made["run_id"])


def test_a_moved_home_works(tmp_path: Path) -> None:
    """The home does not contain its own path; saved results are elsewhere and stay there."""
    with open_session(tmp_path / "f") as first:
        made = first.call("sandbox_text_to_picture", prompt="a lake")
        first.close_input()
        first.wait()
    (tmp_path / "f/home").rename(tmp_path / "f/moved")
    with open_session(tmp_path / "f", FLOWPORT_HOME=str(tmp_path / "f/moved")) as second:
        answer = second.call("sandbox_photo_to_pencil_sketch", photo=f"run:{made['run_id']}")
    assert answer["state"] == "succeeded"


WEB = [
    "https://example.com/me.png",
    "http://example.com/me.png",
    "HTTPS://EXAMPLE.COM/me.png",
    "http://127.0.0.1:1/x.png",
]


def test_web_addresses_are_refused_before_a_run_is_made(tmp_path: Path) -> None:
    """The sandbox reads nothing from the web, and the refusal of other inputs does not advise a web address."""
    with open_session(tmp_path / "f") as child:
        refused = [child.call("sandbox_retro_poster", photo=url, title="x")["message"] for url in WEB]
        other = [
            child.call("sandbox_retro_poster", photo=name, title="x")["message"] for name in ("me.png", "ftp://x/y")
        ]
        runs = child.call("list_runs")
        tools = {tool["name"]: tool for tool in child.ask("tools/list")["tools"]}
    assert all("takes files of this computer" in message for message in refused)
    assert not any("https URL" in message for message in [*refused, *other])
    assert runs["runs"] == []
    poster = tools["sandbox_retro_poster"]
    assert "URL" not in poster["inputSchema"]["properties"]["photo"]["description"]
    assert "drawn on this computer, not generated" in poster["description"]


def test_a_refusal_of_the_sandbox_does_not_blame_a_changed_app(tmp_path: Path) -> None:
    """Its apps are part of Flowport and never change."""
    with open_session(tmp_path / "f") as child:
        failed = child.call("sandbox_variations_on_a_theme", prompt="x", count=99)
        made = child.call("sandbox_text_to_picture", prompt="x")
    assert (failed["state"], "changed" in failed["failure"]) == ("failed", False)
    assert "draws and generates nothing" in made["notes"]


STAGES = {"at once": "", "spawned": "log.txt", "reading its state": "sandbox.sqlite3", "listening": "address.json"}
"""How far the sandbox's start has come, by the file that exists then."""


INTERRUPTED = "import os, signal; signal.signal(2, signal.default_int_handler); os.kill(os.getpid(), 2)"
INTERRUPTED_IN_OURS = """
from flowport.cli.startup import get_signal_code

class Words(list):
    def __len__(self):
        raise KeyboardInterrupt

get_signal_code(Words())
"""


def test_noise_of_python_differs_from_our_own(tmp_path: Path) -> None:
    """A signal may arrive before our first line; a traceback with lines of ours is a fault of ours."""
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTED)
    noises = [
        subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.PIPE, text=True, check=False)
        for command, path in (
            ([sys.executable, "-m", "flowport", "--version"], str(tmp_path)),
            ([sys.executable, "-c", INTERRUPTED_IN_OURS], ""),
        )
    ]
    assert [is_of_python(done.stderr) for done in noises] == [True, False]
    assert ["KeyboardInterrupt" in done.stderr for done in noises] == [True, True]
    assert not is_of_python("")


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("way", [[], ["--http", "127.0.0.1:0", "--no-auth"]], ids=["stdio", "http"])
def test_a_signal_while_the_sandbox_starts_ends_it_quietly(
    tmp_path: Path, stage: str, number: signal.Signals, way: list[str]
) -> None:
    """Ctrl-C in a terminal reaches the whole group; nothing is printed, and no process is left."""
    # A job in the background of a shell ignores Ctrl-C, and so would its children.
    with open_child(tmp_path / "f", *way, prefix=["env", "--default-signal=INT", "setsid"]) as child:
        while stage and not (tmp_path / "f/home/sandbox" / stage).exists():
            assert child.process.poll() is None
            time.sleep(0.005)
        send_to_group(child.process, number, is_alone=not stage)
        code = child.wait()
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while find_sandboxes(tmp_path / "f"):
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
    noise = (tmp_path / "f/stderr.txt").read_text()
    # A signal that arrives before our first lines have run is handled by the operating system, or by Python.
    is_early = not stage and (code == -number or is_of_python(noise))
    assert is_early or (noise, code) == ("", 0)
