"""News of runs that other processes of a team follow: wake those who wait for one, and report what the record does not say.

A home on one machine has no news: an event here is then never set, and those who wait look at the store by themselves.
"""

import logging
from dataclasses import dataclass
from math import inf
from typing import Final
from weakref import WeakValueDictionary

import anyio

from flowport.domain.errors import StoreError
from flowport.domain.models import Run
from flowport.runtime.background import Supervisor
from flowport.runtime.clock import Clock
from flowport.store.cluster import News, NewsFeed, NewsKind

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
"""Between two reads of a run in the store that another process follows, where no news of it arrives earlier."""

QUIET_LOOK_SECONDS: Final = 3.0
"""The same while news arrive: hundreds may wait, and must not all read a busy database every second."""

REPEAT_SECONDS: Final = 60.0
"""After which the same problem is reported again."""

MAX_AGE_SECONDS: Final = 150.0
"""How long a reported problem counts; its worker may have died."""

QUIET_SECONDS: Final = 2.0
"""Between two reports about one run, or about the rows of one batch; hundreds may meet the same problem at once."""

MAX_PROBLEM_CHARACTERS: Final = 1_000

MAX_EXPECTED: Final = 1_000
"""Runs that were just accepted; callers that were cancelled leave theirs behind."""


@dataclass(frozen=True, slots=True)
class _Problem:
    """A problem that was reported."""

    text: str
    at: float
    """Monotonic seconds."""


class RunNews:
    """Says what this process knows of its runs to others, and knows what others have said."""

    def __init__(
        self, feed: NewsFeed | None = None, supervisor: Supervisor | None = None, clock: Clock | None = None
    ) -> None:
        """Prepare; without a feed nothing is reported, and no event is ever set."""
        self._feed = feed
        self._supervisor = supervisor
        self._clock = clock
        self._events: WeakValueDictionary[tuple[str, bool], anyio.Event] = WeakValueDictionary()
        """By run, and whether its end alone is waited for, for as long as anyone waits."""
        self._expected: dict[str, anyio.Event] = {}
        """The events of the ends of runs that are being accepted, until someone waits for them."""
        self._problems: dict[str, _Problem] = {}
        """What others have reported, by run or batch."""
        self._reported: dict[str, _Problem] = {}
        """What this process has reported, by run or batch."""

    @property
    def is_shared(self) -> bool:
        """Whether other processes of a team may follow runs."""
        return self._feed is not None

    def get_event(self, run_id: str, *, is_end_enough: bool = False) -> anyio.Event:
        """Return an event that is set at the next change of a run; taken before the store is read, it misses none.

        Args:
            is_end_enough: Whether changes of a run that goes on may be left out.
        """
        event = self._events.get((run_id, is_end_enough))
        if event is None:
            event = self._events[run_id, is_end_enough] = anyio.Event()
        return event

    def get_look_seconds(self, run: Run) -> float:
        """Return how long to wait for news of a run that another process follows, before the store is looked at."""
        arrive = self._feed is not None and self._feed.is_connected
        return QUIET_LOOK_SECONDS if arrive and not run.state.is_final else LOOK_SECONDS

    def expect_end(self, run_id: str) -> None:
        """Keep the event of the end of a run that is about to be accepted, so that who waits for it need not look first."""
        if self._feed is not None:
            self._expected[run_id] = self.get_event(run_id, is_end_enough=True)
            if len(self._expected) > MAX_EXPECTED:
                del self._expected[next(iter(self._expected))]

    def take_expected_end(self, run_id: str) -> anyio.Event | None:
        """Return the event of the end of a run that is as it was accepted or goes on; None where that is not known."""
        event = self._expected.pop(run_id, None)
        return None if event is None or event.is_set() else event

    def wake(self, run_id: str, *, is_going_on: bool = False) -> None:
        """Wake those who wait for a run; while it goes on not those who wait for its end alone."""
        for is_end_enough in (False,) if is_going_on else (False, True):
            if (event := self._events.pop((run_id, is_end_enough), None)) is not None:
                event.set()

    def wake_all(self) -> None:
        """Wake all who wait: any run may have changed."""
        for run_id, _ in tuple(self._events):
            self.wake(run_id)

    async def send(self, kind: NewsKind, run: Run, text: str = "") -> None:
        """Report something of a run to every process of the team.

        Raises:
            StoreError: The database cannot be reached.
        """
        if self._feed is not None:
            await self._feed.post(News(kind, run.id, run.owner, run.batch_id, run.account_id, text))

    def post(self, kind: NewsKind, run: Run, text: str = "") -> None:
        """Do the same in the background; what cannot be sent is dropped."""
        if self._supervisor is not None and self._feed is not None:
            self._supervisor.spawn(f"news of run {run.id}", self._try_to_send, kind, run, text)

    async def _try_to_send(self, kind: NewsKind, run: Run, text: str) -> None:
        try:
            await self.send(kind, run, text)
        except StoreError as exc:
            logger.info("news of run %s could not be sent: %s", run.id, exc)

    def report_problem(self, run: Run, text: str) -> None:
        """Report why a run of this process does not go on just now, or that nothing holds it up any more."""
        if self._feed is None or self._clock is None:
            return
        key, now = run.batch_id or run.id, self._clock.monotonic()
        text = text[:MAX_PROBLEM_CHARACTERS]
        before = self._reported.get(key, _Problem("", -inf))
        age = now - before.at
        if age < (REPEAT_SECONDS if text == before.text else QUIET_SECONDS if text else 0.0):
            return
        if not text:
            if self._reported.pop(key, None) is None:
                return
        else:
            self._reported[key] = _Problem(text, now)
        self.post(NewsKind.TROUBLED, run, text)

    def note_problem(self, news: News) -> None:
        """Remember what another process has reported, and wake those who wait."""
        if self._clock is None or news.is_own:
            return
        key, now = news.batch_id or news.run_id, self._clock.monotonic()
        if news.text:
            self._problems = {
                one: known for one, known in self._problems.items() if now - known.at < MAX_AGE_SECONDS and one != key
            }
            self._problems[key] = _Problem(news.text, now)
        else:
            self._problems.pop(key, None)
        self.wake(key)

    def get_problem(self, run_id: str) -> str:
        """Return why a run or batch of another process does not go on just now; empty when that is not known."""
        known = self._problems.get(run_id)
        if known is None or self._clock is None or self._clock.monotonic() - known.at >= MAX_AGE_SECONDS:
            return ""
        return known.text
