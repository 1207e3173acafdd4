"""Logs on stderr, without keys and tokens."""

import io
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowport.domain.errors import StoreError
from flowport.domain.text import HIDDEN
from flowport.runtime.logging import REPEAT_SECONDS, clean_log_line, start_logging

KEY = "mk-0123456789abcdef"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What a test logs, cleaned; the loggers are put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    written = io.StringIO()
    # pytest's own handlers would be closed by the set-up under test.
    root.handlers = []
    start_logging([KEY, "", KEY[:5]], level=logging.INFO, stream=written)
    yield written
    root.handlers, root.level = handlers, level


def read(stream: io.StringIO) -> str:
    """Return what was logged, when the thread that writes it has done so."""
    for handler in logging.getLogger().handlers:
        handler.flush()
    return stream.getvalue()


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("GET https://cdn.example/a.png?token=exp_1~hmac_2", f"GET https://cdn.example/a.png?{HIDDEN}"),
        ("'https://a.example/x?t=1' and \"http://b?c\"", f"'https://a.example/x?{HIDDEN}' and \"http://b?{HIDDEN}\""),
        ("https://me:secret@proxy.example/x", f"https://{HIDDEN}@proxy.example/x"),
        ("https://me:se@cret@proxy.example", f"https://{HIDDEN}@proxy.example"),
        ("https://me@proxy.example/x?t=1", f"https://{HIDDEN}@proxy.example/x?{HIDDEN}"),
        ("https://a.example/x?mail=me@b.example", f"https://a.example/x?{HIDDEN}"),
        (f"key {KEY}, key {KEY}.", f"key {HIDDEN}, key {HIDDEN}."),
        ("https://a.example/x@2.png is fine?", "https://a.example/x@2.png is fine?"),
        ("a sentence? yes, to me@b.example", "a sentence? yes, to me@b.example"),
    ],
)
def test_secrets_and_the_queries_of_urls_go(text: str, cleaned: str) -> None:
    """A result's URL carries the token that opens it, and everything else is needed to find a fault."""
    assert clean_log_line(text, [KEY]) == cleaned


@given(before=st.text(), after=st.text())
@settings(deadline=None, max_examples=200)
def test_a_key_never_passes_whatever_surrounds_it(before: str, after: str) -> None:
    """Log lines are shared in bug reports."""
    assert KEY not in clean_log_line(f"{before}{KEY}{after}", [KEY])


def test_every_logger_writes_through_the_cleaning(stream: io.StringIO) -> None:
    """The HTTP library logs full URLs by itself, so the cleaning must not depend on who writes."""
    logging.getLogger("httpx2").info("HTTP Request: %s", "https://cdn.example/a?token=hmac_2")
    logging.getLogger("flowport.x").warning("the key is %s", KEY)
    assert "hmac_2" not in read(stream)
    assert f"INFO httpx2: HTTP Request: https://cdn.example/a?{HIDDEN}\n" in read(stream)
    assert f"WARNING flowport.x: the key is {HIDDEN}\n" in read(stream)


def test_a_traceback_is_cleaned_too(stream: io.StringIO) -> None:
    """Errors of foreign libraries quote what they were given."""
    try:
        _break(f"bad header {KEY} for https://me:pw@a.example/x?t=hmac")
    except ValueError:
        logging.getLogger("flowport.x").exception("broken")
    written = read(stream)
    assert f"ValueError: bad header {HIDDEN} for https://{HIDDEN}@a.example/x?{HIDDEN}" in written


def _break(text: str) -> None:
    raise ValueError(text)


def test_a_secret_inside_another_does_not_leave_the_rest(stream: io.StringIO) -> None:
    """The longest goes first; an empty one must not take every gap between letters."""
    logging.getLogger("flowport.x").error("%s", KEY)
    assert read(stream).endswith(f": {HIDDEN}\n")


def test_what_was_set_up_before_is_replaced_and_chatter_is_left_out(
    stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second handler would write the same line uncleaned; by default only warnings are written, on stderr."""
    start_logging([KEY])
    logging.getLogger("httpx2").info("chatter")
    logging.getLogger("flowport.x").warning("the key is %s", KEY)
    assert not read(stream)
    captured = capsys.readouterr()
    assert read(stream) == captured.out == ""
    assert captured.err.endswith(f"WARNING flowport.x: the key is {HIDDEN}\n")
    assert captured.err.count("\n") == 1


def test_one_fault_of_the_record_is_one_line(stream: io.StringIO) -> None:
    """Everything that needs the record fails of the same cause, and a person reads it once."""
    fault = StoreError("the disk is full", "Make room.")
    logging.getLogger("flowport.a").error("%s", fault)
    logging.getLogger("flowport.b").warning("runs cannot be taken over: %s", fault)
    logging.getLogger("flowport.b").warning("runs cannot be taken over: %s", StoreError("it is locked", "Wait."))
    logging.getLogger("flowport.b").warning("something else: %s", ValueError("the disk is full"))
    assert [line.rsplit(": ", 1)[-1] for line in read(stream).splitlines()] == [
        "the disk is full. Make room.",
        "it is locked. Wait.",
        "the disk is full",
    ]


def test_a_fault_of_the_record_is_news_again_after_an_hour(stream: io.StringIO) -> None:
    """A reader of the end of a long log must find it there."""
    fault = StoreError("the disk is full", "Make room.")
    for age in (0.0, REPEAT_SECONDS - 1, REPEAT_SECONDS + 1):
        record = logging.LogRecord("flowport.a", logging.ERROR, "", 0, "%s", (fault,), None)
        record.created += age
        logging.getLogger().handle(record)
    assert read(stream).count("the disk is full") == 2
