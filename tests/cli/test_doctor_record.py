"""What the doctor says of the record of runs, without changing it."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from flowport.cli.doctor.checks import check_store
from flowport.domain.models import RunState
from flowport.store.opening import inspect_store
from flowport.store.sqlite.connection import STORE_NAME
from flowport.store.sqlite.schema import LAYOUT
from tests.cli.test_record import LIVE, save_runs
from tests.store.samples import build_run


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return the folder of a record, which does not exist yet."""
    return tmp_path / "home"


def break_store(path: Path, how: str) -> None:
    """Leave a file at the path of the store that cannot be used."""
    path.parent.mkdir(parents=True)
    if how == "garbage":
        path.write_bytes(b"not a database, but long enough to be read as one" * 100)
        return
    save_runs(path.parent, LIVE)
    with closing(sqlite3.connect(path)) as connection:
        if how == "damage":
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        elif how == "foreign":
            connection.execute("PRAGMA application_id = 1")
        else:
            connection.execute(f"PRAGMA user_version = {LAYOUT + (1 if how == 'newer' else -1)}")
    if how == "damage":
        content = bytearray(path.read_bytes())
        content[4096 : 4096 * 3] = b"\xff" * 8192
        path.write_bytes(content)


def test_the_runs_of_people_of_a_server_are_counted(home: Path) -> None:
    """The operator's own terminal has none of them, and the record is not empty."""
    theirs = [replace(build_run(f"run_{owner}", RunState.SUCCEEDED), owner=owner) for owner in ("anna", "ben")]
    save_runs(home, *theirs, replace(LIVE, owner="anna"), replace(build_run("run_u", RunState.UNKNOWN), owner="ben"))

    assert [finding.sentence for finding in check_store(inspect_store(home))] == [
        "It is sound: 0 runs, 0 of them not over.",
        "People with runs: 2. Their runs: 4, not over: 1, unknown: 1.",
    ]


@pytest.mark.parametrize(
    ("how", "level", "words"),
    [
        ("garbage", "fault", "its file is not a database"),
        ("damage", "fault", "its file is damaged"),
        ("foreign", "fault", "another program's database"),
        ("newer", "fault", "a newer Flowport"),
        ("older", "warning", f"An older Flowport wrote it (layout {LAYOUT - 1})"),
    ],
)
def test_a_record_that_cannot_be_used_is_left_as_it_is(home: Path, how: str, level: str, words: str) -> None:
    """The doctor reads, and neither repairs nor renames."""
    path = home / STORE_NAME
    break_store(path, how)
    before = path.read_bytes()

    [finding] = check_store(inspect_store(home))

    assert (finding.level, words in finding.sentence, bool(finding.fix)) == (level, True, True)
    assert path.read_bytes() == before
    assert [each.name for each in home.iterdir() if each.is_file()] == [STORE_NAME]


def test_runs_that_wait_for_their_user_are_counted(home: Path) -> None:
    """Those that go on, those not delivered, and those that may have been charged."""
    home.mkdir(parents=True)
    save_runs(home, LIVE, build_run("run_unknown", RunState.UNKNOWN), build_run("run_done", RunState.SUCCEEDED))

    lines = [finding.sentence for finding in check_store(inspect_store(home))]

    assert lines[0] == "It is sound: 3 runs, 1 of them not over."
    assert "not delivered yet" in lines[1]
    assert "unknown outcome" in lines[2]
