"""One tool of our own: its inputs, how they are parsed, and the function that answers it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from flowport.actions.views.view import View
from flowport.actions.workspace import Workspace
from flowport.catalog.arguments import find_unknown, parse_arguments
from flowport.domain.call_errors import build_refusal
from flowport.domain.errors import ArgumentsInvalid
from flowport.domain.models import App, Input, InputKind, JsonValue, Option
from flowport.providers.registry import get_plugins
from flowport.runs.delivery import Caller

Arguments: TypeAlias = Mapping[str, JsonValue]

PROVIDER_NAMES: Final = " or ".join(plugin.name for plugin in get_plugins())


@dataclass(frozen=True, slots=True)
class BuiltInTool:
    """One thing that a user can ask for."""

    name: str
    title: str
    description: str
    answer: Callable[[Workspace, Caller, Arguments], Awaitable[View]]
    """Answers a call with the arguments as they came."""
    inputs: tuple[Input, ...] = ()
    """Their ids are the argument names, their labels the descriptions."""
    is_read_only: bool = True
    """Whether calling it can neither spend nor change anything."""
    is_for_run: bool = False
    """Whether a call of it starts runs."""

    @property
    def app(self) -> App:
        """The tool as if it were an app, so that its arguments are parsed and refused in the same words."""
        return App("flowport", self.name, self.title, is_own=True, price_credits=None, inputs=self.inputs, read_at=0.0)

    @property
    def argument_names(self) -> Mapping[str, str]:
        """Argument name by input id; the two are the same here."""
        return {item.id: item.id for item in self.inputs}

    def parse(self, arguments: Arguments) -> dict[str, JsonValue]:
        """Return the arguments by name.

        Raises:
            ArgumentsInvalid: One does not fit; an unknown one only where it could matter.
        """
        try:
            return parse_arguments(self.app, self.argument_names, arguments, ignores_unknown=self.is_read_only)
        except ArgumentsInvalid as exc:
            raise replace(exc, is_for_run=self.is_for_run) from exc

    def find_ignored(self, arguments: Arguments) -> str:
        """Return a sentence about arguments that are unknown and changed nothing; empty when there are none."""
        unknown = find_unknown(self.app, self.argument_names, arguments)
        return f"{', '.join(unknown)}: not an argument of this tool; it changed nothing." if unknown else ""


def build_input(
    name: str, kind: InputKind, label: str, *, is_required: bool = False, options: tuple[str, ...] = ()
) -> Input:
    """Return an input of a tool of our own."""
    choices = tuple(Option(option, option) for option in options)
    return Input(name, name, kind, label, is_required=is_required, options=choices)


def get_whole(given: Arguments, name: str, default: int, *, is_for_run: bool = True) -> int:
    """Return a whole number that was given; its range is checked by now.

    Raises:
        ArgumentsInvalid: It is a fraction.
    """
    number = given.get(name, default)
    if isinstance(number, float) and not number.is_integer():
        raise build_refusal(name, "was given a fraction", "It takes a whole number.", is_for_run=is_for_run)
    return int(str(number).partition(".")[0])
