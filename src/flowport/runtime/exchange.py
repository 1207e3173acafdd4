"""One request in progress: whether its client waits, left, or got the answer, and who has to know.

A handler returns before its answer is written, so it cannot know whether it was. It registers a listener with the exchange,
and the transport reports whether the answer was written.
"""

from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol, TypeAlias

RequestId: TypeAlias = str | int


class AnswerListener(Protocol):
    """Receives the reports about one answer."""

    def note_written(self) -> None:
        """The answer was written to the client."""

    def note_cancelled(self) -> None:
        """The client cancelled the request although its answer was written."""

    def note_left(self) -> None:
        """The client no longer waits, and the answer was not written."""


class _State(Enum):
    OPEN = auto()
    WRITTEN = auto()
    CANCELLED = auto()
    DISCONNECTED = auto()


class Exchange:
    """One request in progress. Its methods are called only on the event loop."""

    def __init__(self, request_id: RequestId | None = None) -> None:
        """Open an exchange; `request_id` is the client's id of the request."""
        self.request_id = request_id
        self.is_progress_wanted = True
        """Whether the client takes notifications of progress; a transport whose requests say so sets it."""
        self._state = _State.OPEN
        self._listener: AnswerListener | None = None
        self._on_left: Callable[[], None] | None = None
        self._on_closed: Callable[[], None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the client is connected and waits for the answer."""
        return self._state is _State.OPEN

    @property
    def is_written(self) -> bool:
        """Whether the answer was written to the client."""
        return self._state is _State.WRITTEN

    @property
    def is_disconnected(self) -> bool:
        """Whether the client disconnected or cancelled the request before it was answered."""
        return self._state in {_State.CANCELLED, _State.DISCONNECTED}

    @property
    def listener(self) -> AnswerListener | None:
        """The listener of this exchange; None if the answer delivers nothing."""
        return self._listener

    def set_on_left(self, on_left: Callable[[], None]) -> None:
        """Call `on_left` once if the client disconnects or cancels before the answer; immediately if it already has."""
        if self.is_disconnected:
            on_left()
        else:
            self._on_left = on_left

    def interrupt(self) -> None:
        """End the work on the answer, as if the client had left, although it waits for what it is answered instead."""
        if self._on_left is not None:
            self._on_left()

    def set_on_closed(self, on_closed: Callable[[], None]) -> None:
        """Call `on_closed` once when the client no longer waits, whether or not it got the answer; the exchange is open."""
        self._on_closed = on_closed

    def expect(self, listener: AnswerListener) -> None:
        """Register the listener for the answer that is about to be given to the transport."""
        if not self.is_disconnected:
            self._listener = listener

    def withdraw(self) -> None:
        """Remove the listener, because a different answer is given."""
        listener, self._listener = self._listener, None
        if listener is not None and self._state is not _State.WRITTEN:
            listener.note_left()

    def note_written(self) -> None:
        """Record that the transport wrote the answer."""
        before = self._state
        if before in {_State.WRITTEN, _State.DISCONNECTED}:
            return
        self._state = _State.WRITTEN
        self._on_left = None
        self._close()
        if self._listener is not None:
            self._listener.note_written()
            if before is _State.CANCELLED:
                self._listener.note_cancelled()

    def note_cancelled(self) -> None:
        """Record that the client cancelled the request. An answer on its way may still be written."""
        if self._state is _State.WRITTEN and self._listener is not None:
            self._listener.note_cancelled()
        self._leave(_State.CANCELLED)

    def note_disconnected(self) -> None:
        """Record that the client disconnected; nothing reaches it any more."""
        self._leave(_State.DISCONNECTED)
        if self._state is _State.CANCELLED:
            self._state = _State.DISCONNECTED
        if self._state is _State.DISCONNECTED:
            self._listener = None

    def _leave(self, state: _State) -> None:
        if self._state is not _State.OPEN:
            return
        self._state = state
        if self._listener is not None:
            self._listener.note_left()
        self._close()
        on_left, self._on_left = self._on_left, None
        if on_left is not None:
            on_left()

    def _close(self) -> None:
        on_closed, self._on_closed = self._on_closed, None
        if on_closed is not None:
            on_closed()
