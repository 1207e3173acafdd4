"""Magica's API: workflows and system workflows, their runs, credits and uploads.

Source: the pages of magica.com/docs ("Core concepts", quickstart, authentication, API reference, MCP server); where those
are silent, what clients of the live service read, or what was inferred from them. docs/providers.md lists which is which. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from flowport.domain.errors import (
    AppUnsupported,
    Operation,
    ProviderBroken,
    ProviderError,
    ProviderRefused,
    ProviderRejected,
)
from flowport.domain.models import App, JsonValue, RunState
from flowport.domain.text import clean_line
from flowport.providers.interface import (
    ApiAnswer,
    ApiRequest,
    AppList,
    Balance,
    Capabilities,
    Conversation,
    LeftOut,
    ListQuery,
    RunStatus,
    Started,
    StartOutcome,
    ToolRequest,
    UploadedFile,
    WebhookTarget,
    WholeUploads,
)
from flowport.providers.lost_runs import ListedRun
from flowport.providers.magica.answers import READER, find_items, find_next_query
from flowport.providers.magica.declared import DeclaredWorkflow
from flowport.providers.magica.inputs import (
    MAX_ID_LENGTH,
    RequestField,
    build_inputs,
    find_graph_fields,
    find_tool_fields,
    split_input_id,
)
from flowport.providers.magica.lost_runs import (
    MAX_READ,
    build_list_arguments,
    has_same_values,
    parse_listed_runs,
)
from flowport.providers.magica.mcp_tools import (
    build_cancel_arguments,
    build_field_arguments,
    build_upload_arguments,
    describe_missing_tool,
    find_address,
    has_started,
)
from flowport.providers.magica.runs import (
    BEGINNINGS,
    REQUESTED_EVENTS,
    MagicaBulkStatus,
    build_estimate_body,
    parse_estimate,
    parse_event,
    parse_run,
    read_microcredits,
)
from flowport.providers.options import MAX_TEXT_LENGTH
from flowport.providers.parsing import quote_segment, read_run_id
from flowport.providers.webhooks import SignedWebhooks

RUN_ID_MARK: Final = "{run_id}"
"""The placeholder of the run in the path of a cancellation."""

UPLOAD_TYPES: Final = frozenset(
    {
        *("image/png", "image/jpeg", "image/webp"),
        *("video/mp4", "video/webm", "video/quicktime"),
        *("audio/mpeg", "audio/wav", "audio/ogg", "audio/mp4", "audio/flac"),
    }
)
UPLOAD_SECONDS: Final = 30 * 86_400.0
"""How long an upload is used again; its page calls the address permanent."""

HOW_TO_DECLARE: Final = (
    "its inputs are unknown: its graph names no request fields, and Magica's MCP server does not list them either. "
    "There are three remedies: give its request node fields at Magica and save it; use a key that may use Magica's MCP server; "
    "or declare its inputs under [[magica_workflows]] in config.toml"
)


class Magica:
    """Magica's API."""

    name = "magica"
    title = "Magica"
    requests_per_minute = 60  # authentication: the default of a key; it can be set from 1 to 10,000
    requests_per_day = 1000  # likewise, up to 100,000
    reads_ahead = False  # a key has 1,000 requests a day
    refresh_seconds = 3600.0  # likewise
    left_out_seconds = 86_400.0  # likewise: to ask all sources takes half a dozen requests
    style = "v1"
    alternatives: Sequence["Magica"] = ()

    def __init__(self, *, cancel_path: str = "", declared: Sequence[DeclaredWorkflow] = ()) -> None:
        """Create the provider.

        Args:
            cancel_path: Below the base URL, with `{run_id}` in it; empty where only the MCP server cancels.
            declared: The workflows whose inputs a person has declared.
        """
        self._cancel_path = cancel_path
        self._declared = {one.workflow_id: one for one in declared}
        self.declared_ids = frozenset(self._declared)
        # Runs take public addresses alone.
        self.capabilities = Capabilities(
            # No size is published; a file goes as text through a tool call.
            upload=WholeUploads(UPLOAD_TYPES, 20 * 1024 * 1024, self.upload_whole),
            cancel=self.cancel_run,
            balance=self.read_balance,
            price=self.estimate_price,
            bulk_status=MagicaBulkStatus(),
            find_lost_run=self.find_lost_run,
            webhooks=SignedWebhooks("svix-", parse_event, BEGINNINGS),
        )

    def build_headers(self, api_key: str, host: str) -> Mapping[str, str]:  # noqa: ARG002 - the same everywhere
        """Return the key header."""
        return {"authorization": f"Bearer {api_key}"}

    def build_list_queries(self) -> Sequence[ListQuery]:
        """Return the two lists; the account's own workflows, and the read-only ones of Magica."""
        return tuple(
            ListQuery(ApiRequest(Operation.LIST_APPS, "GET", _get_list_path(is_own=is_own)), is_own=is_own)
            for is_own in (True, False)
        )

    def parse_list(self, answer: ApiAnswer, *, is_own: bool) -> AppList:
        """Return the workflows of a list, or of one page of it. Only the items that cannot be read are left out."""
        body = READER.parse_body(answer, Operation.LIST_APPS)
        items = find_items(body)
        if items is None:
            raise READER.build_broken(answer, Operation.LIST_APPS, "its list of workflows is not a list")
        read = [_read_app(item, is_own=is_own) for item in items]
        unnamed = LeftOut("", "", "the provider's list names it without a usable id")
        query = find_next_query(body)
        path = f"{_get_list_path(is_own=is_own)}?{query}"
        return AppList(
            tuple(app for app in read if app is not None),
            tuple(unnamed for app in read if app is None),
            ApiRequest(Operation.LIST_APPS, "GET", path) if query else None,
        )

    def describe_app(self, app: App, *, read_at: float) -> Conversation[App]:
        """Return the workflow with its inputs: from its graph, else from the MCP server, else as a person declared them."""
        failure: ProviderError | None = None
        body: Any = None
        try:
            body = yield from self._read_graph(app)
        except (ProviderBroken, ProviderRejected) as exc:
            failure = exc if isinstance(exc, ProviderBroken) else None
        fields = find_graph_fields(body)
        if fields is None:
            fields = yield from self._ask_tool(app)
        if fields is None:
            fields = self._get_declared(app)
        if fields is None and failure is not None:
            raise failure
        if fields is None:
            raise AppUnsupported(clean_line(app.id), HOW_TO_DECLARE)
        inputs = build_inputs(app.id, fields)
        try:
            price = yield from self._estimate(body)
        except ProviderError:
            # Such an app can still be offered.
            price = None
        price = app.price_credits if price is None else price
        return replace(app, price_credits=price, inputs=inputs, read_at=read_at)

    def estimate_price(self, app: App) -> Conversation[float | None]:
        """Return what the workflow would cost now; its nodes are read again, since people change them."""
        try:
            body = yield from self._read_graph(app)
        except ProviderRejected:
            return None
        return (yield from self._estimate(body))

    def build_start_request(
        self, app: App, inputs: Mapping[str, JsonValue], webhook: WebhookTarget | None = None
    ) -> ApiRequest:
        """Return the request for a run. Magica offers no idempotency key: sending it twice may cost twice."""
        values: dict[str, JsonValue] = {node_id: dict(own) for node_id, own in self._build_values(app, inputs).items()}
        body: dict[str, JsonValue] = {"workflowId": app.id, "values": values}
        if webhook is not None:
            body["webhook"] = {
                "url": webhook.url,
                "events": [*REQUESTED_EVENTS],
                "metadata": dict(webhook.metadata),
            }
        return ApiRequest(Operation.START_RUN, "POST", "/v1/runs", body)

    def parse_start(self, answer: ApiAnswer) -> StartOutcome:
        """Return what the answer to a start request proves."""
        return READER.parse_start(answer, _parse_run)

    def build_status_request(self, provider_run_id: str) -> ApiRequest:
        """Return the request for a run; `inDetails` is what clients send, and brings the nodes with their outputs."""
        path = f"/v1/runs/{quote_segment(provider_run_id)}?inDetails=true"
        return ApiRequest(Operation.READ_RUN, "GET", path)

    def parse_status(self, answer: ApiAnswer, *, now: float) -> RunStatus:
        """Return the run's state and results, in whichever of its two shapes it came."""
        body = READER.parse_body(answer, Operation.READ_RUN)
        if isinstance(body, dict):
            holders = [one for one in (body, body.get("run"), body.get("data")) if isinstance(one, dict)]
            statuses = ((holder, parse_run(holder, now=now)) for holder in holders)
            for holder, status in statuses:
                if status is not None:
                    run_id = read_run_id(holder.get("runId"), body.get("runId"), holder.get("id"))
                    return replace(status, reported_run_id=run_id)
        raise READER.build_broken(answer, Operation.READ_RUN, "its description of the run cannot be read")

    def cancel_run(self, provider_run_id: str) -> Conversation[None]:
        """Cancel a run: by the path that a person has set, else by the MCP server."""
        if self._cancel_path:
            path = self._cancel_path.replace(RUN_ID_MARK, quote_segment(provider_run_id))
            answer = yield ApiRequest(Operation.CANCEL_RUN, "POST", path, {})
            if 200 <= answer.status < 300:  # noqa: PLR2004
                return
            if answer.status not in {404, 405}:
                raise READER.build_refusal(answer, Operation.CANCEL_RUN)
        request = ToolRequest(Operation.CANCEL_RUN, "cancel_run", partial(build_cancel_arguments, provider_run_id))
        end = ", so nothing was cancelled: the run goes on there and is charged"
        yield from self._use(request, "runs are cancelled", end)

    def find_lost_run(
        self, app: App, inputs: Mapping[str, JsonValue], since: float
    ) -> Conversation[tuple[ListedRun, ...]]:
        """Return the runs of a workflow that began since a time, from the MCP server; few are read alone for their values."""
        values = self._build_values(app, inputs)
        request = ToolRequest(Operation.READ_RUNS, "list_runs", partial(build_list_arguments, app.id))
        body = yield from self._use(request, "runs are listed")
        runs = parse_listed_runs(body, app.id, values, since)
        if runs is None:
            raise ProviderBroken(self.title, Operation.READ_RUNS, 200, "its answer is not a list of runs")
        found = []
        for n, run in enumerate(runs):
            if run.has_same_inputs is None and values and n < MAX_READ:
                answer = yield self.build_status_request(run.provider_run_id)
                is_same = has_same_values(READER.parse_body(answer, Operation.READ_RUN), values)
                run = replace(run, has_same_inputs=is_same)  # noqa: PLW2901
            found.append(run)
        return tuple(found)

    def read_balance(self) -> Conversation[Balance]:
        """Return the account's credits."""
        answer = yield ApiRequest(Operation.READ_BALANCE, "GET", "/v1/credits/balance")
        body = READER.parse_body(answer, Operation.READ_BALANCE)
        available = read_microcredits(body.get("availableBalance")) if isinstance(body, dict) else None
        if available is None:
            raise READER.build_broken(answer, Operation.READ_BALANCE, "its answer names no balance")
        return Balance(available)

    def upload_whole(self, mime_type: str, data: bytes) -> Conversation[UploadedFile]:
        """Upload a file by the MCP server's `upload_file`; no endpoint exists."""
        request = ToolRequest(Operation.REQUEST_UPLOAD, "upload_file", partial(build_upload_arguments, mime_type, data))
        body = yield from self._use(request, "files are uploaded")
        address = find_address(body)
        if not address:
            raise ProviderBroken(self.title, Operation.REQUEST_UPLOAD, 200, "its answer gave no address of the file")
        return UploadedFile(asset_url=address, asset_seconds=UPLOAD_SECONDS)

    def _build_values(self, app: App, inputs: Mapping[str, JsonValue]) -> dict[str, dict[str, JsonValue]]:
        """Return the inputs by node and field."""
        ids = {item.run_key: split_input_id(item.id) for item in app.inputs or ()}
        values: dict[str, dict[str, JsonValue]] = {}
        for key, value in inputs.items():
            node_id, field_id = ids[key]
            values.setdefault(node_id, {})[field_id] = value
        return values

    def _read_graph(self, app: App) -> Conversation[Any]:
        """Return a workflow as read from its own address. The path of a system workflow was inferred."""
        path = f"{_get_list_path(is_own=app.is_own)}/{quote_segment(app.id)}"
        answer = yield ApiRequest(Operation.DESCRIBE_APP, "GET", path)
        return READER.parse_body(answer, Operation.DESCRIBE_APP)

    def _ask_tool(self, app: App) -> Conversation[tuple[RequestField, ...] | None]:
        """Return the fields that `start_run` lists when it gets no values; None when it lists none."""
        request = ToolRequest(Operation.DESCRIBE_APP, "start_run", partial(build_field_arguments, app.id))
        try:
            body = yield from self._call(request)
        except (ProviderRefused, ProviderRejected, ProviderBroken):
            # A key without the right to that server can still run what a person has declared.
            return None
        if has_started(body):
            raise AppUnsupported(clean_line(app.id), "Magica's start_run started a run although it says it would not")
        return find_tool_fields(body)

    def _get_declared(self, app: App) -> tuple[RequestField, ...] | None:
        declared = self._declared.get(app.id)
        if declared is None:
            return None
        return tuple(RequestField(one.node_id, one.field_id, one.definition) for one in declared.inputs)

    def _estimate(self, body: Any) -> Conversation[float | None]:
        estimate = build_estimate_body(body)
        if estimate is None:
            return None
        path = "/v1/workflows/estimate-credits"
        answer = yield ApiRequest(Operation.ESTIMATE_PRICE, "POST", path, estimate)
        return parse_estimate(READER.parse_body(answer, Operation.ESTIMATE_PRICE))

    def _call(self, request: ToolRequest) -> Conversation[Any]:
        """Return what a tool returned."""
        answer = yield request
        return READER.parse_body(answer, request.operation)

    def _use(self, request: ToolRequest, purpose: str, end: str = "") -> Conversation[Any]:
        """Return what a tool returned; of one that is missing it is said what that means, since its 404 is about no app or run."""
        try:
            return (yield from self._call(request))
        except ProviderRejected as exc:
            problem = describe_missing_tool(exc, purpose)
            if problem:
                raise ProviderRejected(self.title, exc.operation, exc.status, problem=f"{problem}{end}") from exc
            raise


def _get_list_path(*, is_own: bool) -> str:
    return "/v1/workflows" if is_own else "/v1/system-workflows"


def _read_app(item: Any, *, is_own: bool) -> App | None:
    """Return a workflow of a list. A system workflow is run by its slug as well as by an id."""
    keys = ("id", "workflowId", "slug") if is_own else ("slug", "id", "workflowId")
    found = (item.get(key) for key in keys) if isinstance(item, dict) else ()
    app_id = next((value for value in found if isinstance(value, str) and value.strip()), "")
    if not app_id or len(app_id) > MAX_ID_LENGTH:
        return None
    names = (item.get(key) for key in ("name", "title"))
    name = next((value for value in names if isinstance(value, str)), "")
    return App("magica", app_id, name[:MAX_TEXT_LENGTH], is_own=is_own, price_credits=None)


def _parse_run(body: Any) -> Started | None:
    """Return the run that a start names: a `runId` anywhere, else the id of what is inside, else of the whole."""
    holders = (body.get("run"), body.get("data"), body) if isinstance(body, dict) else ()
    found = (holder.get(key) for key in ("runId", "id") for holder in holders if isinstance(holder, dict))
    usable = (value for value in found if isinstance(value, str) and value.strip() and len(value) <= MAX_ID_LENGTH)
    run_id = next(usable, None)
    return None if run_id is None else Started(run_id, RunState.QUEUED)
