"""Parts of a file, and bytes between them, read as if they were one file; nothing is copied."""

import io
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import BinaryIO, TypeAlias


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
