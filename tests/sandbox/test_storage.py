"""What outlives a sandbox's process: the journal and the contents beside it."""

import json
from pathlib import Path

import pytest

from flowport.sandbox.storage import MAX_SCAN_BYTES, SCAN_BYTES, FolderStorage, HeldBlob, MemoryStorage, StoredBlob


def write_some(folder: Path) -> FolderStorage:
    """Store a few records, one of them twice and one with a content."""
    storage = FolderStorage(folder)
    storage.put("run", "a", {"n": 1})
    storage.put("run", "b", {"n": 2})
    storage.put("run", "a", {"n": 3})
    storage.put("file", "f", {}, [storage.keep(b"content")])
    return storage


def test_what_was_put_is_there_after_a_restart(tmp_path: Path) -> None:
    """The last write of a record counts, in the order in which records were first written."""
    secret = write_some(tmp_path).derive_secret("x")
    again = FolderStorage(tmp_path)
    (sha256,) = again.load("file")["f"]["blobs"]
    assert list(again.load("run").items()) == [("a", {"n": 3}), ("b", {"n": 2})]
    assert again.open_blob(sha256, 7).read() == b"content"
    assert (again.derive_secret("x"), again.problem) == (secret, "")
    assert again.derive_secret("y") != secret


def test_what_was_removed_is_gone_after_a_restart(tmp_path: Path) -> None:
    """And its content is removed with the next compaction."""
    storage = write_some(tmp_path)
    storage.remove("file", "f")
    storage.remove("file", "unknown")
    storage.compact()
    assert (dict(FolderStorage(tmp_path).load("file")), list((tmp_path / "blobs").iterdir())) == ({}, [])


def test_a_compaction_keeps_what_records_need(tmp_path: Path) -> None:
    """And leaves one line for each record; what is put afterwards is kept too."""
    storage = write_some(tmp_path)
    storage.compact()
    storage.put("run", "c", {})
    again = FolderStorage(tmp_path)
    assert (list(again.load("run")), len(list((tmp_path / "blobs").iterdir()))) == (["a", "b", "c"], 1)
    assert len((tmp_path / "journal.jsonl").read_text().splitlines()) == 5


def test_half_a_last_line_is_dropped_without_a_word(tmp_path: Path) -> None:
    """A process that was killed while it wrote leaves one, and the next line must not be appended to it."""
    write_some(tmp_path)
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(b'{"kind":"run","id":"c","fie')
    again = FolderStorage(tmp_path)
    again.put("run", "d", {})
    third = FolderStorage(tmp_path)
    assert (list(third.load("run")), again.problem, third.problem) == (["a", "b", "d"], "", "")


DAMAGED = {
    "garbage": b"\x00\xff\x00garbage",
    "another format": b'{"format":"other","version":1}\n',
    "no secret": b'{"format":"flowport-sandbox","version":1}\n',
    "a secret that is none": b'{"format":"flowport-sandbox","version":1,"secret":"xyz"}\n',
    "a list": b"[]\n",
    "deep nesting": b"[" * 100_000 + b"\n",
    "a newer version": b'{"format":"flowport-sandbox","version":2,"secret":"00"}\n',
    "a version that is none": b'{"format":"flowport-sandbox","version":null,"secret":"00"}\n',
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_a_journal_that_cannot_be_read_is_renamed_and_reported_once(tmp_path: Path, data: bytes) -> None:
    """It may hold what somebody wants to look at, and the sandbox must start all the same."""
    (tmp_path / "journal.jsonl").write_bytes(data)
    storage = FolderStorage(tmp_path)
    storage.put("run", "a", {})
    again = FolderStorage(tmp_path)
    assert (tmp_path / "journal.unreadable-1.jsonl").read_bytes() == data
    assert "journal.unreadable-1.jsonl" in storage.problem
    assert (list(again.load("run")), again.problem) == (["a"], "")


def test_what_can_be_read_of_a_damaged_journal_is_kept(tmp_path: Path) -> None:
    """One bad line must not cost the results of a week; two damaged journals are kept apart."""
    write_some(tmp_path)
    path = tmp_path / "journal.jsonl"
    for n in (1, 2):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\n\xff\xfe garbage\n", 1))
        storage = FolderStorage(tmp_path)
        assert (list(storage.load("run")), f"unreadable-{n}" in storage.problem) == (["a", "b"], True)


@pytest.mark.parametrize("line", [{"kind": 1, "id": "x", "fields": {}}, {"kind": "run"}, {"id": "x", "fields": 5}, []])
def test_a_line_that_is_no_record_is_damage(tmp_path: Path, line: object) -> None:
    """Valid JSON is not enough."""
    write_some(tmp_path)
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    assert "damaged" in FolderStorage(tmp_path).problem


def test_an_empty_journal_is_a_new_one(tmp_path: Path) -> None:
    """A power cut may leave that."""
    (tmp_path / "journal.jsonl").write_bytes(b"")
    assert FolderStorage(tmp_path).problem == ""


def test_a_full_disk_fails_the_write_and_spoils_nothing(tmp_path: Path) -> None:
    """Once there is room again, the next line begins a line."""
    storage = write_some(tmp_path)
    path, storage._path = storage._path, Path("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        storage.put("run", "c", {})
    storage._path = path
    storage.put("run", "d", {})
    assert list(storage.load("run")) == ["a", "b", "d"]
    assert list(FolderStorage(tmp_path).load("run")) == ["a", "b", "d"]


def test_others_on_the_computer_cannot_read_it(tmp_path: Path) -> None:
    """It holds pictures and the secret of links."""
    write_some(tmp_path / "sandbox")
    modes = {path.name[:7]: path.stat().st_mode & 0o777 for path in (tmp_path / "sandbox").rglob("*")}
    assert {mode & 0o077 for mode in modes.values()} == {0}


def test_a_moved_folder_works(tmp_path: Path) -> None:
    """Nothing in it names its place."""
    write_some(tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "two")
    storage = FolderStorage(tmp_path / "two")
    (sha256,) = storage.load("file")["f"]["blobs"]
    assert storage.open_blob(sha256, 7).read() == b"content"


def test_without_a_folder_nothing_is_kept() -> None:
    """And everything is in memory."""
    storage = MemoryStorage()
    storage.put("run", "a", {})
    assert (dict(storage.load("run")), storage.keep(b"x"), storage.keep(b"x").size_bytes) == ({}, HeldBlob(b"x"), 1)


def test_a_content_is_kept_once(tmp_path: Path) -> None:
    """Equal runs make equal pictures."""
    storage = FolderStorage(tmp_path)
    blobs = [storage.keep(b"same"), storage.keep(b"same"), storage.keep(b"other")]
    assert (len(list((tmp_path / "blobs").iterdir())), blobs[0]) == (2, blobs[1])
    assert isinstance(blobs[0], StoredBlob)


def set_aside(folder: Path, damage: bytes) -> FolderStorage:
    """Store a record with a content, replace the journal's header, and open the folder again."""
    storage = FolderStorage(folder)
    storage.put("file", "f", {}, [storage.keep(b"content")])
    path = folder / "journal.jsonl"
    path.write_bytes(damage + path.read_bytes().partition(b"\n")[2])
    return FolderStorage(folder)


SET_ASIDE = {
    "newer": b'{"format":"flowport-sandbox","version":2,"secret":"00"}\n',
    "no header": b"\x00\xff garbage\n",
    "one line": b"x",
    "beyond the first piece": b"{}" * 700_000,
    "across pieces": b"x" * (SCAN_BYTES - 60),
}


@pytest.mark.parametrize("damage", SET_ASIDE.values(), ids=SET_ASIDE)
def test_contents_of_a_journal_that_was_set_aside_are_kept(tmp_path: Path, damage: bytes) -> None:
    """The Flowport that can read it still needs them, after a restart and after everything was forgotten too."""
    storage = set_aside(tmp_path, damage)
    storage.keep(b"unneeded")
    storage.compact()
    FolderStorage(tmp_path).clear()
    assert [path.read_bytes() for path in (tmp_path / "blobs").iterdir()] == [b"content"]


def test_contents_of_each_journal_that_was_set_aside_are_kept(tmp_path: Path) -> None:
    """A folder may have been opened by several versions in turn."""
    for n in (1, 2, 3):
        storage = FolderStorage(tmp_path)
        storage.put("file", str(n), {}, [storage.keep(b"content %d" % n)])
        path = tmp_path / "journal.jsonl"
        path.write_bytes(b"garbage\n" + path.read_bytes().partition(b"\n")[2])
    FolderStorage(tmp_path).compact()
    assert len(list((tmp_path / "blobs").iterdir())) == 3


def test_contents_are_removed_once_the_journal_that_was_set_aside_is(tmp_path: Path) -> None:
    """The person who deletes it gets the room back."""
    storage = set_aside(tmp_path, SET_ASIDE["newer"])
    storage.compact()
    (tmp_path / "journal.unreadable-1.jsonl").unlink()
    storage.compact()
    assert list((tmp_path / "blobs").iterdir()) == []


def test_no_content_is_removed_while_a_journal_that_was_set_aside_cannot_be_scanned(tmp_path: Path) -> None:
    """What it names is not known then."""
    storage = set_aside(tmp_path, SET_ASIDE["newer"])
    path = tmp_path / "journal.unreadable-1.jsonl"
    path.unlink()
    path.mkdir()
    storage.compact()
    assert len(list((tmp_path / "blobs").iterdir())) == 1


def test_no_content_is_removed_beside_a_journal_that_is_too_large_to_scan(tmp_path: Path) -> None:
    """Its scan would hold up the sandbox."""
    storage = set_aside(tmp_path, SET_ASIDE["newer"])
    with (tmp_path / "journal.unreadable-1.jsonl").open("r+b") as file:
        file.truncate(MAX_SCAN_BYTES + 1)
    storage.compact()
    assert len(list((tmp_path / "blobs").iterdir())) == 1
