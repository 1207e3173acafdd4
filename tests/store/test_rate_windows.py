"""The file that processes share their budgets through: real files, real locks, real damage."""

import logging
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from functools import partial
from pathlib import Path

import anyio
import pytest

from flowport.domain.errors import StoreError
from flowport.domain.models import BootTime
from flowport.store.sqlite.rate_windows import RateWindowFile


def append(word: str, text: str, _: BootTime | None) -> tuple[str, str]:
    """Return a text with a word more, and what it was."""
    return f"{text} {word}".strip(), text


def note(word: str, text: str, _: BootTime | None) -> tuple[str, None]:
    """Return a text with a word more."""
    return f"{text} {word}".strip(), None


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is to be, in a folder that is not there yet."""
    return tmp_path / "home" / "rate-limits.sqlite3"


async def test_each_change_sees_all_earlier_ones_of_every_connection(path: Path) -> None:
    """Each stands for a process; so do the texts of two accounts."""
    files = [RateWindowFile(path) for _ in range(3)]
    async with anyio.create_task_group() as tasks:
        for file in files * 20:
            tasks.start_soon(file.change, "a", partial(append, "x"))
    files[0].post("a", partial(note, "last"))
    assert await files[0].change("a", partial(append, "")) == " ".join(["x"] * 60 + ["last"])
    assert await files[1].change("b", partial(append, "y")) == ""
    for file in files:
        await file.close()


async def test_nothing_is_opened_before_it_is_needed(path: Path) -> None:
    """A start of the server must not wait for it, and a budget without a limit needs none."""
    file = RateWindowFile(path)
    before = threading.active_count()
    await file.close()
    assert (path.parent.exists(), threading.active_count() <= before + 1) == (False, True)


async def test_the_file_belongs_to_its_owner_alone(path: Path) -> None:
    """It shows when a user works."""
    file = RateWindowFile(path)
    await file.change("a", partial(append, "x"))
    assert [one.stat().st_mode & 0o777 for one in path.parent.iterdir()] == [0o600] * len(list(path.parent.iterdir()))
    await file.close()


async def test_a_change_that_fails_changes_nothing(path: Path) -> None:
    """A mistake of ours must not lock out every other process."""
    file = RateWindowFile(path)
    await file.change("a", partial(append, "x"))

    def fail(text: str, _: BootTime | None) -> tuple[str, str]:
        """Stand for a mistake."""
        raise ZeroDivisionError(text)

    with pytest.raises(ZeroDivisionError):
        await file.change("a", fail)
    assert await file.change("a", partial(append, "y")) == "x"
    await file.close()


@pytest.mark.parametrize("damage", [b"no database at all" * 500, b"SQLite format 3\0" + b"\xff" * 4096])
async def test_a_damaged_file_is_thrown_away(path: Path, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A power cut may leave one, since nothing waits for the disk; what it held is over by then."""
    path.parent.mkdir()
    path.write_bytes(damage)
    path.with_name("rate-limits.sqlite3-journal").write_bytes(b"")
    file = RateWindowFile(path)
    assert await file.change("a", partial(append, "x")) == ""
    assert await file.change("a", partial(append, "y")) == "x"
    assert "damaged" in caplog.text
    await file.close()


async def test_a_file_that_was_deleted_is_begun_again_and_shared_again(path: Path) -> None:
    """It may be deleted at any time; a process that has the old one open must not count alone from then on."""
    files = [RateWindowFile(path), RateWindowFile(path)]
    for file in files:
        await file.change("a", partial(append, "x"))
    path.unlink()
    for file in files:
        await file.change("a", partial(append, "y"))
    assert await files[0].change("a", partial(append, "")) == "y y"
    for file in files:
        await file.close()


async def test_a_file_that_stays_locked_is_an_error(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A process that was stopped in a transaction must not stop the others; a failure without a waiting caller is logged."""
    file = RateWindowFile(path, busy_seconds=0.01)
    await file.change("a", partial(append, "x"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other, caplog.at_level(logging.INFO):
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="locked"):
            await file.change("a", partial(append, "y"))
        file.post("a", partial(note, "y"))
        await file.close()
    assert "another process keeps it locked" in caplog.text


HOLDER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA synchronous = OFF")
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE rate_windows SET text = 'half'")
connection.execute("CREATE TABLE spill AS SELECT randomblob(100000) FROM (VALUES (1), (2), (3), (4))")
print("in", flush=True)
sys.stdin.read()
"""
"""A program in the middle of a transaction, so large that a part of it is in the file already."""


def kill_in_transaction(path: Path) -> None:
    """Start such a program, and kill it there."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"in\n"
        other.kill()


async def test_a_program_that_is_killed_in_a_transaction_leaves_nothing_of_it(path: Path) -> None:
    """Nothing waits for the disk, and what is killed is undone all the same."""
    file = RateWindowFile(path)
    await file.change("a", partial(append, "x"))
    kill_in_transaction(path)
    assert path.with_name("rate-limits.sqlite3-journal").stat().st_size > 0
    assert await file.change("a", partial(append, "y")) == "x"
    await file.close()


async def test_a_mistake_in_the_background_is_logged(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No caller awaits it, and it must not be lost."""

    def fail(text: str, _: BootTime | None) -> tuple[str, None]:
        """Stand for a mistake."""
        raise ZeroDivisionError(text)

    file = RateWindowFile(path)
    file.post("a", fail)
    await file.close()
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """The budget then goes by itself."""
    (tmp_path / "home").write_text("a file")
    file = RateWindowFile(tmp_path / "home" / "rate-limits.sqlite3")
    with pytest.raises(StoreError, match="cannot be opened"):
        await file.change("a", partial(append, "x"))
    await file.close()
