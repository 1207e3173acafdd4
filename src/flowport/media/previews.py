"""Small copies of saved pictures, for a person to see in a chat.

The files are untrusted. Nothing here raises because of what is in them, and decoding takes at most
`MAX_PREVIEW_MEMORY_BYTES`, estimated from the header before a pixel is read. Formats that carry programs (SVG, HTML) are
not read at all. Blocks, and takes processor time.
"""

# ruff: noqa: PLC0415 - Pillow is loaded when the first preview is made, for a quick start

import io
import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import anyio
import anyio.to_thread

from flowport.domain.models import Output, OutputKind, Run
from flowport.media.containers import count_file_bytes, read_at, skip, walk_boxes
from flowport.media.decode import (
    MAX_PREVIEW_MEMORY_BYTES,
    SHOWN_DECODERS,
    estimate_memory,
    flatten_grey,
    get_max_pixels,
    is_deep_grey,
    open_picture,
    request_reduction,
)
from flowport.media.formats import MAX_HEAD_BYTES, sniff
from flowport.store.records import RowStatus

if TYPE_CHECKING:
    from PIL import Image

logger = logging.getLogger(__name__)

MAX_PREVIEW_BYTES: Final = 100_000
MAX_EDGE: Final = 768
"""The longer side of a preview, in pixels."""

_WHOLE_FILE_PIXEL_BYTES: Final = {"WEBP": 20, "AVIF": 20}
"""Of decoders that read the whole file and keep several frames of it."""

_PIXEL_BYTES: Final = {
    "1": 2,
    "L": 2,
    "P": 9,
    "PA": 12,
    "LA": 12,
    "RGB": 4,
    "RGBA": 9,
    "CMYK": 8,
    "YCbCr": 8,
    "I;16": 6,
}
"""By mode, in memory at the worst moment. Other modes of more than eight bits have no fixed black and white."""

_EDGES: Final = (1.0, 0.67, 0.5, 0.33, 0.17, 0.08)
"""Parts of the requested side that are tried until the preview is small enough."""
_QUALITIES: Final = (82, 60)
_OPAQUE: Final = 250
"""An alpha from here on looks like 255."""


@dataclass(frozen=True, slots=True)
class Preview:
    """A small copy."""

    mime_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class NoPreview:
    """Why a picture has no preview."""

    reason: str
    """Ends a sentence; holds nothing from the file."""


def build_preview(
    source: Path | bytes | BinaryIO, *, max_edge: int = MAX_EDGE, max_bytes: int = MAX_PREVIEW_BYTES
) -> Preview | NoPreview:
    """Return a small copy of a picture: a PNG when something can be seen through it, else a JPEG.

    Args:
        source: Where the picture lies, or itself; a file that is open stays open.
        max_edge: The longer side in pixels; a smaller picture stays as small as it is.
        max_bytes: Of the copy; it is made smaller until it fits.
    """
    try:
        with _open(source) as file:
            sniffed = sniff(read_at(file, 0, MAX_HEAD_BYTES))
            if sniffed is not None and sniffed.kind is OutputKind.IMAGE and not sniffed.is_shown:
                return NoPreview(f"none is made of its format ({sniffed.mime_type})")
            return _build(file, max_edge, max_bytes)
    except Exception as exc:  # noqa: BLE001 - decoders raise what they like on a hostile file, and a preview is a courtesy
        logger.info("a picture cannot be decoded: %s", type(exc).__name__)
        return NoPreview(_explain(exc))


def _build(file: BinaryIO, max_edge: int, max_bytes: int) -> Preview | NoPreview:
    size_bytes = count_file_bytes(file)
    with open_picture(file, SHOWN_DECODERS) as image:
        if problem := _find_problem(image, size_bytes, max_edge):
            return NoPreview(problem)
        if size_bytes <= max_bytes and max(image.size) <= max_edge and _is_plain(image):
            # A smaller copy is of no use; decoding would be most of what a preview costs.
            image.verify()
            file.seek(0)
            return Preview(f"image/{str(image.format).lower()}", file.read(max_bytes))
        return _encode(_reduce(image, max_edge), max_bytes)


def _explain(exc: Exception) -> str:
    """Return why there is no preview. Only errors of the system carry a number; those of decoders do not."""
    if isinstance(exc, FileNotFoundError | NotADirectoryError):
        return "its file was removed from its folder"
    if isinstance(exc, OSError) and exc.errno is not None and exc.strerror:
        return f"its file cannot be read ({exc.strerror})"
    return "it cannot be decoded"


def _open(source: Path | bytes | BinaryIO) -> AbstractContextManager[BinaryIO]:
    if isinstance(source, Path):
        return source.open("rb")
    return io.BytesIO(source) if isinstance(source, bytes) else nullcontext(source)


def _is_plain(image: "Image.Image") -> bool:
    """Check whether every client shows the file as it is: a common format and colours, upright, without movement."""
    is_common = image.format in {"PNG", "JPEG"} and image.mode in {"L", "P", "RGB", "RGBA"}
    is_upright = "exif" not in image.info and "xmp" not in image.info
    return is_common and is_upright and not getattr(image, "is_animated", False)


def _find_problem(image: "Image.Image", size_bytes: int, edge: int) -> str:
    """Return why the picture must not be decoded, by its header alone, or nothing."""
    pixels = image.width * image.height
    if pixels > get_max_pixels(image):
        return "it has too many pixels"
    if image.mode not in _PIXEL_BYTES:
        return "it has more than eight bits a colour"
    whole_bytes = 2 * size_bytes if image.format in _WHOLE_FILE_PIXEL_BYTES else 0
    reduction, pixel_bytes = _get_jpeg_reduction(image, edge), _PIXEL_BYTES[image.mode]
    needed_bytes = whole_bytes + estimate_memory(image, reduction, pixel_bytes, _WHOLE_FILE_PIXEL_BYTES)
    return "it would take too much memory" if needed_bytes > MAX_PREVIEW_MEMORY_BYTES else ""


def _get_jpeg_reduction(image: "Image.Image", edge: int) -> int:
    """Return by how much the decoder makes a JPEG smaller: the first of its factors that is enough, else the largest."""
    return next((factor for factor in (1, 2, 4) if max(image.size) <= edge * factor), 8)


def _reduce(image: "Image.Image", edge: int) -> "Image.Image":
    """Return the picture upright, in RGB or RGBA, its longer side at most so long and more than half of it."""
    from PIL import ImageOps

    request_reduction(image, _get_jpeg_reduction(image, edge))
    image.load()
    if is_deep_grey(image):
        ImageOps.exif_transpose(image, in_place=True)
        image = flatten_grey(image)
    # Whole steps are several times quicker than the exact side, and cost at most half of it.
    step = -(-max(image.size) // edge)
    is_clear = image.mode in {"LA", "La", "PA", "RGBA", "RGBa"} or "transparency" in image.info
    mode = "RGBA" if is_clear else "RGB"
    # Grey is cheaper to make smaller as it is; a palette must be resolved first.
    small = image if image.mode in {mode, "L"} and "transparency" not in image.info else image.convert(mode)
    upright = small if step == 1 else small.reduce(step)
    # In place, and converted only where it must be: each copy of a picture is a sixth of what decoding it takes.
    ImageOps.exif_transpose(upright, in_place=True)
    return upright if upright.mode == mode else upright.convert(mode)


def _encode(picture: "Image.Image", max_bytes: int) -> Preview | NoPreview:
    """Return the picture as a file that is small enough, made smaller as often as it takes."""
    is_clear = picture.mode == "RGBA" and any(picture.getchannel("A").histogram()[:_OPAQUE])
    for share in _EDGES:
        size = (max(1, round(picture.width * share)), max(1, round(picture.height * share)))
        copy = picture if share == 1 else picture.resize(size)
        for data in _encode_png(copy) if is_clear else _encode_jpeg(copy):
            if len(data) <= max_bytes:
                return Preview("image/png" if is_clear else "image/jpeg", data)
    return NoPreview("it cannot be made small enough")


def _encode_jpeg(picture: "Image.Image") -> Iterator[bytes]:
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        opaque = picture if picture.mode == "RGB" else picture.convert("RGB")
        opaque.save(buffer, "JPEG", quality=quality)
        yield buffer.getvalue()


def _encode_png(picture: "Image.Image") -> Iterator[bytes]:
    from PIL import Image

    # 256 colours, alpha included: a third of the size, and nothing that a person sees at this size.
    buffer = io.BytesIO()
    picture.quantize(256, method=Image.Quantize.FASTOCTREE).save(buffer, "PNG")
    yield buffer.getvalue()


MAX_COVER_BYTES: Final = 2 * 1024**2
"""Of a cover picture that is read."""

MAX_PREVIEWS: Final = 4
"""Pictures that one answer shows; the first ones."""

MAX_CHECKED: Final = 1000
"""Saved files that are checked at a time; the first ones. No answer shows as many."""

MAX_TOGETHER_BYTES: Final = 96_000
"""Of all previews of an answer: 128,000 characters when written in base64, which leaves the rest of it its 20,000."""

MAX_COPY_BYTES: Final = 2 * 1024**2
MAX_COPY_EDGE: Final = 2048
"""Of the copy of a picture that is too large to be handed over as it is; in pixels."""

THUMBNAIL_EDGE: Final = 320
MAX_THUMBNAIL_BYTES: Final = 40_000
"""Of the copy of a picture in a list; in pixels."""

_EDGE_OF_SEVERAL: Final = 512


@dataclass(frozen=True, slots=True)
class Shown:
    """The previews of an answer."""

    previews: tuple[Preview, ...] = ()
    without: tuple[str, ...] = ()
    """Why pictures have none, and which saved files were removed, each as a sentence."""
    gone: frozenset[str] = frozenset()
    """The paths of the saved files that were removed."""


class Previewer:
    """Makes previews, one at a time in the whole process, so that the memory limit of one is the limit of all."""

    def __init__(self, threads: anyio.CapacityLimiter, *, is_wanted: bool = True) -> None:
        self._threads = threads
        self._is_wanted = is_wanted
        self._turn = anyio.CapacityLimiter(1)

    async def build_shown(self, run: Run) -> Shown:
        """Return the previews of the run's first saved pictures, why others have none, and which files were removed."""
        if not any(output.saved_path for output in run.outputs):
            return Shown()
        if not (self._is_wanted and run.state.is_final):
            return await anyio.to_thread.run_sync(_build_shown, run, 0, limiter=self._threads)
        async with self._turn:
            return await anyio.to_thread.run_sync(_build_shown, run, MAX_PREVIEWS, limiter=self._threads)

    async def find_gone(self, outputs: Iterable[Output]) -> frozenset[str]:
        """Return the paths of saved outputs whose files are no longer there."""
        saved = [output for output in outputs if output.saved_path][:MAX_CHECKED]
        return await anyio.to_thread.run_sync(_find_gone, saved, limiter=self._threads) if saved else frozenset()

    async def drop_gone(self, run: Run) -> Run:
        """Return the run as answers show it: without the paths of saved files that are no longer there."""
        return drop_paths(run, await self.find_gone(run.outputs))

    async def drop_gone_of_rows(self, rows: Sequence[RowStatus]) -> tuple[RowStatus, ...]:
        """Return the rows of a batch with such runs."""
        gone = await self.find_gone(output for row in rows if row.run is not None for output in row.run.outputs)
        return drop_paths_of_rows(rows, gone)

    async def build_thumbnail(self, output: Output) -> Preview | NoPreview:
        """Return a small copy of a saved picture, or of a video's cover, for a list of many."""
        async with self._turn:
            return await anyio.to_thread.run_sync(_build_thumbnail, output, limiter=self._threads)

    async def build_copy(self, file: BinaryIO) -> Preview | NoPreview:
        """Return a copy of a large picture, as large as a screen, even where previews are turned off."""
        work = partial(build_preview, file, max_edge=MAX_COPY_EDGE, max_bytes=MAX_COPY_BYTES)
        async with self._turn:
            return await anyio.to_thread.run_sync(work, limiter=self._threads)


def _build_shown(run: Run, most: int) -> Shown:
    """Return what an answer shows, with so many previews at most; one job, because a job costs more than a look at a file."""
    gone = _find_gone([output for output in run.outputs if output.saved_path][:MAX_CHECKED])
    there = (output for output in run.outputs if output.saved_path and output.saved_path not in gone)
    pictures = list(islice(_find_pictures(there), most))
    made = [(output, _build_one(run, output, picture, len(pictures))) for output, picture in pictures]
    return Shown(
        tuple(preview for _, preview in made if isinstance(preview, Preview)),
        (
            *_describe_gone([output for output in run.outputs if output.saved_path in gone]),
            *(
                f"{Path(output.saved_path).name} has no preview: {preview.reason}."
                for output, preview in made
                if isinstance(preview, NoPreview) and output.kind is OutputKind.IMAGE
            ),
        ),
        gone,
    )


def _find_pictures(outputs: Iterable[Output]) -> Iterator[tuple[Output, Path | bytes]]:
    """Yield the outputs that have a picture, and where it is: its own file, or the cover of a video."""
    for output in outputs:
        if output.kind is OutputKind.IMAGE:
            yield output, Path(output.saved_path)
        elif output.kind is OutputKind.VIDEO and (cover := _read_saved_cover(output)):
            yield output, cover


def _build_one(run: Run, output: Output, picture: Path | bytes, count: int) -> Preview | NoPreview:
    edge = MAX_EDGE if count == 1 else _EDGE_OF_SEVERAL
    made = build_preview(picture, max_edge=edge, max_bytes=min(MAX_PREVIEW_BYTES, MAX_TOGETHER_BYTES // count))
    if isinstance(made, NoPreview):
        logger.info("output %d of run %s has no preview: %s", output.n, run.id, made.reason)
    return made


def _build_thumbnail(output: Output) -> Preview | NoPreview:
    for _, picture in _find_pictures([output]):
        return build_preview(picture, max_edge=THUMBNAIL_EDGE, max_bytes=MAX_THUMBNAIL_BYTES)
    return NoPreview("it has no picture")


def drop_paths(run: Run, paths: Collection[str]) -> Run:
    """Return the run without these paths; its record keeps them, so that no output is saved a second time."""
    if not any(output.saved_path in paths for output in run.outputs):
        return run
    outputs = (replace(output, saved_path="") if output.saved_path in paths else output for output in run.outputs)
    return replace(run, outputs=tuple(outputs))


def drop_paths_of_rows(rows: Sequence[RowStatus], paths: Collection[str]) -> tuple[RowStatus, ...]:
    """Return the rows of a batch whose runs are without these paths."""
    return tuple(row if row.run is None else replace(row, run=drop_paths(row.run, paths)) for row in rows)


def _find_gone(outputs: list[Output]) -> frozenset[str]:
    gone = set()
    for output in outputs:
        try:
            Path(output.saved_path).stat()
        except (FileNotFoundError, NotADirectoryError):
            gone.add(output.saved_path)
        except OSError as exc:
            logger.info("the file of output %d cannot be checked: %s", output.n, exc.strerror)
    return frozenset(gone)


def _describe_gone(gone: list[Output]) -> list[str]:
    sentences = [f"{Path(output.saved_path).name} was removed from its folder." for output in gone[:MAX_PREVIEWS]]
    if others := len(gone) - len(sentences):
        sentences.append(
            "1 other file was removed as well." if others == 1 else f"{others} other files were removed as well."
        )
    return sentences


def _read_saved_cover(output: Output) -> bytes:
    try:
        with Path(output.saved_path).open("rb") as file:
            return read_cover(file)
    except OSError as exc:
        logger.info("the cover of output %d cannot be read: %s", output.n, exc.strerror)
        return b""


def read_cover(file: BinaryIO) -> bytes:
    """Return the cover picture of a movie; empty when it has none."""
    boxes = walk_boxes(file)
    for meta in boxes.find_all(boxes.whole, b"moov", b"udta", b"meta"):
        # In QuickTime it has no version and flags: its first box, `hdlr`, begins at once.
        inside = meta if boxes.read(meta, 8)[4:] == b"hdlr" else skip(meta, 4)
        for data in boxes.find_all(inside, b"ilst", b"covr", b"data"):
            # A type and a locale stand before the picture. Its format is read from its own bytes.
            picture = skip(data, 8)
            if 0 < picture.end - picture.start <= MAX_COVER_BYTES:
                return boxes.read(picture, MAX_COVER_BYTES)
    return b""
