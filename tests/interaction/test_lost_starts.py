"""Starts whose reply was lost: found in a provider's list, or settled by a person; never sent again."""

import json
from pathlib import Path
from typing import Any

import mcp.types as t
import pytest

from flowport.domain.models import Run, RunState
from flowport.runs.lost_starts import LOST_CHARGED, LOST_FREE, LostStarts
from tests.fakes.client import Client as SandboxClient
from tests.fakes.magica.client import MagicaClient
from tests.support.harness import Harness, open_harness
from tests.support.magica_face import MAGICA

TOOL = "text_to_picture"


def get_lost_starts(flowport: Harness) -> LostStarts:
    """Return what settles unknown runs."""
    return flowport.assembly.workspace.lost_starts


async def lose(flowport: Harness, prompt: str = "a lake", **arguments: Any) -> str:
    """Start a run whose reply is dropped, and return its id."""
    await flowport.sandbox.switch("faults", operation="run", fault="drop")
    facts = await flowport.ask(TOOL, prompt=prompt, **arguments)
    assert facts["state"] == "unknown", facts
    return str(facts["run_id"])


async def read(flowport: Harness, run_id: str) -> Run:
    """Return a run as it is on record."""
    return await flowport.assembly.workspace.store.get_run_of_any_owner(run_id)


async def count_started(flowport: Harness) -> int:
    """Return how many runs the provider has begun."""
    return await flowport.count("runs_accepted")


async def test_the_list_of_runs_settles_a_lost_start(face: MagicaClient, tmp_path: Path) -> None:
    """The run is followed, saved and delivered as any other, and the list is its witness."""
    await face.switch(run_list="values")
    async with MAGICA.open(face.sandbox, tmp_path / "person") as flowport:
        run_id = await lose(flowport)
        await get_lost_starts(flowport).look()
        facts = await flowport.ask("get_run", run_id=run_id)
        run = await read(flowport, run_id)
        assert await count_started(flowport) == 1
    assert (facts["state"], [one["kind"] for one in facts["outputs"]]) == ("succeeded", ["image"])
    assert Path(facts["outputs"][0]["saved_path"]).is_file()
    assert "provider_answer" not in facts
    assert (run.witness, run.delivered_at is not None, run.reserved_credits) == ("run list", True, 0.0)
    assert run.unknown_at is not None
    assert run.witnessed_at is not None
    assert run.start_request == "POST /v1/runs"


async def test_equal_starts_that_were_lost_together_are_settled_together(face: MagicaClient, tmp_path: Path) -> None:
    """Which is which makes no difference; each run of the provider is taken once."""
    await face.switch(run_list="values")
    async with MAGICA.open(face.sandbox, tmp_path / "person") as flowport:
        lost = [await lose(flowport), await lose(flowport, new_run=True)]
        await get_lost_starts(flowport).look()
        facts = [await flowport.ask("get_run", run_id=one) for one in lost]
        taken = {(await read(flowport, one)).provider_run_id for one in lost}
        assert await count_started(flowport) == 2
    assert [one["state"] for one in facts] == ["succeeded"] * 2
    assert len(taken - {""}) == 2


@pytest.mark.parametrize("form", ["bare", "none"])
async def test_a_list_without_inputs_settles_nothing(face: MagicaClient, tmp_path: Path, form: str) -> None:
    """Without the inputs a run of the same app may be another program's; a person sees it and decides."""
    await face.switch(run_list=form)
    async with MAGICA.open(face.sandbox, tmp_path / "person") as flowport:
        run_id = await lose(flowport)
        lost_starts = get_lost_starts(flowport)
        for _ in range(5):
            await lost_starts.look()
        run = await read(flowport, run_id)
        candidates = await lost_starts.find_candidates(run)
        calls = await flowport.count("status_batch")
        assert run.state is RunState.UNKNOWN
        if form == "none":
            assert candidates.runs == ()
            assert "list" in candidates.problem
            return
        assert 2 <= calls < 5
        [listed] = candidates.runs
        assert listed.has_same_inputs is None
        assert await lost_starts.confirm(run, "cmnothing") is None
        confirmed = await lost_starts.confirm(run, listed.provider_run_id)
        assert confirmed is not None
        facts = await flowport.ask("get_run", run_id=run_id)
        assert (facts["state"], (await read(flowport, run_id)).witness) == ("succeeded", "person")
        assert await count_started(flowport) == 1


async def test_a_run_that_another_program_started_is_not_taken(face: MagicaClient, tmp_path: Path) -> None:
    """Two equal runs and one lost start: either may be ours."""
    await face.switch(run_list="values")
    async with (
        MAGICA.open(face.sandbox, tmp_path / "person") as flowport,
        MAGICA.open(face.sandbox, tmp_path / "another") as other,
    ):
        run_id = await lose(flowport)
        assert (await other.ask(TOOL, prompt="a lake"))["state"] == "succeeded"
        await get_lost_starts(flowport).look()
        run = await read(flowport, run_id)
        candidates = await get_lost_starts(flowport).find_candidates(run)
    assert run.state is RunState.UNKNOWN
    assert [one.has_same_inputs for one in candidates.runs] == [True, True]


async def test_runs_with_other_inputs_and_runs_of_ours_are_not_taken(face: MagicaClient, tmp_path: Path) -> None:
    """Neither is the run of the lost start, which never arrived."""
    await face.switch(run_list="values")
    async with MAGICA.open(face.sandbox, tmp_path / "person") as flowport:
        assert (await flowport.ask(TOOL, prompt="a lake"))["state"] == "succeeded"
        assert (await flowport.ask(TOOL, prompt="a hill"))["state"] == "succeeded"
        store = flowport.assembly.workspace.store
        done = (await store.get_runs(account_id=None, owner="local", limit=9, undelivered_first=False))[0]
        lost = {name: getattr(done, name) for name in done.__slots__}
        now = flowport.assembly.workspace.clock.now()
        lost |= {"id": "run_lost234567", "state": RunState.UNKNOWN, "provider_run_id": "", "outputs": ()}
        lost |= {"unknown_at": now, "starting_at": done.starting_at}
        await store.accept(Run(**lost))
        await get_lost_starts(flowport).look()
        assert (await read(flowport, "run_lost234567")).state is RunState.UNKNOWN


@pytest.fixture
async def flowport(sandbox: SandboxClient, tmp_path: Path) -> Any:
    """Run Flowport on Magnific's API, which lists no runs."""
    async with open_harness(sandbox, tmp_path / "person") as harness:
        yield harness


async def test_files_made_since_the_start_are_offered_and_never_taken(flowport: Harness) -> None:
    """A person recognizes the file; what is on record already is not offered."""
    assert (await flowport.ask(TOOL, prompt="known"))["state"] == "succeeded"
    run_id = await lose(flowport)
    assert (await flowport.ask(TOOL, prompt="also known"))["state"] == "succeeded"
    lost_starts = get_lost_starts(flowport)
    await lost_starts.look()
    run = await read(flowport, run_id)
    assert run.state is RunState.UNKNOWN
    [offered] = (await lost_starts.find_candidates(run)).outputs
    settled = await lost_starts.settle_with_outputs(run, [offered.output])
    facts = await flowport.ask("get_run", run_id=run_id)
    over = await read(flowport, run_id)
    assert (settled.state, facts["state"], facts["credits"]) == (RunState.SUCCEEDED, "succeeded", 2)
    assert Path(over.outputs[0].saved_path).is_file()
    assert (over.witness, await count_started(flowport)) == ("person", 3)
    assert await lost_starts.settle_with_outputs(run, []) == over


@pytest.mark.parametrize(("is_charged", "spent", "failure"), [(False, 0, LOST_FREE), (True, 2, LOST_CHARGED)])
async def test_a_person_gives_a_run_up(flowport: Harness, is_charged: bool, spent: int, failure: str) -> None:
    """Its price counts as the person says, and an equal call starts another run without a question."""
    run_id = await lose(flowport)
    refused = await flowport.ask(TOOL, prompt="a lake")
    lost_starts = get_lost_starts(flowport)
    settled = await lost_starts.settle_lost(await read(flowport, run_id), is_charged=is_charged)
    balance = (await flowport.ask("get_balance"))["accounts"][0]
    facts = await flowport.ask("get_run", run_id=run_id)
    again = await flowport.ask(TOOL, prompt="a lake")
    assert refused["error"] == "UncertainStart"
    assert (settled.state, settled.failure, settled.witness) == (RunState.FAILED, failure, "person")
    assert (balance["spent_credits_24_hours"], balance["reserved_credits"], facts["credits"]) == (spent, 0, spent)
    assert (again["state"], again["run_id"] != run_id) == ("succeeded", True)


async def test_an_unknown_run_says_how_it_is_settled(flowport: Harness) -> None:
    """The person who reads the answer learns the command, and the resource has the receipt."""
    run_id = await lose(flowport)
    facts = await flowport.ask("get_run", run_id=run_id)
    [content] = (await flowport.client.read_resource(f"flowport://runs/{run_id}")).contents
    assert isinstance(content, t.TextResourceContents)
    receipt = json.loads(content.text)["receipt"]
    assert facts["decision"].endswith(f"flowport settle {run_id}")
    assert receipt["request"].startswith("POST /v1/ai/flows/")
    assert [one["state"] for one in receipt["states"]] == ["accepted", "starting", "unknown"]
    assert (receipt["promised_credits"], receipt["charged_credits"]) == (2, 2)
    assert "witness" not in receipt
