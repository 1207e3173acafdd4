"""Validate and coerce the arguments of a call, and compute the digests that identify equal calls. Pure.

What the tool's schema accepts is accepted; beyond it, what can only mean one thing is coerced, because clients send
strings. Everything else is refused at once, with all problems.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

from flowport.catalog.readings import MAX_GIVEN_LENGTH, has_empty_choice
from flowport.catalog.schema import NEW_RUN
from flowport.catalog.values import InvalidValue, Parsed, format_expected, get_default, get_inputs, parse_value
from flowport.domain.errors import ArgumentProblem, ArgumentsInvalid
from flowport.domain.models import App, Input, InputKind, JsonValue
from flowport.domain.text import build_slug, clean_line, get_nearest

_MAX_LISTED_NAMES: Final = 12
_MAX_STRAY_NAMES: Final = 8
_MAX_READ_NAMES: Final = 500
"""Arguments of one call whose names may be spelled in other ways."""
_MAX_RESPELT_LENGTH: Final = 300
"""Characters of a name that is compared in its spelling; a longer one is taken exactly as it is, or refused."""

CLIENT_NAMES: Final = frozenset(
    {
        # n8n puts the fields of its chat trigger and of the tool call among the arguments (n8n-io/n8n#21500).
        *("toolcallid", "sessionid", "action", "chatinput"),
        # Cline (cline/cline#9951), Gemini CLI and Antigravity (MemPalace/mempalace#322), OpenHands.
        *("taskprogress", "waitforprevious", "waitforprevioustools", "toolaction", "toolsummary", "securityrisk"),
        # Letta gives each tool one that asks for another turn, and one for the model's thoughts.
        *("requestheartbeat", "innerthoughts"),
        # Cursor and others give a tool without arguments one, because some models need it.
        *("randomstring", "dummy"),
        # Agent frameworks, and what identifies a conversation or a request.
        *("runmanager", "callbacks", "progresstoken", "meta", "requestid", "messageid", "traceid"),
        *("conversationid", "threadid", "chatid", "userid"),
    }
)
"""Arguments that clients are known to add by themselves, folded as `_fold` does. A name that begins with an underscore is
a client's too."""


def parse_arguments(
    app: App,
    property_names: Mapping[str, str],
    arguments: Mapping[str, JsonValue] | None,
    *,
    ignores_unknown: bool = False,
) -> dict[str, JsonValue]:
    """Return the value of each input by its id, in the order of the app's inputs.

    Defaults are filled in; an optional input that is not given, null or empty is left out. An input may also be named
    by its id or its run key, as on the provider's own pages, and in any spelling that means only this input.

    Args:
        ignores_unknown: Ignore names that resemble no argument, for tools that neither spend nor change anything.

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
        if isinstance(outcome, InvalidValue):
            problems.append(ArgumentProblem(property_names[item.id], outcome.problem, outcome.expected))
        elif outcome is not None:
            values[item.id] = outcome
    free = [item for item in inputs if not given[item.id]]
    if ignores_unknown:
        stray = [name for name in stray if _find_meant(name, free, property_names)]
    problems += [_build_stray_problem(name, inputs, free, property_names) for name in stray[:_MAX_STRAY_NAMES]]
    if problems:
        raise ArgumentsInvalid(tuple(problems))
    return values


def build_provider_inputs(app: App, values: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the values by run key instead of by input id."""
    return {item.run_key: values[item.id] for item in get_inputs(app) if item.id in values}


def build_raw_digest(arguments: Mapping[str, JsonValue]) -> str:
    """Return the SHA-256 of the arguments as given, whatever the order of their keys."""
    return _build_digest(arguments)


def build_canonical_digest(app: App, values: Mapping[str, JsonValue], media_digests: Mapping[str, str]) -> str:
    """Return the SHA-256 of the meaning of a call: its values and the definition of its inputs.

    Args:
        app: Its labels and defaults do not count: values come with the defaults filled in.
        values: As `parse_arguments` returned them.
        media_digests: The digest of the bytes, or the URL, of each file, by input id.
    """
    definition = {
        item.id: [item.run_key, item.kind.value, item.is_list, [option.value for option in item.options]]
        for item in get_inputs(app)
    }
    meant = {input_id: media_digests.get(input_id, value) for input_id, value in values.items()}
    return _build_digest({"app": app.id, "inputs": definition, "values": meant})


def name_arguments(
    app: App, property_names: Mapping[str, str], arguments: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """Return the arguments by the names of the tool's schema, without those that clients add.

    Two calls that differ only in the spelling of names, or in what a client adds, are then the same call. A name that
    is unknown, or one of two for the same input, stays as it is: the parser refuses it.
    """
    given, stray = _sort_names(get_inputs(app), property_names, arguments)
    renamed = {names[0]: property_names[input_id] for input_id, names in given.items() if len(names) == 1}
    kept = {*stray, *(name for names in given.values() for name in names)}
    return {renamed.get(name, name): value for name, value in arguments.items() if name in kept}


def find_unknown(app: App, property_names: Mapping[str, str], arguments: Mapping[str, JsonValue]) -> list[str]:
    """Return the names among the arguments that name no input and are not added by clients, cleaned and limited."""
    _, stray = _sort_names(get_inputs(app), property_names, arguments)
    return [_format_name(name) for name in stray[:_MAX_STRAY_NAMES]]


def find_input(name: str, inputs: tuple[Input, ...], property_names: Mapping[str, str]) -> Input | None:
    """Return the input with exactly this name, else the only one with a similar name."""
    return _InputNames(inputs, property_names).find(name)


class _InputNames:
    """The names of an app's inputs, computed once for all names of a call."""

    def __init__(self, inputs: tuple[Input, ...], property_names: Mapping[str, str]) -> None:
        self._exact = _get_exact_owners(inputs, property_names)
        self._by_id = {item.id: item for item in inputs}
        self._forms = [(item, _get_all_forms(item, property_names)) for item in inputs]

    def find(self, name: str, *, is_exact: bool = False) -> Input | None:
        """Return the input that a name means, or only the one with exactly this name."""
        if name in self._exact:
            return self._by_id[self._exact[name]]
        if is_exact or len(name) > _MAX_RESPELT_LENGTH:
            return None
        forms = _build_forms(name)
        alike = [item for item, known in self._forms if forms & known]
        return alike[0] if len(alike) == 1 else None


def _sort_names(
    inputs: tuple[Input, ...], property_names: Mapping[str, str], sent: Mapping[str, JsonValue]
) -> tuple[defaultdict[str, list[str]], list[str]]:
    """Return the names that were sent for each input, by its id, and the unknown names that clients do not add."""
    given: defaultdict[str, list[str]] = defaultdict(list)
    stray: list[str] = []
    names = _InputNames(inputs, property_names)
    for number, name in enumerate(sent):
        # A call with this many is refused for the first of them; comparing the others wastes time.
        item = names.find(name, is_exact=number >= _MAX_READ_NAMES)
        if item is not None:
            given[item.id].append(name)
        elif (number >= _MAX_READ_NAMES or not _is_client_name(name)) and (inputs or name != NEW_RUN):
            stray.append(name)
    return given, stray


def _get_exact_owners(inputs: tuple[Input, ...], property_names: Mapping[str, str]) -> dict[str, str]:
    """Return the input id for each exact name; property names win over ids, and ids over run keys."""
    claims = [
        *((property_names[item.id], item.id) for item in inputs),
        *((item.id, item.id) for item in inputs),
        *((item.run_key, item.id) for item in inputs),
    ]
    return dict(reversed(claims))


def _get_all_forms(item: Input, property_names: Mapping[str, str]) -> frozenset[str]:
    names = (property_names[item.id], item.id, item.run_key, item.label)
    return frozenset().union(*(_build_forms(name) for name in names if len(name) <= _MAX_RESPELT_LENGTH))


@lru_cache(maxsize=4096)
def _build_forms(name: str) -> frozenset[str]:
    """Return what is the same in all spellings of a name: without case, accents and what parts its words."""
    return frozenset({_fold(name), clean_line(name).casefold()} - {""})


def _fold(name: str) -> str:
    return build_slug(name).replace("_", "")


def _is_client_name(name: str) -> bool:
    return name.startswith("_") or (len(name) <= _MAX_RESPELT_LENGTH and _fold(name) in CLIENT_NAMES)


def _resolve_value(item: Input, names: list[str], sent: Mapping[str, JsonValue]) -> Parsed:
    """Return the value of one input; None to leave it out."""
    if len(names) > 1:
        return InvalidValue(f"was given {len(names)} times, as {' and '.join(map(_format_name, names))}", "")
    given = sent[names[0]] if names else None
    value = None if given is None or _is_empty(item, given) else parse_value(item, given)
    # A list may turn out empty only when its JSON text is read.
    if value is not None and not (item.is_list and value == []):
        return value
    default = get_default(item)
    if default is not None or not item.is_required:
        return default
    return InvalidValue("is missing" if given is None else "is empty", format_expected(item))


def _is_empty(item: Input, value: JsonValue) -> bool:
    if value != "":
        return False
    # Builders spell "none" as an option without text.
    return item.kind is not InputKind.SELECT or not has_empty_choice(item)


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
    """Return the argument that a wrong name means, among those not given; empty when none is near."""
    slug = build_slug(name[:_MAX_RESPELT_LENGTH])
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
    return clean_line(name[:_MAX_RESPELT_LENGTH], limit=MAX_GIVEN_LENGTH) or '""'


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
