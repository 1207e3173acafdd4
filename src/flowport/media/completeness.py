"""Whether a file says itself that it goes on behind its end: one that was cut off on its way.

Only what a format tells in so many words counts. Recorders and browsers write sound and films whose length they do not
know yet, with zeros or ones in its place; those are whole. Pictures without boxes are judged by decoding them.
"""

from collections.abc import Callable, Mapping
from typing import BinaryIO, Final

from flowport.media.boxes import find_box_fault
from flowport.media.matroska import is_cut
from flowport.media.measures import MAX_STEPS, count_file_bytes, read_at
from flowport.media.signatures import Sniffed
from flowport.media.sounds import view_untagged

_CUT: Final = "it ends in the middle of a part"
_OGG_PAGE_BYTES: Final = 65_307
_OGG_HEADER_BYTES: Final = 27
_RIFF_HEADER_BYTES: Final = 12
_CHUNK_BYTES: Final = 8
_LEAST_UNKNOWN_BYTES: Final = 0x7FFF_0000
"""Programs that stream a WAV write a length from here on: as much as the field holds, with a sign or without."""

_SLACK_BYTES: Final = 64
"""By which recorders are wrong about the length of their own sound."""
_PADDING_BYTES: Final = 1
"""That are counted at the end of a chunk and not always written."""


def find_fault(file: BinaryIO, sniffed: Sniffed) -> str:
    """Return why a file is not whole, as the end of "is cut off: ..."; empty where nothing says so.

    The file is at its beginning afterwards.
    """
    find = _FINDS.get(sniffed.extension)
    fault = find(view_untagged(file)) if find is not None else ""
    file.seek(0)
    return fault


def _find_in_matroska(file: BinaryIO) -> str:
    return _CUT if is_cut(file) else ""


def _find_in_riff(file: BinaryIO) -> str:
    """Judge WebP and AVI by the length of the whole."""
    told = int.from_bytes(read_at(file, 4, 4), "little")
    is_known = 0 < told < _LEAST_UNKNOWN_BYTES
    return _CUT if is_known and _CHUNK_BYTES + told > count_file_bytes(file) + _PADDING_BYTES else ""


def _find_in_wave(file: BinaryIO) -> str:
    """Judge a WAV by the length of its sound; that of the whole is often wrong."""
    end, place = count_file_bytes(file), _RIFF_HEADER_BYTES
    for _ in range(MAX_STEPS):
        header = read_at(file, place, _CHUNK_BYTES)
        if len(header) < _CHUNK_BYTES:
            return "it holds no sound"
        length, place = int.from_bytes(header[4:], "little"), place + _CHUNK_BYTES
        if header[:4] == b"data":
            return _CUT if length < _LEAST_UNKNOWN_BYTES and place + length > end + _SLACK_BYTES else ""
        place += length + length % 2
    return ""


def _find_in_ogg(file: BinaryIO) -> str:
    """Judge Ogg by its last page: whether all of it is there. A stream need not say which page is its last."""
    end = count_file_bytes(file)
    tail = read_at(file, max(0, end - _OGG_PAGE_BYTES), _OGG_PAGE_BYTES)
    start = tail.rfind(b"OggS\0")
    if start < 0:
        return ""  # something else was appended
    page = tail[start:]
    segments = page[_OGG_HEADER_BYTES : _OGG_HEADER_BYTES + page[26]] if len(page) >= _OGG_HEADER_BYTES else b""
    is_whole = len(page) >= _OGG_HEADER_BYTES and len(segments) == page[26]
    return "" if is_whole and len(page) >= _OGG_HEADER_BYTES + len(segments) + sum(segments) else _CUT


_FINDS: Final[Mapping[str, Callable[[BinaryIO], str]]] = {
    **dict.fromkeys(("mp4", "mov", "m4v", "3gp", "m4a", "heic", "avif"), find_box_fault),
    **dict.fromkeys(("webm", "weba", "mkv", "mka"), _find_in_matroska),
    **dict.fromkeys(("webp", "avi"), _find_in_riff),
    "wav": _find_in_wave,
    **dict.fromkeys(("ogg", "ogv"), _find_in_ogg),
}
