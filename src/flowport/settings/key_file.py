"""Read and write the file of API keys: `keys.toml` in the user's configuration folder, for its user alone.

Its lines are those of the configuration file, keys only. On Windows the profile's own permissions protect it: the
modes that are set here mean nothing there.
"""

import json
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from flowport.domain.errors import ConfigurationError
from flowport.settings.config_file import ConfigFile, load_config_file
from flowport.settings.values import get_default_config_path
from flowport.settings.variables import get_key_names

NAME: Final = "keys.toml"
_HEADER: Final = "# API keys, written by `flowport auth`. Keep this file to yourself.\n"
_OF_OTHERS: Final = 0o077
"""The rights of all other users."""


def get_key_file_path() -> Path | None:
    """Return the path of the key file, whether or not it exists; None for a user without a home folder."""
    path = get_default_config_path()
    return path.with_name(NAME) if path else None


def load_key_file(path: Path) -> ConfigFile:
    """Return the keys in the file, and what of it cannot be used. A missing file is empty. Raises nothing."""
    found = load_config_file(path, must_exist=False)
    problems = [replace(problem, remedy=_advise(path)) for problem in found.problems]
    others = [*(name for name in found.values if name not in get_key_names()), *found.tables]
    for name in others:
        remedy = f"Move it to {path.with_name('config.toml')}."
        problems.append(ConfigurationError(f"{name.lower()} in {NAME}", "is not an API key", remedy))
    keys = {name: text for name, text in found.values.items() if name not in others}
    return ConfigFile(keys, problems=tuple(problems), is_unread=found.is_unread)


def is_exposed(path: Path) -> bool:
    """Return whether other users of this computer may read or change the file."""
    try:
        return sys.platform != "win32" and bool(path.stat().st_mode & _OF_OTHERS)
    except OSError:
        return False


def save_key_file(path: Path, keys: Mapping[str, str]) -> None:
    """Replace the file as a whole, readable by its user alone; without keys it is removed.

    Raises:
        OSError: The folder cannot be written to; the file is unchanged.
    """
    # A link that a person made stays, and leads to the new file.
    path = Path(os.path.realpath(path))
    if not keys:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A TOML string is written as a JSON string: a key is printable ASCII.
    text = _HEADER + "".join(f"{name.lower()} = {json.dumps(key)}\n" for name, key in sorted(keys.items()))
    part = path.with_name(f".{NAME}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _advise(path: Path) -> str:
    return f"Correct {path}, or remove it and run `flowport auth` again."
