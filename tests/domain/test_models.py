"""The records and the states of a run."""

import dataclasses
import inspect

import pytest

from flowport.domain import models as model
from flowport.domain.models import FINAL_STATES, Account, InputKind, RunState

RECORDS = [kind for _, kind in inspect.getmembers(model, dataclasses.is_dataclass)]


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_is_frozen_and_slotted(record: type) -> None:
    """What several tasks hold must not change under them, and a misspelt field must not be taken."""
    assert vars(record)["__dataclass_params__"].frozen
    assert "__slots__" in vars(record)


@pytest.mark.parametrize("state", RunState)
def test_a_state_is_before_at_or_after_the_provider(state: RunState) -> None:
    """The three questions about a state must not contradict one another."""
    assert state.is_final is (state in FINAL_STATES)
    assert state.is_at_provider is (state in {RunState.QUEUED, RunState.RUNNING})


def test_media_are_the_kinds_that_take_a_file() -> None:
    """Everything else is sent as it was typed."""
    files = {kind for kind in InputKind if kind.is_media}
    assert files == {InputKind.IMAGE, InputKind.VIDEO, InputKind.AUDIO, InputKind.AVMEDIA, InputKind.MEDIA}


def test_an_account_is_named_by_its_key_and_its_names_by_its_place() -> None:
    """A new key at the same place must not rename the tools."""
    account = Account("magnific", "api.magnific.com", "0123456789ab")
    assert account.id == "magnific:api.magnific.com:0123456789ab"
    assert account.scope == "magnific:api.magnific.com"
