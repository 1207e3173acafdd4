"""Which Flowport processes of a home are alive, and which of them does what one does for all: ports of the store.

On one machine OS file locks answer, see `process_lock`. A team's store would answer from rows that its processes renew.
Liveness is asked before a transaction, never inside one.
"""

from typing import Protocol


class Workers(Protocol):
    """This process among those of its home. It is registered for as long as the object is open."""

    process_id: str
    """Of this process; no other process has or had the same."""

    def is_alive(self, process_id: str) -> bool:
        """Return whether a process is alive. If that cannot be found out, it counts as alive, so nothing of it is touched."""

    def has_died(self, process_id: str) -> bool:
        """Return whether a process of this home ended without releasing; processes of other homes are not known."""

    def release(self) -> None:
        """Unregister this process; a second call does nothing."""


class Leadership(Protocol):
    """The right to do something that one process does for all. It is kept until it is released or the process ends."""

    def take(self) -> bool:
        """Take it if no process has it, and return whether this process has it.

        Raises:
            OSError: Its holder cannot be found out.
        """

    def release(self) -> None:
        """Let another process take it."""
