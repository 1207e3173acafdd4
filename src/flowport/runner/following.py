"""Look at a run until it is over. Whatever a look fails of, the run is not given up: it is paid for."""

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from flowport.accounts import OpenAccount
from flowport.clock import Clock
from flowport.errors import ProviderError
from flowport.faultpoints import FaultPoint, reach
from flowport.ledger.interface import Ledger
from flowport.model import Run, RunState
from flowport.providers.interface import RunLook
from flowport.runner.board import Board
from flowport.runner.looking import fetch_look, is_unknown_there
from flowport.runner.writing import RunWriter, Written
from flowport.schedule import LOST_AFTER_SECONDS, Pace, get_next_pause

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Followed:
    """How following a run has ended."""

    run: Run
    is_ours: bool
    """Whether this process wrote the end, and so has its outputs to save."""


class RunFollower:
    """Follows started runs to their end."""

    def __init__(
        self,
        ledger: Ledger,
        board: Board,
        clock: Clock,
        pace: Pace,
        writer: RunWriter,
        *,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Make a follower; `draw` gives a number from 0 to 1, by chance, that spreads the looks."""
        self._ledger = ledger
        self._writer = writer
        self._board = board
        self._clock = clock
        self._pace = pace
        self._draw = draw
        self._unheard: set[tuple[str, str]] = set()

    async def follow(self, run: Run, account: OpenAccount) -> Followed:
        """Return the run when it is over, or as it stands when somebody asked to stop following it."""
        entry = self._board.get(run.id)
        looks = failures = 0
        lost_since: float | None = None
        while True:
            live, chance = self._board.count_live(), self._draw()
            await self._clock.sleep(
                get_next_pause(self._pace, looks=looks, failures=failures, live_runs=live, chance=chance)
            )
            # Whoever stopped following and began again has an entry and a follower of its own.
            if entry is None or self._board.get(run.id) is not entry or not entry.run.is_followed:
                return Followed(run, is_ours=False)
            looks += 1
            reach(FaultPoint.WHILE_FOLLOWING)
            try:
                look = await self._look(run, account)
            except ProviderError as exc:
                failures += 1
                now = self._clock.monotonic()
                lost_since = (now if lost_since is None else lost_since) if is_unknown_there(exc) else None
                if lost_since is not None and now - lost_since >= LOST_AFTER_SECONDS:
                    return await self._finish(run, RunLook(RunState.FAILED), failure=_format_lost(account))
                self._board.update(run, problem=f"{exc.explanation} Flowport looks again by itself.")
                await self._writer.write_waiting(run)
                continue
            failures, lost_since = 0, None
            if look.state.is_final:
                return await self._finish(run, look, failure=_format_failure(account, look))
            run = await self._note_look(run, look)

    async def _look(self, run: Run, account: OpenAccount) -> RunLook:
        look = await fetch_look(run, account, self._clock)
        unheard = (account.provider.title, look.unheard_status)
        if look.unheard_status and unheard not in self._unheard:
            self._unheard.add(unheard)
            logger.info("%s has called a run %r; that counts as running", *unheard)
        return look

    async def _note_look(self, run: Run, look: RunLook) -> Run:
        now = self._clock.now()
        seen = replace(run, state=look.state)
        if look.state is RunState.RUNNING and run.running_at is None:
            seen = replace(seen, running_at=now)
        if look.state is run.state:
            await self._writer.write_waiting(run)
        else:
            await self._writer.write(seen, partial(self._ledger.note_look, run.id, state=look.state, at=now))
        self._board.update(seen)
        return seen

    async def _finish(self, run: Run, look: RunLook, *, failure: str) -> Followed:
        """Write the end down. The price counts as spent whatever the end: no provider here says that a failure is free."""
        now = self._clock.now()
        if (entry := self._board.get(run.id)) is not None:
            entry.over_after_seconds = self._clock.monotonic() - entry.noted_at
        over = replace(
            run,
            state=look.state,
            outputs=look.outputs,
            failure=failure,
            finished_at=now,
            # The provider's own word where it has one: of a run that was cancelled it may give a part back.
            spent_credits=(run.price_credits or 0.0) if look.cost_credits is None else look.cost_credits,
            reserved_credits=0.0,
        )
        change = partial(self._ledger.note_finished, run.id, state=over.state, outputs=over.outputs, failure=failure)
        written = await self._writer.write(over, partial(change, spent_credits=over.spent_credits, at=now))
        if written is Written.REFUSED:
            # Another process wrote the end before us, and saves the outputs.
            return Followed(over, is_ours=False)
        return Followed(over, is_ours=True)


def _format_lost(account: OpenAccount) -> str:
    return f"{account.provider.title} no longer knows this run, so its result cannot be had through Flowport."


def _format_failure(account: OpenAccount, look: RunLook) -> str:
    title = account.provider.title
    detail = f' {title} says: "{look.detail}"' if look.detail else f" {title} does not say why."
    match look.state:
        case RunState.FAILED:
            return f"The app failed.{detail}"
        case RunState.PARTIAL:
            return f"Some steps of the app failed; what it made is here.{detail}"
        case RunState.CANCELLED:
            return "The run was cancelled at the provider." + (detail if look.detail else "")
        case RunState.SUCCEEDED if not look.outputs:
            return f"The app finished, but {title} handed over no result that Flowport can read."
        case _:
            return ""
