"""The rows of the settings table, the parsers of single values, and the default folders of the platform.

A value may arrive between quotes that nothing took off (`docker --env-file`). A user without a home folder (a container's
numeric user, a service) has no default folders: a default that is needed then is an error that names the variable. Nothing
is looked up in the working directory, which a client chooses.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import platformdirs

from flowport.domain.errors import ConfigurationError

LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})

FILE_ORIGINS_MEANING: Final = "Origins on this machine or network whose files may be fetched, such as `http://10.0.0.5:8188`, separated by commas."
"""Every provider has such a setting."""

BOOLEANS: Final = {
    **dict.fromkeys(("true", "yes", "on", "1", "y", "t", "enabled", "enable"), True),
    **dict.fromkeys(("false", "no", "off", "0", "n", "f", "disabled", "disable"), False),
}
"""By spelling in lower case."""

WEBHOOK_SECRET_MEANING: Final = "The secret that signs its webhooks; with it an unsigned one is refused. Several are separated by commas, so that it can be replaced."  # noqa: S105 - the meaning of one
"""Of every provider that signs webhooks."""

_MIN_SECRET_LENGTH: Final = 8

_EDGES: Final = " \t\r\n\f\v\N{NO-BREAK SPACE}\N{ZERO WIDTH SPACE}\N{WORD JOINER}\N{ZERO WIDTH NO-BREAK SPACE}"
_QUOTES: Final = frozenset("\"'`")


@dataclass(frozen=True, slots=True)
class Variable:
    """One setting: its name, documentation, parser and default."""

    name: str
    meaning: str
    """One sentence for docs/settings.md and `--help`."""
    default: str
    """As docs/settings.md shows it."""
    parse: "Parse"
    usual: Any = None
    """The value when nothing is given."""


Parse: TypeAlias = Callable[[Variable, str], Any]
"""Returns the value that a text means, or raises `ConfigurationError`."""


def strip_quotes(text: str) -> str:
    """Return the text without white space around it and without pairs of quotes around the whole of it."""
    text = text.strip(_EDGES)
    while len(text) > 1 and text[0] in _QUOTES and text[0] == text[-1]:
        text = text[1:-1].strip(_EDGES)
    return text


def parse_boolean(text: str) -> bool | None:
    """Return what the word means; None when it means neither."""
    return BOOLEANS.get(strip_quotes(text).lower())


def parse_switch(variable: Variable, text: str) -> bool:
    """Parse true or false."""
    is_on = parse_boolean(text)
    if is_on is None:
        raise ConfigurationError(variable.name, f"is {text!r}", "It takes true or false.")
    return is_on


def parse_choice(*choices: str) -> Parse:
    """Build a parser of one of several words, in any case."""
    listed = f"{', '.join(choices[:-1])} or {choices[-1]}"

    def parse(variable: Variable, text: str) -> str:
        """Return the word in lower case."""
        if (word := text.strip().lower()) in choices:
            return word
        raise ConfigurationError(variable.name, f"is {text!r}", f"It takes {listed}.")

    return parse


def parse_number(low: float, high: float, *, is_whole: bool = False) -> Parse:
    """Build a parser of a number in a closed range."""
    kind = "a whole number" if is_whole else "a number"

    def parse(variable: Variable, text: str) -> float:
        """Return the number."""
        try:
            number: float = int(text) if is_whole else float(text)
        except ValueError:
            number = float("nan")
        if low <= number <= high:
            return number
        raise ConfigurationError(variable.name, f"is {text!r}", f"It takes {kind} from {low:g} to {high:g}.")

    return parse


def parse_list(_: Variable, text: str) -> tuple[str, ...]:
    """Parse texts that are separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parse_webhook_secrets(variable: Variable, text: str) -> tuple[str, ...]:
    """Parse the secrets that sign webhooks, separated by commas; an error quotes none."""
    found = parse_list(variable, text)
    if any(len(secret) < _MIN_SECRET_LENGTH or not secret.isascii() or not secret.isprintable() for secret in found):
        problem = f"holds a secret of fewer than {_MIN_SECRET_LENGTH} characters, or with characters outside ASCII"
        raise ConfigurationError(variable.name, problem, "Copy it from the provider; several are separated by commas.")
    return found


def parse_base_url(variable: Variable, text: str) -> str:
    """Parse the address of an API: https, or http on this machine. An error does not quote it, it may hold a password."""
    url = text.strip().rstrip("/")
    example = f"It looks like {variable.usual or 'https://api.example.com'}."
    parts = _split(url)
    if parts is None:
        raise ConfigurationError(variable.name, "is not a URL", example)
    if not _is_plain(url, parts):
        raise ConfigurationError(variable.name, "is not a plain URL", example)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS):
        raise ConfigurationError(variable.name, "is not https", "Only an address on this machine may be http.")
    return url


def parse_database_url(variable: Variable, text: str) -> str:
    """Parse the address of a PostgreSQL database. An error does not quote it, it may hold a password."""
    url = text.strip()
    parts = _split(url)
    example = "It looks like postgresql://USER@HOST/DATABASE."
    if parts is None or parts.scheme not in {"postgresql", "postgres"} or not url.isprintable() or " " in url:
        raise ConfigurationError(variable.name, "is not the address of a PostgreSQL database", example)
    is_local = "host=" in parts.query
    if not parts.path.strip("/") or not (parts.hostname or is_local):
        raise ConfigurationError(variable.name, "names no host, or no database", example)
    return url


def describe_database(url: str) -> str:
    """Return the host and the name of a database, without the rest of its address."""
    parts = urlsplit(url)
    host = parts.hostname or parse_qs(parts.query).get("host", ["this computer"])[0]
    return f"{host}/{parts.path.strip('/')}"


def find_passwords(url: str) -> set[str]:
    """Return what no log may hold of the address of a database: the whole of it, and each form of its password."""
    if not url:
        return set()
    parts = urlsplit(url)
    given = {parts.password or "", *parse_qs(parts.query).get("password", [])}
    return {url, *(form for one in given if one for form in (one, unquote(one)))}


def parse_origins(variable: Variable, text: str) -> frozenset[str]:
    """Parse origins that are separated by commas, each as `scheme://host:port` without a default port."""
    return frozenset(_parse_origin(variable, part) for part in parse_list(variable, text))


def _parse_origin(variable: Variable, text: str) -> str:
    parts = _split(text.lower().rstrip("/"))
    is_whole = parts is not None and not parts.path and parts.port != 0 and not set(text) & set("*%")
    if parts is None or not is_whole or parts.scheme not in {"http", "https"} or not _is_plain(text, parts):
        problem = "holds something that is not an origin"
        raise ConfigurationError(variable.name, problem, "Each looks like http://10.0.0.5:8188, without a path.")
    port = None if parts.port == {"http": 80, "https": 443}[parts.scheme] else parts.port
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}"


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _is_plain(url: str, parts: SplitResult) -> bool:
    is_plain = url.isascii() and url.isprintable() and not set(url) & set(" ?#\\")
    return bool(parts.hostname) and "@" not in parts.netloc and is_plain


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
