"""What a file is, by its first bytes and never by its name.

Pure. Pictures, video and sound are told apart so that an app gets what it asks for; a few other types are known so
that saved outputs get a fitting name. What is not recognised is None, and nothing here raises.
"""

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from flowport.model import OutputKind

MAX_HEAD_BYTES: Final = 4096
"""How much of a file is looked at; giving more changes nothing."""


@dataclass(frozen=True, slots=True)
class Sniffed:
    """What a file is."""

    mime_type: str
    kind: OutputKind
    extension: str
    """Without the dot."""

    @property
    def is_media(self) -> bool:
        """Whether it is a picture, a video or sound, which an app may take as input."""
        return self.kind in {OutputKind.IMAGE, OutputKind.VIDEO, OutputKind.AUDIO}


def sniff(head: bytes) -> Sniffed | None:
    """Return what a file that begins with these bytes is, or None when it is nothing that we know.

    A video container may hold sound alone; that cannot be seen from the beginning, so it counts as a video.
    """
    head = head[:MAX_HEAD_BYTES]
    for magic, sniffed in _MAGICS:
        if head.startswith(magic):
            return sniffed
    for look in _LOOKS:
        if (found := look(head)) is not None:
            return found
    return None


def _image(subtype: str, extension: str) -> Sniffed:
    return Sniffed(f"image/{subtype}", OutputKind.IMAGE, extension)


def _video(subtype: str, extension: str) -> Sniffed:
    return Sniffed(f"video/{subtype}", OutputKind.VIDEO, extension)


def _audio(subtype: str, extension: str) -> Sniffed:
    return Sniffed(f"audio/{subtype}", OutputKind.AUDIO, extension)


_MAGICS: Final[tuple[tuple[bytes, Sniffed], ...]] = (
    (b"\x89PNG\r\n\x1a\n", _image("png", "png")),
    (b"\xff\xd8\xff", _image("jpeg", "jpg")),
    (b"GIF87a", _image("gif", "gif")),
    (b"GIF89a", _image("gif", "gif")),
    (b"II*\0", _image("tiff", "tif")),
    (b"MM\0*", _image("tiff", "tif")),
    (b"II+\0", _image("tiff", "tif")),
    (b"MM\0+", _image("tiff", "tif")),
    (b"fLaC", _audio("flac", "flac")),
    (b"%PDF-", Sniffed("application/pdf", OutputKind.FILE, "pdf")),
    (b"glTF\x01\0\0\0", Sniffed("model/gltf-binary", OutputKind.FILE, "glb")),
    (b"glTF\x02\0\0\0", Sniffed("model/gltf-binary", OutputKind.FILE, "glb")),
    (b"PK\x03\x04", Sniffed("application/zip", OutputKind.FILE, "zip")),
    (b"PK\x05\x06", Sniffed("application/zip", OutputKind.FILE, "zip")),
)

_RIFF_FORMS: Final = {
    b"WEBP": _image("webp", "webp"),
    b"WAVE": _audio("wav", "wav"),
    b"AVI ": _video("x-msvideo", "avi"),
}

_AVIF: Final = _image("avif", "avif")
_HEIC: Final = _image("heic", "heic")
_MP4: Final = _video("mp4", "mp4")
_MOV: Final = _video("quicktime", "mov")
_M4V: Final = _video("x-m4v", "m4v")
_3GP: Final = _video("3gpp", "3gp")
_M4A: Final = _audio("mp4", "m4a")

# Brands as registered at mp4ra.org. `mif1` and `msf1` say only "a picture in this container": a later brand decides.
_BRANDS: Final = {
    **dict.fromkeys((b"avif", b"avis"), _AVIF),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), _HEIC),
    **dict.fromkeys((b"M4A ", b"M4B ", b"M4P "), _M4A),
    **dict.fromkeys((b"M4V ", b"M4VH", b"M4VP"), _M4V),
    **dict.fromkeys((b"3gp4", b"3gp5", b"3gp6", b"3gp7", b"3g2a", b"3g2b"), _3GP),
    **dict.fromkeys((b"isom", b"iso2", b"iso3", b"iso4", b"iso5", b"iso6", b"iso7", b"iso8", b"iso9"), _MP4),
    **dict.fromkeys((b"mp41", b"mp42", b"avc1", b"dash", b"MSNV", b"f4v ", b"XAVC"), _MP4),
    b"qt  ": _MOV,
}
_STILL_BRANDS: Final = (b"mif1", b"msf1")
_BMP_HEADER_BYTES: Final = frozenset({12, 40, 52, 56, 64, 108, 124})


def _look_for_riff(head: bytes) -> Sniffed | None:
    return _RIFF_FORMS.get(head[8:12]) if head[:4] in {b"RIFF", b"RF64"} else None


def _look_for_brand(head: bytes) -> Sniffed | None:
    if head[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(head[:4], "big"), len(head))
    major, others = head[8:12], [head[start : start + 4] for start in range(16, end - 3, 4)]
    known = [_BRANDS[brand] for brand in (major, *others) if brand in _BRANDS]
    if major in _STILL_BRANDS:
        return _AVIF if _AVIF in known else _HEIC
    return known[0] if known else None


def _look_for_old_quicktime(head: bytes) -> Sniffed | None:
    # Before brands were invented a movie began with its first box.
    return _MOV if head[:1] == b"\0" and head[4:8] in {b"moov", b"mdat", b"wide"} else None


def _look_for_matroska(head: bytes) -> Sniffed | None:
    if not head.startswith(b"\x1aE\xdf\xa3"):
        return None
    doctype = re.search(rb"\x42\x82.(webm|matroska)", head[:128], re.DOTALL)
    if doctype is None:
        return None
    return _video("webm", "webm") if doctype[1] == b"webm" else _video("x-matroska", "mkv")


def _look_for_ogg(head: bytes) -> Sniffed | None:
    if not head.startswith(b"OggS\0"):
        return None
    return _video("ogg", "ogv") if b"\x80theora" in head else _audio("ogg", "ogg")


def _look_for_bmp(head: bytes) -> Sniffed | None:
    # "BM" alone begins many words; the reserved fields and the length of the second header do not.
    is_bmp = head[:2] == b"BM" and head[6:10] == bytes(4) and int.from_bytes(head[14:18], "little") in _BMP_HEADER_BYTES
    return _image("bmp", "bmp") if is_bmp else None


def _look_for_icon(head: bytes) -> Sniffed | None:
    # One to 255 pictures, and the reserved byte of the first is zero.
    is_icon = head[:4] == b"\0\0\x01\0" and head[4:6] > b"\0\0" and head[5:6] == b"\0" and head[9:10] == b"\0"
    return _image("vnd.microsoft.icon", "ico") if is_icon else None


_MP3: Final = _audio("mpeg", "mp3")


def _look_for_tagged_mp3(head: bytes) -> Sniffed | None:
    # ID3v2: a version, flags, and a length whose four bytes keep their top bit clear.
    is_tag = len(head) >= 10 and head[:3] == b"ID3" and head[3] < 0xFF and max(head[6:10]) < 0x80  # noqa: PLR2004
    return _MP3 if is_tag else None


# Layer III bit rates in kbit/s by index, for MPEG 1 and for MPEG 2 and 2.5; 0 marks what cannot be used here.
_MP3_RATES: Final = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
)
_MP3_HERTZ: Final = (44100, 48000, 32000, 0)


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


def _look_for_frames(head: bytes) -> Sniffed | None:
    if _begins_with_frames(head, _get_mp3_frame_bytes):
        return _MP3
    return _audio("aac", "aac") if _begins_with_frames(head, _get_aac_frame_bytes) else None


_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_HTML: Final = re.compile(r"<!doctype\s+html|<(?:html|head|body|script|iframe)[\s>/]", re.IGNORECASE)
_SVG: Final = re.compile(r"<(?:[a-z0-9_-]{1,20}:)?svg[\s>/]", re.IGNORECASE)
_JSON: Final = re.compile(r"""\{\s*["}]|\[\s*[\[{"\]]""")


def _look_for_text(head: bytes) -> Sniffed | None:
    text = _decode(head)
    if not text or _CONTROLS.search(text):
        return None
    text = text.lstrip("\ufeff \t\r\n\f")
    if text.startswith("<"):
        return _look_for_markup(text)
    if _JSON.match(text):
        return Sniffed("application/json", OutputKind.TEXT, "json")
    return Sniffed("text/plain", OutputKind.TEXT, "txt")


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
    _look_for_matroska,
    _look_for_ogg,
    _look_for_bmp,
    _look_for_icon,
    _look_for_tagged_mp3,
    _look_for_frames,
    _look_for_text,
)
