"""The rows of a batch and their runs: checked, started, joined, uncertain; both protocol eras."""

from functools import partial
from pathlib import Path
from typing import Any

import anyio
import mcp.types as t
import pytest

from flowport.runs.steps import LIVE_ROWS_UNLIMITED
from tests.fakes.client import Client as SandboxClient
from tests.interaction.batches.requests import FAILING, TOOL, build_rows, read, wait_until_started
from tests.support.harness import Harness, open_harness
from tests.support.scripted import wait_until


async def test_every_row_is_checked_before_anything_is_spent(flowport: Harness) -> None:
    """All faults are reported at once, with the rows that have them."""
    rows = [{"prompt": "a"}, {"shape": "round", "prompt": "b"}, {}, {"prompt": "c", "colour": "red"}, {}]
    facts = await flowport.ask("run_batch", app=TOOL, rows=rows)
    assert facts["error"] == "ArgumentsInvalid"
    assert facts["message"].startswith("Nothing was started. Row 2: shape was given ")
    assert "Row 3, row 5: prompt is missing." in facts["message"]
    assert "Row 4: colour is not an argument" in facts["message"]
    assert (await flowport.count("run"), (await flowport.ask("list_runs"))["runs"]) == (0, [])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "rows or csv is needed, and not both."),
        ({"rows": [{}], "csv": "/x.csv"}, "rows or csv is needed, and not both."),
        ({"rows": None}, "rows or csv is needed, and not both."),
        ({"rows": []}, "rows holds no row."),
        ({"rows": "[]"}, "rows holds no row."),
        ({"rows": [1]}, "rows holds something other than an object as item 1."),
        ({"rows": [{}] * 3}, "All 3 rows: prompt is missing."),
        ({"rows": [{}]}, "Row 1: prompt is missing."),
        ({"rows": [{"prompt": "x"}] * 1001, "variations": 2}, "rows asks for 2002 runs."),
        ({"rows": [{"prompt": "x"}] * 99, "arguments": {"shape": "x" * 2_000_000}}, "arguments holds too much data"),
        ({"rows": [{"prompt": "x" * 60_000}] * 99}, "rows holds more than 5 MB"),
        ({"rows": [{"prompt": "x"}], "arguments": [1]}, "arguments is not an object."),
        ({"rows": [{"prompt": "x"}], "variations": 17}, "variations was given 17."),
        ({"rows": [{"prompt": "x"}], "variations": 1.5}, "variations was given a fraction."),
        ({"rows": [{f"odd{n}": 1} for n in range(20)]}, "The table has 9 more problems of other kinds."),
    ],
)
async def test_an_invalid_batch_is_refused_with_a_sentence(
    sandbox: SandboxClient, tmp_path: Path, arguments: dict[str, Any], words: str
) -> None:
    """The refusal costs nothing."""
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        message = (await flowport.ask("run_batch", app=TOOL, **arguments))["message"]
        assert await flowport.count("run") == 0
    assert words in message
    assert message.startswith("Nothing was started. ")
    assert len(message) < 4000


async def test_a_call_waits_for_its_batch_until_it_is_cancelled(flowport: Harness) -> None:
    """While a call waits, failed polls of rows are retried sooner, as for a single run."""
    await flowport.sandbox.switch("next_run", hold=True)
    batch = await flowport.ask("run_batch", app=TOOL, rows=build_rows(1), wait=False)
    entry = flowport.assembly.workspace.runner.get_entry(batch["run_id"])
    assert entry is not None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(flowport.call, "get_run", run_id=batch["run_id"]))
        await wait_until(lambda: entry.waiters == 1)
        tasks.cancel_scope.cancel()
    await wait_until(lambda: entry.waiters == 0)


async def test_a_failure_limit_above_the_number_of_rows_is_accepted(flowport: Harness) -> None:
    """A model that means "never" writes a very large number."""
    facts = await flowport.ask("run_batch", app=TOOL, rows=build_rows(2), stop_after_failures=10**30)
    assert facts.get("succeeded") == 2, facts


async def test_equal_rows_are_separate_runs_and_an_equal_batch_joins(flowport: Harness) -> None:
    """Equal rows in one table are intended; an equal call is a retry."""
    rows = [{"prompt": "same"}, {"prompt": "same"}]
    await flowport.sandbox.switch("next_run", hold=True)
    first = await flowport.ask("run_batch", app=TOOL, rows=rows, wait=False)
    again = await flowport.ask("run_batch", app=TOOL, rows=rows, wait=False)
    await wait_until_started(flowport, 2)
    assert again["run_id"] == first["run_id"]
    assert again["joined"].startswith("This call asked for the same as an earlier one")
    assert await flowport.count("run") == 2
    more = await flowport.ask("run_batch", app=TOOL, rows=rows, new_run=True)
    assert (more["succeeded"], await flowport.count("run")) == (2, 4)


async def test_a_single_call_joins_no_row_and_no_row_joins_a_single_call(flowport: Harness) -> None:
    """A row and an equal single call are separate runs, because a row belongs to its table."""
    await flowport.sandbox.switch("next_run", hold=True)
    batch = await flowport.ask("run_batch", app=TOOL, rows=[{"prompt": "same"}], wait=False)
    await wait_until_started(flowport, 1)
    run = await flowport.ask(TOOL, prompt="same")
    assert (run["state"], await flowport.count("run")) == ("succeeded", 2)
    assert "joined" not in run
    other = await flowport.ask("run_batch", app=TOOL, rows=[{"prompt": "same"}, {"prompt": "other"}])
    assert (other["succeeded"], await flowport.count("run")) == (2, 4)
    assert (await flowport.ask("get_run", run_id=batch["run_id"], wait=False))["state"] == "running"


async def test_variations_are_several_runs_in_one_answer(flowport: Harness) -> None:
    """`variations` runs equal inputs several times, because people ask for four of them."""
    result = await flowport.call("run_app", app=TOOL, arguments={"prompt": "a lake"}, variations=4)
    facts = result.structured_content
    assert isinstance(facts, dict)
    assert (facts["runs"], facts["succeeded"], facts["credits"], await flowport.count("run")) == (4, 4, 8, 4)
    assert [(row["row"], row["variation"]) for row in facts["table"]] == [(1, 1), (1, 2), (1, 3), (1, 4)]
    assert len([block for block in result.content if isinstance(block, t.ResourceLink)]) == 4
    assert len([block for block in result.content if isinstance(block, t.ImageContent)]) == 4


async def test_one_failed_row_does_not_stop_the_others(flowport: Harness) -> None:
    """Failed rows are listed first, with their reason, and the other rows succeed."""
    await flowport.sandbox.switch("next_run", status="failed", error_message="The lamp is broken")
    facts = await flowport.ask("run_batch", app=TOOL, rows=build_rows(4))
    assert (facts["state"], facts["failed"], facts["succeeded"]) == ("partial", 1, 3)
    (failed,) = [row for row in facts["table"] if row["state"] == "failed"]
    assert "The lamp is broken" in failed["problem"]


async def test_a_limited_number_of_rows_is_live(flowport: Harness) -> None:
    """Each live row needs polls, and the account has other runs as well."""
    most = 0
    store = flowport.assembly.workspace.store

    async def observe(batch_id: str) -> None:
        """Count the live rows continuously."""
        nonlocal most
        while not (batch_progress := await store.get_batch_progress(batch_id)).is_over:
            most = max(most, batch_progress.live)

    batch = await flowport.ask(
        "run_batch", app=FAILING, rows=[{"note": str(n)} for n in range(LIVE_ROWS_UNLIMITED + 50)], wait=False
    )
    await observe(batch["run_id"])
    facts = await flowport.ask("get_run", run_id=batch["run_id"])
    assert (facts["failed"], most <= LIVE_ROWS_UNLIMITED) == (LIVE_ROWS_UNLIMITED + 50, True)


async def test_an_uncertain_row_makes_the_batch_uncertain(flowport: Harness) -> None:
    """An unknown row may have been paid for, so an equal batch is refused until the user decides."""
    await flowport.sandbox.switch("faults", operation="run", fault="drop")
    unknown = await flowport.ask(TOOL, prompt="lake 2")
    assert unknown["state"] == "unknown"
    refused = await flowport.ask("run_batch", app=TOOL, rows=build_rows(3))
    assert (refused["error"], await flowport.count("run")) == ("UncertainStart", 1)
    assert unknown["run_id"] in refused["message"]
    assert "the same call with new_run true starts another one" in refused["message"]
    taken = await flowport.ask("run_batch", app=TOOL, rows=build_rows(3), new_run=True)
    assert (taken["succeeded"], await flowport.count("run")) == (3, 4)


async def test_a_row_of_unknown_state_is_reported_and_never_sent_again(flowport: Harness) -> None:
    """The rule for single runs holds for each row."""
    await flowport.sandbox.switch("faults", operation="run", fault="drop")
    facts = await flowport.ask("run_batch", app=TOOL, rows=build_rows(3))
    assert (facts["state"], facts["of_unknown_fate"], facts["credits"]) == ("partial", 1, 6)
    assert await flowport.count("run") == 3
    prompt = next(
        row["arguments"] for row in (await read(flowport, facts["resource"]))["table"] if row["state"] == "unknown"
    )
    assert (await flowport.ask(TOOL, **prompt))["error"] == "UncertainStart"
