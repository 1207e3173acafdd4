"""Magica's runs: state, outputs, failed nodes, cost before and after, and the status of several in one request. Pure.

Source: "Core concepts" of magica.com/docs for `nodes` and `response`; what clients read of the live service for
`nodeRuns` with `inDetails`. No page documents which keys an output has, or how long its link lives.

An estimate: the page `workflows/estimate-credits` of the API reference (at most 100 nodes, microcredits). It mirrors what a
run is charged and has no effects.

Several runs: the page "Batch get runs" has the path alone. What is sent and returned is on the same page under Magica's
earlier name, Galaxy.ai (galaxy.ai/docs/api-reference/runs/batch-get): `ids`, at least one, lead to `runs`, each with
`nodeRuns`. How many ids are taken, and what happens to one that is not found, is not documented.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from flowport.domain.errors import Operation
from flowport.domain.models import JsonValue, Output, OutputKind, RunState
from flowport.domain.text import clean_line, redact
from flowport.providers.interface import ApiAnswer, ApiRequest, RunStatus
from flowport.providers.magica.answers import READER
from flowport.providers.magica.inputs import find_nodes, get_node_type
from flowport.providers.parsing import clean_detail, clean_word, guess_end, is_instant, is_number, parse_state
from flowport.providers.result_items import (
    MAX_OUTPUTS,
    MAX_TEXT,
    FoundItem,
    build_output,
    guess_kind,
    keep_beginning,
    read_file,
)

LINK_SECONDS: Final = 30 * 86_400.0
"""How long a result's link is taken to live: an operator found pictures gone after about thirty days."""

MICROCREDITS: Final = 1_000_000
_MAX_DEPTH: Final = 16
_MAX_FAILED_NODES: Final = 5

_FREE_TYPES: Final = frozenset({"request", "response"})
"""Nodes that make nothing, and so name no cost."""

_END_KEYS: Final = ("completedAt", "finishedAt", "endedAt", "completed_at", "finished_at")

_KINDS: Final = {kind.value: kind for kind in (OutputKind.IMAGE, OutputKind.VIDEO, OutputKind.AUDIO)}
_ABOUT_KEYS: Final = frozenset(
    {
        *("id", "runId", "nodeId", "fieldId", "type", "nodeType", "status", "createdAt", "updatedAt", "completedAt"),
        *("model", "modelId", "provider", "format", "mimeType", "contentType", "mediaType", "fileName", "filename"),
        *("error", "userMessage", "finishReason", "finish_reason", "role", "resultMetadata", "metadata", "usage"),
    }
)
"""Keys whose texts are about a result, and none themselves."""


def parse_run(body: Mapping[str, Any], *, now: float) -> RunStatus | None:
    """Return the status of a run; None when the body has none. An unknown state is judged by what came with it.

    Args:
        now: When the answer came; the life of the links is counted from it.
    """
    status = body.get("status")
    if not isinstance(status, str):
        return None
    nodes = _get_nodes(body)
    answered = list(_find_answered(body, nodes))
    state, unheard = parse_state(status), ""
    if state is None:
        unheard = clean_word(status)
        is_completed = any(is_instant(body.get(key)) for key in _END_KEYS)
        # Results of single nodes do not end the whole run, and a run without results may have had none to make.
        has_outputs = bool(answered) or (is_completed and any(_find_made(nodes)))
        state = guess_end(has_outputs=has_outputs, is_completed=is_completed, has_error=bool(_read_error(body)))
    if not state.is_final:
        return RunStatus(state, unknown_status=unheard)
    failed = [node for node in nodes if parse_state(node.get("status")) is RunState.FAILED]
    # What nodes made on the way stands in for a missing response only where the run went well.
    found = answered or (list(_find_made(nodes)) if state is RunState.SUCCEEDED or unheard else [])
    outputs = _build_outputs(found, now)
    if failed and state is RunState.SUCCEEDED:
        state = RunState.PARTIAL if outputs else RunState.FAILED
    elif state is RunState.FAILED and outputs:
        state = RunState.PARTIAL
    elif state is RunState.PARTIAL and not outputs:
        state = RunState.FAILED
    is_explained = state in {RunState.FAILED, RunState.PARTIAL, RunState.CANCELLED}
    detail = _format_failure(body, failed) if is_explained else ""
    # Numbers accompany results; where there is nothing else, they may be the result.
    response = body.get("response")
    unread = (keep_beginning(response),) if response and not outputs else ()
    return RunStatus(
        state, outputs, detail, unknown_status=unheard, unread=unread, cost_credits=_read_cost(body, nodes)
    )


def _get_nodes(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    lists = (body.get(key) for key in ("nodeRuns", "nodes"))
    found = next((nodes for nodes in lists if isinstance(nodes, list)), [])
    return [node for node in found if isinstance(node, Mapping)]


def _find_answered(body: Mapping[str, Any], nodes: list[Mapping[str, Any]]) -> Iterator[FoundItem]:
    """Yield what the workflow itself calls its response."""
    if body.get("response"):
        yield from _walk(body["response"])
        return
    for node in nodes:
        if get_node_type(node).lower() == "response":
            yield from _walk(node.get("output"))


def _find_made(nodes: list[Mapping[str, Any]]) -> Iterator[FoundItem]:
    for node in nodes:
        if get_node_type(node).lower() != "request":
            yield from _walk(node.get("output"))


def _walk(value: Any, depth: int = 0, *, is_address: bool = False) -> Iterator[FoundItem]:
    """Yield the files and texts in a value. A text that holds an address stays a text and is not fetched."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, str):
        found = _read_text(value, is_address=is_address)
        if found is not None:
            yield found
    elif isinstance(value, list):
        for part in value:
            yield from _walk(part, depth + 1, is_address=is_address)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            is_about = key in _ABOUT_KEYS
            inner = (
                one
                for one in _walk(part, depth + 1, is_address=key == "url")
                if not is_about or one.kind is not OutputKind.TEXT
            )
            yield from _set_kinds(inner, value) if key == "result" else inner


def _read_text(text: str, *, is_address: bool) -> FoundItem | None:
    text = text.strip()
    # A text may begin with two slashes; an address without scheme is accepted only where an address is expected.
    url = read_file(text, is_address=is_address) if is_address or not text.startswith("//") else ""
    if url:
        return FoundItem(guess_kind(url, OutputKind.FILE), url)
    return FoundItem(OutputKind.TEXT, text=text[:MAX_TEXT]) if text else None


def _set_kinds(found: Iterator[FoundItem], holder: Mapping[str, Any]) -> Iterator[FoundItem]:
    """Yield what a `result` holds, of the kinds that the metadata beside it names where no ending does."""
    metadata = holder.get("resultMetadata")
    stated = metadata if isinstance(metadata, list) else []
    for n, one in enumerate(found):
        about = stated[n] if n < len(stated) and isinstance(stated[n], Mapping) else {}
        kind = _KINDS.get(str(about.get("mediaType")).lower())
        yield replace(one, kind=kind) if one.kind is OutputKind.FILE and kind else one


def _build_outputs(found: list[FoundItem], now: float) -> tuple[Output, ...]:
    distinct = list({(one.url, one.text): one for one in reversed(found)}.values())[::-1]
    return tuple(build_output(n, one, expires_at=now + LINK_SECONDS) for n, one in enumerate(distinct[:MAX_OUTPUTS], 1))


def _format_failure(body: Mapping[str, Any], failed: list[Mapping[str, Any]]) -> str:
    """Return what went wrong: the run's own message where it says more than its nodes, then each failed node by its type."""
    own, reasons = _read_error(body), [_read_node_error(node) for node in failed]
    is_repeated = any(reason and reason in own for reason in reasons)
    parts = ["" if is_repeated else own, *(_format_node(node) for node in failed[:_MAX_FAILED_NODES])]
    more = len(failed) - _MAX_FAILED_NODES
    return clean_detail("; ".join([part for part in parts if part] + ([f"and {more} more nodes"] if more > 0 else [])))


def _read_node_error(node: Mapping[str, Any]) -> str:
    output = node.get("output")
    return _read_error(node) or (_read_error(output) if isinstance(output, Mapping) else "")


def _format_node(node: Mapping[str, Any]) -> str:
    reason = _read_node_error(node)
    name = clean_line(get_node_type(node) or str(node.get("nodeId", "")), limit=40) or "without a name"
    return f"node {name} failed" + (f": {reason}" if reason else "")


def _read_error(holder: Mapping[str, Any]) -> str:
    """Return why something failed: the message that is meant for users, else its error."""
    error = holder.get("error")
    inner = error if isinstance(error, Mapping) else {}
    words = (holder.get("userMessage"), inner.get("userMessage"), inner.get("message"), error, inner.get("code"))
    word = next((word for word in words if isinstance(word, str) and word.strip()), "")
    return clean_line(redact(word[:2000]), limit=200)


def _read_cost(body: Mapping[str, Any], nodes: list[Mapping[str, Any]]) -> float | None:
    """Return the credits that the run, or else its nodes together, say they used; None when none says so."""
    stated = _read_used(body)
    if stated is not None:
        return stated
    used = [_read_used(node) for node in nodes if get_node_type(node).lower() not in _FREE_TYPES]
    total = sum(one or 0.0 for one in used)
    # A sum of 0 means free only where each node says so.
    return total if total or (used and None not in used) else None


def _read_used(holder: Mapping[str, Any]) -> float | None:
    output = holder.get("output")
    holders = (holder, output) if isinstance(output, Mapping) else (holder,)
    values = (one.get(key) for one in holders for key in ("creditUsed", "creditsUsed"))
    return next((read_microcredits(value) for value in values if read_microcredits(value) is not None), None)


def read_microcredits(value: Any) -> float | None:
    """Return microcredits as credits; None for anything else."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    amount = value / MICROCREDITS
    return amount if is_number(amount) and amount >= 0 else None


STARTED_EVENT: Final = "run.started"
REQUESTED_EVENTS: Final = (STARTED_EVENT, "run.completed", "run.failed", "run.canceled")
"""Those of single nodes say nothing that is to be read."""
BEGINNINGS: Final = frozenset({STARTED_EVENT, "run.queued", "run.running", "node.completed", "node.failed"})
"""The names of events of runs that go on; two of them are not documented."""


def parse_event(event: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """Return run id, name and metadata of a webhook event, as the page "Webhooks" documents them."""
    return event.get("runId"), event.get("type"), event.get("metadata")


MAX_NODES: Final = 100

_SUB_MODEL_KEYS: Final = ("subModelId", "sub_model_id")


def build_estimate_body(workflow: Any) -> Mapping[str, JsonValue] | None:
    """Return the request's body for a workflow's graph; None when it cannot be estimated whole."""
    nodes = find_nodes(workflow)
    costly = [node for node in nodes or () if get_node_type(node).lower() not in {"", *_FREE_TYPES}]
    if not costly or len(costly) > MAX_NODES:
        return None
    return {"nodes": [_build_node(node) for node in costly]}


def _build_node(node: Mapping[str, Any]) -> dict[str, JsonValue]:
    data = node.get("data")
    settings: dict[str, JsonValue] = dict(data) if isinstance(data, Mapping) else {}
    holders = (node, settings)
    sub_model = next((one[key] for one in holders for key in _SUB_MODEL_KEYS if isinstance(one.get(key), str)), None)
    built: dict[str, JsonValue] = {"type": get_node_type(node), "data": settings}
    return built if sub_model is None else {**built, "subModelId": sub_model}


def parse_estimate(body: Any) -> float | None:
    """Return the price in credits; None when the answer lacks that of a node."""
    if not isinstance(body, Mapping):
        return None
    total = read_microcredits(body.get("totalMicrocredits"))
    if total is not None:
        return total
    estimates = body.get("estimates")
    items = estimates if isinstance(estimates, list) else []
    prices = [read_microcredits(item.get("microcredits")) if isinstance(item, Mapping) else None for item in items]
    known = [price for price in prices if price is not None]
    return sum(known) if known and len(known) == len(prices) else None


MAX_LISTED_RUNS: Final = 1000
"""An answer with more runs is about something else than what was asked."""


class MagicaBulkStatus:
    """Magica's `POST /v1/runs/batch`."""

    most = 20  # no figure is published; each run comes with all that its nodes took and made

    def build_request(self, provider_run_ids: Sequence[str]) -> ApiRequest:
        """Return the request that names the runs."""
        return ApiRequest(Operation.READ_RUNS, "POST", "/v1/runs/batch", {"ids": [*provider_run_ids]})

    def parse(self, answer: ApiAnswer, provider_run_ids: Sequence[str], *, now: float) -> Mapping[str, RunStatus]:
        """Return the runs that go on, and those that ended well with what they made.

        Any other end is left out: a run's own address has its `response` and its reason, which are not listed here. So is a
        state that is not known; it may say that there is no such run.
        """
        body = READER.parse_body(answer, Operation.READ_RUNS)
        runs = body.get("runs") if isinstance(body, dict) else None
        if not isinstance(runs, list) or len(runs) > MAX_LISTED_RUNS:
            raise READER.build_broken(answer, Operation.READ_RUNS, "its answer is not a list of the runs")
        statuses = {
            run_id: parse_run(run, now=now) for run_id, run in _find_runs(runs, frozenset(provider_run_ids)).items()
        }
        described = {run_id: status for run_id, status in statuses.items() if status is not None}
        if not described:
            raise READER.build_broken(answer, Operation.READ_RUNS, "its answer describes none of the runs")
        return {run_id: status for run_id, status in described.items() if _is_whole(status)}


def _find_runs(runs: Sequence[Any], wanted: Collection[str]) -> dict[str, Mapping[str, Any]]:
    """Return the runs that were asked for; one that is listed twice is left out, since either entry may be wrong."""
    found: dict[str, Mapping[str, Any]] = {}
    repeated: set[str] = set()
    for run in runs:
        run_id = _find_id(run) if isinstance(run, dict) else ""
        if run_id not in wanted:
            continue
        if run_id in found:
            repeated.add(run_id)
        found[run_id] = run
    return {run_id: run for run_id, run in found.items() if run_id not in repeated}


def _find_id(run: Mapping[str, Any]) -> str:
    """Return the run's only id; empty when it has none, or two that differ, of which one is another run's."""
    named = [one for one in (run.get("id"), run.get("runId")) if one is not None]
    return named[0] if named and isinstance(named[0], str) and named == named[:1] * len(named) else ""


def _is_whole(status: RunStatus) -> bool:
    is_good = status.state is RunState.SUCCEEDED and bool(status.outputs)
    return is_good or not (status.state.is_final or status.unknown_status)
