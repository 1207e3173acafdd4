"""Several of Magica's runs in one answer: what is believed of it, and what is not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowport.domain.errors import Operation, ProviderBroken, ProviderError, ProviderRejected
from flowport.domain.models import RunState
from flowport.providers.interface import ApiAnswer, ApiRequest, RunStatus
from flowport.providers.magica.api import Magica
from flowport.providers.magica.runs import MAX_LISTED_RUNS, MagicaBulkStatus
from tests.providers import magica_examples as examples
from tests.support.scripted import build_answer

LOOKS = MagicaBulkStatus()
NOW = 1_785_000_000.0
MADE = {"nodeRuns": [{"nodeType": "response", "status": "COMPLETED", "output": {"result": ["https://cdn.x/a.png"]}}]}
GOING = RunStatus(RunState.RUNNING)


def read(*runs: Any, ids: tuple[str, ...] = ("a", "b")) -> dict[str, RunStatus]:
    """Return what an answer with these runs reports of those that were asked for."""
    return dict(LOOKS.parse(build_answer({"runs": list(runs)}), ids, now=NOW))


def test_the_request_is_the_page_s() -> None:
    """`ids` are what it names the runs."""
    assert LOOKS.build_request(["<string>"]) == ApiRequest(
        Operation.READ_RUNS, "POST", "/v1/runs/batch", examples.BATCH_REQUEST
    )


def test_the_page_s_answer_is_read() -> None:
    """Its states are no states, so only the form is tried; each such run is read by itself."""
    assert LOOKS.parse(build_answer(examples.BATCH), ["<string>"], now=NOW) == {}


def test_runs_are_reported_as_their_own_looks_would_report_them() -> None:
    """In either spelling of the id, results and all."""
    look = Magica().parse_status(build_answer({"id": "a", "status": "COMPLETED", **MADE}), now=NOW)
    reported = read({"id": "a", "status": "COMPLETED", **MADE}, {"runId": "b", "status": "queued"})
    assert reported == {"a": look, "b": RunStatus(RunState.QUEUED)}
    assert look.outputs[0].url == "https://cdn.x/a.png"


@pytest.mark.parametrize(
    "run",
    [
        {"status": "COMPLETED"},
        {"status": "COMPLETED", "nodeRuns": []},
        {"status": "FAILED", "error": "no"},
        {"status": "CANCELED"},
        {"status": "COMPLETED", "nodeRuns": [{"status": "FAILED"}, *MADE["nodeRuns"]]},
        {"status": "NOT_FOUND"},
    ],
    ids=str,
)
def test_an_end_without_results_and_an_unheard_of_state_are_left_to_a_look_of_their_own(run: dict[str, Any]) -> None:
    """An end is written down for good, and this answer may report less of it than the run's own address."""
    assert read({"id": "a", **run}) == {}


@pytest.mark.parametrize(
    "runs",
    [
        [{"id": "a", "status": "RUNNING"}, {"id": "a", "status": "COMPLETED", **MADE}],
        [{"id": "a", "status": "RUNNING"}, {"runId": "a", "status": "RUNNING"}, {"id": "a", "status": "RUNNING"}],
    ],
)
def test_a_run_that_is_reported_twice_is_not_believed(runs: list[dict[str, Any]]) -> None:
    """No one can say which account of it holds; the others are."""
    assert read(*runs, {"id": "b", "status": "RUNNING"}) == {"b": GOING}


@pytest.mark.parametrize("ids", [{"id": "a", "runId": "b"}, {"id": "a", "runId": "x"}, {"id": "x", "runId": "a"}])
def test_a_run_with_two_ids_is_not_believed(ids: dict[str, str]) -> None:
    """One of them is another run's; it is read by itself."""
    going = {"id": "c", "runId": "c", "status": "RUNNING"}
    assert read({**ids, "status": "COMPLETED", **MADE}, going, ids=("a", "b", "c")) == {"c": GOING}


def test_nothing_is_reported_of_runs_that_no_one_asked_for() -> None:
    """Their ends would be written to anyone who has that id."""
    assert read({"id": "x", "status": "COMPLETED", **MADE}, {"id": "b", "status": "RUNNING"}) == {"b": GOING}


def test_one_odd_run_costs_no_other() -> None:
    """Whatever stands in the list."""
    odd: list[Any] = [
        None,
        5,
        "a",
        [],
        {},
        {"id": None},
        {"id": ["a"]},
        {"id": {"a": 1}, "status": "RUNNING"},
        {"id": "a"},
    ]
    assert read(*odd, {"id": "b", "status": "RUNNING"}) == {"b": GOING}


@pytest.mark.parametrize(
    "body",
    [
        [],
        None,
        "runs",
        {},
        {"runs": None},
        {"runs": {"a": {"status": "RUNNING"}}},
        {"runs": []},
        {"runs": [{"id": "x", "status": "RUNNING"}]},
        {"runs": [{"id": "a"}]},
        {"runs": [{"id": "a", "status": "RUNNING"}] * 2},
        {"runs": [{"id": "a", "status": "RUNNING"}, *[{}] * MAX_LISTED_RUNS]},
        b"<html>",
        b"",
    ],
    ids=lambda body: str(body)[:40],
)
def test_an_answer_that_reports_of_none_of_them_is_broken(body: Any) -> None:
    """Then each is read by itself, and no one asks like this again for a while."""
    with pytest.raises(ProviderBroken) as caught:
        LOOKS.parse(build_answer(body), ["a", "b"], now=NOW)
    assert (caught.value.operation, caught.value.status) == (Operation.READ_RUNS, 200)


def test_an_answer_that_is_cut_off_is_broken() -> None:
    """The runs at its end would be missing."""
    whole = build_answer({"runs": [{"id": "a", "status": "RUNNING"}]})
    with pytest.raises(ProviderBroken):
        LOOKS.parse(ApiAnswer(200, {}, whole.body, is_complete=False), ["a"], now=NOW)


def test_a_refusal_is_one() -> None:
    """The path may not be there."""
    with pytest.raises(ProviderRejected) as caught:
        LOOKS.parse(build_answer({"message": "Not found"}, 404), ["a"], now=NOW)
    assert (caught.value.status, caught.value.detail) == (404, "Not found")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["a", "b", "RUNNING", "COMPLETED"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["id", "runId", "status", "nodeRuns", "runs", "output"]), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.lists(JSON, max_size=6))
def test_whatever_comes_is_read_or_one_kind_of_error(runs: list[Any]) -> None:
    """And never reports of another run."""
    try:
        reported = read(*runs)
    except ProviderError:
        return
    assert set(reported) <= {"a", "b"}
