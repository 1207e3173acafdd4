"""Record the terminal for README.md, from real commands on the built-in sandbox: python scripts/record_terminal.py."""

import fcntl
import os
import pty
import re
import shlex
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.text import Text
from terminal_picture import Line, draw

ROOT: Final = Path(__file__).resolve().parent.parent
PICTURE: Final = ROOT / "docs" / "pictures" / "terminal.svg"
COLUMNS: Final = 96
_RUN: Final = 'run sandbox_retro_poster photo=@coffee.jpg title="Good morning"'
SCENES: Final = (("apps photo",), ("show sandbox_retro_poster",), (_RUN, "runs"), ("doctor",))
"""What is typed; the screen is cleared between two scenes."""
_STILL: Final = 2
"""The scene that is shown where nothing moves."""
_EARLIER: Final = (
    "apps",
    *(f'run sandbox_retro_poster photo=@coffee.jpg title="{word}"' for word in ("One", "Two", "Three")),
)
"""What is typed before the recording, so that there is a catalogue and a usual duration."""
_TYPING_SECONDS, _FRAME_SECONDS, _READING_SECONDS = 1.2, 0.5, 4.5
_CONTROL: Final = re.compile(r"\r|\n|\x1b\[(?:\d*A|2K|\?25[hl])")
_PROGRESS: Final = re.compile(r"(?P<spinner>[\u2800-\u28ff]) (?P<bar>[━╸╺]+ )?\s*(?P<seconds>\d+) s (?P<message>.+)")
_IDS: Final = ("7f3kq2m9xa", "p4v8s2w6hd", "c9n5t3y7be", "k2r6g8j4mz")
_SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_FRAMES_OF: Final = {"running": 5}
"""How often a message of the progress is shown, whatever the time that it took; once by default."""


@dataclass(frozen=True, slots=True)
class Output:
    """What a command printed: its progress, one line at a time, and the lines that stay."""

    progress: list[str]
    lines: list[str]


def main() -> int:
    """Write the picture."""
    with TemporaryDirectory(prefix="flowport-recording-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        shutil.copy(ROOT / "examples" / "photos" / "coffee.jpg", home)
        for command in _EARLIER:
            record(command, home)
        outputs = {command: record(command, home) for scene in SCENES for command in scene}
    normalise = Normaliser(home)
    lines = [line for scene in place(outputs, normalise) for line in scene]
    PICTURE.write_text(draw(lines, COLUMNS), encoding="utf-8")
    print(f"{PICTURE.relative_to(ROOT)}  {PICTURE.stat().st_size / 1000:.0f} KB")
    return 0


def record(command: str, home: Path) -> Output:
    """Run a command of Flowport under a terminal.

    Raises:
        RuntimeError: It failed, and the message is its output; or this is Windows.
    """
    if sys.platform == "win32":
        raise RuntimeError("The terminal is recorded on Linux or macOS.")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    variables = {"HOME": str(home), "PATH": os.defpath, "LANG": "C.UTF-8", "TERM": "xterm-256color"}
    parts = [sys.executable, "-m", "flowport", *shlex.split(command)]
    child = subprocess.Popen(parts, stdin=theirs, stdout=theirs, stderr=theirs, env=variables, cwd=home)
    os.close(theirs)
    printed = b"".join(_read(ours))
    os.close(ours)
    output = interpret(printed.decode())
    if child.wait():
        raise RuntimeError("\n".join([command, *output.lines]))
    return output


def _read(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            chunk = os.read(terminal, 65_536)
        except OSError:  # Linux says so when the other side is closed.
            return
        if not chunk:
            return
        yield chunk


def interpret(printed: str) -> Output:
    """Follow the few movements that Flowport makes in a terminal: a line is replaced, or removed."""
    lines, row, progress = [""], 0, list[str]()
    position = 0
    for control in _CONTROL.finditer(printed):
        lines[row] += printed[position : control.start()]
        position = control.end()
        match control.group():
            case "\n":
                row += 1
                if row == len(lines):
                    lines.append("")
            case "\x1b[2K":
                if _PROGRESS.search(Text.from_ansi(lines[row]).plain):
                    progress.append(lines[row])
                lines[row] = ""
            case text if text.endswith("A"):
                row -= 1
            case _:
                pass
    return Output(progress, [line for line in lines if line])


class Normaliser:
    """Replace what differs between two recordings: ids, folders, dates and durations."""

    def __init__(self, home: Path) -> None:
        self._home = str(home)
        self._ids: dict[str, str] = {}

    def __call__(self, line: str) -> Text:
        """Return a line in its styles."""
        line = re.sub(r"\brun_([2-9a-z]{10})\b|(?<=-1-)([2-9a-z]{10})(?=\.)", self._name, line)
        line = line.replace(self._home, "/home/me")
        line = re.sub(r"\b20\d\d-\d\d-\d\d\b", "2026-11-30", line)
        line = re.sub(r"\b\d\d:\d\d\b", "10:15", line)
        line = re.sub(r"\b\d+ s\b", "7 s", line)
        line = re.sub(r"(Python \d+\.\d+)\.\d+", r"\1", line)
        return Text.from_ansi(line)

    def _name(self, match: re.Match[str]) -> str:
        run_id = match[1] or match[2]
        if run_id not in self._ids:
            self._ids[run_id] = _IDS[len(self._ids)]
        name = self._ids[run_id]
        return f"run_{name}" if match[1] else name


def place(outputs: Mapping[str, Output], normalise: Normaliser) -> Iterator[list[Line]]:
    """Give each line its row and the seconds in which it is shown, one scene after the other."""
    now = 0.0
    for number, scene in enumerate(SCENES):
        placed: list[tuple[int, Text, float, float | None]] = []
        row = 0
        for command in scene:
            prompt = Text.assemble(("$ ", "green"), (f"flowport {command}", "bold"))
            placed += [
                (row, Text.assemble(("$", "green")), now, now + _TYPING_SECONDS / 2),
                (row, prompt, now + _TYPING_SECONDS / 2, None),
            ]
            now, row = now + _TYPING_SECONDS, row + 1
            frames = build_frames(outputs[command].progress)
            lines = [part for line in outputs[command].lines for part in wrap(normalise(line))]
            if frames:  # The price is printed before.
                placed.append((row, lines.pop(0), now, None))
                row += 1
            for frame, begins in zip(frames, accumulate([_FRAME_SECONDS] * len(frames), initial=now), strict=False):
                placed.append((row, frame, begins, begins + _FRAME_SECONDS))
            now += _FRAME_SECONDS * len(frames)
            placed += [(row + below, line, now, None) for below, line in enumerate(lines)]
            row += len(lines) + 1
            now += _READING_SECONDS
        yield [
            Line(row, text, begins, ends or now, is_still=number == _STILL and ends is None)
            for row, text, begins, ends in placed
        ]


def build_frames(progress: list[str]) -> list[Text]:
    """Return the lines of the progress: the messages as they came, the spinner, bar and seconds at an even pace."""
    found = [match for line in progress if (match := _PROGRESS.search(Text.from_ansi(line).plain))]
    messages: dict[str, str] = {}
    for match in found:
        state = match["message"].strip().partition(";")[0]
        if ";" not in messages.get(state, ""):  # The usual duration may come a little later.
            messages[state] = match["message"].strip()
    if "running" not in messages:  # Nothing but a short wait for the catalogue.
        return []
    paced = [message for state, message in messages.items() for _ in range(_FRAMES_OF.get(state, 1))]
    has_bar = any(match["bar"] for match in found)
    console = Console(color_system="standard", force_terminal=True, width=10)
    frames = []
    for second, message in enumerate(paced, start=1):
        with console.capture() as capture:
            console.print(ProgressBar(total=len(paced) + 0.5, completed=second, width=10), end="")
        bar = Text.assemble(Text.from_ansi(capture.get()), " ") if has_bar else ""
        words = re.sub(r"\d+ s", "7 s", message)
        frames.append(Text.assemble(_SPINNER[second % len(_SPINNER)], " ", bar, f"{second} s {words}"))
    return frames


def wrap(line: Text) -> list[Text]:
    """Return a line as the rows that it takes in the terminal."""
    return list(line.divide(range(COLUMNS, len(line), COLUMNS)))


if __name__ == "__main__":
    sys.exit(main())
