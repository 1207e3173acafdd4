"""Small pictures for a person: the previews of an answer about a finished run, and copies of what is too large to read.

They are made when they are asked for. Of a video only the cover is shown that its makers put into the file, which few
do: taking a frame out of it would need a decoder.
"""

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

import anyio
import anyio.to_thread

from flowport.ledger.batch_records import RowStanding
from flowport.media.boxes import read_cover
from flowport.media.previews import MAX_EDGE, MAX_PREVIEW_BYTES, NoPreview, Preview, build_preview
from flowport.model import Output, OutputKind, Run

logger = logging.getLogger(__name__)

MAX_PREVIEWS: Final = 4
"""Pictures that one answer shows; the first ones."""

MAX_CHECKED: Final = 1000
"""Saved files that are looked for at a time; the first ones. No answer shows as many."""

MAX_TOGETHER_BYTES: Final = 96_000
"""Of all previews of an answer: 128,000 characters when written in base64, which leaves the rest of it its 20,000."""

MAX_COPY_BYTES: Final = 2 * 1024**2
MAX_COPY_EDGE: Final = 2048
"""Of the copy of a picture that is too large to be handed over as it is; in pixels."""

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
    """Makes previews, one at a time in the whole process, so that what one may take in memory is all that they take."""

    def __init__(self, threads: anyio.CapacityLimiter, *, is_wanted: bool = True) -> None:
        self._threads = threads
        self._is_wanted = is_wanted
        self._turn = anyio.CapacityLimiter(1)

    async def build_previews(self, run: Run) -> tuple[Preview, ...]:
        """Return the previews of the run's first saved pictures, covers of videos among them; fewer when some have none."""
        return (await self.build_shown(run)).previews

    async def build_shown(self, run: Run) -> Shown:
        """Return the previews of the run's first saved pictures, why others have none, and which files were removed."""
        gone = await self.find_gone(run.outputs)
        saved = [output for output in run.outputs if output.saved_path and output.saved_path not in gone]
        wanted = saved if self._is_wanted and run.state.is_final else []
        async with self._turn:
            pictures = await self._find_pictures(wanted)
            made = [(output, await self._build(run, output, picture, len(pictures))) for output, picture in pictures]
        return Shown(
            tuple(preview for _, preview in made if isinstance(preview, Preview)),
            (
                *_tell_gone([output for output in run.outputs if output.saved_path in gone]),
                *(
                    f"{Path(output.saved_path).name} has no preview: {preview.reason}."
                    for output, preview in made
                    if isinstance(preview, NoPreview) and output.kind is OutputKind.IMAGE
                ),
            ),
            gone,
        )

    async def find_gone(self, outputs: Iterable[Output]) -> frozenset[str]:
        """Return the paths of saved outputs whose files are no longer there."""
        saved = [output for output in outputs if output.saved_path][:MAX_CHECKED]
        return await anyio.to_thread.run_sync(_find_gone, saved, limiter=self._threads) if saved else frozenset()

    async def drop_gone(self, run: Run) -> Run:
        """Return the run as answers show it: without the paths of saved files that are no longer there."""
        return drop_paths(run, await self.find_gone(run.outputs))

    async def drop_gone_of_rows(self, rows: Sequence[RowStanding]) -> tuple[RowStanding, ...]:
        """Return the rows of a batch with such runs."""
        gone = await self.find_gone(output for row in rows if row.run is not None for output in row.run.outputs)
        return drop_paths_of_rows(rows, gone)

    async def build_copy(self, file: BinaryIO) -> Preview | NoPreview:
        """Return a copy of a large picture, as large as a screen; whether previews are wanted is no matter."""
        work = partial(build_preview, file, max_edge=MAX_COPY_EDGE, max_bytes=MAX_COPY_BYTES)
        async with self._turn:
            return await anyio.to_thread.run_sync(work, limiter=self._threads)

    async def _find_pictures(self, outputs: list[Output]) -> list[tuple[Output, Path | bytes]]:
        """Return the first outputs that there is a picture of, and where it is: in its own file, or the cover in a video's."""
        found: list[tuple[Output, Path | bytes]] = []
        for output in outputs:
            picture: Path | bytes = b""
            if output.kind is OutputKind.IMAGE:
                picture = Path(output.saved_path)
            elif output.kind is OutputKind.VIDEO:
                picture = await anyio.to_thread.run_sync(_read_cover, output, limiter=self._threads)
            if picture:
                found.append((output, picture))
            if len(found) == MAX_PREVIEWS:
                break
        return found

    async def _build(self, run: Run, output: Output, picture: Path | bytes, count: int) -> Preview | NoPreview:
        edge = MAX_EDGE if count == 1 else _EDGE_OF_SEVERAL
        size_bytes = min(MAX_PREVIEW_BYTES, MAX_TOGETHER_BYTES // count)
        work = partial(build_preview, picture, max_edge=edge, max_bytes=size_bytes)
        made = await anyio.to_thread.run_sync(work, limiter=self._threads)
        if isinstance(made, NoPreview):
            logger.info("output %d of run %s has no preview: %s", output.n, run.id, made.reason)
        return made


def drop_paths(run: Run, paths: Collection[str]) -> Run:
    """Return the run without these paths; its record keeps them, so that nothing is saved a second time."""
    if not any(output.saved_path in paths for output in run.outputs):
        return run
    outputs = (replace(output, saved_path="") if output.saved_path in paths else output for output in run.outputs)
    return replace(run, outputs=tuple(outputs))


def drop_paths_of_rows(rows: Sequence[RowStanding], paths: Collection[str]) -> tuple[RowStanding, ...]:
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
            logger.info("the file of output %d cannot be looked at: %s", output.n, exc.strerror)
    return frozenset(gone)


def _tell_gone(gone: list[Output]) -> list[str]:
    sentences = [f"{Path(output.saved_path).name} was removed from its folder." for output in gone[:MAX_PREVIEWS]]
    if others := len(gone) - len(sentences):
        sentences.append(
            "1 other file was removed as well." if others == 1 else f"{others} other files were removed as well."
        )
    return sentences


def _read_cover(output: Output) -> bytes:
    try:
        with Path(output.saved_path).open("rb") as file:
            return read_cover(file)
    except OSError as exc:
        logger.info("the cover of output %d cannot be read: %s", output.n, exc.strerror)
        return b""
