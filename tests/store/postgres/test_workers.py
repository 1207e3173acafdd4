"""Which processes of a team are alive: those whose heartbeats come, as far as this process can judge."""

import logging
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from flowport.bootstrap.home import open_team_home
from flowport.store.home_id import find_home_id, load_home_id
from flowport.store.opening import inspect_team_store
from flowport.store.postgres.database import Database
from flowport.store.postgres.workers import PostgresWorkers
from tests.support.harness import build_settings
from tests.support.patience import PATIENCE_SECONDS
from tests.support.queue import connect

pytestmark = pytest.mark.anyio

BEAT_SECONDS = 0.05
DEAD_SECONDS = 2.0


@asynccontextmanager
async def join(url: str, home_id: str = "") -> AsyncIterator[PostgresWorkers]:
    """Open a process of a team that beats when it is asked to."""
    database = Database(url)
    try:
        yield PostgresWorkers(
            database,
            kind="replica",
            version="1",
            home_id=home_id,
            beat_seconds=BEAT_SECONDS,
            dead_seconds=DEAD_SECONDS,
        )
    finally:
        await database.close()


@asynccontextmanager
async def beating(workers: PostgresWorkers) -> AsyncIterator[None]:
    """Have it beat meanwhile."""

    async def beat() -> None:
        """Beat until this is cancelled."""
        await workers.keep_beating()

    async with anyio.create_task_group() as group:
        group.start_soon(beat)
        yield
        group.cancel_scope.cancel()


async def wait_until(workers: PostgresWorkers, process_id: str, *, is_alive: bool) -> None:
    """Wait until a process counts as alive, or as dead."""
    with anyio.fail_after(PATIENCE_SECONDS):
        while workers.is_alive(process_id) is not is_alive:  # noqa: ASYNC110 - liveness has no event
            await anyio.sleep(BEAT_SECONDS)


async def test_a_process_that_beats_no_more_is_dead_and_alive_again_when_it_does(database_url: str) -> None:
    """A process whose beats stop counts as dead, and one that comes back as alive."""
    async with join(database_url) as watcher, join(database_url) as paused, beating(watcher):
        await paused.beat()
        await watcher.beat()
        assert watcher.is_alive(paused.process_id)
        await wait_until(watcher, paused.process_id, is_alive=False)
        assert watcher.has_died(paused.process_id)
        await paused.beat()
        await watcher.beat()
        assert watcher.is_alive(paused.process_id)
        assert not watcher.has_died(paused.process_id)


async def test_after_an_outage_no_process_is_declared_dead(database_url: str) -> None:
    """A process whose own beats were interrupted declares no other dead until they are regular again."""
    async with join(database_url) as watcher, join(database_url) as other:
        await other.beat()
        async with beating(watcher):
            await wait_until(watcher, other.process_id, is_alive=True)
        _age_all(database_url)
        await anyio.sleep(DEAD_SECONDS / 2 + 0.1)
        await watcher.beat()
        assert watcher.is_alive(other.process_id)
        async with beating(watcher):
            await wait_until(watcher, other.process_id, is_alive=False)


async def test_a_known_death_outlasts_an_outage(database_url: str) -> None:
    """A process that was dead before an outage of the watcher stays dead after it."""
    async with join(database_url) as watcher, join(database_url) as dead:
        await dead.beat()
        async with beating(watcher):
            await wait_until(watcher, dead.process_id, is_alive=False)
        await anyio.sleep(DEAD_SECONDS / 2 + 0.1)
        await watcher.beat()
        assert not watcher.is_alive(dead.process_id)


async def test_a_new_watcher_takes_its_time(database_url: str) -> None:
    """A process that has just begun to watch declares no other dead, however old its beat is."""
    async with join(database_url) as watcher, join(database_url) as other:
        await other.beat()
        _age_all(database_url)
        await watcher.beat()
        assert watcher.is_alive(other.process_id)


def _age_all(url: str) -> None:
    """Make all beats old."""
    with connect(url) as connection:
        connection.execute("UPDATE processes SET beat_at = beat_at - interval '1 minute'")


async def test_an_unknown_process_is_alive_until_a_later_look(database_url: str) -> None:
    """A process that registered after the last look is not taken for dead, and an id that no process has is."""
    async with join(database_url) as watcher, join(database_url) as newcomer:
        assert watcher.is_alive("0123456789abcdef")
        await watcher.beat()
        assert not watcher.is_alive("0123456789abcdef")
        assert watcher.is_alive(newcomer.process_id)
        await newcomer.beat()
        await watcher.beat()
        assert watcher.is_alive(newcomer.process_id)
        assert not watcher.has_died("0123456789abcdef")


async def test_a_process_is_registered_before_it_does_anything(database_url: str, tmp_path: Path) -> None:
    """A process that has just begun is in the first look of every other one, so that no run it claims counts as left."""
    settings = build_settings(tmp_path, "https://api.example", database_url=database_url)
    async with join(database_url) as watcher:
        home = await open_team_home(settings, "worker")
        try:
            assert watcher.is_alive(home.process.process_id)
            await watcher.beat()
            assert watcher.is_alive(home.process.process_id)
        finally:
            await home.store.close()


async def test_a_look_that_was_begun_before_the_question_does_not_answer_it(database_url: str) -> None:
    """Only a look that begins after an id is asked for can find out that no process has it."""
    async with join(database_url) as watcher, join(database_url) as newcomer:
        with connect(database_url) as connection:
            connection.execute("BEGIN")
            connection.execute("LOCK TABLE processes")
            async with anyio.create_task_group() as group:
                group.start_soon(watcher.beat)
                while not connection.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchall():  # noqa: ASYNC110 - as above
                    await anyio.sleep(BEAT_SECONDS)
                assert watcher.is_alive(newcomer.process_id)
                connection.execute("COMMIT")
        assert watcher.is_alive(newcomer.process_id)


async def test_a_process_that_ends_says_so(database_url: str) -> None:
    """A released process is not alive, and has not died."""
    async with join(database_url) as watcher, join(database_url) as leaver:
        await leaver.beat()
        leaver.release()
        leaver.release()
        await leaver.beat()
        await watcher.beat()
        assert not watcher.is_alive(leaver.process_id)
        assert not watcher.has_died(leaver.process_id)


async def test_this_process_is_alive_and_an_empty_id_is_not(database_url: str) -> None:
    """A process knows itself without a look; a run without a holder belongs to no process."""
    async with join(database_url) as watcher:
        assert watcher.is_alive(watcher.process_id)
        assert not watcher.is_alive("")


async def test_rows_of_long_gone_processes_are_removed(database_url: str) -> None:
    """The table holds those of the last hour."""
    async with join(database_url) as watcher, join(database_url) as gone:
        await gone.beat()
        with connect(database_url) as connection:
            connection.execute("UPDATE processes SET beat_at = beat_at - interval '2 hours'")
            await watcher.beat()
            assert connection.execute("SELECT id FROM processes").fetchall() == [(watcher.process_id,)]
        assert watcher.is_alive(gone.process_id)
        await watcher.beat()
        assert not watcher.is_alive(gone.process_id)


async def test_a_process_with_other_folders_is_noticed_while_it_lives(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Uploads would be missing there; it is logged once by each, and forgotten with the process."""
    caplog.set_level(logging.WARNING)
    async with join(database_url, "a" * 32) as first, join(database_url, "b" * 32) as other:
        await first.beat()
        assert not first.is_divided
        for _ in range(2):
            await other.beat()
            await first.beat()
        assert (first.is_divided, other.is_divided) == (True, True)
        health = inspect_team_store(database_url, "a" * 32)
        assert (health.homes, health.is_home_known) == (2, True)
        await anyio.to_thread.run_sync(other.release)
        await first.beat()
        assert not first.is_divided
        health = inspect_team_store(database_url, "b" * 32)
        assert (health.homes, health.is_home_known) == (1, False)
    assert [record.levelname for record in caplog.records if "FLOWPORT_HOME" in record.message] == ["WARNING"] * 2


async def test_a_process_of_an_older_version_says_nothing_of_its_folders(database_url: str) -> None:
    """It is replaced soon, and the folders of the others may well be the same."""
    async with join(database_url) as older, join(database_url, "a" * 32) as newer:
        await older.beat()
        await newer.beat()
        await older.beat()
        assert (older.is_divided, newer.is_divided) == (False, False)


def test_folders_are_known_by_their_file_and_their_paths(tmp_path: Path) -> None:
    """The same home elsewhere, another folder of results, and a home of its own are each another one."""
    home, outputs = tmp_path / "home", tmp_path / "outputs"
    home.mkdir()
    assert find_home_id(home, outputs) == ""
    found = load_home_id(home, outputs)
    assert found == load_home_id(home, outputs) == find_home_id(home, outputs)
    others = [load_home_id(home, tmp_path / "results")]
    shutil.copytree(home, tmp_path / "copy")
    others.append(load_home_id(tmp_path / "copy", outputs))
    home.rename(tmp_path / "away")
    home.mkdir()
    others.append(load_home_id(home, outputs))
    assert len({found, *others}) == 4
    assert [one.name for one in home.iterdir()] == ["home-id"]
