"""Clean untrusted text (invisible characters, length, near names, secrets), and fit facts into few bytes. Pure."""

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from typing import Any, Final
from urllib.parse import urlsplit

_MAX_SLUG_SOURCE: Final = 200
# Latin letters that Unicode does not take apart into a base and an accent.
_UNDECOMPOSED: Final = str.maketrans(
    {"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ħ": "h", "\u0131": "i"}
)

_NEAR: Final = 0.6
_MIN_CONTAINED_LENGTH: Final = 3
MAX_WANTED_LENGTH: Final = 300
"""The most characters of a text that is compared with names; comparing more takes seconds."""

MAX_LABEL_LENGTH: Final = 80
"""The most characters of a name or a label."""

MAX_MARKS_IN_A_ROW: Final = 3
"""The most accents on one letter: real writing needs no more, and a tall stack covers the lines above."""

_DROPPED_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
"""Control, format (bidirectional and zero-width among them), surrogate, private use, unassigned."""

# Letters, marks and symbols that are never visible, so text could be hidden in them: Unicode's
# DerivedCoreProperties.txt, Default_Ignorable_Code_Point, without what the categories drop already.
_INVISIBLE: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
_BLANK_LINES: Final = re.compile(r"\n{3,}")
_ELLIPSIS: Final = "…"
_LOOKED_AT: Final = 16
_LOOKED_AT_LEAST: Final = 4096
"""Characters that are read of a text: `_LOOKED_AT` for each that may be shown, plus these."""


def clean_line(text: str, *, limit: int = MAX_LABEL_LENGTH) -> str:
    """Return the text as one visible line of at most `limit` characters, cut with "…"; it may be empty."""
    part = _take_start(text, limit)
    return _cut(_fold(part) + _ELLIPSIS * (len(part) < len(text)), limit)


def clean_text(text: str, *, limit: int) -> str:
    """Return the text as `clean_line` does, but with its line breaks: at most one blank line in a row."""
    part = _take_start(text, limit)
    lines = "\n".join(_fold(line) for line in part.splitlines())
    return _cut(_BLANK_LINES.sub("\n\n", lines).strip() + _ELLIPSIS * (len(part) < len(text)), limit)


def format_quoted(text: str, *, limit: int = MAX_LABEL_LENGTH) -> str:
    """Return the clean line in double quotes, with none inside, so that it cannot end the quotation."""
    inner = clean_line(text, limit=limit).replace('"', "'")
    return f'"{inner}"'


def drop_invisible(text: str) -> str:
    """Return the text without invisible characters; spaces stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c for c in _INVISIBLE.sub("", text) if unicodedata.category(c) not in _DROPPED_CATEGORIES)


def _take_start(text: str, limit: int) -> str:
    """Return the start of a text from which `limit` visible characters can come, so that megabytes are not scanned."""
    return text[: limit * _LOOKED_AT + _LOOKED_AT_LEAST]


def _fold(text: str) -> str:
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    # White space first: line feeds and tabs are controls too, and must separate words.
    spaced = " ".join(text.split())
    visible = drop_invisible(spaced)
    # A removed character may have been between two spaces, or between a letter and its accent.
    return " ".join(_thin_marks(unicodedata.normalize("NFC", visible)).split())


def _thin_marks(text: str) -> str:
    kept: list[str] = []
    marks = 0
    for character in text:
        marks = marks + 1 if _is_mark(character) else 0
        if marks <= MAX_MARKS_IN_A_ROW:
            kept.append(character)
    return "".join(kept)


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    end = max(limit - len(_ELLIPSIS), 0)
    while end > 0 and _is_mark(text[end]):
        end -= 1
    return (text[:end].rstrip() + _ELLIPSIS)[:limit]


def get_nearest(wanted: str, names: Iterable[str], *, limit: int = 1) -> tuple[str, ...]:
    """Return the most similar names, nearest first; empty if none is similar.

    A name that contains the wanted one, or is contained in it, counts as similar. A text longer than `MAX_WANTED_LENGTH` matches nothing.
    """
    if len(wanted) > MAX_WANTED_LENGTH:
        return ()
    target = clean_line(wanted).casefold()
    scored = [(_score(target, name.casefold()), name) for name in set(names)]
    near = sorted((-score, name) for score, name in scored if score >= _NEAR)
    return tuple(name for _, name in near[:limit])


def _score(target: str, name: str) -> float:
    ratio = SequenceMatcher(None, target, name, autojunk=False).ratio()
    is_contained = target in name or name in target
    if is_contained and min(len(target), len(name)) >= _MIN_CONTAINED_LENGTH:
        return _NEAR + (1 - _NEAR) * ratio
    return ratio


HIDDEN: Final = "[hidden]"

_SCHEMES: Final = r"\b(?:https?|wss?|ftps?|sftp|socks5h?|postgres(?:ql)?|rediss?|s3|gs)"
# Only the part of an address before its query may be shown, without passwords.
# An address without a query is skipped as a whole, so that no text is scanned twice.
_QUERY: Final = re.compile(rf"({_SCHEMES}:(?:\\?/){{2}}[^\s?\"'<>]+)(\?[^\s\"'<>]+)?", re.IGNORECASE)
_USERINFO: Final = re.compile(rf"({_SCHEMES}:(?:\\?/){{2}})[^\s/?#\"'<>]+@", re.IGNORECASE)

_NAMES: Final = (
    r"(?:[\w-]{0,40}(?:token|signature|secret|password|passwd|passphrase|hmac|credentials?|session_?id|jwt|otp)"
    r"|(?:[\w-]{0,40}[-_])?(?:sig|auth|pwd|pw|pass|csrf|xsrf|cookie|session)|[\w-]{0,40}(?:api|access|private|secret|signing)[-_]?key(?:[-_]?id)?|key-pair-id"
    r"|(?:proxy-)?authorization)"
)
# As a header, a parameter (also escaped) or a member of JSON (also inside a string of JSON).
_ASSIGNED: Final = re.compile(
    rf"(\b{_NAMES}\\*[\"']?\s*(=|%(?:25)?3d|\\u003d|&#(?:61|x3d);|:)\s*\\*[\"']?)(?!(?:(?:bearer|basic|token|digest)\s+)?\[hidden\])((?:bearer|basic|token|digest)\s+)?([^\s\"'<>,;&\\{{}}()\[\]]+)",
    re.IGNORECASE,
)
_SCHEME: Final = re.compile(r"\b(bearer|basic)(\s+|%20|:\s*)([\w.~+/=:-]{8,})", re.IGNORECASE)
_IN_WORDS: Final = re.compile(
    r"\b(token|signature|secret|password)(\s+(?:is\s+|was\s+|of\s+)?[\"'(\[\N{LEFT DOUBLE QUOTATION MARK}]?)([\w.~+/=-]{16,})",
    re.IGNORECASE,
)
_PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)"
)
_SIGNED_TIME: Final = re.compile(r"(?:\bst[=_]\d+~)?\bexp[=_]\d+~[^\s\"'<>,;&\\]+", re.IGNORECASE)
_WEB_TOKEN: Final = re.compile(r"\beyJ[\w-]{5,}(?:\.[\w-]*){1,4}")
_KEY_BY_PREFIX: Final = re.compile(
    r"\b(?:sk-|[sr]k_(?:live|test)_|gx_|FPSX|AKIA|ASIA|gh[opsu]_|github_pat_|glpat-|npm_|whsec_|xox[a-z]-|hf_|r8_|AIza|ya29\.)"
    r"[\w-]{8,}|\bfp_[\w-]{40,}"
)

_LONG: Final = 16
_DIGITS_OF_A_NUMBER: Final = 9


def redact(text: str) -> str:
    """Return the text with `[hidden]` in place of keys, tokens, signatures and passwords."""
    text = _PRIVATE_KEY.sub(HIDDEN, text)
    text = _USERINFO.sub(rf"\1{HIDDEN}@", text)
    text = _QUERY.sub(lambda found: f"{found[1]}?{HIDDEN}" if found[2] else found[0], text)
    text = _WEB_TOKEN.sub(HIDDEN, text)
    text = _SIGNED_TIME.sub(HIDDEN, text)
    text = _KEY_BY_PREFIX.sub(HIDDEN, text)
    text = _ASSIGNED.sub(_hide_assigned, text)
    text = _SCHEME.sub(_hide_scheme, text)
    return _IN_WORDS.sub(_hide_mixed, text)


def _hide_assigned(found: re.Match[str]) -> str:
    name, sign, scheme, value = found.groups()
    is_parameter = sign != ":"
    if scheme or (is_parameter and not value.isdigit()) or _is_secret(value):
        return f"{name}{scheme or ''}{HIDDEN}"
    return found[0]


def _hide_scheme(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}{HIDDEN}" if _is_secret(found[3]) else found[0]


def _hide_mixed(found: re.Match[str]) -> str:
    """Hide values with both letters and digits; long words and numbers are not secrets."""
    value = found[3]
    is_mixed = any(character.isdigit() for character in value) and any(character.isalpha() for character in value)
    return f"{found[1]}{found[2]}{HIDDEN}" if is_mixed else found[0]


def _is_secret(value: str) -> bool:
    """Return whether a value is a secret, unlike a word ("token: expired") or a count ("token: 512")."""
    if value.isdigit():
        return len(value) > _DIGITS_OF_A_NUMBER
    return len(value) >= _LONG or any(character.isdigit() for character in value)


def format_duration(seconds: float) -> str:
    """Return a duration in seconds as text: `34 s`, `2 min 5 s`."""
    whole = max(0, round(seconds))
    return f"{whole} s" if whole < 90 else f"{whole // 60} min {whole % 60} s"  # noqa: PLR2004


def choose_forms(sizes: Sequence[Sequence[int]], budget: int) -> list[int]:
    """Return the form of each leading item that fits into the budget.

    Args:
        sizes: For each item the bytes of its forms, from the shortest to the fullest.
        budget: The bytes for all items together.
    """
    chosen: list[int] = []
    for forms in sizes:
        if forms[0] > budget:
            break
        budget -= forms[0]
        chosen.append(0)
    for form in range(1, max(map(len, sizes), default=0)):
        for place, before in enumerate(chosen):
            more = sizes[place][form] - sizes[place][before]
            if before == form - 1 and more <= budget:
                budget -= more
                chosen[place] = form
    return chosen


def count_bytes(value: Any) -> int:
    """Return the bytes of a JSON value on the wire, or slightly more."""
    return len(json.dumps(value, ensure_ascii=False).encode(errors="replace"))


MAX_QUOTED_CHARACTERS: Final = 60
_WORTH_CLEANING: Final = 4 * MAX_QUOTED_CHARACTERS
_KILO: Final = 1024


def format_name(value: str) -> str:
    """Return a path or a name for use in a sentence: one line, and nothing from a question mark on, which may be a secret."""
    return clean_line(value[:_WORTH_CLEANING].partition("?")[0], limit=MAX_QUOTED_CHARACTERS)


def format_address(value: str) -> str:
    """Return scheme and host of an address for use in a sentence. The rest may hold secrets."""
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


def build_slug(text: str) -> str:
    """Return the text in lower case Latin letters, digits and single underscores; empty when it has none of them."""
    decomposed = unicodedata.normalize("NFKD", clean_line(text, limit=_MAX_SLUG_SOURCE)).casefold()
    plain = "".join(c for c in decomposed.translate(_UNDECOMPOSED) if not unicodedata.category(c).startswith("M"))
    return re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
