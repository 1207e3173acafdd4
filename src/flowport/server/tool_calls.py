"""Answer tool calls: each goes to its action or to its app, and the answer says what else the caller should know."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from flowport.actions.built_in_tools import BUILT_IN_TOOLS
from flowport.actions.list_runs import LIST_RUNS
from flowport.actions.run_app import run_app
from flowport.actions.views.run import format_reminder
from flowport.actions.views.view import View
from flowport.actions.workspace import Workspace
from flowport.catalog.search import MAX_NEAREST
from flowport.domain.call_errors import AppAmbiguous, AppNotFound
from flowport.domain.errors import StoreError
from flowport.domain.models import JsonValue
from flowport.runs.calls import Caller

logger = logging.getLogger(__name__)

REMINDER_SECONDS: Final = 1.0
"""Between two looks for undelivered runs, so that hundreds of answers at once do not cost hundreds of looks."""

_MAX_NAME: Final = 80


class ToolCalls:
    """Answers tool calls on a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._reminded_at: float | None = None

    async def call(self, name: str, arguments: Mapping[str, JsonValue] | None, caller: Caller) -> View:
        """Return the answer of a tool.

        Raises:
            AppNotFound: No tool has this name.
            FlowportError: The call cannot be carried out, for the reason that the error gives.
        """
        arguments = arguments or {}
        tool = BUILT_IN_TOOLS.get(name)
        if tool is None:
            view = await self._run_app(name, arguments, caller)
        else:
            view = await tool.answer(self._workspace, caller, arguments)
            view = view.add("ignored", tool.find_ignored(arguments))
        return view if tool is LIST_RUNS else view.add("unseen", await self._find_reminder(caller))

    async def _run_app(self, name: str, arguments: Mapping[str, JsonValue], caller: Caller) -> View:
        """Run the app whose tool has exactly this name."""
        try:
            _, listing = await self._workspace.find_app(name)
        except AppNotFound as exc:
            raise replace(exc, is_tool=True) from exc
        except AppAmbiguous as exc:
            nearest = tuple(one.tool_name for one in exc.namesakes[:MAX_NEAREST])
            raise AppNotFound(name[:_MAX_NAME], nearest, is_tool=True) from exc
        if listing.tool_name != name:
            raise AppNotFound(name[:_MAX_NAME], (listing.tool_name,), is_tool=True)
        home, listing = await self._workspace.fetch_app(name, caller)
        return await run_app(self._workspace, caller, home, listing, arguments)

    async def _find_reminder(self, caller: Caller) -> str:
        """Return a sentence about runs that are over and were not delivered; empty when there are none."""
        now = self._workspace.clock.monotonic()
        if self._reminded_at is not None and now - self._reminded_at < REMINDER_SECONDS:
            return ""
        self._reminded_at = now
        pending = self._workspace.deliveries.pending_runs
        try:
            reminder = await self._workspace.store.take_reminder(owner=caller.owner, but=pending)
        except StoreError as exc:
            logger.warning("undelivered runs could not be looked for: %s", exc)
            return ""
        return "" if reminder is None else format_reminder(reminder)
