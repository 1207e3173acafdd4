"""The caps of several people who use one account: each has their own, and the account has one for all."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flowport.actions.get_balance import get_balance
from flowport.actions.run_app import run_any_app
from flowport.actions.run_batch import run_batch
from flowport.domain.call_errors import (
    AccountCapReached,
    DayCapReached,
    MonthCapReached,
    PriceUnconfirmed,
    RunCapReached,
)
from flowport.domain.errors import FlowportError
from flowport.domain.models import JsonValue
from flowport.domain.principal import Principal
from flowport.domain.spending import SpendingLimits
from tests.fakes.client import Client as SandboxClient
from tests.fakes.client import open_sandbox
from tests.support.harness import Harness, ScriptedCaller, open_harness

PRICES = {"text_to_picture": 2, "always_fails": 1}
TEXTS = {"text_to_picture": "prompt", "always_fails": "note"}
CAP = 101


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxClient]:
    """Run a sandbox whose runs end at once."""
    async with open_sandbox() as client:
        yield client


@dataclass(frozen=True)
class Colleague:
    """One person, with what a token says of them."""

    flowport: Harness
    owner: str
    limits: SpendingLimits | None = None

    def build_caller(self) -> ScriptedCaller:
        """Return a call of this person."""
        arrived = self.flowport.assembly.workspace.clock.monotonic()
        principal = Principal(self.owner, spending_limits=self.limits)
        return ScriptedCaller(arrived, owner=self.owner, principal=principal, connection=self.owner)

    async def run(self, app: str, text: str) -> int:
        """Run an app and return what it costs."""
        arguments: dict[str, JsonValue] = {"app": app, "arguments": {TEXTS[app]: text}}
        await run_any_app(self.flowport.assembly.workspace, self.build_caller(), arguments)
        return PRICES[app]

    async def run_rows(self, count: int, text: str = "") -> int:
        """Run an app for as many rows and return what they cost."""
        rows: list[JsonValue] = [{"prompt": f"{text} {n}"} for n in range(count)]
        arguments: dict[str, JsonValue] = {"app": "text_to_picture", "rows": rows, "wait": False}
        await run_batch(self.flowport.assembly.workspace, self.build_caller(), arguments)
        return count * PRICES["text_to_picture"]

    async def read_balance(self) -> tuple[str, dict[str, Any]]:
        """Return the summary and the account of the answer."""
        facts = (await get_balance(self.flowport.assembly.workspace, self.build_caller(), {})).facts
        return str(facts["summary"]), facts["accounts"][0]


async def test_an_account_of_101_credits_is_never_exceeded_by_one(sandbox: SandboxClient, tmp_path: Path) -> None:
    """Five people send their calls at once, single ones and batches; together they ask for twice as much."""
    limits = SpendingLimits(max_account_credits_per_day=float(CAP), max_account_credits_per_month=float(CAP))
    async with open_harness(sandbox, tmp_path / "team", spending_limits=limits) as flowport:
        people = [Colleague(flowport, f"person{n}") for n in range(5)]
        work = [
            people[n % 5].run_rows(3, str(n)) if n % 12 == 7 else people[n % 5].run(list(PRICES)[n % 2], str(n))
            for n in range(120)
        ]
        found = await asyncio.gather(*work, return_exceptions=True)
        spent = sum(one for one in found if isinstance(one, int))
        refused = [one for one in found if not isinstance(one, int)]
        balances = [await one.read_balance() for one in people]
        started = await flowport.count("run")
    assert {type(one) for one in refused} == {AccountCapReached}
    assert CAP - 1 < spent <= CAP
    for period in ("24_hours", "30_days"):
        assert {facts[f"account_left_credits_{period}"] for _, facts in balances} == {CAP - spent}
    own = [facts["spent_credits_24_hours"] + facts["reserved_credits"] for _, facts in balances]
    assert sum(own) == spent
    assert max(own) < spent
    assert started <= spent


async def test_a_refusal_of_the_account_shows_nothing_of_other_people(sandbox: SandboxClient, tmp_path: Path) -> None:
    """It says what is left of the account, and neither who spent how much nor how many they are."""
    limits = SpendingLimits(max_account_credits_per_day=20.0)
    async with open_harness(sandbox, tmp_path / "team", spending_limits=limits) as flowport:
        anna, tom = Colleague(flowport, "anna-secret"), Colleague(flowport, "tom")
        await anna.run_rows(9)
        with pytest.raises(AccountCapReached) as refusal:
            await tom.run_rows(2)
        summary, facts = await tom.read_balance()
        await tom.run("text_to_picture", "fits")
    assert "for all who use this account together 2 are left" in str(refusal.value)
    assert (facts["spent_credits_24_hours"], facts["reserved_credits"], facts["runs_24_hours"]) == (0, 0, 0)
    assert (facts["account_max_credits_per_day"], facts["account_left_credits_24_hours"]) == (20, 2)
    assert summary.endswith("2 left of the cap of 20 of all who use the account.")
    shown = {name: value for name, value in facts.items() if not name.startswith("requests_")}
    for text in (str(refusal.value), summary, str(shown)):
        assert "anna" not in text
        assert "18" not in text


async def test_each_person_has_their_own_caps(sandbox: SandboxClient, tmp_path: Path) -> None:
    """Limits of a token replace those of the settings; without one the settings hold; the runs of one person never count for another."""
    settings = SpendingLimits(max_credits_per_day=2.0, max_credits_per_run=2.0)
    more = SpendingLimits(max_credits_per_day=4.0, max_credits_per_month=6.0)
    async with open_harness(sandbox, tmp_path / "team", spending_limits=settings) as flowport:
        plain, trusted = Colleague(flowport, "plain"), Colleague(flowport, "trusted", more)
        cheap = Colleague(flowport, "cheap", SpendingLimits(max_credits_per_run=1.0))
        monthly = Colleague(flowport, "monthly", SpendingLimits(max_credits_per_day=9.0, max_credits_per_month=2.0))
        found: dict[str, list[FlowportError | int]] = {}
        for one in (plain, trusted, cheap, monthly):
            for n in range(3):
                try:
                    result: FlowportError | int = await one.run("text_to_picture", str(n))
                except FlowportError as exc:
                    result = exc
                found.setdefault(one.owner, []).append(result)
        balances = {one.owner: (await one.read_balance())[1] for one in (plain, trusted, monthly)}
    kinds = {owner: [type(one) for one in results] for owner, results in found.items()}
    assert kinds == {
        "plain": [int, DayCapReached, DayCapReached],
        "trusted": [int, int, DayCapReached],
        "cheap": [RunCapReached] * 3,
        "monthly": [int, MonthCapReached, MonthCapReached],
    }
    assert "FLOWPORT_MAX_CREDITS_PER_DAY allows" in str(found["plain"][1])
    for owner in ("trusted", "cheap", "monthly"):
        assert "the limit of your own token allows" in str(found[owner][-1])
    assert [one["max_credits_per_day"] for one in balances.values()] == [2, 4, 9]
    assert [one["left_credits_24_hours"] for one in balances.values()] == [0, 0, 7]
    assert (balances["monthly"]["max_credits_per_month"], balances["monthly"]["left_credits_30_days"]) == (2, 0)
    assert "max_credits_per_month" not in balances["plain"]
    assert all(one["max_credits_per_run"] == 2 for one in balances.values())


async def test_the_threshold_of_consent_is_the_persons_own(sandbox: SandboxClient, tmp_path: Path) -> None:
    """A person is asked above their own price, before runs and before batches; a cap is refused before any question."""
    settings = SpendingLimits(confirm_above_credits=1.0, max_account_credits_per_day=8.0)
    async with open_harness(sandbox, tmp_path / "team", spending_limits=settings) as flowport:
        plain = Colleague(flowport, "plain")
        free = Colleague(flowport, "free", SpendingLimits(confirm_above_credits=5.0))
        with pytest.raises(PriceUnconfirmed, match="raise FLOWPORT_CONFIRM_ABOVE_CREDITS"):
            await plain.run("text_to_picture", "a")
        assert await free.run("text_to_picture", "b") == 2
        with pytest.raises(PriceUnconfirmed, match=r"every batch above 5 credits.*a token with a higher threshold"):
            await free.run_rows(3)
        with pytest.raises(AccountCapReached):
            await free.run_rows(4)
        assert await flowport.count("run") == 1
