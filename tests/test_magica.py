"""Flowport on Magica's face of the sandbox, in every form in which Magica may turn out to speak."""

from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from flowport.budget import Priority, RequestBudget
from flowport.declarations import DeclaredInput, DeclaredWorkflow
from flowport.errors import DayUsedUp, Operation
from flowport.model import RunState
from flowport.providers.rate_limits import RateLimits
from flowport.purse import PurseRules, UnknownPrice
from flowport.settings import ProviderSettings
from flowport.standing_tools import STANDING_TOOLS
from tests.contract.worlds import WORLDS, get_run, wait_until_there
from tests.harness import Harness, open_harness
from tests.sandbox.client import Client as SandboxClient
from tests.sandbox.client import build_photo, write
from tests.sandbox.magica.client import MAGICA_KEY, MagicaClient
from tests.test_tool_calls import abandon_when

MAGICA = next(world for world in WORLDS if world.name == "magica")
PROMPT = {"prompt": "a quiet harbour"}


@pytest.fixture
async def face(running: SandboxClient) -> MagicaClient:
    """Give a test the face as it was at its start."""
    await running.switch("reset")
    return MagicaClient(running)


async def run_picture(face: MagicaClient, folder: Path, **changes: Any) -> dict[str, Any]:
    """Run one app on Flowport and return the facts of the answer."""
    async with MAGICA.open(face.sandbox, folder / "person", **changes) as flowport:
        return await flowport.ask("text_to_picture", **PROMPT)


@pytest.mark.parametrize(
    "form",
    [
        *({"graph": graph} for graph in ("data.requestFields", "fields")),
        {"type_key": "nodeType"},
        {"field_key": "fieldId", "default_key": "default"},
        {"field_key": "name"},
        {"has_details": True},
        *({"lists": lists} for lists in ("items", "array", "cursor")),
        *({"runs": runs, "has_response": has} for runs in ("documented", "detailed") for has in (True, False)),
        *({"output_key": key, "has_response": False} for key in ("model", "output", "text", "content", "response")),
        *({"case": case} for case in ("lower", "capital")),
        {"queued": "PENDING"},
        {"graph": "missing"},
        {"graph": "none"},
    ],
    ids=str,
)
async def test_a_run_succeeds_in_every_form(face: MagicaClient, tmp_path: Path, form: dict[str, Any]) -> None:
    """Nobody has published which of them is the one."""
    await face.switch(**form)
    facts = await run_picture(face, tmp_path)
    assert (facts["state"], [output["kind"] for output in facts["outputs"]]) == ("succeeded", ["image"])
    assert (await face.count())["run"] == 1


@pytest.mark.parametrize("lists", ["paged", "cursor"])
async def test_every_page_of_a_list_is_read(face: MagicaClient, tmp_path: Path, lists: str) -> None:
    """A workflow of the second page is a workflow."""
    await face.switch(lists=lists)
    await face.sandbox.switch("catalogue", apps=130)
    async with MAGICA.open(face.sandbox, tmp_path / "person", max_tools=3) as flowport:
        found = await flowport.ask("find_apps")
    assert found["catalogues"][0]["apps"] >= 130


@pytest.mark.parametrize("word", ["CANCELED", "CANCELLED"])
async def test_both_spellings_of_a_cancelled_run_are_known(face: MagicaClient, tmp_path: Path, word: str) -> None:
    """The page has one, its own interface the other."""
    await face.switch(cancelled=word)
    await face.sandbox.switch("next_run", status="cancelled")
    assert (await run_picture(face, tmp_path))["state"] == "cancelled"


@pytest.mark.parametrize("node_error", ["string", "object", "none"])
@pytest.mark.parametrize("failed", ["FAILED", "ERROR"])
async def test_a_failed_node_is_named(face: MagicaClient, tmp_path: Path, failed: str, node_error: str) -> None:
    """Somebody has to find it in the editor."""
    await face.switch(failed=failed, node_error=node_error)
    await face.sandbox.switch("next_run", status="failed", error_message="Node 'text_to_image' failed: too dark")
    facts = await run_picture(face, tmp_path)
    assert facts["state"] == "failed"
    assert "node text_to_image failed" in facts["failure"]
    assert ("too dark" in facts["failure"]) is (node_error != "none")


async def test_a_text_is_told_and_nothing_in_it_is_fetched(face: MagicaClient, tmp_path: Path) -> None:
    """Its writer would choose what we fetch."""
    await face.switch(is_text=True)
    facts = await run_picture(face, tmp_path)
    assert [output["kind"] for output in facts["outputs"]] == ["text"]
    assert (await face.count())["files"] == 0


@pytest.mark.parametrize(
    "form", [{"has_dry_run": False}, {"has_mcp": False}, {"missing_tools": ["start_run"]}], ids=str
)
async def test_a_workflow_of_which_nobody_tells_is_left_out_with_three_ways(
    face: MagicaClient, tmp_path: Path, form: dict[str, Any]
) -> None:
    """And nothing was started to find out."""
    await face.switch(graph="missing", **form)
    async with MAGICA.open(face.sandbox, tmp_path / "person") as flowport:
        assert len((await flowport.client.list_tools()).tools) == len(STANDING_TOOLS)
        left_out = (await flowport.ask("find_apps"))["catalogues"][0]["left_out"]
        refused = await flowport.call("run_app", app="text_to_picture", arguments=PROMPT)
    assert "text_to_picture, because nothing tells what it takes" in left_out[0]
    assert "[[magica_workflows]]" in left_out[0]
    assert (refused.is_error, (await face.count())["run"]) == (True, 0)


async def test_what_a_person_declares_can_be_run(face: MagicaClient, tmp_path: Path) -> None:
    """The last of the three ways."""
    graph = await face.find("Text to Picture")
    await face.switch(graph="missing", has_mcp=False)
    node = graph["nodes"][0]["id"]
    inputs = (DeclaredInput(node, "prompt", {"type": "text", "label": "What to paint", "required": True}),)
    url = f"{face.sandbox.addresses.api_url}/magica"
    settings = ProviderSettings("magica", url, MAGICA_KEY, declared=(DeclaredWorkflow(graph["id"], inputs),))
    async with MAGICA.open(face.sandbox, tmp_path / "person") as flowport:
        assert len((await flowport.client.list_tools()).tools) == len(STANDING_TOOLS)
    async with open_harness(face.sandbox, tmp_path / "another", providers=(settings,)) as flowport:
        facts = await flowport.ask("text_to_picture", what_to_paint="a harbour")
    # No graph, no price.
    assert (facts["state"], facts.get("price_credits")) == ("succeeded", None)


async def test_a_declaration_that_is_changed_counts_from_the_next_start(face: MagicaClient, tmp_path: Path) -> None:
    """Else a person who mends a slip would wait for a day."""
    graph = await face.find("Text to Picture")
    await face.switch(graph="missing", has_mcp=False)
    url, arguments = f"{face.sandbox.addresses.api_url}/magica", list[str]()
    for label in ("What to paint", "Scene"):
        field = DeclaredInput(graph["nodes"][0]["id"], label.lower(), {"type": "text", "label": label})
        settings = ProviderSettings("magica", url, MAGICA_KEY, declared=(DeclaredWorkflow(graph["id"], (field,)),))
        async with open_harness(face.sandbox, tmp_path / "person", providers=(settings,)) as flowport:
            await flowport.client.list_tools()
            await flowport.assembly.desk.catalogs[0].catalog.refresh()
            tools = flowport.assembly.desk.get_tools()
            arguments += [name for tool in tools for name in tool["inputSchema"]["properties"]]
    assert arguments == ["what_to_paint", "scene"]


async def test_what_is_left_out_is_not_asked_for_at_every_reading(face: MagicaClient, tmp_path: Path) -> None:
    """A key has a thousand requests a day; a new process asks once more."""
    await face.switch(graph="missing", has_mcp=False)
    asked = []
    for _ in range(2):
        async with MAGICA.open(face.sandbox, tmp_path / "person") as flowport:
            await flowport.client.list_tools()
            catalog = flowport.assembly.desk.catalogs[0].catalog
            await catalog.wait_until_attempted(10)
            await catalog.refresh()
            await catalog.refresh()
            asked.append((await face.count())["get"])
            assert len((await flowport.ask("find_apps"))["catalogues"][0]["left_out"]) == 10
    assert asked == [10, 20]


async def test_what_was_found_out_is_remembered(face: MagicaClient, tmp_path: Path) -> None:
    """A start tomorrow asks nobody again."""
    await face.switch(graph="missing")
    for _ in range(2):
        async with MAGICA.open(face.sandbox, tmp_path / "person") as flowport:
            await flowport.client.list_tools()
            await flowport.assembly.desk.catalogs[0].catalog.wait_until_attempted(10)
    counts = await face.count()
    assert counts["get"] == 10


async def test_every_type_of_field_is_an_argument_and_reaches_its_run(face: MagicaClient, tmp_path: Path) -> None:
    """The ten port types, a list of media, options with labels."""
    await face.switch(has_all_types=True, has_details=True)
    photo = tmp_path / "person" / "cup.png"
    async with MAGICA.open(face.sandbox, tmp_path / "person") as flowport:
        tools = {tool.name: tool for tool in (await flowport.client.list_tools()).tools}
        photo.write_bytes(write(build_photo()))
        facts = await flowport.ask(
            "text_to_picture",
            **PROMPT,
            caption="c",
            amount=3,
            draft_only="true",
            mood="Wild & loud",
            second_picture=str(photo),
            more_pictures=[str(photo), str(photo)],
            whatever={"a": 1},
        )
    properties = tools["text_to_picture"].input_schema["properties"]
    assert properties["mood"]["enum"] == ["calm", "wild"]
    assert properties["more_pictures"]["type"] == "array"
    assert properties["film_or_sound"]["description"].startswith("Video or audio path")
    assert facts["state"] == "succeeded", facts["failure"]


async def test_a_file_goes_up_once_and_is_used_again(face: MagicaClient, tmp_path: Path) -> None:
    """`upload_file` gives an address that lasts."""
    async with MAGICA.open(face.sandbox, tmp_path / "person") as flowport:
        photo = tmp_path / "person" / "cup.png"
        photo.write_bytes(write(build_photo()))
        for app in ("photo_to_pencil_sketch", "product_shots_half_of_them"):
            assert (await flowport.ask(app, your_photo=str(photo)))["outputs"]
    assert (await face.count())["upload"] == 1


@pytest.mark.parametrize("form", [{"missing_tools": ["upload_file"]}, {"has_mcp": False}], ids=str)
async def test_a_file_that_cannot_go_up_is_refused_before_anything_is_started(
    face: MagicaClient, tmp_path: Path, form: dict[str, Any]
) -> None:
    """A run takes web addresses alone, and the refusal says so."""
    await face.switch(**form)
    async with MAGICA.open(face.sandbox, tmp_path / "person") as flowport:
        photo = tmp_path / "person" / "cup.png"
        photo.write_bytes(write(build_photo()))
        facts = await flowport.ask("photo_to_pencil_sketch", your_photo=str(photo))
        again = await flowport.ask("product_shots_half_of_them", your_photo=str(photo))
        linked = await flowport.ask("photo_to_pencil_sketch", your_photo="https://example.com/cup.png")
    assert (facts["state"], facts["credits"]) == ("failed", 0)
    server = "Magica's MCP server, by which files are uploaded,"
    why = f"{server} {'has no tool for it that could be used' if 'missing_tools' in form else 'does not answer'}"
    assert f"Magica takes web addresses alone, and it could not be uploaded there ({why}). " in facts["failure"]
    assert f"could not be uploaded there (not tried, within a day of an earlier refusal: {why}). " in again["failure"]
    assert "Give an https URL of it." in facts["failure"]
    assert linked["state"] in {"succeeded", "failed"}
    assert (await face.count())["run"] == 1


@pytest.mark.parametrize("status", [402, 403])
async def test_too_few_credits_are_told_apart_from_a_wrong_key(face: MagicaClient, tmp_path: Path, status: int) -> None:
    """Whoever reads it has to add credits."""
    await face.switch(balance=1_000_000, insufficient_status=status)
    facts = await run_picture(face, tmp_path)
    assert (facts["state"], facts["credits"]) == ("failed", 0)
    assert "Magica says that the account has not enough credits. Add credits there and try again." in facts["failure"]


@pytest.mark.parametrize("shape", ["full", "message", "nested", "error", "code", "raw", "empty"])
async def test_a_refusal_is_told_in_every_form_of_error(face: MagicaClient, tmp_path: Path, shape: str) -> None:
    """The page with the table was not to be had whole."""
    await face.switch(error_body=shape)
    await face.sandbox.switch("faults", operation="run", fault="status", status=404)
    facts = await run_picture(face, tmp_path)
    assert facts["failure"].startswith("Magica knows no such app.")
    assert ("Magica says:" in facts["failure"]) is (shape != "empty")


async def test_the_price_is_estimated_before_each_run(face: MagicaClient, tmp_path: Path) -> None:
    """The one in the list may be a day old."""
    async with MAGICA.open(face.sandbox, tmp_path / "person", purse=PurseRules(max_credits_per_run=3)) as flowport:
        await flowport.client.list_tools()
        await flowport.assembly.desk.catalogs[0].catalog.wait_until_attempted(10)
        await face.sandbox.switch("catalogue", prices={"t2P6yGfJ0x": 9})
        refused = await flowport.ask("text_to_picture", **PROMPT)
    assert (refused["error"], (await face.count())["run"]) == ("RunCapReached", 0)
    assert "9 credits" in refused["message"]


@pytest.mark.parametrize("rule", UnknownPrice)
async def test_a_failed_estimate_is_an_unknown_price(face: MagicaClient, tmp_path: Path, rule: UnknownPrice) -> None:
    """For which the person has a rule."""
    await face.sandbox.switch("faults", operation="estimate", fault="status", times=1000)
    facts = await run_picture(face, tmp_path, purse=PurseRules(unknown_price=rule))
    starts = (await face.count())["run"]
    if rule is UnknownPrice.ALLOW:
        assert (facts["state"], starts) == ("succeeded", 1)
    else:
        assert (facts["error"], starts) == (
            "PriceUnconfirmed" if rule is UnknownPrice.CONFIRM else "PriceUnknown",
            0,
        )


async def test_a_start_that_is_refused_for_its_inputs_has_its_definition_read_again(
    face: MagicaClient, tmp_path: Path
) -> None:
    """A 400 says here what others say with 422."""
    await face.sandbox.switch("faults", operation="run", fault="status", status=400)
    facts = await run_picture(face, tmp_path)
    assert "Magica does not accept these inputs." in facts["failure"]
    assert "Flowport reads its definition again" in facts["failure"]


async def hold_run(face: MagicaClient, flowport: Harness) -> str:
    """Start a run that goes on until it is ended, and return its id."""
    await face.sandbox.switch("next_run", hold=True, pending_seconds=0)
    run_id: str = (await flowport.ask("text_to_picture", **PROMPT))["run_id"]
    await wait_until_there(flowport, run_id)
    return run_id


@pytest.mark.parametrize("has_path", [True, False])
async def test_a_path_that_a_person_has_set_cancels(face: MagicaClient, tmp_path: Path, has_path: bool) -> None:
    """Where it exists; else the MCP server does it."""
    await face.switch(has_cancel=has_path, missing_tools=["cancel_run"] if has_path else [])
    url = f"{face.sandbox.addresses.api_url}/magica"
    settings = ProviderSettings("magica", url, MAGICA_KEY, cancel_path="/v1/runs/{run_id}/cancel")
    async with open_harness(face.sandbox, tmp_path / "person", providers=(settings,), wait_seconds=0.3) as flowport:
        run_id = await hold_run(face, flowport)
        assert (await flowport.ask("cancel_run", run_id=run_id))["state"] == "cancelled"
        assert (await get_run(flowport, run_id)).state is RunState.CANCELLED


@pytest.mark.parametrize("form", [{"missing_tools": ["cancel_run"]}, {"has_mcp": False}], ids=str)
async def test_a_run_that_cannot_be_cancelled_today_goes_on(
    face: MagicaClient, tmp_path: Path, form: dict[str, Any]
) -> None:
    """And nobody is told that nothing more is charged, nor that there is no such run."""
    await face.switch(**form)
    async with MAGICA.open(face.sandbox, tmp_path / "person", wait_seconds=0.3) as flowport:
        run_id = await hold_run(face, flowport)
        answer = await flowport.call("cancel_run", run_id=run_id)
        run = await get_run(flowport, run_id)
        unfollowed = await flowport.ask("cancel_run", run_id=run_id, stop_following=True)
    assert (answer.is_error, run.state.is_final, unfollowed["outcome"]) == (True, False, "unfollowed")
    server = "Magica's MCP server, by which runs are cancelled,"
    why = f"{server} {'has no tool for it that could be used' if 'missing_tools' in form else 'does not answer'}"
    assert f"{why}, so nothing was cancelled: the run goes on there and is charged." in str(answer)
    assert "no such run" not in str(answer)


async def test_a_run_whose_caller_has_gone_is_cancelled_there(face: MagicaClient, tmp_path: Path) -> None:
    """`FLOWPORT_ON_CANCEL=stop` means also what was sent, where the provider can cancel."""
    await face.sandbox.switch("next_run", hold=True, pending_seconds=0)
    async with MAGICA.open(face.sandbox, tmp_path / "person", should_stop_on_cancel=True) as flowport:
        await flowport.client.list_tools()
        await abandon_when(flowport, "running")
        (row,) = (await flowport.ask("list_runs"))["runs"]
        with anyio.fail_after(20):
            while (await get_run(flowport, row["run_id"])).state is not RunState.CANCELLED:
                await anyio.lowlevel.checkpoint()
    assert (await face.count())["cancel"] == 1


async def test_a_balance_that_cannot_be_had_is_said(face: MagicaClient, tmp_path: Path) -> None:
    """What was spent here is told all the same."""
    await face.sandbox.switch("faults", operation="balance", fault="status")
    async with MAGICA.open(face.sandbox, tmp_path / "person") as flowport:
        (account,) = (await flowport.ask("get_balance"))["accounts"]
    assert account["provider_balance"].startswith("Magica could not tell the balance")
    assert account["spent_credits_24_hours"] == 0


def use_up_the_day(monkeypatch: pytest.MonkeyPatch, operation: Operation, *, after: int) -> None:
    """Have the budget allow so many requests for something, and then no more today."""
    take, taken = RequestBudget.take, 0

    async def count(self: RequestBudget, priority: Priority, asked: Operation = Operation.START_RUN) -> None:
        """Refuse what is too much."""
        nonlocal taken
        taken += asked is operation
        if asked is operation and taken > after:
            raise DayUsedUp("Magica", asked, 7200.0, is_told=False)
        await take(self, priority, asked)

    monkeypatch.setattr(RequestBudget, "take", count)


@pytest.mark.parametrize("after", [0, 1, 2, 3, 4])
async def test_a_workflow_that_the_budget_did_not_let_us_ask_for_is_not_left_out(
    face: MagicaClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """It is read as soon as the day goes on, not a day later."""
    await face.switch(graph="missing")
    use_up_the_day(monkeypatch, Operation.DESCRIBE_APP, after=after)
    async with MAGICA.open(face.sandbox, tmp_path / "person", max_tools=1) as flowport:
        catalog = flowport.assembly.desk.catalogs[0].catalog
        await catalog.refresh()
        problem = catalog.problem
    assert "The day's requests are used up" in problem
    assert [listing.left_out for listing in catalog.current.listings if listing.left_out] == []


@pytest.mark.parametrize("after", [0, 1, 2])
async def test_a_file_that_the_budget_did_not_let_go_up_is_told_as_that(
    face: MagicaClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Nothing was sent that costs, nobody made a mistake, and asking again at once is of no use."""
    async with MAGICA.open(face.sandbox, tmp_path / "person") as flowport:
        photo = tmp_path / "person" / "cup.png"
        photo.write_bytes(write(build_photo()))
        await flowport.client.list_tools()
        use_up_the_day(monkeypatch, Operation.REQUEST_UPLOAD, after=after)
        facts = await flowport.ask("photo_to_pencil_sketch", your_photo=str(photo))
    assert (facts["state"], facts["credits"], (await face.count())["run"]) == ("failed", 0, 0)
    assert "(The day's requests are used up, and Magica was not asked to take the file." in facts["failure"]


@pytest.mark.parametrize("after", [0, 1, 2])
async def test_a_run_that_the_budget_did_not_let_us_cancel_is_told_as_that(
    face: MagicaClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """The person has to know that it still goes on."""
    await face.sandbox.switch("next_run", hold=True)
    async with MAGICA.open(face.sandbox, tmp_path / "person", wait_seconds=0.1) as flowport:
        run_id = (await flowport.ask("text_to_picture", **PROMPT))["run_id"]
        await wait_until_there(flowport, run_id)
        use_up_the_day(monkeypatch, Operation.CANCEL_RUN, after=after)
        answer = str(await flowport.call("cancel_run", run_id=run_id))
    assert "Magica was not asked to cancel the run" in answer


async def test_a_balance_that_cannot_be_asked_today_is_told_as_that(face: MagicaClient, tmp_path: Path) -> None:
    """Trying again is of no use before the day goes on."""
    async with MAGICA.open(face.sandbox, tmp_path / "person", requests_per_minute=800) as flowport:
        account = flowport.assembly.desk.catalogs[0].account
        account.budget.note_limits(RateLimits(0, reset_seconds=7200.0))
        told = (await flowport.ask("get_balance"))["accounts"][0]["provider_balance"]
    assert told == "The day's requests are used up; Magica cannot be asked until the day goes on."
