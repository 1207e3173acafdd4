"""How instants are written."""

from flowport.sandbox.web import format_instant


def test_an_instant_is_iso_8601_with_its_offset() -> None:
    """As the provider's specification writes it."""
    assert format_instant(1772020800.9) == "2026-02-25T12:00:00+00:00"


def test_what_has_not_happened_is_null() -> None:
    """A pending run has not started."""
    assert format_instant(None) is None
