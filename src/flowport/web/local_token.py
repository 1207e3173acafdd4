"""The token of the person at this computer: made at the first start of a loopback server, and kept in FLOWPORT_HOME."""

import contextlib
import logging
import os
import secrets
import sys
from pathlib import Path
from typing import Final

from flowport.domain.access_tokens import create_token, is_token
from flowport.domain.errors import ConfigurationError

logger = logging.getLogger(__name__)

NAME: Final = "http-token"
_OF_OTHERS: Final = 0o077
"""The rights of all other users."""


def load_local_token(home: Path) -> str:
    """Return the token of a home, which is made at the first use.

    Raises:
        ConfigurationError: The file cannot be read or written, or holds no token.
    """
    path = home / NAME
    try:
        if not path.exists():
            _create(path, create_token())
        token = path.read_text(encoding="ascii").strip()
        is_exposed = sys.platform != "win32" and bool(path.stat().st_mode & _OF_OTHERS)
    except (OSError, ValueError) as exc:
        problem = f"holds a file {NAME} that cannot be used ({type(exc).__name__})"
        raise ConfigurationError("FLOWPORT_HOME", problem, "Make the folder writable, or delete that file.") from exc
    if not is_token(token):
        problem = f"holds a file {NAME} without a token"
        raise ConfigurationError("FLOWPORT_HOME", problem, "Delete that file; a new one is made at the next start.")
    if is_exposed:
        logger.warning("other users of this computer may read %s: delete it, and start again for a new token", path)
    return token


def _create(path: Path, token: str) -> None:
    """Write the file as a whole for its user alone, unless another process has just made it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f".{NAME}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(f"{token}\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(part, path)
        except FileExistsError:
            return
        except OSError:
            # Some file systems have no hard links.
            part.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
