"""The prompts of a client's menu, and the completion of their arguments and of the parts of our URIs.

A prompt becomes the person's own words, so untrusted text in it is cleaned and quoted.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import mcp.types as t

from flowport.actions.find_apps import FIND_APPS
from flowport.actions.get_run import GET_RUN
from flowport.actions.list_runs import LIST_RUNS
from flowport.actions.run_app import RUN_APP
from flowport.actions.workspace import Workspace
from flowport.catalog.listing import Listing
from flowport.catalog.readings import build_choices, format_scalar
from flowport.catalog.search import Candidate, Search, search_apps
from flowport.domain.call_errors import AppAmbiguous, AppNotFound
from flowport.domain.errors import ArgumentProblem, ArgumentsInvalid, RunNotFound
from flowport.domain.models import InputKind
from flowport.domain.text import clean_line, clean_text, format_quoted

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


MAX_VALUES: Final = 100
"""What the protocol allows in one answer."""

OUTPUT_NUMBER: Final = "n"
"""The part of an output's URI that is its number."""

BATCH_ID: Final = "batch_id"
"""The part of a batch's URI that is its id."""


class Completion:
    """Completes arguments of prompts and parts of URIs, which share their names."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    async def complete(self, name: str, begun: str, others: Mapping[str, str], *, owner: str) -> t.Completion:
        """Return the values of an argument that fit what was typed so far; none for an argument that is free text.

        Args:
            others: The arguments that were given before.

        Raises:
            StoreError: The runs cannot be read.
        """
        if name == APP.name:
            listings = self._get_listings()
            found = search_apps([Candidate(item) for item in listings], Search(begun))
            begins = _filter((item.tool_name for item in listings), begun)
            return _build_values([*begins, *(listings[place].tool_name for place in found.places)])
        if name == CHOICE.name:
            return _build_values(_filter(self._get_choices(others.get(APP.name, "")), begun))
        if name in {RUN_ID.name, BATCH_ID}:
            runs = await self._workspace.store.get_runs(
                account_id=None, owner=owner, limit=MAX_VALUES, undelivered_first=False
            )
            ids = (run.id for run in runs if run.is_batch or name == RUN_ID.name)
            return _build_values(_filter(ids, begun))
        if name == OUTPUT_NUMBER:
            return _build_values(_filter(await self._get_numbers(others.get(RUN_ID.name, ""), owner), begun))
        return _build_values(())

    def _get_listings(self) -> tuple[Listing, ...]:
        return tuple(item for item in self._workspace.get_listings() if not item.left_out)

    def _get_choices(self, app: str) -> list[str]:
        """Return every choice of the app as the name of the argument and its value."""
        try:
            _, listing = self._workspace.get_open_catalog(app)
        except (AppAmbiguous, AppNotFound):
            return []
        return [
            f"{listing.property_names.get(item.id, item.id)}: {clean_line(format_scalar(choice.shown))}"
            for item in listing.app.inputs or ()
            if item.kind is InputKind.SELECT
            for choice in build_choices(item)
        ]

    async def _get_numbers(self, run_id: str, owner: str) -> list[str]:
        try:
            run = await self._workspace.store.get_run(run_id, account_id=None, owner=owner)
        except RunNotFound:
            return []
        return [str(output.n) for output in run.outputs]


def _filter(values: Iterable[str], begun: str) -> list[str]:
    """Return the values that contain what was typed, those that begin with it first."""
    wanted = begun.strip().casefold()
    fitting = [value for value in values if wanted in value.casefold()]
    return sorted(fitting, key=lambda value: not value.casefold().startswith(wanted))


def _build_values(values: Iterable[str]) -> t.Completion:
    found = list(dict.fromkeys(values))
    return t.Completion(values=found[:MAX_VALUES], total=len(found), has_more=len(found) > MAX_VALUES)
