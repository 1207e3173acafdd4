"""Magnific's words: flows, creations and workflow runs.

Source: the OpenAPI "Magnific API" 1.0.0 and the pages `list-flows`, `list-my-flows`, `get-flow`, `run-flow` and `get-run`
of docs.magnific.com. Where those are silent the comment says what was observed or assumed. Pure.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, TypeGuard
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from flowport.errors import AppUnsupported, Operation, ProviderBroken, ProviderError
from flowport.labels import clean_line
from flowport.model import App, JsonValue, Output, OutputKind, RunState
from flowport.providers.interface import (
    ApiAnswer,
    ApiRequest,
    AppList,
    LeftOut,
    ListQuery,
    NotTaken,
    Refusal,
    RunLook,
    Started,
    StartOutcome,
    Uncertain,
    build_refusal,
    guess_mime_type,
    is_not_taken,
    parse_json,
)
from flowport.providers.magnific_inputs import MAX_ID_LENGTH, MAX_TEXT_LENGTH, parse_inputs

LINK_SECONDS: Final = 12 * 3600.0
"""How long a result's link lives (get-run: "temporary, 12 hours")."""

MAX_OUTPUTS: Final = 1000
MAX_NUMBER: Final = 1e9
"""No price, size or duration reaches it."""
MAX_URL_LENGTH: Final = 4096
MAX_DETAIL_LENGTH: Final = 300
MAX_ANSWER_KEPT: Final = 2000
"""Characters of an undecided start answer that the ledger keeps."""

_STATES: Final = {
    "pending": RunState.QUEUED,
    "running": RunState.RUNNING,
    "completed": RunState.SUCCEEDED,
    "completed_with_errors": RunState.PARTIAL,
    "failed": RunState.FAILED,
    "cancelled": RunState.CANCELLED,
}

_EXPIRY: Final = re.compile(r"exp_(\d{9,11})(?!\d)")
"""The instant inside a result link's token, as the example of `get-run` shows it."""


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_NUMBER


def _read_id(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _drop_unless(*types: type) -> BeforeValidator:
    """Read a value of another type as absent: an odd extra must not cost us the whole record."""
    return BeforeValidator(lambda value: value if isinstance(value, types) and not isinstance(value, bool) else None)


_Text = Annotated[str | None, _drop_unless(str)]
_Number = Annotated[float | None, BeforeValidator(lambda value: value if _is_number(value) else None)]
_Mapping = Annotated[dict[str, Any] | None, _drop_unless(dict)]
_List = Annotated[list[Any] | None, _drop_unless(list)]


class _Flow(BaseModel):
    """`flow-summary` and the head of `get-flow`. The spec requires no field of a summary."""

    sqid: Annotated[str, Field(pattern=r"\S", max_length=MAX_ID_LENGTH)]
    name: _Text = None
    tool_metadata: _Mapping = None
    inputs: _List = None


class _RunStatus(BaseModel):
    """`get-run`, inside `data`."""

    status: str
    error_message: _Text = None
    result: _Mapping = None


class _ResultItem(BaseModel):
    """`webhook-result-item`, which run results share."""

    url: str
    id: _Text = None
    duration: _Number = None
    width: _Number = None
    height: _Number = None


class _RunAccepted(BaseModel):
    """The 202 of `run-flow`, which is not wrapped in `data`."""

    # Text in the spec; a number would be an id just as well.
    workflow_run_identifier: Annotated[str, BeforeValidator(_read_id), Field(pattern=r"\S", max_length=MAX_ID_LENGTH)]
    status: _Text = None


class Magnific:
    """The `flows` path family of Magnific's API."""

    name = "magnific"
    requests_per_minute = 50  # docs.magnific.com/ratelimits, per API key
    max_inline_bytes = 10 * 1024 * 1024  # no figure for flows; single endpoints name about 10 MB per picture
    can_cancel = False  # no endpoint for it exists

    def __init__(self, title: str = "Magnific") -> None:
        """Speak Magnific's words under this title; the sandbox speaks them too, and must not pass for the real thing."""
        self.title = title

    def build_headers(self, api_key: str) -> Mapping[str, str]:
        """Return the key header; the docs write it in several cases, HTTP minds none."""
        return {"x-magnific-api-key": api_key}

    def build_list_queries(self) -> Sequence[ListQuery]:
        """Return the two lists; neither has pages (list-flows documents no parameter for them)."""
        return (
            ListQuery(ApiRequest(Operation.LIST_APPS, "GET", "/v1/ai/me/flows"), is_own=True),
            ListQuery(ApiRequest(Operation.LIST_APPS, "GET", "/v1/ai/flows"), is_own=False),
        )

    def parse_list(self, answer: ApiAnswer, *, is_own: bool) -> AppList:
        """Return the flows of a list. An item that cannot be read is left out by itself."""
        items = self._parse_data(answer, Operation.LIST_APPS)
        if not isinstance(items, list):
            raise self._build_broken(answer, Operation.LIST_APPS, "its list of apps is not a list")
        apps: list[App] = []
        left_out: list[LeftOut] = []
        for item in items:
            try:
                apps.append(_build_app(_Flow.model_validate(item), is_own=is_own))
            except ValidationError:
                left_out.append(LeftOut("", "", "the provider's list names it without a usable id"))
        return AppList(tuple(apps), tuple(left_out))

    def build_app_request(self, app_id: str) -> ApiRequest:
        """Return the `get-flow` request."""
        return ApiRequest(Operation.DESCRIBE_APP, "GET", f"/v1/ai/flows/{_quote_segment(app_id)}")

    def parse_app(self, answer: ApiAnswer, app: App, *, read_at: float) -> App:
        """Return the flow with its inputs; the list's word on ownership is kept, since `get-flow` does not say."""
        data = self._parse_data(answer, Operation.DESCRIBE_APP)
        try:
            flow = _Flow.model_validate(data)
        except ValidationError as exc:
            raise self._build_broken(
                answer, Operation.DESCRIBE_APP, "its definition of the app cannot be read"
            ) from exc
        if flow.sqid != app.id:
            raise self._build_broken(answer, Operation.DESCRIBE_APP, "it described another app")
        if flow.inputs is None:
            raise AppUnsupported(app.id, "its definition names no inputs")
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

    def build_start_request(self, app: App, inputs: Mapping[str, JsonValue]) -> ApiRequest:
        """Return the `run-flow` request. Magnific offers no idempotency key: sending it twice may cost twice."""
        path = f"/v1/ai/flows/{_quote_segment(app.id)}/run"
        return ApiRequest(Operation.START_RUN, "POST", path, {"inputs": dict(inputs)})

    def parse_start(self, answer: ApiAnswer) -> StartOutcome:
        """Return what the answer to `run-flow` proves."""
        if is_not_taken(answer.status):
            return NotTaken(self._build_refusal(answer, Operation.START_RUN))
        # Cut before it is cleaned, which takes seconds for megabytes.
        text = clean_line(answer.body[: 4 * MAX_ANSWER_KEPT].decode("utf-8", "replace"), limit=MAX_ANSWER_KEPT)
        if not 200 <= answer.status < 300:  # noqa: PLR2004
            return Uncertain(self._build_refusal(answer, Operation.START_RUN), text)
        try:
            body = parse_json(answer)
            # The page shows it bare; every other answer wraps it, so a wrapped one is not taken for a lost run.
            wrapped = body.get("data") if isinstance(body, dict) else None
            accepted = _RunAccepted.model_validate(wrapped if isinstance(wrapped, dict) else body)
        except ValueError:
            problem = f"it answered that the run was started, but {_tell_what_came(answer)}"
            return Uncertain(self._build_broken(answer, Operation.START_RUN, problem), text)
        state = _STATES.get((accepted.status or "").lower(), RunState.RUNNING)
        # The enum of this answer has one value, "running"; an end is believed only from `get-run`, which has the outputs.
        return Started(accepted.workflow_run_identifier, state if state.is_at_provider else RunState.RUNNING)

    def build_look_request(self, provider_run_id: str) -> ApiRequest:
        """Return the `get-run` request."""
        return ApiRequest(Operation.READ_RUN, "GET", f"/v1/ai/flows/runs/{_quote_segment(provider_run_id)}")

    def parse_look(self, answer: ApiAnswer, *, now: float) -> RunLook:
        """Return the run's state and results. An unheard-of status counts as running."""
        data = self._parse_data(answer, Operation.READ_RUN)
        try:
            run = _RunStatus.model_validate(data)
        except ValidationError as exc:
            raise self._build_broken(answer, Operation.READ_RUN, "its account of the run cannot be read") from exc
        state = _STATES.get(run.status.lower())
        if state is None:
            return RunLook(RunState.RUNNING, unheard_status=clean_line(run.status[:200], limit=40))
        outputs = _parse_outputs(run.result or {}, now=now) if state.is_final else ()
        if state is RunState.PARTIAL and not outputs:
            state = RunState.FAILED
        return RunLook(state, outputs, _clean_detail(run.error_message or ""))

    def _parse_data(self, answer: ApiAnswer, operation: Operation) -> Any:
        """Return what an answer wraps in `data`.

        Raises:
            ProviderError: The answer is a refusal, or breaks the contract.
        """
        if answer.status != 200:  # noqa: PLR2004
            raise self._build_refusal(answer, operation)
        try:
            body = parse_json(answer)
        except ValueError as exc:
            raise self._build_broken(answer, operation, "its answer is not the JSON that it promises") from exc
        if not isinstance(body, dict) or "data" not in body:
            raise self._build_broken(answer, operation, "its answer lacks the data that it promises")
        return body["data"]

    def _build_refusal(self, answer: ApiAnswer, operation: Operation) -> ProviderError:
        refusal = Refusal(self.title, operation, _parse_message(answer), answer.headers)
        return build_refusal(answer.status, refusal)

    def _build_broken(self, answer: ApiAnswer, operation: Operation, problem: str) -> ProviderBroken:
        return ProviderBroken(self.title, operation, answer.status, problem)


def _tell_what_came(answer: ApiAnswer) -> str:
    """Return what a start answer held in the place of a run id, as a clause."""
    if not answer.is_complete:
        return "its answer broke off"
    if not answer.body.strip():
        return "its answer was empty"
    if answer.body.lstrip()[:1] == b"<":
        return "its answer was HTML without a run id"
    return "its answer gave no run id"


def _parse_message(answer: ApiAnswer) -> str:
    """Return the provider's words from an error body, flat or nested under `problem`; empty when there are none."""
    try:
        body = parse_json(answer)
    except ValueError:
        return ""
    body = body.get("problem", body) if isinstance(body, dict) else {}
    if not isinstance(body, dict):
        return ""
    message = body.get("message")
    parts = [message] if isinstance(message, str) else []
    invalid = body.get("invalid_params")
    for item in invalid if isinstance(invalid, list) else []:
        reason = item.get("reason") if isinstance(item, dict) else None
        if isinstance(reason, str):
            parts.append(reason)
    return _clean_detail(" ".join(parts))


def _clean_detail(text: str) -> str:
    """Return a stranger's words so that they cannot leave the quotation marks that sentences put around them."""
    return clean_line(text[: 10 * MAX_DETAIL_LENGTH], limit=MAX_DETAIL_LENGTH).replace('"', "'")


def _quote_segment(text: str) -> str:
    """Return an id for a path; dots too, because the HTTP library would take `..` for the folder above."""
    return quote(text, safe="").replace(".", "%2E")


def _build_app(flow: _Flow, *, is_own: bool) -> App:
    cost = (flow.tool_metadata or {}).get("total_cost")
    price = float(cost) if _is_number(cost) and cost >= 0 else None
    return App("magnific", flow.sqid, (flow.name or "")[:MAX_TEXT_LENGTH], is_own=is_own, price_credits=price)


def _parse_outputs(result: Mapping[str, Any], *, now: float) -> tuple[Output, ...]:
    outputs: list[Output] = []
    for key, kind in (("images", OutputKind.IMAGE), ("videos", OutputKind.VIDEO), ("audios", OutputKind.AUDIO)):
        items = result.get(key)
        for item in items if isinstance(items, list) else []:
            output = _parse_output(item, kind, n=len(outputs) + 1, now=now)
            if output is not None and len(outputs) < MAX_OUTPUTS:
                outputs.append(output)
    return tuple(outputs)


def _parse_output(item: Any, kind: OutputKind, *, n: int, now: float) -> Output | None:
    try:
        found = _ResultItem.model_validate(item)
    except ValidationError:
        return None
    if not _is_usable_url(found.url):
        return None
    return Output(
        n=n,
        kind=kind,
        url=found.url,
        provider_output_id=clean_line(found.id or ""),
        mime_type=guess_mime_type(found.url),
        width=_parse_pixels(found.width),
        height=_parse_pixels(found.height),
        duration_seconds=found.duration if found.duration is not None and 0 <= found.duration < 1e6 else None,  # noqa: PLR2004
        expires_at=_parse_expiry(found.url, now=now),
    )


def _is_usable_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    is_plain = url.isascii() and url.isprintable() and " " not in url and len(url) <= MAX_URL_LENGTH
    return is_plain and parts.scheme in {"https", "http"} and bool(parts.hostname) and parts.username is None


def _parse_pixels(value: float | None) -> int | None:
    return int(value) if value is not None and 0 < value < 1e6 else None  # noqa: PLR2004


def _parse_expiry(url: str, *, now: float) -> float:
    """Return when the link stops working: its own word where it is believable, else twelve hours from now."""
    found = _EXPIRY.search(url)
    stated = float(found.group(1)) if found else now + LINK_SECONDS
    # A clock that is wrong on either side must not make a fresh link look dead or immortal.
    return stated if now < stated <= now + 2 * LINK_SECONDS else now + LINK_SECONDS
