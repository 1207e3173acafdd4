"""From the JSON of a run request (Magnific API 1.0.0, run-flow) to checked values, or a 422 that says what is wrong."""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, assert_never

from flowport.sandbox.apps import AppInput, InputType, Product, ProductKind, SandboxApp, Values
from flowport.sandbox.web import Refused

FindFile: TypeAlias = Callable[[str], Product | None]
MAX_MEDIA_BYTES: Final = 20_000_000  # largest picture after decoding its base64
MAX_TEXT_CHARACTERS: Final = 10_000
MAX_LIST_ITEMS: Final = 12
_MEDIA: Final = {"image": "an image", "video": "a video", "audio": "an audio"}
_KINDS: Final = {"image": ProductKind.IMAGES, "video": ProductKind.VIDEOS, "audio": ProductKind.AUDIOS}
_DATA_URI: Final = re.compile(r"data:[^,]*;base64,", re.IGNORECASE)


def parse_inputs(app: SandboxApp, inputs: Mapping[str, Any], find: FindFile, *, takes_keys: bool = True) -> Values:
    """Check a run's inputs and fill in defaults, in a worker thread since pictures are decoded; raises `Refused` with 422."""
    given = _name_inputs(app, inputs, takes_keys=takes_keys)
    present: list[tuple[AppInput, Any]] = []
    for entry in app.inputs:
        value = given.get(entry.key, entry.default)
        if value is None or (entry.is_required and value == ""):
            if entry.is_required or entry.key in given:
                what = "is required" if entry.is_required else "must not be null"
                raise Refused(422, f"Input '{entry.key}' {what}")
        else:
            present.append((entry, value))
    return {entry.key: _parse(entry, value, find) for entry, value in present}


def _parse(entry: AppInput, value: Any, find: FindFile) -> Any:
    match entry.type:
        case InputType.TEXT | InputType.SELECT:
            return _parse_text(entry, value)
        case InputType.NUMBER:
            return _parse_number(entry, value)
        case InputType.LIST:
            items = value if isinstance(value, list) else [value]
            if len(items) > MAX_LIST_ITEMS:
                raise Refused(422, f"Input '{entry.key}' takes at most {MAX_LIST_ITEMS} items")
            return tuple(_parse_text(entry, item) for item in items)
        case InputType.CREATION:
            return _parse_photo(entry, value, find)
        case _:
            assert_never(entry.type)


def _name_inputs(app: SandboxApp, inputs: Mapping[str, Any], *, takes_keys: bool) -> dict[str, Any]:
    """Rename inputs to their `api_key`."""
    keys = {entry.key: entry.key for entry in app.inputs} if takes_keys else {}
    keys |= {app.build_input_id(entry): entry.key for entry in app.inputs}
    for name in inputs:
        if name not in keys:
            raise Refused(422, f"There is no input {name[:80]!a}")
    return {keys[name]: value for name, value in inputs.items()}


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


def _parse_photo(entry: AppInput, value: Any, find: FindFile) -> bytes:
    if not isinstance(value, str):
        raise Refused(422, f"Input '{entry.key}' must be a URL, base64 or the id of a creation")
    creation = find(value.strip())
    if creation is not None and creation.kind is not _KINDS[entry.media_type]:
        raise Refused(422, f"Input '{entry.key}' must be {_MEDIA[entry.media_type]}")
    data = _decode_base64(entry, value.strip()) if creation is None else creation.data
    if entry.media_type != "image":
        return data  # no recipe looks into it
    from flowport.sandbox.pictures import UndecodableError, decode_photo  # noqa: PLC0415 - loads Pillow

    try:
        decode_photo(data)
    except UndecodableError as exc:
        raise Refused(422, f"Input '{entry.key}' {exc}") from exc
    return data


def _decode_base64(entry: AppInput, value: str) -> bytes:
    text = _DATA_URI.sub("", value, count=1) if value[:5].lower() == "data:" else value
    # Four characters stand for three bytes: too long a text is refused before it is decoded.
    if len(text) * 3 // 4 > MAX_MEDIA_BYTES + 2:
        raise Refused(422, f"Input '{entry.key}' is larger than 20 MB")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise Refused(422, f"Input '{entry.key}' is not valid base64") from exc
