"""Read an app's inputs as they are typed: `name=value`, `name=@file`, `name=@-` and JSON."""

import base64
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from flowport.catalog.arguments import find_input
from flowport.catalog.listing import Listing
from flowport.catalog.values import get_inputs
from flowport.domain.call_errors import build_refusal
from flowport.domain.models import Input, JsonValue

FILE_MARK: Final = "@"
MAX_TEXT_BYTES: Final = 1_000_000
"""Of a file that is read as text; an input takes less."""
_FORM: Final = "Write name=value, or name=@file for a file."


def build_arguments(words: Sequence[str], listing: Listing, *, input_json: str | None) -> dict[str, JsonValue]:
    """Return the arguments of a call. Values stay text: the app's schema decides what they mean.

    Args:
        words: Each `name=value`; an input that takes several may be named several times.
        input_json: A JSON object, `@file` or `-` for standard input; what `words` name comes before it.

    Raises:
        ArgumentsInvalid: A word has no name, a file cannot be read, or the JSON is not an object.
    """
    inputs, names = get_inputs(listing.app), listing.property_names
    given: dict[str, JsonValue] = {}
    for word in words:
        name, has_value, text = word.partition("=")
        if not has_value or not name:
            raise build_refusal("INPUT", f"is {word[:80]!r}, which names no input", _FORM)
        item = find_input(name, inputs, names)
        value = _read_value(name, text, item)
        if name not in given:
            given[name] = [value] if item is not None and item.is_list and not _is_whole_list(text) else value
            continue
        before = given[name]
        if not isinstance(before, list):
            raise build_refusal(name, "was given several times", "It takes one value.")
        before.append(value)
    return {**({} if input_json is None else _read_json(input_json)), **given}


def _is_whole_list(text: str) -> bool:
    return text.lstrip().startswith("[")


def _read_value(name: str, text: str, item: Input | None) -> JsonValue:
    """Return a value: of a media input the full path, of any other the text of the file."""
    is_media = item is not None and item.kind.is_media
    if text.startswith(FILE_MARK * 2):
        return text[1:]
    if text == f"{FILE_MARK}-":
        return _read_stdin(name, is_media=is_media)
    if text.startswith(FILE_MARK):
        path = Path(text[1:]).expanduser()
        return str(path.absolute()) if is_media else _read_text(name, path)
    # A name in the current folder, without the mark.
    return str(Path(text).absolute()) if is_media and text and _is_file(text) else text


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False


def _read_stdin(name: str, *, is_media: bool) -> str:
    data = sys.stdin.buffer.read()
    if is_media:
        return f"data:application/octet-stream;base64,{base64.b64encode(data).decode()}"
    return _decode(name, data)


def _read_text(name: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            return _decode(name, file.read(MAX_TEXT_BYTES + 1))
    except OSError as exc:
        problem = f"names the file {str(path)!r}, which cannot be read ({exc.strerror})"
        raise build_refusal(name, problem, "Write @@ for a text that begins with @.") from exc


def _decode(name: str, data: bytes) -> str:
    if len(data) > MAX_TEXT_BYTES:
        raise build_refusal(name, "names a file of more than 1 MB", "It takes text.")
    try:
        return data.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as exc:
        raise build_refusal(name, "names a file that is not UTF-8 text", "It takes text.") from exc


def _read_json(text: str) -> Mapping[str, Any]:
    if text == "-":
        text = _read_stdin("--input-json", is_media=False)
    elif text.startswith(FILE_MARK):
        text = _read_text("--input-json", Path(text[1:]).expanduser())
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise build_refusal("--input-json", "is not JSON", "It takes an object of inputs by name.") from exc
    if not isinstance(value, dict):
        raise build_refusal("--input-json", "is not an object", "It takes an object of inputs by name.")
    return value
