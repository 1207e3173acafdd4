"""Draw lines of a terminal that come and go as one SVG: without scripts, fonts or anything from elsewhere."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from rich.console import Console
from rich.style import Style
from rich.text import Text

_CELL, _ROW, _MARGIN, _BAR = 8.4, 19.0, 16.0, 34.0
_STYLE: Final = """
svg { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace;
  --ground: #f6f8fa; --edge: #d1d9e0; --ink: #1f2328; --dim: #59636e;
  --red: #cf222e; --green: #1a7f37; --yellow: #7d4e00; --blue: #0969da; --magenta: #8250df; --cyan: #1b7c83 }
@media (prefers-color-scheme: dark) { svg { --ground: #0d1117; --edge: #3d444d; --ink: #e6edf3; --dim: #9198a1;
  --red: #ff7b72; --green: #3fb950; --yellow: #d29922; --blue: #58a6ff; --magenta: #bc8cff; --cyan: #39c5cf } }
.ground { fill: var(--ground); stroke: var(--edge) } .dot { fill: var(--edge) }
text { fill: var(--ink) } .bold { font-weight: bold } .dim { fill: var(--dim) }
.line { visibility: hidden } .still { visibility: visible }
"""
_WORDS: Final = re.compile(r"\S+(?: \S+)*")
_COLOURS: Final = ("ink", "red", "green", "yellow", "blue", "magenta", "cyan", "ink")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the screen."""

    row: int
    text: Text
    begins_seconds: float
    ends_seconds: float
    is_still: bool
    """Shown where nothing moves."""


def draw(lines: Sequence[Line], columns: int) -> str:
    """Return the picture. It repeats; readers who want no motion see the still lines."""
    total = max(line.ends_seconds for line in lines)
    width, height = columns * _CELL + 2 * _MARGIN, (max(line.row for line in lines) + 1) * _ROW + _BAR + _MARGIN
    spans = sorted({(line.begins_seconds, line.ends_seconds) for line in lines})
    colours = "".join(f".c{number} {{ fill: var(--{name}) }}\n" for number, name in enumerate(_COLOURS))
    moves = "".join(_build_move(number, *span, total) for number, span in enumerate(spans))
    still = "@media (prefers-reduced-motion: reduce) { .line { animation: none !important } }\n"
    dots = "".join(f'<circle class="dot" cx="{20 + 18 * n}" cy="18" r="5"/>' for n in range(3))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img">',
        "<title>Flowport in a terminal: apps with their prices, a run with its progress, the runs, a check</title>",
        f"<style>{_STYLE}{colours}{moves}{still}</style>",
        f'<rect class="ground" x=".5" y=".5" width="{width - 1:.0f}" height="{height - 1:.0f}" rx="8"/>{dots}',
    ]
    for line in lines:
        number = spans.index((line.begins_seconds, line.ends_seconds))
        kind = f"line m{number}{' still' if line.is_still else ''}"
        parts.append(f'<g class="{kind}">{"".join(_draw_line(line))}</g>')
    return "\n".join([*parts, "</svg>", ""])


def _build_move(number: int, begins: float, ends: float, total: float) -> str:
    """Return the rules that show something during its seconds, and hide it during the others."""
    stops = {0.0: "hidden", 100 * begins / total: "visible"}
    stops |= {100 * ends / total: "hidden"} if ends < total else {}
    steps = " ".join(f"{stop:.2f}% {{ visibility: {state} }}" for stop, state in stops.items())
    return f"@keyframes k{number} {{ {steps} }}\n.m{number} {{ animation: k{number} {total:.1f}s step-end infinite }}\n"


def _draw_line(line: Line) -> Iterator[str]:
    """Return the words of each style. Each group of words has its width, so that columns stay straight in every font."""
    column, baseline = 0, line.row * _ROW + _BAR + _ROW * 0.75
    for piece in line.text.render(Console(), ""):
        kind = _get_classes(piece.style)
        for match in _WORDS.finditer(piece.text):
            x, words = _MARGIN + (column + match.start()) * _CELL, match.group()
            place = f'x="{x:.1f}" y="{baseline:.1f}" textLength="{len(words) * _CELL:.1f}"'
            yield f"<text {place}{kind}>{escape(words, quote=False)}</text>"
        column += len(piece.text)


def _get_classes(style: Style | None) -> str:
    if style is None:
        return ""
    number = style.color.number if style.color is not None else None
    colour = "" if number is None else f"c{number % 8}" if number not in {7, 8} else "dim"
    names = [name for name in ("bold" if style.bold else "", "dim" if style.dim else "", colour) if name]
    return f' class="{" ".join(names)}"' if names else ""
