"""Which of the many ways to name a file a text is.

Pure: nothing is opened, and a very long text is only sampled. Assistants write down what they see in a chat, so some
of the spellings name things that exist nowhere on this computer; these are told apart to be answered well.
"""

import re
import sys
from enum import Enum, auto
from typing import Final

from flowport.domain.uris import is_result_name


class Spelling(Enum):
    """A way to name a file."""

    BLANK = auto()
    DATA_URI = auto()
    BASE64 = auto()
    """The bytes of a file, without the beginning that would make them a data URI."""
    GARBLED = auto()
    """Holds a control character or half a letter, which no name or address of a file does on purpose."""
    URL = auto()
    """An https or http address."""
    RESULT = auto()
    """A result of an earlier run; `domain.uris.parse_result_name` reads which."""
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
    "data": Spelling.DATA_URI,
    "file": Spelling.FILE_URI,
    "https": Spelling.URL,
    "http": Spelling.URL,
    **dict.fromkeys(("sandbox", "attachment", "attachments", "blob", "cid", "upload", "uploads"), Spelling.CHAT),
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


def get_spelling(value: str, *, is_windows: bool = sys.platform == "win32") -> Spelling:
    """Return how the text names a file."""
    value = value.strip()
    scheme = _SCHEME.match(value)
    if (scheme is not None and scheme[1].lower() == "data") or _BARE_DATA.match(value):
        return Spelling.DATA_URI
    if _is_base64(value):
        return Spelling.BASE64
    if _GARBLED.search(value):
        return Spelling.GARBLED
    if is_result_name(value):
        return Spelling.RESULT
    if scheme is None:
        return _get_path_spelling(value, is_windows=is_windows)
    return _SCHEMES.get(scheme[1].lower(), Spelling.OTHER_SCHEME)


def get_mounted_path(path: str, mounts: str = "/mnt") -> str:
    """Return where a path with a drive lies in a Linux that Windows runs: below `/mnt/c`, or its own letter."""
    return f"{mounts}/{path[0].lower()}/" + path[3:].replace("\\", "/")


def _is_base64(value: str) -> bool:
    # Base64 may begin with a slash, as every JPEG in it does, but so does every path.
    is_path = value.startswith("/") and not value.startswith(_JPEG_IN_BASE64)
    return not is_path and _BASE64.fullmatch(value[:_BASE64_SAMPLE]) is not None


def _get_path_spelling(value: str, *, is_windows: bool) -> Spelling:
    if not value:
        return Spelling.BLANK
    if value.startswith(("\\\\", "//")):
        return Spelling.NETWORK_PATH
    if _DRIVE.match(value):
        return Spelling.PATH if is_windows else Spelling.WINDOWS_PATH
    return Spelling.PATH if value.startswith(("/", "~")) else Spelling.RELATIVE


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
