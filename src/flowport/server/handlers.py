"""Handle the requests of MCP clients of both eras: each call goes to its action or its app, and its view becomes a result."""

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from math import inf
from operator import itemgetter
from typing import Any, Final, TypeAlias

import anyio
import anyio.to_thread
import mcp.types as t
from mcp.shared.exceptions import MCPError

from flowport.actions.built_in_tools import BUILT_IN_TOOLS, get_built_in_tools
from flowport.actions.list_runs import LIST_RUNS
from flowport.actions.run_app import run_app
from flowport.actions.tenants import Tenants
from flowport.actions.views.run import format_reminder
from flowport.actions.views.view import View
from flowport.actions.workspace import Workspace
from flowport.catalog.ranking import ORDER_NAME
from flowport.catalog.search import MAX_NEAREST
from flowport.domain.call_errors import AppAmbiguous, AppNotFound, ConfirmationNeeded, ResourceNotFound
from flowport.domain.errors import ArgumentsInvalid, ConfigurationError, FlowportError, StoreError
from flowport.domain.models import JsonValue
from flowport.runs.delivery import Caller
from flowport.runtime.background import FirstList, ListKind
from flowport.runtime.failpoints import Failpoint, trigger
from flowport.runtime.file_systems import get_stamp
from flowport.server.apps import PAGE_RESOURCE, PAGE_URI, build_page_contents, supports_apps
from flowport.server.clients import (
    MODERN_ERA,
    Context,
    McpCaller,
    UsedConfirmations,
    build_question,
    get_principal,
    is_stateless,
)
from flowport.server.prompts import PROMPTS, Completion, build_prompt_text
from flowport.server.repeats import RequestIdInUse, RequestsInProgress
from flowport.server.resources import TEMPLATES, Resources, build_contents, build_list
from flowport.server.results import build_error_result, build_mistake_result, build_result, build_wire_tool
from flowport.server.saved_list import SavedList
from flowport.server.server import (
    FlowportServer,
    LateHandlers,
    build_bare_server,
    build_late_server,
    build_tool_list,
    expect_first,
)
from flowport.store.cluster import UsedMarks

logger = logging.getLogger(__name__)

Result: TypeAlias = t.CallToolResult | t.InputRequiredResult

REMINDER_SECONDS: Final = 1.0
"""Between two looks for undelivered runs, so that hundreds of answers at once do not cost hundreds of looks."""

_MAX_REMINDED: Final = 1_000
"""Owners of whom it is remembered when their undelivered runs were last looked for."""

_MAX_NAME: Final = 80

LEGACY_RESOURCE_NOT_FOUND: Final = -32002


class ToolCalls:
    """Answers tool calls, each in the workspace of its caller."""

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants
        self._reminded_at: OrderedDict[str, float] = OrderedDict()
        """When each owner's undelivered runs were last looked for, the longest ago first."""

    async def call(self, name: str, arguments: Mapping[str, JsonValue] | None, caller: Caller) -> View:
        """Return the answer of a tool.

        Raises:
            AppNotFound: No tool has this name.
            FlowportError: The call cannot be carried out, for the reason that the error gives.
        """
        arguments = arguments or {}
        workspace = self._tenants.get_workspace(caller.principal)
        tool = get_built_in_tools(caller.principal).get(name)
        if tool is None:
            view = await _run_app(workspace, name, arguments, caller)
        else:
            view = await tool.answer(workspace, caller, arguments)
            view = view.add("ignored", tool.find_ignored(arguments))
        return view if tool is LIST_RUNS else view.add("unseen", await self._find_reminder(workspace, caller))

    async def _find_reminder(self, workspace: Workspace, caller: Caller) -> str:
        """Return a sentence about runs that are over and were not delivered; empty when there are none."""
        now = workspace.clock.monotonic()
        if now - self._reminded_at.get(caller.owner, -inf) < REMINDER_SECONDS:
            return ""
        self._reminded_at[caller.owner] = now
        self._reminded_at.move_to_end(caller.owner)
        while len(self._reminded_at) > _MAX_REMINDED:
            self._reminded_at.popitem(last=False)
        pending = workspace.deliveries.pending_runs
        try:
            reminder = await workspace.store.take_reminder(owner=caller.owner, excluded=pending)
        except StoreError as exc:
            logger.warning("undelivered runs could not be looked for: %s", exc)
            return ""
        return "" if reminder is None else format_reminder(reminder)


async def _run_app(workspace: Workspace, name: str, arguments: Mapping[str, JsonValue], caller: Caller) -> View:
    """Run the app whose tool has exactly this name."""
    try:
        _, listing = await workspace.find_app(name)
    except AppNotFound as exc:
        raise replace(exc, is_tool=True) from exc
    except AppAmbiguous as exc:
        nearest = tuple(one.tool_name for one in exc.namesakes[:MAX_NEAREST])
        raise AppNotFound(name[:_MAX_NAME], nearest, is_tool=True) from exc
    if listing.tool_name != name:
        raise AppNotFound(name[:_MAX_NAME], (listing.tool_name,), is_tool=True)
    home, listing = await workspace.fetch_app(name, caller)
    return await run_app(workspace, caller, home, listing, arguments)


class Handlers:
    """The protocol's requests, each answered in the workspace of its principal."""

    def __init__(
        self,
        tenants: Tenants,
        file_threads: anyio.CapacityLimiter,
        first_list: FirstList,
        used_marks: UsedMarks | None = None,
    ) -> None:
        self._tenants = tenants
        self._shared = tenants.shared
        self._in_progress = RequestsInProgress[Result](self._shared.clock)
        self._used_confirmations = UsedConfirmations(used_marks)
        self._calls = ToolCalls(tenants)
        self._file_threads = file_threads
        self._first_list = first_list
        self.changes = self._shared.changes
        self.shared_ids = tenants.account_ids
        """The accounts of the settings."""
        saved, first_list.saved = first_list.saved, None
        if saved is not None and first_list.asked.is_set():
            self._check_saved(saved)

    async def list_tools(self, context: Context, _: t.PaginatedRequestParams | None) -> dict[str, Any]:
        """Answer with the built-in tools and the apps' tools; from the cache at once, else after at most eight seconds."""
        workspace = self._get_workspace(context)
        await workspace.wait_for_catalogues()
        expect_first(self._first_list, context)
        tools = workspace.get_tools()
        workspace.tool_order.note_listed(tools)
        return build_tool_list([*_BUILT_IN, *tools], context)

    def _get_workspace(self, context: Context) -> Workspace:
        return self._tenants.get_workspace(get_principal(context))

    def _check_saved(self, saved: Sequence[Mapping[str, Any]]) -> None:
        """Keep the order of a list that was answered before the catalogues were loaded, and announce what is not true of it."""
        self._shared.tool_order.note_listed(saved[len(_BUILT_IN) :])
        if sorted(saved, key=_get_name) != sorted([*_BUILT_IN, *self._shared.get_tools()], key=_get_name):
            self.changes.note_list(ListKind.TOOLS)

    async def keep_list_saved(self, file: SavedList) -> None:
        """Save the tool list for the next start whenever a catalogue was loaded or saved. Never returns."""
        await self._first_list.wait_until_written()
        while True:
            await self._first_list.outdated.wait()
            self._first_list.outdated = anyio.Event()
            self.save_list(file)

    def save_list(self, file: SavedList) -> None:
        """Save the tool list, unless there are more apps than places: which of them are listed changes by use."""
        tools = self._shared.get_tools()
        if len(tools) == sum(listing.tool is not None for listing in self._shared.get_listings()):
            order = self._shared.settings.home / ORDER_NAME
            stamps = {order: get_stamp(order), **dict(one.catalog.get_file() for one in self._shared.catalogs)}
            file.save([*_BUILT_IN, *tools], stamps)

    async def call_tool(self, context: Context, params: t.CallToolRequestParams) -> Result:
        """Answer a call, once however often its request comes, for as long as its client is connected."""
        caller = McpCaller(context, self._shared.clock.monotonic(), params, self._used_confirmations)
        accounts = tuple(sorted(caller.principal.account_ids or ()))
        content = (params.name, params.arguments, params.request_state, params.input_responses, accounts)
        with anyio.CancelScope() as scope:
            # The library lets a call of an older client over HTTP go on when the client is disconnected.
            caller.exchange.set_on_left(scope.cancel)
            try:
                return await self._in_progress.answer(
                    caller, content, self._call_tool, params, caller, is_stateless=is_stateless(context)
                )
            except RequestIdInUse as exc:
                raise MCPError(t.INVALID_REQUEST, str(exc)) from exc
        return _NO_ANSWER

    async def _call_tool(self, params: t.CallToolRequestParams, caller: McpCaller) -> Result:
        """Answer a call. An error that the caller can act on is a result; an unknown tool is a protocol error."""
        try:
            view = await self._calls.call(params.name, params.arguments, caller)
        except AppNotFound as exc:
            caller.exchange.withdraw()
            if exc.is_tool and not exc.catalogue_problem:
                raise MCPError(t.INVALID_PARAMS, f"Unknown tool: {exc}") from exc
            return build_error_result(exc)
        except ConfirmationNeeded as exc:
            return build_question(exc)
        except FlowportError as exc:
            caller.exchange.withdraw()
            return build_error_result(exc)
        except Exception:  # the security boundary: what escapes from here reaches older clients as it is
            caller.exchange.withdraw()
            logger.exception("a call of %r failed with an internal error", params.name)
            return build_mistake_result()
        trigger(Failpoint.BEFORE_ANSWER)
        return build_result(view, with_links=self._shared.settings.should_send_links)

    async def list_resources(self, context: Context, __: t.PaginatedRequestParams | None) -> t.ListResourcesResult:
        """Answer with the newest runs; and for clients that show it, with the page."""
        resources = Resources(self._get_workspace(context), self._file_threads)
        found = build_list(await _guard(resources.list_runs(get_principal(context).owner)))
        if supports_apps(context):
            found.resources.append(PAGE_RESOURCE)
        return found

    async def list_templates(self, _: Context, __: t.PaginatedRequestParams | None) -> t.ListResourceTemplatesResult:
        """Answer with the forms that our URIs have."""
        return t.ListResourceTemplatesResult(resource_templates=TEMPLATES)

    async def read_resource(self, context: Context, params: t.ReadResourceRequestParams) -> t.ReadResourceResult:
        """Answer with what a URI names."""
        uri = str(params.uri)
        if uri == PAGE_URI:
            return t.ReadResourceResult(
                contents=await anyio.to_thread.run_sync(build_page_contents, limiter=self._file_threads)
            )
        try:
            resources = Resources(self._get_workspace(context), self._file_threads)
            content = await _guard(resources.read(uri, McpCaller(context, self._shared.clock.monotonic())))
        except ResourceNotFound as exc:
            code = t.INVALID_PARAMS if context.protocol_version == MODERN_ERA else LEGACY_RESOURCE_NOT_FOUND
            raise MCPError(code, str(exc), {"uri": uri}) from exc
        return t.ReadResourceResult(contents=build_contents(uri, content))

    async def list_prompts(self, _: Context, __: t.PaginatedRequestParams | None) -> t.ListPromptsResult:
        """Answer with the menu, which never changes."""
        return t.ListPromptsResult(prompts=list(PROMPTS.values()))

    async def get_prompt(self, context: Context, params: t.GetPromptRequestParams) -> t.GetPromptResult:
        """Answer with what the person says by picking a prompt."""
        prompt = PROMPTS.get(params.name)
        if prompt is None:
            raise MCPError(t.INVALID_PARAMS, f"There is no such prompt. There are {', '.join(PROMPTS)}.")
        workspace = self._get_workspace(context)
        await workspace.wait_for_catalogues()
        try:
            text = build_prompt_text(prompt, params.arguments or {}, workspace)
        except (AppAmbiguous, AppNotFound, ArgumentsInvalid) as exc:
            raise MCPError(t.INVALID_PARAMS, str(exc)) from exc
        message = t.PromptMessage(role="user", content=t.TextContent(text=text))
        return t.GetPromptResult(description=prompt.description, messages=[message])

    async def complete(self, context: Context, params: t.CompleteRequestParams) -> t.CompleteResult:
        """Answer with what the person may mean by the beginning of an argument."""
        others = (params.context.arguments if params.context else None) or {}
        argument = params.argument
        completion, owner = Completion(self._get_workspace(context)), get_principal(context).owner
        found = await _guard(completion.complete(argument.name, argument.value, others, owner=owner))
        return t.CompleteResult(completion=found)


_get_name: Final = itemgetter("name")

_NO_ANSWER: Final = t.CallToolResult(content=[], is_error=True)
"""What the library is given for a client that has left; it is sent nowhere."""

_BUILT_IN: Final = [build_wire_tool(tool) for tool in BUILT_IN_TOOLS.values()]


def build_server(
    tenants: Tenants,
    file_threads: anyio.CapacityLimiter,
    first_list: FirstList,
    used_marks: UsedMarks | None = None,
    question_keys: Sequence[bytes] = (),
) -> FlowportServer:
    """Return the server of these people.

    Args:
        first_list: Gets to know when the first tool list was asked for and when it was written.
        used_marks: What was used once by all replicas of a team; None where this server is alone.
        question_keys: See `build_late_server`.
    """
    late = LateHandlers(first_list)
    late.provide(Handlers(tenants, file_threads, first_list, used_marks))
    return build_late_server(late, question_keys)


def build_stopped_server(error: ConfigurationError) -> FlowportServer:
    """Return a server that lists the built-in tools and answers every call with what is wrong in the configuration.

    A process that exits would only show "server disconnected"; this one says what to correct.
    """

    async def list_tools(context: Context, _: t.PaginatedRequestParams | None) -> dict[str, Any]:
        return build_tool_list(_BUILT_IN, context)

    async def call_tool(_: Context, __: t.CallToolRequestParams) -> Result:
        return build_error_result(error)

    server = build_bare_server(call_tool)
    server.add_request_handler("tools/list", t.PaginatedRequestParams, list_tools)
    return server


async def _guard(work: Awaitable[Any]) -> Any:
    """Await a request that is not a tool call, so that its errors have no place in a result.

    Raises:
        MCPError: An error that a caller can act on, as its sentence; for internal errors a general one.
        ResourceNotFound: As it is; its code depends on the era.
    """
    try:
        return await work
    except ResourceNotFound:
        raise
    except FlowportError as exc:
        raise MCPError(t.INTERNAL_ERROR, str(exc)) from exc
    except Exception as exc:
        logger.exception("a request failed with an internal error")
        raise MCPError(t.INTERNAL_ERROR, "Flowport made a mistake; its log has the details.") from exc
