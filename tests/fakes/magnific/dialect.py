"""The forms in which the provider's API has been seen, one of which a sandbox speaks at a time."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from flowport.sandbox.apps import OptionShape


class Style(StrEnum):
    """A path family, or both over one store."""

    FLOWS = "flows"
    APPS = "apps"
    BOTH = "both"


class Family(StrEnum):
    """One of the two path families; the word is the path segment."""

    FLOWS = "flows"
    APPS = "apps"


class ErrorBodies(StrEnum):
    """What goes with a 404 and a 422, for which the specification gives no body."""

    JSON = "json"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class Dialect:
    """One form of the API."""

    style: Style = Style.BOTH
    has_tool_metadata: bool = True
    """Without it nothing reports a price; a live list was seen so."""
    has_key: bool = True
    """Whether inputs carry the deprecated `key`; the live service no longer sends it."""
    has_api_key: bool | None = None
    """Whether inputs carry `api_key`; None: in the flows family alone, as documented."""
    option_shape: OptionShape | None = None
    """How every select writes its options; None: as its app says."""
    error_bodies: ErrorBodies = ErrorBodies.JSON

    def speaks(self, family: Family) -> bool:
        """Check whether the paths of a family exist."""
        return self.style in {Style.BOTH, Style(family)}

    def shows_api_key(self, family: Family) -> bool:
        """Check whether inputs carry `api_key` in this family."""
        return family is Family.FLOWS if self.has_api_key is None else self.has_api_key


PLAIN: Final = Dialect()
"""The API as it is documented, with both families."""
