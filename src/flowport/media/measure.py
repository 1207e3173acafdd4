"""The extent of a saved file as it is shown, by its own header and within a small memory. Nothing here raises because of what is in it.

A moving picture is never decoded. What a format does not tell in its header stays unknown.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import BinaryIO, Final

from flowport.domain.models import OutputKind
from flowport.media.decode import SIDEWAYS, get_orientation, measure_heif, open_picture
from flowport.media.file_parts import NO_MEASURES, Measures, build_measures, count_file_bytes, read_at
from flowport.media.headers import MEASURED, measure_header
from flowport.media.matroska import measure_matroska
from flowport.media.previews import PICTURE_FORMATS
from flowport.media.signatures import Sniffed
from flowport.media.sounds import measure_flac, measure_mp3, measure_ogg, measure_wav, view_untagged
from flowport.media.tiff import find_main_page, read_tiff
from flowport.media.tracks import Movie, measure_movie

MAX_WHOLE_BYTES: Final = 32 * 1024**2
"""Of a picture of the formats that the library reads whole for its header."""

_READ_WHOLE: Final = frozenset({"webp"})
_MAX_ICONS: Final = 64


def measure(file: BinaryIO, sniffed: Sniffed | None) -> Measures:
    """Return how large the picture or how long the sound in a file is.

    Raises:
        OSError: The file cannot be read.
    """
    if sniffed is None or not sniffed.is_media:
        return NO_MEASURES
    look = _LOOKS.get(sniffed.extension)
    if look is not None:
        return look(file if sniffed.kind is OutputKind.IMAGE else view_untagged(file))
    return _measure_picture(file, sniffed) if sniffed.kind is OutputKind.IMAGE else NO_MEASURES


def _measure_picture(file: BinaryIO, sniffed: Sniffed) -> Measures:
    is_costly = sniffed.extension in _READ_WHOLE and count_file_bytes(file) > MAX_WHOLE_BYTES
    if is_costly:
        return NO_MEASURES
    file.seek(0)
    try:
        with open_picture(file, PICTURE_FORMATS, is_decoded=False) as image:
            return _build_upright(image.size, get_orientation(image))
    except Exception:  # noqa: BLE001 - decoders raise what they like on a hostile file, and it is kept as it is
        return NO_MEASURES


def _build_upright(size: tuple[int, int], orientation: int) -> Measures:
    return build_measures(size=size[::-1] if orientation in SIDEWAYS else size)


def _measure_tiff(file: BinaryIO) -> Measures:
    """Return the extent of the picture in a TIFF; of a raw photo, that of its largest one."""
    tiff = read_tiff(file)
    if tiff is None or not tiff.pages:
        return NO_MEASURES
    page = find_main_page(tiff) or max(tiff.pages, key=lambda page: page.area)
    return _build_upright(
        (page.width, page.height), page.orientation if page.orientation > 1 else tiff.pages[0].orientation
    )


def _measure_icon(file: BinaryIO) -> Measures:
    """Return the largest of the pictures of an icon; a side of 256 is written as 0."""
    head = read_at(file, 0, 6 + 16 * _MAX_ICONS)
    count = min(_parse(head[4:6]), (len(head) - 6) // 16)
    sizes = [(head[6 + 16 * n] or 256, head[7 + 16 * n] or 256) for n in range(count)]
    return build_measures(size=max(sizes, key=lambda size: size[0] * size[1], default=(0, 0)))


def _measure_photoshop(file: BinaryIO) -> Measures:
    head = read_at(file, 14, 8)
    return build_measures(size=(int.from_bytes(head[4:], "big"), int.from_bytes(head[:4], "big")))


def _measure_qoi(file: BinaryIO) -> Measures:
    head = read_at(file, 4, 8)
    return build_measures(size=(int.from_bytes(head[:4], "big"), int.from_bytes(head[4:], "big")))


def _measure_jpeg_2000(file: BinaryIO) -> Measures:
    movie = Movie(file)
    head = next((movie.read(box, 8) for box in movie.find_all(movie.whole, b"jp2h", b"ihdr")), b"")
    return build_measures(size=(int.from_bytes(head[4:], "big"), int.from_bytes(head[:4], "big")))


def _parse(data: bytes) -> int:
    return int.from_bytes(data, "little")


_TIFFS: Final = (
    "tif",
    "dng",
    "nef",
    "cr2",
    "arw",
    "pef",
    "srw",
    "3fr",
    "erf",
    "dcr",
    "iiq",
    "mos",
    "mef",
    "rwl",
    "raw",
)
_LOOKS: Final[Mapping[str, Callable[[BinaryIO], Measures]]] = {
    **dict.fromkeys(("mp4", "mov", "m4v", "3gp", "m4a"), measure_movie),
    **dict.fromkeys(("webm", "mkv", "weba", "mka"), measure_matroska),
    **dict.fromkeys(("heic", "avif"), measure_heif),
    **dict.fromkeys(_TIFFS, _measure_tiff),
    **{extension: partial(measure_header, extension=extension) for extension in MEASURED},
    **dict.fromkeys(("ico", "cur"), _measure_icon),
    "psd": _measure_photoshop,
    "qoi": _measure_qoi,
    "jp2": _measure_jpeg_2000,
    "wav": measure_wav,
    "flac": measure_flac,
    "ogg": measure_ogg,
    "mp3": measure_mp3,
}
"""By extension. An AVI, an Ogg video and bare AAC are saved without being measured."""
