"""Several runs at once: each is looked at until it is over, with fewer requests than runs where one reports of several."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import pytest

from flowport.domain.models import App, Run, RunState
from flowport.network.account import OpenAccount
from flowport.providers.interface import Started
from flowport.runs.live import LiveRuns, PendingWrites
from flowport.runs.poll import RunPoller
from flowport.runs.steps import Pace
from flowport.runtime.background import Supervisor
from tests.fakes.client import Client as SandboxClient
from tests.providers.contract.worlds import WORLDS, ProviderWorld
from tests.runs.samples import NOW, RUN
from tests.support.fake_clock import FakeClock
from tests.support.harness import Harness
from tests.support.scripted import FaultyStore

RUNS = 8
RUNNING = replace(RUN, state=RunState.RUNNING, starting_at=NOW, started_at=NOW, running_at=NOW)


@dataclass(frozen=True)
class Party:
    """Runs that were started and that no one follows yet."""

    flowport: Harness
    account: OpenAccount
    run_ids: list[str]
    """As the provider calls them."""

    async def follow(self, folder: Path) -> list[RunState]:
        """Follow them to their ends by a clock that stands still while requests are under way: so they are ripe together."""
        clock, live_runs, store, ends = FakeClock(idle_seconds=0.05), LiveRuns(), FaultyStore(folder / "l.sqlite3"), []
        async with Supervisor() as supervisor:
            poller = RunPoller(
                store, live_runs, clock, Pace(), PendingWrites(store, live_runs, clock), supervisor=supervisor
            )

            async def follow(run: Run) -> None:
                """Follow one."""
                ends.append((await poller.poll(run, self.account)).state)

            account_id = self.account.account.id
            runs = [replace(RUNNING, id=one, provider_run_id=one, account_id=account_id) for one in self.run_ids]
            for run in runs:
                await store.accept(run)
                live_runs.put(run, noted_at=0.0)
            with anyio.fail_after(60):
                async with anyio.create_task_group() as tasks:
                    for run in runs:
                        tasks.start_soon(follow, run)
        await store.close()
        return ends


@asynccontextmanager
async def open_party(sandbox: SandboxClient, world: ProviderWorld, folder: Path) -> AsyncIterator[Party]:
    """Start some runs of an account whose requests are counted."""
    async with world.open(sandbox, folder / "person", requests_per_minute=1000) as flowport:
        await flowport.ask("find_apps")
        place = flowport.assembly.workspace.catalogs[0]
        apps = {listing.app.name: listing.app for listing in place.catalog.current.listings}
        ids = [await _start(place.account, apps["Text to Picture"], f"lake {n}") for n in range(RUNS)]
        yield Party(flowport, place.account, ids)


async def _start(account: OpenAccount, app: App, prompt: str) -> str:
    (key,) = [one.run_key for one in app.inputs or () if one.name == "prompt"]
    answer = await account.send_now(account.provider.build_start_request(app, {key: prompt}))
    started = account.provider.parse_start(answer)
    assert isinstance(started, Started)
    return started.provider_run_id


@pytest.mark.parametrize("world", [world for world in WORLDS if world.reads_many], ids=lambda world: world.name)
async def test_fewer_requests_than_runs_follow_them(
    sandbox: SandboxClient, world: ProviderWorld, tmp_path: Path
) -> None:
    """A day has so many requests; each that is saved is a start or a look more."""
    await world.turn_on_many_looks(sandbox)
    async with open_party(sandbox, world, tmp_path) as party:
        ends = await party.follow(tmp_path)
        asked = [await party.flowport.count(operation) for operation in ("status", "status_batch")]
    assert ends == [RunState.SUCCEEDED] * RUNS
    assert asked[1] > 0
    assert sum(asked) < RUNS


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
async def test_each_is_read_by_itself_where_no_request_reports_of_several(
    sandbox: SandboxClient, world: ProviderWorld, tmp_path: Path
) -> None:
    """The provider may not have it, whatever its pages say; it is asked once, and every run ends."""
    async with open_party(sandbox, world, tmp_path) as party:
        ends = await party.follow(tmp_path)
        asked = [await party.flowport.count(operation) for operation in ("status", "status_batch")]
    assert ends == [RunState.SUCCEEDED] * RUNS
    assert asked[0] >= RUNS
    assert asked[1] == (1 if world.reads_many else 0)
