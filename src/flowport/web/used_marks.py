"""What may be used once, or counts no longer, on a server that is alone: used sign-in links, and sessions that were signed out.

Sessions outlive a process, so their ends are also in a file. The replicas of a team use their database instead.
"""

import logging
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

import anyio.to_thread

logger = logging.getLogger(__name__)

ENDED_NAME: Final = "ended-sessions"
"""The file in FLOWPORT_HOME that names the sessions whose person has signed out."""

SESSION_PREFIX: Final = "session:"
"""Of the mark of a session; the file holds what follows."""

_MAX_REMEMBERED: Final = 100_000
_ENDED_PARTS: Final = 2
"""Of a line: the session, and when it expires."""


class LocalMarks:
    """The marks of one process, and of earlier ones as far as they are about sessions."""

    def __init__(self, home: Path, now: float) -> None:
        """Read which sessions have ended."""
        self._path = home / ENDED_NAME
        self._expiry = {f"{SESSION_PREFIX}{name}": end for name, end in _load_ended(self._path, now).items()}
        """When each mark expires, which makes it worthless anyway."""

    async def use(self, mark: str, *, expires_at: float, now: float) -> bool:
        """Return whether this is the first use."""
        if mark in self._expiry:
            return False
        if len(self._expiry) >= _MAX_REMEMBERED:
            self._expiry = {name: end for name, end in self._expiry.items() if end > now}
        self._expiry[mark] = expires_at
        if mark.startswith(SESSION_PREFIX):
            ended = {mark.removeprefix(SESSION_PREFIX): expires_at}
            await anyio.to_thread.run_sync(_keep_ended, self._path, ended)
        return True

    async def is_used(self, mark: str) -> bool:
        """Return whether it was used."""
        return mark in self._expiry


def _load_ended(path: Path, now: float) -> dict[str, float]:
    """Return the ended sessions of a file with the instants at which they expire, and drop those that have expired."""
    try:
        lines = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
        known = {parts[0]: float(parts[1]) for parts in lines if len(parts) == _ENDED_PARTS}
        ended = {nonce: expires_at for nonce, expires_at in known.items() if expires_at > now}
        if len(ended) < len(lines):
            part = path.with_name(f".{path.name}.part")
            _write_ended(part, "w", ended)
            part.replace(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        logger.warning("the file %s cannot be used (%s): delete it", path.name, type(exc).__name__)
        return {}
    return ended


def _keep_ended(path: Path, ended: Mapping[str, float]) -> None:
    """Add ended sessions to a file."""
    try:
        _write_ended(path, "a", ended)
    except OSError as exc:
        logger.warning(
            "the file %s cannot be written: a session ended until this process ends: %s", path.name, exc.strerror
        )


def _write_ended(path: Path, mode: str, ended: Mapping[str, float]) -> None:
    with open(path, mode, encoding="ascii", opener=partial(os.open, mode=0o600)) as file:
        file.writelines(f"{nonce} {expires_at}\n" for nonce, expires_at in ended.items())
