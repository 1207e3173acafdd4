"""Magnific's API: flows, which were once called apps, creations and workflow runs.

Source: the OpenAPI "Magnific API" 1.0.0 and the pages `list-flows`, `list-my-flows`, `get-flow`, `run-flow` and `get-run`
of docs.magnific.com; for the older family the "Freepik API" of May 2026 and the pages `list-apps` to `get-app-run`. Where
those are silent the comment says what was observed or assumed. Pure.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from flowport.domain.errors import AppUnsupported, Operation
from flowport.domain.models import App, JsonValue, RunState
from flowport.domain.text import clean_line
from flowport.providers.answers import AnswerReader, Words, find_flaws
from flowport.providers.interface import (
    ApiAnswer,
    ApiRequest,
    AppList,
    Capabilities,
    Conversation,
    FileLimits,
    LeftOut,
    ListQuery,
    PlacedUploads,
    RunStatus,
    Started,
    StartOutcome,
    UploadPlace,
    WebhookTarget,
)
from flowport.providers.lost_runs import RecentOutput
from flowport.providers.magnific import STYLES
from flowport.providers.magnific.files import (
    BEGINNINGS,
    MAX_UPLOAD_BYTES,
    UPLOAD_TYPES,
    is_creation_id,
    parse_event,
    parse_outputs,
    parse_place,
    parse_recent_outputs,
)
from flowport.providers.magnific.inputs import MAX_ID_LENGTH, parse_inputs
from flowport.providers.options import MAX_TEXT_LENGTH
from flowport.providers.parsing import (
    LenientList,
    LenientMapping,
    LenientText,
    clean_detail,
    clean_word,
    guess_end,
    is_instant,
    is_number,
    parse_json,
    parse_state,
    quote_segment,
    read_run_id,
)
from flowport.providers.webhooks import SignedWebhooks

INLINE: Final = FileLimits(frozenset({"image/png", "image/jpeg"}), 10 * 1024 * 1024)
"""The formats that every page names; no size is documented for flows, single endpoints name about 10 MB per picture."""

_RECENT: Final = 50
"""Files of one list."""

_OLD_DOMAIN: Final = "api.freepik.com"


def _read_id(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class _Flow(BaseModel):
    """`flow-summary` and the head of `get-flow`. The spec requires no field of a summary."""

    sqid: Annotated[str, Field(pattern=r"\S", max_length=MAX_ID_LENGTH)]
    name: LenientText = None
    tool_metadata: LenientMapping = None
    inputs: LenientList = None


class _RunStatus(BaseModel):
    """`get-run`, inside `data`."""

    status: str
    run_id: Any = None
    workflow_run_identifier: Any = None
    error_message: LenientText = None
    result: Any = None
    completed_at: Any = None


class _RunAccepted(BaseModel):
    """The 202 of `run-flow`, which is not wrapped in `data`."""

    # Text in the spec; a number would be an id just as well.
    workflow_run_identifier: Annotated[str, BeforeValidator(_read_id), Field(pattern=r"\S", max_length=MAX_ID_LENGTH)]
    status: LenientText = None


class Magnific:
    """Magnific's API, in one of its path families."""

    name = "magnific"
    requests_per_minute = 50  # docs.magnific.com/ratelimits, per API key
    requests_per_day = 0
    reads_ahead = True
    refresh_seconds = 600.0
    left_out_seconds = 0.0
    declared_ids = frozenset[str]()

    def __init__(self, title: str = "Magnific", styles: Sequence[str] = STYLES) -> None:
        """Use the first of these path families.

        Args:
            title: The sandbox has the same API, and must not pass for the real service.
            styles: The families that may be used; the first is tried first.
        """
        self.title = title
        self._reader = AnswerReader(title, _parse_words)
        self.styles: Sequence[str] = tuple(styles)
        self.style = self.styles[0]
        # Cancelling, a balance and bulk status have no endpoint.
        self.capabilities = Capabilities(
            inline=INLINE,
            upload=PlacedUploads(UPLOAD_TYPES, MAX_UPLOAD_BYTES, self.request_place),
            is_output_id=is_creation_id,  # run-flow: "an existing creation's identifier"
            list_recent_outputs=self.list_recent_outputs,
            webhooks=SignedWebhooks("webhook-", parse_event, BEGINNINGS),
        )

    @property
    def alternatives(self) -> Sequence["Magnific"]:
        """Magnific in each of its other path families."""
        return [
            Magnific(self.title, (style, *(other for other in self.styles if other != style)))
            for style in self.styles[1:]
        ]

    def build_headers(self, api_key: str, host: str) -> Mapping[str, str]:
        """Return the key header; the docs write it in several cases, HTTP minds none.

        The header goes with the host, not with the path family: the older name belongs to the older host, and on the
        newer one both families are documented with the newer name. Never both at once: how a gateway reads two keys is
        documented nowhere.
        """
        is_old = host == _OLD_DOMAIN or host.endswith(f".{_OLD_DOMAIN}")
        return {"x-freepik-api-key" if is_old else "x-magnific-api-key": api_key}

    def build_list_queries(self) -> Sequence[ListQuery]:
        """Return the two lists; neither has pages (list-flows documents no parameter for them)."""
        return (
            ListQuery(ApiRequest(Operation.LIST_APPS, "GET", f"/v1/ai/me/{self.style}"), is_own=True),
            ListQuery(ApiRequest(Operation.LIST_APPS, "GET", f"/v1/ai/{self.style}"), is_own=False),
        )

    def parse_list(self, answer: ApiAnswer, *, is_own: bool) -> AppList:
        """Return the flows of a list. Only the items that cannot be read are left out."""
        items = self._parse_data(answer, Operation.LIST_APPS)
        if not isinstance(items, list):
            raise self._reader.build_broken(answer, Operation.LIST_APPS, "its list of apps is not a list")
        apps: list[App] = []
        left_out: list[LeftOut] = []
        for item in items:
            try:
                apps.append(_build_app(_Flow.model_validate(item), is_own=is_own))
            except ValidationError:
                left_out.append(LeftOut("", "", "the provider's list names it without a usable id"))
        return AppList(tuple(apps), tuple(left_out))

    def describe_app(self, app: App, *, read_at: float) -> Conversation[App]:
        """Return the flow as `get-flow` describes it."""
        answer = yield self.build_app_request(app.id)
        return self.parse_app(answer, app, read_at=read_at)

    def request_place(self, mime_type: str) -> Conversation[UploadPlace]:
        """Return where to put a file."""
        answer = yield self.build_upload_request(mime_type)
        return self.parse_upload(answer)

    def list_recent_outputs(self, since: float, now: float) -> Conversation[tuple[RecentOutput, ...]]:
        """Return the newest files of the key's user. That outputs of flows are among them was inferred."""
        answer = yield ApiRequest(Operation.READ_RUNS, "GET", f"/v1/creations/recent?page=1&per_page={_RECENT}")
        items = self._parse_data(answer, Operation.READ_RUNS)
        if not isinstance(items, list):
            raise self._reader.build_broken(answer, Operation.READ_RUNS, "its answer is not a list of files")
        return parse_recent_outputs(items, since=since, now=now)

    def build_app_request(self, app_id: str) -> ApiRequest:
        """Return the `get-flow` request."""
        return ApiRequest(Operation.DESCRIBE_APP, "GET", f"/v1/ai/{self.style}/{quote_segment(app_id)}")

    def parse_app(self, answer: ApiAnswer, app: App, *, read_at: float) -> App:
        """Return the flow with its inputs; ownership is kept from the list, since `get-flow` does not say."""
        data = self._parse_data(answer, Operation.DESCRIBE_APP)
        try:
            flow = _Flow.model_validate(data)
        except ValidationError as exc:
            raise self._reader.build_broken(
                answer, Operation.DESCRIBE_APP, "its definition of the app cannot be read"
            ) from exc
        if flow.sqid != app.id:
            raise self._reader.build_broken(answer, Operation.DESCRIBE_APP, "it described another app")
        if flow.inputs is None:
            raise AppUnsupported(clean_line(app.id), "its definition names no inputs")
        described = _build_app(flow, is_own=app.is_own)
        price = described.price_credits if described.price_credits is not None else app.price_credits
        return App(
            provider=app.provider,
            id=app.id,
            name=described.name or app.name,
            is_own=app.is_own,
            price_credits=price,
            inputs=parse_inputs(app.id, flow.inputs),
            read_at=read_at,
        )

    def build_start_request(
        self, app: App, inputs: Mapping[str, JsonValue], webhook: WebhookTarget | None = None
    ) -> ApiRequest:
        """Return the `run-flow` request. Magnific offers no idempotency key: sending it twice may cost twice."""
        if self.style == "apps":
            # run-app names inputs by their `id`; the readable keys came with the flows.
            ids = {item.run_key: item.id for item in app.inputs or ()}
            inputs = {ids.get(key, key): value for key, value in inputs.items()}
        path = f"/v1/ai/{self.style}/{quote_segment(app.id)}/run"
        body: dict[str, JsonValue] = {"inputs": dict(inputs)}
        if webhook is not None:
            # One address: neither metadata nor a choice of events is documented.
            body["webhook"] = webhook.url
        return ApiRequest(Operation.START_RUN, "POST", path, body)

    def build_upload_request(self, mime_type: str) -> ApiRequest:
        """Return the `request-url` request; uploads are outside the path families."""
        body: dict[str, JsonValue] = {"files": [{"content_type": mime_type}]}
        return ApiRequest(Operation.REQUEST_UPLOAD, "POST", "/v1/ai/uploads/request-url", body)

    def parse_upload(self, answer: ApiAnswer) -> UploadPlace:
        """Return where to put the file."""
        body = self._reader.parse_body(answer, Operation.REQUEST_UPLOAD)
        try:
            return parse_place(body)
        except ValueError as exc:
            problem = "its answer gave no upload address"
            raise self._reader.build_broken(answer, Operation.REQUEST_UPLOAD, problem) from exc

    def parse_start(self, answer: ApiAnswer) -> StartOutcome:
        """Return what the answer to `run-flow` proves."""
        return self._reader.parse_start(answer, _parse_run)

    def build_status_request(self, provider_run_id: str) -> ApiRequest:
        """Return the `get-run` request."""
        return ApiRequest(Operation.READ_RUN, "GET", f"/v1/ai/{self.style}/runs/{quote_segment(provider_run_id)}")

    def parse_status(self, answer: ApiAnswer, *, now: float) -> RunStatus:
        """Return the run's state and results; of a status that is in no table, by what came with it."""
        data = self._parse_data(answer, Operation.READ_RUN)
        try:
            run = _RunStatus.model_validate(data)
        except ValidationError as exc:
            raise self._reader.build_broken(
                answer, Operation.READ_RUN, "its description of the run cannot be read"
            ) from exc
        state, unheard = parse_state(run.status), ""
        outputs, unread = parse_outputs(run.result, now=now)
        detail = clean_detail(run.error_message or "")
        if state is None:
            unheard = clean_word(run.status)
            is_completed = is_instant(run.completed_at)
            state = guess_end(has_outputs=bool(outputs), is_completed=is_completed, has_error=bool(detail))
        if not state.is_final:
            outputs, unread = (), ()
        if state is RunState.PARTIAL and not outputs:
            state = RunState.FAILED
        run_id = read_run_id(run.run_id, run.workflow_run_identifier)
        return RunStatus(state, outputs, detail, unknown_status=unheard, unread=unread, reported_run_id=run_id)

    def _parse_data(self, answer: ApiAnswer, operation: Operation) -> Any:
        """Return what an answer wraps in `data`.

        Raises:
            ProviderError: The answer is a refusal, or breaks the contract.
        """
        body = self._reader.parse_body(answer, operation)
        if not isinstance(body, dict) or "data" not in body:
            raise self._reader.build_broken(answer, operation, "its answer lacks the data that it promises")
        return body["data"]


def _parse_run(body: Any) -> Started:
    # The page shows it bare; every other answer wraps it, so a wrapped one is not taken for a lost run.
    wrapped = body.get("data") if isinstance(body, dict) else None
    accepted = _RunAccepted.model_validate(wrapped if isinstance(wrapped, dict) else body)
    state = parse_state(accepted.status) or RunState.RUNNING
    # The enum of this answer has one value, "running"; an end is believed only from `get-run`, which has the outputs.
    return Started(accepted.workflow_run_identifier, state if state.is_at_provider else RunState.RUNNING)


def _parse_words(answer: ApiAnswer) -> Words:
    """Return the provider's message in an error body, flat or nested under `problem`, and its complaints about inputs."""
    try:
        body = parse_json(answer)
    except ValueError:
        return "", ()
    body = body.get("problem", body) if isinstance(body, dict) else {}
    if not isinstance(body, dict):
        return "", ()
    message = body.get("message")
    return message if isinstance(message, str) else "", find_flaws(body)


def _build_app(flow: _Flow, *, is_own: bool) -> App:
    cost = (flow.tool_metadata or {}).get("total_cost")
    price = float(cost) if is_number(cost) and cost >= 0 else None
    return App("magnific", flow.sqid, (flow.name or "")[:MAX_TEXT_LENGTH], is_own=is_own, price_credits=price)
