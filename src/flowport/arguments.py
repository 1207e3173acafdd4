"""Turn the arguments of a call into what a provider is sent, and tell whether two calls mean the same.

Pure. What the tool's schema accepts is accepted here; beyond it, what can only mean one thing is coerced, because
clients send strings. Everything else is refused in one go, with all that is wrong.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any, Final

from flowport.choices import MAX_GIVEN_LENGTH, build_choices
from flowport.coercion import Misfit, Parsed, format_expected, get_default, parse_value
from flowport.errors import ArgumentProblem, ArgumentsInvalid
from flowport.labels import clean_line
from flowport.model import App, Input, InputKind, JsonValue
from flowport.naming import build_slug, get_nearest
from flowport.schema import get_inputs

_MAX_LISTED_NAMES: Final = 12
_MAX_STRAY_NAMES: Final = 8


def parse_arguments(
    app: App, property_names: Mapping[str, str], arguments: Mapping[str, JsonValue] | None
) -> dict[str, JsonValue]:
    """Return the value of each input by its id, in the order of the app's inputs.

    Defaults are filled in; an optional input that is not given, null or empty is left out. An input may also be named
    by its id or its run key, which is how the provider's own pages call it.

    Raises:
        ArgumentsInvalid: With everything that is wrong.
        AppUnsupported: The app's definition has not been read.
    """
    inputs = get_inputs(app)
    sent = arguments or {}
    given, stray = _sort_names(inputs, property_names, sent)
    values: dict[str, JsonValue] = {}
    problems: list[ArgumentProblem] = []
    for item in inputs:
        outcome = _resolve_value(item, given[item.id], sent)
        if isinstance(outcome, Misfit):
            problems.append(ArgumentProblem(property_names[item.id], outcome.problem, outcome.expected))
        elif outcome is not None:
            values[item.id] = outcome
    free = [item for item in inputs if not given[item.id]]
    problems += [_build_stray_problem(name, inputs, free, property_names) for name in stray[:_MAX_STRAY_NAMES]]
    if problems:
        raise ArgumentsInvalid(tuple(problems))
    return values


def build_provider_inputs(app: App, values: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the values by run key instead of by input id."""
    return {item.run_key: values[item.id] for item in get_inputs(app) if item.id in values}


def build_raw_digest(arguments: Mapping[str, JsonValue]) -> str:
    """Return the SHA-256 of the arguments as they came, whatever the order of their keys."""
    return _build_digest(arguments)


def build_canonical_digest(app: App, values: Mapping[str, JsonValue], media_digests: Mapping[str, str]) -> str:
    """Return the SHA-256 of what a call means: its values and the definition that gives them their meaning.

    Args:
        app: Its labels and defaults do not count: values come with the defaults filled in.
        values: As `parse_arguments` returned them.
        media_digests: What stands for a file, by input id: the digest of its bytes or its URL.
    """
    definition = {
        item.id: [item.run_key, item.kind.value, item.is_list, [option.value for option in item.options]]
        for item in get_inputs(app)
    }
    meant = {input_id: media_digests.get(input_id, value) for input_id, value in values.items()}
    return _build_digest({"app": app.id, "inputs": definition, "values": meant})


def _sort_names(
    inputs: tuple[Input, ...], property_names: Mapping[str, str], sent: Mapping[str, JsonValue]
) -> tuple[defaultdict[str, list[str]], list[str]]:
    """Return the names that were sent for each input, by its id, and those that name none."""
    owners = dict(reversed(list(_iterate_names(inputs, property_names))))
    given: defaultdict[str, list[str]] = defaultdict(list)
    for name in sent:
        if name in owners:
            given[owners[name]].append(name)
    return given, [name for name in sent if name not in owners]


def _iterate_names(inputs: tuple[Input, ...], property_names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each name of each input with the input's id, the stronger claims first."""
    yield from ((property_names[item.id], item.id) for item in inputs)
    yield from ((item.id, item.id) for item in inputs)
    yield from ((item.run_key, item.id) for item in inputs)


def _resolve_value(item: Input, names: list[str], sent: Mapping[str, JsonValue]) -> Parsed:
    """Return the value of one input; None to leave it out."""
    if len(names) > 1:
        return Misfit(f"was given {len(names)} times, as {' and '.join(map(_format_name, names))}", "")
    given = sent[names[0]] if names else None
    value = None if given is None or _is_empty(item, given) else parse_value(item, given)
    # A list may turn out empty only when its JSON text is read.
    if value is not None and not (item.is_list and value == []):
        return value
    default = get_default(item)
    if default is not None or not item.is_required:
        return default
    return Misfit("is missing" if given is None else "is empty", format_expected(item))


def _is_empty(item: Input, value: JsonValue) -> bool:
    if value != "":
        return False
    # Builders spell "none" as an option without text.
    return item.kind is not InputKind.SELECT or all(choice.shown != "" for choice in build_choices(item))


def _build_stray_problem(
    name: str, inputs: tuple[Input, ...], free: list[Input], property_names: Mapping[str, str]
) -> ArgumentProblem:
    meant = _find_meant(name, free, property_names)
    hint = f"Did you mean {meant}? " if meant else ""
    return ArgumentProblem(
        _format_name(name),
        "is not an argument of this tool",
        hint + _format_arguments([property_names[item.id] for item in inputs]),
    )


def _find_meant(name: str, free: list[Input], property_names: Mapping[str, str]) -> str:
    """Return the argument that a wrong name means, among those not given; empty when none comes to mind."""
    slug = build_slug(name)
    same = [
        property_names[item.id]
        for item in free
        if slug and slug in {property_names[item.id], build_slug(item.label), build_slug(item.run_key)}
    ]
    nearest = get_nearest(slug, [property_names[item.id] for item in free])
    return same[0] if len(same) == 1 else next(iter(nearest), "")


def _format_arguments(names: list[str]) -> str:
    if not names:
        return "It takes no arguments."
    rest = len(names) - _MAX_LISTED_NAMES
    return f"It takes {', '.join(names[:_MAX_LISTED_NAMES])}" + (f" and {rest} more." if rest > 0 else ".")


def _format_name(name: str) -> str:
    return clean_line(name, limit=MAX_GIVEN_LENGTH) or '""'


def _build_digest(value: Any) -> str:
    text = json.dumps(_build_canonical(value), sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()


def _build_canonical(value: Any) -> Any:
    """Return the value with 1 for 1.0: JSON has one kind of number."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_build_canonical(part) for part in value]
        case Mapping():
            return {key: _build_canonical(part) for key, part in value.items()}
        case _:
            return value
