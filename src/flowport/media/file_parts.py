"""What a file of pictures or sound says of its own extent, and how its parsers read it: in small pieces, few of them."""

import io
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import BinaryIO, Final, TypeAlias

MAX_STEPS: Final = 2000
"""Parts of a file that a parser looks at before it gives up; a hostile file may have any number."""

_MAX_FILE_BYTES: Final = 1 << 62
_MAX_PIXELS_A_SIDE: Final = 1_000_000
_MAX_SECONDS: Final = 1e6


@dataclass(frozen=True, slots=True)
class Measures:
    """How large a picture is and how long a sound; None for what the file does not tell, or not believably."""

    width: int | None = None
    height: int | None = None
    """In pixels, as it is shown."""
    duration_seconds: float | None = None


NO_MEASURES: Final = Measures()


def build_measures(*, size: tuple[float, float] = (0, 0), seconds: float = 0.0) -> Measures:
    """Return the measures, of which those that cannot be are left out."""
    has_size = all(1 <= side < _MAX_PIXELS_A_SIDE for side in size)
    width, height = (int(size[0]), int(size[1])) if has_size else (None, None)
    is_long = math.isfinite(seconds) and 0 < seconds < _MAX_SECONDS
    return Measures(width, height, round(seconds, 3) if is_long else None)


def read_at(file: BinaryIO, place: int, count: int) -> bytes:
    """Return so many bytes from a place on; fewer where the file ends."""
    if place >= _MAX_FILE_BYTES:
        return b""  # a place that a file only claims to have
    file.seek(place)
    return file.read(count)


def count_file_bytes(file: BinaryIO) -> int:
    """Return how long the file is."""
    return file.seek(0, 2)


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the file's bytes."""

    start: int
    length: int


Piece: TypeAlias = Part | bytes


class View(io.RawIOBase):
    """Reads the pieces one after the other. The file below must stay open, and is left wherever it was read last."""

    def __init__(self, file: BinaryIO, pieces: Sequence[Piece]) -> None:
        self._file = file
        self._pieces = tuple(pieces)
        lengths = [piece.length if isinstance(piece, Part) else len(piece) for piece in self._pieces]
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
        """Return so many bytes; fewer only at the end."""
        left = self._starts[-1] - self._place
        size = max(0, left if size is None or size < 0 else min(size, left))
        found: list[bytes] = []
        while size > 0:
            data = self._read_piece(size)
            if not data:
                break
            found.append(data)
            self._place += len(data)
            size -= len(data)
        return b"".join(found)

    def _read_piece(self, size: int) -> bytes:
        n = bisect_right(self._starts, self._place) - 1
        piece, skipped = self._pieces[n], self._place - self._starts[n]
        if isinstance(piece, bytes):
            return piece[skipped : skipped + size]
        self._file.seek(piece.start + skipped)
        return self._file.read(min(size, piece.length - skipped))
