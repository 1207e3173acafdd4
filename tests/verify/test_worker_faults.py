"""Workers as real processes with the times of production: killed, paused for 20 seconds, and under restarts of the database."""

import time
from collections.abc import Iterator

import anyio
import pytest

from tests.support.postgres import PostgresServer, create_migrated, create_template, open_postgres
from tests.support.queue import connect, open_queue
from tests.support.queue_worker import TABLE
from tests.support.worker_team import Team, pause, resume

pytestmark = pytest.mark.anyio

DEAD_SECONDS = 10.0
PAUSE_SECONDS = 20.0


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """Start a database server that is restarted."""
    with open_postgres(is_synced=True) as server:
        create_template(server)
        yield server


@pytest.fixture
def team(server: PostgresServer) -> Team:
    """Return a team without workers."""
    url = create_migrated(server)
    with connect(url) as connection:
        connection.execute(TABLE.encode())
    return Team(url)


async def test_the_run_of_a_killed_worker_is_executed_by_another(team: Team) -> None:
    """A worker that is killed has its jobs taken by one that lives."""
    async with open_queue(team.url) as queue:
        with (
            team.start_worker(hold_seconds=600, dead_seconds=DEAD_SECONDS) as killed,
            team.start_worker(hold_seconds=0, dead_seconds=DEAD_SECONDS) as other,
        ):
            pause(other)
            await queue.add("run_1")
            team.wait_for("SELECT pid FROM executions", [(killed.pid,)])
            resume(other)
            await anyio.sleep(DEAD_SECONDS)
            killed.kill()
            killed_at = time.monotonic()
            team.wait_for("SELECT state FROM runs", [("succeeded",)])
            print(f"from the kill to the end of the run: {time.monotonic() - killed_at:.1f} s")  # noqa: T201 - a figure
            assert team.ask("SELECT pid FROM executions ORDER BY lease") == [(killed.pid,), (other.pid,)]
            await queue.wait_for_jobs()


async def test_the_runs_of_a_paused_worker_are_neither_lost_nor_ended_twice(team: Team) -> None:
    """A worker that is paused for 20 s and resumed ends nothing that another has taken (procrastinate-org/procrastinate#1518)."""
    async with open_queue(team.url) as queue:
        with (
            team.start_worker(hold_seconds=3, dead_seconds=DEAD_SECONDS) as paused,
            team.start_worker(hold_seconds=3, dead_seconds=DEAD_SECONDS) as other,
        ):
            for n in range(20):
                await queue.add(f"run_{n}")
            team.wait_for("SELECT count(*) FROM executions", [(20,)])
            pause(paused)
            await anyio.sleep(PAUSE_SECONDS)
            for n in range(20, 40):
                await queue.add(f"run_{n}")
            resume(paused)
            team.wait_for("SELECT count(*) FROM runs WHERE state = 'succeeded'", [(40,)])
            await queue.wait_for_jobs()
            assert team.ask("SELECT run_id FROM executions WHERE NOT was_fenced GROUP BY 1 HAVING count(*) > 1") == []
            for n in range(40, 60):
                await queue.add(f"run_{n}")
            team.wait_for("SELECT count(*) FROM runs WHERE state = 'succeeded'", [(60,)])
            pids = team.ask("SELECT DISTINCT pid FROM executions WHERE split_part(run_id, '_', 2)::int >= 40")
            assert {row[0] for row in pids} == {paused.pid, other.pid}


async def test_a_worker_survives_restarts_of_the_database(team: Team, server: PostgresServer) -> None:
    """After a restart the jobs that were executed go on, and the next one is executed, by the same worker."""
    async with open_queue(team.url) as queue:
        with team.start_worker(hold_seconds=0.5, dead_seconds=DEAD_SECONDS) as worker:
            for n, down_seconds in enumerate((0.0, 3.0, 12.0)):
                await queue.add(f"run_{n}")
                team.wait_for(f"SELECT DISTINCT 1 FROM executions WHERE run_id = 'run_{n}'", [(1,)])
                server.stop(is_at_once=n == 1)
                await anyio.sleep(down_seconds)
                server.start()
                up_at = time.monotonic()
                await queue.add(f"run_after_{n}")
                team.wait_for(f"SELECT state FROM runs WHERE id = 'run_after_{n}'", [("succeeded",)])
                took_seconds = time.monotonic() - up_at
                print(f"down for {down_seconds:g} s: the next run was over in {took_seconds:.1f} s")  # noqa: T201 - a figure
            team.wait_for("SELECT count(*) FROM runs WHERE state = 'succeeded'", [(6,)])
            await queue.wait_for_jobs()
            assert team.ask("SELECT DISTINCT pid FROM executions") == [(worker.pid,)]
            assert worker.poll() is None
