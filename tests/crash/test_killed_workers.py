"""A worker is killed at each point of a run, and another one goes on: nothing is lost, and nothing is started twice."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import pytest

from flowport.domain.models import RunState
from flowport.runtime.failpoints import Failpoint
from tests.fakes.client import build_photo, open_sandbox, write
from tests.support.postgres import PostgresServer, create_migrated
from tests.support.team import LocalTeam, get_kept, wait_for, wait_for_state, wait_until_dead

KILL: Final = "SIGKILL"
CONTINUE: Final = "SIGCONT"
"""By name, because Windows has neither."""

PICTURE: Final[dict[str, Any]] = {"app": "text_to_picture", "arguments": {"prompt": "a lake"}}

KILLED: Final = {
    Failpoint.DURING_UPLOAD: (RunState.SUCCEEDED, 1),
    Failpoint.AFTER_STARTING: (RunState.UNKNOWN, 0),
    Failpoint.AFTER_REPLY: (RunState.UNKNOWN, 1),
    Failpoint.WHILE_FOLLOWING: (RunState.SUCCEEDED, 1),
    Failpoint.WHILE_DOWNLOADING: (RunState.SUCCEEDED, 1),
}
"""How a run ends whose worker is killed at a point, and how often the provider was asked to start it."""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")


@contextmanager
def run_worker(team: LocalTeam, conditions: str) -> Iterator[Any]:
    """Run a worker as a process, and end it on the way out."""
    process = team.start_worker(conditions)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def build_call(team: LocalTeam, point: Failpoint) -> dict[str, Any]:
    """Return a call that comes to a point."""
    if point is not Failpoint.DURING_UPLOAD:
        return PICTURE
    photo = team.folder / "cup.png"
    photo.write_bytes(write(build_photo()))
    return {"app": "photo_to_pencil_sketch", "arguments": {"your_photo": str(photo)}}


async def kill(folder: Path, database_url: str, point: Failpoint, ends: dict[Failpoint, Any]) -> None:
    """Have a run carried out by a worker that is killed at a point and by the next one, and note how it has ended."""
    async with open_sandbox(speed=0, requests_per_minute=0) as sandbox:
        team = LocalTeam(sandbox, folder, {"database_url": database_url})
        async with team.open_replica(wait_seconds=0.0) as replica:
            with run_worker(team, f"kill={point}") as first:
                handed = await replica.ask("run_app", **build_call(team, point))
                code = await wait_until_dead(first)
            assert code == -getattr(signal, KILL), (point, (folder / "worker.log").read_text())
            async with team.open_worker():
                run = await wait_for_state(replica, handed["run_id"], RunState.SUCCEEDED, RunState.UNKNOWN)
                if run.state is RunState.SUCCEEDED:
                    await wait_for(partial(is_saved, replica, run.id))
            ends[point] = (run.state, await team.count("run"))


async def is_saved(member: Any, run_id: str) -> bool:
    """Return whether the first output of a run is saved."""
    return bool((await get_kept(member, run_id)).outputs[0].saved_path)


async def test_another_worker_goes_on_wherever_one_is_killed(tmp_path: Path, postgres: PostgresServer) -> None:
    """Only a start of which nothing is known is left to a witness or a person."""
    ends: dict[Failpoint, Any] = {}
    async with anyio.create_task_group() as trials:
        for point in KILLED:
            trials.start_soon(kill, tmp_path / point, create_migrated(postgres), point, ends)

    assert ends == KILLED


async def test_another_worker_carries_a_batch_on(tmp_path: Path, postgres: PostgresServer) -> None:
    """The rows of a killed conductor go on, each is started once, and the batch ends with its table."""
    async with open_sandbox(speed=0, requests_per_minute=0) as sandbox:
        team = LocalTeam(sandbox, tmp_path / "team", {"database_url": create_migrated(postgres)})
        async with team.open_replica(wait_seconds=0.0) as replica:
            with run_worker(team, f"kill={Failpoint.WHILE_FOLLOWING}:3") as first:
                rows = [{"prompt": f"lake {n}"} for n in range(10)]
                handed = await replica.ask("run_batch", app="text_to_picture", rows=rows)
                await wait_until_dead(first)
            async with team.open_worker():
                ends = (RunState.SUCCEEDED, RunState.PARTIAL)
                batch = await wait_for_state(replica, handed["run_id"], *ends)
                facts = await replica.ask("get_run", run_id=batch.id)
        count = await team.count("run")

    assert count == facts["succeeded"] + facts.get("of_unknown_fate", 0) == 10
    assert Path(facts["csv"]).is_file()


async def test_a_worker_that_was_paused_changes_nothing_of_what_another_has_taken(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    """The reply to its start request is evidence: the run that another worker took for unknown goes on."""
    async with open_sandbox(speed=0, requests_per_minute=0) as sandbox:
        team = LocalTeam(sandbox, tmp_path / "team", {"database_url": create_migrated(postgres)})
        async with team.open_replica(wait_seconds=0.0) as replica:
            with run_worker(team, f"halt={Failpoint.AFTER_REPLY}") as first:
                handed = await replica.ask("run_app", **PICTURE)
                await team.wait_for_requests("run", 1)
                async with team.open_worker():
                    await wait_for_state(replica, handed["run_id"], RunState.UNKNOWN)
                    first.send_signal(getattr(signal, CONTINUE))
                    run = await wait_for_state(replica, handed["run_id"], RunState.SUCCEEDED)
                    await wait_for(partial(is_saved, replica, run.id))
        count = await team.count("run")

    assert count == 1


async def test_a_worker_that_was_paused_before_its_request_left_sends_nothing(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    """Meanwhile the run is unknown, and a person who finds nothing at the provider may have started it again."""
    async with open_sandbox(speed=0, requests_per_minute=0) as sandbox:
        team = LocalTeam(sandbox, tmp_path / "team", {"database_url": create_migrated(postgres)})
        async with team.open_replica(wait_seconds=0.0) as replica:
            with run_worker(team, f"halt={Failpoint.AFTER_STARTING}") as first:
                handed = await replica.ask("run_app", **PICTURE)
                await wait_for_state(replica, handed["run_id"], RunState.STARTING)
                async with team.open_worker():
                    await wait_for_state(replica, handed["run_id"], RunState.UNKNOWN)
                    again = await replica.ask("run_app", **PICTURE, new_run=True)
                    await wait_for_state(replica, again["run_id"], RunState.SUCCEEDED)
                    first.send_signal(getattr(signal, CONTINUE))
                    # In its first words it says what it found.
                    await wait_for(partial(has_logged, team.folder / "worker.log", "nothing was sent"))
                run = await get_kept(replica, handed["run_id"])
        count = await team.count("run")

    assert (run.state, count) == (RunState.UNKNOWN, 1)


async def has_logged(log: Path, words: str) -> bool:
    """Return whether a process has logged something."""
    return words in log.read_text(errors="replace")


async def test_a_worker_ends_in_order_at_a_signal(tmp_path: Path, postgres: PostgresServer) -> None:
    """What runs containers sends SIGTERM, and kills after ten seconds."""
    async with open_sandbox(speed=0, requests_per_minute=0) as sandbox:
        team = LocalTeam(sandbox, tmp_path / "team", {"database_url": create_migrated(postgres)})
        await sandbox.switch("next_run", hold=True)
        async with team.open_replica(wait_seconds=0.0) as replica:
            with run_worker(team, "") as first:
                handed = await replica.ask("run_app", **PICTURE)
                run = await wait_for_state(replica, handed["run_id"], RunState.QUEUED, RunState.RUNNING)
                first.terminate()
                code = await wait_until_dead(first)
            await sandbox.switch(f"runs/{run.provider_run_id}", release=True)
            async with team.open_worker():
                await wait_for_state(replica, run.id, RunState.SUCCEEDED)

    assert code == 0, (team.folder / "worker.log").read_text()
