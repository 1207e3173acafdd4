"""The extent of a picture in boxes (HEIC, AVIF), as it is shown, without decoding it.

Source: ISO/IEC 23008-12 (HEIF), 6 and 9: which item is the picture (`pitm`), what holds for it (`ipma`), and among that
its extent (`ispe`), its aperture (`clap`) and its turn (`irot`).
"""

from collections.abc import Iterator
from typing import BinaryIO

from flowport.media.boxes import Box, Movie
from flowport.media.measures import Measures, build_measures

_MAX_BYTES = 256 * 1024
_IS_LONG = 1
"""The flag of an `ipma` whose indexes take two bytes."""
_CLEAN_APERTURE_BYTES = 16


def measure_heif(file: BinaryIO) -> Measures:
    """Return how large the picture is shown; nothing where its boxes do not tell."""
    movie = Movie(file)
    for meta in movie.find_all(movie.whole, b"meta"):
        inside = movie.skip(meta, 4)
        item = next((_parse_item(movie.read(box, 8)) for box in movie.find_all(inside, b"pitm")), None)
        properties = [box for holder in movie.find_all(inside, b"iprp", b"ipco") for box in movie.iterate(holder)]
        links = [
            link
            for box in movie.find_all(inside, b"iprp", b"ipma")
            for link in _iterate_links(movie.read(box, _MAX_BYTES))
        ]
        own = [properties[index - 1] for owner, index in links if owner == item and 0 < index <= len(properties)]
        return _measure(movie, own)
    return build_measures()


def _measure(movie: Movie, properties: list[Box]) -> Measures:
    width, height = 0.0, 0.0
    for box in properties:
        data = movie.read(box, 20)
        if box.name == b"ispe":
            width, height = int.from_bytes(data[4:8], "big"), int.from_bytes(data[8:12], "big")
        elif box.name == b"clap" and len(data) >= _CLEAN_APERTURE_BYTES:
            numbers = [int.from_bytes(data[start : start + 4], "big") for start in range(0, 16, 4)]
            width, height = (numbers[n] // numbers[n + 1] if numbers[n + 1] else 0 for n in (0, 2))
        elif box.name == b"irot" and data and data[0] & 1:
            width, height = height, width
    return build_measures(size=(width, height))


def _parse_item(data: bytes) -> int:
    return int.from_bytes(data[4:8] if data[:1] != b"\0" else data[4:6], "big")


def _iterate_links(data: bytes) -> Iterator[tuple[int, int]]:
    """Give each item with the place of a property that holds for it, from 1."""
    if len(data) < 8:  # noqa: PLR2004 - version, flags and a count
        return
    id_bytes, index_bytes = 2 if data[0] == 0 else 4, 2 if data[3] & _IS_LONG else 1
    place = 8
    for _ in range(int.from_bytes(data[4:8], "big")):
        if place + id_bytes >= len(data):
            return
        item, count = int.from_bytes(data[place : place + id_bytes], "big"), data[place + id_bytes]
        place += id_bytes + 1
        for start in range(place, place + count * index_bytes, index_bytes):
            # The highest bit says whether a reader must understand it.
            index = int.from_bytes(data[start : start + index_bytes], "big") & (0x7FFF if index_bytes == 2 else 0x7F)  # noqa: PLR2004
            yield item, index
        place += count * index_bytes
