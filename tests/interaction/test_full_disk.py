"""A real process whose disk has no room: it starts nothing, answers why, and goes on when there is room again."""

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
    """Run a sandbox as a process and say how to reach it."""
    with open_provider(tmp_path_factory.mktemp("sandbox")) as provider:
        yield {"FLOWPORT_SAVE_OUTPUTS": "false", **provider.environment}


def check_refusal(child: Child, problem: str) -> None:
    """See that nothing is started, that it is said why, and that all else goes on."""
    refused: dict[str, Any] = child.ask("tools/call", {"name": APP, "arguments": {"prompt": "y" * 100_000}})
    assert problem in refused["structuredContent"]["message"]
    assert APP in [tool["name"] for tool in child.ask("tools/list")["tools"]]
    assert [row["state"] for row in child.call("list_runs")["runs"]] == ["succeeded"]


def test_a_file_that_may_not_grow_stops_starts(tmp_path: Path, sandbox: dict[str, str]) -> None:
    """A limit on the size of files stands for a disk that fails as it is written to."""
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
    """Tell whether the system lets anybody mount a disk of their own."""
    try:
        tried = subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "t", "/mnt"], check=False, capture_output=True)
    except OSError:
        return False
    return tried.returncode == 0


@pytest.mark.skipif(not can_mount(), reason="the system lets nobody mount a disk of their own")
def test_a_full_disk_stops_starts(tmp_path: Path, sandbox: dict[str, str]) -> None:
    """A disk of a megabyte, mounted for the child alone and filled behind its back."""
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
    """Write until nothing more fits."""
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            os.fsync(file.fileno())
