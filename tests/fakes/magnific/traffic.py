"""Counting requests, and refusing those beyond the rate limit."""

import math
import time
from collections import Counter, deque
from collections.abc import Callable
from enum import StrEnum
from typing import Any

MINUTE_SECONDS = 60.0


class Operation(StrEnum):
    """What a request asks for; the words of the fault switches."""

    LIST = "list"
    LIST_OWN = "list_own"
    GET = "get"
    RUN = "run"
    STATUS = "status"
    FILE = "file"
    REQUEST_UPLOAD = "request_upload"
    LIST_UPLOADS = "list_uploads"
    LIST_RECENT = "list_recent"
    UPLOAD = "upload"
    """Putting a file to the address that was requested."""
    STATUS_BATCH = "status_batch"
    CANCEL = "cancel"
    BALANCE = "balance"
    ESTIMATE = "estimate"
    MODELS = "models"
    MCP = "mcp"
    """A message to Magica's MCP endpoint of any other kind."""

    @property
    def is_limited(self) -> bool:
        """Whether it counts towards the limit; what goes to the files origin does not."""
        return self not in {Operation.FILE, Operation.UPLOAD}


class Traffic:
    """What came in since the start or the last reset."""

    def __init__(
        self,
        requests_per_minute: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        minute_seconds: float = MINUTE_SECONDS,
    ) -> None:
        """Start at zero; a limit of 0 means none, and a minute may be shorter than it is."""
        self._first_limit = requests_per_minute
        self._limit = requests_per_minute
        self._reports_delay = False
        self._clock = clock
        self._minute_seconds = minute_seconds
        self._recent: deque[float] = deque()
        self._operations: Counter[Operation] = Counter()
        self._families: Counter[str] = Counter()
        self._accepted: Counter[str] = Counter()
        self._refused_429 = 0

    def set_limit(self, requests_per_minute: int, *, reports_delay: bool) -> None:
        """Change the limit; `reports_delay` says with each refusal when the next request is allowed."""
        self._limit = requests_per_minute
        self._reports_delay = reports_delay

    def count(self, operation: Operation, family: str = "") -> None:
        """Note a request that had a valid key, whatever becomes of it, and its path family if it has one."""
        self._operations[operation] += 1
        if family:
            self._families[family] += 1

    def count_accepted(self, app_id: str) -> None:
        """Note that a run was started."""
        self._accepted[app_id] += 1

    def count_answer(self, status: int) -> None:
        """Note an answer; only 429 is kept."""
        self._refused_429 += status == 429

    def allow(self) -> bool:
        """Say whether the sliding window has room for one more request, and take it if so."""
        if not self._limit:
            return True
        now = self._clock()
        while self._recent and self._recent[0] <= now - self._minute_seconds:
            self._recent.popleft()
        if len(self._recent) >= self._limit:
            return False
        self._recent.append(now)
        return True

    def get_delay_seconds(self) -> int | None:
        """Return when the next request is allowed, in whole seconds; None when that is not reported."""
        if not self._reports_delay:
            return None
        if not self._recent:
            return 1
        delay_minutes = (self._recent[0] + self._minute_seconds - self._clock()) / self._minute_seconds
        return max(1, math.ceil(delay_minutes * MINUTE_SECONDS))

    def build_counts(self) -> dict[str, Any]:
        """Build the counts as the switch shows them."""
        names = {operation: "files" if operation is Operation.FILE else str(operation) for operation in Operation}
        return {
            **{name: self._operations[operation] for operation, name in names.items()},
            "families": dict(self._families),
            "runs_accepted": self._accepted.total(),
            "refused_429": self._refused_429,
            "runs_accepted_by_app": dict(self._accepted),
        }

    def reset(self) -> None:
        """Forget everything, the window of the rate limit included, and go back to the first limit."""
        self._limit, self._reports_delay = self._first_limit, False
        self._families.clear()
        self._recent.clear()
        self._operations.clear()
        self._accepted.clear()
        self._refused_429 = 0
