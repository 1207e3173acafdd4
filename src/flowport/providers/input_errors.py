"""A provider's complaints about single inputs, and the tool argument that each is about. Pure.

Source: `invalid_params` of "problem+json", with the input in `name`; a live client reads it in `field`. Others come with a
path of segments. A table of reasons by input is the default of web frameworks; seen at no provider. All write where in the request the input stands: `inputs.image`, `values.NODE.FIELD`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from flowport.domain.errors import InputFlaw, ProviderRejected
from flowport.domain.text import clean_line
from flowport.providers.parsing import clean_detail

_MAX_FLAWS: Final = 10
_MAX_PLACE: Final = 60
_NAME_KEYS: Final = ("name", "field", "path", "param", "parameter", "property", "loc")
_REASON_KEYS: Final = ("reason", "message", "detail", "msg", "error")
_LIST_KEYS: Final = ("invalid_params", "errors", "details", "issues", "violations")
_PARTS: Final = re.compile(r"[./\[\]\"'\s:]+")
_ROOTS: Final = frozenset({"inputs", "input", "body", "data", "request", "$", "#"})
_PREDICATE: Final = re.compile(
    r"(?:is|are|was|has|have|must|should|may|can|cannot|needs?|takes?|does|exceeds?|not|required)\b"
)


def find_flaws(body: Mapping[str, Any]) -> tuple[InputFlaw, ...]:
    """Return the flaws in a body, under any of the usual members."""
    return next(filter(None, (parse_flaws(body.get(key)) for key in _LIST_KEYS)), ())


def parse_flaws(items: Any) -> tuple[InputFlaw, ...]:
    """Return what a list of flaws says, or a table of reasons by input; what in it cannot be read is left out."""
    listed = [_parse_flaw(item) for item in items[:_MAX_FLAWS]] if isinstance(items, list) else []
    tabled = _iterate_table(items) if isinstance(items, Mapping) else ()
    return tuple(flaw for flaw in (*listed, *islice(tabled, _MAX_FLAWS)) if flaw is not None)


def _iterate_table(table: Mapping[str, Any]) -> Iterator[InputFlaw]:
    """Yield the flaws of a table, as many frameworks write it: one reason or several by the input's name."""
    is_flaw = not table.keys().isdisjoint((*_NAME_KEYS, *_REASON_KEYS))
    for name, found in table.items():
        reasons = found if isinstance(found, list) else [] if is_flaw else [found]
        for reason in reasons:
            if isinstance(reason, str) and reason.strip():
                yield InputFlaw(_read_place(name), reason[:1000])


def _parse_flaw(item: Any) -> InputFlaw | None:
    if not isinstance(item, Mapping):
        return None
    reason = next((item[key] for key in _REASON_KEYS if isinstance(item.get(key), str) and item[key].strip()), "")
    places = (_read_place(item.get(key)) for key in _NAME_KEYS)
    return InputFlaw(next(filter(None, places), ""), reason[:1000]) if reason else None


def _read_place(value: Any) -> str:
    if isinstance(value, list):
        return ".".join(str(part)[:100] for part in value[:10] if isinstance(part, str | int))
    return value[:500] if isinstance(value, str) else ""


def format_flaws(opening: str, flaws: Sequence[InputFlaw], names: Mapping[str, str] | None = None) -> str:
    """Return the provider's words about a request and its inputs, safe to quote.

    Args:
        opening: What it says of the whole.
        flaws: What it says of each input.
        names: Our name of each input by any of the provider's; None where nothing is known of ours.
    """
    texts = "; ".join(dict.fromkeys(_format_flaw(flaw, names or {}) for flaw in flaws))
    # Some frameworks open with the first of the reasons.
    opening = "" if any(flaw.reason.strip() == opening.strip() for flaw in flaws) else opening.strip()
    sign = "" if not (opening and texts) else " " if opening.endswith((".", ":", "!", "?", ";")) else "; "
    return clean_detail(f"{opening}{sign}{texts}")


def _format_flaw(flaw: InputFlaw, names: Mapping[str, str]) -> str:
    name = find_name(flaw.place, names)
    shown = name or _show_place(flaw.place)
    reason = flaw.reason.strip()
    if name and flaw.place in reason:
        return reason.replace(flaw.place, name)
    if not shown or re.search(rf"(?<![\w-]){re.escape(shown)}(?![\w-])", reason):
        return reason
    return f"{shown} {reason}" if _PREDICATE.match(reason) else f"{shown}: {reason}"


def find_name(place: str, names: Mapping[str, str]) -> str:
    """Return our name of the input that a place in the request is; empty when it is none that we know."""
    segments = _split(place)
    for key, name in names.items():
        parts = _split(key)
        lengths = range(len(segments) - len(parts) + 1)
        if parts and any(segments[start : start + len(parts)] == parts for start in lengths):
            return name
    return ""


def _split(place: str) -> list[str]:
    return [part for part in _PARTS.split(place) if part]


def _show_place(place: str) -> str:
    segments = _split(place)
    while len(segments) > 1 and segments[0].lower() in _ROOTS:
        segments.pop(0)
    return clean_line(".".join(segments), limit=_MAX_PLACE)


def name_inputs(error: ProviderRejected, names: Mapping[str, str]) -> ProviderRejected:
    """Return the refusal with our names in the place of the provider's."""
    if not error.flaws:
        return error
    return replace(error, detail=format_flaws(error.opening, error.flaws, names))
