"""The choices and defaults of inputs, read within bounds that no builder reaches by hand. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from flowport.domain.errors import AppUnsupported
from flowport.domain.models import MAX_INPUTS, JsonValue, Option, Scalar
from flowport.domain.text import clean_line

MAX_OPTIONS: Final = 2000
MAX_TEXT_LENGTH: Final = 4000
"""Characters of a name, label or option. A longer name or label is cut, since it is only read; an option is a value."""

MAX_DEFAULT_LENGTH: Final = 20_000
"""Characters or items of a default; a longer one is left to the provider, because half of it would mean something else."""

_MAX_DEPTH: Final = 20
"""Headings above one another."""

_VALUE_KEYS: Final = ("value", "id", "const", "key")
_LABEL_KEYS: Final = ("label", "name", "title", "text")
_GROUP_KEYS: Final = (
    *("options", "choices", "items", "children", "values", "enum", "oneOf", "anyOf", "optgroup"),
    *("entries", "list", "sub", "subOptions", "suboptions", "members", "elements"),
)
"""Keys of the choices below a heading."""
_LABELS_KEYS: Final = ("labels", "names", "titles", "texts", "enumNames", "enumLabels", "x-enumNames")
"""Keys of a separate list of labels for a list of values."""
_TYPE_KEYS: Final = ("type", "kind", "role")
_HEADINGS: Final = frozenset({"group", "optgroup", "header", "heading", "section", "separator", "divider", "label"})


@dataclass(frozen=True, slots=True)
class _Found:
    """One choice with the headings above it."""

    value: Scalar
    label: str
    headings: tuple[str, ...]


def parse_options(app_id: str, found: Any) -> tuple[Option, ...]:
    """Return the choices: texts, and objects with a value or id and a label or name, under headings or without.

    A heading is never a choice, and neither is what cannot be chosen. A label is the value of a choice that
    has no other; labels that several choices share carry their headings. Everything else is ignored.

    Raises:
        AppUnsupported: They are more, deeper or longer than a tool can take.
    """
    choices = list(_iterate(app_id, found, ()))
    if len(choices) > MAX_OPTIONS:
        raise AppUnsupported(
            clean_line(app_id), f"one of its inputs has {len(choices)} options and {MAX_OPTIONS} are the most"
        )
    if any(isinstance(choice.value, str) and len(choice.value) > MAX_TEXT_LENGTH for choice in choices):
        raise AppUnsupported(clean_line(app_id), "one of its options is too long")
    # By type too: Python holds True to be 1, and JSON does not.
    first = {(isinstance(choice.value, bool), choice.value): choice for choice in reversed(choices)}
    labels = Counter(choice.label for choice in first.values())
    return tuple(
        Option(choice.value, _format_label(choice, is_shared=labels[choice.label] > 1))
        for choice in dict.fromkeys(first[isinstance(choice.value, bool), choice.value] for choice in choices)
    )


def check_input_count(app_id: str, count: int) -> None:
    """Check that an app has no more inputs than a tool can take.

    Raises:
        AppUnsupported: It has more.
    """
    if count > MAX_INPUTS:
        raise AppUnsupported(clean_line(app_id), f"it has {count} inputs and {MAX_INPUTS} are the most")


def drop_long_default(value: Any) -> JsonValue:
    """Return the default of an input; None for one that is too long."""
    is_long = isinstance(value, str | list | dict) and len(value) > MAX_DEFAULT_LENGTH
    default: JsonValue = None if is_long else value
    return default


def find_options(holder: Mapping[str, Any]) -> Any:
    """Return the choices in the description of a select input, under whichever key; None when it has none."""
    config = holder.get("config")
    holders = (holder, config) if isinstance(config, Mapping) else (holder,)
    return next(
        (part for one in holders for key in _GROUP_KEYS if (part := one.get(key)) and isinstance(part, list | dict)),
        None,
    )


def _format_label(choice: _Found, *, is_shared: bool) -> str:
    words = (*choice.headings, choice.label) if is_shared else (choice.label,)
    return ": ".join(words)[:MAX_TEXT_LENGTH]


def _iterate(app_id: str, found: Any, headings: tuple[str, ...]) -> Iterator[_Found]:
    """Yield the choices in their order, those below a heading in its place."""
    if len(headings) > _MAX_DEPTH:
        raise AppUnsupported(clean_line(app_id), "the options of one of its inputs lie too deep under headings")
    if isinstance(found, dict):
        yield from _iterate_mapping(app_id, found, headings)
    items = found if isinstance(found, list) else []
    # Among choices that have a value, what has only a label is a heading over those that follow.
    takes_labels = not any(key in item for item in items if isinstance(item, dict) for key in _VALUE_KEYS)
    for item in items:
        if _is_scalar(item):
            yield _Found(item, str(item), headings)
        elif isinstance(item, dict):
            yield from _iterate_item(app_id, item, headings, takes_labels=takes_labels)
        elif isinstance(item, list) and [type(part) for part in item] == [str, list]:
            yield from _iterate(app_id, item[1], (*headings, _cut(item[0])))


def _iterate_mapping(app_id: str, found: dict[str, Any], headings: tuple[str, ...]) -> Iterator[_Found]:
    """Yield the choices of an object: a wrapper around them, or headings with what lies below each."""
    if labelled := _pair_labels(found):
        yield from (_Found(value, str(label), headings) for value, label in labelled)
        return
    if any(key in found for key in _GROUP_KEYS) and not _has_headings_alone(found):
        yield from _iterate_item(app_id, found, headings, takes_labels=False)
        return
    for heading, part in found.items():
        # Of a text under a text either could be the value.
        if isinstance(part, list | dict):
            yield from _iterate(app_id, part, (*headings, _cut(heading)))


def _pair_labels(found: dict[str, Any]) -> list[tuple[Scalar, Scalar]]:
    """Return values with their labels from a separate list; nothing when there is no such list."""
    lists = [[found[key] for key in keys if isinstance(found.get(key), list)] for keys in (_GROUP_KEYS, _LABELS_KEYS)]
    if [len(one) for one in lists] != [1, 1] or len(lists[0][0]) != len(lists[1][0]):
        return []
    pairs = list(zip(lists[0][0], lists[1][0], strict=True))
    return pairs if all(_is_scalar(part) for pair in pairs for part in pair) else []


def _has_headings_alone(found: dict[str, Any]) -> bool:
    """Check whether an object lists several headings, one of which happens to be called like a key that we know."""
    is_labelled = any(key in found for key in _LABELS_KEYS)
    return len(found) > 1 and not is_labelled and all(isinstance(part, list) for part in found.values())


def _iterate_item(
    app_id: str, item: dict[str, Any], headings: tuple[str, ...], *, takes_labels: bool
) -> Iterator[_Found]:
    if _cannot_be_chosen(item):
        return
    heading = next((_cut(item[key]) for key in _LABEL_KEYS if isinstance(item.get(key), str) and item[key]), "")
    keys = (*_GROUP_KEYS, *(key for key in _VALUE_KEYS if isinstance(item.get(key), list)))
    below = [item[key] for key in keys if isinstance(item.get(key), list | dict)]
    has_value = any(_is_scalar(item.get(key)) for key in _VALUE_KEYS)
    if not has_value:
        # Whatever the list is called, things with values can be chosen.
        below += [part for key, part in item.items() if key not in keys and _lists_choices(part)]
    if any(map(_holds_choices, below)) or (below and not has_value):
        # What has others below it is their heading, whatever value it has of its own.
        for part in below:
            yield from _iterate(app_id, part, (*headings, heading) if heading else headings)
        return
    takes_label = takes_labels and not any(key in item for key in (*_GROUP_KEYS, *_VALUE_KEYS))
    value = next((item[key] for key in _VALUE_KEYS if key in item), item.get("label") if takes_label else None)
    if _is_scalar(value) and not _is_heading(item):
        yield _Found(value, heading or str(value), headings)


def _lists_choices(part: Any) -> bool:
    """Check whether this is a list of things with values."""
    items = part if isinstance(part, list) else []
    return any(isinstance(one, dict) and any(_is_scalar(one.get(key)) for key in _VALUE_KEYS) for one in items)


def _holds_choices(part: Any) -> bool:
    """Check whether there is something below a heading, and not just settings of a choice."""
    return bool(part) and (isinstance(part, list) or any(isinstance(inner, list | dict) for inner in part.values()))


def _cannot_be_chosen(item: dict[str, Any]) -> bool:
    is_off = any(item.get(key) is True for key in ("disabled", "isDisabled", "hidden"))
    return is_off or any(item.get(key) is False for key in ("enabled", "selectable"))


def _is_heading(item: dict[str, Any]) -> bool:
    return any(isinstance(item.get(key), str) and item[key].lower() in _HEADINGS for key in _TYPE_KEYS)


def _cut(text: str) -> str:
    return text[:MAX_TEXT_LENGTH]


def _is_scalar(value: Any) -> TypeGuard[Scalar]:
    return isinstance(value, Scalar)
