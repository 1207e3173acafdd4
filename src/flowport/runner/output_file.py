"""One output of a run on its way into the person's folder: written, looked at, measured, named and described."""

import json
import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from flowport.media.measuring import measure
from flowport.media.saving import PartialFile, build_output_path, open_partial
from flowport.media.sniffing import Sniffed, sniff
from flowport.model import Output, OutputKind, Run
from flowport.receiving import Fetched

logger = logging.getLogger(__name__)

_SVG: Final = "image/svg+xml"
_MOVING: Final = frozenset({OutputKind.VIDEO, OutputKind.AUDIO})


@dataclass(frozen=True, slots=True)
class SavingRules:
    """Where outputs go."""

    folder: Path
    is_wanted: bool = True
    """False: outputs are only linked."""
    writer: str = ""
    """The id of this process, for the names of files that are not whole yet."""


class Outcome(Enum):
    """What came of trying to save one output."""

    KEPT = "kept"
    FAILED = "failed"
    EXPIRED = "expired"
    UNFIT = "unfit"
    """What came is nothing, or not of the right kind: a server's bad moment, or a mistake for good."""
    USELESS = "useless"
    """Where it lies is refused, and will be the next time."""


class OutputFile:
    """Receives an output, on a thread. As a context manager it removes what was not published, whatever ended the block."""

    def __init__(self, run: Run, output: Output, rules: SavingRules) -> None:
        """Prepare; the file is made with the first piece."""
        self._run = run
        self._output = output
        self._path, self._writer = _build_path(run, output, rules.folder), rules.writer
        self._partial: PartialFile | None = None

    def write(self, piece: bytes, /) -> None:
        """Append a piece."""
        self._open().file.write(piece)

    def finish(self, fetched: Fetched, /) -> tuple[Output, Outcome]:
        """Publish the file with its record, if it is what the provider said; return the output with what is known of it."""
        if not fetched.size_bytes:
            return note_problem(self._output, "nothing came"), Outcome.UNFIT
        sniffed = sniff(fetched.head)
        if not _is_of_kind(sniffed, self._output.kind):
            return note_problem(self._output, f"what came is not {_name(self._output.kind)}"), Outcome.UNFIT
        kept = self._describe(fetched, sniffed)
        path = self._path.with_suffix(f".{sniffed.extension if sniffed else 'bin'}")
        published = self._open().publish_with_sidecar(path, _build_sidecar(self._run, kept, fetched))
        if published.sidecar is None:
            words = "output %d of run %s is saved without its record: %s"
            logger.warning(words, kept.n, self._run.id, published.sidecar_problem)
        return replace(kept, saved_path=str(published.path)), Outcome.KEPT

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._partial is not None:
            self._partial.discard()

    def _open(self) -> PartialFile:
        if self._partial is None:
            self._partial = open_partial(self._path, self._writer)
        return self._partial

    def _describe(self, fetched: Fetched, sniffed: Sniffed | None) -> Output:
        output = self._output
        measures = measure(self._open().file, sniffed)
        is_told = output.kind is not OutputKind.FILE or sniffed is None or not sniffed.is_media
        return replace(
            output,
            # What the provider could not name is what its bytes are.
            kind=output.kind if is_told or sniffed is None else sniffed.kind,
            mime_type=sniffed.mime_type if sniffed else output.mime_type,
            size_bytes=fetched.size_bytes,
            # What lies there is what counts; the provider's word stands in where the file says nothing.
            width=measures.width or output.width,
            height=measures.height or output.height,
            duration_seconds=measures.duration_seconds or output.duration_seconds,
        )


def _build_path(run: Run, output: Output, folder: Path) -> Path:
    """Return the path with an extension that stands in until the bytes tell their own."""
    day = datetime.fromtimestamp(run.accepted_at, tz=UTC).astimezone().strftime("%Y-%m-%d")
    tool_name, n = run.tool_name, output.n
    return build_output_path(
        folder, date=day, tool_name=tool_name, n=n, run_id=run.id, extension="part", app_name=run.app_name
    )


def note_problem(output: Output, problem: str) -> Output:
    """Return the output with the sentence that says why it has no file."""
    return replace(output, save_problem=f"It was not saved: {problem}.")


def tell_folder_problem(folder: Path, reason: str) -> str:
    """Return why nothing can be saved in the folder for results, as a clause that names it and its setting."""
    return f"the folder for results, {folder} (FLOWPORT_OUTPUT_DIR), cannot take it ({reason})"


def _is_of_kind(sniffed: Sniffed | None, kind: OutputKind) -> bool:
    """Tell whether the bytes are what the provider said. An error page must not be kept as a picture."""
    if kind not in {OutputKind.IMAGE, *_MOVING}:
        return True
    if kind is OutputKind.IMAGE and sniffed is not None and sniffed.mime_type == _SVG:
        # A drawing is an image to whoever asked for it; to us it is a program, kept and never shown.
        return True
    # Sound often comes in a container made for pictures that move.
    return sniffed is not None and (sniffed.kind is kind or {sniffed.kind, kind} <= _MOVING)


def _name(kind: OutputKind) -> str:
    return {OutputKind.IMAGE: "an image", OutputKind.VIDEO: "a video", OutputKind.AUDIO: "a sound"}.get(kind, "a file")


def _build_sidecar(run: Run, output: Output, fetched: Fetched) -> dict[str, Any]:
    return {
        "app": run.app_name,
        "tool": run.tool_name,
        "provider": run.provider,
        "arguments": json.loads(run.arguments_json),
        "run_id": run.id,
        "output": output.n,
        "mime_type": output.mime_type,
        "size_bytes": output.size_bytes,
        "width": output.width,
        "height": output.height,
        "duration_seconds": output.duration_seconds,
        "sha256": fetched.sha256,
        "credits": run.cost_credits,
        "made_at": datetime.fromtimestamp(run.finished_at or run.accepted_at, tz=UTC).isoformat(),
    }
