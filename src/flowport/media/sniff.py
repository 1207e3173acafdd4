"""Recognize a file by its first bytes, never by its name. Pure.

A container may hold sound alone, which its first bytes do not show: it counts as a video here, and `identify` reads its tracks.
"""

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from flowport.media.formats import FORMATS, FileFormat

MAX_HEAD_BYTES: Final = 4096
"""How much of a file is read; more changes nothing."""

_STILL_BRANDS: Final = (b"mif1", b"msf1", b"mif2", b"miaf")
"""They mean only "a picture in this container": a later brand decides."""
_BRANDS: Final = {brand: key for key, one in FORMATS.items() for brand in one.brands}
_MAGICS: Final = tuple((one.magics, key) for key, one in FORMATS.items() if one.magics)
_WEAK_MAGICS: Final = tuple((one.weak_magics, key) for key, one in FORMATS.items() if one.weak_magics)
_PATTERNS: Final = tuple((pattern, key) for key, one in FORMATS.items() for pattern in one.patterns)


def sniff(head: bytes) -> FileFormat | None:
    """Return the format of a file that begins with these bytes, or None for an unknown one."""
    head = head[:MAX_HEAD_BYTES]
    for find in (_find_magic, _find_brand, _find_matroska, _find_ogg, _find_pattern, _find_frames, _find_text):
        if key := find(head):
            return FORMATS[key]
    key = next((key for magics, key in _WEAK_MAGICS if head.startswith(magics)), "") or _find_legacy_text(head)
    return FORMATS.get(key)


def _find_magic(head: bytes) -> str:
    return next((key for magics, key in _MAGICS if head.startswith(magics)), "")


def _find_pattern(head: bytes) -> str:
    # Compiled at first use, and kept by the module `re`.
    return next((key for pattern, key in _PATTERNS if re.match(pattern, head, re.DOTALL)), "")


def _find_brand(head: bytes) -> str:
    if head[4:8] != b"ftyp":
        return ""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    major, others = head[8:12], [head[start : start + 4] for start in range(16, end - 3, 4)]
    known = [_BRANDS[brand] for brand in (major, *others) if brand in _BRANDS]
    if major in _STILL_BRANDS:
        return "avif" if "avif" in known else "heic"
    return known[0] if known else ""


def _find_matroska(head: bytes) -> str:
    doctype = re.match(rb"\x1aE\xdf\xa3.{0,122}?\x42\x82.(webm|matroska)", head, re.DOTALL)
    return {b"webm": "webm", b"matroska": "mkv"}[doctype[1]] if doctype else ""


_OGG_PICTURES: Final = rb"OggS\0[\x02\x03\x06\x07].{20,24}(?:\x80theora|BBCD\0|\x01video|OVP80|\x80daala)"


def _find_ogg(head: bytes) -> str:
    if not head.startswith(b"OggS\0"):
        return ""
    # All streams begin before any continues (RFC 3533), each with a page that names its codec.
    return "ogv" if re.search(_OGG_PICTURES, head, re.DOTALL) else "ogg"


_LAYER_3, _LAYER_2 = 1, 2
_FIRST_VERSION: Final = 3
_VERSION_SHIFTS: Final = {_FIRST_VERSION: 0, 2: 1, 0: 2}
"""By the version field: MPEG 1, 2 and 2.5, each with half the sample rate of the one before."""
_HERTZ: Final = (44100, 48000, 32000, 0)
_LATER_RATES: Final = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0)
_RATES: Final = {
    (_LAYER_3, True): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    (_LAYER_3, False): _LATER_RATES,
    (_LAYER_2, True): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 0),
    (_LAYER_2, False): _LATER_RATES,
}
"""Bit rates in kbit/s by layer and whether it is MPEG 1; 0 marks what cannot be used here."""


@dataclass(frozen=True, slots=True)
class MpegFrame:
    """What the header of an MPEG audio frame says."""

    layer: int
    """As the header writes it: 1 for Layer III, 2 for Layer II."""
    size_bytes: int
    samples: int
    hertz: int


def find_mpeg_frame(head: bytes) -> MpegFrame | None:
    """Return the Layer II or III frame that begins here, or None."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:  # noqa: PLR2004
        return None
    version, layer = (head[1] >> 3) & 3, (head[1] >> 1) & 3
    shift, is_first = _VERSION_SHIFTS.get(version), version == _FIRST_VERSION
    rates = _RATES.get((layer, is_first))
    # MPEG 2.5 (version 0) has Layer III alone.
    if rates is None or shift is None or (layer == _LAYER_2 and not version):
        return None
    rate, hertz = rates[head[2] >> 4], _HERTZ[(head[2] >> 2) & 3] >> shift
    if not rate or not hertz:
        return None
    samples = 1152 if is_first or layer == _LAYER_2 else 576
    return MpegFrame(layer, samples * 125 * rate // hertz + ((head[2] >> 1) & 1), samples, hertz)


def _count_mpeg_frame_bytes(frame: bytes, layer: int) -> int:
    found = find_mpeg_frame(frame)
    return found.size_bytes if found is not None and found.layer == layer else 0


def _count_aac_frame_bytes(frame: bytes) -> int:
    """Return the length of the ADTS frame that begins here, or 0."""
    is_frame = len(frame) >= 7 and frame[0] == 0xFF and frame[1] & 0xF6 == 0xF0 and (frame[2] >> 2) & 15 < 13  # noqa: PLR2004
    return int.from_bytes(frame[3:6], "big") >> 5 & 0x1FFF if is_frame else 0


_FRAME_COUNTERS: Final[tuple[tuple[str, Callable[[bytes], int]], ...]] = (
    ("mp2", lambda frame: _count_mpeg_frame_bytes(frame, _LAYER_2)),
    ("mp3", lambda frame: _count_mpeg_frame_bytes(frame, _LAYER_3)),
    ("aac", _count_aac_frame_bytes),
)


def _find_frames(head: bytes) -> str:
    for key, count in _FRAME_COUNTERS:
        # Eleven set bits prove nothing: the next frame must begin where this one ends, or the file end there.
        length = count(head)
        if length and (len(head) == length or count(head[length:])):
            return key
    return ""


_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_HTML: Final = re.compile(r"<!doctype\s+html|<(?:html|head|body|script|iframe)[\s>/]", re.IGNORECASE)
_SVG: Final = re.compile(r"<(?:[a-z0-9_-]{1,20}:)?svg[\s>/]", re.IGNORECASE)
_WIDE_MARKUP: Final = re.compile(rb"(?:([<{\[]\0)|\0[<{\[])(?:\0[\t-~]|[\t-~]\0)")
_SPACES: Final = "\ufeff \t\r\n\f"
_FEW_BYTES, _SURE_BYTES = 16, 64
"""This many bytes without a control character are text; fewer are, when most of them are ASCII."""
_JSON: Final = re.compile(r"""\{\s*["}]|\[\s*[\[{"\]]""")


def _find_text(head: bytes) -> str:
    """Return the kind of a text in UTF-8 or marked UTF-16."""
    has_mark = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        # A letter that is cut off at the end is dropped.
        text = codecs.getincrementaldecoder("utf-16" if has_mark else "utf-8")().decode(head)
    except UnicodeDecodeError:
        return ""
    # A browser renders what begins as HTML, whatever follows.
    is_text = text and (_HTML.match(text.lstrip(_SPACES)) or not _CONTROLS.search(text))
    return _classify_text(text) if is_text else ""


def _find_legacy_text(head: bytes) -> str:
    """Return the kind of a text in an older encoding, or in UTF-16 without its mark: error pages still use them."""
    if wide := _WIDE_MARKUP.match(head):
        return _classify_text(head.decode("utf-16-le" if wide[1] else "utf-16-be", "replace"))
    text = head.decode("latin-1")
    is_long = len(head) >= _SURE_BYTES or (len(head) >= _FEW_BYTES and sum(map(str.isascii, text)) * 2 > len(head))
    return _classify_text(text) if is_long and not _CONTROLS.search(text) else ""


def _classify_text(text: str) -> str:
    text = text.lstrip(_SPACES)
    if text.startswith("%!PS"):
        return "eps"
    if not text.startswith("<"):
        return "json" if _JSON.match(text) else "txt"
    html, svg = _HTML.search(text), _SVG.search(text)
    if svg is not None and (html is None or svg.start() < html.start()):
        return "svg"
    return "html" if html is not None else "xml"
