"""Models and their runs."""

from typing import Any

import pytest

from tests.fakes.client import Client
from tests.fakes.magica.client import MagicaClient


async def run_model(magica: MagicaClient, node_type: str, **given: Any) -> dict[str, Any]:
    """Run a model to its end."""
    run_id = (await magica.post(f"/v1/nodes/{node_type}/run", {"input": given}))["runId"]
    await magica.sandbox.end(run_id)
    run: dict[str, Any] = await magica.get(f"/v1/nodes/runs/{run_id}")
    return run


async def test_the_catalogue_needs_no_key(sandbox: Client) -> None:
    """As observed; a map whose keys are not the node types."""
    answer = await sandbox.http.get("/magica/v1/models/catalog")
    reported = answer.json()
    assert (answer.status_code, reported["version"]) == (200, "v1")
    assert {name: model["nodeType"] for name, model in reported["models"].items()} == {
        "text-to-image": "text_to_image",
        "image-upscaler": "image_upscaler",
        "gpt-5": "gpt_5",
    }
    assert reported["models"]["text-to-image"]["subModels"][0]["inputFieldOptions"][0] == {
        "zodExpectedName": "prompt",
        "type": "textarea",
        "dataType": "string",
        "required": True,
        "default": "",
        "max": 10_000,
    }
    assert (await sandbox.http.get("/_sandbox/counts")).json()["models"] == 1


async def test_a_model_has_a_schema(magica: MagicaClient) -> None:
    """Names, types, options and bounds, in the words that were seen."""
    reported = await magica.get("/v1/models/image-upscaler/schema")
    assert reported["modelId"] == "image-upscaler"
    assert reported["fields"][1:] == [
        {
            "name": "factor",
            "dataType": "string",
            "required": True,
            "default": "",
            "options": [{"value": "2", "label": "2"}, {"value": "4", "label": "4"}],
        },
        {
            "name": "sharpness",
            "dataType": "number",
            "required": False,
            "default": 0.5,
            "min": 0,
            "max": 5,
            "step": 0.1,
        },
    ]
    assert (await magica.ask("GET", "/v1/models/nosuch/schema")).status_code == 404


async def test_a_model_draws(magica: MagicaClient) -> None:
    """The shape that the documentation gives, and a picture that another model takes."""
    run = await run_model(magica, "text_to_image", prompt="hills")
    assert run["output"]["resultMetadata"] == [{"mediaType": "image"}]
    assert (run["status"], run["creditUsed"], run["error"], run["userMessage"]) == ("COMPLETED", 2_000_000, None, None)
    larger = await run_model(magica, "image_upscaler", photo=run["output"]["result"][0], factor="2")
    picture = await magica.sandbox.http.get(larger["output"]["result"][0])
    assert picture.headers["content-type"] == "image/jpeg"


async def test_a_model_writes(magica: MagicaClient) -> None:
    """A language model's text lies in `output.output`."""
    run = await run_model(magica, "gpt_5", prompt="hills")
    assert run["output"] == {"output": "Writer: a short synopsis.\n\nhills", "creditUsed": 1_000_000}


async def test_a_failed_model_says_so_twice(magica: MagicaClient) -> None:
    """`userMessage` is the text that may be shown."""
    await magica.post("/_sandbox/next_run", {"status": "failed", "error_message": "PROVIDER_UNAVAILABLE"})
    run = await run_model(magica, "gpt_5", prompt="hills")
    assert (run["status"], run["output"], run["error"]) == ("FAILED", None, "PROVIDER_UNAVAILABLE")
    assert run["userMessage"] == "The model could not finish this run."


@pytest.mark.parametrize(
    ("node_type", "body", "status", "code"),
    [
        ("nosuch", {"input": {}}, 404, "NOT_FOUND"),
        ("gpt_5", {}, 400, "VALIDATION_ERROR"),
        ("gpt_5", {"input": {"nosuch": 1}}, 400, "VALIDATION_ERROR"),
        ("image_upscaler", {"input": {"photo": "data:image/png;base64,AA"}}, 400, "HTTP_URL_REQUIRED"),
    ],
)
async def test_a_wrong_model_run_is_refused(
    magica: MagicaClient, node_type: str, body: dict[str, Any], status: int, code: str
) -> None:
    """Before anything is started."""
    answer = await magica.ask("POST", f"/v1/nodes/{node_type}/run", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (await magica.count())["runs_accepted"] == 0


async def test_runs_of_models_and_of_workflows_are_kept_apart(magica: MagicaClient) -> None:
    """Each is read at its own path."""
    model = (await magica.post("/v1/nodes/gpt_5/run", {"input": {"prompt": "x"}}))["runId"]
    workflow = await magica.start("Text to Picture", prompt="hills")
    assert (await magica.ask("GET", f"/v1/runs/{model}")).status_code == 404
    assert (await magica.ask("GET", f"/v1/nodes/runs/{workflow}")).status_code == 404
