"""The rate that the real scheduler reaches with an unknown limit of the provider, in virtual time."""

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final

import anyio
from figures import Figure
from schedule_world import VirtualAccount, open_world
from virtual import VirtualClock, run_virtually

from flowport.domain.models import Urgency
from flowport.network.api_client import Permit, report_limits
from flowport.network.ratelimit.learned_limit import DEFAULT_CEILING
from flowport.network.ratelimit.limiter import LimiterStatus, RateLimiter
from flowport.providers.interface import ApiAnswer, ApiRequest
from flowport.providers.magnific.api import Magnific

SEED: Final = 5
LIVE_ROWS: Final = 64
MINUTE_SECONDS: Final = 60.0
MINUTES_OF_300: Final = 15
MINUTES_OF_50: Final = 20
MIN_RATE: Final = 270
MAX_REFUSALS_OF_300: Final = 3
MAX_REFUSALS_OF_50: Final = 2


class LearningAccount(VirtualAccount):
    """An account whose provider documents 50 requests a minute and has another limit."""

    def __init__(self, clock: VirtualClock, chance: random.Random, *, limit: int) -> None:
        super().__init__(clock, chance)
        documented = Magnific().requests_per_minute
        self.limiter = RateLimiter(documented, clock, ceiling=DEFAULT_CEILING)
        self.limit = limit
        self.sent_at: list[float] = []

    @property
    def true_limit(self) -> int:
        """Requests that the provider accepts in a minute."""
        return self.limit

    async def send_now(self, request: ApiRequest, permit: Permit | None = None) -> ApiAnswer:
        """Answer as the provider does, and let the limiter learn from it, as the API client does."""
        sent_at = self.limiter.note_sent()
        self.sent_at.append(sent_at)
        answer = await super().send_now(request, permit)
        self.limiter.note_over(sent_at)
        report_limits(self.limiter, answer, sent_at)
        return answer


async def learn(limit: int, minutes: int, seed: int) -> tuple[LearningAccount, LimiterStatus]:
    """Carry out rows for a number of minutes, and return the account and what its limiter has learned."""
    build = partial(LearningAccount, limit=limit)
    async with open_world(seed, build_account=build, may_refuse=True) as world:

        async def work() -> None:
            """Carry out one row after the other."""
            while True:
                with suppress(RuntimeError):  # a row that was refused too often
                    await world.carry_out(Urgency.BATCH)

        async with anyio.create_task_group() as tasks:
            for _ in range(LIVE_ROWS):
                tasks.start_soon(work)
            await world.clock.sleep(minutes * MINUTE_SECONDS)
            account = world.account
            if not isinstance(account, LearningAccount):
                raise TypeError(account)
            found = account, await account.limiter.get_status()
            tasks.cancel_scope.cancel()
    return found


def measure_learning() -> list[Figure]:
    """Return the lines of the table."""
    high, learned = play(learn, 300, MINUTES_OF_300)
    low, _ = play(learn, 50, MINUTES_OF_50)
    last = sum(at >= (MINUTES_OF_300 - 1) * MINUTE_SECONDS for at in high.sent_at)
    what = f"limit of 300 a minute that is not documented, {MINUTES_OF_300} minutes of rows"
    return [
        Figure(f"{what}: learned", f"{learned.limit}", f">= {MIN_RATE}", learned.limit >= MIN_RATE),
        Figure(f"{what}: requests in the last minute", f"{last}", f">= {MIN_RATE}", last >= MIN_RATE),
        build_refusals(what, high, MAX_REFUSALS_OF_300),
        build_refusals(f"limit of 50 a minute, {MINUTES_OF_50} minutes of rows", low, MAX_REFUSALS_OF_50),
    ]


def build_refusals(what: str, account: VirtualAccount, most: int) -> Figure:
    """Return a line; none of the refused requests may have been a start."""
    is_reached = account.refused <= most and not account.refused_starts
    measured = f"{account.refused} ({account.refused_starts})"
    return Figure(f"{what}: requests refused (of these starts)", measured, f"<= {most} (0)", is_reached)


def play(
    work: Callable[[int, int, int], Awaitable[tuple[LearningAccount, LimiterStatus]]], limit: int, minutes: int
) -> tuple[LearningAccount, LimiterStatus]:
    """Return the outcome with a limit."""
    return run_virtually(partial(work, limit, minutes), SEED)
