"""Where the record of an account's requests is kept: in this process alone, or in a file that every process of a home shares.

A file in trouble stops no request. This process then goes by what it has sent itself, with half of the limit, because
the others do the same; what it sends meanwhile is counted in the file as soon as that can be had again.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from typing import Final, Protocol, TypeAlias, TypeVar

from flowport.domain.errors import StoreError
from flowport.network.ratelimit.learned_limit import LearnedLimit, Mark
from flowport.network.ratelimit.window import Ask, Reply, admit
from flowport.network.ratelimit.window_record import (
    SPAN_SECONDS,
    AccountRecord,
    Counted,
    Quota,
    Rival,
    count_elsewhere,
    leave,
    refresh,
)
from flowport.runtime.clock import Clock

logger = logging.getLogger(__name__)

TROUBLE_SECONDS: Final = 30.0
"""How long a process keeps away from a file that could not be used."""

T = TypeVar("T")
LimitFeedback: TypeAlias = Callable[[AccountRecord], AccountRecord]
"""What an answer teaches, to be applied to a record that was refreshed."""


class Window(Protocol):
    """The record of one account, as the budget of one process needs it."""

    @property
    def is_shared(self) -> bool:
        """Whether other processes are counted, as far as is known."""
        ...

    async def exchange(self, ask: Ask) -> Reply:
        """Take what may be sent now. Somebody else's cancellation must not lose it."""
        ...

    def learn(self, lesson: LimitFeedback) -> None:
        """Apply what an answer teaches, before anything that is asked for later; nobody waits for it."""
        ...

    def leave(self, process_id: str) -> None:
        """Note that the process waits for nothing more."""
        ...

    async def look(self) -> AccountRecord:
        """Return the record as it is now."""
        ...


class SharedFile(Protocol):
    """A file of texts that processes share; each change sees all earlier ones."""

    async def change(self, key: str, work: Callable[[str], tuple[str, T]]) -> T:
        """Replace a text, empty at first, by what the work makes of it, and return what else it returned.

        Raises:
            StoreError: The file cannot be used; nothing was changed.
        """
        ...

    def post(self, key: str, work: Callable[[str], tuple[str, None]]) -> None:
        """Do the same in the background; a file that cannot be used is only logged."""
        ...


class OwnWindow:
    """The record of a process that is alone, in memory."""

    is_shared = False

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._record = AccountRecord()

    async def exchange(self, ask: Ask) -> Reply:
        """Take what may be sent now."""
        self._record, reply = admit(self._refresh(), ask)
        return reply

    def learn(self, lesson: LimitFeedback) -> None:
        """Apply what an answer teaches."""
        self._record = lesson(self._refresh())

    def leave(self, process_id: str) -> None:
        """Note that the process waits for nothing more."""
        self._record = leave(self._record, process_id)

    async def look(self) -> AccountRecord:
        """Return the record as it is now."""
        return self._refresh()

    def _refresh(self) -> AccountRecord:
        boot_id, now = tell_time(self._clock)
        return refresh(self._record, boot_id=boot_id, now=now)


class SharedWindow:
    """The record that all processes of a home share; its own memory stands in for a file that cannot be used."""

    def __init__(self, file: SharedFile, account_id: str, clock: Clock) -> None:
        """Prepare; the file is not opened before the first request."""
        self._file = file
        self._account_id = account_id
        self._clock = clock
        self._own = OwnWindow(clock)
        self._uncounted: list[Counted] = []
        """What was sent while the file could not be used, as long as it counts."""
        self._troubled_until: float | None = None
        """Monotonic; None while the file is in order."""

    @property
    def is_shared(self) -> bool:
        """Whether the file is in order, as far as is known."""
        return self._troubled_until is None

    async def exchange(self, ask: Ask) -> Reply:
        """Take what may be sent now, from the file or, with half of the limit, from our own memory."""
        if self._is_away():
            return await self._exchange_alone(ask)
        missed = tuple(self._uncounted)
        try:
            reply = await self._file.change(self._account_id, partial(self._admit, ask, missed))
        except StoreError as exc:
            self._note_trouble(exc)
            return await self._exchange_alone(ask)
        self._note_order()
        # For the day on which the file fails.
        self._own.learn(partial(_follow, grants=self._build_grants(reply.granted + reply.extra), learned=reply.learned))
        return reply

    def learn(self, lesson: LimitFeedback) -> None:
        """Apply what an answer teaches, here and for all."""
        self._own.learn(lesson)
        if not self._is_away():
            self._file.post(self._account_id, partial(self._apply, lesson))

    def leave(self, process_id: str) -> None:
        """Note that the process waits for nothing more."""
        self._own.leave(process_id)
        if not self._is_away():
            self._file.post(self._account_id, partial(self._apply, partial(leave, process_id=process_id)))

    async def look(self) -> AccountRecord:
        """Return the record of all processes, or our own when the file cannot be used."""
        if not self._is_away():
            try:
                return await self._file.change(self._account_id, self._read)
            except StoreError as exc:
                self._note_trouble(exc)
        return await self._own.look()

    async def _exchange_alone(self, ask: Ask) -> Reply:
        limits = replace(ask.limits, parts=2)
        reply = await self._own.exchange(replace(ask, limits=limits))
        now = tell_time(self._clock)[1]
        self._uncounted = [*(one for one in self._uncounted if one.until > now), *self._build_grants(reply.granted)]
        return reply

    def _build_grants(self, requests: int) -> tuple[Counted, ...]:
        return (Counted(tell_time(self._clock)[1] + SPAN_SECONDS, requests),) if requests else ()

    # The next four are called on the file's thread, and touch nothing of ours but the clock.

    def _admit(self, ask: Ask, missed: tuple[Counted, ...], text: str) -> tuple[str, Reply]:
        record, reply = admit(self._refresh(count_elsewhere(self._load(text), missed)), ask)
        return dump_record(record), reply

    def _apply(self, lesson: LimitFeedback, text: str) -> tuple[str, None]:
        return dump_record(lesson(self._load(text))), None

    def _read(self, text: str) -> tuple[str, AccountRecord]:
        return text, self._load(text)

    def _load(self, text: str) -> AccountRecord:
        return self._refresh(parse_record(text))

    def _refresh(self, record: AccountRecord) -> AccountRecord:
        boot_id, now = tell_time(self._clock)
        return refresh(record, boot_id=boot_id, now=now)

    def _is_away(self) -> bool:
        return self._troubled_until is not None and self._clock.monotonic() < self._troubled_until

    def _note_trouble(self, error: StoreError) -> None:
        if self._troubled_until is None:
            logger.warning(
                "the request budget cannot be shared with other programs for now, so half of it is used: %s",
                error.problem,
            )
        self._troubled_until = self._clock.monotonic() + TROUBLE_SECONDS

    def _note_order(self) -> None:
        self._uncounted.clear()
        if self._troubled_until is not None:
            self._troubled_until = None
            logger.warning("the request budget is shared with other programs again")


def _follow(record: AccountRecord, *, grants: tuple[Counted, ...], learned: LearnedLimit) -> AccountRecord:
    """Take over what the record of all processes says of the limit, and count what was granted there."""
    return replace(count_elsewhere(record, grants), learned=learned)


def tell_time(clock: Clock) -> tuple[str, float]:
    """Return a boot of the machine and seconds of a clock that every process shares and nobody sets.

    Where there is no boot clock, the monotonic one is as good: it begins anew with the machine, so an instant that lies
    ahead is of an earlier boot.
    """
    boot = clock.boot_time()
    return ("", clock.monotonic()) if boot is None else (boot.boot_id, boot.seconds)


def dump_record(record: AccountRecord) -> str:
    """Return a record as text."""
    return json.dumps([getattr(record, one.name) for one in fields(record)])


def parse_record(text: str) -> AccountRecord:
    """Return the record of a text; an empty one for what is none, which another version may have written."""
    try:
        boot_id, seen_at, granted_at, grants, day, waiting, *numbers, minute, told_day = json.loads(text)
        paused_until, paced_until, learned, delay, delay_until, row_granted_at, urgent_until = numbers
        proven, marks, *learned_numbers = learned
        return AccountRecord(
            boot_id=boot_id,
            seen_at=seen_at,
            granted_at=granted_at,
            grants=tuple(Counted(*one) for one in grants),
            day=tuple(Counted(*one) for one in day),
            waiting=tuple(Rival(*one) for one in waiting),
            paused_until=paused_until,
            paced_until=paced_until,
            learned=LearnedLimit(proven, tuple(Mark(*one) for one in marks), *learned_numbers),
            delay=delay,
            delay_until=delay_until,
            row_granted_at=row_granted_at,
            urgent_until=urgent_until,
            told_minute=Quota(*minute),
            told_day=Quota(*told_day),
        )
    except (ValueError, TypeError):
        return AccountRecord()
