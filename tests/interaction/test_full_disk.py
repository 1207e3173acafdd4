"""A real process on a full disk: it starts nothing, reports the reason, and continues when there is room again."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.children import Child, open_child
from tests.support.provider_process import open_provider

APP = "text_to_picture"
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Run a sandbox as a process and return how to reach it."""
    with open_provider(tmp_path_factory.mktemp("sandbox")) as provider:
        yield {"FLOWPORT_SAVE_OUTPUTS": "false", **provider.environment}


def check_refusal(child: Child, problem: str) -> None:
    """Check that nothing is started, that the reason is given, and that everything else works."""
    refused: dict[str, Any] = child.ask("tools/call", {"name": APP, "arguments": {"prompt": "y" * 100_000}})
    assert problem in refused["structuredContent"]["message"]
    assert APP in [tool["name"] for tool in child.ask("tools/list")["tools"]]
    assert [row["state"] for row in child.call("list_runs")["runs"]] == ["succeeded"]


def test_a_file_that_may_not_grow_stops_starts(tmp_path: Path, sandbox: dict[str, str]) -> None:
    """A limit on file sizes simulates a disk that fails during a write."""
    if sys.platform != "linux":
        pytest.skip("only Linux lets a process be limited or watched from outside")
    with open_child(tmp_path / "f", environment=sandbox) as child:
        child.greet()
        assert child.call(APP, prompt="a lake")["state"] == "succeeded"
        size = max(file.stat().st_size for file in (tmp_path / "f/home").glob("store.sqlite3*"))
        resource.prlimit(child.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        check_refusal(child, "the disk reports an error")
        resource.prlimit(child.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert child.call(APP, prompt="a hill")["state"] == "succeeded"


def can_mount() -> bool:
    """Return whether an unprivileged user may mount a disk."""
    try:
        tried = subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "t", "/mnt"], check=False, capture_output=True)
    except OSError:
        return False
    return tried.returncode == 0


@pytest.mark.skipif(not can_mount(), reason="the system lets no user mount a disk")
def test_a_full_disk_stops_starts(tmp_path: Path, sandbox: dict[str, str]) -> None:
    """A disk of one megabyte, mounted for the child process alone and filled from outside."""
    home = tmp_path / "f/home"
    home.mkdir(parents=True)
    mount = f'mount -t tmpfs -o size=1m,mode=0700 t "{home}" && exec "$@"'
    with open_child(tmp_path / "f", prefix=(*NAMESPACE, "sh", "-c", mount, "sh"), environment=sandbox) as child:
        child.greet()
        assert child.call(APP, prompt="a lake")["state"] == "succeeded"
        filler = Path(f"/proc/{child.process.pid}/root{home}/filler")
        fill(filler)
        check_refusal(child, "the disk is full")
        filler.unlink()
        assert child.call(APP, prompt="a hill")["state"] == "succeeded"


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            os.fsync(file.fileno())
