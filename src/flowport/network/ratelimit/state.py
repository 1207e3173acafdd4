"""Keep the record of an account's requests: in this process alone, or where every process of a home or team shares it.

If the shared record is unavailable, requests continue with a part of the limit, because the other processes do the same;
what this process sends meanwhile is counted as soon as the record is available again.

The processes of one machine share its boot clock, so the instants on record mean the same to all of them. Those of
several machines do not: a record that they share comes with the time of its own clock.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from typing import Final, Protocol, TypeAlias, TypeVar

from flowport.domain.errors import StoreError
from flowport.domain.models import BootTime
from flowport.network.ratelimit.learned_limit import LearnedLimit, Mark
from flowport.network.ratelimit.record import (
    SPAN_SECONDS,
    AccountRecord,
    Counted,
    Quota,
    Waiter,
    count_unrecorded,
    refresh,
)
from flowport.network.ratelimit.window import Demand, Grant, admit
from flowport.runtime.clock import Clock

logger = logging.getLogger(__name__)

JITTER_SECONDS: Final = 1.0
"""By how much two readings of another machine's clock may differ, because one came late."""

T = TypeVar("T")
Change: TypeAlias = Callable[[AccountRecord], AccountRecord]
"""What a response says about limits, or a waiter that leaves, applied to a record that was refreshed."""


class SharedFile(Protocol):
    """Texts that processes share, in a file or a database; each change sees all earlier ones.

    What changes a text gets the instant by the clock of the texts; None where the boot clock of this machine serves.
    """

    @property
    def parts(self) -> int:
        """Into how many parts the limit is divided while the file cannot be used; each process has one."""

    @property
    def retry_seconds(self) -> float:
        """How long a process does not use a file that failed."""

    async def change(self, key: str, work: Callable[[str, BootTime | None], tuple[str, T]]) -> T:
        """Replace a text, empty at first, by what the work makes of it, and return what else it returned.

        Raises:
            StoreError: The file cannot be used; nothing was changed.
        """

    def post(self, key: str, work: Callable[[str, BootTime | None], tuple[str, None]]) -> None:
        """Do the same in the background; a file that cannot be used is only logged."""


class LocalState:
    """The record of a process that is alone, in memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._record = AccountRecord()

    @property
    def is_shared(self) -> bool:
        """Whether other processes are counted, as far as is known."""
        return False

    async def exchange(self, demand: Demand) -> Grant:
        """Take what may be sent now. Shield it: a cancelled caller must not lose the tokens of others."""
        self._record, grant = admit(self._refresh(self._record), demand)
        return grant

    def apply(self, change: Change) -> None:
        """Change the record before any later request for tokens; in the background."""
        self._record = change(self._refresh(self._record))

    async def read(self) -> AccountRecord:
        """Return the record as it is now."""
        return self._refresh(self._record)

    def _refresh(self, record: AccountRecord) -> AccountRecord:
        boot_id, now = get_time(self._clock)
        return refresh(record, boot_id=boot_id, now=now)


class SharedState(LocalState):
    """The record that all processes of a home or team share; while it is unavailable, that of this process."""

    def __init__(self, file: SharedFile, account_id: str, clock: Clock) -> None:
        """Prepare; the file is not opened before the first request."""
        super().__init__(clock)
        self._file = file
        self._account_id = account_id
        self._ahead: BootTime | None = None
        """The clock of the file, and how far it is ahead of this machine's; None for the same clock."""
        self._uncounted: list[Counted] = []
        """What was sent while the file could not be used, as long as it counts, by this machine's clock."""
        self._unavailable_until: float | None = None
        """Monotonic; None while the file is in order."""

    @property
    def is_shared(self) -> bool:
        """Whether the file is in order, as far as is known."""
        return self._unavailable_until is None

    async def exchange(self, demand: Demand) -> Grant:
        """Take what may be sent now, from the file or, with a part of the limit, from our own memory."""
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
        record = self._refresh(self._record)
        counted = count_unrecorded(record, _build_grants(grant.granted + grant.extra, record.seen_at))
        self._record = replace(counted, learned=grant.learned)
        return grant

    def apply(self, change: Change) -> None:
        """Change the record, here and for all processes."""
        super().apply(change)
        if not self._is_unavailable():
            self._file.post(self._account_id, partial(self._apply, change))

    async def read(self) -> AccountRecord:
        """Return the record of all processes, or our own when the file cannot be used."""
        if not self._is_unavailable():
            try:
                return await self._file.change(self._account_id, self._read)
            except StoreError as exc:
                self._note_unavailable(exc)
        return await super().read()

    async def _exchange_alone(self, demand: Demand) -> Grant:
        limits = replace(demand.limits, parts=self._file.parts)
        grant = await super().exchange(replace(demand, limits=limits))
        now = get_time(self._clock)[1]
        self._uncounted = [*(one for one in self._uncounted if one.until > now), *_build_grants(grant.granted, now)]
        return grant

    def _refresh(self, record: AccountRecord) -> AccountRecord:
        """Return our own record as it is now by the file's clock, as far as that is known."""
        boot_id, now = get_time(self._clock)
        if self._ahead is not None:
            boot_id, now = self._ahead.boot_id, now + self._ahead.seconds
            if record.boot_id == boot_id and 0 < record.seen_at - now < JITTER_SECONDS:
                now = record.seen_at
        return refresh(record, boot_id=boot_id, now=now)

    # The next four run on the file's thread, and use only the clock.

    def _admit(self, demand: Demand, missed: tuple[Counted, ...], text: str, at: BootTime | None) -> tuple[str, Grant]:
        record = self._load(text, at)
        ahead = self._ahead.seconds if self._ahead is not None else 0.0
        moved = [Counted(one.until + ahead, one.requests) for one in missed]
        whole = refresh(count_unrecorded(record, moved), boot_id=record.boot_id, now=record.seen_at)
        record, grant = admit(whole, demand)
        return dump_record(record), grant

    def _apply(self, change: Change, text: str, at: BootTime | None) -> tuple[str, None]:
        return dump_record(change(self._load(text, at))), None

    def _read(self, text: str, at: BootTime | None) -> tuple[str, AccountRecord]:
        return text, self._load(text, at)

    def _load(self, text: str, at: BootTime | None) -> AccountRecord:
        boot_id, now = get_time(self._clock)
        if at is None:
            return refresh(parse_record(text), boot_id=boot_id, now=now)
        self._ahead = BootTime(at.boot_id, at.seconds - now)
        return refresh(parse_record(text), boot_id=at.boot_id, now=at.seconds)

    def _is_unavailable(self) -> bool:
        return self._unavailable_until is not None and self._clock.monotonic() < self._unavailable_until

    def _note_unavailable(self, error: StoreError) -> None:
        if self._unavailable_until is None:
            logger.warning(
                "the request limit cannot be shared with other programs for now, so a part of it is used (1/%d): %s",
                self._file.parts,
                error.problem,
            )
        self._unavailable_until = self._clock.monotonic() + self._file.retry_seconds

    def _note_available(self) -> None:
        self._uncounted.clear()
        if self._unavailable_until is not None:
            self._unavailable_until = None
            logger.warning("the request limit is shared with other programs again")


def _build_grants(requests: int, now: float) -> tuple[Counted, ...]:
    return (Counted(now + SPAN_SECONDS, requests),) if requests else ()


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
