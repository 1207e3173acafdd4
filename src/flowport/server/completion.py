"""Complete what a person types: app names, run ids, numbers of outputs, the choices of an app."""

from collections.abc import Iterable, Mapping
from typing import Final

import mcp.types as t

from flowport.actions.workspace import Workspace
from flowport.catalog.listing import Listing
from flowport.catalog.readings import build_choices, format_scalar
from flowport.catalog.search import Candidate, Search, search_apps
from flowport.domain.call_errors import AppAmbiguous, AppNotFound
from flowport.domain.errors import RunNotFound
from flowport.domain.models import InputKind
from flowport.domain.text import clean_line
from flowport.server.prompts import APP, CHOICE, RUN_ID

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
                account_id=None, owner=owner, limit=MAX_VALUES, unseen_first=False
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
