"""Searching all apps, as a client sees it: by provider, price, inputs and results, and what the list leaves out."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from flowport.actions.find_apps import MAX_ROWS
from flowport.actions.views.view import MAX_ANSWER_BYTES
from flowport.domain.models import Source
from tests.fakes.client import IDS
from tests.fakes.client import Client as SandboxClient
from tests.support.harness import Harness, open_harness


@pytest.fixture
async def flowport(sandbox: SandboxClient, tmp_path: Path) -> AsyncIterator[Harness]:
    """Run Flowport."""
    async with open_harness(sandbox, tmp_path / "person") as harness:
        yield harness


def list_rows(facts: dict[str, Any], key: str) -> list[tuple[str, Any]]:
    """Return the tool of each row with one of its facts."""
    return [(row["tool"], row.get(key)) for row in facts["apps"]]


async def test_apps_are_found_by_their_earlier_results(flowport: Harness) -> None:
    """Definitions do not state the kind of result: apps with earlier results come first, others follow, marked."""
    await flowport.ask("text_to_picture", prompt="a lake")
    await flowport.ask("clip_and_jingle", mood="calm")

    videos = await flowport.ask("find_apps", makes="video")
    sounds = await flowport.ask("find_apps", makes="audio", query="jingle")
    unknown_outputs = await flowport.ask("find_apps", makes="video", query="retro")
    plain = await flowport.ask("find_apps", query="text to picture")

    assert list_rows(videos, "makes")[0] == ("clip_and_jingle", "audio, video")
    assert {made for _, made in list_rows(videos, "makes")[1:]} == {"unknown until it is run"}
    assert "text_to_picture" not in dict(list_rows(videos, "makes"))
    unknown = len(IDS) - 2
    assert videos["summary"].endswith(
        f"1 of them has made video here before; what the other {unknown} make is not told before they are run."
    )
    assert (list_rows(sounds, "makes"), sounds["summary"]) == ([("clip_and_jingle", "audio, video")], "1 app found.")
    assert "None of them has made video here before" in unknown_outputs["summary"]
    assert list_rows(plain, "makes") == [("text_to_picture", "image")]


async def test_a_row_states_the_usual_duration_once_it_is_known(flowport: Harness) -> None:
    """The duration helps to choose between two apps; a single run is not enough evidence."""
    for n in range(3):
        facts = await flowport.ask("find_apps", query="text to picture")
        assert list_rows(facts, "usual_seconds") == [("text_to_picture", None)], n
        await flowport.ask("text_to_picture", prompt="a lake")
    facts = await flowport.ask("find_apps", query="text to picture")

    assert list_rows(facts, "usual_seconds")[0][1] >= 1


@pytest.mark.parametrize("wanted", ["magnific", "Magnific", "MAGNIFIC", ""])
async def test_a_provider_is_found_by_its_name(flowport: Harness, wanted: str) -> None:
    """A provider is found by its name in any spelling, because models write it freely."""
    facts = await flowport.ask("find_apps", provider=wanted)

    assert len(facts["apps"]) == len(IDS)


async def test_an_unknown_provider_is_answered_with_those_there_are(flowport: Harness) -> None:
    """Without any app in the answer, the model would report that there are none."""
    facts = await flowport.ask("find_apps", provider="magica")

    assert facts["summary"] == (
        f"No app has all of that; the nearest 10 of {len(IDS)} apps are shown, the best first. "
        "No provider is called so; there is Magnific."
    )
    assert len(facts["apps"]) == 10


async def test_empty_fields_are_no_conditions(flowport: Harness) -> None:
    """Clients fill in every field of a tool: nothing, 0 and false."""
    filled = {"query": "", "takes": "", "makes": "", "provider": "", "max_credits": 0, "option": "", "refresh": False}
    facts = await flowport.ask("find_apps", **filled)

    assert (len(facts["apps"]), facts["summary"]) == (len(IDS), f"{len(IDS)} apps found.")


async def test_conditions_that_no_app_meets_show_the_nearest(flowport: Harness) -> None:
    """The model sees what there is instead, and that it is not what was asked for."""
    facts = await flowport.ask("find_apps", query="pencil drawing", max_credits=0.001)

    assert facts["apps"][0]["tool"] == "photo_to_pencil_sketch"
    assert facts["summary"].startswith("No app has all of that; the nearest")


@pytest.mark.parametrize(
    ("apps", "words"),
    [((), "FLOWPORT_APPS can name the first"), (("retro_poster",), "FLOWPORT_APPS names those that come first")],
)
async def test_apps_beyond_the_list_are_counted_with_the_reason(
    sandbox: SandboxClient, tmp_path: Path, apps: tuple[str, ...], words: str
) -> None:
    """The reason names the setting that decides which apps are tools."""
    async with open_harness(sandbox, tmp_path / "person", max_tools=4, apps=apps) as flowport:
        await flowport.client.list_tools()
        facts = (await flowport.ask("find_apps"))["catalogues"][0]

    assert facts["with_own_tool"] == 4
    assert facts["without_own_tool"] == f"6 apps, because FLOWPORT_MAX_TOOLS is 4; {words}; run_app runs the rest"


async def test_apps_that_were_not_read_are_counted_with_the_reason(sandbox: SandboxClient, tmp_path: Path) -> None:
    """They get their tools when the provider answers."""
    await sandbox.switch("faults", operation="get", fault="status", status=500, app=IDS["Retro Poster"], times=9)
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        facts = (await flowport.ask("find_apps"))["catalogues"][0]

    assert facts["without_own_tool"] == "1 app, because their definitions were not read yet; run_app runs them"
    assert facts["could_not_be_refreshed_because"].startswith("retro_poster: ")


async def test_unread_sources_are_reported(sandbox: SandboxClient, tmp_path: Path) -> None:
    """An app that is silently missing costs people an evening."""
    async with open_harness(sandbox, tmp_path / "person", source=Source.OWN) as flowport:
        facts = (await flowport.ask("find_apps"))["catalogues"][0]

    assert facts["not_asked_for"] == "other apps than own ones: FLOWPORT_SOURCE is own"
    assert "without_own_tool" not in facts


async def test_many_reasons_are_truncated_and_counted(sandbox: SandboxClient, tmp_path: Path) -> None:
    """A hundred broken apps must neither fill a model's context nor be hidden."""
    apps = (await sandbox.switch("catalogue", apps=MAX_ROWS - len(IDS) + 3)).json()["apps"]
    for app in apps:
        body = f'{{"data": {{"sqid": "{app["id"]}", "name": "x"}}}}'
        await sandbox.switch("faults", operation="get", fault="status", status=200, body=body, app=app["id"])
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        facts = await flowport.ask("find_apps")

    left_out = facts["catalogues"][0]["left_out"]
    assert (len(facts["apps"]), len(left_out), left_out[-1]) == (MAX_ROWS, MAX_ROWS + 1, "and 3 more")
    assert "The first 25 are shown" in facts["summary"]


async def test_an_app_without_a_tool_is_validated_like_one_with(sandbox: SandboxClient, tmp_path: Path) -> None:
    """Through `run_app` an app is as safe as through its own tool: invalid values are not sent."""
    wrong = {"prompt": ["no"], "shape": "round", "odd": 1}
    async with open_harness(sandbox, tmp_path / "listed") as flowport:
        await flowport.client.list_tools()
        listed = await flowport.ask("text_to_picture", **wrong)
    async with open_harness(sandbox, tmp_path / "person", max_tools=0) as flowport:
        assert len((await flowport.client.list_tools()).tools) == 7
        refused = await flowport.ask("run_app", app="text_to_picture", arguments=wrong)
        assert await flowport.count("run") == 0
        made = await flowport.ask("run_app", app="text_to_picture", arguments={"prompt": "a lake", "shape": "WIDE"})

    assert refused == listed
    assert refused["error"] == "ArgumentsInvalid"
    assert (made["state"], made["tool"]) == ("succeeded", "text_to_picture")


async def offer(sandbox: SandboxClient, options: list[Any], **more: Any) -> None:
    """Let Text to Picture have an input "voice" with these options."""
    voice = {
        "id": "voice",
        "type": "select",
        "api_key": "voice",
        "required": True,
        "config": {"options": options},
        **more,
    }
    body = json.dumps({"data": {"sqid": IDS["Text to Picture"], "name": "Text to Picture", "inputs": [voice]}})
    fault = {"operation": "get", "fault": "status", "status": 200, "body": body, "app": IDS["Text to Picture"]}
    await sandbox.switch("faults", **fault, times=3)


async def test_options_beyond_the_schema_are_listed_for_a_named_app(sandbox: SandboxClient, tmp_path: Path) -> None:
    """A wrong guess costs a round trip; of 300 voices five were in the schema (baptisteArno/typebot.io#1348)."""
    await offer(sandbox, [{"value": f"v{n}", "label": f"Voice of {n}"} for n in range(300)])
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        tools = {tool.name: tool for tool in (await flowport.client.list_tools()).tools}
        found = await flowport.ask("find_apps", query="text_to_picture")
        named = await flowport.ask("find_apps", query="Text to Picture", option="of 29")
        several = await flowport.ask("find_apps")
        refused = await flowport.ask("text_to_picture", voice="zzz")
        read = (await flowport.client.read_resource("flowport://apps/text_to_picture")).contents[0].model_dump()["text"]
        made = await flowport.ask("text_to_picture", voice="v17: Voice of 17")

    hint = tools["text_to_picture"].input_schema["properties"]["voice"]["description"]
    assert hint == "One of 300 options, such as v0, v1, v2, v3, v4; find_apps with this tool's name lists all"
    assert found["apps"][0]["options"]["voice"] == [f"v{n}: Voice of {n}" for n in range(300)]
    assert named["apps"][0]["options"]["voice"] == [
        "v29: Voice of 29",
        *(f"v{n}: Voice of {n}" for n in range(290, 300)),
    ]
    assert not any("options" in row for row in several["apps"])
    assert "292 more, which find_apps lists" in refused["message"]
    assert json.loads(read)["options"]["voice"][299] == "v299: Voice of 299"
    assert made["state"] in {"succeeded", "failed"}


async def test_options_beyond_an_answer_are_counted_and_can_be_narrowed(sandbox: SandboxClient, tmp_path: Path) -> None:
    """An answer is limited to 20 KB, whatever an app offers."""
    await offer(sandbox, [{"value": f"v{n}", "label": f"A voice with a long name, number {n}"} for n in range(2000)])
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        await flowport.client.list_tools()
        answer = await flowport.call("find_apps", query="text_to_picture")
        named = await flowport.ask("find_apps", query="text_to_picture", option="NUMBER 1999")
        read = (await flowport.client.read_resource("flowport://apps/text_to_picture")).contents[0].model_dump()["text"]

    facts = answer.structured_content
    assert isinstance(facts, dict)
    row = facts["apps"][0]
    assert len(answer.model_dump_json(by_alias=True).encode()) < MAX_ANSWER_BYTES
    assert len(row["options"]["voice"]) + row["options_not_shown"] == 2000
    assert "flowport://apps/text_to_picture has all" in row["all_options"]
    assert named["apps"][0]["options"] == {"voice": ["v1999: A voice with a long name, number 1999"]}
    assert len(json.loads(read)["options"]["voice"]) == 2000


async def test_suggestions_of_an_open_choice_are_listed_too(sandbox: SandboxClient, tmp_path: Path) -> None:
    """They come from the app's author, and the schema holds five."""
    await offer(sandbox, [f"style {n}" for n in range(9)], allow_custom=True)
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        await flowport.client.list_tools()
        found = await flowport.ask("find_apps", query="text_to_picture")

    assert found["apps"][0]["options"]["voice"] == [f"style {n}" for n in range(9)]
