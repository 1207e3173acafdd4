"""Keep a run's outputs: fetch each before its link expires and put it where the person will find it."""

import json
import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
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
    writer: str = ""
    """The id of this process, for the names of files that are not whole yet."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What came of trying to save outputs."""

    run: Run
    """With what was saved, or why it was not, noted on each output."""
    failed: frozenset[int]
    """The outputs that are worth another try."""
    expired: frozenset[int]
    """Those of them whose links are no longer good, by their server's word or by the clock."""


class _Outcome(Enum):
    """What came of trying to save one output."""

    KEPT = "kept"
    FAILED = "failed"
    EXPIRED = "expired"
    USELESS = "useless"
    """What lies there, or where it lies, will not be better the next time."""


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
        """Tell whether the run has outputs that are to be saved and are not.

        A link that should have expired is tried all the same: the clock may be wrong, here or there.
        """
        return bool(self.find_missing(run))

    def find_missing(self, run: Run) -> frozenset[int]:
        """Return the outputs that are to be saved and are not, by their numbers."""
        if not self._rules.is_wanted:
            return frozenset()
        return frozenset(output.n for output in run.outputs if output.url and not output.saved_path)

    async def save_all(self, run: Run, account: OpenAccount, *, only: Collection[int]) -> Saved:
        """Try to save these outputs of a run, all at once, and write down what came of each."""
        origins = await account.fetch_file_origins()
        saved: dict[int, Output] = {}
        outcomes: dict[_Outcome, set[int]] = {outcome: set() for outcome in _Outcome}

        async def save(output: Output) -> None:
            """Save one output and write down what came of it."""
            async with self._places:
                saved[output.n], outcome = await self._save(run, output, FetchRules(trusted_origins=origins))
            outcomes[outcome].add(output.n)
            await self._note(run, saved[output.n])

        wanted = [output for output in run.outputs if output.n in only]
        async with anyio.create_task_group() as group:
            for output in wanted[1:]:
                group.start_soon(save, output)
            for output in wanted[:1]:
                await save(output)
        expired = frozenset(outcomes[_Outcome.EXPIRED])
        outputs = tuple(saved.get(output.n, output) for output in run.outputs)
        return Saved(replace(run, outputs=outputs), expired | outcomes[_Outcome.FAILED], expired)

    async def _note(self, run: Run, output: Output) -> None:
        try:
            await self._ledger.note_output(run.id, output)
        # The ledger lacks the output when it could not take the end of the run.
        except (LedgerError, RunNotFound) as exc:
            logger.warning("output %d of run %s is saved, which could not be written down: %s", output.n, run.id, exc)

    async def _save(self, run: Run, output: Output, rules: FetchRules) -> tuple[Output, _Outcome]:
        """Return the output with its path, or with the reason why there is none."""
        try:
            partial = await self._in_thread(open_partial, self._build_path(run, output, "part"), self._rules.writer)
            with partial:
                # Whatever an earlier attempt failed of is not true of this one.
                output = replace(output, save_problem="")
                fetched = await self._fetcher.fetch_to_file(output.url or "", partial.file, rules=rules)
                sniffed = sniff(fetched.head)
                if not _is_of_kind(sniffed, output.kind):
                    return _note_problem(output, f"what came is not {_name(output.kind)}"), _Outcome.USELESS
                return await self._keep(run, output, partial, fetched, sniffed), _Outcome.KEPT
        except FetchError as exc:
            return _note_problem(output, exc.problem), self._judge(output, exc)
        except OSError as exc:
            reason = exc.strerror or type(exc).__name__
            return _note_problem(output, f"the folder for results cannot take it ({reason})"), _Outcome.FAILED

    def _judge(self, output: Output, error: FetchError) -> _Outcome:
        if error.is_refused:
            return _Outcome.USELESS
        is_over = output.expires_at is not None and output.expires_at <= self._clock.now()
        return _Outcome.EXPIRED if error.is_expired or is_over else _Outcome.FAILED

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


def _note_problem(output: Output, problem: str) -> Output:
    return replace(output, save_problem=f"It was not saved: {problem}.")


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
