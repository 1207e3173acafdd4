"""What the doctor found out, before anything is judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from flowport.domain.errors import ConfigurationError, FlowportError
from flowport.network.connections import Proxy
from flowport.network.ratelimit.limiter import LimiterStatus


@dataclass(frozen=True, slots=True)
class Answered:
    """The provider answered the request for its first list."""

    apps: int
    style: str
    """The path family."""
    skew_seconds: float | None
    """How far this computer's clock is ahead of the provider's; None if the provider gave no date."""


@dataclass(frozen=True, slots=True)
class Failed:
    """It gave no list."""

    error: FlowportError | None
    """None when no answer came in time."""
    sentence: str


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """One configured account."""

    title: str
    provider: str
    host: str
    key_setting: str
    origin: str
    """Where the key comes from."""
    outcome: Answered | Failed
    limit: LimiterStatus | None = None


@dataclass(frozen=True, slots=True)
class RouteFacts:
    """How one kind of address is reached from here."""

    purpose: str
    route: Proxy | ConfigurationError | None
    """None for a direct connection."""


@dataclass(frozen=True, slots=True)
class FolderFacts:
    """One folder that is written to."""

    purpose: str
    setting: str
    """The variable that moves it; empty if none does."""
    path: Path
    problem: str = ""
    """Why nothing can be written there; empty if it can."""
    is_needed: bool = True
    """Whether runs need it."""
    free_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A server was started and listed its tools."""

    tools: Sequence[Mapping[str, Any]]
    size_bytes: int
    """Of the whole list, as it came."""
    noise: str = ""
    """The first line on its standard output that is not a message of the protocol."""


@dataclass(frozen=True, slots=True)
class NotListed:
    """A server could not be started, ended, or did not answer in time."""

    problem: str
    """As the end of a sentence that begins with its command."""
    noise: str = ""


ServerOutcome: TypeAlias = Listed | NotListed


@dataclass(frozen=True, slots=True)
class ClientFacts:
    """A client's file, and its entry for Flowport."""

    client: str
    title: str
    path: Path
    problem: str = ""
    """Why the file or the entry cannot be read; empty if it can."""
    server: str = ""
    """The name of the entry; empty without one."""
    command: str = ""
    not_tried: str = ""
    """Why its command was not started, as the end of a sentence."""
    outcome: ServerOutcome | None = None
