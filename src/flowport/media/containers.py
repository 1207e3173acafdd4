"""Read files in parts: bytes at a place, views of some of a file's bytes, and one walker of boxes, EBML elements and chunks.

Parts hold a name, a length and content. Only headers are read, and of the content the few numbers that are needed; a
hostile file may claim any number and length of parts, so every walk is bounded.

Sources: ISO/IEC 14496-12 (boxes), RFC 8794 (EBML), the RIFF and PNG specifications (chunks).
"""

import io
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import BinaryIO, Final, TypeAlias, cast

MAX_STEPS: Final = 2000
"""Parts of a file that a walker reads before it gives up."""

RIFF_HEADER_BYTES: Final = 12
"""Before the first chunk inside a RIFF file."""

_MAX_FILE_BYTES: Final = 1 << 62
_MAX_HEADER_BYTES: Final = 16


def read_at(file: BinaryIO, place: int, count: int) -> bytes:
    """Return this many bytes from a place on; fewer where the file ends."""
    if place >= _MAX_FILE_BYTES:
        return b""  # a place that a header claims
    file.seek(place)
    return file.read(count)


def count_file_bytes(file: BinaryIO) -> int:
    """Return the length of the file."""
    return file.seek(0, 2)


@dataclass(frozen=True, slots=True)
class Span:
    """Some of the file's bytes."""

    start: int
    length: int


class View(io.RawIOBase):
    """Reads spans of a file and bytes one after the other. The file must stay open, and is left wherever it was read last."""

    def __init__(self, file: BinaryIO, pieces: Sequence[Span | bytes]) -> None:
        self._file = file
        self._pieces = tuple(pieces)
        lengths = [piece.length if isinstance(piece, Span) else len(piece) for piece in self._pieces]
        self._starts = [0, *accumulate(lengths)]
        self._place = 0

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def seekable(self) -> bool:
        """Return that any place can be read."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place and return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._starts[-1]}[whence]
        self._place = max(0, base + offset)
        return self._place

    def tell(self) -> int:
        """Return the place."""
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        """Return this many bytes; fewer only at the end."""
        left = self._starts[-1] - self._place
        size = max(0, left if size is None or size < 0 else min(size, left))
        found: list[bytes] = []
        while size > 0 and (data := self._read_piece(size)):
            found.append(data)
            self._place += len(data)
            size -= len(data)
        return b"".join(found)

    def _read_piece(self, size: int) -> bytes:
        n = bisect_right(self._starts, self._place) - 1
        piece, skipped = self._pieces[n], self._place - self._starts[n]
        if isinstance(piece, bytes):
            return piece[skipped : skipped + size]
        return read_at(self._file, piece.start + skipped, min(size, piece.length - skipped))


@dataclass(frozen=True, slots=True)
class Part:
    """A box, an element or a chunk."""

    name: bytes
    start: int
    """Where its content begins."""
    end: int
    """Where its content ends, or its parent does."""
    missing_bytes: int = 0
    """How much of it lies behind the end of its parent."""


ParseHeader: TypeAlias = Callable[[bytes], tuple[bytes, int, int | None] | None]
"""Returns name, length of the header and of the content (None: as far as the parent reaches); None where no part begins."""


class Walker:
    """Finds parts of a file, a bounded number of them in all."""

    def __init__(
        self, file: BinaryIO, parse: ParseHeader, *, align: int = 1, trailer_bytes: int = 0, max_steps: int = MAX_STEPS
    ) -> None:
        """Read nothing yet.

        Args:
            align: Content is padded to a multiple of this.
            trailer_bytes: Follow each content.
        """
        self._file = file
        self._parse = parse
        self._align = align
        self._trailer_bytes = trailer_bytes
        self.steps_left = max_steps
        self.whole = Part(b"", 0, count_file_bytes(file))

    def iterate(self, parent: Part) -> Iterator[Part]:
        """Give the parts inside a part; the last one may be cut off."""
        place = parent.start
        while place < parent.end and self.steps_left > 0:
            self.steps_left -= 1
            header = self._parse(read_at(self._file, place, min(_MAX_HEADER_BYTES, parent.end - place)))
            if header is None:
                return
            name, header_bytes, length = header
            start = place + header_bytes
            end = parent.end if length is None else start + length
            yield Part(name, min(start, parent.end), min(end, parent.end), max(0, end - parent.end))
            place = end + (start - end) % self._align + self._trailer_bytes

    def find_all(self, parent: Part, *path: bytes) -> Iterator[Part]:
        """Give the parts that lie under these names inside a part."""
        if not path:
            yield parent
            return
        for part in self.iterate(parent):
            if part.name == path[0]:
                yield from self.find_all(part, *path[1:])

    def read(self, part: Part, count: int) -> bytes:
        """Return the beginning of the content of a part."""
        return read_at(self._file, part.start, min(count, part.end - part.start))

    def read_first(self, parent: Part, *path: bytes, count: int = 8) -> bytes:
        """Return the beginning of the first part under these names; empty when it does not exist."""
        return next((self.read(part, count) for part in self.find_all(parent, *path)), b"")


def skip(part: Part, count: int) -> Part:
    """Return a part without the beginning of its content."""
    return Part(part.name, min(part.start + count, part.end), part.end)


def _parse_box(header: bytes) -> tuple[bytes, int, int | None] | None:
    if len(header) < 8:  # noqa: PLR2004 - length and name
        return None
    length, header_bytes = int.from_bytes(header[:4], "big"), 8
    if length == 1:
        length, header_bytes = int.from_bytes(header[8:16], "big"), 16
    elif length == 0:
        return header[4:8], header_bytes, None
    return (header[4:8], header_bytes, length - header_bytes) if length >= header_bytes else None


EBML_CLUSTER: Final = b"\x1f\x43\xb6\x75"


def _parse_element(header: bytes) -> tuple[bytes, int, int | None] | None:
    # The first byte of each number holds its size; a name keeps those bits.
    name_bytes = 9 - header[0].bit_length()
    length_field = header[name_bytes : name_bytes + 8]
    length_bytes = 9 - length_field[0].bit_length() if length_field else 9
    name = header[:name_bytes]
    if name_bytes > 8 or length_bytes > len(length_field) or name == EBML_CLUSTER:  # noqa: PLR2004
        return None  # no number, or the pictures begin here
    unknown = (1 << 7 * length_bytes) - 1
    length = int.from_bytes(length_field[:length_bytes], "big") & unknown
    return name, name_bytes + length_bytes, None if length == unknown else length


def _parse_riff_chunk(header: bytes) -> tuple[bytes, int, int | None] | None:
    return (header[:4], 8, int.from_bytes(header[4:8], "little")) if len(header) >= 8 else None  # noqa: PLR2004


def _parse_png_chunk(header: bytes) -> tuple[bytes, int, int | None] | None:
    return (header[4:8], 8, int.from_bytes(header[:4], "big")) if len(header) >= 8 else None  # noqa: PLR2004


walk_boxes = partial(Walker, parse=_parse_box)
walk_elements = partial(Walker, parse=_parse_element)
walk_riff = partial(Walker, parse=_parse_riff_chunk, align=2)
walk_png = partial(Walker, parse=_parse_png_chunk, trailer_bytes=4, max_steps=100_000)


def read_handlers(file: BinaryIO) -> tuple[bytes, ...] | None:
    """Return the handler of each track of a movie (`vide`, `soun`, …); None when its index is missing.

    A track that holds the pictures of chapters is left out.
    """
    boxes = walk_boxes(file)
    moov = next(boxes.find_all(boxes.whole, b"moov"), None)
    if moov is None:
        return None
    chapters = {
        references[start : start + 4]
        for part in boxes.find_all(moov, b"trak", b"tref", b"chap")
        for references in (boxes.read(part, 4 * _MAX_CHAPTER_TRACKS),)
        for start in range(0, len(references), 4)
    }
    return tuple(
        boxes.read_first(track, b"mdia", b"hdlr", count=12)[8:]
        for track in boxes.find_all(moov, b"trak")
        if not chapters & {_parse_track_id(boxes.read(part, 24)) for part in boxes.find_all(track, b"tkhd")}
    )


_MAX_CHAPTER_TRACKS: Final = 32


def _parse_track_id(header: bytes) -> bytes:
    return header[20:24] if header[:1] == b"\x01" else header[12:16]


_MAX_TAGS: Final = 8
_TAG_BYTES: Final = 10
_MAX_PADDING_BYTES: Final = 4096


def view_untagged(file: BinaryIO) -> BinaryIO:
    """Return the file as it is behind its ID3v2 tags and the zeros that may pad them; the file itself when it has none."""
    place = 0
    for _ in range(_MAX_TAGS):
        tag = read_at(file, place, _TAG_BYTES)
        if tag[:3] != b"ID3" or len(tag) < _TAG_BYTES or max(tag[6:]) >= 0x80:  # noqa: PLR2004 - seven bits each
            break
        has_footer = bool(tag[5] & 0x10)
        place += _TAG_BYTES * (1 + has_footer) + sum(part << 7 * (3 - n) for n, part in enumerate(tag[6:]))
        place += _count_padding(read_at(file, place, _MAX_PADDING_BYTES))
    return cast("BinaryIO", View(file, [Span(place, max(0, count_file_bytes(file) - place))])) if place else file


def _count_padding(data: bytes) -> int:
    """Return how many zeros pad a tag; those with which the length of a box begins do not."""
    zeros = len(data) - len(data.lstrip(b"\0"))
    box = data.find(b"ftyp", zeros, zeros + 8)
    return min(zeros, box - 4) if box >= 4 else zeros  # noqa: PLR2004 - bytes of the length
