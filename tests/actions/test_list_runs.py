"""The answer that lists runs."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from flowport.actions.list_runs import ListedRun, build_listed_batch, build_listed_run, build_run_list
from flowport.actions.views.view import MAX_ANSWER_BYTES
from flowport.domain.models import Output, OutputKind, Run, RunState
from flowport.runs.live import BatchView, RunView
from flowport.server.results import build_result
from tests.actions.test_batch_views import TALLY
from tests.actions.test_view_sizes import RUNS, count_wire_bytes
from tests.store.samples import build_run

SIGNED = "https://cdn.example/cup.png?token=" + "s" * 400
SAVED = "/home/me/Pictures/Flowport/2026-11-22/sketch-1-a1b2c3d4e5.png"


def build_finished() -> Run:
    """Return a run with one saved picture."""
    outputs = (Output(1, OutputKind.IMAGE, SIGNED, saved_path=SAVED),)
    return replace(build_run("run_abc", RunState.SUCCEEDED), outputs=outputs, delivered_at=None)


def list_rows(*runs: Run) -> list[dict[str, object]]:
    """Return the rows of the answer about runs."""
    answer = build_result(build_run_list([build_listed_run(RunView(run, 3.0)) for run in runs], undelivered=1))
    return list((answer.structured_content or {})["runs"])


def test_a_row_says_where_the_results_are() -> None:
    """A user who asks for the last results wants to open them."""
    (row,) = list_rows(build_finished())

    result = {"kind": "image", "saved_path": SAVED, "url": SIGNED, "resource": "flowport://runs/run_abc/outputs/1"}
    assert (row["outputs"], row["results"], row["undelivered"]) == (1, [result], True)


def test_a_live_run_has_no_credits_and_no_mark() -> None:
    """Its cost is not known yet, and "None" is not a number."""
    (row,) = list_rows(build_run("run_abc", RunState.RUNNING))
    answer = build_result(build_run_list([ListedRun((row,) * 3)], undelivered=0))

    assert not {"credits", "undelivered", "results"} & row.keys()
    assert "None" not in answer.content[0].model_dump_json()


def test_a_batch_is_marked_like_a_run() -> None:
    """Its rows are not in the list."""
    batch = replace(build_run("batch_abc", RunState.SUCCEEDED), row_count=2, delivered_at=None)
    answer = build_result(build_run_list([build_listed_batch(BatchView(batch, TALLY, 60.0), batch)], undelivered=1))

    assert (answer.structured_content or {})["runs"][0]["undelivered"] is True


def test_a_long_list_names_saved_files_before_links() -> None:
    """Fifty runs with signed links do not fit; the paths of their files do."""
    answer = build_result(build_run_list([build_listed_run(RunView(build_finished(), 3.0))] * 30, undelivered=1))

    facts = answer.structured_content or {}
    assert {row["results"][0] for row in facts["runs"] if isinstance(row["results"][0], str)} == {SAVED}
    assert len(facts["runs"]) == 30
    assert facts["left_out"].startswith("For length not all results")


@settings(max_examples=100)
@given(st.lists(RUNS, max_size=4), st.integers(1, 13), st.text(max_size=3000))
def test_the_list_is_short_whatever_the_runs_hold(runs: list[Run], times: int, problem: str) -> None:
    """Clients truncate long answers, and the model loses the rest."""
    rows = [build_listed_run(RunView(run, 3.0, problem=problem)) for run in runs] * times
    answer = build_result(build_run_list(rows, undelivered=10**6))

    assert count_wire_bytes(answer) < MAX_ANSWER_BYTES
    facts = answer.structured_content or {}
    assert len(facts["runs"]) + facts.get("runs_not_shown", 0) == len(rows)
