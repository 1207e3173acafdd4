"""Resolve what a media argument names: a local file, bytes inside the text, or a URL.

A URL is passed on as it is and not fetched here; everything else is a file whose type is read from its bytes. Results of
earlier runs are resolved elsewhere, because they are in the store. What cannot be used is refused here, before anything is
spent, with a sentence that says what to give instead.
"""

import os
import re
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias
from urllib.parse import SplitResult, unquote, urlsplit

from flowport.domain.call_errors import build_refusal
from flowport.domain.errors import ArgumentsInvalid
from flowport.domain.models import InputKind, OutputKind
from flowport.domain.text import format_address, format_name
from flowport.media.containers import count_file_bytes
from flowport.media.convert import Wanted, check_picture
from flowport.media.formats import RAW_PHOTO, FileFormat
from flowport.media.identify import find_fault, identify
from flowport.media.refusals import GIVE, refuse_chat_name, refuse_elsewhere, refuse_kind
from flowport.media.source_kinds import (
    CHAT_FOLDERS,
    SourceKind,
    build_mounted_path,
    get_source_kind,
    is_of_this_computer,
    is_share_of_linux,
    iterate_unwrapped,
)
from flowport.media.sources import (
    DiskSource,
    Fingerprint,
    HeldSource,
    SimilarNames,
    Source,
    check_size,
    compute_fingerprint,
    find_similar_file,
    is_under_roots,
    open_source,
    parse_base64,
    parse_data_uri,
)

MAX_URL_CHARACTERS: Final = 8192
"""Signed URLs are long, but no server that we know of takes longer ones."""

_MAX_NAMED: Final = 8
_FILE_ENDING: Final = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")


@dataclass(frozen=True, slots=True)
class MediaRules:
    """What media arguments may name."""

    roots: tuple[Path, ...]
    """Folders that files may be read from, with everything below them; none allows no local file at all."""
    trusted_origins: frozenset[str] = frozenset()
    """Origins whose URLs may be http: `http://127.0.0.1:4567`, in lower case, without a default port."""
    max_inline_bytes: int = 10 * 1024 * 1024
    """The largest file that goes inside a request, or is taken out of a data URI."""
    max_file_bytes: int = 100_000_000
    """The largest picture of this computer: it is made smaller where it has to be."""
    upload_types: frozenset[str] = frozenset()
    """The MIME types that the provider takes as uploads."""
    max_upload_bytes: int = 0
    """The largest upload that it takes."""
    mounts: Path = Path("/mnt")
    """Where a Linux that Windows runs has Windows' drives."""
    linux_name: str = field(default_factory=lambda: os.environ.get("WSL_DISTRO_NAME", ""))
    """What Windows calls the Linux that it runs, and that this is."""
    is_local: bool = True
    """Whether the paths of this computer are the caller's own; otherwise none is looked at."""


@dataclass(frozen=True, slots=True)
class UrlMedia:
    """A file that the provider fetches for itself."""

    url: str


@dataclass(frozen=True, slots=True)
class FileMedia:
    """A file that we hold and the provider must be given."""

    source: Source
    sniffed: FileFormat
    fingerprint: Fingerprint
    note: str = ""
    """What a person should know of how it was found, as the end of a sentence."""


Media: TypeAlias = UrlMedia | FileMedia


def resolve_media(value: str, *, argument: str, kind: InputKind, rules: MediaRules) -> Media:
    """Return what a media argument names, unless it is a result of an earlier run.

    Blocks on the disk. `kind` is one of the media kinds, and for `MEDIA` a picture, a video or sound will do.

    Raises:
        ArgumentsInvalid: One problem, with this argument.
    """
    value = unwrap(value, rules)
    match get_source_kind(value):
        case SourceKind.URL:
            return _check_url(value, argument, rules)
        case SourceKind.DATA_URI:
            source: Source = HeldSource(parse_data_uri(value, argument=argument, max_bytes=rules.max_inline_bytes))
        case SourceKind.BASE64:
            source = HeldSource(parse_base64(value, argument=argument, max_bytes=rules.max_inline_bytes))
        case _:
            found = find_local_file(value, argument=argument, rules=rules)
            note = describe_found(found, value, argument=argument, rules=rules)
            return replace(examine(found, argument=argument, kind=kind, rules=rules), note=note)
    return examine(source, argument=argument, kind=kind, rules=rules)


def unwrap(value: str, rules: MediaRules) -> str:
    """Return the name or address without what programs wrap around it; the text itself where it names something.

    Blocks on the disk: a file with exactly this name comes first.
    """
    value = value.strip()
    inner = ""
    for text in chain((value,), iterate_unwrapped(value, linux_name=rules.linux_name)):
        match get_source_kind(text):
            case SourceKind.URL | SourceKind.DATA_URI | SourceKind.BASE64 | SourceKind.RESULT | SourceKind.UPLOAD:
                return inner or text
            case SourceKind.PATH | SourceKind.FILE_URI | SourceKind.WINDOWS_PATH if _is_there(text, rules):
                return text
            case SourceKind.PATH | SourceKind.FILE_URI | SourceKind.WINDOWS_PATH | SourceKind.NETWORK_PATH:
                is_share = not is_share_of_linux(text, rules.linux_name) and not is_of_this_computer(text)
                inner = inner or (text if is_share else "")
            case _:
                continue
    return inner or value


def _is_there(text: str, rules: MediaRules) -> bool:
    """Check whether a file under the roots has this name or a similar one."""
    if not rules.is_local:
        return False
    try:
        path = _locate(text, "", rules)
    except ArgumentsInvalid:
        return False
    return is_under_roots(path, rules.roots) and (
        os.path.lexists(path) or find_similar_file(path, rules.roots) is not None
    )


def describe_found(source: DiskSource, value: str, *, argument: str, rules: MediaRules) -> str:
    """Return a note on a file whose name only looks like the given one.

    Blocks on the disk. A folder of its path may be what looks the same.
    """
    asked = _locate(unwrap(value, rules), argument, rules)
    pairs = zip(asked.parts, source.path.parts, strict=False)
    name = next((found for given, found in pairs if given != found), "")
    shown = name.encode("ascii", "backslashreplace").decode()
    kind = "file" if name == source.path.name else "folder"
    return f'was read from a {kind} whose name only looks the same, "{format_name(shown)}"' if name else ""


def find_local_file(value: str, *, argument: str, rules: MediaRules) -> DiskSource:
    """Return where a path or file URI leads; it is not opened, and permission is checked when it is.

    Blocks on the disk. Where nothing has the exact name, the only file that looks the same is meant.

    Raises:
        ArgumentsInvalid: It is neither, or several files look the same.
    """
    value = unwrap(value, rules)
    if not rules.is_local:
        raise refuse_elsewhere(value, argument)
    path = _locate(value, argument, rules)
    if not is_under_roots(path, rules.roots) or os.path.lexists(path):
        return DiskSource(path, rules.roots)
    match find_similar_file(path, rules.roots):
        case SimilarNames(names):
            listed = ", ".join(f'"{name.encode("ascii", "backslashreplace").decode()}"' for name in names[:_MAX_NAMED])
            problem = f"names a file that does not exist, and {len(names)} look the same: {listed}"
            raise build_refusal(argument, problem, "Rename all but one of them.")
        case None:
            return DiskSource(path, rules.roots)
        case found:
            return DiskSource(found, rules.roots)


def find_beside(value: str, folder: Path, rules: MediaRules) -> str:
    """Return the full path of a file that is named from a folder; the text as it is when that names none.

    Blocks on the disk. A text with a file extension counts as a file, so that the refusal names that folder and not the chat.
    """
    for text in chain((value.strip(),), iterate_unwrapped(value)):
        if get_source_kind(text) is not SourceKind.RELATIVE:
            return value
        path = Path(os.path.normpath(folder / text.replace("\\", "/")))
        if _is_there(str(path), rules) or (_FILE_ENDING.search(text) and is_under_roots(path, rules.roots)):
            return str(path)
    return value


def _locate(value: str, argument: str, rules: MediaRules) -> Path:
    source_kind = get_source_kind(value)
    if source_kind not in {SourceKind.PATH, SourceKind.FILE_URI, SourceKind.WINDOWS_PATH}:
        raise refuse_kind(source_kind, value, argument)
    path = _parse_file_uri(value, argument) if source_kind is SourceKind.FILE_URI else value
    return _check_path(path, argument, rules)


def examine(source: Source, *, argument: str, kind: InputKind, rules: MediaRules) -> FileMedia:
    """Return a file that fits an input: of the right kind, whole, and not too large. Blocks on the disk.

    Raises:
        ArgumentsInvalid: It is not.
    """
    most = max(rules.max_file_bytes, rules.max_inline_bytes, rules.max_upload_bytes)
    with open_source(source, argument=argument, max_bytes=most) as file:
        sniffed, fingerprint = examine_open(file, argument=argument, kind=kind, rules=rules)
    return FileMedia(source, sniffed, fingerprint)


def examine_open(
    file: BinaryIO, *, argument: str, kind: InputKind, rules: MediaRules
) -> tuple[FileFormat, Fingerprint]:
    """Return the format and fingerprint of an open file that fits an input, as `examine` does."""
    sniffed = _check_type(file, argument, kind)
    limit = _get_limit(sniffed, rules)
    check_size(count_file_bytes(file), argument, limit)
    file.seek(0)
    fingerprint = compute_fingerprint(file, argument=argument, max_bytes=limit)
    if sniffed.kind is OutputKind.IMAGE:
        wanted = Wanted(rules.upload_types, rules.max_upload_bytes)
        check_picture(file, sniffed, argument=argument, wanted=wanted)
    return sniffed, fingerprint


def _get_limit(sniffed: FileFormat, rules: MediaRules) -> int:
    """Return the largest file of a type: a picture can be made smaller, anything else goes up or inside as it is."""
    if sniffed.kind is OutputKind.IMAGE:
        return rules.max_file_bytes
    is_uploaded = sniffed.mime_type in rules.upload_types
    return max(rules.max_inline_bytes, rules.max_upload_bytes if is_uploaded else 0)


def _check_url(url: str, argument: str, rules: MediaRules) -> UrlMedia:
    parts = _split_url(url)
    if parts is None:
        raise build_refusal(argument, f"is not a complete web address{_find_flaw(url)}", GIVE)
    if "@" in parts.netloc:
        raise build_refusal(argument, "is an address with a user name or password in it", "Give one without.")
    if (
        parts.scheme != "https"
        and f"{parts.scheme}://{parts.netloc.lower()}".removesuffix(":80") not in rules.trusted_origins
    ):
        problem = f"is an address without encryption ({format_address(url)})"
        raise build_refusal(argument, problem, "Give an https URL, or the full path of a file on this computer.")
    return UrlMedia(url)


def _find_flaw(url: str) -> str:
    """Return what is wrong with an address, where that is plain, behind a colon."""
    if len(url) > MAX_URL_CHARACTERS:
        return f": it has {len(url)} characters, and {MAX_URL_CHARACTERS} are the most"
    if re.search(r"\s", url):
        return ": it holds a space, which is written as %20"
    if "\\" in url:
        return ": it holds a backslash"
    has_host = re.match(r"https?://[^/]", url, re.IGNORECASE) is not None
    return "" if has_host else ': it lacks its two slashes and a host behind "https:"'


def _split_url(url: str) -> SplitResult | None:
    if len(url) > MAX_URL_CHARACTERS or re.search(r"[\s\\]", url):
        return None
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if is_whole else None


def _parse_file_uri(uri: str, argument: str) -> str:
    """Return the path of a file URI (RFC 8089): one of this computer, and never a share of another."""
    rest = uri.partition(":")[2]
    host, path = "", rest
    if rest.startswith("//"):
        host, slash, below = rest[2:].partition("/")
        path = slash + below
    if host.lower() not in {"", "localhost"}:
        raise build_refusal(argument, "is a file URI that names another computer", GIVE)
    # A question mark or hash sign is kept: assistants forget to encode those that stand in file names. Windows
    # writes its drive behind the slash.
    local = re.sub(r"^/(?=[A-Za-z]:[\\/])", "", unquote(path))
    if local.startswith("~") or get_source_kind(local) not in {SourceKind.PATH, SourceKind.WINDOWS_PATH}:
        raise build_refusal(argument, "is a file URI without a usable full path", "Write file:///folder/name.png.")
    return local


def _check_path(path: str, argument: str, rules: MediaRules) -> Path:
    if path.startswith(CHAT_FOLDERS) and not is_under_roots(Path(path), rules.roots):
        raise refuse_chat_name(path, argument)
    if get_source_kind(path) is SourceKind.WINDOWS_PATH:
        # Windows' own Linux keeps its drives here; elsewhere there is no such folder.
        if not (rules.mounts / path[0].lower()).is_dir():
            raise build_refusal(argument, "is a Windows path, and Flowport does not run on Windows here", GIVE)
        path = build_mounted_path(path, str(rules.mounts))
    try:
        return Path(path).expanduser()
    except RuntimeError as exc:
        raise build_refusal(argument, "begins with a home folder that does not exist", GIVE) from exc


KIND_NAMES: Final = {OutputKind.IMAGE: "an image", OutputKind.VIDEO: "a video", OutputKind.AUDIO: "a sound"}
WANTED_KINDS: Final = {
    InputKind.IMAGE: (OutputKind.IMAGE,),
    InputKind.VIDEO: (OutputKind.VIDEO,),
    InputKind.AUDIO: (OutputKind.AUDIO,),
    InputKind.AVMEDIA: (OutputKind.VIDEO, OutputKind.AUDIO),
    InputKind.MEDIA: tuple(KIND_NAMES),
}


def format_wanted(kind: InputKind) -> str:
    """Return what a media input takes: "an image, a video or a sound"."""
    *others, last = (KIND_NAMES[one] for one in WANTED_KINDS[kind])
    return f"{', '.join(others)} or {last}" if others else last


_REMEDIES: Final = {
    OutputKind.IMAGE: "Give it as a PNG or JPEG file.",
    OutputKind.VIDEO: "Give it as an MP4 file.",
    OutputKind.AUDIO: "Give it as WAV, MP3 or M4A.",
}
_RAW_REMEDY: Final = "Export it as JPEG, or give the JPEG that the camera saved beside it."
_BEGINS_WITH_VOWEL: Final = re.compile(r"[AEIOaeiou8]|M(?:NG|PEG|XF)|SVG")
"""Matches a name as it is pronounced."""
_MOVING: Final = frozenset({OutputKind.VIDEO, OutputKind.AUDIO})


def _check_type(file: BinaryIO, argument: str, kind: InputKind) -> FileFormat:
    try:
        sniffed = identify(file)
        fault = find_fault(file, sniffed) if sniffed is not None else ""
    except OSError as exc:
        problem = f"names a file that cannot be read ({exc.strerror or type(exc).__name__})"
        raise build_refusal(argument, problem, "Give another file.") from exc
    if sniffed is None or not (sniffed.is_sent or sniffed.name):
        found = f" ({sniffed.mime_type})" if sniffed is not None else ""
        problem = f"names something that is not an image, a video or a sound{found}"
        raise build_refusal(argument, problem, "Give such a file, in a usual format.")
    wanted = WANTED_KINDS[kind]
    # Without its index a film cannot be distinguished from a sound.
    could_fit = sniffed.kind in wanted or (sniffed.kind in _MOVING and not _MOVING.isdisjoint(wanted))
    if fault and could_fit:
        problem = f"is {KIND_NAMES[sniffed.kind]} that is cut off: {fault} ({sniffed.mime_type})"
        raise build_refusal(argument, problem, "Give the whole file; copy or download it again.")
    if sniffed.is_media and sniffed.kind not in wanted:
        expected = format_wanted(kind)
        problem = f"takes {expected}, and this file is {KIND_NAMES[sniffed.kind]} ({sniffed.mime_type})"
        raise build_refusal(argument, problem, f"Give {expected}.")
    if not sniffed.is_sent:
        article = "an" if _BEGINS_WITH_VOWEL.match(sniffed.name) else "a"
        remedy = _RAW_REMEDY if sniffed.name == RAW_PHOTO else _REMEDIES.get(sniffed.kind, _REMEDIES[OutputKind.IMAGE])
        raise build_refusal(argument, f"is {article} {sniffed.name}, which cannot be sent", remedy)
    return sniffed
