"""The seven tools that are always there, whatever the catalogue holds: their wire form and their inputs. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from flowport.catalog.schema import NEW_RUN, NEW_RUN_LABEL
from flowport.domain.models import App, Input, InputKind, Option, RunState
from flowport.providers.registry import get_plugins

# What is free in form is told as text, and an object is taken as well: schemas hold no object without properties, which
# several clients refuse.
_TYPES: Final = {InputKind.NUMBER: "integer", InputKind.BOOLEAN: "boolean"}


@dataclass(frozen=True, slots=True)
class BuiltInTool:
    """One tool of our own."""

    name: str
    title: str
    description: str
    inputs: tuple[Input, ...] = ()
    """Their ids are the argument names, their labels the descriptions."""
    is_read_only: bool = True
    """Whether calling it can neither spend nor change anything."""

    @property
    def app(self) -> App:
        """The tool as if it were an app, so that its arguments are parsed and refused in the same words."""
        return App("flowport", self.name, self.title, is_own=True, price_credits=None, inputs=self.inputs, read_at=0.0)

    @property
    def argument_names(self) -> Mapping[str, str]:
        """Argument name by input id; the two are the same here."""
        return {item.id: item.id for item in self.inputs}


def _take(name: str, kind: InputKind, label: str, *, is_required: bool = False, options: tuple[str, ...] = ()) -> Input:
    choices = tuple(Option(option, option) for option in options)
    return Input(name, name, kind, label, is_required=is_required, options=choices)


_PROVIDERS: Final = " or ".join(plugin.name for plugin in get_plugins())

_RUN_ID: Final = _take("run_id", InputKind.TEXT, "As an earlier answer gave it", is_required=True)

_VARIATIONS: Final = replace(
    _take("variations", InputKind.NUMBER, "How many of the same, each paid for; 1 unless said"), minimum=1, maximum=16
)

FIND_APPS: Final = BuiltInTool(
    "find_apps",
    "Find apps",
    "Search all apps of the account, also those without a tool of their own, and see their prices, usual durations and "
    "inputs, of one app all its options, and what is left out of the tool list and why.",
    (
        _take("query", InputKind.TEXT, "Words from the name; leave it out for all"),
        _take("takes", InputKind.SELECT, "Only apps with such an input", options=("image", "video", "audio", "text")),
        _take(
            "makes",
            InputKind.SELECT,
            "Only apps that made this in earlier runs; then those never run, as unknown",
            options=("image", "video", "audio"),
        ),
        _take("provider", InputKind.TEXT, f"Only apps of this provider: {_PROVIDERS}"),
        _take("max_credits", InputKind.NUMBER, "Only apps of a known price up to this"),
        _take("option", InputKind.TEXT, "Of the one app that is meant, only options that hold this text"),
        _take("refresh", InputKind.BOOLEAN, "true: ask the provider again first"),
    ),
)
RUN_APP: Final = BuiltInTool(
    "run_app",
    "Run any app",
    "Run an app that has no tool of its own, or any app several times; find_apps names it and its inputs. Costs credits.",
    (
        _take("app", InputKind.TEXT, "Tool name or id from find_apps", is_required=True),
        _take("arguments", InputKind.ANY, "The app's inputs by name, as a JSON object"),
        _take(NEW_RUN, InputKind.BOOLEAN, NEW_RUN_LABEL),
        _VARIATIONS,
    ),
    is_read_only=False,
)
RUN_BATCH: Final = BuiltInTool(
    "run_batch",
    "Run an app for many rows",
    "Run one app once for each row of a table, up to 2,000 runs: all rows are checked and priced first, then run by "
    "themselves, each once. Costs the app's price for each. get_run with the batch's id waits and tells more.",
    (
        _take("app", InputKind.TEXT, "Tool name or id from find_apps", is_required=True),
        replace(_take("rows", InputKind.ANY, "The inputs of each run by name, a JSON object each"), is_list=True),
        _take("csv", InputKind.TEXT, "Instead of rows: full path of a .csv; its first row names the inputs"),
        _take("arguments", InputKind.ANY, "Inputs that all rows share, as a JSON object"),
        _VARIATIONS,
        replace(_take("stop_after_failures", InputKind.NUMBER, "Start no more rows after so many failed"), minimum=1),
        _take(NEW_RUN, InputKind.BOOLEAN, "true: pay again though an equal batch is there"),
        _take("wait", InputKind.BOOLEAN, "false: answer at once with the batch's id"),
    ),
    is_read_only=False,
)
GET_RUN: Final = BuiltInTool(
    "get_run",
    "Get a run",
    "See how a run is doing and get its results. Waits for the end as long as it can, unless wait is false. Free.",
    (_RUN_ID, _take("wait", InputKind.BOOLEAN, "false: answer at once with the state now")),
)
LIST_RUNS: Final = BuiltInTool(
    "list_runs",
    "List runs",
    "List recent runs, newest first, with their links and saved files; results not delivered yet are marked. Free.",
    (
        _take("state", InputKind.SELECT, "Only runs in this state", options=tuple(state.value for state in RunState)),
        replace(_take("limit", InputKind.NUMBER, "How many, 10 unless said"), minimum=1, maximum=50),
    ),
)
CANCEL_RUN: Final = BuiltInTool(
    "cancel_run",
    "Cancel a run",
    "Cancel a run if its provider can do that, else say so: a run that was started then goes on and is paid for. "
    "Of a batch, start no more rows.",
    (_RUN_ID, _take("stop_following", InputKind.BOOLEAN, "true: no longer look at a run that cannot be cancelled")),
    is_read_only=False,
)
GET_BALANCE: Final = BuiltInTool(
    "get_balance",
    "Get the balance",
    "Tell the provider's balance where it has one, and what was spent through Flowport in the last 24 hours. Free.",
    (_take("provider", InputKind.TEXT, f"Only this provider: {_PROVIDERS}"),),
)

BUILT_IN_TOOLS: Final = {
    tool.name: tool for tool in (FIND_APPS, RUN_APP, RUN_BATCH, GET_RUN, LIST_RUNS, CANCEL_RUN, GET_BALANCE)
}
"""By name, in the order of the tool list."""


def build_wire_tool(tool: BuiltInTool) -> dict[str, Any]:
    """Return the tool as it goes over the wire."""
    schema: dict[str, Any] = {"type": "object", "properties": {item.id: _build_property(item) for item in tool.inputs}}
    required = [item.id for item in tool.inputs if item.is_required]
    if required:
        schema["required"] = required
    annotations = {"readOnlyHint": True} if tool.is_read_only else {"destructiveHint": False}
    return {
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "inputSchema": schema,
        "annotations": annotations,
    }


def _build_property(item: Input) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": _TYPES.get(item.kind, "string"), "description": item.label}
    if item.is_list:
        schema = {"type": "array", "items": {"type": schema["type"]}, "description": item.label}
    if item.options:
        schema["enum"] = [option.value for option in item.options]
    bounds = {"minimum": item.minimum, "maximum": item.maximum}
    schema |= {word: bound for word, bound in bounds.items() if bound is not None}
    return schema
