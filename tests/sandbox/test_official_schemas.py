"""The sandbox's flows answers, and our requests, against the schemas of the official document."""

from typing import Any

import jsonschema
import pytest

from flowport.domain.models import App, Input, InputKind
from flowport.providers.magnific.api import Magnific
from flowport.sandbox.apps import APPS, InputType
from tests.fakes.client import IDS, build_photo, encode
from tests.fakes.client import Client as AnyClient
from tests.sandbox.client import Client
from tests.sandbox.official_schemas import (
    ERROR,
    GET_FLOW_200,
    GET_FLOW_RUN_200,
    INPUT_DEFINITION,
    LIST_FLOWS_200,
    LIST_MY_FLOWS_200,
    RUN_FLOW_202,
    RUN_REQUEST,
)


def check(value: Any, schema: dict[str, Any]) -> None:
    """Hold a value against a schema."""
    jsonschema.Draft202012Validator(schema).validate(value)


async def check_definition(sandbox: AnyClient, app: Any) -> None:
    """Hold an app's definition against the document, without the lists of texts that are not in it."""
    body = (await sandbox.http.get(f"/v1/ai/flows/{app.id}")).json()
    for entry, reported in zip(app.inputs, body["data"]["inputs"], strict=True):
        assert (reported["type"] in INPUT_DEFINITION["properties"]["type"]["enum"]) is (
            entry.type is not InputType.LIST
        )
    body["data"]["inputs"] = [reported for reported in body["data"]["inputs"] if reported["type"] != "list"]
    check(body, GET_FLOW_200)


@pytest.mark.parametrize(("path", "schema"), [("flows", LIST_FLOWS_200), ("me/flows", LIST_MY_FLOWS_200)])
async def test_the_lists_are_as_documented(sandbox: Client, path: str, schema: dict[str, Any]) -> None:
    """list-flows and list-my-flows."""
    body = (await sandbox.http.get(f"/v1/ai/{path}")).json()
    check(body, schema)
    assert body["data"]


@pytest.mark.parametrize("app", APPS, ids=[app.name for app in APPS])
async def test_each_definition_is_as_documented(sandbox: Client, app: Any) -> None:
    """get-flow. Lists of texts were seen live and are not in the document; `key` is, and is no longer sent."""
    await check_definition(sandbox, app)


@pytest.mark.parametrize(
    ("app", "inputs", "status"),
    [
        ("Text to Picture", {"prompt": "hills"}, "completed"),
        ("Product Shots, Half of Them", {"photo": encode(build_photo())}, "completed_with_errors"),
        ("Always Fails", {}, "failed"),
    ],
)
async def test_a_run_is_as_documented_in_each_of_its_states(
    sandbox: Client, app: str, inputs: dict[str, Any], status: str
) -> None:
    """run-flow and get-flow-run."""
    answer = await sandbox.run(app, **inputs)
    check(answer.json(), RUN_FLOW_202)
    run_id = answer.json()["workflow_run_identifier"]
    check({"data": await sandbox.read(run_id)}, GET_FLOW_RUN_200)
    ended = await sandbox.end(run_id)
    check({"data": ended}, GET_FLOW_RUN_200)
    assert ended["status"] == status


async def test_films_and_sounds_are_as_documented(sandbox: Client) -> None:
    """With a duration, and no size for a sound."""
    run = await sandbox.finish("Clip and Jingle", mood="merry")
    check({"data": run}, GET_FLOW_RUN_200)
    assert [len(run["result"][kind]) for kind in ("images", "videos", "audios")] == [0, 1, 1]


@pytest.mark.parametrize(
    ("method", "path", "status", "more"),
    [
        ("GET", f"flows?search={'x' * 201}", 400, {}),
        ("GET", "flows", 401, {"headers": {"x-magnific-api-key": "wrong"}}),
        ("GET", "flows/none", 404, {}),
        ("GET", "flows/runs/none", 404, {}),
        ("POST", "flows/none/run", 404, {"json": {"inputs": {}}}),
        ("POST", f"flows/{IDS['Always Fails']}/run", 400, {"json": {}}),
        ("POST", f"flows/{IDS['Always Fails']}/run", 422, {"json": {"inputs": {"none": 1}}}),
    ],
)
async def test_errors_are_as_documented(sandbox: Client, method: str, path: str, status: int, more: Any) -> None:
    """One message; for 404 and 422 of run-flow the document has no body at all, which a switch gives."""
    answer = await sandbox.http.request(method, f"/v1/ai/{path}", **more)
    assert answer.status_code == status
    check(answer.json(), ERROR)


def test_our_start_request_is_as_documented() -> None:
    """run-request: each value is a text or a number."""
    inputs = tuple(
        Input(f"i-{kind}", str(kind), kind, "Label", is_required=True) for kind in (InputKind.TEXT, InputKind.NUMBER)
    )
    app = App("magnific", "uqzQLDr2Aw", "App", is_own=False, price_credits=1, inputs=inputs)
    request = Magnific().build_start_request(app, {"text": "hills", "number": 2.5})
    check(request.body, RUN_REQUEST)
