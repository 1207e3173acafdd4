"""An example of an error, and how its message is formatted."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flowport.domain.errors import FlowportError

SHOWN_FOLDER: Final = "/home/me"
"""Replaces the temporary folder of the examples in the document."""


@dataclass(frozen=True, slots=True)
class Example:
    """One error."""

    given: str
    """The input, or the event."""
    error: FlowportError


@dataclass(frozen=True, slots=True)
class Section:
    """Examples of one kind."""

    title: str
    reader: str
    """Who reads these messages, and who acts on them."""
    examples: tuple[Example, ...]


def format_sentence(error: FlowportError, folder: str = "") -> str:
    """Return an error's message on one line, with the folder of the examples replaced."""
    text = str(error).replace(folder, SHOWN_FOLDER) if folder else str(error)
    return " ".join(text.split())


def catch(given: str, work: Callable[[], object], folder: Path | None = None) -> Example:
    """Return the example of the error that this work raises, without the name of its folder."""
    try:
        work()
    except FlowportError as exc:
        if folder is None:
            return Example(given, exc)
        sentence = format_sentence(exc, str(folder))
        return Example(given, FormattedError(type(exc), sentence))
    message = f"{given} raises no error"
    raise AssertionError(message)


class FormattedError(FlowportError):
    """An error whose message was formatted already, because it names another folder."""

    def __init__(self, kind: type[FlowportError], sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


def get_class_name(error: FlowportError) -> str:
    """Return the name of an example's class."""
    return error.kind.__name__ if isinstance(error, FormattedError) else type(error).__name__
