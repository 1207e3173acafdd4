"""Owners learn nothing of each other, whichever replica of a team they ask."""

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from flowport.bootstrap import open_assembly
from flowport.domain.spending import SpendingLimits
from tests.fakes.client import IDS
from tests.interaction.cross_owner.probes import build_probes
from tests.interaction.cross_owner.test_cross_owner import LEAST_PROBES, World, find_leak
from tests.interaction.cross_owner.world import settle_victim
from tests.support.harness import MODES, QUICK, Mode
from tests.support.tenants import OWN_KEY, SHARED_KEY, open_provider, open_tenancy


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    """Let one person work at a replica with the shared key and another one with a key of their own; others ask a second one."""
    async with AsyncExitStack() as stack:
        keyed, address = await stack.enter_async_context(open_provider(SHARED_KEY, OWN_KEY))
        await keyed.accounts[SHARED_KEY].switch("catalogue", delete=[IDS["Retro Poster"]])
        changes: dict[str, Any] = {
            "spending_limits": SpendingLimits(confirm_above_credits=11.0),
            "wait_seconds": 5.0,
            "database_url": database_url,
        }
        async with open_tenancy(keyed, address, tmp_path / "server", **changes) as earlier:
            settings = earlier.assembly.workspace.settings
        # What is opened first is closed last, the clients of each replica before it.
        await stack.enter_async_context(open_assembly(settings, pace=QUICK, is_worker=True))
        first = await stack.enter_async_context(open_tenancy(keyed, address, tmp_path / "server", **changes))
        victims = {
            "the same account": await settle_victim(first, "anna", ""),
            "another account": await settle_victim(first, "cara", OWN_KEY),
        }
        second = await stack.enter_async_context(open_tenancy(keyed, address, tmp_path / "server", **changes))
        yield World(second, victims)


@pytest.mark.parametrize("mode", MODES)
async def test_another_replica_answers_like_what_is_not_there(world: World, mode: Mode) -> None:
    """What is made at one replica is in the database of all, and still nothing that others learn of."""
    leaks: list[str] = []
    tried: set[tuple[str, str]] = set()
    for relation, victim in world.victims.items():
        who = await world.send_intruder(f"bert, {relation}", mode)
        for probe in build_probes():
            tried.add((relation, probe.name))
            if leak := await find_leak(probe, who, victim):
                leaks.append(f"{relation}, {probe.name}: {leak}")

    sys.stdout.write(f"cross-owner probes at another replica, {mode}: {len(tried)} tried, {len(leaks)} leaking\n")
    assert leaks == [], "\n".join(leaks)
    assert len(tried) >= LEAST_PROBES
