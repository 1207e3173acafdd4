"""The refusal of one argument, and how much of the argument it repeats.

The sentence goes back to a model, so it says what to give instead. It never repeats the query of an address, the user
name in it, or the bytes of a file: those may be secrets. The rest is cleaned and cut.
"""

import re
from typing import Final
from urllib.parse import urlsplit

from flowport.domain.text import clean_line

MAX_QUOTED_CHARACTERS: Final = 60
_WORTH_CLEANING: Final = 4 * MAX_QUOTED_CHARACTERS
_KILO: Final = 1024


def format_name(value: str) -> str:
    """Return a path or a name for use in a sentence: one line, and nothing from a question mark on."""
    return clean_line(value[:_WORTH_CLEANING].partition("?")[0], limit=MAX_QUOTED_CHARACTERS)


def format_address(value: str) -> str:
    """Return scheme and host of an address for use in a sentence, and nothing else of it."""
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]*", value)
    try:
        host = urlsplit(value[:_WORTH_CLEANING]).hostname or ""
    except ValueError:
        host = ""
    address = f"{scheme[0].lower() if scheme else ''}://{host}"
    return clean_line(address, limit=MAX_QUOTED_CHARACTERS)


def format_size(size_bytes: int) -> str:
    """Return a size as a person writes it, in units of 1024."""
    size, unit = float(size_bytes), "bytes"
    for larger in ("KB", "MB", "GB"):
        if size < _KILO:
            break
        size, unit = size / _KILO, larger
    return f"{size:.1f}".removesuffix(".0") + f" {unit}"
