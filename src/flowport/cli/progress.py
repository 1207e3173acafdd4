"""Show what a run or a batch waits for: one moving line on a terminal, one line for each change elsewhere."""

import re
import sys
import time
from types import TracebackType
from typing import Final, Self

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from flowport.cli.console import build_console
from flowport.domain.text import clean_line, format_duration

QUIET_SECONDS: Final = 10.0
"""Between two lines that count rows, where no line can be replaced."""


class LiveProgress:
    """One line that shows what is waited for: on a terminal with a bar and the time, elsewhere one line for each change."""

    def __init__(self) -> None:
        self._console = build_console(sys.stderr)
        self._live: Live | None = None
        self._message = ""
        self._shown = ""
        self._printed_at = 0.0
        self._began_at = time.monotonic()
        self.usual_seconds: float | None = None
        """How long it usually takes; None for no bar."""

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(
                get_renderable=self._render,
                console=self._console,
                transient=True,
                refresh_per_second=4,
                redirect_stdout=False,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pause()

    def update(self, message: str) -> None:
        """Show a message that a run or a batch reports."""
        self._message = clean_line(message, limit=200)
        if self._live is not None:
            self._live.start()
            return
        state, now = _drop_time(self._message), time.monotonic()
        # The counts of a batch change with every row.
        is_count = state[:1].isdigit() and self._shown[:1].isdigit() and now - self._printed_at < QUIET_SECONDS
        if state != self._shown and not is_count:
            self._shown, self._printed_at = state, now
            self._console.print(Text(self._message), soft_wrap=True)

    def pause(self) -> None:
        """Remove the line until the next message, so that something else can be written."""
        if self._live is not None:
            self._live.stop()

    def _render(self) -> Table:
        elapsed = time.monotonic() - self._began_at
        share = self._get_share(elapsed)
        line = Table.grid(padding=(0, 1), expand=False)
        line.add_column(no_wrap=True)
        if share is not None:
            line.add_column(no_wrap=True)
        line.add_column(no_wrap=True)
        line.add_column(no_wrap=True, overflow="ellipsis")
        bar = [] if share is None else [ProgressBar(total=1.0, completed=share, width=10)]
        line.add_row(Spinner("dots"), *bar, Text(format_duration(elapsed)), Text(_drop_time(self._message)))
        return line

    def _get_share(self, elapsed: float) -> float | None:
        counted = re.match(r"(\d+) of (\d+) done", self._message)
        if counted:
            return int(counted[1]) / max(int(counted[2]), 1)
        # Never full: that is said by the result alone.
        return min(elapsed / self.usual_seconds, 0.95) if self.usual_seconds else None


def _drop_time(message: str) -> str:
    """Return a message of a run without its seconds, which the line counts by itself."""
    return re.sub(r"^(\D+?), \d+ (?:s|min \d+ s)(?=;| \(|$)", r"\1", message)
