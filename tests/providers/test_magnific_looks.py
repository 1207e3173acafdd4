"""Answers to a look at a run: the published examples word for word, every status, and what cannot be read."""

from typing import Any, Final

import pytest

from flowport.domain.errors import ProviderBroken
from flowport.domain.models import Output, OutputKind, RunState
from flowport.providers.interface import RunStatus
from flowport.providers.magnific.files import LINK_SECONDS
from tests.providers import magnific_examples as examples
from tests.providers.magnific_samples import MAGNIFIC, NOW, answer

RENDER: Final = "https://pikaso.cdnpk.net/private/production/1234567890/render.png?token=exp_1234567890~hmac_abc123"


def look(**run: Any) -> RunStatus:
    """Return what a `get-run` answer says."""
    return MAGNIFIC.parse_status(answer({"data": {"run_id": "omps2OH829", "status": "completed", **run}}), now=NOW)


def test_a_run_under_way_is_read_as_the_example_shows_it() -> None:
    """get-run, running."""
    assert MAGNIFIC.parse_status(answer(examples.RUN_RUNNING), now=NOW) == RunStatus(RunState.RUNNING)


def test_a_completed_run_is_read_as_the_example_shows_it() -> None:
    """get-run, completed; the instant in the example's token is long past, so twelve hours are assumed."""
    output = Output(
        n=1,
        kind=OutputKind.IMAGE,
        url=RENDER,
        provider_output_id="abc123",
        mime_type="image/png",
        width=1024,
        height=1024,
        expires_at=NOW + LINK_SECONDS,
    )
    assert MAGNIFIC.parse_status(answer(examples.RUN_COMPLETED), now=NOW) == RunStatus(RunState.SUCCEEDED, (output,))


def test_a_failed_run_is_read_as_the_example_shows_it() -> None:
    """get-run, failed: the provider's reason is the one thing that helps."""
    detail = "Node 'image-upscaler' failed: input image exceeds maximum resolution"
    assert MAGNIFIC.parse_status(answer(examples.RUN_FAILED), now=NOW) == RunStatus(RunState.FAILED, detail=detail)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("pending", RunState.QUEUED),
        ("running", RunState.RUNNING),
        ("completed", RunState.SUCCEEDED),
        ("failed", RunState.FAILED),
        ("cancelled", RunState.CANCELLED),
        ("COMPLETED", RunState.SUCCEEDED),
    ],
)
def test_each_status_is_a_state_of_ours(status: str, state: RunState) -> None:
    """get-run has six; the sixth has tests of its own."""
    assert look(status=status) == RunStatus(state)


def test_a_run_with_some_failed_steps_keeps_what_it_made() -> None:
    """It was paid for."""
    found = look(status="completed_with_errors", result={"images": [{"url": RENDER}]}, error_message="one failed")
    assert (found.state, found.detail) == (RunState.PARTIAL, "one failed")
    assert [output.url for output in found.outputs] == [RENDER]


@pytest.mark.parametrize("result", [None, {}, {"images": []}, {"images": [{"url": "no URL"}]}, "x"])
def test_a_run_with_failed_steps_that_made_nothing_has_failed(result: object) -> None:
    """ "Some outputs" would be a lie."""
    assert look(status="completed_with_errors", result=result).state is RunState.FAILED


def test_a_status_that_no_one_documented_counts_as_running_while_nothing_came_with_it() -> None:
    """A paid run must not be given up for a new word, which is named."""
    found = look(status="Dream\u202eing\n" + "x" * 10**6, result={"images": []}, completed_at=None)
    assert (found.state, found.outputs) == (RunState.RUNNING, ())
    assert found.unknown_status.startswith("Dreaming x")
    assert len(found.unknown_status) == 40


@pytest.mark.parametrize(
    ("run", "state"),
    [
        ({"result": {"images": [{"url": RENDER}]}}, RunState.SUCCEEDED),
        ({"result": {"images": [{"url": RENDER}]}, "completed_at": "2026-02-25T12:02:00+00:00"}, RunState.SUCCEEDED),
        ({"result": {"images": [{"url": RENDER}]}, "error_message": "one step failed"}, RunState.PARTIAL),
        ({"completed_at": "2026-02-25T12:02:00+00:00"}, RunState.FAILED),
        ({"completed_at": 1_772_020_800}, RunState.FAILED),
        ({"completed_at": "2026-02-25T12:02:00.000Z", "error_message": "gone"}, RunState.FAILED),
        ({"completed_at": ""}, RunState.RUNNING),
        ({"completed_at": None, "error_message": "slow"}, RunState.RUNNING),
        ({"completed_at": True}, RunState.FAILED),
        ({"completed_at": False}, RunState.RUNNING),
        ({"result": {"images": [{"url": "no URL"}]}}, RunState.RUNNING),
    ],
)
def test_an_unlisted_word_is_an_end_when_results_or_an_instant_come_with_it(
    run: dict[str, Any], state: RunState
) -> None:
    """Else the results would be thrown away and the run followed for good."""
    found = look(status="archived", **run)
    assert (found.state, found.unknown_status) == (state, "archived")
    assert bool(found.outputs) is (state in {RunState.SUCCEEDED, RunState.PARTIAL})


def test_outputs_are_believed_only_at_the_end() -> None:
    """A run under way may still replace them."""
    assert look(status="running", result={"images": [{"url": RENDER}]}) == RunStatus(RunState.RUNNING)


@pytest.mark.parametrize("result", [{"images": {}}, None, [], "x", 7])
def test_a_run_without_a_readable_result_is_over_all_the_same(result: object) -> None:
    """Looking at it forever would bring nothing."""
    assert look(result=result) == RunStatus(RunState.SUCCEEDED)


@pytest.mark.parametrize("data", [None, [], "x", {}, {"status": None}, {"status": 5}])
def test_an_account_of_a_run_that_cannot_be_read_is_the_providers_fault(data: object) -> None:
    """The run goes on; only this look was without result."""
    with pytest.raises(ProviderBroken) as caught:
        MAGNIFIC.parse_status(answer({"data": data}), now=NOW)
    assert caught.value.problem == "its description of the run cannot be read"


@pytest.mark.parametrize("message", [None, 5, [], "", "\ud83d"])
def test_an_odd_reason_does_not_keep_a_run_alive(message: object) -> None:
    """A failed run whose reason cannot be read would be looked at forever."""
    found = look(status="failed", error_message=message)
    assert (found.state, found.detail) == (RunState.FAILED, "?" if message == "\ud83d" else "")
