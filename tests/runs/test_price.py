"""The price of a call at the moment of the call."""

import json

import anyio
import pytest

from flowport.domain.models import App
from flowport.network.account import OpenAccount
from flowport.providers.magica.api import Magica
from flowport.runs import prepare as pricing
from flowport.runs.prepare import PreparedCall, price_call
from tests.providers import magica_examples as examples
from tests.support.fake_clock import FakeClock
from tests.support.scripted import Answer, ScriptedAccount, build_answer, in_turn

APP = App("magica", "wf_abc123", "Product shot", is_own=True, price_credits=7.0)
CALL = PreparedCall(APP, "Product shot", "product_shot", "magica:x:y", {}, json.dumps({}), "raw", "canonical")


def open_account(answer: Answer) -> OpenAccount:
    """Return an account of Magica with scripted responses."""
    return ScriptedAccount(answer, FakeClock(), provider=Magica())


async def test_a_current_price_replaces_the_listed_one() -> None:
    """A node was changed after the listing."""
    account = open_account(in_turn(build_answer(examples.GRAPH), build_answer(examples.ESTIMATE)))
    assert (await price_call(CALL, account)).app.price_credits == 0.06152


async def test_an_unavailable_price_is_unknown() -> None:
    """The listed one may be far below it."""
    account = open_account(in_turn(build_answer({}, 500)))
    assert (await price_call(CALL, account)).app.price_credits is None


async def test_a_provider_with_listed_prices_is_not_asked() -> None:
    """Nothing is sent."""
    account = ScriptedAccount(in_turn(), FakeClock())
    assert await price_call(CALL, account) is CALL


async def test_the_wait_for_a_price_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user waits meanwhile."""
    monkeypatch.setattr(pricing, "PRICING_SECONDS", 0.05)
    account = ScriptedAccount(in_turn(), FakeClock(), provider=Magica())
    account.before_answer = anyio.sleep_forever
    assert (await price_call(CALL, account)).app.price_credits is None
