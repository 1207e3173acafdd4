"""Standard output and standard error that may fail: a lost message is ignored, a lost result is an error of its own."""

import io
import os
import sys
from typing import TYPE_CHECKING, Any, Final, Protocol, TextIO

if TYPE_CHECKING:
    from typing_extensions import Buffer

_LAST_STANDARD: Final = 2


class OutputLost(OSError):
    """Standard output could not be written: what reads it has gone, or the disk is full."""


class _Raw(Protocol):
    """What a stream writes to: a file, or the console of Windows."""

    def write(self, data: "Buffer", /) -> int | None: ...

    def fileno(self) -> int: ...

    def isatty(self) -> bool: ...


class MessageFile(io.RawIOBase):
    """Takes every message. After the first that could not be written no other is tried.

    A command says how it goes on standard error. A reader that is gone must not end a run that is paid for, and libraries
    write there too (a bar of progress, a question, a refused flag), so it is decided here and not by each of them.
    """

    def __init__(self, raw: _Raw | None) -> None:
        """Begin; without a file everything is dropped."""
        self._raw = raw
        self._is_lost = raw is None

    def write(self, data: "Buffer", /) -> int:
        """Write what can be written."""
        size = len(memoryview(data).cast("B"))
        if self._raw is None or self._is_lost:
            return size
        try:
            written = self._raw.write(data)
        except (OSError, ValueError):
            self._is_lost = True
            return size
        # None: a full pipe, for which no process may wait.
        return size if written is None else written

    def writable(self) -> bool:
        """Return that it takes text."""
        return True

    def fileno(self) -> int:
        """Return the descriptor."""
        if self._raw is None:
            raise io.UnsupportedOperation
        return self._raw.fileno()

    def isatty(self) -> bool:
        """Return whether a person sees it."""
        return self._raw is not None and self._raw.isatty()


class ResultFile(io.RawIOBase):
    """Says by an error of its own that standard output failed, so that it is not taken for a fault of the command."""

    def __init__(self, raw: _Raw) -> None:
        """Begin."""
        self._raw = raw

    def write(self, data: "Buffer", /) -> int | None:
        """Write a part of the result.

        Raises:
            OutputLost: It could not be written.
        """
        try:
            return self._raw.write(data)
        except OSError as exc:
            raise OutputLost(exc.errno, exc.strerror) from exc

    def writable(self) -> bool:
        """Return that it takes text."""
        return True

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._raw.fileno()

    def isatty(self) -> bool:
        """Return whether a person sees it."""
        return self._raw.isatty()


def prepare_streams(*, is_output_checked: bool) -> None:
    """Have both streams handle what cannot be written. A stream that a program has put there itself is left.

    Args:
        is_output_checked: Whether standard output holds results; a server speaks a protocol there and checks it itself.
    """
    _fill_descriptors()
    messages: TextIO | None = sys.stderr
    results: TextIO | None = sys.stdout
    if messages is None:
        sys.stderr = io.TextIOWrapper(io.BufferedWriter(MessageFile(None)), encoding="utf-8", errors="replace")
    elif messages is sys.__stderr__ and isinstance(messages, io.TextIOWrapper):
        sys.stderr = _wrap(messages, MessageFile(_get_raw(messages)))
    if is_output_checked and results is sys.__stdout__ and isinstance(results, io.TextIOWrapper):
        sys.stdout = _wrap(results, ResultFile(_get_raw(results)))


def discard_output() -> None:
    """Drop what standard output has not taken: it would raise once more at the end of the program."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fill_descriptors() -> None:
    """Give closed standard streams a file. Else the next file gets the number, and a message would be written into it."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _LAST_STANDARD:
        pass
    os.close(descriptor)


def _get_raw(stream: "io.TextIOWrapper[Any]") -> _Raw:
    raw: _Raw = getattr(stream.buffer, "raw", stream.buffer)
    return raw


def _wrap(stream: "io.TextIOWrapper[Any]", file: io.RawIOBase) -> TextIO:
    """Return a stream as the given one that writes to a file."""
    return io.TextIOWrapper(
        io.BufferedWriter(file),
        encoding=stream.encoding,
        errors=stream.errors,
        # Who has asked for unbuffered streams gets each line at once.
        line_buffering=stream.line_buffering or stream.write_through,
        write_through=stream.write_through,
    )
