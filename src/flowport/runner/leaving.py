"""Note that calls wait no longer: one at once when its client has gone, those that were answered a little later, together.

And note that an answer did not arrive after all.
"""

import logging
from collections import deque
from collections.abc import Callable, Collection
from typing import Final

import anyio

from flowport.clock import Clock
from flowport.errors import LedgerError
from flowport.ledger.interface import Ledger
from flowport.supervisor import Supervisor

logger = logging.getLogger(__name__)

WRITING_SECONDS: Final = 5.0
"""How long the answer to a call may take from our hands to the client. What is not known to be unwritten by then counts as
written, should the process be killed later."""

GATHERING_SECONDS: Final = 1.0
"""Calls that are over within so long are noted in one change: hundreds may be answered at once."""


class CallLeaver:
    """Notes in the ledger, in the background, which calls are over."""

    def __init__(self, ledger: Ledger, clock: Clock, supervisor: Supervisor) -> None:
        self._ledger = ledger
        self._clock = clock
        self._supervisor = supervisor
        self._answered: deque[tuple[float, str]] = deque()
        """Monotonic seconds at which each answer was handed over, and the call, oldest first."""
        self._is_waiting = False
        self.get_unwritten: Callable[[], Collection[str]] = frozenset
        """Returns the calls whose answers are certainly not written yet, where anybody can tell."""

    def leave(self, call_id: str) -> None:
        """Note that a call waits no longer."""
        self._supervisor.spawn(f"end of {call_id}", self._note, call_id)

    def leave_when_written(self, call_id: str) -> None:
        """Note that a call waits no longer once its answer, which was handed over just now, must have been written."""
        self._answered.append((self._clock.monotonic(), call_id))
        if not self._is_waiting:
            self._is_waiting = True
            self._supervisor.spawn("ends of answered calls", self._leave_answered)

    def take_back(self, run_id: str) -> None:
        """Note that the answer which held a run's outputs did not arrive."""
        self._supervisor.spawn(f"unseen {run_id}", self._take_back, run_id)

    async def _take_back(self, run_id: str) -> None:
        try:
            await self._ledger.note_unseen(run_id)
        except LedgerError as exc:
            logger.warning("that run %s was not seen after all could not be noted: %s", run_id, exc)

    async def _leave_answered(self) -> None:
        try:
            while self._answered:
                due_at = self._answered[0][0] + WRITING_SECONDS + GATHERING_SECONDS
                await self._clock.sleep(max(0.0, due_at - self._clock.monotonic()))
                before = self._clock.monotonic() - WRITING_SECONDS
                await self._note(*self._take_answered(before=before, unwritten=self.get_unwritten()))
        finally:
            self._is_waiting = False
            # Also at our end: it comes when the client has gone, and what was not written then is taken back by name.
            with anyio.CancelScope(shield=True):
                await self._note(*self._take_answered(before=float("inf"), unwritten=frozenset()))

    def _take_answered(self, *, before: float, unwritten: Collection[str]) -> list[str]:
        due: list[str] = []
        while self._answered and self._answered[0][0] <= before:
            due.append(self._answered.popleft()[1])
        self._answered.extend((self._clock.monotonic(), call_id) for call_id in due if call_id in unwritten)
        return [call_id for call_id in due if call_id not in unwritten]

    async def _note(self, *call_ids: str) -> None:
        if not call_ids:
            return
        try:
            await self._ledger.leave(*call_ids)
        except LedgerError as exc:
            logger.warning("that %d calls wait no longer could not be noted: %s", len(call_ids), exc)
