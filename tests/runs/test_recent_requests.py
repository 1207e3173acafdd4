"""Which open calls decide whether a new call joins a run, and the cost of remembering them."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from flowport.domain.models import Run
from flowport.runs.submit import SIDE_BY_SIDE_SECONDS, RecentRequests, RunRequest
from flowport.runtime.exchange import Exchange
from flowport.store.process_lock import NoLock
from flowport.store.records import Accepted, AcceptOutcome, AttachRules
from tests.runs.samples import RUN
from tests.support.fake_clock import FakeClock


@dataclass
class Bench:
    """Requests whose rules are recorded."""

    clock: FakeClock = field(default_factory=FakeClock)
    rules: list[AttachRules] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.requests = RecentRequests(self.clock, window_seconds=3600)

    async def ask(self, run: Run = RUN, connection: str = "c") -> RunRequest:
        """Have a call accepted, and return it."""
        request = RunRequest("local", connection)
        await self.requests.accept(self._accept, run, request, NoLock(Path()))
        return request

    async def _accept(self, rules: AttachRules) -> AcceptOutcome:
        self.rules.append(rules)
        return Accepted(RUN)


def get_other(n: int) -> Run:
    """Return a run that asks for something else."""
    return replace(RUN, raw_digest=f"r{n}", canonical_digest=f"c{n}")


@pytest.mark.parametrize(
    "equal",
    [RUN, replace(RUN, raw_digest="other words"), replace(RUN, canonical_digest="another definition")],
    ids=["same", "same meaning", "same words"],
)
async def test_an_open_equal_call_is_named(equal: Run) -> None:
    """Its client waits for that run; a call beside it is meant as another run."""
    bench = Bench()
    first = await bench.ask()
    await bench.ask(get_other(1))
    await bench.ask(equal)
    assert bench.rules[-1].connected_call_ids == bench.rules[-1].beside_call_ids == {first.id}


async def test_only_a_recent_call_over_the_same_connection_is_concurrent() -> None:
    """An equal call of another client, or of a minute ago, is a repetition."""
    bench = Bench()
    elsewhere, old = await bench.ask(connection="other"), await bench.ask()
    bench.clock.advance(SIDE_BY_SIDE_SECONDS)
    new = await bench.ask()
    await bench.ask()
    assert bench.rules[-1].connected_call_ids == {elsewhere.id, old.id, new.id}
    assert bench.rules[-1].beside_call_ids == {new.id}


CLOSINGS: list[Callable[[Exchange], None]] = [
    Exchange.note_written,
    Exchange.note_cancelled,
    Exchange.note_disconnected,
]


@pytest.mark.parametrize("close", CLOSINGS, ids=["written", "cancelled", "disconnected"])
async def test_a_call_that_stopped_waiting_is_forgotten(close: Callable[[Exchange], None]) -> None:
    """A server lives for weeks; and a disconnected client must not keep its run from the next call."""
    bench = Bench()
    close((await bench.ask()).exchange)
    assert bench.requests._open == {}
    await bench.ask()
    assert bench.rules[-1].connected_call_ids == frozenset()


async def test_a_client_that_disconnected_before_is_not_remembered() -> None:
    """It disconnected while its call waited for a slot."""
    bench = Bench()
    request = RunRequest("local")
    request.exchange.note_disconnected()
    await bench.requests.accept(bench._accept, RUN, request, NoLock(Path()))
    assert bench.requests._open == {}


async def test_the_rules_of_a_call_do_not_grow_with_the_calls_in_flight() -> None:
    """Five hundred concurrent calls cost five hundred times one call."""
    bench = Bench()
    for n in range(500):
        await bench.ask(get_other(n))
    assert sum(len(rules.connected_call_ids) + len(rules.beside_call_ids) for rules in bench.rules) == 0


async def test_a_call_that_is_submitted_again_does_not_conflict_with_itself() -> None:
    """It is submitted again after the user has confirmed the price."""
    bench = Bench()
    request = await bench.ask()
    await bench.requests.accept(bench._accept, RUN, request.agree_to_price(), NoLock(Path()))
    assert bench.rules[-1].connected_call_ids == frozenset()
    request.exchange.note_written()
    assert bench.requests._open == {}
