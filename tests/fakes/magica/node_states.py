"""How the nodes of a workflow's run are doing, read from the run as a whole: the engine knows no nodes."""

import re
from dataclasses import dataclass
from typing import Final

from tests.fakes.magica.workflows import RESPONSE, Node, Workflow
from tests.fakes.magnific.runs import Run, RunStatus

_FAILURE: Final = re.compile(r"Node '([^']+)' failed: (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class NodeState:
    """How one node of a run is doing."""

    node: Node
    status: RunStatus
    error: str = ""
    """Empty unless it failed."""


def find_node_states(workflow: Workflow, run: Run) -> list[NodeState]:
    """Return how every node of a run is doing; a node that was never reached is cancelled with the run."""
    failed, reason = _find_failure(workflow, run)
    return [_find_state(workflow, run, node, failed, reason) for node in workflow.nodes]


def is_good(status: RunStatus) -> bool:
    """Check whether a run has something to show."""
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
    if node is workflow.request or is_good(run.status):
        return NodeState(node, RunStatus.COMPLETED)
    return NodeState(node, RunStatus.RUNNING if run.status is RunStatus.RUNNING else RunStatus.CANCELLED)
