"""Log to stderr for the operator: one line per record, without keys, tokens or invisible characters.

The HTTP library logs whole URLs, and a result's URL contains a token, so the handler cleans every record. An error may
contain untrusted text: only the first line of a record begins without a space, so untrusted lines cannot imitate records.

Logging never waits for the reader: a client may leave stderr unread, and its pipe fills. Lines wait for a thread of their own;
when too many wait, further ones are dropped and counted.
"""

import logging
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Iterable
from typing import Final, TextIO

from flowport.domain.errors import StoreError
from flowport.domain.text import HIDDEN, drop_invisible, redact

MAX_RECORD_LENGTH: Final = 20_000
"""Characters of one record; a traceback has a few thousand."""

REPEAT_SECONDS: Final = 3600.0
"""After this time a fault of the store is logged again."""


MAX_WAITING_LINES: Final = 1000
"""The most records that wait to be written; further ones are dropped."""

FLUSH_SECONDS: Final = 0.5
"""The longest wait of a flush, as at the end of the process."""


_hidden: Final[set[str]] = set()
"""Secrets that came while the process was running, such as the provider key of a request."""


def hide_secret(secret: str) -> None:
    """Remove a secret from every record from now on."""
    _hidden.add(secret)


def forget_secret(secret: str) -> None:
    """No longer keep a secret in order to remove it: nothing else holds it any more."""
    _hidden.discard(secret)


class CleaningFormatter(logging.Formatter):
    """Formats a record with its traceback, and removes secrets and the queries of URLs."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._secrets = sorted((secret for secret in secrets if secret), key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """Return the cleaned line."""
        lines = super().format(record)[:MAX_RECORD_LENGTH].splitlines()
        return clean_log_line("\n  ".join(map(drop_invisible, lines)), self._secrets)


def clean_log_line(text: str, secrets: Iterable[str]) -> str:
    """Return the text without these secrets, and without signatures and tokens."""
    for secret in (*secrets, *sorted(_hidden, key=len, reverse=True)):
        text = text.replace(secret, HIDDEN)
    return redact(text)


class OneCauseFilter(logging.Filter):
    """Drops repeated reports of one fault of the store, which all modules use."""

    def __init__(self) -> None:
        super().__init__()
        self._logged_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record reports a new fault; the same fault counts as new after an hour."""
        arguments = record.args if isinstance(record.args, tuple) else ()
        for fault in (str(each) for each in arguments if isinstance(each, StoreError)):
            last_at = self._logged_at.get(fault)
            if last_at is not None and record.created - last_at < REPEAT_SECONDS:
                return False
            if record.levelno >= logging.WARNING:
                self._logged_at[fault] = record.created
        return True


class QueuedHandler(logging.Handler):
    """Formats records immediately and writes them on a thread of its own. Records above the limit are dropped."""

    def __init__(self, stream: TextIO | None) -> None:
        """Write to a stream; None discards all records."""
        super().__init__()
        self._stream = stream
        self._descriptor = _get_descriptor(stream)
        self._waiting: deque[str] = deque()
        self._dropped = 0
        self._is_writing = self._is_closed = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record for writing."""
        try:
            line = self.format(record)
        except Exception as exc:  # noqa: BLE001 - like the library's handler, which would write to stderr directly
            line = f"a log record of {record.name} could not be formatted: {type(exc).__name__}"
        with self._changed:
            if len(self._waiting) >= MAX_WAITING_LINES:
                self._dropped += 1
                return
            self._report_dropped()
            self._waiting.append(line)
            self._changed.notify_all()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._write_waiting, name="flowport-log", daemon=True)
                self._thread.start()

    def has_waiting(self) -> bool:
        """Return whether a record is not written yet."""
        with self._changed:
            return bool(self._waiting or self._is_writing or self._dropped)

    def flush(self) -> None:
        """Wait until everything is written, at most `FLUSH_SECONDS`."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._waiting or self._is_writing), FLUSH_SECONDS)

    def close(self) -> None:
        """Write the waiting records, then let the thread end."""
        self.flush()
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        super().close()

    def _report_dropped(self) -> None:
        if self._dropped:
            lines = "1 line" if self._dropped == 1 else f"{self._dropped} lines"
            self._waiting.append(f"{lines} of this log were dropped here, because they were not read in time")
            self._dropped = 0

    def _write_waiting(self) -> None:
        while True:
            with self._changed:
                self._is_writing = False
                if not self._waiting:
                    self._report_dropped()
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                if not self._waiting:
                    return
                line, self._is_writing = self._waiting.popleft(), True
            self._write(f"{line}\n")

    def _write(self, text: str) -> None:
        """Write a line; discard it if the stream is closed."""
        try:
            if self._descriptor is not None:
                _write_all(self._descriptor, text.encode(errors="backslashreplace"))
            elif self._stream is not None:
                self._stream.write(text)
        except (OSError, ValueError):
            return


def _get_descriptor(stream: TextIO | None) -> int | None:
    """Return the descriptor of a stream; the thread must not hold the stream's lock when the process ends."""
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError):
        return None


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


def start_logging(
    secrets: Iterable[str], *, level: int = logging.WARNING, stream: TextIO | None = None, is_json: bool = False
) -> None:
    """Send all records to stderr through the cleaning handler, replacing earlier handlers."""
    handler = QueuedHandler(stream or sys.stderr)
    handler.setFormatter(_build_formatter(secrets, is_json=is_json))
    handler.addFilter(OneCauseFilter())
    logging.basicConfig(handlers=[handler], level=level, force=True)


def _build_formatter(secrets: Iterable[str], *, is_json: bool) -> logging.Formatter:
    if not is_json:
        return CleaningFormatter(secrets)
    from flowport.runtime.json_logs import JsonFormatter  # noqa: PLC0415 - only servers over HTTP need it

    return JsonFormatter(secrets)
