"""What a run's values may be."""

from typing import Any

import pytest

from tests.fakes.client import build_photo, encode
from tests.fakes.magica.client import MagicaClient

URL = "https://example.com/cup.png"


async def refuse(magica: MagicaClient, workflow: str, values: Any) -> dict[str, Any]:
    """Ask for a run that is refused, and return the body."""
    body = {"workflowId": workflow, "values": values}
    answer = await magica.ask("POST", "/v1/runs", json=body)
    assert answer.status_code == 400, answer.text
    assert (await magica.count())["runs_accepted"] == 0
    reported: dict[str, Any] = answer.json()
    return reported


async def get_node(magica: MagicaClient, slug: str) -> str:
    """Return the id of a workflow's request node."""
    return str((await magica.get(f"/v1/system-workflows/{slug}"))["nodes"][0]["id"])


@pytest.mark.parametrize(
    ("values", "issue"),
    [
        ({"node_1_request": {}}, {"code": "unrecognized_keys", "keys": ["node_1_request"], "path": ["values"]}),
        ([], {"code": "invalid_type", "expected": "object", "received": "array", "path": ["values"]}),
    ],
)
async def test_an_unknown_node_is_a_400(magica: MagicaClient, values: Any, issue: dict[str, Any]) -> None:
    """With details like zod's, which were seen on live answers."""
    reported = await refuse(magica, "clip-and-jingle", values)
    assert {key: value for key, value in reported["details"][0].items() if key != "message"} == issue


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        (3, "invalid_type", "expected object, received number"),
        ({"nosuch": "x"}, "unrecognized_keys", "Unrecognized key: 'nosuch'"),
        ({"mood": True}, "invalid_type", "expected string, received boolean"),
        ({"mood": ["x"]}, "invalid_type", "expected string, received array"),
        ({"mood": "x" * 10_001}, "custom", "at most 10000 characters"),
        ({}, "custom", "Input 'mood' is required"),
        ({"mood": None}, "custom", "Input 'mood' is required"),
        ({"extra_boolean": "yes"}, "invalid_type", "expected boolean, received string"),
        ({"extra_number": True}, "invalid_type", "expected number, received boolean"),
        ({"extra_select": "x"}, "invalid_enum_value", "must be one of: calm, wild"),
        ({"extra_file": {"a": 1}}, "invalid_type", "expected string, received object"),
        ({"extra_images": ["data:image/png;base64,AAAA"]}, "invalid_string", "HTTP_URL_REQUIRED"),
    ],
)
async def test_an_unknown_or_wrong_field_is_a_400(magica: MagicaClient, fields: Any, code: str, words: str) -> None:
    """Nothing is started for it."""
    await magica.switch(has_all_types=True)
    reported = await refuse(magica, "clip-and-jingle", {await get_node(magica, "clip-and-jingle"): fields})
    assert (reported["details"][0]["code"], words in reported["message"]) == (code, True)


@pytest.mark.parametrize(
    "value",
    [
        "data:image/png;base64,AAAA",
        encode(build_photo()),
        "http://127.0.0.1:1/x.png",
        "http://10.0.0.1/x.png",
        "http://localhost/x.png",
        "http://cup.local/x.png",
        "ftp://example.com/x.png",
        "http://[/",
        "https://",
        "cup.png",
    ],
)
async def test_media_must_be_public_urls(magica: MagicaClient, value: str) -> None:
    """Data URIs and base64 were seen refused with these words."""
    node = await get_node(magica, "retro-poster")
    reported = await refuse(magica, "retro-poster", {node: {"photo": value, "title": "Hello"}})
    assert reported["code"] == "HTTP_URL_REQUIRED"
    assert "HTTP_URL_REQUIRED" in reported["message"]


@pytest.mark.parametrize("value", [URL, "https://93.184.216.34/cup.png"])
async def test_the_sandbox_fetches_nothing_from_elsewhere(magica: MagicaClient, value: str) -> None:
    """A public URL is of the right kind, and is distinguished from what is not."""
    node = await get_node(magica, "retro-poster")
    reported = await refuse(magica, "retro-poster", {node: {"photo": value, "title": "Hello"}})
    assert (reported["code"], "nothing but its own files" in reported["message"]) == ("VALIDATION_ERROR", True)


async def test_a_result_of_either_face_may_be_an_input(magica: MagicaClient) -> None:
    """Chaining from one provider to the other goes by the link."""
    mine = (await magica.finish("Text to Picture", prompt="hills"))["response"]["result"][0]
    theirs = (await magica.sandbox.finish("Text to Picture", prompt="sea"))["result"]["images"][0]["url"]
    for url in (mine, theirs):
        assert (await magica.finish("Retro Poster", photo=url, title="Hello"))["status"] == "COMPLETED"


async def test_an_expired_link_is_not_an_input(magica: MagicaClient) -> None:
    """Nothing is started for it."""
    run_id = await magica.start("Text to Picture", prompt="hills")
    await magica.sandbox.end(run_id)
    url = (await magica.get(f"/v1/runs/{run_id}"))["response"]["result"][0]
    await magica.post(f"/_sandbox/runs/{run_id}", {"expire_links": True})
    assert (await magica.run("Photo to Pencil Sketch", photo=url)).status_code == 400


async def test_what_is_left_out_is_what_was_saved(magica: MagicaClient) -> None:
    """Without any values too, where everything has a default."""
    found = await magica.find("Always Fails")
    assert (await magica.ask("POST", "/v1/runs", json={"workflowId": found["id"]})).status_code == 202
    picture = await magica.finish("Text to Picture", prompt="hills", shape=None)
    answer = await magica.sandbox.http.get(picture["response"]["result"][0])
    assert answer.content[:4] == b"\x89PNG"


@pytest.mark.parametrize("slug", ["text-to-picture", "clip-and-jingle", "variations-on-a-theme", "slow-cinema-still"])
async def test_a_workflow_is_started_by_its_id_alone(magica: MagicaClient, slug: str) -> None:
    """Magica's quickstart: what is left out falls back to what is saved, required or not."""
    listed = [*(await magica.get("/v1/system-workflows"))["items"], *(await magica.get("/v1/workflows"))["items"]]
    name = next(one.get("slug") or one["id"] for one in listed if slug in {one.get("slug"), _slug(one["name"])})
    answer = await magica.ask("POST", "/v1/runs", json={"workflowId": name})
    assert answer.status_code == 202, answer.text
    await magica.sandbox.end(answer.json()["runId"])
    run = await magica.get(f"/v1/runs/{answer.json()['runId']}")
    assert run["status"] == "COMPLETED"


def _slug(name: str) -> str:
    return name.lower().replace(" ", "-")


async def test_a_picture_is_not_saved_with_a_workflow(magica: MagicaClient) -> None:
    """Nothing could be made of none."""
    answer = await magica.ask("POST", "/v1/runs", json={"workflowId": "retro-poster"})
    assert answer.status_code == 400
    assert answer.json()["message"].endswith("Input 'photo' is required")


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"graphInputOverrides": {"a": 1}}, ["graphInputOverrides"]),
        ({"nodeOverrides": [{"id": "x"}]}, ["nodeOverrides"]),
        ({"source": "cron"}, ["source"]),
        ({"source": ["ui"]}, ["source"]),
    ],
)
async def test_what_would_change_the_graph_is_refused(
    magica: MagicaClient, more: dict[str, Any], path: list[str]
) -> None:
    """Galaxy.ai's page runs/start has these members; obeyed in part they would mislead."""
    node = await get_node(magica, "clip-and-jingle")
    body = {"workflowId": "clip-and-jingle", "values": {node: {"mood": "merry"}}}
    refused = await magica.ask("POST", "/v1/runs", json={**body, **more})
    taken = await magica.ask(
        "POST", "/v1/runs", json={**body, "graphInputOverrides": {}, "viewport": {}, "source": "api"}
    )
    assert (refused.status_code, refused.json()["details"][0]["path"], taken.status_code) == (400, path, 202)
