"""How Magica's JSON describes a run, in the two shapes that are known and in every spelling."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from tests.fakes.magica.dialect import Case, MagicaDialect, NodeError, OutputKey, RunShape
from tests.fakes.magica.node_states import NodeState, find_node_states, is_good
from tests.fakes.magica.records import RunRecord
from tests.fakes.magica.timestamps import format_instant
from tests.fakes.magica.workflows import RESPONSE, WRITER, Node, Workflow
from tests.fakes.magnific.files import FileStore, StoredFile
from tests.fakes.magnific.runs import Run, RunStatus


def build_run(
    record: RunRecord, workflow: Workflow, run: Run, files: FileStore, dialect: MagicaDialect, *, wants_details: bool
) -> dict[str, Any]:
    """Describe the run of a workflow."""
    reporting = _Reporting(record, workflow, run, files, dialect)
    is_detailed = wants_details if dialect.runs is RunShape.AUTO else dialect.runs is RunShape.DETAILED
    return reporting.build_detailed() if is_detailed else reporting.build_documented()


def format_status(status: RunStatus, dialect: MagicaDialect) -> str:
    """Write a status as the present form does. A run of which a part failed is completed; its nodes report which."""
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


def get_links(made: Sequence[StoredFile], files: FileStore) -> list[str]:
    """Return the present links of finished files."""
    return [files.get_url(file.id) for file in made]


@dataclass(frozen=True, slots=True)
class _Reporting:
    """Everything that one description of a run is made from."""

    record: RunRecord
    workflow: Workflow
    run: Run
    files: FileStore
    dialect: MagicaDialect

    def build_documented(self) -> dict[str, Any]:
        """Build the shape of the documentation."""
        nodes = [self._build_node(reported, self.dialect.type_key) for reported in self._find_states()]
        response = {"response": self._build_response() if is_good(self.run.status) else {}}
        return {
            "runId": self.run.id,
            "status": format_status(self.run.status, self.dialect),
            **(response if self.dialect.has_response else {}),
            "nodes": nodes,
        }

    def build_detailed(self) -> dict[str, Any]:
        """Build the shape that live consumers read; instants, credits and the error are as runs of models have them."""
        message = self.run.error_message if self.run.status is RunStatus.FAILED else None
        return {
            "id": self.run.id,
            "workflowId": self.workflow.id,
            "status": format_status(self.run.status, self.dialect),
            "createdAt": format_instant(self.record.created_at),
            "startedAt": format_instant(self.run.started_at),
            "completedAt": format_instant(self.run.completed_at),
            "creditUsed": self.record.used_microcredits if self.run.status.is_over else 0,
            "error": None if message is None else build_error(message, self.dialect),
            "nodeRuns": [self._build_node(reported, "nodeType") for reported in self._find_states()],
        }

    def _find_states(self) -> list[NodeState]:
        states = find_node_states(self.workflow, self.run)
        return [reported for reported in states if self.dialect.has_response or reported.node.type != RESPONSE]

    def _build_node(self, reported: NodeState, type_key: str) -> dict[str, Any]:
        is_done, has_failed = reported.status is RunStatus.COMPLETED, reported.status is RunStatus.FAILED
        return {
            "nodeId": reported.node.id,
            str(type_key): reported.node.type,
            "status": format_status(reported.status, self.dialect),
            "output": self._build_output(reported.node) if is_done else {},
            **({"error": build_error(reported.error, self.dialect)} if has_failed else {}),
        }

    def _build_output(self, node: Node) -> dict[str, Any]:
        if node.type == RESPONSE:
            return self._build_response()
        if self.dialect.is_text:
            return self._wrap(self.record.text, node.type)
        if node.type == WRITER:
            return {"output": self.record.text}
        made = [file for file in self.run.files if file.product.tool.replace("-", "_") == node.type]
        return self._wrap(get_links(made, self.files), node.type) if made else {}

    def _build_response(self) -> dict[str, Any]:
        """Build what the workflow as a whole has put out."""
        kinds = [node.type for node in self.workflow.processing]
        if self.dialect.is_text:
            return self._wrap(self.record.text, kinds[0])
        written = {"synopsis": self.record.text} if WRITER in kinds else {}
        return {**self._wrap(get_links(self.run.files, self.files), kinds[-1]), **written}

    def _wrap(self, output: Any, node_type: str) -> dict[str, Any]:
        key = self.dialect.output_key
        return {node_type if key is OutputKey.MODEL else str(key): output}


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
