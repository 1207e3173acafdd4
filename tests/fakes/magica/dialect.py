"""The forms in which Magica's API may turn out to speak, one of which a sandbox speaks at a time."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class GraphShape(StrEnum):
    """Where a request node keeps its fields; the graph's shape is not published."""

    DATA_FIELDS = "data.fields"
    DATA_REQUEST_FIELDS = "data.requestFields"
    FIELDS = "fields"
    NO_FIELDS = "none"
    """The graph is served and reports no field."""
    MISSING = "missing"
    """The graph is not served: 404."""


class TypeKey(StrEnum):
    """What a node calls its type."""

    TYPE = "type"
    NODE_TYPE = "nodeType"


class FieldKey(StrEnum):
    """What a field calls its id. With `name` alone its name is all there is, and values are keyed by it."""

    ID = "id"
    FIELD_ID = "fieldId"
    NAME = "name"


class DefaultKey(StrEnum):
    """What a field calls its saved value."""

    VALUE = "value"
    DEFAULT = "default"


class ListShape(StrEnum):
    """How a list comes."""

    PAGED = "paged"
    """`items` with `page`, `pageSize`, `total` and `hasMore`."""
    ITEMS = "items"
    """`items` alone, all of them: as the quickstart reads it."""
    ARRAY = "array"
    CURSOR = "cursor"
    """`items` with `nextCursor`, which the next request names as `cursor`."""


class RunShape(StrEnum):
    """How a run is described."""

    AUTO = "auto"
    """As documented, and with `inDetails` as live consumers read it."""
    DOCUMENTED = "documented"
    """`runId`, `response` and `nodes`."""
    DETAILED = "detailed"
    """`id`, `workflowId` and `nodeRuns`."""


class Case(StrEnum):
    """In which letters a status comes."""

    UPPER = "upper"
    LOWER = "lower"
    CAPITAL = "capital"


class OutputKey(StrEnum):
    """Under which key a node's output lies."""

    RESULT = "result"
    MODEL = "model"
    """The node's own type."""
    OUTPUT = "output"
    TEXT = "text"
    CONTENT = "content"
    RESPONSE = "response"


class NodeError(StrEnum):
    """How a failed node says why."""

    STRING = "string"
    OBJECT = "object"
    NONE = "none"


class ErrorBody(StrEnum):
    """What goes with an error status; the table of the documentation was not readable."""

    FULL = "full"
    """`error`, `message`, `code` and `traceId`."""
    MESSAGE = "message"
    NESTED = "nested"
    """`error` is an object with `message` and `code`."""
    ERROR = "error"
    """`error` is the sentence."""
    CODE = "code"
    RAW = "raw"
    """The sentence, and no JSON."""
    EMPTY = "empty"


class RunListForm(StrEnum):
    """What `list_runs` shows; its items are not documented."""

    NONE = "none"
    """The tool does not exist."""
    VALUES = "values"
    """Each run with the values that it was given."""
    BARE = "bare"
    """Each run without its values."""


@dataclass(frozen=True, slots=True)
class MagicaDialect:
    """One form of the API."""

    graph: GraphShape = GraphShape.DATA_FIELDS
    type_key: TypeKey = TypeKey.TYPE
    field_key: FieldKey = FieldKey.ID
    default_key: DefaultKey = DefaultKey.VALUE
    has_details: bool = False
    """Whether fields report `required`, `min` and `max`, which no one has seen on a workflow's fields."""
    has_all_types: bool = False
    """Whether every request node also has a field of each type of the documentation, all of them optional."""
    lists: ListShape = ListShape.PAGED
    runs: RunShape = RunShape.AUTO
    case: Case = Case.UPPER
    cancelled: str = "CANCELED"
    failed: str = "FAILED"
    queued: str = "QUEUED"
    output_key: OutputKey = OutputKey.RESULT
    has_response: bool = True
    """Whether a run reports its response, in either shape."""
    is_text: bool = False
    """Whether every run answers with a text and no file."""
    node_error: NodeError = NodeError.STRING
    error_body: ErrorBody = ErrorBody.FULL
    insufficient_status: int = 403
    """What a run beyond the balance is answered: 403 as observed, 402 as some clients expect."""
    has_cancel: bool = False
    """Whether the inferred path of cancelling exists."""
    has_batch: bool = False
    """Whether several runs can be read at once; the body is published under Magica's earlier name alone."""
    has_mcp: bool = True
    has_dry_run: bool = True
    """Whether `start_run` says of itself that without `values` it starts nothing. Without the sentence it does start."""
    missing_tools: tuple[str, ...] = ()
    """Tools that the MCP endpoint does not have."""
    run_list: RunListForm = RunListForm.NONE


FIRST: Final = MagicaDialect()
"""The API as far as it is documented or was seen."""
