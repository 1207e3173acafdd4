"""Calls that wait no longer, noted a little after their answers."""

import anyio

from flowport.runner.leaving import CallLeaver
from flowport.supervisor import Supervisor
from tests.fake_clock import FakeClock
from tests.scripted import FaultyLedger, wait_until


async def test_a_call_whose_answer_is_not_written_waits_on(ledger: FaultyLedger) -> None:
    """Should the process be killed now, its run has not been seen."""
    clock, unwritten = FakeClock(is_automatic=False), {"call_b"}
    async with Supervisor() as supervisor:
        leaver = CallLeaver(ledger, clock, supervisor)
        leaver.get_unwritten = lambda: unwritten
        left: list[str] = []

        async def leave(*call_ids: str) -> None:
            """Keep what is noted."""
            left.extend(call_ids)

        ledger.leave = leave  # type: ignore[method-assign]  # what is noted in the end is all that counts here
        for call_id in ("call_a", "call_b", "call_c"):
            leaver.leave_when_written(call_id)
        for _ in range(5):
            await anyio.wait_all_tasks_blocked()
            clock.advance(60.0)
        await anyio.wait_all_tasks_blocked()
        assert left == ["call_a", "call_c"]
        unwritten.clear()
        clock.advance(60.0)
        await wait_until(lambda: left[-1] == "call_b")
