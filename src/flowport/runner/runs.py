"""The runner: takes prepared calls, owns their runs, and answers those who ask how they are doing."""

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final

import anyio

from flowport.accounts import OpenAccount
from flowport.clock import Clock
from flowport.errors import FlowportError, LedgerError
from flowport.ledger.interface import Ledger
from flowport.model import Run, RunState
from flowport.runner.board import Board, BoardEntry
from flowport.runner.following import RunFollower
from flowport.runner.preparing import PreparedCall
from flowport.runner.saving import OutputSaver
from flowport.runner.starting import RunStarter
from flowport.supervisor import Supervisor

logger = logging.getLogger(__name__)

_ID_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without the letters and digits that people mistake for one another."""
_ID_LENGTH: Final = 10


class CancelOutcome(Enum):
    """What came of the wish to cancel a run."""

    CANCELLED = "cancelled"
    """Nothing had been sent to the provider; nothing is charged."""
    CANNOT = "cannot"
    """The provider cannot cancel; the run goes on."""
    UNFOLLOWED = "unfollowed"
    """The provider cannot cancel; we no longer look at the run."""
    ALREADY_OVER = "already over"


@dataclass(slots=True)
class _Ticket:
    """How a handler learns what became of its call. The handler may be gone; the ticket then goes unread."""

    accepted: anyio.Event = field(default_factory=anyio.Event)
    """Set when the ledger has the run or could not take it."""
    error: FlowportError | None = None
    """Why the ledger does not have the run; None when it has."""


class Runner:
    """Owns the runs of this process. Handlers only wait: none of their fates touches a run."""

    def __init__(
        self,
        *,
        accounts: Mapping[str, OpenAccount],
        ledger: Ledger,
        board: Board,
        clock: Clock,
        supervisor: Supervisor,
        starter: RunStarter,
        follower: RunFollower,
        saver: OutputSaver,
        process_id: str,
    ) -> None:
        self._accounts = accounts
        self._ledger = ledger
        self._board = board
        self._clock = clock
        self._supervisor = supervisor
        self._starter = starter
        self._follower = follower
        self._saver = saver
        self._process_id = process_id

    async def submit(self, call: PreparedCall, *, owner: str) -> Run:
        """Accept a call and start its run in the background; return the run as soon as it is recorded.

        Raises:
            LedgerError: It could not be recorded, so nothing is sent.
        """
        run = self._build_run(call, owner)
        ticket = _Ticket()

        async def give_up() -> None:
            """Answer the handler and those who wait."""
            if not ticket.accepted.is_set():
                ticket.error = LedgerError("Flowport made a mistake", "Its log has the details.")
                ticket.accepted.set()
            await self._note_crash(run.id)

        self._supervisor.spawn(f"run {run.id}", self._carry_out, run, call, ticket, on_crash=give_up)
        await ticket.accepted.wait()
        if ticket.error is not None:
            raise ticket.error
        return run

    def get_entry(self, run_id: str) -> BoardEntry | None:
        """Return the live standing of a run, or None when this process does not follow it."""
        return self._board.get(run_id)

    def follow_again(self, run: Run) -> None:
        """Look at a run that another process, or nobody, follows. Looking is free and harms nothing."""
        if self._board.get(run.id) is not None or run.account_id not in self._accounts:
            return
        if run.state.is_at_provider and run.provider_run_id:
            followed = replace(run, is_followed=True)
            self._board.put(followed, noted_at=self._clock.monotonic())
            self._spawn_watch(followed, self._take_up, followed)

    def _spawn_watch(self, run: Run, work: Callable[..., Awaitable[None]], *args: Any) -> None:
        async def give_up() -> None:
            """Wake those who wait."""
            await self._note_crash(run.id)

        self._supervisor.spawn(f"run {run.id}", work, *args, on_crash=give_up)

    async def cancel(self, run: Run, *, should_stop_following: bool) -> CancelOutcome:
        """End a run as far as that is possible.

        Raises:
            LedgerError: The wish could not be recorded.
        """
        entry = self._board.get(run.id)
        standing = entry.run if entry is not None else run
        if standing.state.is_final:
            return CancelOutcome.ALREADY_OVER
        if standing.state is RunState.ACCEPTED and await self._cancel_unsent(standing):
            return CancelOutcome.CANCELLED
        if not should_stop_following:
            return CancelOutcome.CANNOT
        await self._ledger.note_followed(run.id, is_followed=False)
        self._board.update(replace(standing, is_followed=False))
        self._board.remove(run.id)
        return CancelOutcome.UNFOLLOWED

    def stop_unwanted(self, run: Run) -> None:
        """Cancel a run whose caller has gone, if nothing was sent yet; for `FLOWPORT_ON_CANCEL=stop`."""
        self._supervisor.spawn(f"cancel of run {run.id}", self._cancel_quietly, run)

    async def _cancel_quietly(self, run: Run) -> None:
        await self._cancel_unsent(run)

    async def _cancel_unsent(self, run: Run) -> bool:
        now = self._clock.now()
        failure = "The run was cancelled before anything was sent; nothing was charged."
        is_written = await self._ledger.note_cancelled(run.id, failure=failure, at=now)
        if is_written:
            over = replace(run, state=RunState.CANCELLED, failure=failure, finished_at=now, reserved_credits=0.0)
            self._board.update(over)
        return is_written

    def _build_run(self, call: PreparedCall, owner: str) -> Run:
        price = call.app.price_credits
        return Run(
            id="run_" + "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH)),
            account_id=call.account_id,
            owner=owner,
            provider=call.app.provider,
            app_id=call.app.id,
            app_name=call.app_name,
            tool_name=call.tool_name,
            arguments_json=call.arguments_json,
            raw_digest=call.raw_digest,
            canonical_digest=call.canonical_digest,
            state=RunState.ACCEPTED,
            accepted_at=self._clock.now(),
            process_id=self._process_id,
            price_credits=price,
            reserved_credits=price or 0.0,
        )

    async def _carry_out(self, run: Run, call: PreparedCall, ticket: _Ticket) -> None:
        try:
            await self._ledger.accept(run)
        except LedgerError as exc:
            ticket.error = exc
            ticket.accepted.set()
            return
        self._board.put(run, noted_at=self._clock.monotonic())
        ticket.accepted.set()
        account = self._accounts[run.account_id]
        try:
            started = await self._starter.start(run, call, account)
        except FlowportError as exc:
            # Before `starting` was written nothing was sent; after it, every outcome is a value and not an error.
            started = await self._fail_unsent(run, str(exc))
        self._board.update(started)
        if started.state.is_at_provider:
            # In a task of its own, so that the files of the call do not stay in memory while the run goes on.
            self._spawn_watch(started, self._see_through, started, account)
        else:
            self._board.remove(run.id)

    async def _see_through(self, run: Run, account: OpenAccount) -> None:
        over = await self._follower.follow(run, account)
        if not over.state.is_final:
            return
        if self._saver.is_wanted(over):
            self._board.update(over, is_saving=True)
            over = await self._saver.save_all(over, account)
        self._board.update(over, is_saving=False)
        self._board.remove(run.id)

    async def _take_up(self, run: Run) -> None:
        try:
            await self._ledger.note_followed(run.id, is_followed=True)
        except LedgerError as exc:
            logger.warning("run %s is followed again, which could not be written down: %s", run.id, exc)
        await self._see_through(run, self._accounts[run.account_id])

    async def _fail_unsent(self, run: Run, reason: str) -> Run:
        now = self._clock.now()
        failed = replace(run, state=RunState.FAILED, failure=reason, finished_at=now, reserved_credits=0.0)
        try:
            await self._ledger.note_finished(
                run.id, state=failed.state, outputs=(), failure=reason, spent_credits=0.0, at=now
            )
        except LedgerError as exc:
            self._board.note_unwritten(run.id)
            logger.error("run %s was not sent, which could not be written down: %s", run.id, exc)  # noqa: TRY400
        return failed

    async def _note_crash(self, run_id: str) -> None:
        """Say what is certain about a run whose task died of our own bug, and wake those who wait for it."""
        entry = self._board.get(run_id)
        if entry is None:
            return
        standing = entry.run
        if standing.state is RunState.STARTING:
            standing = await self._give_up_starting(standing)
        elif standing.state is RunState.ACCEPTED:
            standing = await self._fail_unsent(standing, "Flowport made a mistake before anything was sent.")
        self._board.update(standing, is_saving=False, problem="Flowport made a mistake while it followed this run.")
        self._board.remove(run_id)

    async def _give_up_starting(self, run: Run) -> Run:
        now = self._clock.now()
        failure = "Flowport made a mistake while it started this run, so it may or may not be running."
        unknown = replace(run, state=RunState.UNKNOWN, failure=failure, finished_at=now)
        unknown = replace(unknown, spent_credits=run.reserved_credits, reserved_credits=0.0)
        try:
            await self._ledger.note_unknown(run.id, failure=failure, start_answer="", at=now)
        except LedgerError as exc:
            self._board.note_unwritten(run.id)
            logger.error("the fate of run %s is unknown, which could not be written down: %s", run.id, exc)  # noqa: TRY400
        return unknown
