"""Owners on one server learn nothing of each other: not that a run is there, not its name, and not by an error's text."""

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from flowport.domain.spending import SpendingLimits
from tests.fakes.client import IDS
from tests.interaction.cross_owner.probes import Probe, build_probes
from tests.interaction.cross_owner.world import Intruder, Victim, refuse_to_answer, settle_victim
from tests.support.harness import MODES, Mode
from tests.support.tenants import OWN_KEY, SHARED_KEY, Tenancy, open_provider, open_tenancy

LEAST_PROBES = 160


@dataclass
class World:
    """The server, and the people whom others ask about, by what they share with them."""

    tenancy: Tenancy
    victims: dict[str, Victim]

    async def send_intruder(self, owner: str, mode: Mode) -> Intruder:
        """Let a person in who has nothing yet."""
        client = await self.tenancy.connect(owner, mode, ask_person=refuse_to_answer)
        return Intruder(self.tenancy, mode, client, await self.tenancy.open_http(owner))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Let one person work with the shared key and another one with a key of their own."""
    async with AsyncExitStack() as stack:
        keyed, address = await stack.enter_async_context(open_provider(SHARED_KEY, OWN_KEY))
        await keyed.accounts[SHARED_KEY].switch("catalogue", delete=[IDS["Retro Poster"]])
        limits = SpendingLimits(confirm_above_credits=11.0)
        tenancy = await stack.enter_async_context(
            open_tenancy(keyed, address, tmp_path / "server", spending_limits=limits, wait_seconds=5.0)
        )
        victims = {
            "the same account": await settle_victim(tenancy, "anna", ""),
            "another account": await settle_victim(tenancy, "cara", OWN_KEY),
        }
        yield World(tenancy, victims)


async def find_leak(probe: Probe, who: Intruder, victim: Victim) -> str:
    """Return what a probe learns of another owner's things, as text; empty when it learns nothing."""
    invented = victim.names.invent()
    answer = await probe.send(who, victim.names, victim)
    learned = victim.names.find_in(victim.names.hide(answer) if probe.asks_by_name else answer)
    if learned:
        return f"holds {learned}: {answer[:600]}"
    if probe.asks_by_name:
        real, other = victim.names.hide(answer), invented.hide(await probe.send(who, invented, victim))
        if real != other:
            return f"differs:\n    {real[:600]}\n    {other[:600]}"
    return ""


@pytest.mark.parametrize("mode", MODES)
async def test_another_owners_things_answer_like_what_is_not_there(world: World, mode: Mode) -> None:
    """What a person makes for one customer must not be seen by a colleague who works for another one."""
    leaks: list[str] = []
    tried: set[tuple[str, str]] = set()
    for relation in world.victims:
        who = await world.send_intruder(f"bert, {relation}", mode)
        for probe in build_probes():
            tried.add((relation, probe.name))
            if leak := await find_leak(probe, who, world.victims[relation]):
                leaks.append(f"{relation}, {probe.name}: {leak}")

    sys.stdout.write(f"cross-owner probes, {mode}: {len(tried)} tried, {len(leaks)} leaking\n")
    assert leaks == [], "\n".join(leaks)
    assert len(tried) >= LEAST_PROBES
    for owner, victim in zip(("anna", "cara"), world.victims.values(), strict=True):
        assert len((await victim.client.list_tools(cache_mode="bypass")).tools) > 7
        live = await world.tenancy.assembly.workspace.store.get_run(
            victim.names.live_row_id, account_id=None, owner=owner
        )
        assert (live.state.is_final, live.is_followed) == (False, True)
