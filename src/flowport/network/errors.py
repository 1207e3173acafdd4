"""Errors of files on their way in and out."""

from dataclasses import dataclass

from flowport.errors import FlowportError


@dataclass(eq=False)
class UploadError(FlowportError):
    """A file could not be put where the provider takes uploads."""

    place: str
    """The host, never the path or query, which hold a token."""
    problem: str
    status: int = 0
    """What the server of that place answered; 0 when it answered nothing."""
    is_permanent: bool = False
    """The same file would fail the next time as well."""

    def __str__(self) -> str:
        return f"The file could not be uploaded to {self.place}: {self.problem}."


@dataclass(eq=False)
class FetchError(FlowportError):
    """A file could not be fetched from where its link points."""

    place: str
    """The host of the link; never its path or query, which may hold a token."""
    problem: str
    """Why, as the end of a sentence."""
    is_expired: bool = False
    """The server says that the link is no longer good (403, 404 or 410)."""
    is_refused: bool = False
    """Our own rules forbid it, and would the next time: the address is not one to ask, or the file is too large."""

    def __str__(self) -> str:
        return f"The file at {self.place} could not be fetched: {self.problem}."
