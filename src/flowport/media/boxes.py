"""Files in boxes (MP4, QuickTime and their kin): their tracks, extent and cover, and whether they are whole.

A box is a length, a name of four letters, and what is inside. Only the headers of boxes are read, and of what is inside
the few numbers that are wanted; the pictures themselves lie in boxes that are stepped over.

Source: ISO/IEC 14496-12 (boxes, mvhd, tkhd, mehd); the QuickTime File Format (udta, meta, ilst).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, Final

from flowport.media.measures import MAX_STEPS, Measures, build_measures, count_file_bytes, read_at

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
