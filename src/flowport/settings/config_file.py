"""Read the configuration file: its bytes as editors and shells write them, its TOML, its keys.

All that is wrong is collected, so that a person corrects the file once.
"""

import codecs
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from flowport.domain.errors import ConfigurationError
from flowport.domain.text import clean_line, get_nearest
from flowport.providers.registry import get_plugins
from flowport.settings.variables import get_variables

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    # Before UTF-16, whose mark is the beginning of this one.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte order marks and what follows each."""

_EXAMPLE: Final = "flowport_wait_seconds"
_MAX_PARSER_WORDS: Final = 200
_UNKNOWN: Final = "is not a variable that Flowport knows"

# Messages of the standard library's parser, and the usual mistake behind each.
_USUAL_MISTAKES: Final = (
    ("Unescaped '\\'", "In double quotes a backslash begins a code: write Windows paths between single quotes."),
    ("Invalid value", "Texts and paths stand between quotes; lists between [ and ]."),
    ("Invalid hex value", "In double quotes a backslash begins a code: write Windows paths between single quotes."),
    ("Illegal character '\\n'", "A quote is missing at the end of the line."),
    ("Expected '='", "Each line is a name, an equals sign and a value."),
    ("Cannot overwrite a value", "The same name stands there twice: remove one."),
)


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """What a configuration file says."""

    values: Mapping[str, str] = field(default_factory=dict)
    """By variable name."""
    tables: Mapping[str, Any] = field(default_factory=dict)
    """What the tables of the providers mean, by their names."""
    problems: tuple[ConfigurationError, ...] = ()
    """All that is wrong with it, in its own order."""
    is_unread: bool = False
    """Whether nothing of it could be read, so that what it sets is not known."""


def load_config_file(path: Path, *, must_exist: bool) -> ConfigFile:
    """Return what the file says, and what of it cannot be used. Raises nothing.

    Args:
        must_exist: Whether a person named it; else a missing one says nothing.
    """
    try:
        table = tomllib.loads(_decode(path.read_bytes()))
    except FileNotFoundError:
        missing = ConfigurationError(str(path), "does not exist", "Give the path of a TOML file.")
        return ConfigFile(problems=(missing,) if must_exist else (), is_unread=must_exist)
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        problem = ConfigurationError(str(path), f"cannot be read ({reason})", "Give the path of a TOML file.")
        return ConfigFile(problems=(problem,), is_unread=True)
    except UnicodeDecodeError as exc:
        line = exc.object.count(b"\n", 0, exc.start) + 1
        unread = f"cannot be read: line {line} holds a byte that is not {exc.encoding.upper()}"
        problem = ConfigurationError(str(path), unread, "Save the file as UTF-8.")
        return ConfigFile(problems=(problem,), is_unread=True)
    except tomllib.TOMLDecodeError as exc:
        return ConfigFile(problems=(_build_syntax_error(path, exc),), is_unread=True)
    except RecursionError:
        problem = ConfigurationError(
            str(path), "cannot be read: it is nested too deeply", "Write each setting on its own line."
        )
        return ConfigFile(problems=(problem,), is_unread=True)
    return _parse_table(table, path)


def _decode(content: bytes) -> str:
    """Return the text of a file by its byte order mark; without one it is UTF-8, or UTF-16 where every other byte is 0."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return _unify_lines(content[len(mark) :].decode(encoding))
    start = content[:2]
    if len(start) == 2 and 0 in start and any(start):  # noqa: PLR2004
        return _unify_lines(content.decode("utf-16-be" if start[0] == 0 else "utf-16-le"))
    return _unify_lines(content.decode("utf-8"))


def _unify_lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _build_syntax_error(path: Path, error: tomllib.TOMLDecodeError) -> ConfigurationError:
    # The parser names keys and single characters, never a value, so its messages cannot contain a key.
    words = clean_line(str(error), limit=_MAX_PARSER_WORDS)
    found = re.fullmatch(r"(.*) \((at .*)\)", words)
    reason = f"{found[2].removeprefix('at ')}: {found[1]}" if found else words
    remedy = next((remedy for start, remedy in _USUAL_MISTAKES if str(error).startswith(start)), "Correct that line.")
    return ConfigurationError(str(path), f"cannot be read: it is not TOML ({reason})", remedy)


def _parse_table(table: dict[str, Any], path: Path) -> ConfigFile:
    problems: list[ConfigurationError] = []
    values: dict[str, str] = {}
    tables: dict[str, Any] = {}
    parsers = {name: parse for plugin in get_plugins() for name, parse in plugin.tables.items()}
    for key, value in table.items():
        try:
            if key in parsers:
                tables[key] = parsers[key](value)
            else:
                name = _parse_key(key, value, path)
                values[name] = _format_value(key, value, path)
        except ConfigurationError as exc:
            problems.append(exc)
    return ConfigFile(values, tables, tuple(problems))


def _parse_key(key: str, value: Any, path: Path) -> str:
    known = {variable.name.lower(): variable.name for variable in get_variables()}
    if key in known:
        return known[key]
    setting = f"{clean_line(key)} in {path.name}"
    if isinstance(value, dict) or _holds_tables(value):
        meant = next(_find_below(key, value), _EXAMPLE)
        remedy = f"Write each setting by itself before any heading, such as {meant}."
        raise ConfigurationError(setting, _UNKNOWN, remedy)
    nearest = next(_find_nearest(key), "")
    raise ConfigurationError(setting, _UNKNOWN, f"Did you mean {nearest}?" if nearest else "Remove it.")


def _holds_tables(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def _find_below(heading: str, value: Any) -> Iterator[str]:
    """Yield the keys that may be meant below a heading, which may be the beginning of their names."""
    for table in value if isinstance(value, list) else [value]:
        for key, below in table.items() if isinstance(table, dict) else ():
            if isinstance(below, dict) or _holds_tables(below):
                yield from _find_below(key, below)
            else:
                yield from _find_same(f"{heading}_{key}")
                yield from _find_same(key)


def _find_nearest(key: str) -> Iterator[str]:
    """Yield the keys that may be meant: the same one spelt otherwise or without its beginning first, then similar ones."""
    yield from _find_same(key)
    snake = _build_snake(key)
    yield from get_nearest(snake, _get_keys())
    short = {name.removeprefix("flowport_"): name for name in _get_keys() if name.startswith("flowport_")}
    yield from (short[one] for one in get_nearest(snake, short))


def _find_same(key: str) -> Iterator[str]:
    snake = _build_snake(key)
    prefixes = ("", "flowport_", *(plugin.prefix.lower() for plugin in get_plugins()))
    yield from (name for name in _get_keys() if name in {f"{prefix}{snake}" for prefix in prefixes})


def _get_keys() -> tuple[str, ...]:
    return tuple(variable.name.lower() for variable in get_variables())


def _build_snake(key: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower().replace("-", "_").replace(".", "_")


def _format_value(key: str, value: Any, path: Path) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return (os.pathsep if key.endswith("roots") else ",").join(value)
    setting = f"{key} in {path.name}"
    raise ConfigurationError(setting, "is neither text, a number nor a list of texts", "Write one of these.")
