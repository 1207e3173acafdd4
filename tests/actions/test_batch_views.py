"""The answer about a batch: short, complete in its resource, the same as text and as structured content."""

import json
from dataclasses import replace
from typing import Any

import mcp.types as t
import pytest

from flowport.actions.views.batch import build_batch_answer, build_batch_facts, build_batch_page, format_batch_summary
from flowport.actions.views.view import MAX_ANSWER_BYTES, MAX_RUN_BYTES, format_facts
from flowport.domain.models import Output, OutputKind, Run, RunState
from flowport.runs.live import BatchView
from flowport.server.results import build_result
from flowport.store.records import BatchProgress, BatchRow, RowStatus
from tests.store.samples import build_run

BATCH = build_run("batch_abc", RunState.RUNNING, row_count=200, price_credits=1000.0, app_name='Sketch "to" Realism')
TALLY = BatchProgress(
    rows=200,
    price_each_credits=5.0,
    variations=1,
    stop_after_failures=0,
    waiting=130,
    dropped=0,
    live=33,
    succeeded=35,
    partial=0,
    failed=1,
    unknown=1,
    cancelled=0,
    forgotten=0,
    spent_credits=185.0,
    first_starting_at=1000.0,
    stop_reason="",
    csv_path="",
    csv_problem="",
)


def build_output(n: int, **changes: Any) -> Output:
    """Return a saved picture with a long signed link."""
    link = f"https://cdn.example/{n}.png?token={'t' * 200}"
    return replace(Output(1, OutputKind.IMAGE, link, saved_path=f"/pictures/{n}.png", mime_type="image/png"), **changes)


def build_row(n: int, state: RunState = RunState.SUCCEEDED, *, variation: int = 1, **changes: Any) -> RowStatus:
    """Return a row with a run."""
    outputs = (build_output(n),) if state is RunState.SUCCEEDED else ()
    run = build_run(f"run_{n}", state, batch_id=BATCH.id, **{"outputs": outputs, **changes})
    shown = json.dumps({"prompt": f"lake {n}"})
    return RowStatus(BatchRow(n, n, variation, "", shown, "", ""), run, is_begun=True, is_dropped=False)


def build_unbegun(n: int, *, is_dropped: bool = False, is_begun: bool = False) -> RowStatus:
    """Return a row without a run."""
    return RowStatus(BatchRow(n, n, 1, "", "{}", "", ""), None, is_begun=is_begun, is_dropped=is_dropped)


def build_answer(
    rows: list[RowStatus], run: Run = BATCH, batch_progress: BatchProgress = TALLY
) -> tuple[dict[str, Any], t.CallToolResult]:
    """Return the facts of an answer, and the answer."""
    answer = build_result(build_batch_answer(BatchView(run, batch_progress, 60.0), rows))
    assert isinstance(answer.structured_content, dict)
    assert isinstance(answer.content[0], t.TextContent)
    assert answer.content[0].text == format_facts(answer.structured_content)
    size = sum(len(block.model_dump_json().encode()) for block in answer.content)
    assert size + len(json.dumps(answer.structured_content).encode()) <= MAX_ANSWER_BYTES
    return answer.structured_content, answer


def test_a_few_rows_are_shown_completely() -> None:
    """Rows have links that a user can click and paths that the next app takes."""
    facts, answer = build_answer([build_row(1), build_row(2, RunState.FAILED, failure="The lamp\nis broken.")])
    assert facts["table"] == [
        {
            "row": 1,
            "state": "succeeded",
            "run_id": "run_1",
            "outputs": [
                {
                    "kind": "image",
                    "url": build_output(1).url,
                    "saved_path": "/pictures/1.png",
                    "resource": "flowport://runs/run_1/outputs/1",
                }
            ],
        },
        {"row": 2, "state": "failed", "run_id": "run_2", "problem": "The lamp\nis broken."},
    ]
    assert [block.uri for block in answer.content if isinstance(block, t.ResourceLink)] == [build_output(1).url]
    assert "left_out" not in facts
    assert "- row: 2, state: failed, run_id: run_2, problem: The lamp\n    is broken." in format_facts(facts)


@pytest.mark.parametrize("count", [10, 40, 150, 2000])
def test_many_rows_are_shown_as_completely_as_space_allows(count: int) -> None:
    """Rows without results come first; all of them keep their order."""
    rows = [build_row(n) for n in range(1, count)] + [build_row(count, RunState.FAILED, failure="It is broken." * 30)]
    facts, _ = build_answer(rows)
    places = [row["row"] for row in facts["table"]]
    assert places == sorted(places)
    assert places[-1] == count
    assert len(places) + facts.get("rows_not_shown", 0) == count
    assert facts.get("left_out", "").endswith("flowport://batches/batch_abc has all rows." if count > 10 else "")
    assert len(json.dumps(facts)) * 2 > MAX_RUN_BYTES // 2


def test_rows_without_a_run_are_only_counted() -> None:
    """A list of two thousand waiting rows has no information; erased rows had a run once."""
    facts, _ = build_answer([build_unbegun(1), build_unbegun(2, is_dropped=True), build_unbegun(3, is_begun=True)])
    assert facts["table"] == [{"row": 3, "state": "erased"}]


def test_variations_are_numbered() -> None:
    """Each variation names the row that it belongs to."""
    facts, _ = build_answer([build_row(1, variation=2)], batch_progress=replace(TALLY, variations=4))
    assert (facts["table"][0]["row"], facts["table"][0]["variation"]) == (1, 2)


def test_a_text_result_is_shown_by_its_beginning() -> None:
    """A few words of it where space is short."""
    text = build_output(1, kind=OutputKind.TEXT, url=None, saved_path="", text="word " * 100)
    facts, _ = build_answer([build_row(1, outputs=(text,))])
    (output,) = facts["table"][0]["outputs"]
    assert output["text"].startswith("word word")
    assert len(output["text"]) <= 200
    many, _ = build_answer([build_row(n, outputs=(text,)) for n in range(1, 30)])
    assert any(isinstance(row.get("outputs", [""])[0], str) for row in many["table"])


def test_a_live_batch_names_the_next_step() -> None:
    """A finished batch has no next step."""
    facts = build_batch_facts(BatchView(BATCH, TALLY, 60.0, problem="The disk is full.", is_joined=True))
    assert facts["next_step"].startswith('Call get_run with run_id "batch_abc"')
    assert facts["joined"].endswith("The same call with new_run true makes another.")
    assert (facts["problem"], facts["failed"], facts["of_unknown_fate"], facts["done"]) == (
        "The disk is full.",
        1,
        1,
        37,
    )
    over = replace(BATCH, state=RunState.SUCCEEDED)
    ended = replace(TALLY, csv_path="/a\udcff.csv", csv_problem="Disk full", price_each_credits=None)
    facts = build_batch_facts(BatchView(replace(over, price_credits=None), ended, 60.0))
    assert "next_step" not in facts
    assert (facts["csv"], facts["csv_problem"], "price_credits" in facts) == ("/a?.csv", "Disk full", False)


def test_the_summary_counts_rows_by_state() -> None:
    """The states are in the order in which people ask for them."""
    view = BatchView(BATCH, TALLY, 61.0)
    assert format_batch_summary(view) == (
        "200 runs of \"Sketch 'to' Realism\": 35 succeeded, 1 failed, 1 of unknown fate, 33 under way, 130 waiting (61 s)."
    )


def test_a_row_that_waits_for_the_rate_limit_is_not_live() -> None:
    """Nothing of it was sent, whatever its state in the store."""
    view = BatchView(BATCH, replace(TALLY, unsent=21), 61.0)
    facts = build_batch_facts(view)
    assert (facts["live"], facts["waiting"]) == (12, 151)
    assert "12 under way, 151 waiting" in format_batch_summary(view)


def test_a_page_names_the_next_one() -> None:
    """A row that fills a page alone is still on one page."""
    rows = [build_row(n) for n in range(1, 6)]
    first = build_batch_page(BATCH, rows, TALLY, limit_bytes=1300)
    assert [row["row"] for row in first["table"]] == [1, 2]
    assert (first["rows_not_shown"], first["next_page"]) == (3, "flowport://batches/batch_abc?from=3")
    assert [row["row"] for row in build_batch_page(BATCH, rows, TALLY, limit_bytes=1)["table"]] == [1]
    last = build_batch_page(BATCH, [build_unbegun(9)], TALLY, limit_bytes=1300)
    assert last == {"table": [{"row": 9, "state": "waiting", "arguments": {}}]}
