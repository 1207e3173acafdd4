"""Whether a container holds pictures that move, or sound alone: its tracks say, whatever it is called.

Boxes and Matroska have modules of their own; here are the others, each read at its beginning. Sources: the RIFF and AVI
pages of Microsoft, the ASF specification 01.20.05, ISO/IEC 13818-1 (MPEG streams), the FLV specification 10.1.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final

from flowport.media.boxes import read_handlers
from flowport.media.matroska import read_track_types
from flowport.media.measures import read_at

_HEAD_BYTES: Final = 512 * 1024
"""Of a stream whose header does not list its tracks."""

_PICTURE_HANDLERS: Final = frozenset({b"vide", b"pict"})
_ASF_STREAM: Final = bytes.fromhex("9107dcb7b7a9cf118ee600c00c205365")
_ASF_SOUND: Final = bytes.fromhex("409e69f84d5bcf11a8fd00805f5c442b")
_ASF_PICTURES: Final = bytes.fromhex("c0ef19bc4d5bcf11a8fd00805f5c442b")
_AVI_STREAM: Final = re.compile(rb"strh.{4}(vids|iavs|auds)", re.DOTALL)
_PROGRAM_STREAM: Final = re.compile(rb"\0\0\x01([\xbd\xc0-\xdf\xe0-\xef\xfd\xb3])")


@dataclass(frozen=True, slots=True)
class Tracks:
    """What kinds of tracks there are."""

    has_pictures: bool
    has_sound: bool


def read_tracks(file: BinaryIO, extension: str) -> Tracks | None:
    """Return the tracks of a container of a format, by its extension; None when nothing tells them."""
    read = _READS.get(extension)
    tracks = read(file) if read is not None else None
    return tracks if tracks is not None and (tracks.has_pictures or tracks.has_sound) else None


def is_container(extension: str) -> bool:
    """Tell whether tracks are what tells of a format, by its extension."""
    return extension in _READS


def _read_boxes(file: BinaryIO) -> Tracks | None:
    handlers = read_handlers(file)
    if handlers is None:
        return None
    return Tracks(not _PICTURE_HANDLERS.isdisjoint(handlers), b"soun" in handlers)


def _read_matroska(file: BinaryIO) -> Tracks | None:
    types = read_track_types(file)
    return Tracks(*types) if types is not None else None


def _read_avi(file: BinaryIO) -> Tracks:
    types = set(_AVI_STREAM.findall(read_at(file, 0, _HEAD_BYTES)))
    return Tracks(bool(types & {b"vids", b"iavs"}), b"auds" in types)


def _read_asf(file: BinaryIO) -> Tracks:
    head = read_at(file, 0, _HEAD_BYTES)
    # Behind the name of the object come its length and then the type of its stream.
    types = {head[found.end() + 8 : found.end() + 24] for found in re.finditer(re.escape(_ASF_STREAM), head)}
    return Tracks(_ASF_PICTURES in types, _ASF_SOUND in types)


def _read_flash(file: BinaryIO) -> Tracks:
    flags = read_at(file, 4, 1)
    return Tracks(bool(flags and flags[0] & 1), bool(flags and flags[0] & 4))


def _read_real(file: BinaryIO) -> Tracks:
    head = read_at(file, 0, _HEAD_BYTES)
    return Tracks(b"video/x-pn-realvideo" in head, b"audio/x-pn-realaudio" in head)


def _read_program_stream(file: BinaryIO) -> Tracks:
    marks = {found[0] for found in _PROGRAM_STREAM.findall(read_at(file, 0, _HEAD_BYTES))}
    return Tracks(any(0xE0 <= mark <= 0xEF or mark in {0xFD, 0xB3} for mark in marks), bool(marks))  # noqa: PLR2004


def _read_transport_stream(file: BinaryIO) -> Tracks:
    head = read_at(file, 0, _HEAD_BYTES)
    first, length = next(
        ((first, length) for first, length in ((0, 188), (4, 192), (0, 204)) if head[first::length][:5] == b"G" * 5),
        (0, 188),
    )
    marks: set[int] = set()
    for start in range(first, len(head) - 188, length):
        packet = head[start : start + 188]
        is_start, has_field, has_payload = packet[1] & 0x40, packet[3] & 0x20, packet[3] & 0x10
        payload = packet[5 + packet[4] if has_field else 4 :] if has_payload else b""
        if is_start and payload[:3] == b"\0\0\x01":
            marks.add(payload[3] if len(payload) > 3 else 0)  # noqa: PLR2004 - behind the mark
    return Tracks(any(0xE0 <= mark <= 0xEF for mark in marks), any(0xBD <= mark <= 0xDF for mark in marks))  # noqa: PLR2004


_READS: Final[Mapping[str, Callable[[BinaryIO], Tracks | None]]] = {
    **dict.fromkeys(("mp4", "mov", "m4v", "3gp", "m4a"), _read_boxes),
    **dict.fromkeys(("webm", "mkv"), _read_matroska),
    "avi": _read_avi,
    "wmv": _read_asf,
    "flv": _read_flash,
    "mpg": _read_program_stream,
    "ts": _read_transport_stream,
    "rm": _read_real,
}
