"""The folders that settings name, and the platform's own folders where none is named, if the user has any.

A user without a home folder (a container's numeric user, a service) has no such folders: a default that is needed then
is an error that names the variable. Nothing is looked up in the working directory, which a client chooses.
"""

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import platformdirs

from flowport.domain.errors import ConfigurationError
from flowport.settings.values import Variable


def get_default_config_path() -> Path | None:
    """Return where the person's own configuration file lies, whether or not there is one; None without a home folder."""
    folder = _find_folder(partial(platformdirs.user_config_dir, "flowport", appauthor=False))
    return folder / "config.toml" if folder else None


def choose_home(given: Path | None) -> Path:
    """Return the folder of the store.

    Raises:
        ConfigurationError: It is not given, and this user has no default for it.
    """
    usual = _find_folder(partial(platformdirs.user_data_dir, "flowport", appauthor=False))
    return _require("FLOWPORT_HOME", given or usual)


def choose_output_dir(given: Path | None, spare: Path | None) -> Path:
    """Return the folder of results.

    Args:
        spare: Used where there is no pictures folder; None where one must be named.

    Raises:
        ConfigurationError: It is not given, and this user has no default for it.
    """
    pictures = _find_folder(platformdirs.user_pictures_dir)
    return _require("FLOWPORT_OUTPUT_DIR", given or (pictures / "Flowport" if pictures else spare))


def _require(name: str, path: Path | None) -> Path:
    if path is None:
        problem = "is not set, and this user has no home folder that it could be in"
        raise ConfigurationError(name, problem, "Set it to an absolute path.")
    return path


def find_usual_roots(output_dir: Path) -> tuple[Path, ...]:
    """Return the folders that media may be read from when none is named."""
    folders: tuple[Callable[[], str], ...] = (
        platformdirs.user_pictures_dir,
        platformdirs.user_downloads_dir,
        platformdirs.user_desktop_dir,
    )
    roots = [*filter(None, map(_find_folder, folders)), output_dir]
    home = _find_folder(lambda: "~")
    # For an empty HOME Python takes the root of the file system.
    if home is None or home == Path(home.anchor):
        # The working directory may be another user's home folder, so it is not opened.
        return tuple(roots)
    working = _get_working_folder()
    if working is not None:
        roots.append(working)
    # Desktop clients start us in `/` or in the home folder. As a root either would open every key file to an assistant.
    # Resolved, because the home folder may be reached through a link and the working directory never is.
    home = home.resolve()
    return tuple(root for root in roots if not home.is_relative_to(root.resolve()))


def parse_roots(variable: Variable, text: str) -> tuple[Path, ...]:
    """Parse folders that are separated by the system's mark, or by commas, semicolons or line breaks."""
    parts = [one for part in text.split(os.pathsep) for one in _split_folders(part) if one.strip()]
    return tuple(parse_path(variable, part.strip()) for part in parts)


def _split_folders(text: str) -> list[str]:
    """Return the folders in a text that is not a folder itself and uses other separators than this system's own."""
    if os.path.isdir(os.path.expanduser(text.strip())):  # noqa: PTH111, PTH112 - a text that may be no path at all
        return [text]
    parts = [part.strip() for part in re.split(r"[,;\n]", text) if part.strip()]
    are_folders = len(parts) > 1 and all(part.startswith("~") or os.path.isabs(part) for part in parts)  # noqa: PTH117
    return parts if are_folders else [text]


def parse_path(variable: Variable, text: str) -> Path:
    """Parse the absolute path of a folder, which may begin with `~`."""
    try:
        path = Path(text).expanduser()
    except RuntimeError as exc:
        remedy = "This machine knows no home folder of that user. Give an absolute path."
        raise ConfigurationError(variable.name, f"is {text!r}", remedy) from exc
    if not path.is_absolute() or "\0" in text:
        raise ConfigurationError(variable.name, f"is {text!r}", "It takes an absolute path, or one that begins with ~.")
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
