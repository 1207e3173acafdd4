"""How much of a refused argument is repeated."""

import pytest

from flowport.domain.call_errors import build_refusal
from flowport.domain.errors import ArgumentProblem
from flowport.domain.text import MAX_QUOTED_CHARACTERS, format_address, format_name, format_size


def test_a_refusal_is_one_problem_with_one_argument() -> None:
    """The caller gathers the problems of a whole call."""
    assert build_refusal("image", "is bad", "Give a good one.").problems == (
        ArgumentProblem("image", "is bad", "Give a good one."),
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("cat.png", "cat.png"),
        ("cat\u202egnp.exe", "catgnp.exe"),
        ("a\nb", "a b"),
        ("sandbox:/mnt/data/cat.png?token=secret", "sandbox:/mnt/data/cat.png"),
        ("x" * 10_000_000, "x" * (MAX_QUOTED_CHARACTERS - 1) + "…"),
    ],
)
def test_a_name_is_shown_short_and_clean(value: str, shown: str) -> None:
    """It goes back into a model's context."""
    assert format_name(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("HTTP://Example.com/private/cat.png?token=secret#part", "http://example.com"),
        ("ftp://user:secret@example.com/cat.png", "ftp://example.com"),
        ("http://[bad/?token=secret", "http://"),
        ("//example.com/secret", "://example.com"),
        ("javascript:secret()", "javascript://"),
    ],
)
def test_an_address_is_shown_without_its_secrets(value: str, shown: str) -> None:
    """Signed links and passwords stay out of answers and logs."""
    assert format_address(value) == shown


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [(7, "7 bytes"), (1024, "1 KB"), (10 * 1024**2, "10 MB"), (1_600_000, "1.5 MB"), (5 * 1024**4, "5120 GB")],
)
def test_a_size_is_written_for_people(size_bytes: int, shown: str) -> None:
    """No one compares numbers of eight digits."""
    assert format_size(size_bytes) == shown
