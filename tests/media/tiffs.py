"""TIFF files made of pages, as cameras and scanners lay them out, with the small copies that they put first."""

import struct
from dataclasses import dataclass, field

BYTE, TEXT, SHORT, LONG = 1, 2, 3, 4
DNG_VERSION = (50706, BYTE, (1, 4, 0, 0))
SENSOR = (262, SHORT, (32803,))


@dataclass(frozen=True)
class TiffPage:
    """One picture of a TIFF, in one colour; its pixels are all alike."""

    width: int
    height: int
    kind: int = 0
    """NewSubfileType: 1 for a smaller copy."""
    tags: tuple[tuple[int, int, tuple[int, ...] | bytes], ...] = ()
    """Other tags, or other values: number, type, value."""
    inner: tuple["TiffPage", ...] = field(default=())
    """Pages below it (SubIFDs)."""
    colour: tuple[int, int, int] = (200, 40, 40)


def tiff(*pages: TiffPage, order: str = "<", version: int = 42, start: bytes = b"") -> bytes:
    """Return a TIFF in a byte order; a version of 43 is a BigTIFF, and a start of its own stands at its beginning."""
    return _Writer(order, version).write(pages, start)


class _Writer:
    def __init__(self, order: str, version: int) -> None:
        self._order = order
        self._is_big = version == 43
        self._version = version
        self._offset = "Q" if self._is_big else "I"
        self._data = bytearray()

    def write(self, pages: tuple[TiffPage, ...], start: bytes) -> bytes:
        head = (b"II" if self._order == "<" else b"MM") + self._pack("H", self._version)
        head += self._pack("HHQ", 8, 0, 0) if self._is_big else self._pack("I", 0)
        self._data += start or head
        self._data += bytes(32)
        link = 8 if self._is_big else 4
        for page in pages:
            place, link_after = self._add(page)
            self._patch(link, place)
            link = link_after
        return bytes(self._data)

    def _add(self, page: TiffPage) -> tuple[int, int]:
        """Write a page; return where its directory is, and where that reports the next one."""
        inner = [self._add(below)[0] for below in page.inner]
        strip = len(self._data)
        self._data += bytes(page.colour) * (page.width * page.height)
        tags: dict[int, tuple[int, tuple[int, ...] | bytes]] = {
            254: (LONG, (page.kind,)),
            256: (LONG, (page.width,)),
            257: (LONG, (page.height,)),
            258: (SHORT, (8, 8, 8)),
            259: (SHORT, (1,)),
            262: (SHORT, (2,)),
            273: (LONG, (strip,)),
            277: (SHORT, (3,)),
            278: (LONG, (page.height,)),
            279: (LONG, (page.width * page.height * 3,)),
        }
        if inner:
            tags[330] = (LONG, tuple(inner))
        tags |= {number: (kind, value) for number, kind, value in page.tags}
        entries = b""
        for number in sorted(tags):
            kind, value = tags[number]
            data = (
                value
                if isinstance(value, bytes)
                else self._pack({BYTE: "B", SHORT: "H", LONG: "I"}[kind] * len(value), *value)
            )
            size = 8 if self._is_big else 4
            if len(data) > size:
                place = len(self._data)
                self._data += data + bytes(len(data) % 2)
                data = self._pack(self._offset, place)
            entries += self._pack("HH" + self._offset, number, kind, len(value)) + data.ljust(size, b"\0")
        place = len(self._data)
        self._data += self._pack("Q" if self._is_big else "H", len(tags)) + entries
        link = len(self._data)
        self._data += self._pack(self._offset, 0)
        return place, link

    def _patch(self, place: int, value: int) -> None:
        packed = self._pack(self._offset, value)
        self._data[place : place + len(packed)] = packed

    def _pack(self, form: str, *values: int) -> bytes:
        return struct.pack(self._order + form, *values)


THUMBNAIL = TiffPage(160, 120, kind=1, colour=(10, 10, 200))
PHOTO = TiffPage(800, 600)


def build_dng(order: str = "<", version: int = 42) -> bytes:
    """Return a raw photo as Adobe's programs and many cameras write it: a thumbnail, and the photo below it."""
    first = TiffPage(160, 120, 1, ((271, TEXT, b"Maker\0"), (272, TEXT, b"Model\0"), DNG_VERSION), (PHOTO,))
    return tiff(first, order=order, version=version)


def build_raw(make: bytes, order: str = "<", *, compression: int = 1, start: bytes = b"") -> bytes:
    """Return a maker's raw photo: a thumbnail, and what the sensor saw below it."""
    photo = TiffPage(800, 600, 0, (SENSOR, (259, SHORT, (compression,))))
    return tiff(TiffPage(160, 120, 1, ((271, TEXT, make + b"\0"),), (photo,)), order=order, start=start)
