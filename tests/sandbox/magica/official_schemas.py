"""The requests of Magica's API as its documentation has them, rewritten as JSON Schema.

Source: magica.com/docs (API reference: start a run, several runs, cancel; quickstart; webhooks). What a page leaves open is
open here.
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
"""Of `POST /v1/runs/batch`. The reference names the endpoint; the member is as a client has it."""

NODE_RUN_REQUEST: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"subModelId": {"type": "string"}, "input": {"type": "object"}, "webhook": {"type": "object"}},
    "required": ["input"],
    "additionalProperties": False,
}
"""Of `POST /v1/nodes/{nodeType}/run`."""

NOTHING: Final[dict[str, Any]] = {"type": "object", "maxProperties": 0}
"""Of a cancellation."""
