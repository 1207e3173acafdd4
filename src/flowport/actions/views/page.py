"""The page that shows a run, a batch and the history. `make gallery` builds it from `gallery/`."""

from pathlib import Path
from typing import Final

PAGE_PATH: Final = Path(__file__).with_name("run.html")


def read_page() -> str:
    """Return the page: one HTML file with its style and its script."""
    return PAGE_PATH.read_text(encoding="utf-8")
