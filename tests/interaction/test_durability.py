"""The store is on the disk before a start request leaves, as the operating system saw it."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.children import open_child
from tests.support.provider_process import open_provider

STRACE = shutil.which("strace")
CALLS = "trace=pwrite64,fdatasync,fsync,sendto,sendmsg,write,writev"


def can_trace() -> bool:
    """Return whether the system allows tracing a process's calls."""
    return STRACE is not None and subprocess.run([STRACE, "-o", "/dev/null", "true"], check=False).returncode == 0


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Run a sandbox as a process and return how to reach it."""
    with open_provider(tmp_path_factory.mktemp("sandbox")) as provider:
        yield provider.environment


def parse_events(log: str) -> list[str]:
    """Return the events of the journal and of the start request, in the order of their completion."""
    events: list[str] = []
    syncing: set[str] = set()
    for line in log.splitlines():
        process, _, call = line.partition(" ")
        if "pwrite64" in call and "store.sqlite3-wal" in call and "starting" in call:
            events.append("starting written")
        elif "POST /v1/ai/flows/" in call and "store.sqlite3" not in call:  # the record names the request too
            events.append("request sent")
        elif re.search(r"f(data)?sync\(.*store\.sqlite3-wal", call):
            syncing.add(process)
        if process in syncing and re.search(r"sync.*\) += 0", call):
            syncing.discard(process)
            events.append("synced")
    return events


@pytest.mark.skipif(not can_trace(), reason="strace is not here, or may not look")
def test_the_journal_is_synced_before_the_request_leaves(tmp_path: Path, sandbox: dict[str, str]) -> None:
    """Only a trace shows the sync: data written before a kill survives it, but not a power cut."""
    log = tmp_path / "calls.txt"
    prefix = (str(STRACE), "-f", "-y", "-s", "5000", "-e", CALLS, "-o", str(log))
    with open_child(tmp_path / "f", prefix=prefix, environment=sandbox) as child:
        child.greet()
        child.ask("tools/list")
        assert child.call("text_to_picture", prompt="a lake")["state"] == "succeeded"
        child.close_input()
        child.process.wait(timeout=60)
    events = parse_events(log.read_text(errors="replace"))
    sent = events.index("request sent")
    assert "starting written" in events[:sent]
    assert events[sent - 1] == "synced"
    assert events.count("request sent") == 1


def test_a_trace_is_parsed_correctly() -> None:
    """A sync counts when it is complete, and only for the thread that requested it."""
    trace = (
        '7 pwrite64(9</h/store.sqlite3-wal>, "..starting..", 4096, 24) = 4096\n'
        "7 fdatasync(9</h/store.sqlite3-wal> <unfinished ...>\n"
        '8 sendto(12<TCP:[1]>, "POST /v1/ai/flows/x/run HTTP/1.1", 32, 0, NULL, 0) = 32\n'
        "7 <... fdatasync resumed>)             = 0\n"
        "8 fdatasync(4</h/picture.png>)         = 0\n"
    )
    assert parse_events(trace) == ["starting written", "request sent", "synced"]
