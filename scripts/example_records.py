"""What an example of an error is, and how its sentence is written down."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flowport.domain.errors import FlowportError

SHOWN_FOLDER: Final = "/home/me"
"""Stands in the document for the folder in which the examples were made."""


@dataclass(frozen=True, slots=True)
class Example:
    """One thing that goes wrong."""

    given: str
    """What was given, or what happened."""
    error: FlowportError


@dataclass(frozen=True, slots=True)
class Section:
    """Examples of one kind."""

    title: str
    reader: str
    """Who reads these sentences, and who acts on them."""
    examples: tuple[Example, ...]


def format_sentence(error: FlowportError, folder: str = "") -> str:
    """Return an error's sentence on one line, with the folder of the examples called by its usual name."""
    text = str(error).replace(folder, SHOWN_FOLDER) if folder else str(error)
    return " ".join(text.split())


def catch(given: str, work: Callable[[], object], folder: Path | None = None) -> Example:
    """Return the example of what this work raises, without the name of the folder in which it is done."""
    try:
        work()
    except FlowportError as exc:
        if folder is None:
            return Example(given, exc)
        sentence = format_sentence(exc, str(folder))
        return Example(given, Told(type(exc), sentence))
    message = f"{given} is no error"
    raise AssertionError(message)


class Told(FlowportError):
    """An error whose sentence was made with another folder's name."""

    def __init__(self, kind: type[FlowportError], sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


def get_class_name(error: FlowportError) -> str:
    """Return the name of an example's class."""
    return error.kind.__name__ if isinstance(error, Told) else type(error).__name__
