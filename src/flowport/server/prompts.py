"""The prompts of a client's menu: sentences that start the assistant. Pure except for the catalogue.

A prompt becomes the person's own words, so untrusted text in it is cleaned and quoted.
"""

from collections.abc import Mapping
from typing import Final

import mcp.types as t

from flowport.actions.find_apps import FIND_APPS
from flowport.actions.get_run import GET_RUN
from flowport.actions.list_runs import LIST_RUNS
from flowport.actions.run_app import RUN_APP
from flowport.actions.workspace import Workspace
from flowport.catalog.listing import Listing
from flowport.domain.errors import ArgumentProblem, ArgumentsInvalid
from flowport.domain.text import clean_text, format_quoted

MAX_WISH_LENGTH: Final = 4_000


APP: Final = t.PromptArgument(name="app", description="Which app, by its tool name or its own name", required=True)
WISH: Final = t.PromptArgument(name="wish", description="What you want it to make, in your own words", required=False)
CHOICE: Final = t.PromptArgument(name="choice", description="One of the app's choices, such as a style", required=False)
RUN_ID: Final = t.PromptArgument(name="run_id", description="Which run, as an earlier answer named it", required=True)

RUN_APP_PROMPT: Final = t.Prompt(
    name="run_app",
    title="Run an app",
    description="Let your assistant run one app, asking for what is missing.",
    arguments=[APP, WISH, CHOICE],
)
SHOW_RESULTS: Final = t.Prompt(
    name="show_recent_results",
    title="Show recent results",
    description="See the newest pictures, videos and sounds.",
    arguments=[],
)
SHOW_RUN: Final = t.Prompt(
    name="show_run",
    title="Show a run",
    description="See how one run is doing, and its results.",
    arguments=[RUN_ID],
)

PROMPTS: Final = {prompt.name: prompt for prompt in (RUN_APP_PROMPT, SHOW_RESULTS, SHOW_RUN)}
"""By name, in the order of the menu."""


def build_prompt_text(prompt: t.Prompt, arguments: Mapping[str, str], workspace: Workspace) -> str:
    """Return what the person says by picking the prompt.

    Raises:
        AppNotFound: No app has this name.
        AppAmbiguous: Several have it.
        ArgumentsInvalid: Something that is needed is missing.
    """
    problems = tuple(
        ArgumentProblem(item.name, "is missing", item.description or "")
        for item in prompt.arguments or ()
        if item.required and not arguments.get(item.name, "").strip()
    )
    if problems:
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
