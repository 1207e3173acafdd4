"""The choices of a select input, read within bounds that no builder reaches by hand, whichever provider tells them. Pure."""

from typing import Any, Final, TypeGuard

from flowport.errors import AppUnsupported
from flowport.labels import clean_line
from flowport.model import Option, Scalar

MAX_OPTIONS: Final = 2000
MAX_TEXT_LENGTH: Final = 4000
"""Characters of a name, label or option. A longer name or label is cut, since it is only read; an option is a value."""


def parse_options(app_id: str, found: Any) -> tuple[Option, ...]:
    """Return the choices; texts and objects with a value or id and a label or name are read, all else is passed over.

    Raises:
        AppUnsupported: They are more or longer than a tool can take.
    """
    items = found if isinstance(found, list) else []
    if len(items) > MAX_OPTIONS:
        raise AppUnsupported(
            clean_line(app_id), f"one of its inputs has {len(items)} options and {MAX_OPTIONS} are the most"
        )
    # By type too: Python holds True to be 1, and JSON does not.
    options: dict[tuple[bool, Scalar], Option] = {}
    for item in items:
        value = item.get("value", item.get("id", item.get("label"))) if isinstance(item, dict) else item
        label = item.get("label", item.get("name")) if isinstance(item, dict) else None
        if not _is_scalar(value):
            continue
        if isinstance(value, str) and len(value) > MAX_TEXT_LENGTH:
            raise AppUnsupported(clean_line(app_id), "one of its options is too long")
        shown = label[:MAX_TEXT_LENGTH] if isinstance(label, str) and label else str(value)
        options.setdefault((isinstance(value, bool), value), Option(value, shown))
    return tuple(options.values())


def _is_scalar(value: Any) -> TypeGuard[Scalar]:
    return isinstance(value, Scalar)
