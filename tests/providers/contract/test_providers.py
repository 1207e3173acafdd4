"""The contract of a provider, whichever it is: it is found, described, run once, followed, cancelled or not, and paid for."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flowport.domain.models import RunState, Source
from flowport.domain.spending import SpendingLimits
from flowport.providers.registry import get_plugins
from tests.fakes.client import Client as SandboxClient
from tests.fakes.client import build_photo, write
from tests.providers.contract.worlds import WORLDS, ProviderWorld, get_run, wait_until_there
from tests.support.harness import Harness

OWN = {"Text to Picture", "Always Fails", "My Storyboard"}
PROMPT = {"prompt": "a quiet harbour"}


@pytest.fixture(params=WORLDS, ids=lambda world: world.name)
def world(request: pytest.FixtureRequest) -> ProviderWorld:
    """Try each provider in turn."""
    found: ProviderWorld = request.param
    return found


@pytest.fixture
async def flowport(sandbox: SandboxClient, world: ProviderWorld, tmp_path: Path) -> AsyncIterator[Harness]:
    """Run Flowport on one provider."""
    async with world.open(sandbox, tmp_path / "person") as harness:
        yield harness


def test_every_provider_is_tried() -> None:
    """One that is added keeps the contract, or is not a provider."""
    assert {world.name for world in WORLDS} == {plugin.name for plugin in get_plugins()}


async def test_its_apps_are_found_and_described(flowport: Harness, world: ProviderWorld) -> None:
    """Each is a tool with its price and its arguments."""
    found = await flowport.ask("find_apps")
    assert {row["call_it_by"] for row in found["apps"]} == {row["tool"] for row in found["apps"]}
    assert all(row["price_credits"] > 0 and row["inputs"] for row in found["apps"])
    assert found["catalogues"][0]["provider"] == world.title
    sketch = next(row for row in found["apps"] if row["app"] == "Photo to Pencil Sketch")
    assert sketch["inputs"].startswith(f"{world.photo} (image, required), line_strength (number")


@pytest.mark.parametrize("source", [Source.OWN, Source.PUBLISHED])
async def test_own_and_published_apps_are_reported_apart(
    sandbox: SandboxClient, world: ProviderWorld, source: Source, tmp_path: Path
) -> None:
    """`FLOWPORT_SOURCE` asks for one kind."""
    async with world.open(sandbox, tmp_path / "person", source=source) as flowport:
        names = {row["app"] for row in (await flowport.ask("find_apps"))["apps"]}
        asked = [await flowport.count(operation) for operation in ("list_own", "list")]
    assert (names == OWN) if source is Source.OWN else not names & (OWN - {"Text to Picture"})
    assert asked == ([1, 0] if source is Source.OWN else [0, 1])


async def test_one_call_is_one_start_and_its_output_is_saved(flowport: Harness) -> None:
    """The main job, and it is paid once."""
    facts = await flowport.ask("text_to_picture", **PROMPT)
    (output,) = facts["outputs"]
    assert (facts["state"], output["kind"], facts["credits"]) == ("succeeded", "image", facts["price_credits"])
    assert Path(output["saved_path"]).stat().st_size == output["size_bytes"] > 0
    assert await flowport.count("run") == 1


@pytest.mark.parametrize("fault", ["drop", "reset", "garbage", "empty", "truncate", "not_http"])
async def test_a_lost_reply_is_unknown_and_never_sent_again(flowport: Harness, fault: str) -> None:
    """The run may be there; no one but a person may pay for another."""
    await flowport.sandbox.switch("faults", operation="run", fault=fault)
    facts = await flowport.ask("text_to_picture", **PROMPT)
    again = await flowport.call("text_to_picture", **PROMPT)
    assert (facts["state"], again.is_error, await flowport.count("run")) == ("unknown", True, 1)
    assert facts["credits"] == facts["price_credits"]


@pytest.mark.parametrize(
    ("status", "state", "starts"),
    [
        (301, "failed", 1),
        *((status, "failed", 1) for status in (400, 401, 402, 403, 404, 405, 413, 415, 422)),
        *((status, "unknown", 1) for status in (408, 409, 500, 502, 503)),
        (429, "succeeded", 2),
    ],
)
async def test_each_answer_to_a_start_proves_the_same(flowport: Harness, status: int, state: str, starts: int) -> None:
    """What was certainly not taken costs nothing; what may have been taken counts as spent."""
    await flowport.sandbox.switch("faults", operation="run", fault="status", status=status, retry_after=0)
    facts = await flowport.ask("text_to_picture", **PROMPT)
    assert (facts["state"], await flowport.count("run")) == (state, starts)
    assert bool(facts.get("credits")) is (state != "failed")


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({"status": "completed"}, RunState.SUCCEEDED),
        ({"status": "completed_with_errors", "outputs": 1}, RunState.PARTIAL),
        ({"status": "failed"}, RunState.FAILED),
        ({"status": "cancelled"}, RunState.CANCELLED),
    ],
)
async def test_every_end_is_reported(flowport: Harness, change: dict[str, object], state: RunState) -> None:
    """With the reason, where there is one."""
    await flowport.sandbox.switch("next_run", error_message="Node 'text_to_image' failed: too dark", **change)
    facts = await flowport.ask("variations_on_a_theme", **PROMPT)
    assert facts["state"] == state
    if state in {RunState.PARTIAL, RunState.FAILED}:
        assert "failed: too dark" in facts["failure"]


async def test_a_run_that_goes_on_is_reported_and_fetched_later(
    sandbox: SandboxClient, world: ProviderWorld, tmp_path: Path
) -> None:
    """Queued or running, and then over; anyone who asks again starts nothing."""
    await sandbox.switch("next_run", hold=True, pending_seconds=0)
    async with world.open(sandbox, tmp_path / "person", wait_seconds=0.1) as flowport:
        run_id = (await flowport.ask("text_to_picture", **PROMPT))["run_id"]
        run = await wait_until_there(flowport, run_id)
        reported = await flowport.ask("get_run", run_id=run_id, wait=False)
        await sandbox.switch(f"runs/{run.provider_run_id}", release=True)
    async with world.open(sandbox, tmp_path / "person") as flowport:
        facts = await flowport.ask("get_run", run_id=run_id)
        starts = await flowport.count("run")
    assert reported["state"] in {"queued", "running"}
    assert (facts["state"], len(facts["outputs"]), starts) == ("succeeded", 1, 1)


@pytest.mark.parametrize("fault", ["drop", "garbage", "truncate", "reset"])
async def test_a_look_that_fails_ends_no_run(flowport: Harness, fault: str) -> None:
    """It is paid for; it is looked at again."""
    await flowport.sandbox.switch("faults", operation="status", fault=fault, times=2)
    assert (await flowport.ask("text_to_picture", **PROMPT))["state"] == "succeeded"


async def test_a_started_run_is_cancelled_or_it_is_said_that_it_cannot_be(
    sandbox: SandboxClient, world: ProviderWorld, tmp_path: Path
) -> None:
    """And what is not used is not counted as spent, where the provider gives it back."""
    await sandbox.switch("next_run", hold=True, pending_seconds=0)
    async with world.open(sandbox, tmp_path / "person", wait_seconds=0.3) as flowport:
        run_id = (await flowport.ask("text_to_picture", **PROMPT))["run_id"]
        await wait_until_there(flowport, run_id)
        facts = await flowport.ask("cancel_run", run_id=run_id)
        run = await get_run(flowport, run_id)
        spent = (await flowport.ask("get_balance"))["accounts"][0]["spent_credits_24_hours"]
    if world.can_cancel:
        assert (facts["outcome"], facts["state"], run.state) == ("asked", "cancelled", RunState.CANCELLED)
        assert (run.spent_credits, run.reserved_credits, spent) == (1.0, 0.0, 1)
        assert facts["summary"] == "The run is cancelled; what counts as spent is 1 credit."
    else:
        assert (facts["outcome"], run.state.is_final) == ("cannot", False)
        assert facts["summary"].startswith(f"{world.title} cannot cancel a run that was started")


async def test_a_link_that_has_expired_is_replaced_by_a_fresh_one_or_said_to_be_gone(
    sandbox: SandboxClient, world: ProviderWorld, tmp_path: Path
) -> None:
    """The result is read from wherever it is still to be available."""
    async with world.open(sandbox, tmp_path / "person", should_save_outputs=False) as flowport:
        facts = await flowport.ask("text_to_picture", **PROMPT)
        run = await get_run(flowport, facts["run_id"])
        await sandbox.switch(f"runs/{run.provider_run_id}", expire_links=True)
        content = (await flowport.client.read_resource(f"{run_uri(run.id)}/outputs/1")).contents[0]
    assert content.mime_type == "image/png"


def run_uri(run_id: str) -> str:
    """Return the lasting name of a run."""
    return f"flowport://runs/{run_id}"


async def test_each_row_of_a_batch_is_one_start(flowport: Harness) -> None:
    """And the price of all of them is that of each."""
    rows = [{"prompt": "a lake"}, {"prompt": "a hill"}]
    facts = await flowport.ask("run_batch", app="text_to_picture", rows=rows)
    (account,) = (await flowport.ask("get_balance"))["accounts"]
    assert (facts["state"], await flowport.count("run")) == ("succeeded", 2)
    assert account["spent_credits_24_hours"] == 4


async def test_a_file_of_this_computer_reaches_it(flowport: Harness, world: ProviderWorld) -> None:
    """By whichever way the provider has for it."""
    photo = flowport.outputs.parent / "cup.png"
    photo.write_bytes(write(build_photo()))
    facts = await flowport.ask("photo_to_pencil_sketch", **{world.photo: str(photo)})
    again = await flowport.ask("photo_to_pencil_sketch", **{world.photo: "last"})
    assert [facts["state"], again["state"]] == ["succeeded", "succeeded"]


async def test_every_request_is_taken_from_the_budget(flowport: Harness, world: ProviderWorld) -> None:
    """Else the key's limit is passed although no one meant to: uploads and tool calls among them."""
    await test_a_file_of_this_computer_reaches_it(flowport, world)
    counts = (await flowport.sandbox.http.get("/_sandbox/counts")).json()
    free = {"families", "files", "runs_accepted", "runs_accepted_by_app", "refused_429"}
    free |= {"upload"} if world.name == "magnific" else set()
    made = sum(number for name, number in counts.items() if name not in free)
    used = flowport.assembly.workspace.catalogs[0].account.limiter.get_used()
    assert made <= used <= made + 1


async def test_the_balance_is_reported_or_it_is_said_that_it_is_not(flowport: Harness, world: ProviderWorld) -> None:
    """And what was spent through Flowport in any case."""
    price = (await flowport.ask("text_to_picture", **PROMPT))["credits"]
    (account,) = (await flowport.ask("get_balance"))["accounts"]
    assert account["spent_credits_24_hours"] == price
    reported = (
        "998 credits left."
        if world.reports_balance
        else f"{world.title} does not tell a key's balance; its website does."
    )
    assert account["provider_balance"] == reported


async def test_a_cap_holds_before_anything_is_sent(
    sandbox: SandboxClient, world: ProviderWorld, tmp_path: Path
) -> None:
    """By the price that the provider reports."""
    async with world.open(
        sandbox, tmp_path / "person", spending_limits=SpendingLimits(max_credits_per_run=1)
    ) as flowport:
        answer = await flowport.call("text_to_picture", **PROMPT)
        assert (answer.is_error, await flowport.count("run")) == (True, 0)


async def test_a_wrong_key_is_said_and_starts_nothing(
    sandbox: SandboxClient, world: ProviderWorld, tmp_path: Path
) -> None:
    """Anyone who reads it has to repair the configuration."""
    async with world.open(sandbox, tmp_path / "person", key="gx_wrong-key") as flowport:
        found = await flowport.ask("find_apps")
    assert f"{world.title} does not accept the API key" in found["summary"]
    assert "gx_wrong-key" not in str(found)
