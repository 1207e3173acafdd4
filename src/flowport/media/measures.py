"""What a file of pictures or sound says of its own extent, and how its parsers read it: in small pieces, few of them."""

import math
from dataclasses import dataclass
from typing import BinaryIO, Final

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
