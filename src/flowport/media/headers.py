"""The extent of pictures that are saved and never decoded, by the fields of their headers.

Sources: the specification of each format (Truevision TGA 2.0, SGI, PCX, DDS, SMPTE 268M, OpenEXR, Radiance, ISO/IEC 15444-1,
ISO/IEC 18181-1 and -2, XCF, FITS 4.0, MNG 1.0, EA IFF 85).
"""

import re
import struct
from collections.abc import Callable, Mapping
from typing import BinaryIO, Final

from flowport.media.file_parts import NO_MEASURES, Measures, build_measures, read_at
from flowport.media.tracks import Movie

_HEAD_BYTES: Final = 4096
_Size = tuple[float, float]

_NETPBM: Final = re.compile(rb"P[1-6Ff]\s+(?:#[^\n]*\n\s*)*(\d{1,7})\s+(\d{1,7})\s")
_NETPBM_7: Final = re.compile(rb"P7\nWIDTH (\d{1,7})\nHEIGHT (\d{1,7})\n")
_RADIANCE: Final = re.compile(rb"\n[-+]([XY]) (\d{1,7}) [-+]([XY]) (\d{1,7})\n")
_FITS: Final = re.compile(rb"NAXIS1  = *(\d{1,7}).*?NAXIS2  = *(\d{1,7})", re.DOTALL)
_EXR_WINDOW: Final = b"displayWindow\0box2i\0\x10\0\0\0"
_JXL_RATIOS: Final = {1: (1, 1), 2: (6, 5), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_JXL_SIDE_BITS: Final = (9, 13, 18, 30)
_SIDEWAYS_FROM: Final = 5
"""The first orientation in which width and height change places."""


def measure_header(file: BinaryIO, extension: str) -> Measures:
    """Return the extent of a picture of one of `MEASURED`, by its extension."""
    head = read_at(file, 0, _HEAD_BYTES)
    try:
        return build_measures(size=_read_jxl(file) if extension == "jxl" else MEASURED[extension](head))
    except (struct.error, ValueError, IndexError):
        return NO_MEASURES


def _unpack(layout: str, place: int) -> Callable[[bytes], _Size]:
    """Return a reader of width and height at a fixed place."""
    return lambda head: struct.unpack_from(layout, head, place)


def _read_pcx(head: bytes) -> _Size:
    left, top, right, bottom = struct.unpack_from("<4H", head, 4)
    return right - left + 1, bottom - top + 1


def _read_dds(head: bytes) -> _Size:
    height, width = struct.unpack_from("<2I", head, 12)
    return width, height


def _read_dpx(head: bytes) -> _Size:
    width, height = struct.unpack_from(">2I" if head.startswith(b"SDPX") else "<2I", head, 772)
    return width, height


def _read_exr(head: bytes) -> _Size:
    left, top, right, bottom = struct.unpack_from("<4i", head, head.index(_EXR_WINDOW) + len(_EXR_WINDOW))
    return right - left + 1, bottom - top + 1


def _read_numbers(*patterns: re.Pattern[bytes]) -> Callable[[bytes], _Size]:
    def read(head: bytes) -> _Size:
        """Return the numbers that the first fitting pattern finds."""
        found = next(filter(None, (pattern.search(head) for pattern in patterns)), None)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    return read


def _read_radiance(head: bytes) -> _Size:
    found = _RADIANCE.search(head)
    sides = {found[1]: int(found[2]), found[3]: int(found[4])} if found else {}
    return sides.get(b"X", 0), sides.get(b"Y", 0)


def _read_codestream(head: bytes) -> _Size:
    right, bottom, left, top = struct.unpack_from(">4I", head, 8)
    return right - left, bottom - top


def _read_ilbm(head: bytes) -> _Size:
    width, height = struct.unpack_from(">2H", head, head.index(b"BMHD") + 8)
    return width, height


def _read_jxl(file: BinaryIO) -> _Size:
    head = read_at(file, 0, 64)
    if not head.startswith(b"\xff\x0a"):
        movie = Movie(file)
        boxes = (box for box in movie.iterate(movie.whole) if box.name in {b"jxlc", b"jxlp"})
        head = next((movie.read(movie.skip(box, 4 if box.name == b"jxlp" else 0), 64) for box in boxes), b"")
    bits = _Bits(head[2:])
    is_small = bits.take(1)
    height = _take_jxl_side(bits, is_small=bool(is_small))
    ratio = bits.take(3)
    wide, high = _JXL_RATIOS.get(ratio, (0, 1))
    width = height * wide // high if ratio else _take_jxl_side(bits, is_small=bool(is_small))
    is_default = bits.take(1)
    orientation = 1 + bits.take(3) if not is_default and bits.take(1) else 1
    return (height, width) if orientation >= _SIDEWAYS_FROM else (width, height)


def _take_jxl_side(bits: "_Bits", *, is_small: bool) -> int:
    return 8 * (1 + bits.take(5)) if is_small else 1 + bits.take(_JXL_SIDE_BITS[bits.take(2)])


class _Bits:
    """Bits of bytes, from the lowest one on."""

    def __init__(self, data: bytes) -> None:
        self._number = int.from_bytes(data, "little")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        """Return the next number of so many bits.

        Raises:
            ValueError: There are fewer.
        """
        if count > self._left:
            raise ValueError("the header ends too early")
        value = self._number & ((1 << count) - 1)
        self._number >>= count
        self._left -= count
        return value


MEASURED: Final[Mapping[str, Callable[[bytes], _Size]]] = {
    "tga": _unpack("<2H", 12),
    "sgi": _unpack(">2H", 6),
    "ras": _unpack(">2I", 4),
    "xcf": _unpack(">2I", 14),
    "jng": _unpack(">2I", 16),
    "pcx": _read_pcx,
    "dds": _read_dds,
    "dpx": _read_dpx,
    "exr": _read_exr,
    "pnm": _read_numbers(_NETPBM, _NETPBM_7),
    "fits": _read_numbers(_FITS),
    "hdr": _read_radiance,
    "j2k": _read_codestream,
    "iff": _read_ilbm,
    "jxl": lambda _: (0, 0),
}
"""By extension. Where a JPEG XL lies in its file has to be looked up."""
