"""Magica's webhooks: what happens to a run is asked to a receiver on this machine, signed as Svix signs.

Results are not in them; the receiver reads the run. Retries, which Svix makes over hours, are left out.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from flowport.sandbox.web import Refused
from tests.fakes.magica.node_states import NodeState, find_node_states
from tests.fakes.magica.records import RunRecord
from tests.fakes.magica.refusals import deny_values
from tests.fakes.magica.timestamps import format_instant
from tests.fakes.magica.workflows import REQUEST, RESPONSE
from tests.fakes.magnific import webhooks
from tests.fakes.magnific.runs import Run, RunStatus
from tests.fakes.magnific.state import SandboxState
from tests.fakes.magnific.webhooks import Delivery, SecretReading

STARTED: Final = "run.started"
ENDS: Final = {
    RunStatus.COMPLETED: "run.completed",
    RunStatus.COMPLETED_WITH_ERRORS: "run.completed",
    RunStatus.FAILED: "run.failed",
    RunStatus.CANCELLED: "run.canceled",
}
NODE_ENDS: Final = {RunStatus.COMPLETED: "node.completed", RunStatus.FAILED: "node.failed"}
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e]{0,2000}")
_OUR_HEADERS: Final = frozenset({"content-type", "content-length", "host", "connection", "transfer-encoding"})
EVENTS: Final = frozenset({STARTED, *ENDS.values(), *NODE_ENDS.values()})
"""Of which runs of models have only three: started, completed and failed."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who wants to learn of a run."""

    url: str
    events: frozenset[str]
    metadata: dict[str, Any] | None = field(repr=False)
    """Reported again with every event."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent with every event."""


def parse_webhook(value: Any) -> Receiver | None:
    """Return the receiver of a run request, or None; raises `Denied` with 400, `Refused` for another machine."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise deny_values(["webhook"], "invalid_type", "Invalid input: expected object", expected="object")
    try:
        url = webhooks.parse_webhook(value.get("url"))
    except Refused as exc:
        raise deny_values(["webhook", "url"], "invalid_string", exc.message) from exc
    if url is None:
        raise deny_values(["webhook", "url"], "invalid_type", "Required", expected="string")
    events, metadata = value.get("events"), value.get("metadata")
    if events is not None and not (isinstance(events, list) and set(map(str, events)) <= EVENTS):
        raise deny_values(["webhook", "events"], "invalid_enum_value", f"must be of: {', '.join(sorted(EVENTS))}")
    if not isinstance(metadata, dict | None):
        raise deny_values(["webhook", "metadata"], "invalid_type", "Invalid input: expected object", expected="object")
    headers = value.get("headers")
    return Receiver(url, EVENTS if events is None else frozenset(events), metadata, _parse_headers(headers))


def _parse_headers(value: Any) -> dict[str, str]:
    """Return the headers that a receiver wants to be sent; raises `Denied` with 400 for what cannot be sent."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise deny_values(["webhook", "headers"], "invalid_type", "Invalid input: expected object", expected="object")
    for name, text in value.items():
        is_ours = name.lower().startswith("svix-") or name.lower() in _OUR_HEADERS
        if is_ours or not _HEADER_NAME.fullmatch(name):
            raise deny_values(["webhook", "headers", ascii(name)[:80]], "custom", "cannot be sent")
        if not isinstance(text, str) or not _HEADER_VALUE.fullmatch(text):
            raise deny_values(["webhook", "headers", name], "invalid_type", "Invalid input: expected string")
    return dict(value)


def watch(state: SandboxState, record: RunRecord, receiver: Receiver) -> None:
    """Return this receiver what happens to a run."""
    state.webhooks.start_soon(partial(_follow, state, record, receiver))


async def _follow(state: SandboxState, record: RunRecord, receiver: Receiver) -> None:
    # Svix's key is the secret's bytes; the switch is about the other provider's samples, which do not agree.
    rules = replace(state.webhooks.rules, reading=SecretReading.BASE64)
    await state.runs.wait_until_started(record.run_id)
    begun = [(STARTED, _build_data("RUNNING", ()), None)]
    if not rules.is_reversed:
        await _report(state, record, receiver, begun, rules)
    await state.runs.wait_until_over(record.run_id)
    run = state.runs.get(record.run_id)
    if run is None:
        return  # a reset has forgotten it
    await _report(state, record, receiver, _build_ends(record, run), rules)
    if rules.is_reversed:
        await _report(state, record, receiver, begun, rules)


def _build_ends(record: RunRecord, run: Run) -> list[tuple[str, dict[str, Any], str | None]]:
    """Build the events of a run that is over: each node's, then its own."""
    states = [] if record.workflow is None else find_node_states(record.workflow, run)
    nodes = [
        (NODE_ENDS[reported.status], _build_node_data(reported), reported.error or None)
        for reported in states
        if reported.status in NODE_ENDS and reported.node.type not in {REQUEST, RESPONSE}
    ]
    event = ENDS[run.status]
    if record.workflow is None and run.status is RunStatus.CANCELLED:
        event = ENDS[RunStatus.FAILED]
    word = event.removeprefix("run.").upper()
    return [*nodes, (event, _build_data(word, states), run.error_message if event == "run.failed" else None)]


async def _report(
    state: SandboxState,
    record: RunRecord,
    receiver: Receiver,
    events: Sequence[tuple[str, dict[str, Any], str | None]],
    rules: webhooks.WebhookRules,
) -> None:
    for event, data, error in events:
        if event in receiver.events and state.runs.get(record.run_id) is not None:
            body = {
                "success": error is None,
                "type": event,
                "runId": record.run_id,
                "workflowId": record.node_type if record.workflow is None else record.workflow.id,
                "data": data,
                "metadata": receiver.metadata,
                "error": error,
                "createdAt": format_instant(state.magica.clock()),
            }
            delivery = Delivery(record.run_id, event, None)
            sent = json.dumps(body).encode()
            await state.webhooks.send(
                delivery, receiver.url, sent, rules, prefix="svix", extra_headers=receiver.headers
            )


def _build_data(status: str, states: Sequence[NodeState]) -> dict[str, Any]:
    return {
        "status": status,
        "completedNodes": sum(reported.status is RunStatus.COMPLETED for reported in states),
        "failedNodes": sum(reported.status is RunStatus.FAILED for reported in states),
    }


def _build_node_data(reported: NodeState) -> dict[str, Any]:
    """Build what a node's event reports; only the event's name is documented."""
    return {"nodeId": reported.node.id, "nodeType": reported.node.type, "status": reported.status.upper()}
