"""Compare a provider's answers with the documented ones, and report names and types alone: never a value. Pure.

What the comparison returns may be sent to the developers: a name that is not that of a program's member is masked, and
the only values in it are words in the place of documented ones.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

Shape: TypeAlias = (
    "str | frozenset[str] | tuple[Shape, None] | list[Shape] | Mapping[str, Shape] | Callable[[Any], Shape]"
)
"""A type (`text`, `number`, `boolean`, `anything`), the words of an enum, a shape or null, a list of one shape, an object
by its members, of which a required one's name ends in `!`, or a function that chooses the shape of a value."""


class DocumentedAnswers(NamedTuple):
    """The shapes of the answers that cost nothing to read."""

    own_list: Shape
    published_list: Shape
    definition: Shape


class Difference(NamedTuple):
    """One way in which answers differ from the documentation."""

    path: str
    """Where, such as `data[].inputs[].config`."""
    kind: str
    """`not documented`, `missing`, `unknown value` or `another type`."""
    seen: str
    """The type, the shape of an object, or the word of an enum."""


_DEPTH: Final = 3
_MAX_MEMBERS: Final = 30
_NAME: Final = re.compile(r"[A-Za-z_$][A-Za-z_$-]{0,39}[0-9]{0,2}")
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z_-]{0,23}")


def find_differences(value: Any, shape: Shape, path: str = "") -> Iterator[Difference]:  # noqa: C901 - one case a form
    """Yield the differences of a JSON value from its documented shape."""
    match shape:
        case "anything":
            pass
        case (inner, None):
            if value is not None:
                yield from find_differences(value, inner, path)
        case [inner] if isinstance(value, list):
            for one in value:
                yield from find_differences(one, inner, f"{path}[]")
        case frozenset() if isinstance(value, str):
            if value not in shape:
                yield Difference(path, "unknown value", value if _WORD.fullmatch(value) else "text")
        case Mapping() if isinstance(value, dict):
            yield from _compare_members(value, shape, path)
        case _ if callable(shape):
            yield from find_differences(value, shape(value), path)
        case _:
            if (seen := describe_shape(value)) != shape:
                yield Difference(path, "another type", seen)


def _compare_members(value: dict[str, Any], shape: Mapping[str, Shape], path: str) -> Iterator[Difference]:
    members = {name.rstrip("!"): inner for name, inner in shape.items()}
    for name in members:
        if f"{name}!" in shape and name not in value:
            yield Difference(f"{path}.{name}".lstrip("."), "missing", "")
    for name, one in value.items():
        below = f"{path}.{mask_name(name)}".lstrip(".")
        if name in members:
            yield from find_differences(one, members[name], below)
        else:
            yield Difference(below, "not documented", describe_shape(one))


def mask_name(name: str) -> str:
    """Return a member's name, or a mask for a key that may be an id or a person's words."""
    return name if _NAME.fullmatch(name) else "[name]"


def describe_shape(value: Any, depth: int = _DEPTH) -> str:
    """Return the type of a JSON value; of objects and lists also what is in them, without a value."""
    if isinstance(value, list) and depth:
        return f"list of {' or '.join(sorted({describe_shape(one, depth - 1) for one in value})) or 'nothing'}"
    if isinstance(value, dict) and depth:
        shapes = {f"{mask_name(name)}: {describe_shape(one, depth - 1)}" for name, one in value.items()}
        return "{" + ", ".join(sorted(shapes)[:_MAX_MEMBERS]) + "}"
    names = {bool: "boolean", int: "number", float: "number", str: "text", list: "list", dict: "object"}
    return names.get(type(value), "null")
