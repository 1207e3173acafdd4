"""The examples of Magica's documentation, and what clients of the live service read; each names its page.

What no page publishes was put together from clients, and is called inferred.
"""

from typing import Any, Final

# "Start a run" (API reference, runs/start); the URL of the hook is the page's own.
RUN_REQUEST: Final[dict[str, Any]] = {
    "workflowId": "wf_abc123",
    "values": {"node_1777671164161_request": {"text_field": "a llama"}},
    "webhook": {
        "url": "https://your-app.com/webhooks/magica",
        "events": ["run.completed", "run.failed"],
        "metadata": {"myJob": "42"},
    },
}
RUN_ACCEPTED: Final = {"runId": "cuid_abc123"}

# A production client's start request on the live service.
LIVE_REQUEST: Final[dict[str, Any]] = {
    "workflowId": "cmonfiheh0000kz04dpoe8cjz",
    "values": {"node_1777671164161_request": {"text_field": "a llama on a bike"}},
}

# "Core concepts": a run, by its nodes.
RUN_DOCUMENTED: Final[dict[str, Any]] = {
    "runId": "cuid_abc123",
    "status": "COMPLETED",
    "response": {},
    "nodes": [
        {"nodeId": "…", "type": "flux_2_pro", "status": "COMPLETED", "output": {}},
        {"nodeId": "…", "type": "gpt_5", "status": "COMPLETED", "output": {}},
    ],
}

# What live consumers read with `inDetails`.
RUN_DETAILED: Final[dict[str, Any]] = {
    "id": "…",
    "workflowId": "…",
    "status": "COMPLETED",
    "nodeRuns": [
        {"nodeType": "request", "status": "COMPLETED", "output": {}},
        {
            "nodeType": "nano_banana_2",
            "status": "COMPLETED",
            "output": {
                "result": ["https://galaxy-prod.tlcdn.com/preview/image/workflow-run:…/UUID.png?hsh=optimize"],
            },
        },
        {"nodeType": "response", "status": "COMPLETED", "output": {"result": ["https://…png"]}},
    ],
}

# "Batch get runs" as galaxy.ai/docs has it, which was Magica's earlier name.
BATCH_REQUEST: Final[dict[str, Any]] = {"ids": ["<string>"]}
BATCH: Final[dict[str, Any]] = {
    "runs": [
        {
            "id": "<string>",
            "status": "<string>",
            "workflowId": "<string>",
            "triggerRunId": "<string>",
            "createdAt": "<string>",
            "startedAt": "<string>",
            "finishedAt": "<string>",
            "error": "<string>",
            "context": None,
            "nodeRuns": [
                {
                    "nodeId": "<string>",
                    "nodeType": "<string>",
                    "status": "<string>",
                    "input": None,
                    "output": None,
                    "logs": None,
                    "error": "<string>",
                    "startedAt": "<string>",
                    "finishedAt": "<string>",
                }
            ],
        }
    ]
}

# Inferred: the graph of a workflow.
GRAPH: Final[dict[str, Any]] = {
    "id": "wf_abc123",
    "name": "Product shot",
    "updatedAt": "2026-08-01T10:00:00.000Z",
    "nodes": [
        {
            "id": "node_1777671164161_request",
            "type": "request",
            "data": {
                "fields": [
                    {"id": "text_field", "name": "Prompt", "type": "text", "value": "a llama"},
                    {"id": "image_field", "name": "Photo", "type": "image", "value": None},
                ]
            },
        },
        {"id": "node_1777671164200_flux_2_pro", "type": "flux_2_pro", "data": {}},
        {"id": "node_1777671164300_response", "type": "response", "data": {}},
    ],
    "edges": [{"source": "…", "sourceHandle": "prompt", "target": "…", "targetHandle": "prompt"}],
}

# "MCP server: tools", a field of `create_workflow`.
REQUEST_FIELD: Final = {"name": "Cat", "type": "text", "value": "Cat"}

# Fields of the live model catalogue, as its readers' fixtures have them.
MODEL_FIELDS: Final[list[dict[str, Any]]] = [
    {
        "zodExpectedName": "prompt",
        "type": "textarea",
        "dataType": "string",
        "required": True,
        "default": "",
        "max": 4000,
    },
    {
        "zodExpectedName": "size",
        "type": "composite-select",
        "dataType": "string",
        "options": [
            {"value": "Auto", "label": "Auto"},
            {"value": "1024x1024", "label": "…"},
            {"value": "Custom", "label": "Custom"},
        ],
        "customValue": "Custom",
        "customFields": [{"zodExpectedName": "width", "type": "number", "dataType": "number"}],
    },
    {
        "zodExpectedName": "n",
        "type": "select",
        "dataType": "number",
        "options": [{"value": 1, "label": "1"}, {"value": 2, "label": "2"}],
    },
    {"zodExpectedName": "output_compression", "type": "slider", "dataType": "number", "min": 0, "max": 100, "step": 1},
]
MODEL_CATALOG: Final[dict[str, Any]] = {
    "version": "v1",
    "models": {
        "gpt-image-2": {
            "nodeType": "gpt_image_2",
            "cost": {"type": "per_image", "value": 0.5},
            "subModels": [{"subModelId": "gpt-image-2-text", "inputFieldOptions": MODEL_FIELDS}],
        }
    },
}

# A model's run, as clients read it.
MODEL_RUN: Final[dict[str, Any]] = {
    "id": "run_1",
    "status": "COMPLETED",
    "createdAt": "…",
    "output": {"result": ["https://…"], "resultMetadata": [{"mediaType": "image"}], "creditUsed": 5880},
    "creditUsed": 5880,
    "error": None,
    "userMessage": None,
}

# API reference, credits/balance.
BALANCE: Final = {
    "availableBalance": 26170000,
    "formatted": "26.17M",
    "hasActiveSubscription": True,
    "isOrganization": False,
}

# API reference, workflows/estimate-credits.
ESTIMATE_REQUEST: Final[dict[str, Any]] = {"nodes": [{"type": "flux_2_pro", "data": {}, "subModelId": "…"}]}
ESTIMATE: Final[dict[str, Any]] = {"totalMicrocredits": 61520, "estimates": [{"microcredits": 61520}]}

# "Webhooks": it names no results, so a run is read again afterwards.
WEBHOOK: Final[dict[str, Any]] = {
    "success": True,
    "type": "run.completed",
    "runId": "…",
    "workflowId": "wf_abc123",
    "data": {"status": "COMPLETED", "completedNodes": 5, "failedNodes": 0},
    "metadata": {"myJob": "42"},
    "error": None,
    "createdAt": "2026-08-01T10:00:00.000Z",
}

# A test double of someone who uses the API: the page's own table of errors was not to be available whole.
ERROR: Final = {"error": "…", "message": "Run not found", "code": "NOT_FOUND", "traceId": "…"}
