"""Odd values in a provider's JSON."""

import pytest
from pydantic import BaseModel

from flowport.providers.parsing import LenientList, LenientMapping, LenientText, is_number


class Record(BaseModel):
    """One field of each type."""

    text: LenientText = None
    mapping: LenientMapping = None
    items: LenientList = None


@pytest.mark.parametrize(
    "fields",
    [
        {"text": "a", "mapping": {"a": 1}, "items": [1]},
        {"text": "", "mapping": {}, "items": []},
    ],
)
def test_what_is_as_it_should_be_is_kept(fields: dict[str, object]) -> None:
    """Empty things are things."""
    assert Record.model_validate(fields).model_dump() == fields


@pytest.mark.parametrize("odd", [None, True, 10**400, float("nan"), float("inf"), b"x", object()])
def test_what_is_of_another_type_reads_as_absent(odd: object) -> None:
    """One odd extra must not cost the whole record."""
    assert Record.model_validate(dict.fromkeys(Record.model_fields, odd)) == Record()
    assert not is_number(odd)
