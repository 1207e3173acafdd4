"""Logs for the operator: on stderr, one line each, with no key and no token in them.

The HTTP library logs whole URLs, and a result's URL carries the token that opens it. So the cleaning sits in the
handler, where every record passes, whoever wrote it.
"""

import logging
import re
import sys
from collections.abc import Iterable
from typing import Final, TextIO

_QUERY: Final = re.compile(r"(https?://[^\s?\"'<>]+)\?[^\s\"'<>]+")
_USERINFO: Final = re.compile(r"(https?://)[^\s/?#\"'<>]+@")
HIDDEN: Final = "[hidden]"


class CleaningFormatter(logging.Formatter):
    """Formats a record, traceback included, and takes out secrets and the queries of URLs."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._secrets = sorted((secret for secret in secrets if secret), key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """Return the cleaned line."""
        return clean_log_line(super().format(record), self._secrets)


def clean_log_line(text: str, secrets: Iterable[str]) -> str:
    """Return the text without these secrets, without the queries of URLs and without passwords in them."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    text = _USERINFO.sub(rf"\1{HIDDEN}@", text)
    return _QUERY.sub(rf"\1?{HIDDEN}", text)


def start_logging(secrets: Iterable[str], *, level: int = logging.WARNING, stream: TextIO | None = None) -> None:
    """Send every logger's records to stderr through the cleaning handler, replacing what was set up before."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(CleaningFormatter(secrets))
    logging.basicConfig(handlers=[handler], level=level, force=True)
