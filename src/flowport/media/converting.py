"""Pictures made into what a provider takes: checked before a run is accepted, converted when they are sent.

The file may be anything. It is refused, in a sentence, when it is damaged or cut off, has more pixels than any camera
takes, or would need more than `MAX_WORKING_BYTES` to decode, which is reckoned from its header. Whatever is converted
is upright, in RGB or grey, without the notes of a camera; a PNG when something can be seen through it or nothing was
lost before, else a JPEG. Blocks, and takes processor time: one picture at a time is the caller's part.
"""

# ruff: noqa: PLC0415 - Pillow is loaded when the first picture is looked at, for a quick start

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Final
from urllib.parse import urlsplit

from flowport.errors import ArgumentsInvalid
from flowport.media.previews import has_one_scan, load_pillow
from flowport.media.refusals import build_refusal, format_size
from flowport.media.sniffing import Sniffed

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS: Final = 80_000_000
"""Pillow warns of bombs a little above it."""

MAX_WORKING_BYTES: Final = 400 * 1024**2
"""What decoding and converting one picture may take."""

_FORMATS: Final = {
    "png": "PNG",
    "jpg": "JPEG",
    "webp": "WEBP",
    "gif": "GIF",
    "bmp": "BMP",
    "tif": "TIFF",
    "avif": "AVIF",
    "heic": "HEIF",
}
"""The decoder of each format that is converted, by the extension that its bytes call for."""

_ENDINGS: Final = frozenset({".tif", ".tiff", ".bmp", ".avif", ".heic", ".heif"})
_TITLES: Final = {"jpg": "JPEG", "tif": "TIFF", "webp": "WebP"}
_LOSSLESS: Final = frozenset({"PNG", "GIF", "BMP", "TIFF"})
_MODES: Final = frozenset({"1", "L", "P", "PA", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"})
_SEE_THROUGH: Final = frozenset({"LA", "PA", "RGBA"})
_PIXEL_BYTES: Final = 8
"""A decoded picture and a copy of it."""
_WHOLE_FILE_PIXEL_BYTES: Final = {"WEBP": 16, "AVIF": 20, "HEIF": 16}
_REDUCTIONS: Final = (1, 2, 4, 8)
_ORIENTATION: Final = 0x0112
_QUALITY: Final = 92
_MOST_SCALINGS: Final = 6
_SAFETY: Final = 0.95

_OTHER_FORMAT: Final = "Give it as a PNG or JPEG file."


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the receiving side takes."""

    types: frozenset[str]
    """MIME types."""
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Converted:
    """A picture in another form."""

    mime_type: str
    data: bytes = field(repr=False)
    note: str
    """What a person should know of it, as the end of a sentence; empty when nothing can be seen of it."""


def is_odd_picture_url(url: str) -> bool:
    """Tell whether a URL's ending promises a picture of a format that providers do not take."""
    return PurePosixPath(urlsplit(url).path).suffix.lower() in _ENDINGS


def check_picture(file: BinaryIO, sniffed: Sniffed, *, argument: str) -> None:
    """Refuse a picture that is damaged, cut off, too large to work on, or of a format that cannot be converted.

    The file is at its beginning afterwards.

    Raises:
        ArgumentsInvalid: With what is wrong.
    """
    with _open(file, sniffed, argument) as image:
        if image.format == "PNG":
            image.verify()
        else:
            image.draft(None, (image.width // 8, image.height // 8))
            _check_memory(image, argument, _REDUCTIONS[-1])
            image.load()


def convert_picture(file: BinaryIO, sniffed: Sniffed, wanted: Wanted, *, argument: str) -> Converted | None:
    """Return the picture as it is wanted; None when the file itself will do.

    Raises:
        ArgumentsInvalid: It cannot be made into that.
    """
    size_bytes = file.seek(0, io.SEEK_END)
    file.seek(0)
    with _open(file, sniffed, argument) as image:
        if sniffed.mime_type in wanted.types and size_bytes <= wanted.max_bytes and _is_plain(image):
            return None
        if image.mode not in _MODES:
            raise build_refusal(argument, "is a picture with more than eight bits a colour", _OTHER_FORMAT)
        width, height, is_moving = image.width, image.height, bool(getattr(image, "is_animated", False))
        _reduce(image, argument)
        picture = _straighten(image)
        mime_type, data, size = _encode(picture, wanted, is_lossless=image.format in _LOSSLESS, argument=argument)
    notes = _describe_changes(sniffed, mime_type, is_moving=is_moving)
    if size not in {(width, height), (height, width)}:
        limit = format_size(wanted.max_bytes)
        notes.append(f"was made smaller, from {width} x {height} to {size[0]} x {size[1]} pixels (at most {limit})")
    return Converted(mime_type, data, " and ".join(notes))


@contextmanager
def _open(file: BinaryIO, sniffed: Sniffed, argument: str) -> "Iterator[Image.Image]":
    """Give the picture with its header read; whatever its decoder raises becomes a refusal."""
    pillow, decoder = load_pillow(), _get_decoder(sniffed, argument)
    try:
        with pillow.open(file, formats=(decoder,)) as image:
            _check_pixels(image, argument)
            yield image
    except ArgumentsInvalid:
        raise
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning) as exc:
        raise _build_too_many_pixels(argument) from exc
    except Exception as exc:  # decoders raise what they like on a hostile file
        problem = f"is a picture that is damaged, cut off or of a rare kind ({sniffed.mime_type})"
        raise build_refusal(argument, problem, "Give it whole, as a PNG or JPEG file.") from exc
    finally:
        file.seek(0)


def _get_decoder(sniffed: Sniffed, argument: str) -> str:
    decoder = _FORMATS.get(sniffed.extension)
    if decoder is None:
        raise build_refusal(argument, f"is a picture of a format that is not sent ({sniffed.mime_type})", _OTHER_FORMAT)
    if decoder == "HEIF":
        _load_heif(argument)
    return decoder


def _load_heif(argument: str) -> None:
    try:
        import pillow_heif
    except ImportError as exc:
        remedy = 'Install Flowport with its reader, in the folder of its source: pip install ".[heic]". Or give the picture as a PNG or JPEG file.'
        raise build_refusal(argument, "is a HEIC picture, which this Flowport cannot read", remedy) from exc
    pillow_heif.register_heif_opener()


def _check_pixels(image: "Image.Image", argument: str) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise _build_too_many_pixels(argument)


def _build_too_many_pixels(argument: str) -> ArgumentsInvalid:
    problem = f"is a picture of more than {MAX_PIXELS // 1_000_000} million pixels"
    return build_refusal(argument, problem, "Give it smaller.")


def _check_memory(image: "Image.Image", argument: str, reduction: int) -> None:
    if _reckon_bytes(image, reduction) > MAX_WORKING_BYTES:
        raise build_refusal(argument, "is a picture that takes too much memory to work on", "Give it smaller.")


def _reckon_bytes(image: "Image.Image", reduction: int) -> int:
    """Return what decoding and converting take at the worst moment, a JPEG's decoder reducing by so much as it reads."""
    pixels = image.width * image.height
    if image.format not in {"JPEG", "MPO"}:
        return pixels * _WHOLE_FILE_PIXEL_BYTES.get(image.format or "", _PIXEL_BYTES)
    # Of a JPEG whose components come apart the decoder first keeps everything.
    kept = 0 if has_one_scan(image) else pixels * 2 * len(image.getbands())
    return kept + pixels // reduction**2 * _PIXEL_BYTES


def _reduce(image: "Image.Image", argument: str) -> None:
    """Have a JPEG decoded smaller when it would not fit into memory; refuse any other."""
    steps = _REDUCTIONS if image.format in {"JPEG", "MPO"} else (1,)
    reduction = next((step for step in steps if _reckon_bytes(image, step) <= MAX_WORKING_BYTES), steps[-1])
    _check_memory(image, argument, reduction)
    if reduction > 1:
        image.draft(None, (image.width // reduction, image.height // reduction))


def _is_plain(image: "Image.Image") -> bool:
    """Tell whether every reader sees the file alike: upright, in light's colours and not in ink's."""
    return image.mode != "CMYK" and not _is_turned(image)


def _is_turned(image: "Image.Image") -> bool:
    # Asked for without a note in the header, a PNG would decode itself to look for one behind the pixels.
    has_notes = not {"exif", "xmp"}.isdisjoint(image.info)
    return has_notes and image.getexif().get(_ORIENTATION, 1) != 1


def _straighten(image: "Image.Image") -> "Image.Image":
    """Return the picture upright, in L, RGB or RGBA."""
    from PIL import ImageOps

    image.load()
    upright = ImageOps.exif_transpose(image)
    if upright.mode in _SEE_THROUGH or "transparency" in upright.info:
        return upright.convert("RGBA")
    if upright.mode == "CMYK":
        return _convert_ink(upright)
    return upright if upright.mode in {"L", "RGB"} else upright.convert("L" if upright.mode == "1" else "RGB")


def _convert_ink(image: "Image.Image") -> "Image.Image":
    """Return a picture in CMYK as RGB, by its own profile where it has a good one."""
    from PIL import ImageCms

    profile = image.info.get("icc_profile")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            turned = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            turned = None  # a broken profile; the plain formula is near enough
        if turned is not None:
            turned.info.pop("icc_profile", None)
            return turned
    plain = image.convert("RGB")
    plain.info.pop("icc_profile", None)
    return plain


def _encode(
    picture: "Image.Image",
    wanted: Wanted,
    *,
    is_lossless: bool,
    argument: str,
) -> tuple[str, bytes, tuple[int, int]]:
    """Return type, bytes and size of the picture as a file that is small enough, made smaller as often as it takes."""
    kinds = ("PNG",) if picture.mode == "RGBA" else ("PNG", "JPEG") if is_lossless else ("JPEG",)
    for _ in range(_MOST_SCALINGS):
        for kind in kinds:
            data = _write(picture, kind)
            if len(data) <= wanted.max_bytes:
                return f"image/{kind.lower()}", data, picture.size
        factor = (wanted.max_bytes / len(data)) ** 0.5 * _SAFETY
        picture = picture.resize([max(1, int(side * factor)) for side in picture.size])
    raise build_refusal(argument, "is a picture that cannot be made small enough", "Give a smaller file.")


def _write(picture: "Image.Image", kind: str) -> bytes:
    buffer = io.BytesIO()
    # The colours' profile is part of the picture; everything else that a camera notes is not.
    profile = picture.info.get("icc_profile")
    options = {"quality": _QUALITY} if kind == "JPEG" else {}
    picture.save(buffer, kind, icc_profile=profile, **options)
    return buffer.getvalue()


def _describe_changes(sniffed: Sniffed, mime_type: str, *, is_moving: bool) -> list[str]:
    before, after = (_TITLES.get(name, name.upper()) for name in (sniffed.extension, mime_type.partition("/")[2]))
    notes = [] if before == after else [f"was converted from {before} to {after}"]
    return [*notes, "only its first picture was sent"] if is_moving else notes
