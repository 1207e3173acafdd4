"""What the doctor found out, before anything is judged. A `problem` is the end of a sentence, empty where all is well."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowport.domain.errors import ConfigurationError, FlowportError
from flowport.network.ratelimit.limiter import LimiterStatus


@dataclass(frozen=True, slots=True)
class Answered:
    """The provider answered the request for its first list, by `style`'s paths."""

    apps: int
    style: str
    skew_seconds: float | None
    """How far this computer's clock is ahead of the provider's; None if the provider gave no date."""


@dataclass(frozen=True, slots=True)
class Failed:
    """It gave no list; without an error, none in time."""

    error: FlowportError | None
    cause: str
    advice: str = ""

    @property
    def sentence(self) -> str:
        """The cause with what to do."""
        return f"{self.cause} {self.advice}".strip()


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """One configured account, and where its key comes from."""

    title: str
    provider: str
    host: str
    key_setting: str
    origin: str
    outcome: Answered | Failed
    limit: LimiterStatus | None = None


@dataclass(frozen=True, slots=True)
class FolderFacts:
    """One folder that is written to, and the variable that moves it."""

    purpose: str
    setting: str
    path: Path
    problem: str = ""
    is_needed: bool = True
    free_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What came of starting a server for its list of tools."""

    tools: Sequence[Mapping[str, Any]] = ()
    size_bytes: int = 0
    problem: str = ""
    noise: str = ""
    """The first line on its standard output that is not a message of the protocol."""


@dataclass(frozen=True, slots=True)
class ClientFacts:
    """A client's file, and its entry for Flowport; without one, `server` is empty."""

    client: str
    title: str
    path: Path
    problem: str = ""
    server: str = ""
    command: str = ""
    not_tried: str = ""
    """Why its command was not started, as the end of a sentence."""
    outcome: ServerFacts = ServerFacts()
    refusal: ConfigurationError | None = None
    """What is wrong with the settings that the entry gives; the server then refuses every call."""
