"""Where a batch is shown (answer, resource, lists, reminders) and when it counts as delivered; both protocol eras."""

import json
from dataclasses import replace

import anyio
import mcp.types as t
import pytest
from mcp.shared.exceptions import MCPError

from flowport.actions.views.view import MAX_ANSWER_BYTES
from flowport.domain.models import JsonValue
from flowport.runtime.exchange import Exchange
from flowport.server.handlers import ToolCalls
from tests.interaction.batches.requests import FAILING, TOOL, build_rows, read
from tests.support.harness import READER, Harness
from tests.support.scripted import wait_until


async def test_a_batch_is_one_entry_in_lists_and_reminders(flowport: Harness) -> None:
    """A batch is one entry, because two hundred rows must not hide other runs."""
    await flowport.sandbox.switch("next_run", hold=True)
    going = await flowport.ask("run_batch", app=TOOL, rows=build_rows(2, "hill"), wait=False)
    quick = await flowport.ask("run_batch", app=TOOL, rows=build_rows(3), wait=False)
    with anyio.fail_after(60):
        while (listed := await flowport.ask("list_runs"))["runs"][0]["state"] != "succeeded":
            await anyio.lowlevel.checkpoint()
    assert listed["summary"] == "2 runs, newest first. 1 finished run in all not delivered yet."
    assert [row["run_id"] for row in listed["runs"]] == [quick["run_id"], going["run_id"]]
    assert listed["runs"][0]["batch"].startswith('3 runs of "Text to Picture": 3 succeeded (')
    first, second = listed["runs"]
    assert "csv" not in second
    with anyio.fail_after(60):
        # Answers within the last second have checked already.
        while "unseen" not in (balance := await flowport.ask("get_balance")):
            await anyio.lowlevel.checkpoint()
    assert balance["unseen"].startswith(f'1 finished run you have not seen: "Text to Picture" ({quick["run_id"]})')
    seen = await flowport.ask("get_run", run_id=quick["run_id"])
    assert (first["csv"], first["resource"]) == (seen["csv"], seen["resource"])
    assert (await flowport.ask("list_runs"))[
        "summary"
    ] == "2 runs, newest first. 0 finished runs in all not delivered yet."


async def test_a_delivered_batch_is_not_joined(flowport: Harness) -> None:
    """An equal call after delivery starts another batch."""
    rows = build_rows(2)
    first = await flowport.ask("run_batch", app=TOOL, rows=rows)
    again = await flowport.ask("run_batch", app=TOOL, rows=rows)
    assert again["run_id"] != first["run_id"]
    assert await flowport.count("run") == 4


@pytest.mark.parametrize("is_written", [False, True], ids=["not written", "cancelled when it was written"])
async def test_a_batch_whose_answer_did_not_arrive_is_joined(flowport: Harness, *, is_written: bool) -> None:
    """Its rows are delivered with it or not at all, and an equal call then joins it."""
    rows: list[JsonValue] = [*build_rows(2)]
    workspace, exchange = flowport.assembly.workspace, Exchange()
    caller = replace(READER, arrived_at_seconds=workspace.clock.monotonic(), exchange=exchange)
    answer = await ToolCalls(flowport.assembly.tenants).call("run_batch", {"app": TOOL, "rows": rows}, caller)
    first = answer.facts
    if is_written:
        exchange.note_written()
        exchange.note_cancelled()
    else:
        exchange.note_disconnected()
    await wait_until(lambda: not workspace.deliveries.pending_runs)
    row = await workspace.store.get_run(first["table"][0]["run_id"], account_id=None, owner="local")
    assert (row.delivered_at is not None) is is_written
    again = await flowport.ask("run_batch", app=TOOL, rows=rows)
    assert (again["run_id"], await flowport.count("run")) == (first["run_id"], 2)


async def test_a_long_batch_is_summarised_in_its_answer_and_complete_in_its_resource(flowport: Harness) -> None:
    """A model's context is small, so the answer is short; the resource holds every row."""
    result = await flowport.call("run_batch", app=FAILING, rows=[{"note": f"lake {n}"} for n in range(1, 251)])
    facts = result.structured_content
    assert isinstance(facts, dict)
    size = sum(len(block.model_dump_json().encode()) for block in result.content if block.type != "image")
    assert size + len(json.dumps(facts).encode()) < MAX_ANSWER_BYTES
    assert (facts["runs"], facts["failed"]) == (250, 250)
    assert len(facts["table"]) + facts["rows_not_shown"] == 250
    rows, uri = [], facts["resource"]
    while uri:
        page = await read(flowport, uri)
        rows += page["table"]
        uri = page.get("next_page")
    assert [row["arguments"]["note"] for row in rows] == [f"lake {n}" for n in range(1, 251)]
    assert len({row["run_id"] for row in rows}) == 250


async def test_the_uri_of_a_batch_has_a_template_and_is_completed(flowport: Harness) -> None:
    """The template makes clients list the resource, and completion finishes its id."""
    batch = await flowport.ask("run_batch", app=TOOL, rows=build_rows(1))
    await flowport.ask(TOOL, prompt="x")
    templates = (await flowport.client.list_resource_templates()).resource_templates
    template = next(one.uri_template for one in templates if one.name == "batch")
    assert template == "flowport://batches/{batch_id}"
    found = await flowport.client.complete(
        t.ResourceTemplateReference(uri=template), {"name": "batch_id", "value": "batch"}
    )
    assert found.completion.values == [batch["run_id"]]
    listed = {str(one.uri) for one in (await flowport.client.list_resources()).resources}
    assert f"flowport://batches/{batch['run_id']}" in listed
    for uri in (
        f"flowport://runs/{batch['run_id']}",
        f"flowport://batches/{batch['table'][0]['run_id']}",
        f"flowport://batches/{batch['run_id']}?from=2",
        "flowport://batches/batch_none",
    ):
        with pytest.raises(MCPError, match="There is no such resource"):
            await flowport.client.read_resource(uri)
