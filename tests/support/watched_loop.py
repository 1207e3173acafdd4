"""An event loop that finds files that were closed, or whose number went to another file, while the loop still waited for them.

The loop keeps its callbacks by file number, the kernel by file. A file that is closed without `remove_reader` leaves its
number behind: the loop takes the next file with that number for known, and does not register it with the kernel. A listener then
accepts nothing, and nothing reports why. See python/cpython#88968.
"""

import asyncio
import os
import selectors
import sys
from dataclasses import dataclass
from types import CodeType, FrameType, SimpleNamespace
from typing import Any, Final, TypeAlias, cast

_DEPTH: Final = 24
"""How many callers of a registration are kept."""

_Caller: TypeAlias = tuple[CodeType, int]
"""What was running, and the line."""


@dataclass(frozen=True, slots=True)
class _Registration:
    """A file that the loop waits for."""

    identity: tuple[int, int]
    """Its device and inode."""
    callers: tuple[_Caller, ...]
    """Who asked, nearest first."""


class StaleFile(AssertionError):
    """A file was closed while the loop waited for it."""


class WatchedSelector(selectors.DefaultSelector):
    """A selector that reports `StaleFile` where it would silently wait for the wrong file."""

    def __init__(self) -> None:
        """Begin empty."""
        super().__init__()
        self._registered: dict[int, _Registration] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Note which file it is."""
        key = super().register(fileobj, events, data)
        self._registered[key.fd] = _Registration(_identify(key.fd) or (0, 0), _find_callers())
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Refuse a number that belongs to another file by now: the kernel would not learn of it."""
        self._check(self.get_key(fileobj).fd)
        return super().modify(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Refuse a number that belongs to another file by now: that one would be forgotten."""
        key = super().unregister(fileobj)
        try:
            self._check(key.fd)
        finally:
            del self._registered[key.fd]
        return key

    def close(self) -> None:
        """Report each file that was closed and never removed, which fails the test; the loop itself closes."""
        super().close()
        for descriptor in self._registered:
            try:
                self._check(descriptor)
            except StaleFile as exc:
                report = SimpleNamespace(
                    exc_type=StaleFile, exc_value=exc, exc_traceback=exc.__traceback__, err_msg=None, object=self
                )
                sys.unraisablehook(cast("sys.UnraisableHookArgs", report))

    def _check(self, descriptor: int) -> None:
        registration, now = self._registered[descriptor], _identify(descriptor)
        if now != registration.identity:
            state = "was closed" if now is None else "belongs to another file"
            callers = "\n  ".join(map(_format_caller, registration.callers))
            raise StaleFile(
                f"file {descriptor} {state} while the loop waited for it; it was registered by\n  {callers}"
            )


def open_watched_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of a test."""
    return asyncio.SelectorEventLoop(WatchedSelector())


def _identify(descriptor: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _find_callers() -> tuple[_Caller, ...]:
    frame: FrameType | None = sys._getframe(2)
    found: list[_Caller] = []
    while frame is not None and len(found) < _DEPTH:
        found.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return tuple(found)


def _format_caller(caller: _Caller) -> str:
    code, line = caller
    return f"{code.co_filename}:{line} in {code.co_qualname}"
