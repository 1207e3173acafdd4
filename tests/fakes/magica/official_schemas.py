"""The requests of Magica's API as its documentation has them, rewritten as JSON Schema.

Source: magica.com/docs (API reference: start a run, several runs, cancel; quickstart; webhooks), and where its schema is an
object with any members, the same page under the service's earlier name (galaxy.ai/docs). What a page leaves open is open here.
"""

from typing import Any, Final

_URL: Final = {"type": "string", "pattern": "^https?://"}

START_REQUEST: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "workflowId": {"type": "string", "minLength": 1},
        "values": {"type": "object", "additionalProperties": {"type": "object"}},
        "webhook": {
            "type": "object",
            "properties": {
                "url": _URL,
                "events": {"type": "array", "items": {"type": "string"}},
                "metadata": {"type": "object"},
                "headers": {"type": "object"},
            },
            "required": ["url"],
        },
        "graphInputOverrides": {"type": "object"},
    },
    "required": ["workflowId"],
    "additionalProperties": False,
}
"""Of `POST /v1/runs`: `values` holds the fields of each request node by the node's id."""

BATCH_REQUEST: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"ids": {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}},
    "required": ["ids"],
    "additionalProperties": False,
}
"""Of `POST /v1/runs/batch`. Source: galaxy.ai/docs/api-reference/runs/batch-get, the page of the service's earlier name: `ids`,
strings of at least one character, at least one of them. The page of the present name
(magica.com/docs/api-reference/runs/batch-get) has an object with any members; that `ids` still holds is inferred."""

NODE_RUN_REQUEST: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"subModelId": {"type": "string"}, "input": {"type": "object"}, "webhook": {"type": "object"}},
    "required": ["input"],
    "additionalProperties": False,
}
"""Of `POST /v1/nodes/{nodeType}/run`."""

NOTHING: Final[dict[str, Any]] = {"type": "object", "maxProperties": 0}
"""Of a cancellation."""
