"""Write log records as one JSON object a line, with the id of the request that they belong to. Loaded where it is used."""

import json
import logging
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from flowport.domain.text import drop_invisible
from flowport.runtime.logging import MAX_RECORD_LENGTH, clean_log_line

ACCESS_LOG: Final = "flowport.access"
"""The logger with one record for each request."""

DETAILS: Final = "details"
"""The attribute of a record that holds further members, a mapping."""


@dataclass(frozen=True, slots=True)
class LogContext:
    """Where the records of a request belong."""

    request_id: str
    trace_id: str = ""
    """Of the client's trace; empty without one."""


_context: ContextVar[LogContext | None] = ContextVar("flowport_log_context", default=None)


def enter_log_context(context: LogContext) -> None:
    """Name this request in the records of the current task and of those that it starts."""
    _context.set(context)


class JsonFormatter(logging.Formatter):
    """Formats a record as a JSON object, without secrets and the queries of URLs."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__()
        self._secrets = sorted((secret for secret in secrets if secret), key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """Return the cleaned line."""
        context = _context.get()
        members: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": self._clean(record.getMessage()),
        }
        if context is not None:
            members["request_id"] = context.request_id
            if context.trace_id:
                members["trace_id"] = context.trace_id
        details = getattr(record, DETAILS, None)
        if isinstance(details, Mapping):
            members |= {name: value for name, value in details.items() if value not in ("", None)}
        if record.exc_info:
            members["exception"] = self._clean(self.formatException(record.exc_info))
        return json.dumps(members, ensure_ascii=True)

    def _clean(self, text: str) -> str:
        lines = text[:MAX_RECORD_LENGTH].splitlines()
        return clean_log_line("\n".join(map(drop_invisible, lines)), self._secrets)
