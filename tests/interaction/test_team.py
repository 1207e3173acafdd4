"""Replicas accept runs, and workers carry them out: on a real PostgreSQL, with workers that come, end and lose their runs."""

import base64
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import anyio.to_thread
import pytest

from flowport.bootstrap import Assembly, open_assembly
from flowport.domain.errors import StoreError
from flowport.domain.models import RunState
from flowport.runtime.failpoints import Failpoint, install_hook
from flowport.store.records import Claimed
from tests.fakes.client import IDS, build_photo, open_sandbox, write
from tests.fakes.client import Client as SandboxClient
from tests.support.harness import Harness, build_settings
from tests.support.postgres import PostgresServer
from tests.support.team import LocalTeam, get_kept, wait_for, wait_for_state
from tests.support.tenants import OWN_KEY, SHARED_KEY, get_facts, open_provider, open_tenancy

TOOL = "text_to_picture"


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxClient]:
    """Run a provider whose runs end at once."""
    async with open_sandbox(speed=0, requests_per_minute=0) as client:
        yield client


@pytest.fixture
def team(sandbox: SandboxClient, tmp_path: Path, database_url: str) -> LocalTeam:
    """Return a team without members."""
    return LocalTeam(sandbox, tmp_path / "team", {"database_url": database_url})


async def is_left(worker: Assembly, run_id: str, lease: int | None = None) -> bool:
    """Return whether a worker does not follow a run, or not under a lease."""
    entry = worker.workspace.waiter.live_runs.get(run_id)
    return entry is None or (lease is not None and entry.run.lease != lease)


async def is_held(worker: Assembly, run_id: str) -> bool:
    """Return whether a worker carries a run out."""
    return worker.workspace.waiter.live_runs.get(run_id) is not None


async def is_saving(worker: Assembly, run_id: str) -> bool:
    """Return whether a worker downloads the outputs of a run."""
    entry = worker.workspace.waiter.live_runs.get(run_id)
    return entry is not None and entry.is_saving


async def is_saved(member: Harness, run_id: str) -> bool:
    """Return whether the first output of a run is saved."""
    return bool((await get_kept(member, run_id)).outputs[0].saved_path)


async def test_a_worker_carries_out_what_a_replica_accepts(team: LocalTeam) -> None:
    """The caller waits at the replica, and gets the files that the worker has saved."""
    async with team.open_replica() as replica, team.open_worker() as worker:
        facts = await replica.ask(TOOL, prompt="a lake")
        kept = await get_kept(replica, facts["run_id"])

    assert (facts["state"], await team.count("run")) == ("succeeded", 1)
    assert Path(facts["outputs"][0]["saved_path"]).is_file()
    assert worker.cluster is not None
    assert kept.process_id == worker.cluster.workers.process_id


async def test_a_replica_that_is_a_worker_too_does_both(team: LocalTeam) -> None:
    """A small team needs one kind of process."""
    async with team.open_worker() as worker, team.open_replica() as replica:
        assert worker.cluster is not None
        facts = await replica.ask(TOOL, prompt="a lake")

    assert facts["state"] == "succeeded"


async def test_a_run_waits_for_a_worker(team: LocalTeam) -> None:
    """Nothing is started and nothing is lost while no worker runs, also when the replica that accepted it has ended."""
    async with team.open_replica(wait_seconds=0.0) as replica:
        handed = await replica.ask(TOOL, prompt="a lake")
        kept = await get_kept(replica, handed["run_id"])
        assert (kept.state, kept.process_id, await team.count("run")) == (RunState.ACCEPTED, "", 0)
    async with team.open_replica() as other, team.open_worker():
        facts = await other.ask("get_run", run_id=handed["run_id"])

    assert (facts["state"], await team.count("run")) == ("succeeded", 1)


async def test_a_worker_prepares_exactly_the_call_of_the_replica(team: LocalTeam) -> None:
    """A picture inside the call, a long text and the last result of this moment reach the provider as they were meant."""
    photo = f"data:image/png;base64,{base64.b64encode(write(build_photo())).decode()}"
    long_text = "a lake at dusk, " * 200
    async with team.open_replica() as replica, team.open_replica(wait_seconds=0.0) as quick:
        async with team.open_worker():
            first = await replica.ask(TOOL, prompt="a lake")
        handed = [
            await quick.ask("run_app", app=app, arguments=arguments)
            for app, arguments in (
                ("photo_to_pencil_sketch", {"your_photo": photo}),
                (TOOL, {"prompt": long_text}),
                ("photo_to_pencil_sketch", {"your_photo": "last"}),
            )
        ]
        async with team.open_worker():
            # What is delivered meanwhile is the last result by then.
            again = [await replica.ask("get_run", run_id=one["run_id"]) for one in handed]
        runs = [await get_kept(replica, one["run_id"]) for one in handed]

    assert [one["state"] for one in again] == ["succeeded"] * 3, again
    assert f"/{first['run_id']}/" in runs[2].arguments_json
    prompts = (await team.sandbox.http.get("/_sandbox/runs")).json()["prompts"]
    assert long_text.strip() in [str(one).strip() for one in prompts]


async def test_rows_are_carried_out_by_every_worker(team: LocalTeam) -> None:
    """A batch is carried out by one worker, and its rows by all; its table has the files of all."""
    rows = [{"prompt": f"lake {n}"} for n in range(12)]
    for _ in rows:
        await team.sandbox.switch("next_run", hold=True)
    # Neither has room for the batch and all of its rows.
    async with team.open_replica() as replica, team.open_worker(worker_runs=7), team.open_worker(worker_runs=7):
        store = replica.assembly.workspace.store
        batch_id = (await replica.ask("run_batch", app=TOOL, rows=rows, wait=False))["run_id"]

        async def are_started() -> bool:
            """Return whether the provider has every row."""
            return sum(bool(one.provider_run_id) for one in await store.get_live_rows(batch_id)) == 12

        await wait_for(are_started)
        for run in await store.get_live_rows(batch_id):
            await team.sandbox.switch(f"runs/{run.provider_run_id}", release=True)
        facts = await replica.ask("get_run", run_id=batch_id)
        statuses = await store.get_rows(batch_id)

    assert (facts["state"], facts["succeeded"], await team.count("run")) == ("succeeded", 12, 12)
    assert len({one.run.process_id for one in statuses if one.run}) == 2
    table = Path(facts["csv"]).read_text(encoding="utf-8")
    assert all(output.saved_path in table for one in statuses if one.run for output in one.run.outputs)


async def test_a_batch_stops_at_the_failures_that_other_workers_meet(team: LocalTeam) -> None:
    """The conductor reads from the record what became of rows that it has not carried out."""
    rows = [{"note": f"{n}"} for n in range(40)]
    async with team.open_replica() as replica, team.open_worker(), team.open_worker():
        facts = await replica.ask("run_batch", app="always_fails", rows=rows, stop_after_failures=2)

    assert facts["state"] in {"failed", "partial"}, facts
    assert await team.count("run") <= 12


async def test_a_key_that_is_refused_ends_a_batch_at_every_worker(team: LocalTeam) -> None:
    """Each further row would be refused as well."""
    rows = [{"prompt": f"lake {n}"} for n in range(30)]
    await team.sandbox.switch("faults", operation="run", fault="status", status=401, times=100)
    async with team.open_replica() as replica, team.open_worker(), team.open_worker():
        facts = await replica.ask("run_batch", app=TOOL, rows=rows)

    assert " not started" in facts["summary"], facts


async def test_a_run_that_no_worker_has_taken_is_cancelled(team: LocalTeam) -> None:
    """The worker that has its job later sends nothing."""
    async with team.open_replica(wait_seconds=0.0) as replica, team.open_replica() as other:
        handed = await replica.ask(TOOL, prompt="a lake")
        cancelled = await other.ask("cancel_run", run_id=handed["run_id"])
        async with team.open_worker():
            facts = await other.ask("get_run", run_id=handed["run_id"])
            after = await other.ask(TOOL, prompt="another lake")

    assert (cancelled["outcome"], facts["state"], after["state"]) == ("cancelled", "cancelled", "succeeded")
    assert await team.count("run") == 1


async def test_a_run_that_a_worker_polls_is_left_by_it_when_a_person_asks(team: LocalTeam) -> None:
    """It goes on at the provider; another request has it polled again, by a worker."""
    await team.sandbox.switch("next_run", hold=True)
    async with (
        team.open_replica() as replica,
        team.open_replica(wait_seconds=0.0) as quick,
        team.open_worker() as worker,
    ):
        handed = await quick.ask(TOOL, prompt="a lake")
        run = await wait_for_state(replica, handed["run_id"], RunState.RUNNING, RunState.QUEUED)
        stopped = await replica.ask("cancel_run", run_id=run.id, stop_following=True)
        await wait_for(partial(is_left, worker, run.id))
        await team.sandbox.switch(f"runs/{run.provider_run_id}", release=True)
        facts = await replica.ask("get_run", run_id=run.id)

    assert (stopped["outcome"], facts["state"], await team.count("run")) == ("unfollowed", "succeeded", 1)


async def test_a_worker_that_ends_leaves_its_runs_to_another(team: LocalTeam) -> None:
    """Runs that wait at the provider, and one whose start is being answered: each is started once and comes to its end."""
    async with team.open_replica(wait_seconds=0.0) as replica:
        await team.sandbox.switch("next_run", hold=True)
        async with team.open_worker() as worker:
            held = await replica.ask(TOOL, prompt="a lake")
            run = await wait_for_state(worker, held["run_id"], RunState.RUNNING, RunState.QUEUED)
            await team.sandbox.switch("faults", operation="run", fault="late", seconds=1.0)
            late = await replica.ask(TOOL, prompt="a hill")
            await team.wait_for_requests("run", 2)
            before = await get_kept(replica, late["run_id"])
        after = await get_kept(replica, late["run_id"])
        await team.sandbox.switch(f"runs/{run.provider_run_id}", release=True)
        async with team.open_worker():
            ended = [await wait_for_state(replica, one["run_id"], RunState.SUCCEEDED) for one in (held, late)]

    assert before.state is RunState.STARTING
    assert after.provider_run_id
    assert (len(ended), await team.count("run")) == (2, 2)


async def test_a_worker_that_ends_leaves_what_it_has_not_sent(team: LocalTeam) -> None:
    """It waits for its turn of the provider; the next worker sends it."""
    async with team.open_replica(wait_seconds=0.0) as replica:
        async with team.open_worker() as worker:
            await team.sandbox.switch("faults", operation="run", fault="late", seconds=2.0, times=6)
            handed = [await replica.ask(TOOL, prompt=f"lake {n}") for n in range(8)]
            await team.wait_for_requests("run", 6)
            for one in handed:
                await wait_for(partial(is_held, worker, one["run_id"]))
        states = {(await get_kept(replica, one["run_id"])).state for one in handed}
        async with team.open_worker():
            for one in handed:
                await wait_for_state(replica, one["run_id"], RunState.SUCCEEDED)

    assert RunState.UNKNOWN not in states
    assert RunState.ACCEPTED in states
    assert await team.count("run") == 8


async def test_a_worker_that_ends_while_it_downloads_leaves_that_too(team: LocalTeam) -> None:
    """The next worker saves the outputs, and no half of a file stays."""
    async with team.open_replica(wait_seconds=0.0) as replica:
        async with team.open_worker() as worker:
            await team.sandbox.switch("faults", operation="file", fault="delay", seconds=3600)
            handed = await replica.ask(TOOL, prompt="a lake")
            await wait_for_state(replica, handed["run_id"], RunState.SUCCEEDED)
            await wait_for(partial(is_saving, worker, handed["run_id"]))
        async with team.open_worker():
            await wait_for(partial(is_saved, replica, handed["run_id"]))
        saved = Path((await get_kept(replica, handed["run_id"])).outputs[0].saved_path)

    kept = [path.name for path in team.folder.rglob("outputs/**/*") if path.is_file()]
    assert sorted(kept) == [saved.name, f"{saved.name}.json"]


async def test_a_worker_that_has_lost_its_run_ends_without_writing(team: LocalTeam) -> None:
    """Another process has claimed it meanwhile, as after a pause."""
    await team.sandbox.switch("next_run", hold=True)
    async with team.open_replica(wait_seconds=0.0) as replica, team.open_worker() as worker:
        handed = await replica.ask(TOOL, prompt="a lake")
        run = await wait_for_state(replica, handed["run_id"], RunState.RUNNING, RunState.QUEUED)
        store = replica.assembly.workspace.store
        claimed = await store.claim(run.id, "feedfacefeedface", lease=run.lease)
        await team.sandbox.switch(f"runs/{run.provider_run_id}", release=True)
        await wait_for(partial(is_left, worker, run.id, run.lease))
        kept = await get_kept(replica, run.id)

    assert isinstance(claimed, Claimed)
    assert kept.lease >= claimed.run.lease


async def test_the_run_of_a_persons_own_key_stays_at_its_replica(tmp_path: Path, database_url: str) -> None:
    """The key is in the memory of that replica alone. A run of the shared key waits for a worker."""
    async with (
        open_provider(SHARED_KEY, OWN_KEY) as (keyed, address),
        open_tenancy(keyed, address, tmp_path / "team", database_url=database_url, wait_seconds=3.0) as people,
    ):
        own = get_facts(await (await people.connect("cara", key=OWN_KEY)).call_tool(TOOL, {"prompt": "a lake"}))
        shared = get_facts(await (await people.connect("anna")).call_tool(TOOL, {"prompt": "a lake"}))

    assert (own["state"], shared["state"]) == ("succeeded", "accepted")


async def test_a_database_that_cannot_be_reached_ends_the_start_with_a_sentence(tmp_path: Path) -> None:
    """A container is started again; a process that lives and does nothing is not."""
    settings = build_settings(
        tmp_path / "team", "http://127.0.0.1:9", database_url=f"postgresql://flowport:secret-word@/x?host={tmp_path}"
    )
    with pytest.raises(StoreError) as caught:
        async with open_assembly(settings):
            pass

    assert "cannot be reached" in str(caught.value)
    assert "secret-word" not in str(caught.value)


def fail_at(point: Failpoint, times: int = 1) -> None:
    """Let the program have an internal error when a point is reached."""
    left = [times]

    def fail(reached: Failpoint) -> None:
        if reached is point and left[0]:
            left[0] -= 1
            raise RuntimeError(point)

    install_hook(fail)


@pytest.mark.parametrize(
    ("point", "state", "starts"),
    [(Failpoint.WHILE_FOLLOWING, "succeeded", 1), (Failpoint.AFTER_STARTING, "unknown", 0)],
)
async def test_an_internal_error_of_a_step_loses_nothing(
    team: LocalTeam, point: Failpoint, state: str, starts: int
) -> None:
    """A step is tried again after a pause; a start that may have left is never sent again by itself."""
    try:
        async with team.open_replica() as replica, team.open_worker():
            fail_at(point)
            facts = await replica.ask(TOOL, prompt="a lake")
    finally:
        install_hook(None)

    assert (facts["state"], await team.count("run")) == (state, starts)


async def test_a_restart_of_the_database_fails_no_run(team: LocalTeam, postgres: PostgresServer) -> None:
    """A step that cannot be recorded is repeated, and calls are answered again as soon as the database is back."""
    await team.sandbox.switch("next_run", hold=True)
    async with (
        team.open_replica() as replica,
        team.open_replica(wait_seconds=0.0) as quick,
        team.open_worker(),
    ):
        handed = await quick.ask(TOOL, prompt="a lake")
        run = await wait_for_state(replica, handed["run_id"], RunState.RUNNING, RunState.QUEUED)
        await anyio.to_thread.run_sync(postgres.restart)
        await team.sandbox.switch(f"runs/{run.provider_run_id}", release=True)
        facts = await replica.ask("get_run", run_id=run.id)
        after = await replica.ask(TOOL, prompt="a hill")

    assert (facts["state"], after["state"], await team.count("run")) == ("succeeded", "succeeded", 2)


async def test_a_worker_goes_by_the_catalogue_of_the_replica(team: LocalTeam) -> None:
    """The price of the app has changed since the worker read it, and the replica has accepted the run at the new one."""
    async with team.open_worker(), team.open_replica() as replica:
        await replica.ask(TOOL, prompt="a lake")
        await team.sandbox.switch("catalogue", prices={IDS["Text to Picture"]: 7})
        await replica.assembly.workspace.catalogs[0].catalog.refresh()
        facts = await replica.ask(TOOL, prompt="a hill")

    assert (facts["state"], facts["price_credits"]) == ("succeeded", 7)
