"""Logging never delays its caller, even if no program reads the log."""

import fcntl
import io
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flowport.runtime.logging import MAX_WAITING_LINES, QueuedHandler, start_logging
from tests.support.children import open_child
from tests.support.patience import poll_until

PIPE_BYTES = 4096
needs_small_pipes = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a pipe be made small")


@contextmanager
def open_small_pipe() -> Iterator[tuple[int, int]]:
    """Open a pipe that takes few lines before it is read."""
    if sys.platform == "win32":
        pytest.skip("only Linux lets a pipe be made small")
    source, target = os.pipe()
    fcntl.fcntl(target, getattr(fcntl, "F_SETPIPE_SZ", 1031), PIPE_BYTES)
    try:
        yield source, target
    finally:
        os.close(source)


def build_logger(handler: logging.Handler) -> logging.Logger:
    """Return a logger of its own that writes through a handler."""
    logger = logging.Logger("flowport.test", logging.INFO)  # noqa: LOG001 - known to nothing else
    logger.addHandler(handler)
    return logger


@needs_small_pipes
def test_a_full_pipe_holds_up_nothing_and_what_was_dropped_is_counted() -> None:
    """Every line is either written or counted, once the pipe is read again."""
    lines = 3 * MAX_WAITING_LINES
    with open_small_pipe() as (source, target), os.fdopen(target, "w") as stream:
        handler = QueuedHandler(stream)
        logger = build_logger(handler)
        for number in range(lines):
            logger.info("line %d", number)
        with os.fdopen(os.dup(source)) as log:
            written: list[str] = []
            reader = threading.Thread(target=lambda: written.extend(log))
            reader.start()
            while handler.has_waiting():
                handler.flush()
            stream.close()
            reader.join()
    counted = [int(found[1]) for found in map(re.compile(r"([0-9]+) lines? of this log").search, written) if found]
    kept = [int(line.removeprefix("line ")) for line in written if line.startswith("line ")]
    assert len(kept) + sum(counted) == lines
    assert kept == sorted(set(kept))
    assert MAX_WAITING_LINES <= len(kept) < lines


def test_lines_keep_their_order_and_are_there_after_a_flush() -> None:
    """A person reads causes before effects."""
    stream = io.StringIO()
    handler = QueuedHandler(stream)
    logger = build_logger(handler)
    for number in range(100):
        logger.info("%d", number)
    handler.flush()
    assert stream.getvalue().split() == [str(number) for number in range(100)]


@needs_small_pipes
def test_a_flush_does_not_wait_for_a_reader_that_never_comes() -> None:
    """The end of the process flushes, and must come."""
    with open_small_pipe() as (_, target):
        stream = os.fdopen(target, "w")
        handler = QueuedHandler(stream)
        logger = build_logger(handler)
        for _ in range(PIPE_BYTES):
            logger.info("unread")
        handler.flush()
        handler.close()
        assert handler.has_waiting()
    # Its thread would write the rest to whatever gets the number of the file next.
    poll_until(lambda: not handler.has_waiting())
    stream.close()


@pytest.mark.parametrize("is_open", [True, False])
def test_a_log_that_cannot_be_written_stops_nothing(*, is_open: bool) -> None:
    """Its reader is gone, or there was none from the start."""
    source, target = os.pipe()
    os.close(source)
    with os.fdopen(target, "w") as stream:
        handler = QueuedHandler(stream if is_open else None)
        logger = build_logger(handler)
        for number in range(10):
            logger.info("%d", number)
        handler.flush()
        assert not handler.has_waiting()


def test_a_record_that_cannot_be_formatted_is_reported_and_stops_nothing() -> None:
    """The library would write its traceback straight to stderr, past the cleaning and the queue."""
    stream = io.StringIO()
    handler = QueuedHandler(stream)
    build_logger(handler).info("%d", "no number")
    handler.flush()
    assert stream.getvalue() == "a log record of flowport.test could not be formatted: TypeError\n"


def test_the_program_logs_through_the_queue() -> None:
    """Nothing that is logged anywhere waits."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    start_logging([])
    assert [type(handler) for handler in root.handlers] == [QueuedHandler]
    root.handlers, root.level = handlers, level


@needs_small_pipes
def test_a_client_that_does_not_read_stderr_is_answered_all_the_same(tmp_path: Path) -> None:
    """As mark3labs/mcp-go#956 has it: the server waits for its own log, and never answers again."""
    with open_small_pipe() as (_, target), open_child(tmp_path, errors=target) as child:
        os.close(target)
        child.greet()
        assert child.process.stdin is not None
        child.process.stdin.write(b"this is not json\n" * 1500)
        assert child.ask("ping") == {}
        child.close_input()
        assert child.wait() == 0
