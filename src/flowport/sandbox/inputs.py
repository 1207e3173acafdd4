"""From the JSON of a run request to checked values, or a 422 that says what is wrong.

Magnific API 1.0.0, run-flow: inputs are named by `api_key` or by the older `id`; a creation is a URL, base64 or the id of an
earlier creation. The sandbox takes data URIs too, and only URLs of its own files.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from flowport.sandbox.apps import AppInput, InputType, SandboxApp
from flowport.sandbox.engine import Product, ProductKind, Values
from flowport.sandbox.web import Refused

FindFile: TypeAlias = Callable[[str], Product | None]

MAX_MEDIA_BYTES: Final = 20_000_000  # largest picture after decoding its base64

MAX_TEXT_CHARACTERS: Final = 10_000
MAX_LIST_ITEMS: Final = 12

_WRITTEN: Final = {InputType.TEXT, InputType.SELECT}

_KINDS: Final = {"image": ProductKind.IMAGES, "video": ProductKind.VIDEOS, "audio": ProductKind.AUDIOS}
_DATA_URI: Final = re.compile(r"data:[^,]*;base64,", re.IGNORECASE)


def parse_inputs(app: SandboxApp, inputs: Mapping[str, Any], find: FindFile, *, takes_keys: bool = True) -> Values:
    """Check a run's inputs and fill in defaults. Decodes pictures: call it in a worker thread.

    Args:
        app: Whose inputs they are.
        inputs: As the request has them.
        find: Returns the file that an id or a link names, None for other texts; may raise `Refused`.
        takes_keys: Whether an input may be named by its `api_key`.

    Raises:
        Refused: 422 with a sentence about the first thing that is wrong.
    """
    given = _name_inputs(app, inputs, takes_keys=takes_keys)
    present: list[tuple[AppInput, Any]] = []
    for entry in app.inputs:
        value = given.get(entry.key, entry.default)
        if value is None or (entry.is_required and value == ""):
            _require_optional(entry, is_given=entry.key in given)
        else:
            present.append((entry, value))
    return Values(
        texts={entry.key: _parse_text(entry, value) for entry, value in present if entry.type in _WRITTEN},
        numbers={entry.key: _parse_number(entry, value) for entry, value in present if entry.type is InputType.NUMBER},
        lists={entry.key: _parse_list(entry, value) for entry, value in present if entry.type is InputType.LIST},
        photos={
            entry.key: _parse_photo(entry, value, find) for entry, value in present if entry.type is InputType.CREATION
        },
    )


def _name_inputs(app: SandboxApp, inputs: Mapping[str, Any], *, takes_keys: bool) -> dict[str, Any]:
    """Rename inputs to their `api_key`."""
    keys = {entry.key: entry.key for entry in app.inputs} if takes_keys else {}
    keys |= {app.build_input_id(entry): entry.key for entry in app.inputs}
    for name in inputs:
        if name not in keys:
            raise Refused(422, f"There is no input {_quote(name)}")
    return {keys[name]: value for name, value in inputs.items()}


def _require_optional(entry: AppInput, *, is_given: bool) -> None:
    if entry.is_required:
        raise Refused(422, f"Input '{entry.key}' is required")
    if is_given:
        raise Refused(422, f"Input '{entry.key}' must not be null")


def _parse_text(entry: AppInput, value: Any) -> str:
    if not isinstance(value, str):
        raise Refused(422, f"Input '{entry.key}' must be a text")
    if len(value) > MAX_TEXT_CHARACTERS:
        raise Refused(422, f"Input '{entry.key}' must have at most {MAX_TEXT_CHARACTERS} characters")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise Refused(422, f"Input '{entry.key}' holds half of a character")
    choices = [choice for choice, _ in entry.options]
    if choices and value not in choices:
        raise Refused(422, f"Input '{entry.key}' must be one of: {', '.join(choices)}")
    return value


def _parse_number(entry: AppInput, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused(422, f"Input '{entry.key}' must be a number")
    low, high = entry.bounds
    # Written so that NaN, which compares as false with everything, is refused too.
    if not low <= value <= high:
        raise Refused(422, f"Input '{entry.key}' must be between {low:g} and {high:g}")
    return float(value)


def _parse_list(entry: AppInput, value: Any) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    if len(items) > MAX_LIST_ITEMS:
        raise Refused(422, f"Input '{entry.key}' takes at most {MAX_LIST_ITEMS} items")
    return tuple(_parse_text(entry, item) for item in items)


def _parse_photo(entry: AppInput, value: Any, find: FindFile) -> bytes:
    if not isinstance(value, str):
        raise Refused(422, f"Input '{entry.key}' must be a URL, base64 or the id of a creation")
    data = _resolve_media(entry, value.strip(), find)
    if entry.media_type != "image":
        return data  # no recipe looks into it
    from flowport.sandbox.pictures import UndecodableError, decode_photo  # noqa: PLC0415 - loads Pillow

    try:
        decode_photo(data)
    except UndecodableError as exc:
        raise Refused(422, f"Input '{entry.key}' {exc}") from exc
    return data


def _resolve_media(entry: AppInput, value: str, find: FindFile) -> bytes:
    creation = find(value)
    if creation is None:
        return _decode_base64(entry, value)
    if creation.kind is not _KINDS[entry.media_type]:
        raise Refused(422, f"Input '{entry.key}' must be {_format_media(entry)}")
    return creation.data


def _format_media(entry: AppInput) -> str:
    return f"{'a' if entry.media_type == 'video' else 'an'} {entry.media_type}"


def _decode_base64(entry: AppInput, value: str) -> bytes:
    text = _DATA_URI.sub("", value, count=1) if value[:5].lower() == "data:" else value
    # Four characters stand for three bytes: too long a text is refused before it is decoded.
    if len(text) * 3 // 4 > MAX_MEDIA_BYTES + 2:
        raise Refused(422, f"Input '{entry.key}' is larger than 20 MB")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise Refused(422, f"Input '{entry.key}' is not valid base64") from exc


def _quote(name: str) -> str:
    return ascii(name[:80])
