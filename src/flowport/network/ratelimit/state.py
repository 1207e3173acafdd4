"""Keep the record of an account's requests: in this process alone, or in a file that every process of a home shares.

If the shared file is unavailable, requests continue with half the limit, because the other processes do the same; what
this process sends meanwhile is counted in the file as soon as it is available again.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from typing import Final, Protocol, TypeAlias, TypeVar

from flowport.domain.errors import StoreError
from flowport.network.ratelimit.learned_limit import LearnedLimit, Mark
from flowport.network.ratelimit.record import (
    SPAN_SECONDS,
    AccountRecord,
    Counted,
    Quota,
    Waiter,
    count_unrecorded,
    leave,
    refresh,
)
from flowport.network.ratelimit.window import Demand, Grant, admit
from flowport.runtime.clock import Clock

logger = logging.getLogger(__name__)

UNAVAILABLE_SECONDS: Final = 30.0
"""How long a process does not use a file that failed."""

T = TypeVar("T")
LimitFeedback: TypeAlias = Callable[[AccountRecord], AccountRecord]
"""What a response says about limits, applied to a record that was refreshed."""


class RateState(Protocol):
    """The record of one account, as the rate limiter of one process needs it."""

    @property
    def is_shared(self) -> bool:
        """Whether other processes are counted, as far as is known."""
        ...

    async def exchange(self, demand: Demand) -> Grant:
        """Take what may be sent now. Shield it: a cancelled caller must not lose the tokens of others."""
        ...

    def learn(self, feedback: LimitFeedback) -> None:
        """Apply what a response says about limits, before any later request for tokens; in the background."""
        ...

    def leave(self, process_id: str) -> None:
        """Record that the process no longer waits."""
        ...

    async def read(self) -> AccountRecord:
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


class LocalState:
    """The record of a process that is alone, in memory."""

    is_shared = False

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._record = AccountRecord()

    async def exchange(self, demand: Demand) -> Grant:
        """Take what may be sent now."""
        self._record, grant = admit(self._refresh(), demand)
        return grant

    def learn(self, feedback: LimitFeedback) -> None:
        """Apply what a response says about limits."""
        self._record = feedback(self._refresh())

    def leave(self, process_id: str) -> None:
        """Record that the process no longer waits."""
        self._record = leave(self._record, process_id)

    async def read(self) -> AccountRecord:
        """Return the record as it is now."""
        return self._refresh()

    def _refresh(self) -> AccountRecord:
        boot_id, now = get_time(self._clock)
        return refresh(self._record, boot_id=boot_id, now=now)


class SharedState:
    """The record that all processes of a home share; without its file, that of this process."""

    def __init__(self, file: SharedFile, account_id: str, clock: Clock) -> None:
        """Prepare; the file is not opened before the first request."""
        self._file = file
        self._account_id = account_id
        self._clock = clock
        self._local = LocalState(clock)
        self._uncounted: list[Counted] = []
        """What was sent while the file could not be used, as long as it counts."""
        self._unavailable_until: float | None = None
        """Monotonic; None while the file is in order."""

    @property
    def is_shared(self) -> bool:
        """Whether the file is in order, as far as is known."""
        return self._unavailable_until is None

    async def exchange(self, demand: Demand) -> Grant:
        """Take what may be sent now, from the file or, with half of the limit, from our own memory."""
        if self._is_unavailable():
            return await self._exchange_alone(demand)
        missed = tuple(self._uncounted)
        try:
            grant = await self._file.change(self._account_id, partial(self._admit, demand, missed))
        except StoreError as exc:
            self._note_unavailable(exc)
            return await self._exchange_alone(demand)
        self._note_available()
        # In case the file fails later.
        self._local.learn(
            partial(_follow, grants=self._build_grants(grant.granted + grant.extra), learned=grant.learned)
        )
        return grant

    def learn(self, feedback: LimitFeedback) -> None:
        """Apply what a response says about limits, here and for all processes."""
        self._local.learn(feedback)
        if not self._is_unavailable():
            self._file.post(self._account_id, partial(self._apply, feedback))

    def leave(self, process_id: str) -> None:
        """Record that the process no longer waits."""
        self._local.leave(process_id)
        if not self._is_unavailable():
            self._file.post(self._account_id, partial(self._apply, partial(leave, process_id=process_id)))

    async def read(self) -> AccountRecord:
        """Return the record of all processes, or our own when the file cannot be used."""
        if not self._is_unavailable():
            try:
                return await self._file.change(self._account_id, self._read)
            except StoreError as exc:
                self._note_unavailable(exc)
        return await self._local.read()

    async def _exchange_alone(self, demand: Demand) -> Grant:
        limits = replace(demand.limits, parts=2)
        grant = await self._local.exchange(replace(demand, limits=limits))
        now = get_time(self._clock)[1]
        self._uncounted = [*(one for one in self._uncounted if one.until > now), *self._build_grants(grant.granted)]
        return grant

    def _build_grants(self, requests: int) -> tuple[Counted, ...]:
        return (Counted(get_time(self._clock)[1] + SPAN_SECONDS, requests),) if requests else ()

    # The next four run on the file's thread, and use only the clock.

    def _admit(self, demand: Demand, missed: tuple[Counted, ...], text: str) -> tuple[str, Grant]:
        record, grant = admit(self._refresh(count_unrecorded(self._load(text), missed)), demand)
        return dump_record(record), grant

    def _apply(self, feedback: LimitFeedback, text: str) -> tuple[str, None]:
        return dump_record(feedback(self._load(text))), None

    def _read(self, text: str) -> tuple[str, AccountRecord]:
        return text, self._load(text)

    def _load(self, text: str) -> AccountRecord:
        return self._refresh(parse_record(text))

    def _refresh(self, record: AccountRecord) -> AccountRecord:
        boot_id, now = get_time(self._clock)
        return refresh(record, boot_id=boot_id, now=now)

    def _is_unavailable(self) -> bool:
        return self._unavailable_until is not None and self._clock.monotonic() < self._unavailable_until

    def _note_unavailable(self, error: StoreError) -> None:
        if self._unavailable_until is None:
            logger.warning(
                "the request limit cannot be shared with other programs for now, so half of it is used: %s",
                error.problem,
            )
        self._unavailable_until = self._clock.monotonic() + UNAVAILABLE_SECONDS

    def _note_available(self) -> None:
        self._uncounted.clear()
        if self._unavailable_until is not None:
            self._unavailable_until = None
            logger.warning("the request limit is shared with other programs again")


def _follow(record: AccountRecord, *, grants: tuple[Counted, ...], learned: LearnedLimit) -> AccountRecord:
    """Take over the shared limit, and count what was granted."""
    return replace(count_unrecorded(record, grants), learned=learned)


def get_time(clock: Clock) -> tuple[str, float]:
    """Return the boot id of the machine and seconds of a clock that every process shares and that cannot be set.

    Without a boot clock the monotonic one serves: it restarts with the machine, so an instant in the future is of an
    earlier boot.
    """
    boot = clock.boot_time()
    return ("", clock.monotonic()) if boot is None else (boot.boot_id, boot.seconds)


def dump_record(record: AccountRecord) -> str:
    """Return a record as text."""
    return json.dumps([getattr(record, one.name) for one in fields(record)])


def parse_record(text: str) -> AccountRecord:
    """Parse a record; an unknown form, which another version may have written, is an empty one."""
    try:
        boot_id, seen_at, granted_at, grants, day, waiting, *numbers, minute, day_quota = json.loads(text)
        paused_until, paced_until, learned, delay, delay_until, row_granted_at, urgent_until = numbers
        proven, marks, *learned_numbers = learned
        return AccountRecord(
            boot_id=boot_id,
            seen_at=seen_at,
            granted_at=granted_at,
            grants=tuple(Counted(*one) for one in grants),
            day=tuple(Counted(*one) for one in day),
            waiting=tuple(Waiter(*one) for one in waiting),
            paused_until=paused_until,
            paced_until=paced_until,
            learned=LearnedLimit(proven, tuple(Mark(*one) for one in marks), *learned_numbers),
            delay=delay,
            delay_until=delay_until,
            row_granted_at=row_granted_at,
            urgent_until=urgent_until,
            minute_quota=Quota(*minute),
            day_quota=Quota(*day_quota),
        )
    except (ValueError, TypeError):
        return AccountRecord()
