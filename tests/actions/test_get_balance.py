"""How `get_balance` reports the request limit, and what an exhausted daily quota means for a call."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from flowport.network.account import OpenAccount
from flowport.providers.answers import RateLimits
from tests.fakes.client import Client as SandboxClient
from tests.fakes.client import open_sandbox
from tests.support.harness import Harness, open_harness

USUAL = {
    "requests_last_minute",
    "requests_per_minute",
    "requests_per_minute_source",
    "requests_per_minute_ceiling",
}


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxClient]:
    """Run a sandbox whose runs end at once."""
    async with open_sandbox() as client:
        yield client


def get_account(flowport: Harness) -> OpenAccount:
    """Return the account of the harness."""
    return flowport.assembly.workspace.catalogs[0].account


async def ask_requests(flowport: Harness) -> dict[str, Any]:
    """Return the part of the answer about requests."""
    facts: dict[str, Any] = (await flowport.ask("get_balance"))["accounts"][0]
    return {name: value for name, value in facts.items() if name.startswith("requests_")}


async def test_no_limit_is_reported_as_such_and_leaves_no_file(sandbox: SandboxClient, tmp_path: Path) -> None:
    """The sandbox has no limit."""
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        await flowport.call("text_to_picture", prompt="a lake")
        facts = await ask_requests(flowport)
    assert facts == {"requests_last_minute": facts["requests_last_minute"], "requests_per_minute": "no limit"}
    assert not (tmp_path / "person" / "home" / "rate-limits.sqlite3").exists()


async def test_the_usual_state_is_reported_in_four_facts(sandbox: SandboxClient, tmp_path: Path) -> None:
    """The figures count all processes of the home together."""
    async with (
        open_harness(sandbox, tmp_path / "person", requests_per_minute=45) as flowport,
        open_harness(sandbox, tmp_path / "person", requests_per_minute=45) as other,
    ):
        for one in (flowport, other):
            await one.call("text_to_picture", prompt=f"a lake {id(one)}")
        before = count_sent(flowport, other)
        facts = [await ask_requests(one) for one in (flowport, other)]
        after = count_sent(flowport, other)
    # Definitions may be read at the same time.
    assert [set(one) for one in facts] == [USUAL] * 2
    assert {one["requests_per_minute_source"] for one in facts} == {"the setting FLOWPORT_REQUESTS_PER_MINUTE"}
    assert all(sum(before) <= one["requests_last_minute"] <= sum(after) for one in facts)
    assert min(before) >= 2


def count_sent(*programs: Harness) -> list[int]:
    """Return the number of requests that each has sent."""
    return [get_account(one).limiter.get_used() for one in programs]


async def test_a_refusal_is_reported_as_a_pause_and_a_lower_limit(sandbox: SandboxClient, tmp_path: Path) -> None:
    """A waiting user sees the reason."""
    async with open_harness(sandbox, tmp_path / "person", requests_per_minute=None) as flowport:
        before = await ask_requests(flowport)
        get_account(flowport).limiter.note_busy(100.0)
        facts = await ask_requests(flowport)
    assert before["requests_per_minute_source"] == "documented by the provider; raised while work waits"
    assert (before["requests_per_minute"], before["requests_per_minute_ceiling"]) == (50, 500)
    assert set(facts) == USUAL | {"requests_paused_seconds", "requests_refused_above"}
    assert 0 < facts["requests_paused_seconds"] <= 100
    assert 6 <= facts["requests_per_minute"] <= facts["requests_refused_above"] < 50
    assert facts["requests_per_minute_source"] == "learned from the provider's answers"


async def test_an_exhausted_daily_quota_fails_a_run_before_anything_is_spent(
    sandbox: SandboxClient, tmp_path: Path
) -> None:
    """The answer says when the quota resets, and no request is sent."""
    async with open_harness(sandbox, tmp_path / "person", requests_per_minute=800) as flowport:
        await flowport.call("text_to_picture", prompt="a lake")
        started = await flowport.count("run")
        get_account(flowport).limiter.note_limits(RateLimits(0, reset_seconds=7200.0))
        facts = await flowport.ask("text_to_picture", prompt="a hill")
        balance = await ask_requests(flowport)
        assert await flowport.count("run") == started
        spent = (await flowport.ask("get_run", run_id=facts["run_id"]))["credits"]
    assert facts["state"] == "failed"
    assert (
        "allows this key no more requests today and was not asked to start the run. Requests are allowed again in about 2 h"
        in str(facts)
    )
    assert (balance["requests_left_today"], spent) == (0, 0)


async def test_an_unusable_rate_file_is_reported(sandbox: SandboxClient, tmp_path: Path) -> None:
    """The figure is then that of one process."""
    (tmp_path / "person" / "home" / "rate-limits.sqlite3").mkdir(parents=True)
    async with open_harness(sandbox, tmp_path / "person", requests_per_minute=800) as flowport:
        assert (await flowport.ask("text_to_picture", prompt="a lake"))["state"] == "succeeded"
        facts = await ask_requests(flowport)
    assert set(facts) == USUAL | {"requests_counted"}
