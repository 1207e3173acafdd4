"""Movies in boxes (MP4, QuickTime and their kin): their extent, and the cover picture that some carry.

A box is a length, a name of four letters, and what is inside. Only the headers of boxes are read, and of what is inside
the few numbers that are wanted; the pictures themselves lie in boxes that are stepped over.

Source: ISO/IEC 14496-12 (boxes, mvhd, tkhd, mehd); the QuickTime File Format (udta, meta, ilst).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from flowport.media.measures import MAX_STEPS, Measures, build_measures, count_file_bytes, read_at

MAX_COVER_BYTES: Final = 2 * 1024**2
"""Of a cover picture that is looked at."""

_HEADER_BYTES: Final = 8
_FULL_BYTES: Final = 4
"""Version and flags, with which some boxes begin."""


@dataclass(frozen=True, slots=True)
class _Box:
    name: bytes
    start: int
    """Where its inside begins."""
    end: int


class _Movie:
    """A file whose boxes are looked up, a bounded number of them in all."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._steps_left = MAX_STEPS
        self.whole = _Box(b"", 0, count_file_bytes(file))

    def find_all(self, parent: _Box, *path: bytes) -> Iterator[_Box]:
        """Give the boxes that lie under these names inside a box."""
        if not path:
            yield parent
            return
        for box in self._iterate(parent):
            if box.name == path[0]:
                yield from self.find_all(box, *path[1:])

    def read(self, box: _Box, count: int) -> bytes:
        """Return the beginning of what is inside a box."""
        return read_at(self._file, box.start, min(count, box.end - box.start))

    def skip(self, box: _Box, count: int) -> _Box:
        """Return the box without the beginning of its inside."""
        return _Box(box.name, min(box.start + count, box.end), box.end)

    def _iterate(self, parent: _Box) -> Iterator[_Box]:
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
            yield _Box(header[4:8], min(place + header_bytes, parent.end), min(place + length, parent.end))
            place += length


def measure_movie(file: BinaryIO) -> Measures:
    """Return the extent of a movie: its largest picture, turned as it is shown, and its whole length."""
    movie = _Movie(file)
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


def read_cover(file: BinaryIO) -> bytes:
    """Return the picture that the movie's makers gave it as a cover; empty when there is none."""
    movie = _Movie(file)
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


def _parse_size(header: bytes) -> tuple[float, float]:
    """Return width and height of a `tkhd`, the other way round when its matrix turns the picture onto its side."""
    fields = header[52:] if header[:1] == b"\x01" else header[40:]
    matrix, sides = fields[:36], fields[36:44]
    width, height = int.from_bytes(sides[:4], "big") / 65536, int.from_bytes(sides[4:], "big") / 65536
    is_turned = matrix[:4] == bytes(4) and matrix[4:8] != bytes(4)
    return (height, width) if is_turned else (width, height)
