"""Cancelling at the provider: on a user's request, and after a caller has disconnected."""

import logging
from dataclasses import replace
from typing import Any

import pytest

from flowport.actions.cancel_run import format_cancellation
from flowport.domain.errors import Operation, ProviderError
from flowport.domain.models import RunState
from flowport.providers.interface import ApiAnswer
from flowport.providers.magica.api import Magica
from flowport.runs.cancellation import CancelOutcome, ask_to_cancel, cancel_unwanted
from flowport.store.records import AttachRules, WaitingCall
from tests.runs.samples import NOW, RUN
from tests.support.fake_clock import FakeClock
from tests.support.scripted import FaultyStore, ScriptedAccount, build_answer, in_turn

RUNNING = replace(RUN, state=RunState.RUNNING, provider_run_id="r1")
PATH = "/v1/runs/{run_id}/cancel"


def open_account(*answers: ApiAnswer) -> ScriptedAccount:
    """Return an account of Magica that is asked to cancel by its path."""
    return ScriptedAccount(in_turn(*answers), FakeClock(), provider=Magica(cancel_path=PATH))


async def wait_for_run(store: FaultyStore) -> None:
    """Record the run with a call that waits for it."""
    call = WaitingCall("call_1", "p1")
    rules = AttachRules(call=call, window_seconds=3600, at=NOW)
    await store.accept(RUN, rules)


async def test_the_provider_is_asked_once() -> None:
    """The request has the provider's id of the run."""
    account = open_account(build_answer({}))
    assert await ask_to_cancel(RUNNING, account)
    assert [(one.operation, one.path) for one in account.asked] == [(Operation.CANCEL_RUN, "/v1/runs/r1/cancel")]


async def test_a_provider_without_cancel_or_run_id_is_not_asked() -> None:
    """The outcome says so instead."""
    magnific, magica = ScriptedAccount(in_turn(), FakeClock()), open_account()
    assert not await ask_to_cancel(RUNNING, magnific)
    assert not await ask_to_cancel(RUN, magica)


async def test_a_refusal_is_reported() -> None:
    """The user must not believe that the run is cancelled."""
    with pytest.raises(ProviderError):
        await ask_to_cancel(RUNNING, open_account(build_answer({}, 500)))


@pytest.mark.parametrize("is_waited_for", [True, False])
async def test_a_run_that_another_call_waits_for_continues(store: FaultyStore, *, is_waited_for: bool) -> None:
    """The disconnected caller is not the only one."""
    await wait_for_run(store)
    if not is_waited_for:
        await store.leave("call_1")
    account = open_account(build_answer({}))
    await cancel_unwanted(RUNNING, account, store)
    assert len(account.asked) == (0 if is_waited_for else 1)


async def test_a_failure_after_a_disconnect_is_logged(store: FaultyStore, caplog: pytest.LogCaptureFixture) -> None:
    """There is no caller to receive the error."""
    with caplog.at_level(logging.WARNING):
        await cancel_unwanted(RUNNING, open_account(build_answer({}, 500)), store)
        store.failing.add("is_waited_for")
        await cancel_unwanted(RUNNING, open_account(), store)
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "run run_one, whose caller has gone, was not cancelled"
    ] * 2


@pytest.mark.parametrize(
    ("outcome", "changes", "opening"),
    [
        (CancelOutcome.CANCELLED, {}, "The run is cancelled. Nothing had been sent"),
        (
            CancelOutcome.ALREADY_OVER,
            {"state": RunState.SUCCEEDED},
            "The run is over already: it succeeded, and get_run",
        ),
        (CancelOutcome.ALREADY_OVER, {"state": RunState.PARTIAL}, "The run is over already: it ended with errors, and"),
        (
            CancelOutcome.ALREADY_OVER,
            {"state": RunState.FAILED},
            "The run is over already: it failed, and get_run tells",
        ),
        (
            CancelOutcome.ALREADY_OVER,
            {"state": RunState.CANCELLED, "spent_credits": 0.5},
            "The run is cancelled already; what counts as spent is 0.5 credits.",
        ),
        (
            CancelOutcome.UNKNOWN,
            {"state": RunState.UNKNOWN},
            "It is not known whether Magica has started the run, so it cannot be cancelled",
        ),
        (CancelOutcome.CANNOT, {}, "Magica has not named the run yet"),
        (CancelOutcome.UNFOLLOWED, {}, "Magica was not asked to cancel the run: it goes on there and is charged."),
        (CancelOutcome.ASKED, {}, "Magica was asked to cancel the run; get_run tells how it ends"),
        (
            CancelOutcome.ASKED,
            {"state": RunState.SUCCEEDED},
            "Magica was asked to cancel the run, which was over by then: it succeeded, and get_run has its result.",
        ),
        (
            CancelOutcome.ASKED,
            {"state": RunState.CANCELLED, "spent_credits": 0.5},
            "The run is cancelled; what counts as spent is 0.5 credits.",
        ),
    ],
)
def test_each_cancel_outcome_is_a_sentence(outcome: CancelOutcome, changes: dict[str, Any], opening: str) -> None:
    """It never says more than is known."""
    assert format_cancellation(outcome, replace(RUNNING, **changes), open_account()).startswith(opening)


def test_a_run_of_a_removed_key_is_named_by_its_provider() -> None:
    """Without the key it cannot be cancelled."""
    assert format_cancellation(CancelOutcome.CANNOT, RUNNING, None).startswith("magnific cannot cancel a run")
