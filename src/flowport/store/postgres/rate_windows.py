"""The request windows of accounts, in a row each, which replicas and workers change one after the other.

One connection of its own and a thread, beside the pool: a store that is busy, or a loop that lags, must not hold a row
that every other process waits for. What comes meanwhile for the same account is done in the same transaction, which takes
two round trips. Nothing waits for the disk: a window that a crash of the database loses is less than a second of it.

Machines have clocks of their own, so the row carries the time. It goes on with the database's clock. When that one is set
back, the row's stands still for a moment; when it is set forward, a process notices by how long it knows to have waited,
and does not follow. Otherwise each would void what the others have sent.
"""

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final, Generic, TypeAlias, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from flowport.domain.errors import StoreError
from flowport.domain.models import BootTime
from flowport.runtime.clock import Clock, SystemClock
from flowport.store.postgres.problems import build_error, build_unreachable_error

logger = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 1.0
"""How long a change may take; it usually takes a few thousandths of that."""

_SLICES: Final = 5
"""Patience is counted in so many parts: a process that was stopped meanwhile loses one of them and not all."""

HOLD_SECONDS: Final = 0.4
"""How long a process may keep a row. The database cuts off one that was stopped in the middle, before others give up."""

RETRY_SECONDS: Final = 1.0
"""How long a process goes by itself after a failure. An attempt costs nothing but a thread's time."""

CLOCK: Final = "database"
"""The name of the clock of the rows."""

DRIFT: Final = 0.001
"""By how much one clock may run faster than another."""

_CONNECTION: Final = {"connect_timeout": 2, "tcp_user_timeout": 3000, "application_name": "flowport request limits"}
"""What an address does not say otherwise."""

# Each in one message. The new values are made after the lock was taken, and so is what is returned.
_LOCK: Final = """
    BEGIN ISOLATION LEVEL READ COMMITTED;
    SET LOCAL synchronous_commit = off;
    SET LOCAL lock_timeout = %(patience)s;
    SET LOCAL idle_in_transaction_session_timeout = %(hold)s;
    INSERT INTO rate_windows AS mine (key, text, seconds, last_seconds, used_at)
        VALUES (%(key)s, '', extract(epoch FROM clock_timestamp()), 0, clock_timestamp())
    ON CONFLICT (key) DO UPDATE SET
        seconds = mine.seconds + greatest(0, extract(epoch FROM clock_timestamp() - mine.used_at)),
        last_seconds = mine.seconds,
        used_at = clock_timestamp()
    RETURNING text, seconds, last_seconds, (
        SELECT count(*) FROM processes WHERE ended_at IS NULL AND beat_at > now() - interval '10 seconds'
    )
"""
_WRITE: Final = "UPDATE rate_windows SET text = %s, seconds = %s WHERE key = %s; COMMIT"

_DELETE_UNUSED: Final = "DELETE FROM rate_windows WHERE used_at < clock_timestamp() - interval '1 day'"
"""Forgets the windows of keys that came and went; what a day has limits for is over by then too."""

DAY_SECONDS: Final = 86_400.0

T = TypeVar("T")
Work: TypeAlias = Callable[[str, BootTime | None], tuple[str, T]]


@dataclass(slots=True)
class _Change(Generic[T]):
    """A change that was asked for."""

    work: Work[T]
    done: Future[T] = field(default_factory=Future)


@dataclass(slots=True)
class _Seen:
    """The last look at a row's clock."""

    seconds: float
    asked_at: float
    """When it was asked for, by this machine's clock: it was not read before."""


class RateWindowTable:
    """The windows of a database. Nothing is opened before the first change."""

    retry_seconds: Final = RETRY_SECONDS

    def __init__(self, url: str, *, clock: Clock | None = None, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Prepare; nothing is opened.

        Args:
            url: The address, with its password; it is in no log and no error.
            clock: Of this machine, for durations.
        """
        self._url = url
        self._clock = clock or SystemClock()
        self._patience_seconds = patience_seconds
        self._times = {"patience": _format(patience_seconds), "hold": _format(HOLD_SECONDS)}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="flowport-request-limits")
        self._connection: psycopg.Connection[TupleRow] | None = None
        self._asked: defaultdict[str, list[_Change[Any]]] = defaultdict(list)
        self._lock = threading.Lock()
        """Of what was asked."""
        self._seen: dict[str, _Seen] = {}
        self._processes = 0
        self._forgot_at = -inf
        """When this process last deleted what was not used for a day."""

    @property
    def parts(self) -> int:
        """Into how many parts the limit is divided while the database is down: one for each process of the team."""
        return max(2, self._processes)

    async def change(self, key: str, work: Work[T]) -> T:
        """Replace a text, empty at first, by what the work makes of it, and return what else it returned.

        Raises:
            StoreError: The database cannot be used; nothing was changed.
        """
        done = asyncio.wrap_future(self._ask(key, work))
        try:
            for _ in range(_SLICES):
                await asyncio.wait([done], timeout=self._patience_seconds / _SLICES)
                if done.done():
                    return done.result()
        finally:
            done.cancel()
        raise build_unreachable_error()

    def post(self, key: str, work: Work[None]) -> None:
        """Do the same in the background; a failure is only logged."""
        self._ask(key, work).add_done_callback(_log_failure)

    async def close(self) -> None:
        """Perform what was asked for and close the connection."""
        await asyncio.wrap_future(self._thread.submit(self._close))
        self._thread.shutdown(wait=False)

    def _ask(self, key: str, work: Work[T]) -> Future[T]:
        change = _Change(work)
        with self._lock:
            self._asked[key].append(change)
        self._thread.submit(self._perform, key)
        return change.done

    def _perform(self, key: str) -> None:
        """Perform all that was asked for the key by now, in one transaction."""
        with self._lock:
            asked = self._asked.pop(key, [])
        # Who has given up may have gone on alone, and what it would take now would be lost.
        changes = [one for one in asked if one.done.set_running_or_notify_cancel()]
        if not changes:
            return
        try:
            endings = self._perform_again(key, changes)
        except Exception as exc:  # noqa: BLE001 - each caller gets it
            for one in changes:
                one.done.set_exception(exc)
        else:
            for end in endings:
                end()
            self._forget_unused()

    def _perform_again(self, key: str, changes: list[_Change[Any]]) -> list[Callable[[], None]]:
        """Perform changes, a second time over a new connection when the old one was cut off meanwhile."""
        try:
            connection = self._connect()
            try:
                return self._perform_once(connection, key, changes)
            except psycopg.Error:
                if self._connection is not None:
                    raise
                return self._perform_once(self._connect(), key, changes)
        except psycopg.errors.LockNotAvailable as exc:
            raise StoreError(
                "another process keeps a window of requests locked", "Flowport tries again by itself."
            ) from exc
        except psycopg.Error as exc:
            raise build_error(exc) from exc

    def _perform_once(
        self, connection: psycopg.Connection[TupleRow], key: str, changes: list[_Change[Any]]
    ) -> list[Callable[[], None]]:
        try:
            asked_at = self._get_seconds()
            cursor = connection.execute(_LOCK, {"key": key, **self._times})
            while cursor.nextset():
                pass
            row = cursor.fetchone()
            assert row is not None  # noqa: S101 - it was made
            before, read_seconds, least_seconds, self._processes = (
                str(row[0]),
                float(row[1]),
                float(row[2]),
                int(row[3]),
            )
            at = BootTime(CLOCK, max(least_seconds, self._correct(key, read_seconds)))
            self._seen[key] = _Seen(at.seconds, asked_at)
            text, endings = before, []
            for one in changes:
                text, end = _apply(one, text, at)
                endings.append(end)
            if text != before or at.seconds != read_seconds:
                connection.execute(_WRITE, (text, at.seconds, key))
            else:
                connection.execute("COMMIT")
        except BaseException:
            self._drop(connection)
            raise
        else:
            return endings

    def _forget_unused(self) -> None:
        """Delete the windows that were not used for a day; each process does it once a day."""
        now = self._get_seconds()
        if now < self._forgot_at + DAY_SECONDS or self._connection is None:
            return
        self._forgot_at = now
        self._seen = {key: seen for key, seen in self._seen.items() if seen.asked_at > now - DAY_SECONDS}
        try:
            self._connection.execute(_DELETE_UNUSED)
        except psycopg.Error as exc:
            logger.info(
                "unused windows of requests were not deleted, which is tried again tomorrow: %s", type(exc).__name__
            )
            self._drop(self._connection)

    def _correct(self, key: str, seconds: float) -> float:
        """Return the instant of a row's clock, without a jump of the database's clock.

        It has not gone on by more than the time since we asked for the last look at it.
        """
        last = self._seen.get(key)
        if last is not None:
            passed = self._get_seconds() - last.asked_at
            seconds = min(seconds, last.seconds + passed * (1 + DRIFT))
        return seconds

    def _get_seconds(self) -> float:
        """Return the instant of a clock that counts a machine's sleep too, where there is one."""
        boot = self._clock.boot_time()
        return self._clock.monotonic() if boot is None else boot.seconds

    def _connect(self) -> psycopg.Connection[TupleRow]:
        if self._connection is None:
            given = conninfo_to_dict(self._url)
            options: dict[str, Any] = {name: value for name, value in _CONNECTION.items() if name not in given}
            # Its cursors send a message with the values in it, which may hold several statements.
            cursors = psycopg.ClientCursor[TupleRow]
            self._connection = psycopg.connect(self._url, autocommit=True, cursor_factory=cursors, **options)
        return self._connection

    def _drop(self, connection: "psycopg.Connection[TupleRow]") -> None:
        """Undo what was begun; a connection that is lost is forgotten."""
        try:
            connection.execute("ROLLBACK")
        except psycopg.Error:
            connection.close()
            self._connection = None

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _apply(change: _Change[Any], text: str, at: BootTime) -> tuple[str, Callable[[], None]]:
    """Return the next text, and what reports to the caller once that is committed; a mistake changes nothing."""
    try:
        after, result = change.work(text, at)
    except Exception as exc:  # noqa: BLE001 - its caller gets it
        error = exc
        return text, lambda: change.done.set_exception(error)
    return after, lambda: change.done.set_result(result)


def _format(seconds: float) -> str:
    return f"{seconds * 1000:.0f}ms"


def _log_failure(done: "Future[None]") -> None:
    error = done.exception()
    if isinstance(error, StoreError):
        logger.info("what a provider said of its limits could not be shared: %s", error.problem)
    elif error is not None:
        logger.error("what a provider said of its limits was not understood", exc_info=error)
