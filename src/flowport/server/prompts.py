"""What a person may pick from a client's menu: sentences that set their assistant going. Pure but for the catalogue.

A prompt becomes the person's own words, so what strangers wrote stands in it between quotes and cleaned.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from flowport.actions.find_apps import FIND_APPS
from flowport.actions.get_run import GET_RUN
from flowport.actions.list_runs import LIST_RUNS
from flowport.actions.run_app import RUN_APP
from flowport.actions.workspace import Workspace
from flowport.catalog.listing import Listing
from flowport.domain.errors import ArgumentProblem, ArgumentsInvalid
from flowport.domain.text import clean_text, format_quoted

MAX_WISH_LENGTH: Final = 4_000


@dataclass(frozen=True, slots=True)
class PromptArgument:
    """One thing that a prompt asks the person for."""

    name: str
    description: str
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class Prompt:
    """One entry of the menu."""

    name: str
    title: str
    description: str
    arguments: tuple[PromptArgument, ...] = ()


APP: Final = PromptArgument("app", "Which app, by its tool name or its own name", is_required=True)
WISH: Final = PromptArgument("wish", "What you want it to make, in your own words")
CHOICE: Final = PromptArgument("choice", "One of the app's choices, such as a style")
RUN_ID: Final = PromptArgument("run_id", "Which run, as an earlier answer named it", is_required=True)

RUN_APP_PROMPT: Final = Prompt(
    "run_app", "Run an app", "Let your assistant run one app, asking for what is missing.", (APP, WISH, CHOICE)
)
SHOW_RESULTS: Final = Prompt(
    "show_recent_results", "Show recent results", "See the newest pictures, videos and sounds."
)
SHOW_RUN: Final = Prompt("show_run", "Show a run", "See how one run is doing, and its results.", (RUN_ID,))

PROMPTS: Final = {prompt.name: prompt for prompt in (RUN_APP_PROMPT, SHOW_RESULTS, SHOW_RUN)}
"""By name, in the order of the menu."""


def build_prompt_text(prompt: Prompt, arguments: Mapping[str, str], workspace: Workspace) -> str:
    """Return what the person says by picking the prompt.

    Raises:
        AppNotFound: No app is called like that.
        AppAmbiguous: Several are.
        ArgumentsInvalid: Something that is needed is missing.
    """
    missing = [item for item in prompt.arguments if item.is_required and not arguments.get(item.name, "").strip()]
    if missing:
        problems = tuple(ArgumentProblem(item.name, "is missing", item.description) for item in missing)
        raise ArgumentsInvalid(problems, is_for_run=False)
    if prompt is RUN_APP_PROMPT:
        return _build_run_text(arguments, workspace)
    if prompt is SHOW_RUN:
        run_id = format_quoted(arguments[RUN_ID.name])
        return (
            f"Call {GET_RUN.name} with run_id {run_id} and show me its results: their links and where they are saved."
        )
    return (
        f"Call {LIST_RUNS.name} and then {GET_RUN.name} for the newest runs that are finished, at most five. Show me "
        "what each made, with its links and where it is saved. Start no new run."
    )


def _build_run_text(arguments: Mapping[str, str], workspace: Workspace) -> str:
    _, listing = workspace.get_open_catalog(arguments[APP.name])
    sentences = [f"Run the Flowport app {format_quoted(listing.app.name)} once, {_format_way(listing, workspace)}."]
    if wish := clean_text(arguments.get(WISH.name, ""), limit=MAX_WISH_LENGTH):
        sentences.append(f"This is what I want: {wish}")
    if choice := arguments.get(CHOICE.name, "").strip():
        sentences.append(f"Choose {format_quoted(choice)}.")
    sentences.append(
        "Ask me for a required input that I did not give; don't make one up. "
        "Then show me the links of the results and where they are saved."
    )
    return "\n".join(sentences)


def _format_way(listing: Listing, workspace: Workspace) -> str:
    if any(tool["name"] == listing.tool_name for tool in workspace.get_tools()):
        return f"with the tool {listing.tool_name}"
    return f'with {RUN_APP.name} and app "{listing.tool_name}"; {FIND_APPS.name} names its inputs'
