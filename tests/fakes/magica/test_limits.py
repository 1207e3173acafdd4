"""The limits of each key."""

import time

import pytest

from tests.fakes.client import open_sandbox
from tests.fakes.magica.client import MagicaClient
from tests.fakes.magica.limits import Allowance, KeyLimits


class Clock:
    """A clock that stands still until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_a_minute_s_limit_slides() -> None:
    """Room comes when the oldest request leaves, and not before."""
    clock = Clock()
    limits = KeyLimits(2, 0, clock)
    assert limits.take("a") == Allowance(is_allowed=True, remaining=1, reset_at=1060, delay_seconds=60)
    clock.now = 1010.5
    assert limits.take("a") == Allowance(is_allowed=True, remaining=0, reset_at=1060, delay_seconds=50)
    assert limits.take("a") == Allowance(is_allowed=False, remaining=0, reset_at=1060, delay_seconds=50)
    clock.now = 1060
    assert limits.take("a") == Allowance(is_allowed=True, remaining=0, reset_at=1070.5, delay_seconds=11)


def test_the_day_s_limit_is_reported_when_it_is_the_narrower() -> None:
    """A key that has used up its day waits for hours, whatever its minute says."""
    clock = Clock()
    limits = KeyLimits(2, 3, clock)
    for _ in range(3):
        limits.take("a")
        clock.now += 60
    refused = limits.take("a")
    assert refused == Allowance(is_allowed=False, remaining=0, reset_at=87_400, delay_seconds=86_220)
    assert refused.headers == {
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": "87400000",
        "retry-after": "86220",
    }


def test_of_two_full_windows_the_longer_is_reported() -> None:
    """Waiting for the shorter one would lead to another refusal."""
    limits = KeyLimits(1, 1, Clock())
    limits.take("a")
    refused = limits.take("a")
    assert refused is not None
    assert refused.reset_at == 87_400


def test_keys_have_limits_of_their_own() -> None:
    """Limits are per key, as documented."""
    limits = KeyLimits(1, 0, Clock())
    assert [found.is_allowed for key in "aab" if (found := limits.take(key))] == [True, False, True]


def test_a_limit_that_was_lowered_waits_for_as_many_as_are_too_many() -> None:
    """Switches lower it under a running client."""
    clock = Clock()
    limits = KeyLimits(3, 0, clock)
    for _ in range(3):
        limits.take("a")
        clock.now += 1
    limits.set_limits(1, None)
    assert limits.take("a") == Allowance(is_allowed=False, remaining=0, reset_at=1062, delay_seconds=59)


def test_no_limit_reports_nothing() -> None:
    """Then there are no headers either."""
    limits = KeyLimits(0, 0)
    assert limits.take("a") is None
    limits.set_limits(1, 1)
    limits.take("a")
    limits.reset()
    assert limits.take("a") is None


async def test_answers_report_the_limits_in_their_headers() -> None:
    """Magica's page on authentication: the reset in milliseconds, the delay in seconds and with a 429 alone."""
    async with open_sandbox(magica_requests_per_minute=2, magica_requests_per_day=1000) as client:
        magica = MagicaClient(client)
        answers = [await magica.ask("GET", "/v1/credits/balance") for _ in range(3)]
        switch = await magica.ask("GET", "/_sandbox/counts")
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]
    assert 0 < int(answers[2].headers["x-ratelimit-reset"]) / 1000 - time.time() <= 61
    assert [answer.headers.get("retry-after") for answer in answers[:2]] == [None, None]
    assert 0 < int(answers[2].headers["retry-after"]) <= 60
    assert answers[2].json()["code"] == "RATE_LIMIT_EXCEEDED"
    assert "x-ratelimit-remaining" not in switch.headers


@pytest.mark.parametrize("switch", [("limit", {"requests_per_minute": 1}), ("magica", {"requests_per_day": 1})])
async def test_a_switch_changes_the_limits(magica: MagicaClient, switch: tuple[str, dict[str, int]]) -> None:
    """The one that all providers share, and the face's own; a reset lifts them."""
    name, body = switch
    await magica.post(f"/_sandbox/{name}", body)
    assert [(await magica.ask("GET", "/v1/workflows")).status_code for _ in range(2)] == [200, 429]
    assert (await magica.count())["refused_429"] == 1
    await magica.post("/_sandbox/reset", {})
    assert [(await magica.ask("GET", "/v1/workflows")).status_code for _ in range(2)] == [200, 200]
