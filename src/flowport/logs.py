"""Logs for the operator: on stderr, one line each, with no key and no token in them, and nothing that cannot be seen.

The HTTP library logs whole URLs, and a result's URL carries the token that opens it. So the cleaning sits in the
handler, where every record passes, whoever wrote it. An error may repeat what a stranger wrote: only a record's first
line begins without a space, so none of theirs passes for one of ours.
"""

import logging
import sys
from collections.abc import Iterable
from typing import Final, TextIO

from flowport.errors import LedgerError
from flowport.labels import drop_invisible
from flowport.redaction import HIDDEN, redact

MAX_RECORD_LENGTH: Final = 20_000
"""Characters of one record; a traceback has a few thousand."""

REPEAT_SECONDS: Final = 3600.0
"""After which a fault of the record of runs is logged again."""


class CleaningFormatter(logging.Formatter):
    """Formats a record, traceback included, and takes out secrets and the queries of URLs."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._secrets = sorted((secret for secret in secrets if secret), key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """Return the cleaned line."""
        lines = super().format(record)[:MAX_RECORD_LENGTH].splitlines()
        return clean_log_line("\n  ".join(map(drop_invisible, lines)), self._secrets)


def clean_log_line(text: str, secrets: Iterable[str]) -> str:
    """Return the text without these secrets and without what signs or authorises."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return redact(text)


class OneCauseFilter(logging.Filter):
    """Drops what follows from a fault that is in the log already: the record of runs is used everywhere, and fails once."""

    def __init__(self) -> None:
        super().__init__()
        self._logged_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record says something new; the same fault is news again after an hour."""
        arguments = record.args if isinstance(record.args, tuple) else ()
        for fault in (str(each) for each in arguments if isinstance(each, LedgerError)):
            last_at = self._logged_at.get(fault)
            if last_at is not None and record.created - last_at < REPEAT_SECONDS:
                return False
            if record.levelno >= logging.WARNING:
                self._logged_at[fault] = record.created
        return True


def start_logging(secrets: Iterable[str], *, level: int = logging.WARNING, stream: TextIO | None = None) -> None:
    """Send every logger's records to stderr through the cleaning handler, replacing what was set up before."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(CleaningFormatter(secrets))
    handler.addFilter(OneCauseFilter())
    logging.basicConfig(handlers=[handler], level=level, force=True)
