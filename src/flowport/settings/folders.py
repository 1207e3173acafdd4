"""The folders that settings name, and what stands where none is named: the places of the platform, if the user has any.

A user without a home folder (a container's numeric user, a service) has no such places: what is given needs none, and
where one is needed the variable is named. Nothing is ever sought in the working directory, which a client chooses.
"""

import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import platformdirs

from flowport.domain.errors import ConfigurationError

FOLDER_SETTINGS: Final = frozenset({"FLOWPORT_HOME", "FLOWPORT_OUTPUT_DIR"})
"""Settings whose default depends on the user."""

ANY_FOLDER: Final = str(Path(__file__).anchor)
"""An absolute path that exists, for reading on where a folder is wrong or missing."""


def get_default_config_path() -> Path | None:
    """Return where the person's own configuration file lies, whether or not there is one; None without a home folder."""
    folder = _find_folder(partial(platformdirs.user_config_dir, "flowport", appauthor=False))
    return folder / "config.toml" if folder else None


def parse_home(values: Mapping[str, str]) -> Path:
    """Return the folder of the record.

    Raises:
        ConfigurationError: It is no absolute path, or not given and without a default.
    """
    usual = _find_folder(partial(platformdirs.user_data_dir, "flowport", appauthor=False))
    return _parse_path(values, "FLOWPORT_HOME", usual)


def parse_output_dir(values: Mapping[str, str], spare: Path | None) -> Path:
    """Return the folder of results.

    Args:
        spare: Stands in where there is no pictures folder; None where one must be named.

    Raises:
        ConfigurationError: It is no absolute path, or not given and without a default.
    """
    pictures = _find_folder(platformdirs.user_pictures_dir)
    return _parse_path(values, "FLOWPORT_OUTPUT_DIR", pictures / "Flowport" if pictures else spare)


def parse_roots(values: Mapping[str, str], output_dir: Path) -> tuple[Path, ...]:
    """Return the folders that media may be read from.

    Raises:
        ConfigurationError: One is no absolute path.
    """
    name = "FLOWPORT_FILE_ROOTS"
    if name in values:
        parts = [one for part in values[name].split(os.pathsep) for one in _split_folders(part) if one.strip()]
        return tuple(_parse_path({name: part.strip()}, name, output_dir) for part in parts)
    folders: tuple[Callable[[], str], ...] = (
        platformdirs.user_pictures_dir,
        platformdirs.user_downloads_dir,
        platformdirs.user_desktop_dir,
    )
    roots = [*filter(None, map(_find_folder, folders)), output_dir]
    home = _find_folder(lambda: "~")
    # For an empty HOME Python takes the root of the file system.
    if home is None or home == Path(home.anchor):
        # Nothing tells whether the working directory is somebody's home folder, so it is not opened.
        return tuple(roots)
    working = _get_working_folder()
    if working is not None:
        roots.append(working)
    # Desktop clients start us in `/` or in the home folder. As a root either would open every key file to an assistant.
    # Resolved, because the home folder may be reached through a link and the working directory never is.
    home = home.resolve()
    return tuple(root for root in roots if not home.is_relative_to(root.resolve()))


def _split_folders(text: str) -> list[str]:
    """Return the folders in a text that is none itself, parted by other marks than this system's own."""
    if os.path.isdir(os.path.expanduser(text.strip())):  # noqa: PTH111, PTH112 - a text that may be no path at all
        return [text]
    parts = [part.strip() for part in re.split(r"[,;\n]", text) if part.strip()]
    are_folders = len(parts) > 1 and all(part.startswith("~") or os.path.isabs(part) for part in parts)  # noqa: PTH117
    return parts if are_folders else [text]


def _parse_path(values: Mapping[str, str], name: str, default: Path | None) -> Path:
    """Return the folder that is given, else the default; None for a user who has none."""
    text = values.get(name)
    if text is None:
        if default is None:
            problem = "is not set, and this user has no home folder that it could be in"
            raise ConfigurationError(name, problem, "Set it to an absolute path.")
        return default
    try:
        path = Path(text).expanduser()
    except RuntimeError as exc:
        remedy = "This machine knows no home folder of that user. Give an absolute path."
        raise ConfigurationError(name, f"is {text!r}", remedy) from exc
    if not path.is_absolute() or "\0" in text:
        raise ConfigurationError(name, f"is {text!r}", "It takes an absolute path, or one that begins with ~.")
    return path


def _find_folder(find: Callable[[], str]) -> Path | None:
    """Return a folder of the platform; None for a user without a home folder, of whom only `~` is known."""
    try:
        path = Path(find()).expanduser()
    except (RuntimeError, OSError, KeyError):
        return None
    # A relative one would be sought in whatever folder a client started us in.
    return path if path.is_absolute() else None


def _get_working_folder() -> Path | None:
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None  # it was removed while a shell stood in it
