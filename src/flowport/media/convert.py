"""Convert pictures to what a provider accepts: checked before a run is accepted, converted when they are sent.

A picture is refused, in a sentence, when it is damaged or cut off, has too many pixels, or would need more than
`MAX_CONVERSION_MEMORY_BYTES` to decode, which is estimated from its header. A converted picture is upright, in RGB or grey,
without the metadata of a camera; a PNG when it is transparent or its source was lossless, else a JPEG. Blocks, and takes
processor time: the caller converts one picture at a time.
"""

# ruff: noqa: PLC0415 - Pillow is loaded when the first picture is read, for a quick start

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Final
from urllib.parse import urlsplit

from flowport.domain.call_errors import build_refusal
from flowport.domain.errors import ArgumentsInvalid
from flowport.domain.text import format_size
from flowport.media.containers import count_file_bytes
from flowport.media.decode import (
    MAX_CONVERSION_MEMORY_BYTES,
    MAX_JPEG_PIXELS,
    MAX_PIXELS,
    MAX_PROFILE_BYTES,
    estimate_memory,
    flatten_grey,
    get_max_pixels,
    get_orientation,
    has_end_mark,
    is_deep_grey,
    load_pillow,
    open_picture,
    request_reduction,
    view_jpeg,
)
from flowport.media.formats import FileFormat
from flowport.media.tiff import find_main_page, read_tiff

if TYPE_CHECKING:
    from PIL import Image

_LARGE_BYTES: Final = 100 * 1024**2
_LARGE_TURN: Final = threading.Lock()
_ENDINGS: Final = frozenset({".tif", ".tiff", ".bmp", ".avif", ".heic", ".heif"})
_LOSSLESS: Final = frozenset({"PNG", "GIF", "BMP", "TIFF"})
_MODES: Final = frozenset({"1", "L", "P", "PA", "LA", "La", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB"})
_SEE_THROUGH: Final = frozenset({"LA", "PA", "RGBA"})
_PIXEL_BYTES: Final = 8
"""A decoded picture and a copy of it."""
_WHOLE_FILE_PIXEL_BYTES: Final = {"WEBP": 16, "AVIF": 12, "HEIF": 9}
"""As measured: of decoders that keep several frames, or the parts of which a picture is made."""
_REDUCTIONS: Final = (1, 2, 4, 8)
_QUALITY: Final = 92
_MOST_SCALINGS: Final = 6
_MEGA: Final = 1_000_000
_SAFETY: Final = 0.95

_MEMORY_REASON: Final = "more would take too much memory here"
_OTHER_FORMAT: Final = "Give it as a PNG or JPEG file."


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the receiving side accepts."""

    types: frozenset[str]
    """MIME types."""
    max_bytes: int


TAKES_NOTHING: Final = Wanted(frozenset(), 0)


@dataclass(frozen=True, slots=True)
class Converted:
    """A picture in another form."""

    mime_type: str
    data: bytes = field(repr=False)
    note: str
    """What changed, as the end of a sentence; empty when the change is invisible."""


def is_odd_picture_url(url: str) -> bool:
    """Check whether a URL ends like a picture in a format that providers do not accept."""
    return PurePosixPath(urlsplit(url).path).suffix.lower() in _ENDINGS


def check_picture(file: BinaryIO, sniffed: FileFormat, *, argument: str, wanted: Wanted = TAKES_NOTHING) -> None:
    """Refuse a picture that is damaged, cut off, too large to work on, or of a format that cannot be converted.

    Of a picture that is sent as it is and is too large to be decoded here, only the header and the end are checked. The
    file is at its beginning afterwards.

    Raises:
        ArgumentsInvalid: With what is wrong.
    """
    size_bytes = count_file_bytes(file)
    if sniffed.extension == "png":
        # Its checksums show whether it is whole.
        with _open(file, sniffed, argument) as image:
            image.verify()
    with _open(file, sniffed, argument) as image:
        stays = _is_taken(image, sniffed, size_bytes, wanted)
        if image.format == "PNG":
            if not stays:
                _check_depth(image, argument)
                _check_memory(image, argument, 1)
            return
        request_reduction(image, _REDUCTIONS[-1])
        if stays and _estimate(image, _REDUCTIONS[-1]) > MAX_CONVERSION_MEMORY_BYTES:
            if image.format == "JPEG" and not has_end_mark(file):
                raise EOFError("no end mark")
            return
        _check_depth(image, argument)
        _check_memory(image, argument, _REDUCTIONS[-1])
        with _take_turn(image, _REDUCTIONS[-1]):
            image.load()


def convert_picture(file: BinaryIO, sniffed: FileFormat, wanted: Wanted, *, argument: str) -> Converted | None:
    """Return the picture as it is wanted; None when the file itself will do.

    Raises:
        ArgumentsInvalid: It cannot be made into that.
    """
    size_bytes = count_file_bytes(file)
    with _open(file, sniffed, argument) as image:
        if _is_taken(image, sniffed, size_bytes, wanted):
            # A JPEG may lack its end mark alone.
            view = view_jpeg(file) if image.format == "JPEG" else file
            return None if view is file else Converted(sniffed.mime_type, view.read(), "")
        _check_depth(image, argument)
        width, height, has_more = image.width, image.height, _has_more_pictures(image, file)
        reduction, is_lossless = _reduce(image, argument), image.format in _LOSSLESS
        with _take_turn(image, 1):
            picture = _straighten(image)
            mime_type, data, size = _encode(picture, wanted, is_lossless=is_lossless, argument=argument)
    after = mime_type.removeprefix("image/").upper()
    notes = [] if sniffed.name == after else [f"was converted from {sniffed.name} to {after}"]
    if has_more:
        notes.append("only its first picture was sent")
    if size not in {(width, height), (height, width)}:
        was_scaled = min(size) < min(width, height) // reduction
        why = f"at most {format_size(wanted.max_bytes)}" if was_scaled else _MEMORY_REASON
        notes.append(f"was made smaller, from {width} x {height} to {size[0]} x {size[1]} pixels ({why})")
    return Converted(mime_type, data, " and ".join(notes))


def _is_taken(image: "Image.Image", sniffed: FileFormat, size_bytes: int, wanted: Wanted) -> bool:
    """Check whether the file is sent as it is: accepted type and size, upright, in RGB or grey."""
    is_wanted = sniffed.mime_type in wanted.types and size_bytes <= wanted.max_bytes
    # Not every reader turns a picture, or shows CMYK the same way.
    return is_wanted and image.mode != "CMYK" and get_orientation(image) == 1


@contextmanager
def _open(file: BinaryIO, sniffed: FileFormat, argument: str) -> "Iterator[Image.Image]":
    """Give the picture with its header read; whatever its decoder raises becomes a refusal."""
    pillow, decoder = load_pillow(), sniffed.decoder
    if not decoder:
        raise build_refusal(argument, f"is a picture of a format that is not sent ({sniffed.mime_type})", _OTHER_FORMAT)
    if decoder == "HEIF":
        _load_heif(argument)
    try:
        page = _find_page(file, argument) if decoder == "TIFF" else 0
        with open_picture(file, (decoder,)) as image:
            if page:
                image.seek(page)
            _check_pixels(image, argument)
            yield image
    except ArgumentsInvalid:
        raise
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning) as exc:
        raise _build_too_many_pixels(MAX_PIXELS, argument) from exc
    except Exception as exc:  # decoders raise what they like on a hostile file
        problem = f"is a picture that is damaged, cut off or of a rare kind ({sniffed.mime_type})"
        raise build_refusal(argument, problem, "Give it whole, as a PNG or JPEG file.") from exc
    finally:
        file.seek(0)


def _find_page(file: BinaryIO, argument: str) -> int:
    """Return which page of a TIFF is its picture; whatever is wrong with the file is left to the decoder.

    Raises:
        ArgumentsInvalid: Only a smaller copy of the picture can be read.
    """
    tiff = read_tiff(file)
    file.seek(0)
    if tiff is None or not any(page.area for page in tiff.pages):
        return 0
    page = find_main_page(tiff)
    if page is None or page.index is None:
        problem = "is a TIFF of which only a smaller copy of its picture can be read"
        raise build_refusal(argument, problem, "Export the picture as JPEG or PNG.")
    return page.index


def _load_heif(argument: str) -> None:
    try:
        import pillow_heif
    except ImportError as exc:
        remedy = 'Install Flowport with its reader, in the folder of its source: pip install ".[heic]". Or give the picture as a PNG or JPEG file.'
        raise build_refusal(argument, "is a HEIC picture, which this Flowport cannot read", remedy) from exc
    pillow_heif.register_heif_opener()


def _check_pixels(image: "Image.Image", argument: str) -> None:
    if image.width * image.height > get_max_pixels(image):
        raise _build_too_many_pixels(get_max_pixels(image), argument)


def _build_too_many_pixels(most: int, argument: str) -> ArgumentsInvalid:
    problem = f"is a picture of more than {most // _MEGA} million pixels"
    remedy = f"Give it with at most {most // _MEGA} million pixels"
    larger = f", or as a JPEG with at most {MAX_JPEG_PIXELS // _MEGA} million" if most < MAX_JPEG_PIXELS else ""
    return build_refusal(argument, problem, f"{remedy}{larger}.")


def _check_memory(image: "Image.Image", argument: str, reduction: int) -> None:
    needed = _estimate(image, reduction)
    if needed > MAX_CONVERSION_MEMORY_BYTES:
        pixels = image.width * image.height
        most = pixels * MAX_CONVERSION_MEMORY_BYTES // needed / _MEGA
        problem = f"is a picture of {pixels / _MEGA:.0f} million pixels, which takes too much memory to work on"
        raise build_refusal(argument, problem, f"Give it with at most {most:.0f} million pixels, or as a plain JPEG.")


def _check_depth(image: "Image.Image", argument: str) -> None:
    """Refuse more than eight bits a colour without a known black and white."""
    if image.mode not in _MODES and not is_deep_grey(image):
        problem = f"is a picture with more than eight bits a colour, of a kind that cannot be converted ({image.mode})"
        raise build_refusal(argument, problem, "Save it with 8 bits a channel, as PNG or JPEG.")


def _estimate(image: "Image.Image", reduction: int) -> int:
    return estimate_memory(image, reduction, _PIXEL_BYTES, _WHOLE_FILE_PIXEL_BYTES)


@contextmanager
def _take_turn(image: "Image.Image", reduction: int) -> Iterator[None]:
    """Wait until no other large picture is decoded: the memory limit is that of the process."""
    with _LARGE_TURN if _estimate(image, reduction) > _LARGE_BYTES else nullcontext():
        yield


def _reduce(image: "Image.Image", argument: str) -> int:
    """Have a JPEG decoded smaller when it would not fit into memory, and return by how much; refuse any other."""
    steps = _REDUCTIONS if image.format == "JPEG" else (1,)
    reduction = next((step for step in steps if _estimate(image, step) <= MAX_CONVERSION_MEMORY_BYTES), steps[-1])
    _check_memory(image, argument, reduction)
    if reduction > 1:
        request_reduction(image, reduction)
    return reduction


def _straighten(image: "Image.Image") -> "Image.Image":
    """Return the picture upright, in L, RGB or RGBA."""
    from PIL import ImageOps

    image.load()
    # In place, since a copy is as large as the picture.
    ImageOps.exif_transpose(image, in_place=True)
    upright = flatten_grey(image) if is_deep_grey(image) else image
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
    # The colour profile is part of the picture; other metadata is not.
    profile = picture.info.get("icc_profile")
    if profile and len(profile) > MAX_PROFILE_BYTES:
        profile = None  # readers with the usual limits would refuse the whole picture
    options = {"quality": _QUALITY} if kind == "JPEG" else {}
    picture.save(buffer, kind, icc_profile=profile, **options)
    return buffer.getvalue()


def _has_more_pictures(image: "Image.Image", file: BinaryIO) -> bool:
    """Check whether there are other pictures beside the one that goes, and not just copies of it."""
    if image.format != "TIFF":
        return bool(getattr(image, "is_animated", False))
    place = file.tell()
    tiff = read_tiff(file)
    file.seek(place)
    pages = tiff.pages if tiff is not None else ()
    own = [page for page in pages if page.index is not None and not page.is_reduced and not page.is_mask]
    return len(own) > 1 and image.tell() == own[0].index
