"""The JSON of answers, read so that it can be written again. Pure."""

import json
import math
from typing import Any, Final

from flowport.providers.interface import ApiAnswer

MAX_INTEGER_DIGITS: Final = 18
"""What fits into the 64 bits of a database; no id or price here is longer."""


def parse_json(answer: ApiAnswer) -> Any:
    """Return the body as JSON that can be written again.

    What JSON or UTF-8 could not carry on (half a surrogate pair, an endless number) becomes a mark or None, so that one
    odd value in a list costs us no other.

    Raises:
        ValueError: The body is cut off or is not JSON in UTF-8.
    """
    if not answer.is_complete:
        raise ValueError("the body is cut off")
    try:
        # Decoded here, because the library lets halves of surrogate pairs pass as bytes too.
        text = answer.body.decode("utf-8-sig")
        value = json.loads(text, parse_constant=lambda _: None, parse_float=_parse_float, parse_int=_parse_integer)
        if "\\ud" in text.lower():
            value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except RecursionError as exc:
        raise ValueError("the body is nested too deeply") from exc
    return value


def _parse_float(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _parse_integer(text: str) -> int | None:
    return int(text) if len(text) <= MAX_INTEGER_DIGITS else None
