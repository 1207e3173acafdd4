"""What a media argument of a call names: a file of this computer, bytes inside the text, or a URL.

A URL is handed on as it stands and is not fetched; everything else becomes bytes whose type is read from the bytes.
Whatever cannot be used is refused here, before anything is spent, with a sentence that says what to give instead.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import SplitResult, unquote, urlsplit

from flowport.errors import ArgumentsInvalid
from flowport.media.data_uris import parse_data_uri
from flowport.media.local_files import is_under_roots, read_local_file
from flowport.media.refusals import build_refusal, format_address, format_name
from flowport.media.sniffing import Sniffed, sniff
from flowport.media.spellings import CHAT_FOLDERS, Spelling, get_spelling
from flowport.model import InputKind, OutputKind

MAX_URL_CHARACTERS: Final = 8192
"""Signed URLs are long, but no server that we know of takes longer ones."""

_GIVE: Final = "Give the full path of a file on this computer, or an https URL."


@dataclass(frozen=True, slots=True)
class MediaRules:
    """What media arguments may name."""

    roots: tuple[Path, ...]
    """Folders that files may be read from, with everything below them; none allows no local file at all."""
    trusted_origins: frozenset[str] = frozenset()
    """Origins whose URLs may be http: `http://127.0.0.1:4567`, in lower case, without a default port."""
    max_inline_bytes: int = 10 * 1024 * 1024
    """The largest file that is taken from this computer or out of a data URI."""


@dataclass(frozen=True, slots=True)
class UrlMedia:
    """A file that the provider fetches for itself."""

    url: str


@dataclass(frozen=True, slots=True)
class FileMedia:
    """A file that we hold and the provider must be given."""

    data: bytes
    sniffed: Sniffed
    sha256: str
    """Of the data, in hexadecimal."""
    name: str
    """The file's own name for a note about it, cleaned."""


Media: TypeAlias = UrlMedia | FileMedia


def resolve_media(value: str, *, argument: str, kind: InputKind, rules: MediaRules) -> Media:
    """Return what a media argument names.

    Blocks on the disk. `kind` is one of the media kinds, and for `MEDIA` a picture, a video or sound will do.

    Raises:
        ArgumentsInvalid: One problem, with this argument.
    """
    value = value.strip()
    spelling = get_spelling(value)
    match spelling:
        case Spelling.URL:
            return _check_url(value, argument, rules)
        case Spelling.DATA_URI:
            data, name = parse_data_uri(value, argument=argument, max_bytes=rules.max_inline_bytes), "data URI"
        case Spelling.PATH | Spelling.FILE_URI:
            path = _parse_file_uri(value, argument) if spelling is Spelling.FILE_URI else value
            data, name = _read(path, argument, rules), format_name(Path(path).name)
        case _:
            raise _refuse_spelling(spelling, value, argument)
    sniffed = _check_type(data, argument, kind)
    return FileMedia(data, sniffed, hashlib.sha256(data).hexdigest(), name)


# A made-up name has no folder; a relative path nobody can place, since clients start us anywhere.
_PATH_MARK: Final = re.compile(r"[/\\]")

_REFUSALS: Final = {
    Spelling.BLANK: ("is empty", _GIVE),
    Spelling.BASE64: (
        "looks like the bare base64 of a file",
        "Put it into a data URI (data:image/png;base64,...), or better give the full path of the file.",
    ),
    Spelling.GARBLED: ("holds control characters", _GIVE),
    Spelling.WINDOWS_PATH: ("is a Windows path, and Flowport does not run on Windows here", _GIVE),
    Spelling.NETWORK_PATH: ("names a network share", "Copy the file to this computer and give its full path."),
}


def _refuse_spelling(spelling: Spelling, value: str, argument: str) -> ArgumentsInvalid:
    if spelling is Spelling.OTHER_SCHEME:
        return build_refusal(argument, f"is an address of a kind that cannot be used ({format_address(value)})", _GIVE)
    if spelling in _REFUSALS:
        return build_refusal(argument, *_REFUSALS[spelling])
    if spelling is Spelling.RELATIVE and _PATH_MARK.search(value):
        return build_refusal(argument, f'is "{format_name(value)}", a path without its beginning', _GIVE)
    return _refuse_chat_name(value, argument)


def _refuse_chat_name(value: str, argument: str) -> ArgumentsInvalid:
    return build_refusal(
        argument,
        f'is "{format_name(value)}", which means nothing outside the chat',
        "Files attached to the chat cannot be seen from here. " + _GIVE,
    )


def _check_url(url: str, argument: str, rules: MediaRules) -> UrlMedia:
    parts = _split_url(url)
    if parts is None:
        raise build_refusal(argument, "is not a complete web address", _GIVE)
    if "@" in parts.netloc:
        raise build_refusal(argument, "is an address with a user name or password in it", "Give one without.")
    if parts.scheme != "https" and _get_origin(parts) not in rules.trusted_origins:
        problem = f"is an address without encryption ({format_address(url)})"
        raise build_refusal(argument, problem, "Give an https URL, or the full path of a file on this computer.")
    return UrlMedia(url)


def _split_url(url: str) -> SplitResult | None:
    if len(url) > MAX_URL_CHARACTERS or re.search(r"[\s\\]", url):
        return None
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if is_whole else None


def _get_origin(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.netloc.lower()}".removesuffix(":80")


def _parse_file_uri(uri: str, argument: str) -> str:
    """Return the path of a file URI (RFC 8089): one of this computer, and never a share of another."""
    rest = uri.partition(":")[2]
    host, path = "", rest
    if rest.startswith("//"):
        host, slash, below = rest[2:].partition("/")
        path = slash + below
    if host.lower() not in {"", "localhost"}:
        raise build_refusal(argument, "is a file URI that names another computer", _GIVE)
    # A question mark or hash sign is kept: assistants forget to encode those that stand in file names. Windows
    # writes its drive behind the slash.
    local = re.sub(r"^/(?=[A-Za-z]:[\\/])", "", unquote(path))
    if local.startswith("~") or get_spelling(local) is not Spelling.PATH:
        raise build_refusal(argument, "is a file URI without a usable full path", "Write file:///folder/name.png.")
    return local


def _read(path: str, argument: str, rules: MediaRules) -> bytes:
    if path.startswith(CHAT_FOLDERS) and not is_under_roots(Path(path), rules.roots):
        raise _refuse_chat_name(path, argument)
    try:
        expanded = Path(path).expanduser()
    except RuntimeError as exc:
        raise build_refusal(argument, "begins with a home folder that does not exist", _GIVE) from exc
    return read_local_file(expanded, argument=argument, roots=rules.roots, max_bytes=rules.max_inline_bytes)


_WANTED: Final = {
    InputKind.IMAGE: OutputKind.IMAGE,
    InputKind.VIDEO: OutputKind.VIDEO,
    InputKind.AUDIO: OutputKind.AUDIO,
    InputKind.MEDIA: None,
}
_NAMES: Final = {OutputKind.IMAGE: "an image", OutputKind.VIDEO: "a video", OutputKind.AUDIO: "a sound"}


def _check_type(data: bytes, argument: str, kind: InputKind) -> Sniffed:
    sniffed, wanted = sniff(data), _WANTED[kind]
    if sniffed is not None and sniffed.extension == "svg":
        raise build_refusal(argument, "is an SVG drawing, which cannot be sent", "Give it as a PNG or JPEG file.")
    if sniffed is None or not sniffed.is_media:
        raise build_refusal(
            argument, "names something that is not an image, a video or a sound", "Give such a file, in a usual format."
        )
    if wanted is not None and sniffed.kind is not wanted:
        problem = f"takes {_NAMES[wanted]}, and this file is {_NAMES[sniffed.kind]} ({sniffed.mime_type})"
        raise build_refusal(argument, problem, f"Give {_NAMES[wanted]}.")
    return sniffed
