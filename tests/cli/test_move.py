"""Moving the record of a home into the database of a team, with a home that real commands have filled."""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from flowport.domain.access_tokens import AccessToken
from flowport.domain.models import Run, RunState
from flowport.store.interface import Store
from flowport.store.postgres.store import open_postgres_store
from flowport.store.process_lock import ProcessLock
from flowport.store.received_files import ReceivedFile
from flowport.store.records import RunSearch, Upload
from flowport.store.sqlite.connection import STORE_NAME
from flowport.store.sqlite.store import open_sqlite_store
from tests.store.contract.test_batches import build_batch
from tests.store.samples import OWNER, RUN, build_run
from tests.support.person import Person
from tests.support.provider_process import ProviderProcess, open_provider

S = RunState
TOKEN = AccessToken("tok_1", "anna", "a" * 64, "anna", frozenset({"magnific"}), None, 5.0, revoked_at=9.0)
FILE = ReceivedFile("file_1", "anna", 1.0, 9e9, "a cat", 2.0, "cat.png", "image/png", 77, "b" * 64)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderProcess]:
    """Run a provider whose runs take no time."""
    with open_provider(tmp_path_factory.mktemp("quick")) as provider:
        yield provider


@pytest.fixture
def person(tmp_path: Path, quick: ProviderProcess, database_url: str) -> Person:
    """Return a person whose runs take no time, and who has a database."""
    return Person(tmp_path, {**quick.environment, "FLOWPORT_DATABASE_URL": database_url})


def move(person: Person) -> dict[str, tuple[int, int, int]]:
    """Move, and return how many of each kind were moved, were there, and were left."""
    done = person.run("move", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return {one["name"]: (one["moved"], one["present"], one["left"]) for one in json.loads(done.stdout)["moved"]}


async def list_runs(store: Store, owner: str = OWNER) -> tuple[Run, ...]:
    """Return all runs of an owner, each batch as one."""
    return await store.get_runs(account_id=None, owner=owner, limit=999, undelivered_first=False)


async def describe(store: Store) -> dict[str, Any]:
    """Return what both records must say alike."""
    runs = await list_runs(store)
    batches = [run.id for run in runs if run.is_batch]
    account_ids = {run.account_id for run in runs}
    return {
        "runs": runs,
        "found": [
            run.id
            for run in await store.get_runs(
                account_id=None, owner=OWNER, limit=99, undelivered_first=False, search=RunSearch(("LAKE",), "picture")
            )
        ],
        "tokens": await store.get_tokens(),
        "names": await store.get_tool_names(),
        "rows": [await store.get_rows(one) for one in batches],
        "progress": [await store.get_batch_progress(one) for one in batches],
        "arguments": [await store.get_batch_arguments(one) for one in batches],
        "spending": [
            await store.get_spending(account_id=one, owner=whose, since=0.0)
            for one in account_ids
            for whose in (None, OWNER)
        ],
        "history": await store.get_history(owner=OWNER),
        "file": await store.find_file(FILE.id, owner="anna"),
        "use": [await store.get_file_use(owner=one) for one in (OWNER, "anna")],
    }


async def test_a_home_moves_whole_and_once(person: Person, database_url: str) -> None:
    """Every run with its files and its cost, so that caps, lists, links and names go on as they were."""
    local = {"FLOWPORT_DATABASE_URL": ""}
    table = person.folder / "rows.csv"
    table.write_text("prompt\na lake\na hill\n")
    for words in (
        ("run", "text_to_picture", "prompt=a lake"),
        ("run", "text_to_picture", "prompt=a Straße"),
        ("batch", "text_to_picture", str(table), "--yes"),
    ):
        done = person.run(*words, environment=local)
        assert done.returncode == 0, done.stderr
    home = open_sqlite_store(person.folder / "home" / STORE_NAME)
    await home.add_token(TOKEN)
    await home.request_file(replace(FILE, received_at=None), max_open=9)
    await home.keep_file(FILE, max_bytes=999)
    await home.note_upload(Upload("magnific:a:b", "c" * 64, "https://cdn.example/x", 9e9, "u1"))
    await home.assign_property_names("scope", {"app": {"input": "name"}})
    expected = await describe(home)
    await home.close()

    first = move(person)

    database = open_postgres_store(database_url)
    assert await describe(database) == expected
    assert await database.assign_property_names("scope", {"app": {"input": "other"}}) == {"app": {"input": "name"}}
    assert first["runs"] == (5, 0, 0)
    assert [first[one][0] for one in ("access tokens", "batches", "rows of batches", "outputs")] == [1, 1, 2, 4]
    assert move(person) == {name: (0, moved, 0) for name, (moved, _, _) in first.items()}
    assert await describe(database) == expected
    await database.close()


async def test_what_goes_on_is_left_and_moves_when_it_is_over(person: Person, database_url: str) -> None:
    """A run without its process would never end there, and a batch is one with its rows."""
    home = open_sqlite_store(person.folder / "home" / STORE_NAME)
    for run in (
        build_run("run_live", S.RUNNING),
        build_run("run_unknown", S.UNKNOWN),
        replace(RUN, batch_id="", arguments_json="half \udc00 a pair and \0"),
    ):
        await home.accept(run)
    await home.accept_batch(build_batch())
    await home.accept_rows("batch_1", [(1, build_run("row_1", S.SUCCEEDED, batch_id="batch_1"))])

    assert move(person)["runs"] == (2, 0, 3)
    database = open_postgres_store(database_url)
    assert {run.id for run in await list_runs(database)} == {"run_unknown", "run_full"}

    await home.drop_rows("batch_1", reason="Enough.", at=9.0)
    await home.close()
    with sqlite3.connect(person.folder / "home" / STORE_NAME) as connection:
        connection.execute("UPDATE runs SET state = 'cancelled', finished_at = 9.0 WHERE state = 'running'")
    connection.close()
    assert move(person)["runs"] == (3, 2, 0)
    assert {run.id for run in await list_runs(database)} == {"run_unknown", "run_full", "run_live", "batch_1"}
    assert [row.run is not None for row in await database.get_rows("batch_1")] == [True, False, False]
    await database.close()


async def test_the_home_of_a_living_process_is_not_moved(person: Person, database_url: str) -> None:
    """What it writes a moment later would be missing."""
    home = person.folder / "home"
    store = open_sqlite_store(home / STORE_NAME)
    await store.accept(build_run("run_1", S.FAILED))
    await store.close()
    lock = ProcessLock(home)
    refused = person.run("move")
    lock.release()

    assert refused.returncode != 0
    assert "uses this home" in refused.stderr
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)
    moved = person.run("move")
    assert (moved.returncode, "runs\t1\t0\t0" in moved.stdout, str(home) in moved.stderr) == (0, True, True)


def test_what_is_missing_is_named(person: Person, tmp_path: Path) -> None:
    """No record, no database's address, no database, and a file of another program."""
    nothing = person.run("move")
    assert (nothing.returncode, "There is no record of runs" in nothing.stdout) == (0, True)
    assert not (person.folder / "home" / STORE_NAME).exists()
    unset = person.run("move", environment={"FLOWPORT_DATABASE_URL": ""})
    assert (unset.returncode != 0, "FLOWPORT_DATABASE_URL is not set" in unset.stderr) == (True, True)
    person.run("token", "add", "anna", environment={"FLOWPORT_DATABASE_URL": ""})
    away = f"postgresql://flowport:secret-word@/none?host={tmp_path}"
    gone = person.run("move", environment={"FLOWPORT_DATABASE_URL": away})
    assert (gone.returncode != 0, "cannot be reached" in gone.stderr, "secret-word" in gone.stderr) == (
        True,
        True,
        False,
    )
    (person.folder / "home" / STORE_NAME).write_bytes(b"no database" * 100)
    broken = person.run("move")
    assert (broken.returncode != 0, "Traceback" in broken.stderr) == (True, False)
