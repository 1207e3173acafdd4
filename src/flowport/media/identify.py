"""The format of a file by first bytes, tags, tracks and pages, and whether the file is whole.

A container is what its tracks say, whatever its brand or document type; a TIFF may be a raw photo; a tag may stand before
sound of any kind. A few small pieces of the file are read. Nothing here raises because of what is in it.
"""

import re
from collections.abc import Callable, Mapping
from typing import BinaryIO, Final, TypeAlias

from flowport.domain.models import OutputKind
from flowport.media.containers import (
    RIFF_HEADER_BYTES,
    count_file_bytes,
    read_at,
    read_handlers,
    skip,
    view_untagged,
    walk_boxes,
    walk_elements,
    walk_riff,
)
from flowport.media.formats import AUDIO, FORMATS, MAX_HEAD_BYTES, VIDEO, FileFormat, sniff
from flowport.media.tiff import read_tiff

_MOVING: Final = frozenset({VIDEO, AUDIO})
_TARGA_END: Final = b"TRUEVISION-XFILE.\0"


def identify(file: BinaryIO) -> FileFormat | None:
    """Return the format of a file, or None for an unknown one. The file is at its beginning afterwards.

    Raises:
        OSError: The file cannot be read.
    """
    try:
        return _identify(file)
    finally:
        file.seek(0)


def has_tracks(file: BinaryIO, found: FileFormat) -> bool:
    """Check whether a format was read from tracks, or needs none: a sound without a container."""
    return found.structure not in _TRACK_READERS or _read_tracks(view_untagged(file), found.structure) is not None


def _identify(file: BinaryIO) -> FileFormat | None:
    head = read_at(file, 0, MAX_HEAD_BYTES)
    found = sniff(head)
    if head[4:12] == b"ftypcrx ":
        return FORMATS["cr3"]
    if found is FORMATS["mp3"] and head.startswith(b"ID3"):
        return _identify_tagged(file)
    if found is FORMATS["tif"]:
        return _identify_tiff(file)
    if found is None and head[4:8] == b"ftyp":
        # A brand that is not in the table.
        found = FORMATS["mp4"] if _read_tracks(file, "boxes") else None
    if found is None and head[:4] == b"\x1aE\xdf\xa3":
        found = FORMATS["mkv"] if _read_tracks(file, "ebml") else None
    if found is None:
        end = count_file_bytes(file)
        is_targa = read_at(file, max(0, end - len(_TARGA_END)), len(_TARGA_END)) == _TARGA_END
        return FORMATS["tga"] if is_targa else None
    return _decide_by_tracks(file, found)


def _decide_by_tracks(file: BinaryIO, found: FileFormat) -> FileFormat:
    kinds = _read_tracks(file, found.structure)
    if kinds is None or (VIDEO not in kinds and not found.sound):
        return found
    if VIDEO not in kinds:
        return FORMATS[found.sound]
    return FORMATS["mp4"] if found is FORMATS["m4a"] else found


def _identify_tagged(file: BinaryIO) -> FileFormat:
    """Return what follows the ID3 tags, which may stand before any sound, in a container too."""
    view = view_untagged(file)
    behind = _identify(view) if not read_at(view, 0, 3).startswith(b"ID3") else None
    return behind if behind is not None and behind.kind in _MOVING else FORMATS["mp3"]


def _identify_tiff(file: BinaryIO) -> FileFormat:
    tiff = read_tiff(file)
    if tiff is None or not tiff.is_raw:
        return FORMATS["tif"]
    if tiff.has_dng_version:
        return FORMATS["dng"]
    if read_at(file, 8, 4) in {b"IIII", b"MMMM"}:
        return FORMATS["iiq"]
    return next((one for one in FORMATS.values() if tiff.make.startswith(one.makers)), FORMATS["raw"])


Kinds: TypeAlias = frozenset[OutputKind]
"""`VIDEO` and `AUDIO`, as far as there are tracks of them."""

_HEAD_BYTES: Final = 512 * 1024
"""Of a stream whose header does not list its tracks."""

_ASF_STREAM: Final = bytes.fromhex("9107dcb7b7a9cf118ee600c00c205365")
_ASF_SOUND: Final = bytes.fromhex("409e69f84d5bcf11a8fd00805f5c442b")
_ASF_PICTURES: Final = bytes.fromhex("c0ef19bc4d5bcf11a8fd00805f5c442b")
_AVI_STREAM: Final = re.compile(rb"strh.{4}(vids|iavs|auds)", re.DOTALL)
_PROGRAM_STREAM: Final = re.compile(rb"\0\0\x01([\xbd\xc0-\xdf\xe0-\xef\xfd\xb3])")
_SEGMENT, _TRACK_TYPE = b"\x18\x53\x80\x67", (b"\x16\x54\xae\x6b", b"\xae", b"\x83")
_PACKETS: Final = ((0, 188), (4, 192), (0, 204))
"""Where the first packet of a transport stream begins, and how far apart they are: 192 with a time stamp, 204 with parity."""


def _read_tracks(file: BinaryIO, structure: str) -> Kinds | None:
    """Return which kinds of tracks a file has; None when it is unknown."""
    read = _TRACK_READERS.get(structure)
    return (read(file) or None) if read is not None else None


def _build_kinds(has_pictures: object, has_sound: object) -> Kinds:
    return frozenset(kind for kind, has in ((VIDEO, has_pictures), (AUDIO, has_sound)) if has)


def _read_boxes(file: BinaryIO) -> Kinds:
    handlers = read_handlers(file) or ()
    return _build_kinds({b"vide", b"pict"}.intersection(handlers), b"soun" in handlers)


def _read_matroska(file: BinaryIO) -> Kinds:
    elements = walk_elements(file)
    types = {elements.read(part, 8)[-1:] for part in elements.find_all(elements.whole, _SEGMENT, *_TRACK_TYPE)}
    return _build_kinds(b"\x01" in types, b"\x02" in types)


def _read_avi(file: BinaryIO) -> Kinds:
    types = _AVI_STREAM.findall(read_at(file, 0, _HEAD_BYTES))
    return _build_kinds({b"vids", b"iavs"}.intersection(types), b"auds" in types)


def _read_asf(file: BinaryIO) -> Kinds:
    head = read_at(file, 0, _HEAD_BYTES)
    # The name of the object is followed by its length and the type of its stream.
    types = {head[found.end() + 8 : found.end() + 24] for found in re.finditer(re.escape(_ASF_STREAM), head)}
    return _build_kinds(_ASF_PICTURES in types, _ASF_SOUND in types)


def _read_flash(file: BinaryIO) -> Kinds:
    flags = int.from_bytes(read_at(file, 4, 1), "big")
    return _build_kinds(flags & 1, flags & 4)


def _read_real(file: BinaryIO) -> Kinds:
    head = read_at(file, 0, _HEAD_BYTES)
    return _build_kinds(b"video/x-pn-realvideo" in head, b"audio/x-pn-realaudio" in head)


def _read_program_stream(file: BinaryIO) -> Kinds:
    marks = {found[0] for found in _PROGRAM_STREAM.findall(read_at(file, 0, _HEAD_BYTES))}
    return _build_kinds(any(0xE0 <= mark <= 0xEF or mark in {0xFD, 0xB3} for mark in marks), marks)  # noqa: PLR2004


def _read_transport_stream(file: BinaryIO) -> Kinds:
    head = read_at(file, 0, _HEAD_BYTES)
    first, length = next((packet for packet in _PACKETS if head[packet[0] :: packet[1]][:5] == b"G" * 5), _PACKETS[0])
    marks: set[int] = set()
    for start in range(first, len(head) - 188, length):
        packet = head[start : start + 188]
        is_start, has_field, has_payload = packet[1] & 0x40, packet[3] & 0x20, packet[3] & 0x10
        payload = packet[5 + packet[4] if has_field else 4 :] if has_payload else b""
        if is_start and payload[:3] == b"\0\0\x01":
            marks.update(payload[3:4])
    return _build_kinds(any(0xE0 <= mark <= 0xEF for mark in marks), any(0xBD <= mark <= 0xDF for mark in marks))  # noqa: PLR2004


_TRACK_READERS: Final[Mapping[str, Callable[[BinaryIO], Kinds]]] = {
    "boxes": _read_boxes,
    "ebml": _read_matroska,
    "avi": _read_avi,
    "asf": _read_asf,
    "flash": _read_flash,
    "program": _read_program_stream,
    "transport": _read_transport_stream,
    "real": _read_real,
}

_CUT: Final = "it ends in the middle of a part"
_INDEXES: Final = frozenset({b"moov", b"meta"})
"""Of what moves or sounds, and of pictures."""
_DATA_BOXES: Final = frozenset({b"mdat", b"imda"})
_OUTER_BOXES: Final = frozenset(
    {
        *(b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"meta", b"meco", b"mfra", b"sidx", b"ssix", b"prft", b"emsg"),
        *(b"free", b"skip", b"wide", b"uuid", b"pnot", b"udta", b"PICT", b"imda", b"pdin"),
    }
)
_EBML_HEADER: Final = b"\x1a\x45\xdf\xa3"
_OGG_PAGE_BYTES: Final = 65_307
_OGG_HEADER_BYTES: Final = 27
_LEAST_UNKNOWN_BYTES: Final = 0x7FFF_0000
"""Programs that stream a WAV write a length from here on: as much as the field holds, signed or not."""

_SLACK_BYTES: Final = 64
"""By which recorders are wrong about the length of their own sound."""
_PADDING_BYTES: Final = 1
"""That are counted at the end of a chunk and not always written."""


def find_fault(file: BinaryIO, found: FileFormat) -> str:
    """Return why a file is not whole, as the end of "is cut off: ..."; empty where nothing says so.

    The file is at its beginning afterwards.
    """
    find = _FAULT_FINDERS.get(found.structure)
    fault = find(view_untagged(file)) if find is not None else ""
    file.seek(0)
    return fault


def _find_box_fault(file: BinaryIO) -> str:
    """Check the outermost boxes. An unknown box after the index was appended by cameras and editors."""
    boxes = walk_boxes(file)
    names: set[bytes] = set()
    for box in boxes.iterate(boxes.whole):
        if names & _INDEXES and box.name not in _OUTER_BOXES:
            break
        if box.missing_bytes:
            return _CUT
        names.add(box.name)
    if not names & _INDEXES:
        return "its index is missing"
    return "what its index lists is missing" if b"moov" in names and not names & _DATA_BOXES else ""


def _find_matroska_fault(file: BinaryIO) -> str:
    """Check the header and the segment; a stream need not say where the segment ends, and what follows it is ignored."""
    elements = walk_elements(file)
    parts = list(elements.iterate(elements.whole))
    known = [part for part in parts[:2] if part.name in {_EBML_HEADER, _SEGMENT}]
    return _CUT if not known or any(part.missing_bytes for part in known) else ""


def _find_riff_fault(file: BinaryIO) -> str:
    """Check WebP and AVI by the length of the whole."""
    chunks = walk_riff(file)
    whole = next(chunks.iterate(chunks.whole), chunks.whole)
    is_known = whole.end - whole.start + whole.missing_bytes < _LEAST_UNKNOWN_BYTES
    return _CUT if is_known and whole.missing_bytes > _PADDING_BYTES else ""


def _find_wave_fault(file: BinaryIO) -> str:
    """Check a WAV by the length of its sound; that of the whole is often wrong."""
    chunks = walk_riff(file)
    data = next(chunks.find_all(skip(chunks.whole, RIFF_HEADER_BYTES), b"data"), None)
    if data is None:
        return "it holds no sound" if chunks.steps_left else ""
    length = data.end - data.start + data.missing_bytes
    return _CUT if length < _LEAST_UNKNOWN_BYTES and data.missing_bytes > _SLACK_BYTES else ""


def _find_ogg_fault(file: BinaryIO) -> str:
    """Check whether the last page of an Ogg file is complete. A stream need not say which page is its last."""
    end = count_file_bytes(file)
    tail = read_at(file, max(0, end - _OGG_PAGE_BYTES), _OGG_PAGE_BYTES)
    start = tail.rfind(b"OggS\0")
    if start < 0:
        return ""  # something else was appended
    page = tail[start:]
    # The header ends with how many segments there are and the length of each.
    header_bytes = _OGG_HEADER_BYTES + (page[26] if len(page) >= _OGG_HEADER_BYTES else len(page))
    is_whole = len(page) >= header_bytes and len(page) >= header_bytes + sum(page[_OGG_HEADER_BYTES:header_bytes])
    return "" if is_whole else _CUT


_FAULT_FINDERS: Final[Mapping[str, Callable[[BinaryIO], str]]] = {
    "boxes": _find_box_fault,
    "heif": _find_box_fault,
    "ebml": _find_matroska_fault,
    "webp": _find_riff_fault,
    "avi": _find_riff_fault,
    "wave": _find_wave_fault,
    "ogg": _find_ogg_fault,
}
