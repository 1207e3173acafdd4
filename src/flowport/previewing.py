"""The previews that an answer about a finished run carries: made when it is asked for, from the saved files."""

import logging
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from flowport.media.previews import MAX_EDGE, MAX_PREVIEW_BYTES, NoPreview, Preview, build_preview
from flowport.model import Output, OutputKind, Run

logger = logging.getLogger(__name__)

MAX_PREVIEWS: Final = 4
"""Pictures that one answer shows; the first ones."""

MAX_TOGETHER_BYTES: Final = 96_000
"""Of all previews of an answer: 128,000 characters when written in base64, which leaves the rest of it its 20,000."""

_EDGE_OF_SEVERAL: Final = 512


class Previewer:
    """Makes previews, one at a time in the whole process, so that what one may take in memory is all that they take."""

    def __init__(self, threads: anyio.CapacityLimiter, *, is_wanted: bool = True) -> None:
        self._threads = threads
        self._is_wanted = is_wanted
        self._turn = anyio.CapacityLimiter(1)

    async def build_previews(self, run: Run) -> tuple[Preview, ...]:
        """Return the previews of the run's first saved pictures; fewer when some cannot be shown."""
        pictures = [output for output in run.outputs if output.kind is OutputKind.IMAGE and output.saved_path]
        shown = pictures[:MAX_PREVIEWS] if self._is_wanted and run.state.is_final else []
        previews = [await self._build(run, output, len(shown)) for output in shown]
        return tuple(preview for preview in previews if preview is not None)

    async def _build(self, run: Run, output: Output, count: int) -> Preview | None:
        edge = MAX_EDGE if count == 1 else _EDGE_OF_SEVERAL
        size_bytes = min(MAX_PREVIEW_BYTES, MAX_TOGETHER_BYTES // count)
        work = partial(build_preview, Path(output.saved_path), max_edge=edge, max_bytes=size_bytes)
        async with self._turn:
            made = await anyio.to_thread.run_sync(work, limiter=self._threads)
        if isinstance(made, NoPreview):
            logger.info("output %d of run %s has no preview: %s", output.n, run.id, made.reason)
            return None
        return made
