"""Edit one entry of a TOML text: the table `[SECTION.NAME]` and those below it. Pure.

An entry is added as a table at the end, which is valid wherever the section is made of tables; an existing one is edited
inside the lines of its own table. All other lines stay as they are.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from flowport.cli.jsonc import Edit, Unreadable, apply_edits, find_newline

_NO_CONTENT: Final = re.compile(r"[ \t]*(?:#.*)?\r?\n?\Z")
_TABLE: Final = re.compile(r"^[ \t]*\[", re.MULTILINE)


def parse(text: str) -> dict[str, Any]:
    """Return what a text contains.

    Raises:
        Unreadable: It is not TOML.
    """
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise Unreadable(f"it is not valid TOML: {exc}") from exc


def put(text: str, path: Sequence[str], value: Any) -> list[Edit]:
    """Return the edit that sets an entry (two keys), or a key of an entry (three).

    Raises:
        Unreadable: The entry is not a table of its own.
    """
    section, name, *rest = path
    newline = find_newline(text)
    if not rest:
        gap = ("" if text.endswith("\n") else newline) + newline if text else ""
        edits = remove(text, path) if name in parse(text).get(section, {}) else []
        edits.append(Edit(len(text), len(text), gap + format_table(path, value).replace("\n", newline)))
        if not _is_whole(apply_edits(text, edits)):
            raise Unreadable(f"its {section} is not written as tables")
        return edits
    import tomlkit  # noqa: PLC0415 - only for a changed entry

    start, end = next(_find_tables(text, section, name, r"\]"), (0, 0))
    if not end:
        raise Unreadable(f"its entry {name!r} is not written as a table")
    try:
        document: Any = tomlkit.parse(text[start:end])
    except ValueError as exc:
        raise Unreadable(f"its entry {name!r} cannot be parsed: {exc}") from exc
    document[section][name][rest[0]] = value
    return [Edit(start, end, re.sub(r"\r?\n", newline, tomlkit.dumps(document)))]


def remove(text: str, path: Sequence[str]) -> list[Edit]:
    """Return the edits that remove the tables of an entry, with the blank line before each; comments stay."""
    edits = []
    section, name = path
    for start, end in _find_tables(text, section, name, r"[.\]]"):
        before = re.search(r"(?<=\n)[ \t]*\r?\n\Z", text[:start])
        is_apart = not text[end:].strip(" \t") or re.match(r"[ \t]*\r?\n", text[end:])
        edits.append(Edit(before.start() if before and is_apart else start, end, ""))
    return edits


def format_table(path: Sequence[str], value: Mapping[str, Any]) -> str:
    """Return a table with its line ends."""
    lines = [f"{_format_key(key)} = {_format_value(one)}" for key, one in value.items()]
    return "\n".join([f"[{'.'.join(map(_format_key, path))}]", *lines, ""])


def _format_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _format_value(key)


def _format_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_format_key(key)} = {_format_value(one)}' for key, one in value.items())} }}"
    # Texts, numbers, truth values and lists of them are written in TOML as in JSON.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _find_tables(text: str, section: str, name: str, end: str) -> Iterator[tuple[int, int]]:
    """Yield where each table of the entry begins, and where its last key ends."""
    path = r"[ \t]*\.[ \t]*".join(rf"([\"']?){re.escape(key)}\{i}" for i, key in enumerate((section, name), 1))
    for match in re.finditer(rf"^[ \t]*\[[ \t]*{path}[ \t]*{end}", text, re.MULTILINE):
        if _is_whole(text[: match.start()]):
            yield match.start(), _find_end(text, match.start())


def _find_end(text: str, start: int) -> int:
    """Return where the last key of a table ends, with its line; comments and blank lines after it are not part of it."""
    following = (match.start() for match in _TABLE.finditer(text, start + 1))
    end = next((one for one in following if _is_whole(text[start:one])), len(text))
    lines = text[start:end].splitlines(keepends=True)
    while _NO_CONTENT.match(lines[-1]):
        lines.pop()
    return start + len("".join(lines))


def _is_whole(text: str) -> bool:
    """Return whether a part ends between statements, not inside a text or an array of several lines."""
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True
