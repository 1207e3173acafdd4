"""The database of a sandbox: what it does with files that it cannot use, and with a disk that takes nothing."""

import sqlite3
from pathlib import Path

import pytest

from flowport.sandbox.storage import DATABASE_NAME, VERSION, Storage


def test_settings_and_the_secret_outlive_the_process(tmp_path: Path) -> None:
    """Links of yesterday are reported by their signature."""
    first = Storage(tmp_path)
    first.set_setting("ports", "1")
    signature = first.sign("text")
    first.close()
    second = Storage(tmp_path)
    assert (second.get_setting("ports"), second.sign("text"), second.problem) == ("1", signature, "")
    assert (second.get_setting("unknown"), Storage().sign("text") != signature) == ("", True)


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    """It holds a person's pictures."""
    Storage(tmp_path / "sandbox")
    assert (tmp_path / "sandbox" / DATABASE_NAME).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "sandbox").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("data", [b"garbage", b"\xff" * 5000, b"SQLite format 3\0" + b"x" * 5000])
def test_a_damaged_file_is_set_aside_and_kept(tmp_path: Path, data: bytes) -> None:
    """It is renamed, never deleted, and an earlier one is not replaced."""
    for n in (1, 2):
        (tmp_path / DATABASE_NAME).write_bytes(data)
        storage = Storage(tmp_path)
        kept = f"sandbox.unreadable-{n}.sqlite3"
        assert storage.problem == f"the sandbox's stored state is damaged; it was kept as {kept}"
        assert (tmp_path / kept).read_bytes() == data
        assert storage.read("SELECT * FROM runs") == []
        storage.close()


def test_a_file_whose_pages_are_damaged_is_set_aside(tmp_path: Path) -> None:
    """Its header alone says nothing."""
    storage = Storage(tmp_path)
    with storage.write() as changes:
        for n in range(200):
            changes.execute("INSERT INTO settings VALUES (?, ?)", (f"name {n}", "x" * 500))
    storage.close()
    path = tmp_path / DATABASE_NAME
    data = bytearray(path.read_bytes())
    data[8192:-4096] = b"\xa5" * len(data[8192:-4096])
    path.write_bytes(data)
    assert "is damaged" in Storage(tmp_path).problem


def test_a_file_of_another_version_is_set_aside(tmp_path: Path) -> None:
    """That version may read it again."""
    Storage(tmp_path).close()
    with sqlite3.connect(tmp_path / DATABASE_NAME) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    problem = Storage(tmp_path).problem
    assert f"is of version 99, and this Flowport reads version {VERSION}" in problem


def test_a_folder_that_cannot_be_used_is_an_error_of_the_system(tmp_path: Path) -> None:
    """The caller says so, and works without it."""
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="Not a directory"):
        Storage(tmp_path / "file" / "sandbox")


def test_a_change_that_the_disk_does_not_take_is_not_a_change(tmp_path: Path) -> None:
    """It is an error of the system, and what was there stays."""
    storage = Storage(tmp_path)
    storage.set_setting("name", "before")
    pages = storage.read("PRAGMA page_count")[0][0]
    storage.read(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(OSError, match="full"):
        storage.set_setting("name", "x" * 100_000)
    assert storage.get_setting("name") == "before"
