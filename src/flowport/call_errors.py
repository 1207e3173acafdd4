"""The errors of calls that end before anything is recorded; their places in the taxonomy are drawn in `errors`."""

from dataclasses import dataclass
from typing import Final

from flowport.errors import FlowportError
from flowport.labels import format_quoted

_MAX_ID_SHOWN: Final = 60
_MAX_NAMESAKES: Final = 5


@dataclass(frozen=True, slots=True)
class Namesake:
    """One of several apps that are called alike."""

    tool_name: str
    app_id: str
    provider: str

    def __str__(self) -> str:
        return f"{self.tool_name} (id {format_quoted(self.app_id, limit=_MAX_ID_SHOWN)}, {self.provider})"


@dataclass(eq=False)
class AppAmbiguous(FlowportError):
    """Several apps answer to this name, and each is paid for."""

    wanted: str
    namesakes: tuple[Namesake, ...]
    """At least two, in the order of the catalogues."""

    def __str__(self) -> str:
        shown, rest = self.namesakes[:_MAX_NAMESAKES], len(self.namesakes[_MAX_NAMESAKES:])
        *most, last = [*map(str, shown), *([f"{rest} more, which find_apps lists"] if rest else [])]
        return (
            f"Several apps are called {format_quoted(self.wanted)}: {', '.join(most)} and {last}. "
            "Nothing was started; name one by its tool name."
        )
