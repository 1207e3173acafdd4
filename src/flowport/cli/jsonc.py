"""Edit one member of a JSON text that may contain comments and trailing commas.

No library for Python edits such a text without writing it out again. Comments and trailing commas are blanked out with
spaces, so that the standard parser reads the rest and every offset stays valid; edits are spans of the text as it was.
Pure.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

_STRING: Final = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_COMMENT: Final = re.compile(rf"{_STRING}|(//[^\r\n]*|/\*.*?\*/)", re.DOTALL)
_LAST_COMMA: Final = re.compile(rf"{_STRING}|[{{\[,:]\s*,|(,)(?=\s*[}}\]])", re.DOTALL)
_REST_OF_LINE: Final = re.compile(r"[ \t]*(?:/\*[^\r\n]*?\*/[ \t]*)*(?://[^\r\n]*)?")
_INDENT: Final = re.compile(r"[ \t]*")


class Unreadable(ValueError):
    """A text cannot be parsed or edited for certain; the message is the end of a sentence after "because"."""


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """A span of a text and what replaces it."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class _Member:
    key: str
    start: int
    value: Any
    value_start: int
    value_end: int
    comma: int | None


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    """Return the text with edits made in it, none of which overlap; all between them stays byte by byte."""
    parts: list[str] = []
    done = 0
    for edit in sorted(edits):
        parts += [text[done : edit.start], edit.text]
        done = edit.end
    return "".join([*parts, text[done:]])


def find_newline(text: str) -> str:
    """Return the line end that a text uses first; a line feed if it has none."""
    return "\r\n" if re.search(r"\r?\n|$", text).group() == "\r\n" else "\n"  # type: ignore[union-attr]


def parse(text: str) -> dict[str, Any]:
    """Return the members of the object that a text is; a blank text has none.

    Raises:
        Unreadable: It is not JSON with comments, or not an object.
    """
    try:
        value = json.loads(_blank(text)[1], parse_constant=_refuse) if text.strip() else {}
    except json.JSONDecodeError as exc:
        raise Unreadable(f"it is not valid JSON: {exc.msg} in line {exc.lineno}, column {exc.colno}") from exc
    except RecursionError as exc:
        raise Unreadable("it is nested too deeply") from exc
    if not isinstance(value, dict):
        raise Unreadable("it is not a JSON object")
    return value


def put(text: str, path: Sequence[str], value: Any) -> list[Edit]:
    """Return the edits that set a member, with the objects around it where they are missing.

    Raises:
        Unreadable: A member on the path is not an object, or is there twice.
    """
    parse(text)
    if not text.strip():
        (start,) = _put("{}", 0, path, value)
        return [Edit(len(text), len(text), f"{{{start.text}}}\n")]
    return _put(text, _blank(text)[1].index("{"), path, value)


def _put(text: str, start: int, path: Sequence[str], value: Any) -> list[Edit]:
    key, *rest = path
    members = _get_members(text, start)
    known = _find(members, key)
    if known is None:
        for name in reversed(rest):
            value = {name: value}
        return _append(text, start, members, key, value)
    if rest:
        return _put(text, _enter(known), rest, value)
    rendered = _render(value, _get_indent(text, known.start), _find_unit(text), find_newline(text))
    return [Edit(known.value_start, known.value_end, rendered)]


def remove(text: str, path: Sequence[str]) -> list[Edit]:
    """Return the edits that remove a member and the comma that separates it; comments around it stay."""
    start = _blank(text)[1].index("{")
    for key in path[:-1]:
        start = _enter(_find(_get_members(text, start), key))
    members = _get_members(text, start)
    known = _find(members, path[-1])
    if known is None:
        return []
    index = members.index(known)
    before = text[: known.start].rstrip(" \t")
    rest_of_line = re.match(r"[ \t]*,?[ \t]*(?=[\r\n])", text[known.value_end :])
    begin, end = known.start, known.value_end
    if not before.endswith("\n"):
        begin = len(before)
    elif rest_of_line:
        # The whole line goes. With anything behind it, that would end in the comment of the line before.
        begin = len(before) - (2 if before.endswith("\r\n") else 1)
        end += rest_of_line.end()
    comma = known.comma if known.comma is not None or not index else members[index - 1].comma
    edits = [Edit(begin, end, "")]
    if comma is not None and not begin <= comma < end:
        edits.append(Edit(comma, comma + 1, ""))
    left = apply_edits(text, edits)
    if len(members) == 1 and left[start + 1 :].lstrip().startswith("}"):
        # The white space was there for the entry.
        return [Edit(start + 1, text.index("}", max(edits).end), "")]
    return edits


def _append(text: str, start: int, members: Sequence[_Member], key: str, value: Any) -> list[Edit]:
    """Return the edits that add a member at the end of an object, in the style of those that it has."""
    newline, unit = find_newline(text), _find_unit(text)
    label = f"{json.dumps(key, ensure_ascii=False)}: "
    if not members:
        outer = _get_indent(text, start)
        inner = text[start + 1 : _find_end(text, start) - 1]
        kept = start + 1 + len(inner.rstrip())
        tail = "" if "\n" in text[kept : start + 1 + len(inner)] else newline + outer
        body = f"{newline}{outer}{unit}{label}{_render(value, outer + unit, unit, newline)}{tail}"
        return [Edit(kept, kept, body)]
    last = members[-1]
    end = last.value_end if last.comma is None else last.comma + 1
    own_comma, next_comma = (",", "") if last.comma is None else ("", ",")
    if "\n" not in text[start : members[0].start]:
        return [Edit(end, end, f"{own_comma} {label}{json.dumps(value, ensure_ascii=False)}{next_comma}")]
    indent = _get_indent(text, last.start)
    body = f"{newline}{indent}{label}{_render(value, indent, unit, newline)}{next_comma}"
    position = end + len(_match(_REST_OF_LINE, text, end))
    if position == end:
        return [Edit(end, end, own_comma + body)]
    return [Edit(end, end, own_comma), Edit(position, position, body)]


def _blank(text: str) -> tuple[str, str]:
    """Return the text without comments, and that also without trailing commas, each with the offsets of the text."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\r\n]", " ", match.group()) if match.group(1) else match.group()

    plain = _COMMENT.sub(blank, text)
    return plain, _LAST_COMMA.sub(blank, plain)


def _get_members(text: str, start: int) -> list[_Member]:
    """Return the members of an object of a text that was parsed."""
    plain, strict = _blank(text)
    members = []
    position = start + 1
    while strict[position := _skip(plain, position)] != "}":
        key_start = position
        key, position = json.JSONDecoder().raw_decode(plain, position)
        value_start = _skip(plain, _skip(plain, position) + 1)
        value, value_end = json.JSONDecoder().raw_decode(strict, value_start)
        position = _skip(plain, value_end)
        comma = position if plain[position] == "," else None
        position += comma is not None
        members.append(_Member(key, key_start, value, value_start, value_end, comma))
    return members


def _find(members: Iterable[_Member], key: str) -> _Member | None:
    found = [one for one in members if one.key == key]
    if len(found) > 1:
        raise Unreadable(f"it has {json.dumps(key)} {len(found)} times")
    return found[0] if found else None


def _enter(member: _Member | None) -> int:
    """Return where the object begins that is the value of a member."""
    if member is None or not isinstance(member.value, dict):
        raise Unreadable(f"its {json.dumps(member.key) if member else 'list of servers'} is not an object")
    return member.value_start


def _render(value: Any, indent: str, unit: str, newline: str) -> str:
    return json.dumps(value, indent=unit, ensure_ascii=False).replace("\n", newline + indent)


def _find_unit(text: str) -> str:
    """Return by how much the members of the root are indented."""
    found = re.match(r"\s*\{\s*\n([ \t]+)\"", _blank(text)[0])
    return found.group(1) if found else "  "


def _find_end(text: str, start: int) -> int:
    return json.JSONDecoder().raw_decode(_blank(text)[1], start)[1]


def _get_indent(text: str, position: int) -> str:
    """Return the white space at the begin of the line that has this position."""
    return _match(_INDENT, text, text.rfind("\n", 0, position) + 1)


def _skip(text: str, position: int) -> int:
    return position + len(_match(re.compile(r"\s*"), text, position))


def _match(pattern: re.Pattern[str], text: str, position: int) -> str:
    match = pattern.match(text, position)
    return match.group() if match else ""


def _refuse(name: str) -> NoReturn:
    raise Unreadable(f"it contains {name}, which is not JSON")
