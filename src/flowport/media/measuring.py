"""The extent of a saved file, by its own header and within a small memory. Nothing here raises because of what is in it.

A moving picture is never decoded. What a format does not tell in its header stays unknown.
"""

from collections.abc import Callable, Mapping
from typing import BinaryIO, Final

from flowport.media.boxes import measure_movie
from flowport.media.decoding import open_picture
from flowport.media.matroska import measure_matroska
from flowport.media.measures import NO_MEASURES, Measures, build_measures, count_file_bytes
from flowport.media.previews import PICTURE_FORMATS
from flowport.media.sniffing import Sniffed
from flowport.media.sounds import measure_flac, measure_mp3, measure_ogg, measure_wav
from flowport.model import OutputKind

MAX_WHOLE_BYTES: Final = 32 * 1024**2
"""Of a picture of the formats that the library reads whole for its header."""

_READ_WHOLE: Final = frozenset({"webp", "avif"})


def measure(file: BinaryIO, sniffed: Sniffed | None) -> Measures:
    """Return how large the picture or how long the sound in a file is.

    Raises:
        OSError: The file cannot be read.
    """
    if sniffed is None or not sniffed.is_media:
        return NO_MEASURES
    if sniffed.kind is OutputKind.IMAGE:
        is_costly = sniffed.extension in _READ_WHOLE and count_file_bytes(file) > MAX_WHOLE_BYTES
        return NO_MEASURES if is_costly else _measure_picture(file)
    look = _LOOKS.get(sniffed.extension)
    return look(file) if look is not None else NO_MEASURES


def _measure_picture(file: BinaryIO) -> Measures:
    file.seek(0)
    try:
        with open_picture(file, PICTURE_FORMATS) as image:
            return build_measures(size=image.size)
    except Exception:  # noqa: BLE001 - decoders raise what they like on a hostile file, and it is kept as it is
        return NO_MEASURES


_LOOKS: Final[Mapping[str, Callable[[BinaryIO], Measures]]] = {
    **dict.fromkeys(("mp4", "mov", "m4v", "3gp", "m4a"), measure_movie),
    **dict.fromkeys(("webm", "mkv"), measure_matroska),
    "wav": measure_wav,
    "flac": measure_flac,
    "ogg": measure_ogg,
    "mp3": measure_mp3,
}
"""By extension. An AVI, an Ogg video and bare AAC are saved without being measured."""
