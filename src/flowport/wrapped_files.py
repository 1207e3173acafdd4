"""Find the one file that a value of JSON names: models wrap a path or an address in a list, an object or its text. Pure."""

import json
from collections.abc import Mapping
from typing import Final

from flowport.model import JsonValue

MAX_DEPTH: Final = 6

_NAMES: Final = frozenset(
    {
        *("url", "uri", "href", "src", "link", "path", "file", "file_path", "filepath", "filename", "local_path"),
        *("image", "image_url", "image_path", "photo", "picture", "video", "video_url", "audio", "audio_url"),
        *("source", "media", "value", "input", "content", "data", "base64", "blob"),
        *("file_uri", "fileuri", "file_url", "fileurl", "imageurl", "inline_data", "inlinedata", "resource"),
    }
)
_TYPES: Final = ("mimetype", "mime_type", "media_type", "mediatype", "content_type")


def unwrap_file(value: JsonValue, depth: int = 0) -> str | None:
    """Return the text that names the one file of a value; None where it names none or several."""
    if depth > MAX_DEPTH:
        return None
    if isinstance(value, str):
        inner = _read_json(value)
        found = None if inner is None else unwrap_file(inner, depth + 1)
        # Text that is no wrapping is a name, however odd.
        return value if found is None else found
    if isinstance(value, list):
        named = [one for one in value if one not in (None, "", [], {})]
        return unwrap_file(named[0], depth + 1) if len(named) == 1 else None
    return _unwrap_object(value, depth) if isinstance(value, dict) else None


def _unwrap_object(value: Mapping[str, JsonValue], depth: int) -> str | None:
    fields = {name.casefold(): one for name, one in value.items()}
    kind = next((fields[name] for name in _TYPES if isinstance(fields.get(name), str)), None)
    data = fields.get("data", fields.get("base64", fields.get("blob")))
    if isinstance(data, str) and isinstance(kind, str):
        return data if data.startswith("data:") else f"data:{kind};base64,{data}"
    named = [one for name, one in fields.items() if name in _NAMES and one]
    texts = {text for one in named if (text := unwrap_file(one, depth + 1))}
    return texts.pop() if len(texts) == 1 else None


def _read_json(text: str) -> JsonValue:
    """Return the list or object that a text spells; None when it spells none. Quotes alone may belong to a name."""
    if not text.strip().startswith(("[", "{")):
        return None
    try:
        value: JsonValue = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value
