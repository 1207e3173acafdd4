"""How runs are reported, in both shapes and in every spelling."""

from typing import Any

import pytest

from tests.fakes.magica.client import MagicaClient

BREAKDOWN = "Always Fails"
PICTURE = "Text to Picture"


async def finish(magica: MagicaClient, name: str = PICTURE, **values: Any) -> dict[str, Any]:
    """Start a run and read how it ended with its details."""
    run_id = await magica.start(name, **(values or {"prompt": "hills"}))
    await magica.sandbox.end(run_id)
    run: dict[str, Any] = await magica.get(f"/v1/runs/{run_id}", inDetails="true")
    return run


async def test_details_come_in_the_shape_that_live_consumers_read(magica: MagicaClient) -> None:
    """`id`, `workflowId` and `nodeRuns` with `nodeType`; the response is a node."""
    run = await finish(magica)
    assert run["workflowId"] == (await magica.find(PICTURE))["id"]
    assert [node["nodeType"] for node in run["nodeRuns"]] == ["request", "text_to_image", "response"]
    assert run["nodeRuns"][2]["output"] == run["nodeRuns"][1]["output"]
    assert run["nodeRuns"][2]["output"]["result"][0].startswith(magica.sandbox.addresses.files_url)
    assert (run["status"], run["error"], run["creditUsed"]) == ("COMPLETED", None, 2_000_000)
    assert "response" not in run


@pytest.mark.parametrize(("shape", "key"), [("documented", "nodes"), ("detailed", "nodeRuns")])
async def test_a_shape_can_be_forced(magica: MagicaClient, shape: str, key: str) -> None:
    """Whether the live service heeds `inDetails` at all is not documented."""
    await magica.switch(runs=shape)
    assert key in await finish(magica)
    assert key in await magica.finish(PICTURE, prompt="hills")


@pytest.mark.parametrize(
    ("switch", "plan", "reported"),
    [
        ({}, "completed", "COMPLETED"),
        ({"case": "lower"}, "completed", "completed"),
        ({"case": "capital"}, "failed", "Failed"),
        ({}, "failed", "FAILED"),
        ({"failed": "ERROR"}, "failed", "ERROR"),
        ({}, "cancelled", "CANCELED"),
        ({"cancelled": "CANCELLED", "case": "lower"}, "cancelled", "cancelled"),
        ({}, "completed_with_errors", "COMPLETED"),
    ],
)
async def test_an_end_is_spelt_as_the_switch_says(
    magica: MagicaClient, switch: dict[str, str], plan: str, reported: str
) -> None:
    """All of these spellings were seen or guarded against."""
    await magica.switch(**switch)
    await magica.post("/_sandbox/next_run", {"status": plan})
    assert (await finish(magica))["status"] == reported


@pytest.mark.parametrize("word", ["QUEUED", "RUNNING"])
async def test_a_run_that_waits_is_queued_or_already_running(magica: MagicaClient, word: str) -> None:
    """The documentation knows no queue for workflows; the interface does."""
    await magica.switch(queued=word)
    await magica.post("/_sandbox/next_run", {"pending_seconds": 3000})
    run = await magica.get(f"/v1/runs/{await magica.start(PICTURE, prompt='hills')}")
    assert [run["status"], *(node["status"] for node in run["nodes"])] == [word] * 4


async def test_a_running_run_reports_which_nodes_are(magica: MagicaClient) -> None:
    """The request is filled in, the response has to wait."""
    await magica.post("/_sandbox/next_run", {"hold": True})
    run_id = await magica.start(PICTURE, prompt="hills")
    await magica.sandbox.http.get("/_sandbox/counts")
    run = await magica.get(f"/v1/runs/{run_id}")
    while run["status"] == "QUEUED":
        run = await magica.get(f"/v1/runs/{run_id}")
    assert [node["status"] for node in run["nodes"]] == ["COMPLETED", "RUNNING", "QUEUED"]


@pytest.mark.parametrize(
    ("key", "found"), [("model", "text_to_image"), ("output", "output"), ("content", "content"), ("text", "text")]
)
async def test_outputs_lie_under_odd_keys(magica: MagicaClient, key: str, found: str) -> None:
    """`result` is only the usual key; the fake can use others."""
    await magica.switch(output_key=key)
    run = await finish(magica)
    assert [list(node["output"]) for node in run["nodeRuns"]] == [[], [found], [found]]


async def test_a_text_is_an_output_too(magica: MagicaClient) -> None:
    """A node that writes puts out a text; a link in it is part of the text."""
    run = await magica.finish("My Storyboard", premise="as at https://example.com/x.png", scenes=["dawn"])
    wrote, drew = run["nodes"][1], run["nodes"][2]
    assert (wrote["type"], drew["type"]) == ("gpt_5", "storyboard")
    assert wrote["output"]["output"].endswith("as at https://example.com/x.png\n\ndawn")
    assert run["response"] == {"result": drew["output"]["result"], "synopsis": wrote["output"]["output"]}


@pytest.mark.parametrize("key", ["response", "text"])
async def test_a_run_may_answer_with_a_text_alone(magica: MagicaClient, key: str) -> None:
    """Then nothing is to be fetched."""
    await magica.switch(is_text=True, output_key=key)
    run = await magica.finish(PICTURE, prompt="hills")
    assert run["response"] == {key: f"{PICTURE}: a short synopsis.\n\nhills\n\nsquare"}
    assert run["nodes"][1]["output"] == run["response"]


async def test_a_response_may_be_missing(magica: MagicaClient) -> None:
    """A client then takes the outputs of the other nodes."""
    await magica.switch(has_response=False)
    run = await magica.finish(PICTURE, prompt="hills")
    assert [node["type"] for node in run["nodes"]] == ["request", "text_to_image"]
    assert "response" not in run
    assert [node["nodeType"] for node in (await finish(magica))["nodeRuns"]] == ["request", "text_to_image"]


async def test_a_part_of_a_run_may_fail(magica: MagicaClient) -> None:
    """The run is completed, its nodes report what is missing."""
    photo = (await magica.finish(PICTURE, prompt="hills"))["response"]["result"][0]
    run = await magica.finish("Product Shots, Half of Them", photo=photo)
    assert (run["status"], len(run["response"]["result"])) == ("COMPLETED", 1)
    assert [(node["type"], node["status"]) for node in run["nodes"]] == [
        ("request", "COMPLETED"),
        ("product_shot", "COMPLETED"),
        ("relight", "FAILED"),
        ("response", "COMPLETED"),
    ]
    assert run["nodes"][2]["error"] == "the lamp went out"


@pytest.mark.parametrize(
    ("form", "reported"),
    [
        ("string", "input image exceeds maximum resolution"),
        ("object", {"message": "input image exceeds maximum resolution", "code": "PROVIDER_UNAVAILABLE"}),
        ("none", None),
    ],
)
async def test_a_failure_is_reported_as_the_switch_says(magica: MagicaClient, form: str, reported: Any) -> None:
    """Both forms were seen."""
    await magica.switch(node_error=form)
    run = await finish(magica, BREAKDOWN, note="x")
    assert run["nodeRuns"][1]["error"] == reported


async def test_a_failure_that_names_no_node_is_the_last_ones(magica: MagicaClient) -> None:
    """A switch gives any words."""
    await magica.post("/_sandbox/next_run", {"status": "failed", "error_message": "out of paint"})
    run = await finish(magica, "Clip and Jingle", mood="merry")
    assert [(node["status"], node.get("error")) for node in run["nodeRuns"]] == [
        ("COMPLETED", None),
        ("CANCELED", None),
        ("FAILED", "out of paint"),
        ("CANCELED", None),
    ]
    assert run["error"] == "out of paint"
