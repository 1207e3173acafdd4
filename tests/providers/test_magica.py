"""Magica's answers: the examples of its pages, what clients read, and everything that a server may send instead."""

import json
from contextlib import suppress
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowport.domain.errors import FlowportError, Operation, ProviderBroken, ProviderError, ProviderRejected
from flowport.domain.models import Output, OutputKind, RunState
from flowport.providers.interface import (
    ApiAnswer,
    ApiRequest,
    Balance,
    NotTaken,
    Provider,
    Started,
    Uncertain,
    UploadedFile,
)
from flowport.providers.magica.api import UPLOAD_SECONDS, Magica
from flowport.providers.magica.runs import LINK_SECONDS
from tests.providers import magica_examples as examples
from tests.providers.conversing import build_offer, converse, fill_in, get_paths
from tests.providers.magica_samples import MAGICA, NOW, SHOT, TEMPLATE
from tests.support.scripted import build_answer

NOT_TAKEN: Final = {400, 401, 402, 403, 404, 405, 413, 415, 422, 429, *range(300, 400)}
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "items",
                    "nodes",
                    "data",
                    "fields",
                    "id",
                    "type",
                    "status",
                    "response",
                    "output",
                    "result",
                    "runId",
                    "x",
                ]
            )
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
)


def look(body: Any) -> Any:
    """Return how a run stands by this body."""
    return MAGICA.parse_status(build_answer(body), now=NOW)


def test_the_key_travels_as_a_bearer_token() -> None:
    """As "Authentication" has it, on every host."""
    assert MAGICA.build_headers("gx_1", "api.magica.com") == {"authorization": "Bearer gx_1"}


def test_own_workflows_and_system_workflows_are_asked_for() -> None:
    """The quickstart and "Core concepts" name both lists."""
    asked = [(query.request.method, query.request.path, query.is_own) for query in MAGICA.build_list_queries()]
    assert asked == [("GET", "/v1/workflows", True), ("GET", "/v1/system-workflows", False)]


def test_a_system_workflow_goes_by_its_slug() -> None:
    """A run takes either in `workflowId` (quickstart)."""
    item = {"id": "cm1", "slug": "product-shot", "name": "Product shot"}
    assert MAGICA.parse_list(build_answer({"items": [item]}), is_own=False).apps == (TEMPLATE,)
    assert MAGICA.parse_list(build_answer({"items": [item]}), is_own=True).apps[0].id == "cm1"


@pytest.mark.parametrize("item", [None, 5, {}, {"id": ""}, {"id": 7}, {"id": "x" * 201}, {"name": "no id"}])
def test_an_item_without_a_usable_id_is_left_out_by_itself(item: Any) -> None:
    """The others stay."""
    found = MAGICA.parse_list(build_answer({"items": [item, {"id": "a", "name": None}]}), is_own=True)
    assert [(app.id, app.name) for app in found.apps] == [("a", "")]
    assert len(found.left_out) == 1


def test_the_next_page_is_asked_for_where_there_is_one() -> None:
    """Pages were seen with `page` and `hasMore`."""
    found = MAGICA.parse_list(build_answer({"items": [], "page": 1, "pageSize": 20, "hasMore": True}), is_own=False)
    assert found.next_page == ApiRequest(Operation.LIST_APPS, "GET", "/v1/system-workflows?page=2&pageSize=20")


@pytest.mark.parametrize("body", [{}, {"items": {}}, "text", 5, None])
def test_a_malformed_list_is_broken(body: Any) -> None:
    """It must not pass for an account without workflows."""
    with pytest.raises(ProviderBroken):
        MAGICA.parse_list(build_answer(body), is_own=True)


def test_a_start_is_acknowledged_with_a_run_id() -> None:
    """202 and `runId` (API reference, runs/start)."""
    assert MAGICA.parse_start(build_answer(examples.RUN_ACCEPTED, 202)) == Started("cuid_abc123", RunState.QUEUED)
    assert MAGICA.parse_start(build_answer({"run": {"id": "r"}}, 200)) == Started("r", RunState.QUEUED)


@pytest.mark.parametrize(
    "body",
    [
        {"id": "req_1", "run": {"id": "r"}},
        {"id": "req_1", "data": {"id": "r"}},
        {"id": "req_1", "data": {"runId": "r"}},
        {"run": {"id": "x"}, "data": {"id": "y", "runId": "r"}},
        {"runId": "r", "run": {"id": "x"}},
        {"id": "r", "run": "x"},
    ],
)
def test_what_is_called_a_run_is_the_run(body: Any) -> None:
    """The id beside it may be the request's, and no one could look at that."""
    assert MAGICA.parse_start(build_answer(body, 202)) == Started("r", RunState.QUEUED)


@pytest.mark.parametrize("status", [*range(300, 600)])
def test_every_status_proves_what_it_proves(status: int) -> None:
    """What was not taken may be sent again; everything else never is."""
    outcome = MAGICA.parse_start(build_answer(examples.ERROR, status))
    assert isinstance(outcome, NotTaken if status in NOT_TAKEN else Uncertain)


@pytest.mark.parametrize("body", [{}, [], {"runId": ""}, {"runId": 5}, {"runId": "x" * 201}, b"<html>", b"", b"{"])
def test_a_start_without_a_run_id_is_uncertain(body: Any) -> None:
    """The run may be there, and no one knows by which name."""
    outcome = MAGICA.parse_start(build_answer(body, 202))
    assert isinstance(outcome, Uncertain)
    assert isinstance(outcome.error, ProviderBroken)


def test_inputs_that_do_not_fit_are_called_so() -> None:
    """A 400 holds what zod found (seen on the live service)."""
    body = {"message": "Invalid", "details": [{"path": ["values", "n", "f"], "message": "too_small"}]}
    outcome = MAGICA.parse_start(build_answer(body, 400))
    assert isinstance(outcome, NotTaken)
    assert isinstance(outcome.error, ProviderRejected)
    assert (outcome.error.status, outcome.error.detail) == (422, "Invalid; values.n.f: too_small")


def test_a_run_is_asked_for_with_its_details() -> None:
    """Clients of the live service send `inDetails`."""
    request = MAGICA.build_status_request("a/b")
    assert (request.method, request.path) == ("GET", "/v1/runs/a%2Fb?inDetails=true")


def test_the_documented_run_succeeds_without_a_readable_result() -> None:
    """The example of "Core concepts" has empty outputs."""
    assert (look(examples.RUN_DOCUMENTED).state, look(examples.RUN_DOCUMENTED).outputs) == (RunState.SUCCEEDED, ())


def test_the_detailed_run_hands_over_the_response() -> None:
    """What other nodes made on the way is not a result."""
    found = look(examples.RUN_DETAILED)
    assert found.state is RunState.SUCCEEDED
    assert found.outputs == (Output(1, OutputKind.FILE, "https://%E2%80%A6png", expires_at=NOW + LINK_SECONDS),)


def test_a_model_run_reports_kind_and_cost() -> None:
    """As clients read it; microcredits become credits."""
    found = look({**examples.MODEL_RUN, "nodes": [{"type": "x", **examples.MODEL_RUN}]})
    assert [(one.kind, one.url) for one in found.outputs] == [(OutputKind.IMAGE, "https://%E2%80%A6")]
    assert found.cost_credits == 0.00588


@pytest.mark.parametrize("body", [{}, [], {"status": 5}, {"status": None}, {"run": []}, "x", b"<p>"])
def test_a_run_that_cannot_be_read_is_broken(body: Any) -> None:
    """It goes on all the same; it is looked at again."""
    with pytest.raises(ProviderBroken):
        look(body)


@pytest.mark.parametrize("wrap", ["run", "data"])
def test_a_run_may_be_wrapped(wrap: str) -> None:
    """No one has published that it is not."""
    assert look({wrap: {"status": "RUNNING"}}).state is RunState.RUNNING


def test_a_run_of_another_key_is_not_found() -> None:
    """Runs belong to the key that made them."""
    with pytest.raises(ProviderRejected) as caught:
        MAGICA.parse_status(build_answer(examples.ERROR, 404), now=NOW)
    assert str(caught.value) == 'Magica knows no such run. Magica says: "Run not found"'


def test_the_balance_is_reported_in_credits() -> None:
    """API reference, credits/balance."""
    balance, asked = converse(MAGICA.read_balance(), build_answer(examples.BALANCE))
    assert (balance, get_paths(asked)) == (Balance(26.17), ["GET /v1/credits/balance"])


@pytest.mark.parametrize(
    "body", [{}, [], {"availableBalance": "26"}, {"availableBalance": True}, {"availableBalance": -1}]
)
def test_a_malformed_balance_is_broken(body: Any) -> None:
    """Zero would be a wrong answer."""
    with pytest.raises(ProviderBroken):
        converse(MAGICA.read_balance(), build_answer(body))


def test_a_run_is_cancelled_by_the_mcp_server() -> None:
    """Its page has `cancel_run`; no REST path is documented."""
    result, asked = converse(MAGICA.cancel_run("r1"), build_answer({"status": "CANCELED"}))
    assert (result, get_paths(asked)) == (None, ["tool cancel_run"])
    assert fill_in(asked[0], build_offer("cancel_run", "Cancel a run", "runId")) == {"runId": "r1"}
    assert fill_in(asked[0], build_offer("cancel_run", "Cancel a run")) is None


@pytest.mark.parametrize(("answers", "tools"), [((200,), 0), ((404, 200), 1), ((405, 200), 1)])
def test_a_path_that_a_person_has_set_is_tried_first(answers: tuple[int, ...], tools: int) -> None:
    """It was inferred from re-implementations."""
    provider = Magica(cancel_path="/v1/runs/{run_id}/cancel")
    _, asked = converse(provider.cancel_run("r/1"), *(build_answer({}, status) for status in answers))
    assert get_paths(asked) == ["POST /v1/runs/r%2F1/cancel", *["tool cancel_run"] * tools]


@pytest.mark.parametrize("status", [400, 401, 500])
def test_what_is_not_cancelled_is_said(status: int) -> None:
    """Else someone would think that nothing more is charged."""
    for provider in (MAGICA, Magica(cancel_path="/c/{run_id}")):
        with pytest.raises(ProviderError):
            converse(provider.cancel_run("r1"), build_answer({"message": "no"}, status))


def test_a_file_goes_up_through_the_mcp_server() -> None:
    """`upload_file` takes a data URI or base64 and returns a permanent address (MCP server: tools)."""
    found, asked = converse(MAGICA.upload_whole("image/png", b"abc"), build_answer({"url": "https://cdn.x/a.png"}))
    assert found == UploadedFile(asset_url="https://cdn.x/a.png", asset_seconds=UPLOAD_SECONDS)
    assert fill_in(asked[0], build_offer("upload_file", "", "url", "data_uri")) == {
        "data_uri": "data:image/png;base64,YWJj"
    }
    assert fill_in(asked[0], build_offer("upload_file", "", "base64", "mimeType")) == {
        "base64": "YWJj",
        "mimeType": "image/png",
    }
    assert fill_in(asked[0], build_offer("upload_file", "", "base64")) == {"base64": "YWJj"}
    assert fill_in(asked[0], build_offer("upload_file", "", "url")) is None


def test_an_upload_without_an_address_is_broken() -> None:
    """A run that is started with something else would be paid for without result."""
    with pytest.raises(ProviderBroken):
        converse(MAGICA.upload_whole("image/png", b"abc"), build_answer({"url": "/relative.png"}))


def test_what_magica_does_not_offer_is_absent() -> None:
    """It takes no files inside a run and no ids of files, and has one path family."""
    provider: Provider = MAGICA
    offered = provider.capabilities
    assert (offered.inline, offered.is_output_id, offered.list_recent_outputs) == (None, None, None)
    assert provider.alternatives == ()


@given(body=JSON_VALUES, status=st.sampled_from([200, 202, 400, 403, 404, 429, 500]))
def test_no_answer_brings_anything_but_our_own_errors(body: Any, status: int) -> None:
    """Whatever a server sends, what comes of it is a value or an error that can be reported."""
    answer = ApiAnswer(status, {}, json.dumps(body).encode("utf-8", "replace"))
    MAGICA.parse_start(answer)
    for work in (
        lambda: MAGICA.parse_list(answer, is_own=True),
        lambda: MAGICA.parse_status(answer, now=NOW),
        lambda: _drive(MAGICA.describe_app(SHOT, read_at=NOW), answer),
        lambda: _drive(MAGICA.estimate_price(SHOT), answer),
        lambda: _drive(MAGICA.read_balance(), answer),
        lambda: _drive(MAGICA.upload_whole("image/png", b""), answer),
    ):
        with suppress(FlowportError):
            work()


def _drive(conversation: Any, answer: ApiAnswer) -> None:
    """Give the same answer to everything."""
    try:
        next(conversation)
        while True:
            conversation.send(answer)
    except StopIteration:
        return
