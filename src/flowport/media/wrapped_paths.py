"""What people's programs put round, before and into the name of a file, taken off again. Pure.

Terminals escape spaces, file managers copy paths with quotes, chats make links, editors put a mark before a path. Each text
that is given back may be the name; which one is, the disk tells.
"""

import html
import re
import unicodedata
from collections.abc import Iterator
from functools import partial
from typing import Final
from urllib.parse import unquote

_MAX_LAYERS: Final = 4
_MAX_LINK_TEXT: Final = 300
_MAX_CHARACTERS: Final = 10_000
"""Longer texts are data, and no names."""
_MAX_AFTER: Final = 200
"""Characters that a program may put behind a path."""
_PAIRS: Final = {
    **dict(zip("\"'`<([{", "\"'`>)]}", strict=True)),
    # Typographic ones: English, German, single, French both ways, Japanese.
    **dict(zip("\u201c\u201e\u2018\u00ab\u00bb\u300c", "\u201d\u201c\u2019\u00bb\u00ab\u300d", strict=True)),
    # As they are written among Chinese and Japanese letters.
    **dict(zip("\u300e\uff62\uff08\u3010\u300a", "\u300f\uff63\uff09\u3011\u300b", strict=True)),
}
_QUOTES: Final = frozenset("\"'`\u201c\u201d\u201e\u2018\u2019")
"""Any of them may end what another began, where a keyboard has made one of the two typographic."""
_MARKED: Final = re.compile(r"(\*{1,3}|_{1,3}|~~|\\[\"'])(.+)\1", re.DOTALL)
_TAGGED: Final = re.compile(r"<(\w+)(?:\s[^<>]*)?>(.+)</\1>", re.DOTALL)
_EMBEDDED: Final = re.compile(r"!\[\[([^\]|]+)(?:\|[^\]]*)?\]\]")
_CODE: Final = re.compile(r"""(?:[A-Za-z]\w*\(\s*)?[A-Za-z]{0,2}\$?(["'])(.+)\1\s*\)?""", re.DOTALL)
_EDITOR: Final = re.compile(
    r"(?:(?:vscode|vscode-insiders|cursor|windsurf)://file|vscode-file://vscode-app)/*(?=/|[A-Za-z]:)", re.IGNORECASE
)
_EDITOR_IN_LINUX: Final = re.compile(r"vscode-remote://wsl(?:\+|%2B)([^/]+)(/.*)", re.IGNORECASE | re.DOTALL)
_LINK: Final = re.compile(r'!?\[[^\]]*\]\(\s*<?(.+?)>?(?:\s+"[^"]*")?\s*\)')
_CSS: Final = re.compile(r"""url\(\s*["']?(.+?)["']?\s*\)""", re.IGNORECASE)
_HTML: Final = re.compile(
    r"""<(?:img|a|video|audio|source)\b[^>]*?\b(?:src|href)\s*=\s*(?:"([^"]+)"|'([^']+)'|([^"'>\s]+))""", re.IGNORECASE
)
_BEFORE: Final = re.compile(
    r"(?:[@&]\s*|[-*+>$]\s+|\d{1,3}[.)]\s+|#?(?:file|path|image|picture|photo|img|media|video|audio|sound|source|src|url|uri)"
    r"(?:\s*#?\d{1,3})?\s*[:=]\s*)(?=[/~\"'`<]|[A-Za-z]:[\\/]|\\\\|https?://|file:|data:|source:)",
    re.IGNORECASE,
)
_AFTER: Final = re.compile(r"(?:[\s,;.!?\"'`>)\]]|:\d++|#L\d++(?:-L?\d++)?)++$")
_STOPS: Final = re.compile(r"[\s,;.!?]+$")
_ESCAPED: Final = re.compile(r"\\([^A-Za-z0-9])")
_SHARE_OF_THIS_LINUX: Final = re.compile(
    r"(?:file:)?[\\/]{2,5}(?:[?.][\\/]+UNC[\\/]+)?(?:wsl\.localhost|wsl\$)[\\/]+([^\\/]+)[\\/]+(.*)",
    re.IGNORECASE | re.DOTALL,
)
_DEVICE: Final = re.compile(r"[\\/]{2}[?.][\\/](?=[A-Za-z]:[\\/])")
_LOCAL_SHARE: Final = re.compile(r"[\\/]{2}(?:localhost|127\.0\.0\.1)[\\/]([A-Za-z])\$[\\/]", re.IGNORECASE)
_HOME: Final = re.compile(r"(?:\$HOME|\$\{HOME\}|%HOME%|%USERPROFILE%)(?=[\\/])", re.IGNORECASE)


def iterate_unwrapped(text: str, *, linux_name: str = "") -> Iterator[str]:
    """Give what a text may mean besides itself, what has more taken off later, and nothing twice.

    Args:
        text: As it was given.
        linux_name: What Windows calls this Linux; empty where no Windows runs it.
    """
    take_off = partial(_take_off, linux_name) if len(text) <= _MAX_CHARACTERS else _take_off_data
    seen, layer = {text.strip()}, [text.strip()]
    for _ in range(_MAX_LAYERS):
        found = [_strip(inner) for outer in layer for inner in take_off(outer)]
        layer = [inner for inner in dict.fromkeys(found) if inner and inner not in seen]
        seen.update(layer)
        yield from layer


def _strip(text: str) -> str:
    """Return the text without spaces and letters that cannot be seen at its ends, as Windows puts before a copied path."""
    start, end = 0, len(text)
    while start < end and _is_unseen(text[start]):
        start += 1
    while start < end and _is_unseen(text[end - 1]):
        end -= 1
    return text[start:end]


def _is_unseen(letter: str) -> bool:
    return letter.isspace() or unicodedata.category(letter) == "Cf"


def is_of_this_computer(text: str) -> bool:
    """Tell whether a text names a drive of this computer in the form of a share."""
    return _DEVICE.match(text.strip()) is not None or _LOCAL_SHARE.match(text.strip()) is not None


def is_share_of_linux(text: str, linux_name: str) -> bool:
    """Tell whether a text is what Windows calls a file of this Linux."""
    found = _SHARE_OF_THIS_LINUX.fullmatch(text.strip()) if len(text) <= _MAX_CHARACTERS else None
    return found is not None and bool(linux_name) and found[1].casefold() == linux_name.casefold()


def _take_off_data(text: str) -> Iterator[str]:
    """Give a long text, the bytes of a file, without quotes or the link around it."""
    if len(text) > 1 and _PAIRS.get(text[0]) == text[-1]:
        yield text[1:-1]
    start = text.find("](", 0, _MAX_LINK_TEXT)
    if start >= 0 and text.startswith(("[", "![")) and text.endswith(")"):
        yield text[start + 2 : -1]


def _take_off(linux_name: str, text: str) -> Iterator[str]:
    """Give the text without one layer, for each that it has."""
    yield _strip(text)
    yield from _take_off_marks(text)
    if found := _HTML.match(text):
        yield found[1] or found[2] or found[3]
    for pattern in (_BEFORE, _EDITOR):
        if found := pattern.match(text):
            yield text[found.end() :]
    # Only the end is searched: in a long run of spaces each pattern would begin anew at every one.
    before, end = text[:-_MAX_AFTER], text[-_MAX_AFTER:]
    for pattern in (_STOPS, _AFTER):
        if found := pattern.search(end):
            yield before + end[: found.start()]
    yield from _resolve_shares(text, linux_name)
    yield from _resolve_escapes(text)


def _take_off_marks(text: str) -> Iterator[str]:
    """Give the text without what stands on both sides of it, or a quote that stands on one."""
    if len(text) > 1 and (_PAIRS.get(text[0]) == text[-1] or {text[0], text[-1]} <= _QUOTES):
        yield text[1:-1]
    for pattern in (_LINK, _CSS, _EMBEDDED):
        if found := pattern.fullmatch(text):
            yield found[1]
    for pattern in (_MARKED, _TAGGED, _CODE):
        if found := pattern.fullmatch(text):
            yield found[2]
    if text[:1] in _QUOTES and not _QUOTES.intersection(text[1:]):
        yield text[1:]


def _resolve_escapes(text: str) -> Iterator[str]:
    """Give the path that a shell or a browser would make of the text."""
    if "&" in text and ";" in text:
        yield html.unescape(text)
    if "'\\''" in text:
        yield text.replace("'\\''", "'")
    if found := _HOME.match(text):
        yield "~" + text[found.end() :].replace("\\", "/")
    if "\\" in text and text.startswith(("/", "~")):
        yield _ESCAPED.sub(r"\1", text)
        yield text.replace("\\", "/")
    if "%" in text and text.startswith(("/", "~")):
        yield unquote(text)


def _resolve_shares(text: str, linux_name: str) -> Iterator[str]:
    """Give the path of this computer that is written like one of another."""
    if found := _SHARE_OF_THIS_LINUX.fullmatch(text):
        if is_share_of_linux(text, linux_name):
            yield "/" + found[2].replace("\\", "/")
        return
    if (found := _EDITOR_IN_LINUX.fullmatch(text)) and unquote(found[1]).casefold() == linux_name.casefold():
        yield found[2]
    if found := _DEVICE.match(text):
        yield text[found.end() :]
    if found := _LOCAL_SHARE.match(text):
        yield f"{found[1]}:\\{text[found.end() :]}"
    if text.startswith("//"):
        yield "/" + text.lstrip("/")
