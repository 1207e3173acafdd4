"""What a file is, by its first bytes and never by its name.

Pure. Pictures, video and sound are told apart so that an app gets what it asks for; a few other types are known so
that saved outputs get a fitting name. What is not recognised is None, and nothing here raises.
"""

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from flowport.domain.models import OutputKind
from flowport.media.signatures import (
    AAC,
    AVIF,
    BIG_ENDIAN_WAVE,
    BMP,
    BRANDS,
    CURSOR,
    DICOM,
    ENHANCED_METAFILE,
    FORM_TYPES,
    HEIC,
    ICON,
    MAGICS,
    MATROSKA,
    MOV,
    MP2,
    MP3,
    OGG,
    OGG_VIDEO,
    PORTABLE_PICTURE,
    POSTSCRIPT,
    RED_VIDEO,
    RIFF_FORMS,
    STILL_BRANDS,
    TRANSPORT,
    WEAK_MAGICS,
    WEBM,
    ZIP,
    ZIP_TYPES,
    Sniffed,
)

__all__ = ["MAX_HEAD_BYTES", "Mp3Frame", "Sniffed", "find_mp3_frame", "sniff"]

MAX_HEAD_BYTES: Final = 4096
"""How much of a file is looked at; giving more changes nothing."""


def sniff(head: bytes) -> Sniffed | None:
    """Return what a file that begins with these bytes is, or None when it is nothing that we know.

    A video container may hold sound alone; that cannot be seen from the beginning, so it counts as a video. The whole
    file tells, see `identifying`.
    """
    head = head[:MAX_HEAD_BYTES]
    for magic, sniffed in MAGICS:
        if head.startswith(magic):
            return sniffed if sniffed != ZIP else _look_into_zip(head)
    for look in _LOOKS:
        if (found := look(head)) is not None:
            return found
    weak = next((sniffed for magic, sniffed in WEAK_MAGICS if head.startswith(magic)), None)
    return weak or _look_for_older_text(head)


def _look_into_zip(head: bytes) -> Sniffed:
    told = head[38:] if head[30:38] == b"mimetype" else b""
    return next((sniffed for word, sniffed in ZIP_TYPES.items() if told.startswith(word)), ZIP)


_BMP_HEADER_BYTES: Final = frozenset({12, 40, 52, 56, 64, 108, 124})


def _look_for_riff(head: bytes) -> Sniffed | None:
    if head[:4] == b"RIFX" and head[8:12] == b"WAVE":
        return BIG_ENDIAN_WAVE
    if head[:4] == b"FORM":
        return FORM_TYPES.get(head[8:12])
    return RIFF_FORMS.get(head[8:12]) if head[:4] in {b"RIFF", b"RF64", b"BW64"} else None


def _look_for_brand(head: bytes) -> Sniffed | None:
    if head[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(head[:4], "big"), len(head))
    major, others = head[8:12], [head[start : start + 4] for start in range(16, end - 3, 4)]
    known = [BRANDS[brand] for brand in (major, *others) if brand in BRANDS]
    if major in STILL_BRANDS:
        return AVIF if AVIF in known else HEIC
    return known[0] if known else None


def _look_for_old_quicktime(head: bytes) -> Sniffed | None:
    # Before brands were invented a movie began with its first box.
    return MOV if head[:1] == b"\0" and head[4:8] in {b"moov", b"mdat", b"wide"} else None


def _look_for_red(head: bytes) -> Sniffed | None:
    return RED_VIDEO if head[4:8] in {b"RED1", b"RED2"} else None


def _look_for_matroska(head: bytes) -> Sniffed | None:
    if not head.startswith(b"\x1aE\xdf\xa3"):
        return None
    doctype = re.search(rb"\x42\x82.(webm|matroska)", head[:128], re.DOTALL)
    if doctype is None:
        return None
    return WEBM if doctype[1] == b"webm" else MATROSKA


_OGG_PICTURES: Final = re.compile(
    rb"OggS\0[\x02\x03\x06\x07].{20,24}(?:\x80theora|BBCD\0|\x01video|OVP80|\x80daala)", re.DOTALL
)


def _look_for_ogg(head: bytes) -> Sniffed | None:
    if not head.startswith(b"OggS\0"):
        return None
    # All streams begin before any goes on (RFC 3533), each with a page that bears the word of its codec.
    return OGG_VIDEO if _OGG_PICTURES.search(head) else OGG


def _look_for_bmp(head: bytes) -> Sniffed | None:
    # "BM" alone begins many words; the reserved fields and the length of the second header do not.
    is_bmp = head[:2] == b"BM" and head[6:10] == bytes(4) and int.from_bytes(head[14:18], "little") in _BMP_HEADER_BYTES
    return BMP if is_bmp else None


def _look_for_icon(head: bytes) -> Sniffed | None:
    # One to 255 pictures, and the reserved byte of the first is zero.
    is_icon = head[4:6] > b"\0\0" and head[5:6] == b"\0" and head[9:10] == b"\0"
    return {b"\0\0\x01\0": ICON, b"\0\0\x02\0": CURSOR}.get(head[:4]) if is_icon else None


_PORTABLE_PICTURE: Final = re.compile(rb"P(?:[1-6]\s+(?:#[^\n]*\n\s*)*\d+\s+\d+\s|7\nWIDTH |[Ff]\n\d+ \d+\n)")


def _look_for_other_pictures(head: bytes) -> Sniffed | None:
    if _PORTABLE_PICTURE.match(head):
        return PORTABLE_PICTURE
    if head[128:132] == b"DICM":
        return DICOM
    return ENHANCED_METAFILE if head[:4] == b"\1\0\0\0" and head[40:44] == b" EMF" else None


def _look_for_transport_stream(head: bytes) -> Sniffed | None:
    # Packets of 188 bytes, in camcorders' files each behind four of time; each begins with the same byte.
    for first, length in ((0, 188), (4, 192), (0, 204)):
        marks = head[first : first + 5 * length : length]
        if len(marks) == 5 and set(marks) == {0x47}:  # noqa: PLR2004 - the sync byte, five times
            return TRANSPORT
    return None


def _look_for_tagged_mp3(head: bytes) -> Sniffed | None:
    # ID3v2: a version, flags, and a length whose four bytes keep their top bit clear.
    is_tag = len(head) >= 10 and head[:3] == b"ID3" and head[3] < 0xFF and max(head[6:10]) < 0x80  # noqa: PLR2004
    return MP3 if is_tag else None


# Layer III bit rates in kbit/s by index, for MPEG 1 and for MPEG 2 and 2.5; 0 marks what cannot be used here.
_MP3_RATES: Final = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
)
_MP3_HERTZ: Final = (44100, 48000, 32000, 0)


_LAYER_2_RATES: Final = (
    (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 0),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
)


@dataclass(frozen=True, slots=True)
class Mp3Frame:
    """What the header of a Layer III frame says."""

    size_bytes: int
    samples: int
    hertz: int


def find_mp3_frame(head: bytes) -> Mp3Frame | None:
    """Return the Layer III frame that begins here, or None when none does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:  # noqa: PLR2004
        return None
    version = (head[1] >> 3) & 3  # 3: MPEG 1, 2: MPEG 2, 0: MPEG 2.5, 1: none
    is_first = version == 3  # noqa: PLR2004
    rate = _MP3_RATES[0 if is_first else 1][head[2] >> 4]
    hertz = _MP3_HERTZ[(head[2] >> 2) & 3] >> {3: 0, 2: 1, 0: 2}.get(version, 16)
    if not rate or not hertz:
        return None
    size_bytes = (144000 if is_first else 72000) * rate // hertz + ((head[2] >> 1) & 1)
    return Mp3Frame(size_bytes, 1152 if is_first else 576, hertz)


def _get_mp3_frame_bytes(frame: bytes) -> int:
    """Return the length of the Layer III frame that begins here, or 0 when none does."""
    found = find_mp3_frame(frame)
    return found.size_bytes if found is not None else 0


def _get_aac_frame_bytes(frame: bytes) -> int:
    """Return the length of the ADTS frame that begins here, or 0 when none does."""
    is_frame = len(frame) >= 7 and frame[0] == 0xFF and frame[1] & 0xF6 == 0xF0 and (frame[2] >> 2) & 15 < 13  # noqa: PLR2004
    return int.from_bytes(frame[3:6], "big") >> 5 & 0x1FFF if is_frame else 0


def _begins_with_frames(head: bytes, get_frame_bytes: Callable[[bytes], int]) -> bool:
    # Eleven set bits are no proof: the next frame must begin where this one ends, or the file end there.
    length = get_frame_bytes(head)
    return length > 0 and (len(head) == length or get_frame_bytes(head[length:]) > 0)


def _get_layer_2_frame_bytes(frame: bytes) -> int:
    """Return the length of the Layer II frame that begins here, or 0 when none does."""
    if len(frame) < 4 or frame[0] != 0xFF or frame[1] & 0xF6 != 0xF4:  # noqa: PLR2004
        return 0
    is_first = bool(frame[1] & 8)
    rate = _LAYER_2_RATES[0 if is_first else 1][frame[2] >> 4]
    hertz = _MP3_HERTZ[(frame[2] >> 2) & 3] >> (0 if is_first else 1)
    return 144000 * rate // hertz + ((frame[2] >> 1) & 1) if rate and hertz else 0


def _look_for_frames(head: bytes) -> Sniffed | None:
    if _begins_with_frames(head, _get_layer_2_frame_bytes):
        return MP2
    if _begins_with_frames(head, _get_mp3_frame_bytes):
        return MP3
    return AAC if _begins_with_frames(head, _get_aac_frame_bytes) else None


_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_HTML: Final = re.compile(r"<!doctype\s+html|<(?:html|head|body|script|iframe)[\s>/]", re.IGNORECASE)
_SVG: Final = re.compile(r"<(?:[a-z0-9_-]{1,20}:)?svg[\s>/]", re.IGNORECASE)
_WIDE_MARKUP: Final = re.compile(rb"(?:([<{\[]\0)|\0[<{\[])(?:\0[\t-~]|[\t-~]\0)")
_FEW_BYTES, _SURE_BYTES = 16, 64
"""So many bytes without a control character are no accident; fewer are not when most of them are plain letters."""
_JSON: Final = re.compile(r"""\{\s*["}]|\[\s*[\[{"\]]""")


def _look_for_text(head: bytes) -> Sniffed | None:
    text = _decode(head)
    # Whatever stands in it, a browser shows what begins so.
    if not text or (_CONTROLS.search(text) and not _HTML.match(text.lstrip("\ufeff \t\r\n\f"))):
        return None
    return _describe_text(text)


def _describe_text(text: str) -> Sniffed:
    text = text.lstrip("\ufeff \t\r\n\f")
    if text.startswith("%!PS"):
        return POSTSCRIPT
    if text.startswith("<"):
        return _look_for_markup(text)
    if _JSON.match(text):
        return Sniffed("application/json", OutputKind.TEXT, "json")
    return Sniffed("text/plain", OutputKind.TEXT, "txt")


def _look_for_older_text(head: bytes) -> Sniffed | None:
    """Return what a text is that is in no Unicode, or in UTF-16 without its mark: pages of errors are still written so."""
    wide = _WIDE_MARKUP.match(head)
    if wide:
        return _describe_text(head.decode("utf-16-le" if wide[1] else "utf-16-be", "replace"))
    text = head.decode("latin-1")
    plain = sum(character.isascii() for character in text)
    is_text = not _CONTROLS.search(text) and (
        len(head) >= _SURE_BYTES or (len(head) >= _FEW_BYTES and plain * 2 > len(head))
    )
    return _describe_text(text) if is_text else None


def _look_for_markup(text: str) -> Sniffed:
    html, svg = _HTML.search(text), _SVG.search(text)
    if svg is not None and (html is None or svg.start() < html.start()):
        return Sniffed("image/svg+xml", OutputKind.FILE, "svg")
    if html is not None:
        return Sniffed("text/html", OutputKind.FILE, "html")
    return Sniffed("text/xml", OutputKind.FILE, "xml")


def _decode(head: bytes) -> str:
    """Return the text of the bytes, or nothing when they are no text. A letter cut in two at the end is left off."""
    has_mark = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    decoder = codecs.getincrementaldecoder("utf-16" if has_mark else "utf-8")()
    try:
        return decoder.decode(head)
    except UnicodeDecodeError:
        return ""


_LOOKS: Final[tuple[Callable[[bytes], Sniffed | None], ...]] = (
    _look_for_riff,
    _look_for_brand,
    _look_for_old_quicktime,
    _look_for_red,
    _look_for_matroska,
    _look_for_ogg,
    _look_for_bmp,
    _look_for_icon,
    _look_for_other_pictures,
    _look_for_transport_stream,
    _look_for_tagged_mp3,
    _look_for_frames,
    _look_for_text,
)
