"""Shell completion of apps, inputs, choices and files. It answers from the cached catalogue, without the network."""

import importlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    ZshComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from flowport.cli.flags import define_command

SHELLS: Final = ("bash", "zsh", "fish")
MAX_ITEMS: Final = 200

_BASH: Final = """\
%(complete_func)s() {
    mapfile -t COMPREPLY < <(env COMP_WORDS="${COMP_LINE:0:$COMP_POINT}" COMP_BREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1")
    [[ -n ${COMPREPLY[0]-} ]] || COMPREPLY=()
    [[ ${COMPREPLY[0]-} == *[=/] ]] && compopt -o nospace
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class _Bash(BashComplete):
    """Bash breaks a line at `=` and `@` too, and replaces only what follows the last of them."""

    source_template = _BASH
    _kept = 0

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor, and the one at it."""
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)
        incomplete = words.pop() if len(words) > 1 and not line[-1:].isspace() else ""
        breaks = [mark for mark in os.environ.get("COMP_BREAKS", "") if mark in "=@:"]
        self._kept = max((incomplete.rfind(mark) + 1 for mark in breaks), default=0)
        return words[1:], incomplete

    def format_completion(self, item: CompletionItem[str]) -> str:
        """Return what replaces the part after the last break, with spaces and such escaped."""
        return re.sub(r"([^\w@%+=:,./-])", r"\\\1", item.value[self._kept :])


class _Zsh(ZshComplete):
    """Zsh adds no space after `name=`."""

    source_template = ZshComplete.source_template.replace("-V unsorted -a", "-V unsorted -S '' -a")


add_completion_class(_Bash)
add_completion_class(_Zsh)


@define_command(
    "completion",
    inputs={"SHELL": "bash, zsh or fish."},
    examples=(
        "flowport completion bash >> ~/.bashrc",
        "flowport completion zsh >> ~/.zshrc",
        "flowport completion fish > ~/.config/fish/completions/flowport.fish",
    ),
)
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> int:
    """Print the script that lets a shell complete commands, apps, inputs, choices and files."""
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - each choice has one
    main = importlib.import_module("flowport.cli.main")
    script = kind(main.flowport, {}, "flowport", main.COMPLETION_VARIABLE)
    click.echo(script.source_template % script.source_vars())
    return 0


def complete_app(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Return the tools that begin so."""
    apps = [one for one in _load_apps(ctx) if one.listing.tool_name.startswith(incomplete) and not one.listing.left_out]
    clean = importlib.import_module("flowport.domain.text").clean_line
    return [CompletionItem(one.listing.tool_name, help=clean(one.listing.app.name)) for one in apps[:MAX_ITEMS]]


def complete_run(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Return `last`; ids are copied from an answer."""
    return [CompletionItem("last")] if "last".startswith(incomplete) else []


def complete_app_or_run(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Return both."""
    return [*complete_app(ctx, param, incomplete), *complete_run(ctx, param, incomplete)]


def complete_input(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Return names of the app's inputs, then choices or files."""
    listings = [one.listing for one in _load_apps(ctx)]
    name_app = importlib.import_module("flowport.cli.cached_apps").name_app
    wanted = name_app(listings, ctx.params.get("app") or "")
    listing = next((one for one in listings if one.tool_name == wanted), None)
    if listing is None or listing.app.inputs is None:
        return []
    name, has_value, value = incomplete.partition("=")
    inputs = {listing.property_names.get(item.id, ""): item for item in listing.app.inputs}
    if not has_value:
        given = {word.partition("=")[0] for word in ctx.params.get("words") or ()}
        return [CompletionItem(f"{one}=") for one in inputs if one.startswith(incomplete) and one not in given]
    if name not in inputs:
        return []
    if value.startswith("@"):
        return [CompletionItem(f"{name}=@{path}") for path in _find_files(value[1:])]
    return [CompletionItem(f"{name}={one}") for one in _get_values(inputs[name]) if one.startswith(value)][:MAX_ITEMS]


def _load_apps(ctx: click.Context) -> tuple[Any, ...]:
    """Return the apps of the cached catalogues; none when a setting is wrong, since a completion has no place to say so."""
    settings, errors = (importlib.import_module(f"flowport.{name}") for name in ("settings.settings", "domain.errors"))
    home = ctx.params.get("home")
    given = {"FLOWPORT_HOME": home} if home else {}
    try:
        loaded = settings.load_settings(given, settings.get_environment(), config_path=ctx.params.get("config"))
    except errors.ConfigurationError:
        return ()
    found = importlib.import_module("flowport.cli.cached_apps").load_apps(loaded, with_history=False)
    return () if found is None else found.apps


def _get_values(item: Any) -> list[str]:
    """Return what an input may be given: its choices, or the mark of a file."""
    if item.kind.is_media:
        return ["@"]
    if item.kind.value == "boolean":
        return ["true", "false"]
    choices = importlib.import_module("flowport.catalog.readings")
    return [choices.format_scalar(one.shown) for one in choices.build_choices(item)]


def _find_files(text: str) -> Iterator[str]:
    """Yield the files and folders that a path may mean, as it begins."""
    head, slash, start = text.rpartition("/")
    folder = Path(f"{head}{slash}" or ".").expanduser()
    try:
        entries = sorted(folder.iterdir())[:5000]
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(start) and (start or not entry.name.startswith(".")):
            yield f"{head}{slash}{entry.name}{'/' * entry.is_dir()}"
