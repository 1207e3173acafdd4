"""The provider's interface over real HTTP."""

import pytest

from flowport.sandbox.api import build_definition, build_own_summary, build_summary
from flowport.sandbox.apps import APPS
from tests.fakes.client import IDS
from tests.sandbox.client import Client

PICTURE = IDS["Text to Picture"]


async def test_the_list_holds_the_published_apps(sandbox: Client) -> None:
    """Magnific API 1.0.0, list-flows; unknown parameters are ignored."""
    answer = await sandbox.http.get("/v1/ai/flows", params={"page": 2})
    assert answer.json() == {"data": [build_summary(app) for app in APPS if app.is_published]}


async def test_search_finds_part_of_a_name_in_any_case(sandbox: Client) -> None:
    """Magnific API 1.0.0, list-flows: a case-insensitive substring."""
    answer = await sandbox.http.get("/v1/ai/flows", params={"search": "TO P"})
    assert [app["name"] for app in answer.json()["data"]] == ["Photo to Pencil Sketch", "Text to Picture"]


@pytest.mark.parametrize(("length", "status"), [(200, 200), (201, 400)])
async def test_search_takes_at_most_200_characters(sandbox: Client, length: int, status: int) -> None:
    """Magnific API 1.0.0, list-flows."""
    assert (await sandbox.http.get("/v1/ai/flows", params={"search": "x" * length})).status_code == status


async def test_the_own_list_holds_drafts_and_no_prices(sandbox: Client) -> None:
    """Magnific API 1.0.0, list-my-flows."""
    answer = await sandbox.http.get("/v1/ai/me/flows")
    assert answer.json() == {"data": [build_own_summary(app) for app in APPS if app.is_own]}
    assert {"Always Fails", "My Storyboard"} <= {app["name"] for app in answer.json()["data"]}


async def test_an_app_is_described_with_its_inputs(sandbox: Client) -> None:
    """Magnific API 1.0.0, get-flow."""
    for app in APPS:
        assert (await sandbox.http.get(f"/v1/ai/flows/{app.id}")).json() == {"data": build_definition(app)}


@pytest.mark.parametrize("path", ["flows/nosuchapp1", "flows/runs/nosuchrun1", "nothing"])
async def test_what_does_not_exist_is_not_found(sandbox: Client, path: str) -> None:
    """Every 404 says the same."""
    answer = await sandbox.http.get(f"/v1/ai/{path}")
    assert (answer.status_code, answer.json()) == (404, {"message": "Not found"})


async def test_an_unknown_app_cannot_be_run(sandbox: Client) -> None:
    """Magnific API 1.0.0, run-flow."""
    assert (await sandbox.http.post("/v1/ai/flows/nosuchapp1/run", json={"inputs": {}})).status_code == 404


async def test_a_wrong_method_is_refused_in_json(sandbox: Client) -> None:
    """Also the framework's own refusals have the contract's shape."""
    answer = await sandbox.http.delete("/v1/ai/flows")
    assert (answer.status_code, answer.json()) == (405, {"message": "Method Not Allowed"})


async def test_a_run_is_accepted_without_a_wrapper(sandbox: Client) -> None:
    """Magnific API 1.0.0, run-flow: 202, the only answer outside `data`."""
    answer = await sandbox.run("Text to Picture", prompt="hills")
    run_id = answer.json()["workflow_run_identifier"]
    assert (answer.status_code, answer.json()) == (202, {"status": "running", "workflow_run_identifier": run_id})
    assert (await sandbox.end(run_id))["app_id"] == PICTURE


async def test_an_input_may_be_named_by_its_id(sandbox: Client) -> None:
    """Magnific API 1.0.0, run-flow: the older key is still accepted."""
    app = next(app for app in APPS if app.id == PICTURE)
    answer = await sandbox.run(app.name, **{app.build_input_id(app.inputs[0]): "hills"})
    assert answer.status_code == 202


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"inputs": 3}', b"\xff", b"[" * 100_000])
async def test_a_malformed_request_is_a_400(sandbox: Client, body: bytes) -> None:
    """Not JSON, not an object, or without inputs."""
    answer = await sandbox.http.post(f"/v1/ai/flows/{PICTURE}/run", content=body)
    assert answer.status_code == 400
    assert list(answer.json()) == ["message"]
