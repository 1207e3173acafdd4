"""A PNG without what does not belong to its picture: notes, workflows, previews and profiles of any size.

Programs put megabytes of text into PNGs, and the decoder holds all of it, or gives up at its own limits. What it is given
here are the picture, its colours and its orientation. Compressed notes are unpacked to be counted, never to be kept.

Source: the PNG specification (third edition), chunks.
"""

import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final

from flowport.media.file_parts import Part, View, read_at

MAX_PROFILE_BYTES: Final = 1_000_000
"""Of a profile of colours, which readers unpack up to 1 MB of."""

_MAX_NOTE_BYTES: Final = 1024**2
"""Of a note that is handed on."""
_MAX_UNPACKED_BYTES: Final = 32 * 1024**2
"""Of all compressed notes: no program writes more, and a bomb unpacks to any number."""
_MAX_CHUNKS: Final = 100_000
_SIGNATURE_BYTES: Final = 8
_FRAME_BYTES: Final = 12
"""Length, name and checksum of a chunk."""
_PACKED: Final = frozenset({b"iCCP", b"zTXt", b"iTXt"})
_COLOURS: Final = frozenset(
    {b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"pHYs", b"eXIf", b"acTL", b"fcTL", b"fdAT"}
)
_ORIENTATION_NOTE: Final = b"XML:com.adobe.xmp\0\0\0"
_IS_SMALL: Final = 0x20
"""The bit that makes a chunk one that readers may pass over, as the case of its first letter."""


def view_png(file: BinaryIO) -> View:
    """Return the PNG as its decoder gets it.

    Raises:
        ValueError: Its notes unpack to more than any program writes, or it has more parts than any picture.
    """
    pieces = [Part(0, _SIGNATURE_BYTES)]
    unpacked_bytes = 0
    for name, place, length in _iterate_chunks(file):
        if name in _PACKED:
            unpacked = _count_unpacked(file, name, place, length, _MAX_UNPACKED_BYTES - unpacked_bytes)
            unpacked_bytes += unpacked
            if unpacked_bytes > _MAX_UNPACKED_BYTES:
                raise ValueError("the notes of this PNG unpack to too much")
            is_kept = _is_kept(file, name, place, length) and unpacked <= MAX_PROFILE_BYTES
        else:
            is_kept = _is_kept(file, name, place, length)
        if is_kept:
            start, whole = place - _FRAME_BYTES + 4, length + _FRAME_BYTES
            last = pieces[-1]
            if last.start + last.length == start:
                pieces[-1] = Part(last.start, last.length + whole)
            else:
                pieces.append(Part(start, whole))
    return View(file, pieces)


def _iterate_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Give the name of each chunk, where its data begins and how long it is, up to the end of the picture."""
    place = _SIGNATURE_BYTES
    for _ in range(_MAX_CHUNKS):
        header = read_at(file, place, 8)
        if len(header) < 8:  # noqa: PLR2004 - length and name
            return
        name, length = header[4:], int.from_bytes(header[:4], "big")
        yield name, place + 8, length
        if name == b"IEND":
            return
        place += length + _FRAME_BYTES
    raise ValueError("this PNG has too many parts")


def _is_kept(file: BinaryIO, name: bytes, place: int, length: int) -> bool:
    if not name[:1] or not name[0] & _IS_SMALL:
        return True
    if name == b"iTXt":
        return length <= _MAX_NOTE_BYTES and read_at(file, place, len(_ORIENTATION_NOTE)) == _ORIENTATION_NOTE
    return name in _COLOURS and (length <= _MAX_NOTE_BYTES or name == b"fdAT")


def _count_unpacked(file: BinaryIO, name: bytes, place: int, length: int, limit: int) -> int:
    """Return how many bytes a compressed note unpacks to, up to somewhat more than the limit; 0 for any other."""
    data = read_at(file, place, min(length, _MAX_UNPACKED_BYTES))
    keyword_bytes = data.find(b"\0") + 1
    start = keyword_bytes + 1  # behind the method
    if name == b"iTXt":
        if data[keyword_bytes : keyword_bytes + 1] != b"\1":
            return 0
        # A language and a translated keyword stand before the text.
        start = data.find(b"\0", data.find(b"\0", keyword_bytes + 2) + 1) + 1
    unpacker, rest, count = zlib.decompressobj(), data[start:], 0
    try:
        while rest and count <= limit:
            unpacked = unpacker.decompress(rest, 65_536)
            rest = unpacker.unconsumed_tail
            count += len(unpacked)
            if not unpacked and not rest:
                break
    except zlib.error:
        return count  # the decoder passes a broken note over
    return count
