"""A run by each of its names: a model that does not find a run starts it again, and it is paid twice."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flowport.domain.uris import parse_run_ids
from tests.fakes.client import Client as SandboxClient
from tests.interaction.batches.requests import TOOL, build_rows
from tests.support.harness import Harness, open_harness

SPELLINGS = [
    "{id}",
    " {id}\n",
    '"{id}"',
    "'{id}'",
    "`{id}`",
    "\u201c{id}\u201d",
    "<{id}>",
    "flowport://{kind}/{id}",
    '"flowport://{kind}/{id}"',
    "FLOWPORT://{kind}/{id}",
    "flowport://{kind}/{id}?from=2",
    "flowport://{kind}/{bare}",
    "{word}:{id}",
    "{word}:{bare}",
    "run_id: {id}",
    '{{"run_id": "{id}"}}',
    "The run {id} of this morning.",
    "[{id}](flowport://{kind}/{id})",
    "{upper}",
]
OF_OUTPUTS = ["run:{id}#1", "{id}#1", "flowport://runs/{id}/outputs/1"]
LAST = ["last", '"last"', "LAST", "last#1", " `last`\n"]


@pytest.fixture
async def flowport(sandbox: SandboxClient, tmp_path: Path) -> AsyncIterator[Harness]:
    """Run Flowport."""
    async with open_harness(sandbox, tmp_path / "person") as harness:
        yield harness


def spell(run_id: str, spelling: str) -> str:
    """Return an id in another spelling."""
    word, _, bare = run_id.partition("_")
    kind = {"run": "runs", "batch": "batches"}[word]
    return spelling.format(id=run_id, bare=bare, word=word, kind=kind, upper=run_id.upper())


async def test_a_run_is_found_by_every_name_that_picture_arguments_accept(flowport: Harness) -> None:
    """Answers give the URI beside the id, and links to the outputs, so each of them names the run."""
    run = await flowport.ask(TOOL, prompt="a lake")
    names = [spell(run["run_id"], one) for one in [*SPELLINGS, *OF_OUTPUTS]]
    names.append(run["outputs"][0]["url"])
    for name in names:
        found = await flowport.ask("get_run", run_id=name)
        over = await flowport.ask("cancel_run", run_id=name)
        assert (found.get("run_id"), over.get("outcome")) == (run["run_id"], "already over"), name


@pytest.mark.parametrize("name", LAST)
async def test_last_is_what_get_run_shows_and_what_cancel_run_refuses(
    sandbox: SandboxClient, tmp_path: Path, name: str
) -> None:
    """`last` is the newest delivered result; the refusal must not read as if the live run were cancelled."""
    async with open_harness(sandbox, tmp_path / "person", wait_seconds=0.0) as flowport:
        refused = [await flowport.ask("cancel_run", run_id=name)]
        over = await flowport.ask(TOOL, prompt="a lake")
        while over["state"] != "succeeded":
            over = await flowport.ask("get_run", run_id=over["run_id"])
        refused.append(await flowport.ask("cancel_run", run_id=name))
        await sandbox.switch("next_run", hold=True)
        going = await flowport.ask(TOOL, prompt="a hill")
        refused.append(await flowport.ask("cancel_run", run_id=name))
        shown = await flowport.ask("get_run", run_id=name)
    assert shown["run_id"] == over["run_id"]
    assert {one["error"] for one in refused} == {"ArgumentsInvalid"}
    assert [("No run is under way." in one["message"]) for one in refused] == [True, True, False]
    assert going["run_id"] in refused[2]["message"]
    assert over["run_id"] not in refused[2]["message"]


async def test_a_refused_last_names_a_batch_and_not_its_rows(sandbox: SandboxClient, tmp_path: Path) -> None:
    """The refusal names the batch, because batches are cancelled as a whole."""
    await sandbox.switch("next_run", runs=8, hold=True)
    async with open_harness(sandbox, tmp_path / "person", wait_seconds=0.0) as flowport:
        batch = await flowport.ask("run_batch", app=TOOL, rows=build_rows(2))
        alone = (await flowport.ask("cancel_run", run_id="last"))["message"]
        runs = [await flowport.ask(TOOL, prompt=f"a hill {n}") for n in range(6)]
        message = (await flowport.ask("cancel_run", run_id="last"))["message"]
    assert not alone.startswith("Nothing was started")
    assert (alone.count(batch["run_id"]), alone.count("run_", alone.index("Under way"))) == (1, 0)
    named = [one["run_id"] for one in [batch, *runs] if one["run_id"] in message]
    assert len(named) == 5
    assert "and others, which list_runs shows" in message


async def test_a_batch_is_found_by_each_of_its_names(flowport: Harness) -> None:
    """A batch is found by its id and its URI, which has another path."""
    batch = await flowport.ask("run_batch", app=TOOL, rows=build_rows(2))
    for spelling in SPELLINGS:
        name = spell(batch["run_id"], spelling)
        found = await flowport.ask("get_run", run_id=name)
        over = await flowport.ask("cancel_run", run_id=name)
        assert (found.get("run_id"), over.get("outcome")) == (batch["run_id"], "already over"), name


async def test_an_unknown_or_ambiguous_name_is_refused(flowport: Harness) -> None:
    """Guessing could cancel the wrong run."""
    runs = [(await flowport.ask(TOOL, prompt=word))["run_id"] for word in ("a lake", "a hill")]
    for name in (
        "run_nothere1",
        "nothing",
        "https://example.com/x.png",
        "https://[x",
        f"{runs[0]} and {runs[1]}",
        "#1",
    ):
        assert (await flowport.ask("cancel_run", run_id=name))["error"] == "RunNotFound", name


async def test_last_is_refused_before_there_is_a_result(flowport: Harness) -> None:
    """Without a run `last` has no meaning; get_run starts nothing and takes no file."""
    refused = await flowport.ask("get_run", run_id="last")
    assert refused["message"] == (
        'run_id is "last", no result has been seen yet, and no run is under way. '
        "Give the id of a run; list_runs shows them."
    )


async def test_last_is_the_run_under_way_while_no_result_was_delivered(sandbox: SandboxClient, tmp_path: Path) -> None:
    """A client that timed out or crashed asks for `last`; the run it started goes on or waits to be seen."""
    folder = tmp_path / "person"
    await sandbox.switch("next_run", hold=True)
    async with open_harness(sandbox, folder, wait_seconds=0.0) as flowport:
        going = await flowport.ask(TOOL, prompt="a hill")
        shown = await flowport.ask("get_run", run_id="last")
        photo = await flowport.ask("photo_to_pencil_sketch", photo="last")
        store = flowport.assembly.workspace.store
        run = await store.get_run(going["run_id"], account_id=None, owner="local")
        while not run.provider_run_id:
            run = await store.get_run(going["run_id"], account_id=None, owner="local")
        await sandbox.switch(f"runs/{run.provider_run_id}", release=True)
        while not run.state.is_final:
            run = await store.get_run(going["run_id"], account_id=None, owner="local")
    async with open_harness(sandbox, folder) as flowport:
        await sandbox.switch("next_run", hold=True)
        newer = await flowport.ask("run_batch", app=TOOL, rows=build_rows(1), wait=False)
        over = await flowport.ask("get_run", run_id="last")
    assert (shown["run_id"], over["run_id"], over["state"]) == (run.id, run.id, "succeeded")
    assert newer["run_id"] != run.id
    assert "Name a file instead." in photo["message"]


def test_only_the_beginning_of_a_long_name_is_parsed() -> None:
    """A name of five megabytes is refused without parsing it whole."""
    assert parse_run_ids("x " * 10**6 + "run_abcdefg") == ()
    assert len(parse_run_ids(" ".join(f"run_abcdef{n}" for n in range(100)))) == 5
