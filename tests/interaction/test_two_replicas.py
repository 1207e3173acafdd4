"""Whichever replica is asked, it answers as one server: what one does, the others and the workers learn by news."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from flowport.actions.workspace import Workspace
from flowport.domain.models import Run, RunState
from flowport.domain.run_events import Polled
from flowport.runs.waiting import SAVING_SECONDS
from flowport.runtime.clock import SystemClock
from flowport.store.cluster import News, NewsKind
from tests.actions.test_tool_calls import cancel_when
from tests.fakes.client import Client as SandboxClient
from tests.fakes.client import open_sandbox
from tests.fakes.magica.client import MagicaClient
from tests.server.test_clients import RESOURCES, TOOLS, UPDATED, change_tools, listening
from tests.store.samples import OUTPUT, build_run
from tests.support.harness import MODES, Harness, Mode
from tests.support.magica_face import MAGICA, PROMPT
from tests.support.patience import PATIENCE_SECONDS
from tests.support.team import LocalTeam, get_kept, wait_for, wait_for_state

TOOL = "text_to_picture"


class PatientClock(SystemClock):
    """A clock by which no look is ever due: only an event ends a wait."""

    def move_on_after(self, seconds: float) -> anyio.CancelScope:
        """Return a scope that does not end by itself."""
        assert seconds >= 0
        return anyio.CancelScope()


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxClient]:
    """Run a provider whose runs end at once, unless they are held."""
    async with open_sandbox(speed=0, requests_per_minute=0) as client:
        yield client


@pytest.fixture
def team(sandbox: SandboxClient, tmp_path: Path, database_url: str) -> LocalTeam:
    """Return a team without members."""
    return LocalTeam(sandbox, tmp_path / "team", {"database_url": database_url})


@asynccontextmanager
async def in_background(call: Callable[[], Awaitable[dict[str, Any]]]) -> AsyncIterator[list[dict[str, Any]]]:
    """Make a call meanwhile, and wait for its answer on the way out."""
    answers: list[dict[str, Any]] = []

    async def make() -> None:
        """Keep the answer."""
        answers.append(await call())

    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(make)
            yield answers


async def get_newest_run(member: Harness, count: int = 1) -> Run:
    """Return the newest run of the person as soon as there are so many."""
    workspace, found = member.assembly.workspace, list[Run]()

    async def have_come() -> bool:
        """Look for them."""
        store = workspace.store
        found[:] = await store.get_runs(account_id=None, owner="local", limit=count, undelivered_first=False)
        return len(found) == count

    await wait_for(have_come)
    return found[0]


async def release(sandbox: SandboxClient, run: Run) -> None:
    """Let a held run end."""
    await sandbox.switch(f"runs/{run.provider_run_id}", release=True)


def has_entry(workspace: Workspace, run_id: str) -> bool:
    """Return whether a process follows a run."""
    return workspace.waiter.live_runs.get(run_id) is not None


async def test_a_caller_is_woken_by_news_alone(team: LocalTeam) -> None:
    """No look at the store is due at this replica, and the answer still has the saved file and the end."""
    async with team.open_worker(), team.open_replica(clock=PatientClock()) as replica:
        with anyio.fail_after(PATIENCE_SECONDS):
            facts = await replica.ask(TOOL, prompt="a lake")

    assert facts["state"] == "succeeded"
    assert Path(facts["outputs"][0]["saved_path"]).is_file()


async def test_a_caller_of_a_batch_is_woken_by_news_alone(team: LocalTeam) -> None:
    """The end of a batch is news as well."""
    rows = [{"prompt": f"lake {n}"} for n in range(3)]
    async with team.open_worker(), team.open_replica(clock=PatientClock()) as replica:
        with anyio.fail_after(PATIENCE_SECONDS):
            facts = await replica.ask("run_batch", app=TOOL, rows=rows)

    assert (facts["state"], facts["succeeded"]) == ("succeeded", 3)


async def test_two_replicas_answer_two_callers_of_one_run(team: LocalTeam, sandbox: SandboxClient) -> None:
    """Both wait, the run is started once, and both get its result."""
    await sandbox.switch("next_run", hold=True)
    async with (
        team.open_worker(),
        team.open_replica() as first,
        team.open_replica() as second,
        in_background(lambda: first.ask(TOOL, prompt="a lake")) as answers,
    ):
        run = await get_newest_run(first)
        run = await wait_for_state(first, run.id, RunState.RUNNING, RunState.QUEUED)
        async with in_background(lambda: second.ask("get_run", run_id=run.id)) as others:
            await release(sandbox, run)

    assert [one["state"] for one in (*answers, *others)] == ["succeeded"] * 2
    assert answers[0]["outputs"] == others[0]["outputs"]
    assert await team.count("run") == 1


async def test_progress_of_another_replica_is_true(team: LocalTeam, sandbox: SandboxClient) -> None:
    """A caller sees how its run stands although a worker follows it."""
    await sandbox.switch("next_run", hold=True)
    async with team.open_worker(), team.open_replica(wait_seconds=0.5) as replica:
        facts = await replica.ask(TOOL, prompt="a lake")
        run = await wait_for_state(replica, facts["run_id"], RunState.RUNNING)
        replica.progress.clear()
        await replica.ask("get_run", run_id=facts["run_id"])
        await release(sandbox, run)

    assert replica.progress
    assert all(message.startswith("running, ") for _, message in replica.progress), replica.progress


async def test_a_problem_of_a_worker_reaches_the_caller(team: LocalTeam, sandbox: SandboxClient) -> None:
    """The sentence says that the provider does not answer, which only the worker has seen."""
    await sandbox.switch("next_run", hold=True)
    async with (
        team.open_worker(),
        team.open_replica() as replica,
        in_background(lambda: replica.ask(TOOL, prompt="a lake")) as answers,
    ):
        run = await get_newest_run(replica)
        run = await wait_for_state(replica, run.id, RunState.RUNNING)
        for _ in range(3):
            await sandbox.switch("faults", operation="status", fault="status", status=503)

        async def is_reported() -> bool:
            """Return whether the caller knows."""
            return any("(" in message for _, message in replica.progress)

        await wait_for(is_reported)
        await release(sandbox, run)

    assert answers[0]["state"] == "succeeded"
    assert any("Flowport looks again by itself." in message for _, message in replica.progress), replica.progress


async def test_a_run_that_waits_at_a_worker_is_cancelled_at_another_replica(team: LocalTeam) -> None:
    """It has no place in the request limit yet, so nothing is sent and nothing is charged, and its caller learns of it."""
    async with team.open_replica() as first, team.open_replica(wait_seconds=0.0) as second:
        # The only request of this minute.
        await second.ask(TOOL, prompt="a hill")
        async with team.open_worker(requests_per_minute=1) as worker:
            await team.wait_for_requests("run", 1)
            async with in_background(lambda: first.ask(TOOL, prompt="a lake")) as answers:
                run = await get_newest_run(second, 2)

                async def is_held() -> bool:
                    """Return whether the worker has it."""
                    return has_entry(worker.workspace, run.id)

                await wait_for(is_held)
                cancelled = await second.ask("cancel_run", run_id=run.id)

            async def is_over() -> bool:
                """Return whether the worker knows."""
                entry = worker.workspace.waiter.live_runs.get(run.id)
                return entry is None or entry.run.state is RunState.CANCELLED

            await wait_for(is_over)

    assert (cancelled["outcome"], answers[0]["state"]) == ("cancelled", "cancelled")
    assert await team.count("run") == 1


async def test_a_run_at_the_provider_is_cancelled_at_another_replica(face: MagicaClient, team: LocalTeam) -> None:
    """The answer waits for the end that the worker finds, and the caller at the first replica gets it too."""
    team.sandbox, providers = face.sandbox, (MAGICA.build_settings(face.sandbox, ""),)
    await face.sandbox.switch("next_run", hold=True, pending_seconds=0)
    async with (
        team.open_worker(providers=providers),
        team.open_replica(providers=providers) as first,
        team.open_replica(providers=providers, clock=PatientClock()) as second,
        in_background(lambda: first.ask("text_to_picture", **PROMPT)) as answers,
    ):
        run = await get_newest_run(second)
        await wait_for_state(second, run.id, RunState.RUNNING)
        cancelled = await second.ask("cancel_run", run_id=run.id)

    assert (cancelled["outcome"], cancelled["state"], answers[0]["state"]) == ("asked", "cancelled", "cancelled")


async def test_a_caller_that_leaves_a_replica_stops_its_run(face: MagicaClient, team: LocalTeam) -> None:
    """`FLOWPORT_ON_CANCEL=stop`: the worker asks the provider to cancel what another process has accepted."""
    team.sandbox, changes = (
        face.sandbox,
        {"providers": (MAGICA.build_settings(face.sandbox, ""),), "should_stop_on_cancel": True},
    )
    await face.sandbox.switch("next_run", hold=True, pending_seconds=0)
    async with team.open_worker(**changes), team.open_replica(**changes) as replica:
        await replica.client.list_tools()
        await cancel_when(replica, "running")
        run = await get_newest_run(replica)
        await wait_for_state(replica, run.id, RunState.CANCELLED)

    assert (await face.count())["cancel"] == 1


async def test_a_run_that_is_no_longer_followed_is_left_by_its_worker(team: LocalTeam, sandbox: SandboxClient) -> None:
    """What is stopped at one replica is not polled by a worker any more, and a call at another one resumes it."""
    await sandbox.switch("next_run", hold=True)
    async with team.open_worker() as worker, team.open_replica() as first, team.open_replica() as second:
        async with in_background(lambda: first.ask(TOOL, prompt="a lake")) as answers:
            run = await get_newest_run(second)
            run = await wait_for_state(second, run.id, RunState.RUNNING)
            stopped = await second.ask("cancel_run", run_id=run.id, stop_following=True)

        async def is_left() -> bool:
            """Return whether the worker has let it go."""
            return not has_entry(worker.workspace, run.id)

        await wait_for(is_left)
        await release(sandbox, run)
        facts = await first.ask("get_run", run_id=run.id)

    assert (stopped["outcome"], answers[0]["state"], facts["state"]) == ("unfollowed", "running", "succeeded")


async def test_a_batch_is_cancelled_at_another_replica(team: LocalTeam) -> None:
    """Rows that were not sent cost nothing, and the caller at the first replica gets the end."""
    rows = [{"prompt": f"lake {n}"} for n in range(3)]
    async with team.open_replica() as first, team.open_replica(wait_seconds=0.0) as second:
        await second.ask(TOOL, prompt="a hill")
        async with team.open_worker(requests_per_minute=1):
            await team.wait_for_requests("run", 1)
            async with in_background(lambda: first.ask("run_batch", app=TOOL, rows=rows)) as answers:
                batch = await get_newest_run(second, 2)
                cancelled = await second.ask("cancel_run", run_id=batch.id)

    assert cancelled["outcome"] == "cancelled"
    assert answers[0]["state"] == "cancelled"
    assert await team.count("run") == 1


async def test_a_result_is_delivered_once(team: LocalTeam) -> None:
    """What one replica has answered, another one neither mentions nor lists as undelivered."""
    async with team.open_worker(), team.open_replica() as first, team.open_replica() as second:
        facts = await first.ask(TOOL, prompt="a lake")

        async def is_delivered() -> bool:
            """Return whether its delivery is on record."""
            return (await get_kept(first, facts["run_id"])).delivered_at is not None

        await wait_for(is_delivered)
        again = await second.ask("get_balance")
        listed = await second.ask("list_runs")

    assert "unseen" not in again
    assert [(run["run_id"], run["is_seen"]) for run in listed["runs"]] == [(facts["run_id"], True)]


@pytest.mark.parametrize("mode", MODES)
async def test_a_subscriber_learns_of_changes_by_a_worker(
    team: LocalTeam, sandbox: SandboxClient, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client of one replica watches a run that another one accepted: its list, and each change of the run once."""
    monkeypatch.setattr("flowport.runtime.background.LIST_SECONDS", 0.1)
    await sandbox.switch("next_run", hold=True)
    async with team.open_worker(), team.open_replica() as first, team.open_replica(wait_seconds=0.0) as second:
        handed = await second.ask(TOOL, prompt="a lake")
        run = await wait_for_state(second, handed["run_id"], RunState.RUNNING)
        uri = f"flowport://runs/{handed['run_id']}"
        async with listening(first.server, mode, uri) as listener:
            await release(sandbox, run)
            with anyio.fail_after(PATIENCE_SECONDS):
                while await listener.receive() != f"{UPDATED} {uri}":
                    pass
            await second.ask(TOOL, prompt="another lake")
            with anyio.fail_after(PATIENCE_SECONDS):
                while await listener.receive() != RESOURCES:
                    pass


async def test_one_change_is_announced_once(team: LocalTeam, sandbox: SandboxClient) -> None:
    """The replica that carries a run out learns of its own changes as news too, and notifies its clients once."""
    await sandbox.switch("next_run", hold=True)
    async with team.open_worker() as worker, team.open_replica(wait_seconds=0.0) as replica:
        handed = await replica.ask(TOOL, prompt="a lake")
        run = await wait_for_state(replica, handed["run_id"], RunState.RUNNING)
        changes = worker.workspace.changes
        await changes.take_runs()
        kept = await get_kept(replica, run.id)
        await worker.workspace.store.record(run.id, Polled(RunState.QUEUED, 1.0), kept.lease)
        first = await changes.take_runs()
        await worker.workspace.store.record(run.id, Polled(RunState.RUNNING, 1.0), kept.lease)
        second = await changes.take_runs()

    assert [{one.run_id for one in taken} for taken in (first, second)] == [{run.id}] * 2


async def test_tools_that_one_replica_reads_are_announced_by_the_others(
    team: LocalTeam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A catalogue that is saved is read by every replica at once, and its clients are notified."""
    monkeypatch.setattr("flowport.runtime.background.LIST_SECONDS", 0.1)
    async with team.open_replica() as first, team.open_replica() as second:
        for one in (first, second):
            await one.client.list_tools()
        async with listening(second.server, "auto") as listener:
            second.assembly.workspace.catalogs[0].catalog._max_tools = 3
            await change_tools(first.assembly, 3)
            assert await listener.receive() == TOOLS


async def test_missed_news_is_looked_for(team: LocalTeam, sandbox: SandboxClient) -> None:
    """A process that may have missed news looks at every run that it follows."""
    await sandbox.switch("next_run", hold=True)
    async with team.open_worker() as worker, team.open_replica(wait_seconds=0.0) as replica:
        handed = await replica.ask(TOOL, prompt="a lake")
        run = await wait_for_state(replica, handed["run_id"], RunState.RUNNING)
        cluster = replica.assembly.cluster
        assert cluster is not None
        await cluster.store.claim(run.id, "another-worker", lease=run.lease)
        await cluster.news.post(News(NewsKind.MISSED))

        async def is_left() -> bool:
            """Return whether the worker has seen the claim."""
            return not has_entry(worker.workspace, run.id)

        await wait_for(is_left)


async def test_a_result_that_no_worker_saves_is_answered(team: LocalTeam) -> None:
    """Its worker has died after the end: the caller gets the provider's link, and no look is due at this replica."""
    async with team.open_replica(clock=PatientClock()) as replica:
        workspace = replica.assembly.workspace
        now = workspace.clock.now()
        run = build_run(
            "run_unsaved",
            RunState.SUCCEEDED,
            account_id=workspace.catalogs[0].account.account.id,
            owner="local",
            outputs=(replace(OUTPUT, saved_path="", save_problem="", expires_at=now + 3600.0),),
            accepted_at=now - SAVING_SECONDS - 60.0,
            finished_at=now - SAVING_SECONDS,
        )
        await workspace.store.accept(run)
        with anyio.fail_after(PATIENCE_SECONDS):
            facts = await replica.ask("get_run", run_id=run.id)

    assert (facts["state"], facts["outputs"][0]["url"]) == ("succeeded", OUTPUT.url)
