"""What providers list of runs and files, in every form that a list may have; none of it is documented in full."""

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowport.domain.errors import ProviderBroken, ProviderError, ProviderRejected
from flowport.domain.models import App, Input, InputKind, JsonValue
from flowport.providers.lost_runs import ListedRun
from flowport.providers.magica.api import Magica
from flowport.providers.magica.lost_runs import build_list_arguments, has_same_values, parse_listed_runs
from flowport.providers.magnific.api import Magnific
from flowport.providers.magnific.files import parse_recent_outputs
from flowport.providers.parsing import parse_instant
from tests.providers.conversing import build_offer, converse
from tests.support.scripted import build_answer

SINCE: Final = 1_795_000_000.0
BEGUN: Final = "2026-11-18T12:53:25.000Z"
BEGUN_AT: Final = 1_795_006_405.0
VALUES: Final[dict[str, dict[str, JsonValue]]] = {"n1": {"prompt": "a lake", "count": 2}}
APP: Final = App(
    "magica",
    "wf1",
    "Lake",
    is_own=True,
    price_credits=None,
    inputs=(Input("n1/prompt", "prompt", InputKind.TEXT, "prompt", is_required=True),),
)


NO_INSTANTS: Final[tuple[Any, ...]] = (
    *("", "soon", "0001-01-01T00:00:00Z", "2026-13-45T00:00:00Z"),
    *(0, -5, None, True, [], {}),
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (BEGUN, BEGUN_AT),
        ("2026-11-18T12:53:25+00:00", BEGUN_AT),
        ("2026-11-18 12:53:25", BEGUN_AT),
        ("2026-11-18T13:53:25+01:00", BEGUN_AT),
        (BEGUN_AT, BEGUN_AT),
        (int(BEGUN_AT * 1000), BEGUN_AT),
        *((bad, None) for bad in NO_INSTANTS),
    ],
)
def test_an_instant_comes_in_several_forms(value: Any, expected: float | None) -> None:
    """A text without a zone is in UTC; anything else yields None."""
    assert parse_instant(value) == expected


def build_item(**changes: Any) -> dict[str, Any]:
    """Return one run of the list."""
    return {"runId": "cm1", "workflowId": "wf1", "createdAt": BEGUN, "values": VALUES, **changes}


@pytest.mark.parametrize("holder", [list, *({"key": key} for key in ("runs", "items", "data", "results"))], ids=str)
def test_runs_are_read_from_each_form_of_a_list(holder: Any) -> None:
    """Oldest first, those of the workflow that began since the start."""
    items = [
        build_item(runId="later", createdAt=BEGUN_AT + 5),
        build_item(),
        build_item(runId="earlier", createdAt=SINCE - 1),
        build_item(runId="other", workflowId="wf2"),
        build_item(runId="nested", workflowId=None, workflow={"id": "wf1"}, values=None),
        "rubbish",
    ]
    body = items if holder is list else {holder["key"]: items}
    found = parse_listed_runs(body, "wf1", VALUES, SINCE)
    assert found == (
        ListedRun("cm1", BEGUN_AT, has_same_inputs=True),
        ListedRun("nested", BEGUN_AT, has_same_inputs=None),
        ListedRun("later", BEGUN_AT + 5, has_same_inputs=True),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"runId": ""},
        {"runId": 7},
        {"runId": "x" * 201},
        {"createdAt": None},
        {"createdAt": "soon"},
        {"workflowId": None},
    ],
    ids=str,
)
def test_a_run_that_does_not_say_what_it_is_is_left_out(changes: dict[str, Any]) -> None:
    """It could be any run."""
    assert parse_listed_runs([build_item(**changes)], "wf1", VALUES, SINCE) == ()


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ({"values": VALUES}, True),
        ({"inputs": {"prompt": "a lake", "count": 2}}, True),
        ({"values": {"n1": {"prompt": "a lake", "count": "2", "more": 1}}}, True),
        ({"data": {"input": VALUES}}, True),
        ({"nodeRuns": [{"nodeType": "request", "output": {"prompt": "a lake", "count": 2}}]}, True),
        ({"values": {"n1": {"prompt": "a hill", "count": 2}}}, False),
        ({"values": {"n1": {"prompt": "a lake"}}}, False),
        ({"values": {"n2": VALUES["n1"]}}, False),
        ({"values": {}}, None),
        ({"values": "a lake"}, None),
        ({"nodeRuns": [{"nodeType": "request", "output": {}}]}, None),
        ({}, None),
        ("a lake", None),
    ],
    ids=repr,
)
def test_only_shown_and_equal_inputs_are_the_same(run: Any, expected: bool | None) -> None:
    """What is not shown proves nothing, and neither does a run of nothing but files."""
    assert has_same_values(run, VALUES) is expected
    assert has_same_values(run, {}) is None


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                (
                    *("runs", "items", "data", "runId", "workflowId", "workflow", "createdAt", "values", "nodes"),
                    *("type", "output", "creation", "identifier", "url", "status", "created_at", "width"),
                )
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_no_answer_breaks_the_reading(body: Any) -> None:
    """Both lists come from outside."""
    found = parse_listed_runs(body, "wf1", VALUES, SINCE)
    assert found is None or all(one.provider_run_id for one in found)
    assert all(one.output.url for one in parse_recent_outputs(body, since=SINCE, now=SINCE))


def test_a_list_without_values_is_completed_by_a_few_reads() -> None:
    """Each run may show what it was given; five are read, and the others stay uncertain."""
    bare = [{key: value for key, value in build_item(runId=f"cm{n}").items() if key != "values"} for n in range(7)]
    shown = build_answer({"id": "cm0", "values": VALUES})
    other = build_answer({"id": "cm1", "values": {"n1": {"prompt": "a hill"}}})
    silent = [build_answer({"id": f"cm{n}", "status": "COMPLETED"}) for n in (2, 3, 4)]
    conversation = Magica().find_lost_run(APP, {"prompt": "a lake"}, SINCE)
    found, asked = converse(conversation, build_answer({"runs": bare}), shown, other, *silent)
    assert [one.has_same_inputs for one in found] == [True, False, None, None, None, None, None]
    assert len(asked) == 6


def test_a_server_without_the_tool_says_so() -> None:
    """The reason is about the list, not about a run that does not exist."""
    with pytest.raises(ProviderRejected, match="runs are listed"):
        converse(Magica().find_lost_run(APP, {"prompt": "a"}, SINCE), build_answer({"message": "none"}, 404))
    with pytest.raises(ProviderBroken, match="not a list of runs"):
        converse(Magica().find_lost_run(APP, {"prompt": "a"}, SINCE), build_answer({"runs": 3}))


def test_the_list_is_asked_for_one_workflow_where_it_can_be() -> None:
    """By whichever name the tool has for it."""
    assert build_list_arguments("wf1", build_offer("list_runs", "Lists.", "workflow", "page")) == {"workflow": "wf1"}
    assert build_list_arguments("wf1", build_offer("list_runs", "Lists.", "page")) == {}


def build_file(**changes: Any) -> dict[str, Any]:
    """Return one item of `creations/recent`."""
    creation = {"identifier": "LSFgqqrswO", "created_at": BEGUN}
    return {
        "creation": creation,
        "url": "https://cdn.example/a.png?token=exp_1795010000",
        "status": "completed",
        **changes,
    }


def test_recent_files_are_read_with_their_ids() -> None:
    """Those that are finished and made since the start, or at a time that is not said."""
    items = [
        build_file(),
        build_file(creation={"identifier": "b", "created_at": SINCE - 1}),
        build_file(creation={"identifier": "timeless"}, url="https://cdn.example/b.mp4"),
        build_file(status="processing"),
        build_file(url="javascript:alert(1)"),
        build_file(url="http://cdn.example\n/x.png"),
        {"identifier": "flat", "url": "https://cdn.example/c.wav", "createdAt": BEGUN},
        None,
    ]
    found = parse_recent_outputs(items, since=SINCE, now=BEGUN_AT)
    shown = [(one.output.provider_output_id, one.output.kind.value, one.made_at) for one in found]
    assert shown == [("LSFgqqrswO", "image", BEGUN_AT), ("timeless", "video", None), ("flat", "audio", BEGUN_AT)]
    assert found[0].output.expires_at == 1_795_010_000.0


@pytest.mark.parametrize("body", [{}, {"data": {}}, {"data": None}, [], "x"], ids=repr)
def test_what_is_not_a_list_of_files_is_a_broken_answer(body: Any) -> None:
    """Nothing is offered by mistake."""
    with pytest.raises(ProviderError):
        converse(Magnific().list_recent_outputs(SINCE, SINCE), build_answer(body))
