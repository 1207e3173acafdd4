"""Classify the ways in which a text names a file, and take off what programs wrap around a name. Pure.

Nothing is opened, and a very long text is only sampled. Assistants repeat what they see in a chat, so some names mean nothing
on this computer; they have kinds of their own for a clear answer. Terminals escape spaces, file managers copy paths with
quotes, chats make links: each text that `iterate_unwrapped` gives may be the name, and the disk decides which one is.
"""

import html
import re
import sys
import unicodedata
from collections.abc import Iterator
from enum import Enum, auto
from functools import partial
from typing import Final
from urllib.parse import unquote

from flowport.domain.uris import is_result_name, parse_upload_name


class SourceKind(Enum):
    """A way to name a file."""

    BLANK = auto()
    DATA_URI = auto()
    BASE64 = auto()
    """The bytes of a file, without the beginning that would make them a data URI."""
    GARBLED = auto()
    """Holds a control character or half a letter, which no name or address does on purpose."""
    URL = auto()
    """An https or http address."""
    RESULT = auto()
    """A result of an earlier run; `domain.uris.parse_result_name` reads which."""
    UPLOAD = auto()
    """A file that a person has uploaded to this server; `domain.uris.parse_upload_name` reads which."""
    FILE_URI = auto()
    CHAT = auto()
    """An address that means something inside a chat alone."""
    OTHER_SCHEME = auto()
    WINDOWS_PATH = auto()
    """With a drive letter, on a computer that has none; on Windows it is a PATH."""
    NETWORK_PATH = auto()
    PATH = auto()
    """From the root or from a home folder."""
    RELATIVE = auto()
    """Anything else: most often a name that the assistant made up."""


CHAT_FOLDERS: Final = ("/mnt/data/", "/mnt/user-data/", "/home/oai/")
"""Where assistants believe that files live: folders of the machine that the chat's own tools run on."""

_SCHEMES: Final = {
    "data": SourceKind.DATA_URI,
    "file": SourceKind.FILE_URI,
    "https": SourceKind.URL,
    "http": SourceKind.URL,
    **dict.fromkeys(("sandbox", "attachment", "attachments", "blob", "cid", "upload", "uploads"), SourceKind.CHAT),
}
# Two letters at least, since one is a drive.
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_DRIVE: Final = re.compile(r"[A-Za-z]:[\\/]")
_GARBLED: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_BARE_DATA: Final = re.compile(
    r"(?:(?:(?:data-?ur[il]|src|url|uri)\s*[:=]|data\s*=)\s*(?=data:|[a-z]{5,11}/[\w.+-]{1,60}\s*;\s*base64|base64))?"
    r"(?:data:|(?:(?:image|video|audio|application)/[\w.+-]{1,60}\s*;\s*)?base64\s*[,:])",
    re.IGNORECASE,
)
"""A data URI without the word that begins it."""
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_\s-]{64,}={0,2}\s*")
_BASE64_SAMPLE: Final = 2048
_JPEG_IN_BASE64: Final = "/9j/"


def get_source_kind(value: str, *, is_windows: bool = sys.platform == "win32") -> SourceKind:
    """Return how the text names a file."""
    value = value.strip()
    scheme = _SCHEME.match(value)
    if (scheme is not None and scheme[1].lower() == "data") or _BARE_DATA.match(value):
        return SourceKind.DATA_URI
    if _is_base64(value):
        return SourceKind.BASE64
    if _GARBLED.search(value):
        return SourceKind.GARBLED
    if (upload := parse_upload_name(value)) or is_result_name(value):
        return SourceKind.UPLOAD if upload else SourceKind.RESULT
    if scheme is None:
        return _get_path_kind(value, is_windows=is_windows)
    return _SCHEMES.get(scheme[1].lower(), SourceKind.OTHER_SCHEME)


def build_mounted_path(path: str, mounts: str = "/mnt") -> str:
    """Return where a path with a drive lies in a Linux that Windows runs: below `/mnt/c`, or its own letter."""
    return f"{mounts}/{path[0].lower()}/" + path[3:].replace("\\", "/")


def _is_base64(value: str) -> bool:
    # Base64 may begin with a slash, as every JPEG in it does, but so does every path.
    is_path = value.startswith("/") and not value.startswith(_JPEG_IN_BASE64)
    return not is_path and _BASE64.fullmatch(value[:_BASE64_SAMPLE]) is not None


def _get_path_kind(value: str, *, is_windows: bool) -> SourceKind:
    if not value:
        return SourceKind.BLANK
    if value.startswith(("\\\\", "//")):
        return SourceKind.NETWORK_PATH
    if _DRIVE.match(value):
        return SourceKind.PATH if is_windows else SourceKind.WINDOWS_PATH
    return SourceKind.PATH if value.startswith(("/", "~")) else SourceKind.RELATIVE


_MAX_ADDRESS: Final = 4_000
_HOST: Final = r"(?=[A-Za-z0-9](?:[A-Za-z0-9-]*\.)+[A-Za-z]{2,}(?:[:/?#\\]|$))"
_SCHEME_WITH_FLAW: Final = re.compile(rf"(?P<scheme>https?)(?:\s*[:;]\s*[/\\]+|[/\\]{{2,}}){_HOST}", re.IGNORECASE)
_MISSPELT: Final = re.compile(rf"(?!https?:)h{{0,2}}t{{1,3}}p{{1,3}}s{{0,3}}://{_HOST}", re.IGNORECASE)
_WITHOUT_SCHEME: Final = re.compile(rf"(?=www\.[a-z0-9-]+\.){_HOST}", re.IGNORECASE)
_RIGHT: Final = re.compile(rf"https?://{_HOST}", re.IGNORECASE)
_HIDING: Final = re.compile(r"[\s\\]")
_TWICE: Final = re.compile(r"(?:https?:/*){1,3}(?=https?://)", re.IGNORECASE)


def correct_address(text: str) -> str:
    """Return the address without its flaw; any other text as it is.

    A scheme that is misspelt, doubled or lacks a mark is written right, `www.` gets one, and then backslashes become
    slashes and spaces are encoded. Behind a scheme that is right they are left: there they may hide another host.
    """
    written = text.strip()
    if len(written) > _MAX_ADDRESS or "\n" in written:
        return text
    once = _TWICE.sub("", written, count=1) if _TWICE.match(written) else written
    if _RIGHT.match(once):
        scheme, _, rest = once.partition("://")
        return text if _HIDING.search(once) or "://" in rest else f"{scheme.lower()}://{rest}"
    if found := _SCHEME_WITH_FLAW.match(once):
        address = f"{found['scheme'].lower()}://{once[found.end() :]}"
    elif found := _MISSPELT.match(once):
        scheme = "https" if "s" in found[0].lower() else "http"
        address = f"{scheme}://{once[found.end() :]}"
    elif _WITHOUT_SCHEME.match(once):
        address = f"https://{once}"
    else:
        return text
    # Two addresses in one text are not one with a space in it.
    return text if "://" in address.partition("://")[2] else address.replace("\\", "/").replace(" ", "%20")


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
    r"(?:\s*#?\d{1,3})?\s*[:=]\s*)(?=[/~\"'`<]|[A-Za-z]:[\\/]|\\\\|https?://|file:|data:|source:|upload:)",
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
    """Check whether a text names a drive of this computer in the form of a share."""
    return _DEVICE.match(text.strip()) is not None or _LOCAL_SHARE.match(text.strip()) is not None


def is_share_of_linux(text: str, linux_name: str) -> bool:
    """Check whether a text is what Windows calls a file of this Linux."""
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
    # Only the end is searched: in a long run of spaces each pattern would start again at every one.
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
