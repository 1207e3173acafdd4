"""The tracks and the extent of Matroska and WebM movies, and whether they are whole.

An element is a name, a length and what is inside; both numbers tell their own size by their first byte. Reading stops
at the first cluster, where the pictures begin.

Source: RFC 8794 (EBML) and RFC 9559 (Matroska).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from flowport.media.file_parts import MAX_STEPS, Measures, build_measures, count_file_bytes, read_at

_HEADER: Final = 0x1A45DFA3
_SEGMENT: Final = 0x18538067
_CLUSTER: Final = 0x1F43B675
_INFO: Final = 0x1549A966
_SCALE: Final = 0x2AD7B1
_DURATION: Final = 0x4489
_TRACKS: Final = 0x1654AE6B
_TRACK: Final = 0xAE
_VIDEO: Final = 0xE0
_WIDTH: Final = 0xB0
_HEIGHT: Final = 0xBA
_TRACK_TYPE: Final = 0x83
_PICTURES, _SOUND = 1, 2
_PARENTS: Final = frozenset({_SEGMENT, _INFO, _TRACKS, _TRACK, _VIDEO})

_NANOSECONDS: Final = 1e9
_USUAL_SCALE: Final = 1_000_000
_MAX_NUMBER_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class _Element:
    name: int
    data: bytes
    """What is inside when it is a number; empty for a parent, whose children come next."""


def measure_matroska(file: BinaryIO) -> Measures:
    """Return the extent of a movie: its first picture track, and its whole length where its header tells it."""
    found: dict[int, bytes] = {}
    for element in _iterate(file, count_file_bytes(file)):
        found.setdefault(element.name, element.data)
    width, height = (int.from_bytes(found.get(name, b""), "big") for name in (_WIDTH, _HEIGHT))
    scale = int.from_bytes(found.get(_SCALE, b""), "big") or _USUAL_SCALE
    return build_measures(size=(width, height), seconds=_parse_float(found.get(_DURATION, b"")) * scale / _NANOSECONDS)


def read_track_types(file: BinaryIO) -> tuple[bool, bool] | None:
    """Return whether there are tracks of pictures and of sound; None when nothing tells before the first cluster."""
    types = {
        int.from_bytes(element.data, "big")
        for element in _iterate(file, count_file_bytes(file))
        if element.name == _TRACK_TYPE
    }
    return (_PICTURES in types, _SOUND in types) if types else None


def is_cut(file: BinaryIO) -> bool:
    """Tell whether the file ends before its segment does; one that was streamed need not tell where that is."""
    end, place = count_file_bytes(file), 0
    while place < end:
        header = read_at(file, place, 12)
        name, name_bytes = _parse_number(header, is_name=True)
        length, length_bytes = _parse_number(header[name_bytes:], is_name=False)
        if name not in {_HEADER, _SEGMENT} or not length_bytes:
            return place == 0  # what follows the segment is no part of it
        is_unknown = length == (1 << 7 * length_bytes) - 1
        place += name_bytes + length_bytes + (0 if is_unknown else length)
        if is_unknown:
            return False
    return place > end


def _iterate(file: BinaryIO, end: int) -> Iterator[_Element]:
    """Give the elements in their order, those inside a wanted parent after it."""
    place = 0
    for _ in range(MAX_STEPS):
        header = read_at(file, place, 12)
        name, name_bytes = _parse_number(header, is_name=True)
        length, length_bytes = _parse_number(header[name_bytes:], is_name=False)
        if not name_bytes or not length_bytes or name == _CLUSTER:
            return
        place += name_bytes + length_bytes
        if name in _PARENTS:
            yield _Element(name, b"")
            continue
        yield _Element(name, read_at(file, place, length) if length <= _MAX_NUMBER_BYTES else b"")
        place += length
        if place >= end:
            return


def _parse_number(data: bytes, *, is_name: bool) -> tuple[int, int]:
    """Return a number and how many bytes it takes, 0 when there is none; a name keeps the bits that tell its size."""
    size_bytes = 9 - data[0].bit_length() if data else 0
    if size_bytes > min(len(data), _MAX_NUMBER_BYTES):
        return 0, 0
    number = int.from_bytes(data[:size_bytes], "big")
    return (number if is_name else number & ((1 << 7 * size_bytes) - 1)), size_bytes


def _parse_float(data: bytes) -> float:
    formats = {4: ">f", 8: ">d"}
    return float(struct.unpack(formats[len(data)], data)[0]) if len(data) in formats else 0.0
