"""Workers as real processes, one of which is killed or paused: no run is lost, and none is ended twice."""

import anyio
import pytest

from tests.support.queue import connect, open_queue
from tests.support.queue_worker import TABLE
from tests.support.worker_team import Team, pause, resume

pytestmark = pytest.mark.anyio


@pytest.fixture
def team(database_url: str) -> Team:
    """Return a team without workers."""
    with connect(database_url) as connection:
        connection.execute(TABLE.encode())
    return Team(database_url)


async def test_the_run_of_a_killed_worker_is_executed_by_another(team: Team) -> None:
    """A worker that is killed has its jobs taken by one that lives."""
    async with open_queue(team.url) as queue:
        with team.start_worker(hold_seconds=600) as killed:
            await queue.add("run_1")
            team.wait_for("SELECT pid FROM executions", [(killed.pid,)])
            with team.start_worker(hold_seconds=0) as other:
                killed.kill()
                team.wait_for("SELECT state FROM runs", [("succeeded",)])
                assert team.ask("SELECT pid FROM executions ORDER BY lease") == [(killed.pid,), (other.pid,)]
                await queue.wait_for_jobs()


async def test_a_paused_worker_gets_its_own_job_again(team: Team) -> None:
    """A worker without others goes on after a pause: its job is executed again by itself, and ends once."""
    async with open_queue(team.url) as queue:
        with team.start_worker(hold_seconds=1) as worker:
            await queue.add("run_1")
            team.wait_for("SELECT pid FROM executions", [(worker.pid,)])
            pause(worker)
            await queue.execute_sql(
                "UPDATE procrastinate_jobs SET status = 'todo', attempts = attempts + 1, worker_id = NULL"
            )
            await queue.execute_sql("DELETE FROM procrastinate_workers")
            resume(worker)
            team.wait_for("SELECT state FROM runs", [("succeeded",)])
            await queue.wait_for_jobs()
            assert len(team.ask("SELECT pid FROM executions WHERE NOT was_fenced")) == 1


async def test_a_worker_that_begins_after_an_outage_takes_no_jobs_of_living_ones(team: Team) -> None:
    """Heartbeats that an outage has made old are no reason to take jobs, neither for a new worker nor for a reconciler."""
    async with open_queue(team.url, dead_seconds=600.0) as queue:
        began, end = anyio.Event(), anyio.Event()

        async def hold(_run_id: str) -> None:
            """Hold the job."""
            began.set()
            await end.wait()

        async with queue.working(hold):
            await queue.add("run_1")
            await began.wait()
            await queue.execute_sql("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1 minute'")
            async with open_queue(team.url) as newcomer, newcomer.working():
                assert (await newcomer.jobs.reconcile()) is not None
                await newcomer.add("run_2")
                await newcomer.wait_for(lambda: "run_2" in queue.executed + newcomer.executed)
                assert ("run_1", "doing") in await queue.get_jobs()
            end.set()
            await queue.wait_for_jobs()
        assert queue.executed.count("run_1") == 1
