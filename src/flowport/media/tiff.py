"""The pages of a TIFF, and whether it is a raw photo. A bounded number of pages is read.

Source: TIFF 6.0 with its supplements, BigTIFF, the DNG specification 1.7; for makers' compressions the sources of LibRaw.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final

from flowport.media.containers import read_at

MAX_PAGES: Final = 256
_MAX_ENTRIES: Final = 1000
_MAX_INNER: Final = 16
"""Pages below a page."""

_NEW_KIND, _OLD_KIND, _WIDTH, _HEIGHT, _BITS = 254, 255, 256, 257, 258
_COMPRESSION, _PHOTOMETRIC, _MAKE, _ORIENTATION, _INNER_PAGES, _DNG_VERSION = 259, 262, 271, 274, 330, 50706
_SENSOR_PATTERN: Final = 33422
_WANTED: Final = frozenset(
    {
        *(_NEW_KIND, _OLD_KIND, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _MAKE, _ORIENTATION),
        *(_INNER_PAGES, _DNG_VERSION, _SENSOR_PATTERN),
    }
)
_REDUCED, _MASK = 1, 4
"""Bits of the new kind."""
_OLD_REDUCED: Final = 2
_SENSOR_COLOURS: Final = frozenset({32803, 34892})
"""One value a pixel as the sensor gave it, and the same made linear."""
_SENSOR_COMPRESSIONS: Final = frozenset({32767, 32769, 32770, 32867, 34713, 65000, 65535})
"""Of Sony, Epson, Samsung, Kodak, Nikon, Kodak and Pentax."""
_NUMBER_BYTES: Final = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}
"""By type."""
_TEXT: Final = 2
_MAX_TEXT_BYTES: Final = 64


_THUMBNAIL_EDGE: Final = 512
_THUMBNAIL_SHARE: Final = 4


@dataclass(frozen=True, slots=True)
class Page:
    """One picture of the file."""

    index: int | None
    """Its place among the pages, from 0; None for one that lies below a page."""
    width: int
    height: int
    bits: int
    """Of a colour."""
    is_reduced: bool
    """Whether it says that it is a smaller copy of another."""
    is_mask: bool
    is_inverted: bool
    """Whether nothing is white."""
    orientation: int

    @property
    def area(self) -> int:
        """How many pixels it has."""
        return self.width * self.height


@dataclass(frozen=True, slots=True)
class Tiff:
    """What a file in pages holds."""

    pages: tuple[Page, ...]
    """Those in a row first, then those below them."""
    is_raw: bool
    """Whether it holds what a sensor saw."""
    make: str = ""
    """Who made the camera."""
    has_dng_version: bool = False


def read_tiff(file: BinaryIO) -> Tiff | None:
    """Return the pages of a file, or None when it is not a TIFF."""
    head = read_at(file, 0, 16)
    order = {b"II": "little", b"MM": "big"}.get(head[:2])
    version = int.from_bytes(head[2:4], "big" if order == "big" else "little")
    if order is None or version not in {42, 43}:
        return None
    reader = _Reader(file, is_big_endian=order == "big", is_long=version == 43)  # noqa: PLR2004 - BigTIFF
    directories = list(reader.iterate())
    is_raw = head[8:11] == b"CR\x02" or head[8:12] in {b"IIII", b"MMMM"} or any(map(_is_sensor, directories))
    makes = (_get_text(directory, _MAKE) for _, directory in directories)
    return Tiff(
        pages=tuple(_build_page(index, directory) for index, directory in directories),
        is_raw=is_raw,
        make=next(filter(None, makes), ""),
        has_dng_version=any(_DNG_VERSION in directory for _, directory in directories),
    )


def find_main_page(tiff: Tiff) -> Page | None:
    """Return the page that is the picture; None when what is the picture cannot be reached or is not there.

    It is the first that is not a smaller copy; where the first looks like a thumbnail of a later one, the largest.
    """
    whole = [page for page in tiff.pages if page.area and not page.is_mask]
    row = [page for page in whole if page.index is not None and not page.is_reduced]
    if not row:
        return None
    first, largest = row[0], max(row, key=lambda page: page.area)
    is_thumbnail = max(first.width, first.height) <= _THUMBNAIL_EDGE and first.area * _THUMBNAIL_SHARE <= largest.area
    main = largest if is_thumbnail else first
    hidden = max((page.area for page in whole if page.index is None), default=0)
    copies = max((page.area for page in whole if page.is_reduced), default=0)
    return main if main.area >= max(hidden, copies) else None


_Directory = Mapping[int, tuple[int, ...] | bytes]


class _Reader:
    """Reads directories of entries, each of which is a number, a type, a count and a value or where it lies."""

    def __init__(self, file: BinaryIO, *, is_big_endian: bool, is_long: bool) -> None:
        self._file = file
        self._is_big_endian = is_big_endian
        self._offset_bytes, self._count_bytes = (8, 8) if is_long else (4, 2)
        self._entry_bytes = 4 + 2 * self._offset_bytes
        self._seen: set[int] = set()

    def iterate(self) -> "Iterator[tuple[int | None, _Directory]]":
        """Give the directories in a row with their places, and then those below them."""
        place = self._parse(read_at(self._file, self._offset_bytes, self._offset_bytes))
        inner: list[int] = []
        for index in range(MAX_PAGES):
            found = self._read(place)
            if found is None:
                break
            directory, place = found
            inner += self._get_inner(directory)
            yield index, directory
        while inner and len(self._seen) < MAX_PAGES:
            found = self._read(inner.pop(0))
            if found is not None:
                inner += self._get_inner(found[0])
                yield None, found[0]

    def _get_inner(self, directory: _Directory) -> list[int]:
        value = directory.get(_INNER_PAGES, ())
        return list(value[:_MAX_INNER]) if isinstance(value, tuple) else []

    def _read(self, place: int) -> tuple[_Directory, int] | None:
        """Return a directory and where the next one lies; None at the end, or when it was read before."""
        if not place or place in self._seen:
            return None
        self._seen.add(place)
        count = self._parse(read_at(self._file, place, self._count_bytes))
        if not 0 < count <= _MAX_ENTRIES:
            return None
        start = place + self._count_bytes
        data = read_at(self._file, start, count * self._entry_bytes + self._offset_bytes)
        entries = [data[n * self._entry_bytes : (n + 1) * self._entry_bytes] for n in range(count)]
        values = {tag: self._get_value(entry) for entry in entries if (tag := self._parse(entry[:2])) in _WANTED}
        return values, self._parse(data[count * self._entry_bytes :])

    def _get_value(self, entry: bytes) -> tuple[int, ...] | bytes:
        kind, count = self._parse(entry[2:4]), self._parse(entry[4 : 4 + self._offset_bytes])
        size = _NUMBER_BYTES.get(kind, 1)
        count = min(count, _MAX_TEXT_BYTES if kind == _TEXT else _MAX_INNER)
        field = entry[-self._offset_bytes :]
        data = field if size * count <= self._offset_bytes else read_at(self._file, self._parse(field), size * count)
        if kind == _TEXT:
            return data[:count]
        return tuple(self._parse(data[n * size : (n + 1) * size]) for n in range(count))

    def _parse(self, data: bytes) -> int:
        return int.from_bytes(data, "big" if self._is_big_endian else "little")


def _get_number(directory: _Directory, tag: int, default: int = 0) -> int:
    value = directory.get(tag)
    return value[0] if isinstance(value, tuple) and value else default


def _get_text(directory: _Directory, tag: int) -> str:
    value = directory.get(tag)
    return value.partition(b"\0")[0].decode("latin-1").strip().lower() if isinstance(value, bytes) else ""


def _is_sensor(found: tuple[int | None, _Directory]) -> bool:
    directory = found[1]
    return (
        _DNG_VERSION in directory
        or _SENSOR_PATTERN in directory
        or _get_number(directory, _PHOTOMETRIC) in _SENSOR_COLOURS
        or _get_number(directory, _COMPRESSION) in _SENSOR_COMPRESSIONS
    )


def _build_page(index: int | None, directory: _Directory) -> Page:
    kind = _get_number(directory, _NEW_KIND)
    return Page(
        index=index,
        width=_get_number(directory, _WIDTH),
        height=_get_number(directory, _HEIGHT),
        bits=_get_number(directory, _BITS, 1),
        is_reduced=bool(kind & _REDUCED) or _get_number(directory, _OLD_KIND) == _OLD_REDUCED,
        is_mask=bool(kind & _MASK),
        is_inverted=_get_number(directory, _PHOTOMETRIC, 1) == 0,
        orientation=_get_number(directory, _ORIENTATION, 1),
    )
