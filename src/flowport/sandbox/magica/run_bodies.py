"""How Magica's JSON describes a run, in the two shapes that are known and in every spelling."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, assert_never

from flowport.sandbox.files import FileStore, StoredFile
from flowport.sandbox.magica.dialect import Case, MagicaDialect, NodeError, OutputKey, RunShape
from flowport.sandbox.magica.records import RunRecord
from flowport.sandbox.magica.timestamps import format_instant
from flowport.sandbox.magica.workflows import RESPONSE, WRITER, Node, Workflow
from flowport.sandbox.runs import Run, RunStatus

_FAILURE: Final = re.compile(r"Node '([^']+)' failed: (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class NodeState:
    """How one node of a run is doing."""

    node: Node
    status: RunStatus
    error: str = ""
    """Empty unless it failed."""


def build_run(
    record: RunRecord, run: Run, files: FileStore, dialect: MagicaDialect, *, wants_details: bool
) -> dict[str, Any]:
    """Describe the run of a workflow."""
    workflow = record.workflow
    if workflow is None:
        raise ValueError("the run of a model has a description of its own")
    links = _Links(record, run, files, dialect)
    states = [state for state in find_node_states(workflow, run) if _is_told(state.node, dialect)]
    is_detailed = wants_details if dialect.runs is RunShape.AUTO else dialect.runs is RunShape.DETAILED
    return _build_detailed(record, run, states, links) if is_detailed else _build_documented(run, states, links)


def find_node_states(workflow: Workflow, run: Run) -> list[NodeState]:
    """Tell how every node of a run is doing; a node that was never reached is cancelled with the run."""
    failed, reason = _find_failure(workflow, run)
    return [_find_state(workflow, run, node, failed, reason) for node in workflow.nodes]


def format_status(status: RunStatus, dialect: MagicaDialect) -> str:
    """Write a status as the present form does. A run of which a part failed is completed; its nodes tell which."""
    word = _choose_word(status, dialect)
    match dialect.case:
        case Case.UPPER:
            return word
        case Case.LOWER:
            return word.lower()
        case Case.CAPITAL:
            return word.capitalize()
        case _:
            assert_never(dialect.case)


def build_error(message: str, dialect: MagicaDialect) -> Any:
    """Say why something failed; observed as a string and as an object."""
    match dialect.node_error:
        case NodeError.STRING:
            return message
        case NodeError.OBJECT:
            return {"message": message, "code": "PROVIDER_UNAVAILABLE"}
        case NodeError.NONE:
            return None
        case _:
            assert_never(dialect.node_error)


@dataclass(frozen=True, slots=True)
class _Links:
    """What a run has to show for itself."""

    record: RunRecord
    run: Run
    files: FileStore
    dialect: MagicaDialect

    def build_output(self, node: Node) -> dict[str, Any]:
        """Build what one node has put out."""
        if node.type == RESPONSE:
            return self.build_response()
        if self.dialect.is_text:
            return self._wrap(self.record.text, node.type)
        if node.type == WRITER:
            return {"output": self.record.text}
        made = [file for file in self.run.files if file.product.tool.replace("-", "_") == node.type]
        return self._wrap(self._link(made), node.type) if made else {}

    def build_response(self) -> dict[str, Any]:
        """Build what the workflow as a whole has put out."""
        workflow = self.record.workflow
        kinds = [] if workflow is None else [node.type for node in workflow.processing]
        if self.dialect.is_text:
            return self._wrap(self.record.text, kinds[0])
        written = {"synopsis": self.record.text} if WRITER in kinds else {}
        return {**self._wrap(self._link(self.run.files), kinds[-1]), **written}

    def _link(self, files: Sequence[StoredFile]) -> list[str]:
        return [self.files.get_url(file.id) for file in files]

    def _wrap(self, output: Any, node_type: str) -> dict[str, Any]:
        key = self.dialect.output_key
        return {node_type if key is OutputKey.MODEL else str(key): output}


def _build_documented(run: Run, states: Sequence[NodeState], links: _Links) -> dict[str, Any]:
    dialect = links.dialect
    nodes = [
        {"nodeId": state.node.id, str(dialect.type_key): state.node.type, **_build_state(state, links)}
        for state in states
    ]
    response = {"response": links.build_response() if _is_good(run.status) else {}} if dialect.has_response else {}
    return {"runId": run.id, "status": format_status(run.status, dialect), **response, "nodes": nodes}


def _build_detailed(record: RunRecord, run: Run, states: Sequence[NodeState], links: _Links) -> dict[str, Any]:
    dialect = links.dialect
    nodes = [{"nodeId": state.node.id, "nodeType": state.node.type, **_build_state(state, links)} for state in states]
    message = run.error_message if run.status is RunStatus.FAILED else None
    return {
        "id": run.id,
        "workflowId": "" if record.workflow is None else record.workflow.id,
        "status": format_status(run.status, dialect),
        "createdAt": format_instant(record.created_at),
        "startedAt": format_instant(run.started_at),
        "completedAt": format_instant(run.completed_at),
        # Seen on runs of models; that those of workflows have it too is a guess.
        "creditUsed": record.estimate_microcredits - record.refund_microcredits if run.status.is_over else 0,
        "error": None if message is None else build_error(message, dialect),
        "nodeRuns": nodes,
    }


def _build_state(state: NodeState, links: _Links) -> dict[str, Any]:
    is_done = state.status is RunStatus.COMPLETED
    error = {"error": build_error(state.error, links.dialect)} if state.status is RunStatus.FAILED else {}
    return {
        "status": format_status(state.status, links.dialect),
        "output": links.build_output(state.node) if is_done else {},
        **error,
    }


def _is_told(node: Node, dialect: MagicaDialect) -> bool:
    return dialect.has_response or node.type != RESPONSE


def _is_good(status: RunStatus) -> bool:
    return status in {RunStatus.COMPLETED, RunStatus.COMPLETED_WITH_ERRORS}


def _find_failure(workflow: Workflow, run: Run) -> tuple[Node | None, str]:
    """Return the node that failed and why; a failure that names none of the nodes is the last one's."""
    if run.status not in {RunStatus.FAILED, RunStatus.COMPLETED_WITH_ERRORS}:
        return None, ""
    said = _FAILURE.fullmatch(run.error_message or "")
    kind, reason = (said[1].replace("-", "_"), said[2]) if said else ("", run.error_message or "")
    named = (node for node in workflow.processing if node.type == kind)
    return next(named, workflow.processing[-1]), reason


def _find_state(workflow: Workflow, run: Run, node: Node, failed: Node | None, reason: str) -> NodeState:
    if node is failed:
        return NodeState(node, RunStatus.FAILED, reason)
    if run.status is RunStatus.PENDING or (run.status is RunStatus.RUNNING and node.type == RESPONSE):
        return NodeState(node, RunStatus.PENDING)
    if node is workflow.request or _is_good(run.status):
        return NodeState(node, RunStatus.COMPLETED)
    return NodeState(node, RunStatus.RUNNING if run.status is RunStatus.RUNNING else RunStatus.CANCELLED)


def _choose_word(status: RunStatus, dialect: MagicaDialect) -> str:
    match status:
        case RunStatus.PENDING:
            return dialect.queued
        case RunStatus.RUNNING:
            return "RUNNING"
        case RunStatus.COMPLETED | RunStatus.COMPLETED_WITH_ERRORS:
            return "COMPLETED"
        case RunStatus.FAILED:
            return dialect.failed
        case RunStatus.CANCELLED:
            return dialect.cancelled
        case _:
            assert_never(status)
