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
    refresh,
)
from flowport.network.ratelimit.window import Demand, Grant, admit
from flowport.runtime.clock import Clock

logger = logging.getLogger(__name__)

UNAVAILABLE_SECONDS: Final = 30.0
"""How long a process does not use a file that failed."""

T = TypeVar("T")
Change: TypeAlias = Callable[[AccountRecord], AccountRecord]
"""What a response says about limits, or a waiter that leaves, applied to a record that was refreshed."""


class SharedFile(Protocol):
    """A file of texts that processes share; each change sees all earlier ones."""

    async def change(self, key: str, work: Callable[[str], tuple[str, T]]) -> T:
        """Replace a text, empty at first, by what the work makes of it, and return what else it returned.

        Raises:
            StoreError: The file cannot be used; nothing was changed.
        """

    def post(self, key: str, work: Callable[[str], tuple[str, None]]) -> None:
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
    """The record that all processes of a home share; without its file, that of this process."""

    def __init__(self, file: SharedFile, account_id: str, clock: Clock) -> None:
        """Prepare; the file is not opened before the first request."""
        super().__init__(clock)
        self._file = file
        self._account_id = account_id
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
        counted = count_unrecorded(self._refresh(self._record), self._build_grants(grant.granted + grant.extra))
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
        limits = replace(demand.limits, parts=2)
        grant = await super().exchange(replace(demand, limits=limits))
        now = get_time(self._clock)[1]
        self._uncounted = [*(one for one in self._uncounted if one.until > now), *self._build_grants(grant.granted)]
        return grant

    def _build_grants(self, requests: int) -> tuple[Counted, ...]:
        return (Counted(get_time(self._clock)[1] + SPAN_SECONDS, requests),) if requests else ()

    # The next three run on the file's thread, and use only the clock.

    def _admit(self, demand: Demand, missed: tuple[Counted, ...], text: str) -> tuple[str, Grant]:
        record, grant = admit(self._refresh(count_unrecorded(self._load(text), missed)), demand)
        return dump_record(record), grant

    def _apply(self, change: Change, text: str) -> tuple[str, None]:
        return dump_record(change(self._load(text))), None

    def _read(self, text: str) -> tuple[str, AccountRecord]:
        return text, self._load(text)

    def _load(self, text: str) -> AccountRecord:
        return self._refresh(parse_record(text))

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
