"""Commands that accept no abbreviation, since it could mean another flag in the next version, and suggest the nearest flag."""

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click

from flowport.domain.models import LOCAL_OWNER
from flowport.domain.text import get_nearest
from flowport.providers.registry import get_plugins
from flowport.settings.values import Variable, get_default_config_path
from flowport.settings.variables import get_key_names, get_secret_names, get_variables

_Function = TypeVar("_Function", bound=Callable[..., Any])
_PREFIX: Final = "FLOWPORT_"


class Command(click.Command):
    """A command with examples, whose refusals suggest the nearest flag."""

    def __init__(
        self,
        *arguments: Any,
        inputs: Mapping[str, str] | None = None,
        examples: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        """Create the command.

        Args:
            inputs: What each argument without a flag means.
            examples: Command lines, shown in the help.
            variables: The environment variables that matter most here, and what each does.
        """
        super().__init__(*arguments, **options)
        self._inputs = inputs or {}
        self._examples = examples
        self._variables = variables or {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the flags; unknown ones are refused with a suggestion for each."""
        given, ctx.allow_extra_args = list(args), True
        try:
            rest = super().parse_args(ctx, args)
        except click.NoSuchOption:
            self._refuse(ctx, given)
        if rest and not ctx.resilient_parsing:
            ctx.fail(f"the argument {rest[0]!r} is not expected")
        return rest

    def _refuse(self, ctx: click.Context, words: Sequence[str]) -> NoReturn:
        """Name the unknown flags. Their values are not repeated: what follows an unknown flag may be a key."""
        options = [one for one in self.get_params(ctx) if isinstance(one, click.Option)]
        every = {name: one for one in options for name in (*one.opts, *one.secondary_opts)}
        shown = [name for name, one in every.items() if not one.hidden]
        problems, is_value = [], False
        for word in words:
            name, has_value, _ = word.partition("=")
            if is_value:
                is_value = False
            elif word == "--":
                break
            elif name in every:
                is_value = not has_value and not every[name].is_flag and not every[name].count
            elif name.startswith("-") and name != "-":
                problems.append(f"there is no flag {name}{_format_hint(name, shown)}")
        raise click.UsageError(", ".join(problems), ctx)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the line of usage."""
        formatter.write_usage(ctx.command_path, " ".join(self.collect_usage_pieces(ctx)), prefix="usage: ")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the arguments, the flags, the variables and the examples."""
        if self._inputs:
            with formatter.section("Arguments"):
                formatter.write_dl(list(self._inputs.items()))
        super().format_options(ctx, formatter)
        if self._variables:
            with formatter.section("Environment"):
                formatter.write_dl(list(self._variables.items()))
        if self._examples:
            with formatter.section("Examples"):
                for line in self._examples:
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")


class CommandGroup(click.Group):
    """A command that consists of several, with examples."""

    command_class = Command

    def __init__(self, *arguments: Any, examples: Sequence[str] = (), **options: Any) -> None:
        """Create the group; the examples are command lines, shown in the help."""
        super().__init__(*arguments, **options)
        self._examples = examples

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command and its arguments; a name that does not exist is refused with the nearest one."""
        if args[0] not in self.commands and not ctx.resilient_parsing:
            nearest = get_close_matches(args[0], self.commands, 1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"it takes {' or '.join(self.commands)}."
            ctx.fail(f"`{ctx.command_path}` has no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the line of usage."""
        formatter.write_usage(ctx.command_path, f"[-h] {'|'.join(self.commands)}", prefix="usage: ")

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the examples."""
        with formatter.section("Examples"):
            for line in self._examples:
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def define_command(name: str, **options: Any) -> Callable[[Callable[..., Any]], Command]:
    """Return a decorator that makes a command of a function."""
    return click.command(name, cls=Command, **options)


def parse_age(text: Any) -> float:
    """Parse a duration such as 30d, 12h or 4w, in seconds; without a unit it is in days."""
    found = _AGE.fullmatch(str(text).strip())
    if found is None:
        raise click.BadParameter(f"{text!r} is not an age such as 30d, 12h or 4w")
    return int(found[1]) * _UNITS[(found[2] or "d").lower()]


def parse_credits(text: Any) -> float:
    """Parse a number of credits; what is not a number is refused, "nan" and "inf" too."""
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not 0 <= number <= _MAX_CREDITS:
        raise click.BadParameter(f"{text!r} is not a number from 0 to {_MAX_CREDITS:,}")
    return number


_AGE: Final = re.compile(r"(\d{1,6})\s*(d|h|w)?", re.IGNORECASE)
_UNITS: Final = {"h": 3600.0, "d": 24 * 3600.0, "w": 7 * 24 * 3600.0}
_MAX_CREDITS: Final = 1_000_000_000


def call(module: str, name: str, given: dict[str, Any]) -> int:
    """Import what a command does, which its help and its completion need not, and return its exit code."""
    code: int = getattr(importlib.import_module(module), name)(given)
    return code


def _format_hint(name: str, known: Sequence[str]) -> str:
    """Return a suggestion for a flag, which may be spelt like its variable; may be empty."""
    plain = "-".join(filter(None, name.replace("_", "-").lower().split("-")))
    variable = plain.upper().replace("-", "_")
    keys = get_key_names()
    if variable in keys or variable == "API_KEY":
        named = variable if variable in keys else " or ".join(keys)
        return f"; other users of the machine see flags, so a key is given by the variable {named}"
    nearest = get_nearest(f"--{plain.removeprefix('flowport-')}", known)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def add_config_flag(function: _Function) -> _Function:
    """Add the flag that names the configuration file."""
    usual = get_default_config_path()
    instead = f" instead of {usual}" if usual else ""
    return click.option(
        "--config", type=click.Path(path_type=Path), help=f"A TOML file to read{instead}.", metavar="FILE"
    )(function)


def add_record_flags(function: _Function) -> _Function:
    """Add the flags that select the store."""
    home = click.option("--home", metavar="FOLDER", help="The folder of the record, instead of FLOWPORT_HOME.")
    return home(add_config_flag(function))


def add_json_flag(function: _Function) -> _Function:
    """Add the flag that prints one JSON document."""
    return click.option("--json", "is_json", is_flag=True, help="Print one JSON document.")(function)


def add_yes_flag(function: _Function) -> _Function:
    """Add the flag that answers the questions of a command."""
    return click.option("--yes", "-y", "is_agreed", is_flag=True, help="Answer every question with yes.")(function)


def add_owner_flag(function: _Function) -> _Function:
    """Add the flag that selects the runs of a person on a server."""
    text = "Whose runs, as `flowport token list` names the owner; those of this terminal unless given."
    return click.option("--owner", metavar="OWNER", default=LOCAL_OWNER, help=text)(function)


def add_common_flags(function: _Function) -> _Function:
    """Add the flags that every command about apps and runs has."""
    return add_json_flag(add_record_flags(function))


RECORD_VARIABLES: Final = {
    "FLOWPORT_HOME": "Folder of the record and the catalogue.",
    "FLOWPORT_DATABASE_URL": "The database of a team, which has the record then.",
}
KEY_VARIABLES: Final = {
    **{f"{one.prefix}API_KEY": f"Key of {one.title}; without any key, demo apps are used." for one in get_plugins()},
    **RECORD_VARIABLES,
}
MONEY_VARIABLES: Final = {
    "FLOWPORT_MAX_CREDITS_PER_RUN": "No run above this price.",
    "FLOWPORT_MAX_CREDITS_PER_DAY": "No more than this in 24 hours.",
    "FLOWPORT_MAX_CREDITS_PER_MONTH": "No more than this in 30 days.",
    "FLOWPORT_CONFIRM_ABOVE_CREDITS": "Ask before each run above this price.",
    "FLOWPORT_OUTPUT_DIR": "Where results are saved.",
}


def add_setting_flags(function: Callable[..., int]) -> Callable[..., int]:
    """Add a flag for each variable of ours that this version obeys. Keys have none: flags are public."""
    for variable in reversed(get_variables()):
        is_ours = variable.name.startswith(_PREFIX) and variable.name not in get_secret_names()
        if is_ours:
            names = (build_flag(variable.name), variable.name)
            function = click.option(*names, metavar="VALUE", help=_format_help(variable))(function)
    return function


def _format_help(variable: Variable) -> str:
    default = "" if "below" in variable.default else f" Default: {variable.default}."
    return (variable.meaning + default).replace("`", "")


def build_flag(name: str) -> str:
    """Return the flag of a variable, such as `--wait-seconds` for FLOWPORT_WAIT_SECONDS."""
    return "--" + name.removeprefix(_PREFIX).lower().replace("_", "-")
