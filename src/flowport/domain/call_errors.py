"""Errors of calls that name something that does not exist, or that end before anything is recorded. See the tree in `errors`."""

from dataclasses import dataclass
from typing import Final

from flowport.domain.errors import ArgumentProblem, ArgumentsInvalid, FlowportError
from flowport.domain.text import format_quoted

_MAX_ID_SHOWN: Final = 60
_MAX_NAMESAKES: Final = 5


@dataclass(frozen=True, slots=True)
class Namesake:
    """One of several apps with the same name."""

    tool_name: str
    app_id: str
    provider: str

    def __str__(self) -> str:
        return f"{self.tool_name} (id {format_quoted(self.app_id, limit=_MAX_ID_SHOWN)}, {self.provider})"


@dataclass(eq=False)
class AppAmbiguous(FlowportError):
    """Several apps have this name, so none is run."""

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


@dataclass(eq=False)
class DefinitionNotRead(FlowportError):
    """The call's wait budget ended before the app's definition was read; reading continues in the background."""

    app_name: str
    provider: str
    """As people write it."""
    wait_seconds: int | None
    """How long a request still waits for the rate limit; None if the provider has not answered yet."""

    def __str__(self) -> str:
        why, when = f"{self.provider} has not answered yet", "in a moment"
        if self.wait_seconds is not None:
            why = "the requests of this minute are used up"
            when = f"in about {self.wait_seconds} second{'s' * (self.wait_seconds != 1)}"
        return (
            f"Nothing was started and nothing is charged: the definition of {format_quoted(self.app_name)} could not be read "
            f"in time, because {why}. The reading goes on; call again {when}."
        )


@dataclass(eq=False)
class AppNotFound(FlowportError):
    """No app has this name."""

    wanted: str
    nearest: tuple[str, ...]
    """Similar tool names, nearest first; may be empty."""
    catalogue_problem: str = ""
    """Why the app may exist nevertheless, as a sentence: a catalogue could not be read. Empty if all were read."""
    is_tool: bool = False
    """Whether a tool of this name was called, rather than an app named in an argument."""

    def __str__(self) -> str:
        hint = f" Did you mean {' or '.join(self.nearest)}?" if self.nearest else ""
        if self.catalogue_problem:
            return f"{self.catalogue_problem} There is no app {self.wanted!r} among those that could be read.{hint}"
        return f"There is no app {self.wanted!r}.{hint} find_apps lists what there is."


@dataclass(eq=False)
class RunNotOver(FlowportError):
    """A run that is not over cannot be erased."""

    run_id: str

    def __str__(self) -> str:
        return (
            f"The run {self.run_id[:_MAX_ID_SHOWN]!r} is not over, and its result may still come: only what is over can "
            "be erased. Wait for its end, or cancel it if it was not sent yet."
        )


@dataclass(eq=False)
class ResourceNotFound(FlowportError):
    """No resource of this owner has this URI."""

    uri: str

    def __str__(self) -> str:
        return "There is no such resource. list_runs shows the runs; each answer names the resources of its run."


def build_refusal(argument: str, problem: str, expected: str = "", *, is_for_run: bool = True) -> ArgumentsInvalid:
    """Return the error for one argument; the texts are those of `ArgumentProblem`."""
    return ArgumentsInvalid((ArgumentProblem(argument, problem, expected),), is_for_run=is_for_run)
