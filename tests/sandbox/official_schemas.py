"""The flows schemas of Magnific's official OpenAPI document, rewritten as JSON Schema.

Source: "Magnific API" 1.0.0, https://storage.googleapis.com/fc-freepik-pro-rev1-eu-api-specs/magnific-api-v1-openapi.yaml,
as kept by kacperpaczos/pymagnific (`magnific-api-v1-openapi.yaml`). Taken over: types, enums, `required`, `nullable` as a
null beside the type; left out: descriptions and examples. Names are those of the document.
"""

from typing import Any, Final

_INSTANT: Final = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"}

TOOL_METADATA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "icon": {"type": "string"},
        "description_key": {"type": ["string", "null"]},
        "translation_key": {"type": ["string", "null"]},
        "category": {"type": "string"},
        "sort_order": {"type": "integer"},
        "total_cost": {"type": "integer"},
    },
}

FLOW_SUMMARY: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"sqid": {"type": "string"}, "name": {"type": "string"}, "tool_metadata": TOOL_METADATA},
}

LIST_FLOWS_200: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"data": {"type": "array", "items": FLOW_SUMMARY}},
    "required": ["data"],
}

LIST_MY_FLOWS_200: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "data": {
            "type": "array",
            "items": {"type": "object", "properties": {"sqid": {"type": "string"}, "name": {"type": "string"}}},
        }
    },
    "required": ["data"],
}

INPUT_DEFINITION: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "api_key": {"type": "string"},
        "key": {"type": "string"},
        "type": {"enum": ["creation", "text", "number", "select"]},
        "label": {"type": "string"},
        "config": {
            "type": ["object", "null"],
            "properties": {"mediaType": {"enum": ["image", "video", "audio"]}},
        },
        "nodeId": {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"},
        "default": {},
        "required": {"type": "boolean"},
        "presentation": {
            "type": ["object", "null"],
            "properties": {"mode": {"type": "string"}, "type": {"type": "string"}},
        },
    },
    "required": ["id", "key", "required", "type"],
}

GET_FLOW_200: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "data": {
            "type": "object",
            "properties": {
                "sqid": {"type": "string"},
                "name": {"type": "string"},
                "inputs": {"type": "array", "items": INPUT_DEFINITION},
                "tool_metadata": TOOL_METADATA,
            },
            "required": ["inputs", "name", "sqid"],
        }
    },
    "required": ["data"],
}

RUN_REQUEST: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "inputs": {"type": "object", "additionalProperties": {"oneOf": [{"type": "string"}, {"type": "number"}]}},
        "webhook": {"type": "string", "format": "uri"},
    },
    "required": ["inputs"],
}

LIST_VALUE: Final[dict[str, Any]] = {"type": "array", "items": {"type": "string"}}
"""Of an input whose type is `list`: seen live, and in no document."""

UPLOAD_TYPES: Final = [
    *("image/png", "image/jpeg", "image/webp"),
    *("video/mp4", "video/webm", "video/quicktime"),
    *("audio/mpeg", "audio/wav", "audio/mp4", "audio/webm", "audio/ogg"),
]

REQUEST_URL_REQUEST: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "files": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"content_type": {"enum": UPLOAD_TYPES}},
                "required": ["content_type"],
                "additionalProperties": False,
            },
            "minItems": 1,
            "maxItems": 14,
        }
    },
    "required": ["files"],
    "additionalProperties": False,
}
"""Of `POST /v1/ai/uploads/request-url`: docs.magnific.com/upload-files, as two clients that implement it have it
(dev-jvcosta/remotion-productions@f0736a06, kinhit/HeliosGenKing@11f1e9d6); the page itself is not in the OpenAPI document."""

RUN_FLOW_202: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"status": {"enum": ["running"]}, "workflow_run_identifier": {"type": "string"}},
    "required": ["status", "workflow_run_identifier"],
}

RESULT_ITEM: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "url": {"type": "string", "pattern": "^https?://"},
        "tool": {"type": "string"},
        "duration": {"type": ["number", "null"]},
        "width": {"type": ["integer", "null"]},
        "height": {"type": ["integer", "null"]},
        "created_at": _INSTANT,
    },
}

GET_FLOW_RUN_200: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "data": {
            "type": "object",
            "properties": {
                "run_id": {"type": "string"},
                "status": {"enum": ["pending", "running", "completed", "completed_with_errors", "failed", "cancelled"]},
                "app_id": {"type": "string"},
                "started_at": {"anyOf": [_INSTANT, {"type": "null"}]},
                "completed_at": {"anyOf": [_INSTANT, {"type": "null"}]},
                "error_message": {"type": ["string", "null"]},
                "result": {
                    "type": ["object", "null"],
                    "properties": {
                        kind: {"type": "array", "items": RESULT_ITEM} for kind in ("images", "videos", "audios")
                    },
                },
            },
            "required": ["app_id", "completed_at", "error_message", "result", "run_id", "started_at", "status"],
        }
    },
    "required": ["data"],
}

ERROR: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"message": {"type": "string"}},
    "required": ["message"],
}
"""Of 400, 401, 403, 404, 500 and 503. The document does not require `message`; every example has it."""
