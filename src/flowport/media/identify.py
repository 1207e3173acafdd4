"""What a file is, by all of it that tells: its beginning, what follows its tags, its tracks and its pages.

A container is what its tracks say, whatever brand or type of document it bears; a TIFF may be a raw photo; a tag may stand
before sound of any kind. A few small pieces of the file are read. Nothing here raises because of what is in it.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import BinaryIO, Final

from flowport.domain.models import OutputKind
from flowport.media.file_parts import MAX_STEPS, count_file_bytes, read_at
from flowport.media.matroska import is_cut
from flowport.media.signatures import (
    ADOBE_RAW,
    AVI,
    AVI_SOUND,
    CANON_RAW_3,
    FLV,
    FLV_SOUND,
    GP3,
    GP3_SOUND,
    M4A,
    M4V,
    MAKERS,
    MATROSKA,
    MATROSKA_SOUND,
    MOV,
    MP3,
    MP4,
    MPEG,
    MPEG_SOUND,
    PHASE_ONE_RAW,
    RAW_PHOTO,
    REAL_SOUND,
    REAL_VIDEO,
    TARGA,
    TIFF,
    TRANSPORT,
    TRANSPORT_SOUND,
    WEBM,
    WEBM_SOUND,
    WMA,
    WMV,
    Sniffed,
)
from flowport.media.sniff import MAX_HEAD_BYTES, sniff
from flowport.media.sounds import view_untagged
from flowport.media.tiff import read_tiff
from flowport.media.tracks import find_box_fault, is_container, read_tracks

_TARGA_END: Final = b"TRUEVISION-XFILE.\0"
_SOUND_OF: Final = {
    MP4: M4A,
    M4V: M4A,
    MOV: M4A,
    GP3: GP3_SOUND,
    WEBM: WEBM_SOUND,
    MATROSKA: MATROSKA_SOUND,
    AVI: AVI_SOUND,
    WMV: WMA,
    FLV: FLV_SOUND,
    MPEG: MPEG_SOUND,
    TRANSPORT: TRANSPORT_SOUND,
    REAL_VIDEO: REAL_SOUND,
}
"""What each container is when it holds sound alone."""
_CONTAINER_OF: Final = {sound: container for container, sound in _SOUND_OF.items() if sound != M4A}


def identify(file: BinaryIO) -> Sniffed | None:
    """Return what a file is, or None when it is nothing that we know. The file is at its beginning afterwards.

    Raises:
        OSError: The file cannot be read.
    """
    try:
        return _identify(file)
    finally:
        file.seek(0)


def has_tracks(file: BinaryIO, sniffed: Sniffed) -> bool:
    """Tell whether what a file is was read from its tracks, or needs none: a sound that is no container."""
    extension = _CONTAINER_OF.get(sniffed, sniffed).extension
    return not is_container(extension) or read_tracks(view_untagged(file), extension) is not None


def _identify(file: BinaryIO) -> Sniffed | None:
    head = read_at(file, 0, MAX_HEAD_BYTES)
    sniffed = sniff(head)
    if head[4:12] == b"ftypcrx ":
        return CANON_RAW_3
    if sniffed == MP3 and head.startswith(b"ID3"):
        return _identify_tagged(file)
    if sniffed == TIFF:
        return _identify_tiff(file)
    if sniffed is None and head[4:8] == b"ftyp":
        # A brand that was registered since, or never.
        sniffed = MP4 if read_tracks(file, MP4.extension) is not None else None
    if sniffed is None and head[:4] == b"\x1aE\xdf\xa3":
        sniffed = MATROSKA if read_tracks(file, MATROSKA.extension) is not None else None
    if sniffed is None:
        end = count_file_bytes(file)
        return TARGA if read_at(file, max(0, end - len(_TARGA_END)), len(_TARGA_END)) == _TARGA_END else None
    return _judge_by_tracks(file, sniffed)


def _judge_by_tracks(file: BinaryIO, sniffed: Sniffed) -> Sniffed:
    tracks = read_tracks(file, sniffed.extension)
    if tracks is None:
        return sniffed
    if tracks.has_pictures:
        return MP4 if sniffed == M4A else sniffed
    return _SOUND_OF.get(sniffed, sniffed)


def _identify_tagged(file: BinaryIO) -> Sniffed:
    """Return what follows the tags of an MP3's kind, which may stand before any sound, in a container too."""
    view = view_untagged(file)
    behind = _identify(view) if not read_at(view, 0, 3).startswith(b"ID3") else None
    return behind if behind is not None and behind.kind in {OutputKind.AUDIO, OutputKind.VIDEO} else MP3


def _identify_tiff(file: BinaryIO) -> Sniffed:
    tiff = read_tiff(file)
    if tiff is None or not tiff.is_raw:
        return TIFF
    if tiff.has_dng_version:
        return ADOBE_RAW
    if read_at(file, 8, 4) in {b"IIII", b"MMMM"}:
        return PHASE_ONE_RAW
    own = next((raw for maker, raw in MAKERS.items() if tiff.make.startswith(maker)), None)
    return own or replace(TIFF, mime_type="image/x-raw", extension="raw", unsent_name=RAW_PHOTO)


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
