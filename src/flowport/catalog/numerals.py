"""Read numbers and yes or no as people and spreadsheets write them: `0,4`, `1.234,5`, `1 234`, `yes`. Pure.

An ambiguous number is returned as both readings: the caller refuses it and names them.
"""

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

MAX_NUMBER_LENGTH: Final = 400
_MAX_LENGTH: Final = 1000

_PLAIN: Final = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_WITH_COMMA: Final = re.compile(r"(?P<sign>[+-]?)(?P<whole>\d*),(?P<part>\d+)(?P<power>(?:[eE][+-]?\d+)?)", re.ASCII)
_GROUPED: Final = re.compile(
    r"(?P<sign>[+-]?)(?P<whole>[1-9]\d{0,2}(?:(?P<mark>[., '])\d{3})(?:(?P=mark)\d{3})*)(?:(?P<point>[.,])(?P<part>\d*))?",
    re.ASCII,
)
_SPACES: Final = dict.fromkeys(map(ord, "\u00a0\u2007\u2009\u202f"), " ")
_LIKE_ASCII: Final = {
    **_SPACES,
    ord("\u2212"): "-",
    ord("\u2019"): "'",
    ord("\uff0e"): ".",
    ord("\uff0c"): ",",
    ord("\uff0d"): "-",
    ord("\uff0b"): "+",
    # As keyboards for Chinese and Japanese write them.
    **{0xFF10 + digit: str(digit) for digit in range(10)},
}
_QUOTES: Final = {'"': '"', "'": "'", "\u201c": "\u201d", "\u00ab": "\u00bb", "\u201e": "\u201c"}

_YES: Final = frozenset(
    {
        *("true", "t", "yes", "y", "on", "1", "1.0", "1,0", "enabled", "checked", "\u2713", "\u2714"),
        *("wahr", "ja", "vrai", "oui", "verdadero", "s\u00ed", "vero", "verdadeiro", "sim", "waar"),
        *(
            "prawda",
            "tak",
            "pravda",
            "ano",
            "igaz",
            "igen",
            "do\u011fru",
            "evet",
            "sant",
            "sand",
            "sann",
            "tosi",
            "adev\u0103rat",
        ),
        *("\u0434\u0430", "\u0438\u0441\u0442\u0438\u043d\u0430", "\u306f\u3044", "\u662f", "\u771f"),
    }
)
_NO: Final = frozenset(
    {
        *("false", "f", "no", "n", "off", "0", "0.0", "0,0", "disabled", "unchecked", "\u2717", "\u2718"),
        *("falsch", "nein", "faux", "non", "falso", "n\u00e3o", "onwaar", "nee"),
        *(
            "fa\u0142sz",
            "nie",
            "nepravda",
            "ne",
            "hamis",
            "nem",
            "yanl\u0131\u015f",
            "yanli\u015f",
            "hay\u0131r",
            "falskt",
            "falsk",
        ),
        *("usann", "ep\u00e4tosi", "fals", "nej", "nei"),
        *("\u043d\u0435\u0442", "\u043b\u043e\u0436\u044c", "\u3044\u3044\u3048", "\u5426", "\u5047"),
    }
)
"""In the languages of spreadsheets, which write their own words for true and false."""


@dataclass(frozen=True, slots=True)
class TwoReadings:
    """The two readings of an ambiguous number."""

    first: str
    second: str


Reading: TypeAlias = "int | float | TwoReadings | None"


def read_number(text: str) -> Reading:
    """Return the number in a text, both readings of an ambiguous one, or None."""
    if len(text) > _MAX_LENGTH:
        return None
    written = _unwrap(text).translate(_LIKE_ASCII)
    if len(written) > MAX_NUMBER_LENGTH:
        return None
    if _PLAIN.fullmatch(written):
        return _parse(written)
    if found := _WITH_COMMA.fullmatch(written):
        decimal = f"{found['sign']}{found['whole'] or '0'}.{found['part']}{found['power']}"
        # Three digits behind a comma may be thousands, unless the part before it cannot start a grouped number.
        is_group = len(found["part"]) == 3 and not found["power"] and re.fullmatch(r"[1-9]\d{0,2}", found["whole"])  # noqa: PLR2004 - a group has three
        return TwoReadings(f"{found['sign']}{found['whole']}{found['part']}", decimal) if is_group else _parse(decimal)
    if (found := _GROUPED.fullmatch(written)) and found["mark"] != found["point"]:
        whole = re.sub(r"\D", "", found["whole"])
        return _parse(f"{found['sign']}{whole}" + (f".{found['part']}" if found["point"] else ""))
    return None


def read_flag(text: str) -> bool | None:
    """Return whether a word means yes or no; None when it means neither."""
    word = _unwrap(text[:_MAX_LENGTH]).casefold()
    return True if word in _YES else False if word in _NO else None


def _unwrap(text: str) -> str:
    written = text.strip()
    if len(written) > 1 and _QUOTES.get(written[0]) == written[-1]:
        return written[1:-1].strip()
    # One apostrophe before it, by which a spreadsheet keeps a cell as text.
    return written.removeprefix("'") if written.count("'") == 1 else written


def _parse(digits: str) -> int | float:
    return int(digits) if digits.lstrip("+-").isdigit() else float(digits)
