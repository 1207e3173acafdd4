"""Keep a run's outputs: fetch each before its link expires and put it where the person will find it."""

import json
import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread

from flowport.accounts import OpenAccount
from flowport.clock import Clock
from flowport.errors import FetchError, LedgerError, RunNotFound
from flowport.fetch import Fetched, Fetcher, FetchRules
from flowport.ledger.interface import Ledger
from flowport.media.measuring import measure
from flowport.media.saving import PartialFile, build_output_path, open_partial
from flowport.media.sniffing import Sniffed, sniff
from flowport.model import Output, OutputKind, Run
from flowport.runner.board import Board

logger = logging.getLogger(__name__)

MAX_FETCHES: Final = 4
"""Outputs that are fetched side by side, over all runs."""

_SVG: Final = "image/svg+xml"
_MOVING = frozenset({OutputKind.VIDEO, OutputKind.AUDIO})


@dataclass(frozen=True, slots=True)
class SavingRules:
    """Where outputs go."""

    folder: Path
    is_wanted: bool = True
    """False: outputs are only linked."""


class OutputSaver:
    """Saves the outputs of finished runs."""

    def __init__(
        self,
        ledger: Ledger,
        board: Board,
        clock: Clock,
        fetcher: Fetcher,
        *,
        rules: SavingRules,
        threads: anyio.CapacityLimiter,
    ) -> None:
        self._ledger = ledger
        self._board = board
        self._clock = clock
        self._fetcher = fetcher
        self._rules = rules
        self._threads = threads
        self._places = anyio.CapacityLimiter(MAX_FETCHES)

    def is_wanted(self, run: Run) -> bool:
        """Tell whether the run has outputs that are to be saved and are not, and whose links may still work."""
        return self._rules.is_wanted and any(self._is_missing(output) for output in run.outputs)

    def _is_missing(self, output: Output) -> bool:
        is_fresh = output.expires_at is None or output.expires_at > self._clock.now()
        return bool(output.url) and not output.saved_path and is_fresh

    async def save_all(self, run: Run, account: OpenAccount) -> Run:
        """Return the run with what was saved, or why it was not, noted on each output."""
        origins = await account.fetch_file_origins()
        saved: dict[int, Output] = {}

        async def save(output: Output) -> None:
            """Save one output and write down what came of it."""
            async with self._places:
                saved[output.n] = await self._save(run, output, FetchRules(trusted_origins=origins))
            await self._note(run, saved[output.n])

        async with anyio.create_task_group() as group:
            for output in run.outputs:
                if self._is_missing(output):
                    group.start_soon(save, output)
        return replace(run, outputs=tuple(saved.get(output.n, output) for output in run.outputs))

    async def _note(self, run: Run, output: Output) -> None:
        try:
            await self._ledger.note_output(run.id, output)
        # The ledger lacks the output when it could not take the end of the run.
        except (LedgerError, RunNotFound) as exc:
            logger.warning("output %d of run %s is saved, which could not be written down: %s", output.n, run.id, exc)

    async def _save(self, run: Run, output: Output, rules: FetchRules) -> Output:
        """Return the output with its path, or with the reason why there is none."""
        try:
            partial = await self._in_thread(open_partial, self._build_path(run, output, "part"))
            with partial:
                # Whatever an earlier attempt failed of is not true of this one.
                output = replace(output, save_problem="")
                fetched = await self._fetcher.fetch_to_file(output.url or "", partial.file, rules=rules)
                sniffed = sniff(fetched.head)
                if not _is_of_kind(sniffed, output.kind):
                    return replace(output, save_problem=f"It was not saved: what came is not {_name(output.kind)}.")
                return await self._keep(run, output, partial, fetched, sniffed)
        except FetchError as exc:
            return replace(output, save_problem=f"It was not saved: {exc.problem}.")
        except OSError as exc:
            reason = exc.strerror or type(exc).__name__
            return replace(output, save_problem=f"It was not saved: the folder for results cannot take it ({reason}).")

    async def _keep(
        self, run: Run, output: Output, partial: PartialFile, fetched: Fetched, sniffed: Sniffed | None
    ) -> Output:
        extension = sniffed.extension if sniffed else "bin"
        mime_type = sniffed.mime_type if sniffed else output.mime_type
        measures = await self._in_thread(measure, partial.file, sniffed)
        kept = replace(
            output,
            mime_type=mime_type,
            size_bytes=fetched.size_bytes,
            # What lies there is what counts; the provider's word stands in where the file says nothing.
            width=measures.width or output.width,
            height=measures.height or output.height,
            duration_seconds=measures.duration_seconds or output.duration_seconds,
        )
        path, record = self._build_path(run, output, extension), _build_sidecar(run, kept, fetched)
        published = await self._in_thread(partial.publish_with_sidecar, path, record)
        if published.sidecar is None:
            logger.warning(
                "output %d of run %s is saved without its record: %s", output.n, run.id, published.sidecar_problem
            )
        return replace(kept, saved_path=str(published.path))

    def _build_path(self, run: Run, output: Output, extension: str) -> Path:
        day = datetime.fromtimestamp(run.accepted_at, tz=UTC).astimezone().strftime("%Y-%m-%d")
        return build_output_path(
            self._rules.folder, date=day, tool_name=run.tool_name, n=output.n, run_id=run.id, extension=extension
        )

    async def _in_thread(self, work: Any, *args: Any) -> Any:
        # A file that is half written must be closed and removed by the thread that writes it, so it is not abandoned.
        return await anyio.to_thread.run_sync(work, *args, limiter=self._threads)


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
        "credits": run.spent_credits,
        "made_at": datetime.fromtimestamp(run.finished_at or run.accepted_at, tz=UTC).isoformat(),
    }
