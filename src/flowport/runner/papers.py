"""Save the table of a batch beside its outputs: a line for each row, with what it was made of and what came of it."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import anyio
import anyio.to_thread

from flowport.labels import clean_text
from flowport.ledger.batch_records import RowStanding
from flowport.media.saving import build_batch_path, open_partial
from flowport.model import Run
from flowport.runner.output_file import SavingRules
from flowport.tables import format_table

logger = logging.getLogger(__name__)

_OWN_COLUMNS: Final = ("run_id", "state", "credits", "urls", "saved_paths", "text", "error")
_MAX_TEXT: Final = 10_000
NOT_STARTED: Final = "not started"
FORGOTTEN: Final = "erased"


@dataclass(frozen=True, slots=True)
class SavedPaper:
    """Where a table was saved."""

    path: str = ""
    """Empty when it was not."""
    problem: str = ""
    """Why not, as a clause; empty when it was, or was not meant to be."""


class BatchPaper:
    """Writes tables into the folder of the outputs."""

    def __init__(self, rules: SavingRules, threads: anyio.CapacityLimiter) -> None:
        self._rules = rules
        self._threads = threads

    async def write(self, batch: Run, rows: Sequence[RowStanding], *, at: float) -> SavedPaper:
        """Return where the table lies; nothing is written over, and no half of it is ever seen under its name."""
        if not self._rules.is_wanted:
            return SavedPaper()
        return await anyio.to_thread.run_sync(self._write, batch, rows, at, limiter=self._threads)

    def _write(self, batch: Run, rows: Sequence[RowStanding], at: float) -> SavedPaper:
        date = datetime.fromtimestamp(at, tz=UTC).strftime("%Y-%m-%d")
        path = build_batch_path(
            self._rules.folder, date=date, tool_name=batch.tool_name, batch_id=batch.id, app_name=batch.app_name
        )
        try:
            with open_partial(path, self._rules.writer) as partial:
                partial.file.write(build_table(rows))
                return SavedPaper(str(partial.publish()))
        except OSError as exc:
            logger.warning("the table of %s could not be saved: %s", batch.id, exc.strerror)
            return SavedPaper(problem=exc.strerror or type(exc).__name__)


def get_row_state(standing: RowStanding) -> str:
    """Return where a row is, in a word or two: the state of its run, or that it has none or was never sent."""
    if standing.run is not None:
        return NOT_STARTED if standing.is_cancelled_unsent else standing.run.state.value
    if standing.is_begun:
        return FORGOTTEN
    return NOT_STARTED if standing.is_dropped else "waiting"


def build_table(rows: Sequence[RowStanding]) -> bytes:
    """Return the table as a file."""
    arguments = [json.loads(one.row.shown_json) for one in rows]
    inputs = list(dict.fromkeys(name for one in arguments for name in one))
    # An input of a stranger's app may be called like a column of ours.
    heads = [f"{name} (input)" if name in {"row", "variation", *_OWN_COLUMNS} else name for name in inputs]
    lines = [
        _build_line(one, [_format_cell(given.get(name)) for name in inputs])
        for one, given in zip(rows, arguments, strict=True)
    ]
    return format_table(["row", "variation", *heads, *_OWN_COLUMNS], lines)


def _build_line(standing: RowStanding, inputs: list[str]) -> list[str]:
    run = standing.run
    outputs = run.outputs if run is not None else ()
    return [
        str(standing.row.given_n),
        str(standing.row.variation),
        *inputs,
        run.id if run is not None else "",
        get_row_state(standing),
        _format_cost(run),
        "\n".join(output.url for output in outputs if output.url),
        "\n".join(output.saved_path for output in outputs if output.saved_path),
        "\n".join(clean_text(output.text, limit=_MAX_TEXT) for output in outputs if output.text),
        run.failure if run is not None else "",
    ]


def _format_cost(run: Run | None) -> str:
    if run is None or not run.state.is_final:
        return "0" if run is None else ""
    return "unknown" if run.cost_credits is None else f"{run.cost_credits:g}"


def _format_cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
