"""The size and duration of a saved file as it is shown, from its headers and within little memory.

A moving picture is never decoded. What the headers do not say stays unknown, and nothing raises because of what is in a file.

Sources: the specification of each format (ISO/IEC 14496-12 and 23008-12, QuickTime, Truevision TGA 2.0, SGI, PCX, DDS,
SMPTE 268M, OpenEXR, Radiance, ISO/IEC 15444-1 and 18181, XCF, FITS 4.0, MNG 1.0, EA IFF 85).
"""

import math
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, Final, TypeAlias

from flowport.media.containers import (
    RIFF_HEADER_BYTES,
    count_file_bytes,
    read_at,
    skip,
    view_untagged,
    walk_boxes,
    walk_riff,
)
from flowport.media.decode import SHOWN_DECODERS, SIDEWAYS, get_orientation, open_picture
from flowport.media.formats import IMAGE, FileFormat, find_mpeg_frame
from flowport.media.tiff import find_main_page, read_tiff

MAX_WHOLE_BYTES: Final = 32 * 1024**2
"""Of a WebP, which the library reads whole for its header."""

_MAX_PIXELS_A_SIDE: Final = 1_000_000
_MAX_SECONDS: Final = 1e6
_HEAD_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Measures:
    """How large a picture is and how long a sound; None for what the file does not say, or not plausibly."""

    width: int | None = None
    height: int | None = None
    """In pixels, as it is shown."""
    duration_seconds: float | None = None


NO_MEASURES: Final = Measures()
_Size: TypeAlias = tuple[float, float]


def build_measures(*, size: _Size = (0, 0), seconds: float = 0.0) -> Measures:
    """Return the measures without impossible ones."""
    has_size = all(1 <= side < _MAX_PIXELS_A_SIDE for side in size)
    width, height = (int(size[0]), int(size[1])) if has_size else (None, None)
    is_long = math.isfinite(seconds) and 0 < seconds < _MAX_SECONDS
    return Measures(width, height, round(seconds, 3) if is_long else None)


def measure(file: BinaryIO, found: FileFormat | None) -> Measures:
    """Return the size of the picture or the duration of the sound in a file.

    Raises:
        OSError: The file cannot be read.
    """
    if found is None or not found.is_media:
        return NO_MEASURES
    if found.kind is IMAGE:
        return build_measures(size=_measure_picture(file, found))
    read = _MOVING_READERS.get(found.structure) or _MOVING_READERS.get(found.extension)
    return read(view_untagged(file)) if read is not None else NO_MEASURES


def _measure_picture(file: BinaryIO, found: FileFormat) -> _Size:
    try:
        if (read := SIZE_READERS.get(found.structure) or SIZE_READERS.get(found.extension)) is not None:
            return read(file)
        if found.structure == "webp" and count_file_bytes(file) > MAX_WHOLE_BYTES:
            return 0, 0
        file.seek(0)
        with open_picture(file, SHOWN_DECODERS, is_decoded=False) as image:
            return _turn(image.size, get_orientation(image))
    except Exception:  # noqa: BLE001 - readers and decoders raise what they like on a hostile file, and it is kept as it is
        return 0, 0


def _turn(size: _Size, orientation: int) -> _Size:
    return size[::-1] if orientation in SIDEWAYS else size


def _read_fields(layout: str, place: int, file: BinaryIO) -> _Size:
    """Return two fields at a fixed place."""
    first, second = struct.unpack(layout, read_at(file, place, struct.calcsize(layout)))
    return first, second


def _read_height_first(layout: str, place: int, file: BinaryIO) -> _Size:
    return _read_fields(layout, place, file)[::-1]


def _read_text(pattern: bytes, file: BinaryIO) -> _Size:
    """Return what the groups `w` and `h` of a pattern find."""
    found = re.search(pattern, read_at(file, 0, _HEAD_BYTES), re.DOTALL)
    return (int(found["w"]), int(found["h"])) if found else (0, 0)


def _read_window(layout: str, head: bytes, place: int) -> _Size:
    left, top, right, bottom = struct.unpack_from(layout, head, place)
    return right - left + 1, bottom - top + 1


def _read_dpx(file: BinaryIO) -> _Size:
    return _read_fields(">2I" if read_at(file, 0, 4) == b"SDPX" else "<2I", 772, file)


_EXR_WINDOW: Final = b"displayWindow\0box2i\0\x10\0\0\0"


def _read_exr(file: BinaryIO) -> _Size:
    head = read_at(file, 0, _HEAD_BYTES)
    return _read_window("<4i", head, head.index(_EXR_WINDOW) + len(_EXR_WINDOW))


def _read_codestream(file: BinaryIO) -> _Size:
    right, bottom, left, top = struct.unpack(">4I", read_at(file, 8, 16))
    return right - left, bottom - top


def _read_ilbm(file: BinaryIO) -> _Size:
    head = read_at(file, 0, _HEAD_BYTES)
    width, height = struct.unpack_from(">2H", head, head.index(b"BMHD") + 8)
    return width, height


def _read_jp2(file: BinaryIO) -> _Size:
    boxes = walk_boxes(file)
    height, width = struct.unpack(">2I", boxes.read_first(boxes.whole, b"jp2h", b"ihdr"))
    return width, height


_MAX_ICONS: Final = 64


def _read_icon(file: BinaryIO) -> _Size:
    """Return the largest of the pictures of an icon; a side of 256 is written as 0."""
    count = int.from_bytes(read_at(file, 4, 2), "little")
    sides = read_at(file, 6, 16 * min(count, _MAX_ICONS))
    sizes = ((wide or 256, high or 256) for wide, high in zip(sides[::16], sides[1::16], strict=False))
    return max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))


def _read_tiff(file: BinaryIO) -> _Size:
    """Return the size of the picture in a TIFF; of a raw photo, that of its largest one."""
    tiff = read_tiff(file)
    if tiff is None or not tiff.pages:
        return 0, 0
    page = find_main_page(tiff) or max(tiff.pages, key=lambda page: page.area)
    return _turn((page.width, page.height), page.orientation if page.orientation > 1 else tiff.pages[0].orientation)


_JXL_RATIOS: Final = {1: (1, 1), 2: (6, 5), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_JXL_SIDE_BITS: Final = (9, 13, 18, 30)


def _read_jxl(file: BinaryIO) -> _Size:
    head = read_at(file, 0, 64)
    if not head.startswith(b"\xff\x0a"):
        boxes = walk_boxes(file)
        parts = (part for part in boxes.iterate(boxes.whole) if part.name in {b"jxlc", b"jxlp"})
        head = next(boxes.read(skip(part, 4 if part.name == b"jxlp" else 0), 64) for part in parts)
    bits = (byte >> n & 1 for byte in head[2:] for n in range(8))
    is_small = bool(_take(bits, 1))
    height, ratio = _take_side(bits, is_small=is_small), _take(bits, 3)
    wide, high = _JXL_RATIOS.get(ratio, (0, 1))
    width = height * wide // high if ratio else _take_side(bits, is_small=is_small)
    is_default = _take(bits, 1)
    return _turn((width, height), 1 + _take(bits, 3) if not is_default and _take(bits, 1) else 1)


def _take(bits: Iterator[int], count: int) -> int:
    """Return the next number of this many bits, lowest first."""
    return sum(next(bits) << n for n in range(count))


def _take_side(bits: Iterator[int], *, is_small: bool) -> int:
    return 8 * (1 + _take(bits, 5)) if is_small else 1 + _take(bits, _JXL_SIDE_BITS[_take(bits, 2)])


_MAX_HEIF_LINKS_BYTES: Final = 256 * 1024


def _read_heif(file: BinaryIO) -> _Size:
    """Return how large the main item is shown, by the properties that are linked to it."""
    boxes = walk_boxes(file)
    inside = skip(next(boxes.find_all(boxes.whole, b"meta")), 4)
    item = boxes.read_first(inside, b"pitm")
    number = int.from_bytes(item[4:8] if item[:1] != b"\0" else item[4:6], "big")
    properties = [part for holder in boxes.find_all(inside, b"iprp", b"ipco") for part in boxes.iterate(holder)]
    size: _Size = (0, 0)
    for links in boxes.find_all(inside, b"iprp", b"ipma"):
        for owner, index in _iterate_heif_links(boxes.read(links, _MAX_HEIF_LINKS_BYTES)):
            if owner == number and 0 < index <= len(properties):
                part = properties[index - 1]
                size = _apply_heif_property(size, part.name, boxes.read(part, 20))
    return size


def _apply_heif_property(size: _Size, name: bytes, data: bytes) -> _Size:
    if name == b"ispe":
        return int.from_bytes(data[4:8], "big"), int.from_bytes(data[8:12], "big")
    if name == b"clap" and len(data) >= 16:  # noqa: PLR2004 - two fractions
        width, width_parts, height, height_parts = struct.unpack_from(">4I", data)
        return width // width_parts if width_parts else 0, height // height_parts if height_parts else 0
    return size[::-1] if name == b"irot" and data[:1] and data[0] & 1 else size


def _iterate_heif_links(data: bytes) -> Iterator[tuple[int, int]]:
    """Give each item with the number of a property that it has, from 1."""
    id_bytes, (index_bytes, mask) = 2 if not data[0] else 4, (2, 0x7FFF) if data[3] & 1 else (1, 0x7F)
    place = 8
    for _ in range(int.from_bytes(data[4:8], "big")):
        if place + id_bytes >= len(data):
            return
        item, end = int.from_bytes(data[place : place + id_bytes], "big"), place + id_bytes + 1
        place = end + data[end - 1] * index_bytes
        for start in range(end, place, index_bytes):
            # The highest bit says whether a reader must understand it.
            yield item, int.from_bytes(data[start : start + index_bytes], "big") & mask


_PNM: Final = rb"P[1-6Ff]\s+(?:#[^\n]*\n\s*)*(?P<w>\d{1,7})\s+(?P<h>\d{1,7})\s"
_PAM: Final = rb"P7\nWIDTH (?P<w>\d{1,7})\nHEIGHT (?P<h>\d{1,7})\n"
_HDR: Final = rb"\n[-+]Y (?P<h>\d{1,7}) [-+]X (?P<w>\d{1,7})\n"
_HDR_ON_ITS_SIDE: Final = rb"\n[-+]X (?P<w>\d{1,7}) [-+]Y (?P<h>\d{1,7})\n"

SIZE_READERS: Final[Mapping[str, Callable[[BinaryIO], _Size]]] = {
    "heif": _read_heif,
    "tiff": _read_tiff,
    "tga": partial(_read_fields, "<2H", 12),
    "sgi": partial(_read_fields, ">2H", 6),
    "ras": partial(_read_fields, ">2I", 4),
    "xcf": partial(_read_fields, ">2I", 14),
    "jng": partial(_read_fields, ">2I", 16),
    "qoi": partial(_read_fields, ">2I", 4),
    "psd": partial(_read_height_first, ">2I", 14),
    "dds": partial(_read_height_first, "<2I", 12),
    "pcx": lambda file: _read_window("<4H", read_at(file, 4, 8), 0),
    "dpx": _read_dpx,
    "exr": _read_exr,
    "pnm": lambda file: max(_read_text(_PNM, file), _read_text(_PAM, file)),
    "fits": partial(_read_text, rb"NAXIS1  = *(?P<w>\d{1,7}).*?NAXIS2  = *(?P<h>\d{1,7})"),
    "hdr": lambda file: max(_read_text(_HDR, file), _read_text(_HDR_ON_ITS_SIDE, file)),
    "j2k": _read_codestream,
    "jp2": _read_jp2,
    "iff": _read_ilbm,
    "jxl": _read_jxl,
    "ico": _read_icon,
    "cur": _read_icon,
}
"""By structure or extension; the header of any other picture is read by the image library."""


def measure_movie(file: BinaryIO) -> Measures:
    """Return the size of the largest picture of a movie, turned as it is shown, and the duration."""
    boxes = walk_boxes(file)
    sizes: list[_Size] = [(0, 0)]
    seconds = 0.0
    for moov in boxes.find_all(boxes.whole, b"moov"):
        sizes += [_parse_track_size(boxes.read(part, 96)) for part in boxes.find_all(moov, b"trak", b"tkhd")]
        header = boxes.read_first(moov, b"mvhd", count=36)
        is_long = header[:1] == b"\x01"
        scale = int.from_bytes(header[20:24] if is_long else header[12:16], "big")
        ticks = _parse_ticks(header[24:32] if is_long else header[16:20])
        if not ticks:
            # A movie in fragments has its duration elsewhere.
            whole = boxes.read_first(moov, b"mvex", b"mehd", count=12)
            ticks = _parse_ticks(whole[4:12] if whole[:1] == b"\x01" else whole[4:8])
        seconds = ticks / scale if scale else 0.0
    return build_measures(size=max(sizes, key=lambda size: size[0] * size[1]), seconds=seconds)


def _parse_ticks(field: bytes) -> int:
    # All ones mean that the duration is unknown.
    return 0 if field == b"\xff" * len(field) else int.from_bytes(field, "big")


def _parse_track_size(header: bytes) -> _Size:
    """Return width and height of a `tkhd`, swapped when its matrix turns the picture onto its side."""
    fields = header[52:] if header[:1] == b"\x01" else header[40:]
    matrix, sides = fields[:36], fields[36:44]
    width, height = int.from_bytes(sides[:4], "big") / 65536, int.from_bytes(sides[4:], "big") / 65536
    is_turned = matrix[:4] == bytes(4) and matrix[4:8] != bytes(4)
    return (height, width) if is_turned else (width, height)


def _measure_wav(file: BinaryIO) -> Measures:
    """Return the duration of a RIFF/WAVE file: the length of its data at the rate of its format."""
    chunks, rate = walk_riff(file), 0
    for part in chunks.iterate(skip(chunks.whole, RIFF_HEADER_BYTES)):
        if part.name == b"fmt ":
            rate = int.from_bytes(chunks.read(part, 12)[8:], "little")
        if part.name == b"data":
            # The length may be unknown or wrong; the part ends with the file at the latest.
            return build_measures(seconds=(part.end - part.start) / rate if rate else 0.0)
    return NO_MEASURES


def _measure_mp3(file: BinaryIO) -> Measures:
    """Return the duration of an MP3: the frame count in its first frame, else its length at the rate of that frame."""
    head, end = read_at(file, 0, 4096), count_file_bytes(file)
    frame = find_mpeg_frame(head)
    if frame is None:
        return NO_MEASURES
    frames = _parse_frame_count(head) or end / frame.size_bytes
    return build_measures(seconds=frames * frame.samples / frame.hertz)


def _parse_frame_count(head: bytes) -> int:
    """Return how many frames follow, which encoders with varying rate write into the first; 0 when it is not there."""
    # Where the words are depends on version and channels; only silence comes before them.
    for word, skipped in ((b"Xing", 8), (b"Info", 8), (b"VBRI", 14)):
        place = head.find(word, 0, 64)
        field = head[place + skipped : place + skipped + 4]
        # The first two say by a flag whether they count the frames.
        if place >= 0 and (word == b"VBRI" or int.from_bytes(head[place + 4 : place + 8], "big") & 1):
            return int.from_bytes(field, "big")
    return 0


_MOVING_READERS: Final[Mapping[str, Callable[[BinaryIO], Measures]]] = {
    "boxes": measure_movie,
    "wave": _measure_wav,
    "mp3": _measure_mp3,
}
"""By structure or extension. What is not in the table is not measured."""
