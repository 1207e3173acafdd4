"""Files in boxes (MP4, QuickTime and their kin): their tracks, extent and cover, and whether they are whole.

A box is a length, a name of four letters, and what is inside. Only the headers of boxes are read, and of what is inside
the few numbers that are wanted; the pictures themselves lie in boxes that are stepped over.

Source: ISO/IEC 14496-12 (boxes, mvhd, tkhd, mehd); the QuickTime File Format (udta, meta, ilst).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, Final

from flowport.media.file_parts import MAX_STEPS, Measures, build_measures, count_file_bytes, read_at
from flowport.media.matroska import read_track_types

MAX_COVER_BYTES: Final = 2 * 1024**2
"""Of a cover picture that is looked at."""

MAX_CHAPTER_TRACKS: Final = 32

_INDEXES: Final = frozenset({b"moov", b"meta"})
"""Of what moves or sounds, and of pictures."""
_DATA_BOXES: Final = frozenset({b"mdat", b"imda"})
_OUTER_BOXES: Final = frozenset(
    {
        *(b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"meta", b"meco", b"mfra", b"sidx", b"ssix", b"prft", b"emsg"),
        *(b"free", b"skip", b"wide", b"uuid", b"pnot", b"udta", b"PICT", b"imda", b"pdin"),
    }
)
_HEADER_BYTES: Final = 8
_FULL_BYTES: Final = 4
"""Version and flags, with which some boxes begin."""


@dataclass(frozen=True, slots=True)
class Box:
    """A part of the file."""

    name: bytes
    start: int
    """Where its inside begins."""
    end: int
    is_cut: bool = False
    """Whether what it is in ends before it does."""


class Movie:
    """A file whose boxes are looked up, a bounded number of them in all."""

    def __init__(self, file: BinaryIO) -> None:
        """Look at nothing yet."""
        self._file = file
        self._steps_left = MAX_STEPS
        self.whole = Box(b"", 0, count_file_bytes(file))

    def find_all(self, parent: Box, *path: bytes) -> Iterator[Box]:
        """Give the boxes that lie under these names inside a box."""
        if not path:
            yield parent
            return
        for box in self.iterate(parent):
            if box.name == path[0]:
                yield from self.find_all(box, *path[1:])

    def read(self, box: Box, count: int) -> bytes:
        """Return the beginning of what is inside a box."""
        return read_at(self._file, box.start, min(count, box.end - box.start))

    def skip(self, box: Box, count: int) -> Box:
        """Return the box without the beginning of its inside."""
        return Box(box.name, min(box.start + count, box.end), box.end)

    def iterate(self, parent: Box) -> Iterator[Box]:
        """Give the boxes inside a box; the last one may be cut off."""
        place = parent.start
        while place + _HEADER_BYTES <= parent.end and self._steps_left > 0:
            self._steps_left -= 1
            header = read_at(self._file, place, 2 * _HEADER_BYTES)
            length, header_bytes = int.from_bytes(header[:4], "big"), _HEADER_BYTES
            if length == 1:
                length, header_bytes = int.from_bytes(header[8:16], "big"), 2 * _HEADER_BYTES
            elif length == 0:
                length = parent.end - place
            if length < header_bytes:
                return
            name, end = header[4:8], place + length
            yield Box(name, min(place + header_bytes, parent.end), min(end, parent.end), is_cut=end > parent.end)
            place += length


def measure_movie(file: BinaryIO) -> Measures:
    """Return the extent of a movie: its largest picture, turned as it is shown, and its whole length."""
    movie = Movie(file)
    sizes: list[tuple[float, float]] = [(0, 0)]
    seconds = 0.0
    for moov in movie.find_all(movie.whole, b"moov"):
        sizes += [_parse_size(movie.read(box, 96)) for box in movie.find_all(moov, b"trak", b"tkhd")]
        for header in movie.find_all(moov, b"mvhd"):
            scale, ticks = _parse_length(movie.read(header, 36))
            # What comes in fragments tells its length elsewhere.
            for whole in [] if ticks else movie.find_all(moov, b"mvex", b"mehd"):
                ticks = _parse_fragments_length(movie.read(whole, 12))
            seconds = ticks / scale if scale else 0.0
    return build_measures(size=max(sizes, key=lambda size: size[0] * size[1]), seconds=seconds)


def read_handlers(file: BinaryIO) -> tuple[bytes, ...] | None:
    """Return what handles each track of a movie (`vide`, `soun`, …); None when its index is missing.

    A track of chapters' pictures is none of the movie's.
    """
    movie = Movie(file)
    moov = next(movie.find_all(movie.whole, b"moov"), None)
    if moov is None:
        return None
    chapters = {
        movie.read(box, 4 * MAX_CHAPTER_TRACKS)[start : start + 4]
        for box in movie.find_all(moov, b"trak", b"tref", b"chap")
        for start in range(0, min(4 * MAX_CHAPTER_TRACKS, box.end - box.start), 4)
    }
    return tuple(
        movie.read(handler, 12)[8:]
        for track in movie.find_all(moov, b"trak")
        if not chapters & {_parse_track_id(movie.read(box, 24)) for box in movie.find_all(track, b"tkhd")}
        for handler in islice(movie.find_all(track, b"mdia", b"hdlr"), 1)
    )


def find_box_fault(file: BinaryIO) -> str:
    """Return why a file in boxes is not whole, as the end of "It is cut off: ..."; empty when it is.

    The walk is over the outermost boxes. A last one without a length goes on to the end of the file; what follows the
    index and is no box is what cameras and editors append, and players pass it over.
    """
    movie = Movie(file)
    names: set[bytes] = set()
    for box in movie.iterate(movie.whole):
        is_named = box.name in _OUTER_BOXES
        if names & _INDEXES and not is_named:
            break
        if box.is_cut:
            return "it ends in the middle of a part"
        names.add(box.name)
    if not names & _INDEXES:
        return "its index is missing"
    return "what its index lists is missing" if b"moov" in names and not names & _DATA_BOXES else ""


def read_cover(file: BinaryIO) -> bytes:
    """Return the picture that the movie's makers gave it as a cover; empty when there is none."""
    movie = Movie(file)
    for meta in movie.find_all(movie.whole, b"moov", b"udta", b"meta"):
        # In QuickTime it has no version and flags: its first box, `hdlr`, begins at once.
        skipped = 0 if movie.read(meta, 8)[4:] == b"hdlr" else _FULL_BYTES
        for data in movie.find_all(movie.skip(meta, skipped), b"ilst", b"covr", b"data"):
            # A type and a locale go before the picture. What it is, its own bytes tell.
            picture = movie.skip(data, 8)
            if 0 < picture.end - picture.start <= MAX_COVER_BYTES:
                return movie.read(picture, MAX_COVER_BYTES)
    return b""


def _parse_length(header: bytes) -> tuple[int, int]:
    """Return the ticks in a second and the ticks in all, of a `mvhd`."""
    if header[:1] == b"\x01":
        return int.from_bytes(header[20:24], "big"), _parse_ticks(header[24:32])
    return int.from_bytes(header[12:16], "big"), _parse_ticks(header[16:20])


def _parse_fragments_length(header: bytes) -> int:
    return _parse_ticks(header[4:12] if header[:1] == b"\x01" else header[4:8])


def _parse_ticks(field: bytes) -> int:
    # All ones say that nobody knows.
    return 0 if field == b"\xff" * len(field) else int.from_bytes(field, "big")


def _parse_track_id(header: bytes) -> bytes:
    return header[20:24] if header[:1] == b"\x01" else header[12:16]


def _parse_size(header: bytes) -> tuple[float, float]:
    """Return width and height of a `tkhd`, the other way round when its matrix turns the picture onto its side."""
    fields = header[52:] if header[:1] == b"\x01" else header[40:]
    matrix, sides = fields[:36], fields[36:44]
    width, height = int.from_bytes(sides[:4], "big") / 65536, int.from_bytes(sides[4:], "big") / 65536
    is_turned = matrix[:4] == bytes(4) and matrix[4:8] != bytes(4)
    return (height, width) if is_turned else (width, height)


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
