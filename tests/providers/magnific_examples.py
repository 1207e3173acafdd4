"""The examples of Magnific's documentation, word for word: the OpenAPI "Magnific API" 1.0.0 unless a comment says else."""

from typing import Any, Final

LIST: Final = {
    "data": [
        {
            "sqid": "uqzQLDr2Aw",
            "name": "Sketch to Realism",
            "tool_metadata": {
                "icon": "workflow",
                "description_key": None,
                "translation_key": None,
                "category": "general",
                "sort_order": 999,
                "total_cost": 5,
            },
        }
    ]
}

OWN_LIST: Final = {
    "data": [
        {"sqid": "uqzQLDr2Aw", "name": "My Custom Sketch to Image"},
        {"sqid": "n0LYQDBl58", "name": "Product Background Remover"},
    ]
}

# The two inputs come from two published examples.
FLOW: Final = {
    "data": {
        "sqid": "uqzQLDr2Aw",
        "name": "Sketch to Realism",
        "inputs": [
            {
                "id": "input-a1b2c3d4-e5f6-7890-abcd-ef1234567890-1",
                "api_key": "image",
                "key": "image",
                "type": "creation",
                "label": "Image",
                "config": {"mediaType": "image"},
                "nodeId": "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
                "default": None,
                "required": True,
                "presentation": None,
            },
            {
                "id": "input-4050c3f3-8a26-4953-97a8-cb97bceb4816-1",
                "api_key": "text_prompt",
                "key": "text_prompt",
                "type": "text",
                "label": "Text #1",
                "config": None,
                "nodeId": "4050c3f3-8a26-4953-97a8-cb97bceb4816",
                "default": None,
                "required": True,
                "presentation": {"mode": "textarea", "type": "text"},
            },
        ],
        "tool_metadata": {
            "icon": "workflow",
            "description_key": None,
            "translation_key": None,
            "category": "general",
            "sort_order": 999,
            "total_cost": 5,
        },
    }
}

RUN_REQUEST: Final[dict[str, Any]] = {
    "inputs": {"image": "https://example.com/photo.jpg", "text_prompt": "car in the forest"},
    "webhook": "https://www.example.com/webhook",
}

RUN_ACCEPTED: Final = {"status": "running", "workflow_run_identifier": "vCrK3Aa47y"}

RUN_RUNNING: Final = {
    "data": {
        "run_id": "omps2OH829",
        "status": "running",
        "app_id": "uqzQLDr2Aw",
        "started_at": "2026-02-25T12:00:00+00:00",
        "completed_at": None,
        "error_message": None,
        "result": None,
    }
}

RUN_COMPLETED: Final = {
    "data": {
        "run_id": "omps2OH829",
        "status": "completed",
        "app_id": "uqzQLDr2Aw",
        "started_at": "2026-02-25T12:00:00+00:00",
        "completed_at": "2026-02-25T12:02:00+00:00",
        "error_message": None,
        "result": {
            "images": [
                {
                    "id": "abc123",
                    "url": "https://pikaso.cdnpk.net/private/production/1234567890/render.png?token=exp_1234567890~hmac_abc123",
                    "tool": "text-to-image",
                    "duration": None,
                    "width": 1024,
                    "height": 1024,
                    "created_at": "2026-02-25T12:02:00+00:00",
                }
            ],
            "videos": [],
            "audios": [],
        },
    }
}

RUN_FAILED: Final = {
    "data": {
        "run_id": "omps2OH829",
        "status": "failed",
        "app_id": "uqzQLDr2Aw",
        "started_at": "2026-02-25T12:00:00+00:00",
        "completed_at": "2026-02-25T12:01:30+00:00",
        "error_message": "Node 'image-upscaler' failed: input image exceeds maximum resolution",
        "result": None,
    }
}

INVALID_KEY: Final = {"message": "Invalid API key"}
MISSING_KEY: Final = {"message": "Missing API key"}
NOT_AUTHORIZED: Final = {"message": "User is not authorized to access this resource"}
NO_RESOURCE: Final = {"message": "AI resource not found"}
NOT_FOUND: Final = {"message": "Not found"}
BAD_PARAMETER: Final = {"message": "Parameter ':attribute' is not valid"}
INTERNAL: Final = {"message": "Internal Server Error"}
UNAVAILABLE: Final = {"message": "Service Unavailable. Please try again later."}
TOO_MANY: Final = {"message": "Too many requests"}
NO_CREDITS: Final = {"message": "Not enough credits"}  # not published: third-party clients expect it

PROBLEM: Final = {
    "message": "Your request parameters didn't validate.",
    "invalid_params": [{"name": "page", "reason": "Parameter 'page' must be greater than 0"}],
}
