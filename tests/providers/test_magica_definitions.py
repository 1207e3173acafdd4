"""What a workflow takes and costs: from its graph, from the MCP server, from a person's declaration, or from no one."""

from typing import Any, Final

import pytest

from flowport.domain.errors import (
    AppUnsupported,
    Breakage,
    Operation,
    ProviderBroken,
    ProviderBusy,
    ProviderError,
    ProviderRefused,
    ProviderUnreachable,
)
from flowport.domain.models import App, InputKind
from flowport.providers.interface import ApiAnswer, ApiRequest, ProviderRequest
from flowport.providers.magica.api import HOW_TO_DECLARE, Magica
from flowport.providers.magica.declared import DeclaredInput, DeclaredWorkflow
from tests.providers import magica_examples as examples
from tests.providers.conversing import build_offer, converse, fill_in, get_paths
from tests.providers.magica_samples import MAGICA, NOW, SHOT, TEMPLATE
from tests.support.scripted import build_answer

DRY_RUN: Final = (
    "Start a run by id or name. Called without `values` it does not start anything: it returns the field names."
)
GONE: Final = build_answer({"message": "Not found"}, 404)
CALLED: Final = build_answer({"message": "it must not be called"}, 405)


def describe(body: Any, *more: ApiAnswer | ProviderError, app: App = SHOT, provider: Magica = MAGICA) -> App:
    """Return the app that a graph makes of it, whose price is not available by default."""
    answers = more or (build_answer({}, 500),)
    return converse(provider.describe_app(app, read_at=NOW), build_answer(body), *answers)[0]


def test_a_graph_reports_inputs_and_nodes_that_cost() -> None:
    """The inferred graph of a workflow, with an estimate as its page shows one."""
    app, asked = converse(
        MAGICA.describe_app(SHOT, read_at=NOW), build_answer(examples.GRAPH), build_answer(examples.ESTIMATE)
    )
    assert get_paths(asked) == ["GET /v1/workflows/wf_abc123", "POST /v1/workflows/estimate-credits"]
    assert isinstance(asked[1], ApiRequest)
    assert asked[1].body == {"nodes": [{"type": "flux_2_pro", "data": {}}]}
    assert (app.price_credits, app.read_at, app.name) == (0.06152, NOW, "Product shot")
    prompt, photo = app.inputs or ()
    assert (prompt.label, prompt.kind, prompt.default, prompt.is_required) == (
        "Prompt",
        InputKind.TEXT,
        "a llama",
        False,
    )
    assert (photo.label, photo.kind, photo.default, photo.is_required) == ("Photo", InputKind.IMAGE, None, True)


def test_a_system_workflow_is_read_under_its_slug() -> None:
    """The address was inferred."""
    _, asked = converse(
        MAGICA.describe_app(TEMPLATE, read_at=NOW), build_answer(examples.GRAPH), build_answer(examples.ESTIMATE)
    )
    assert get_paths(asked)[0] == "GET /v1/system-workflows/product-shot"


@pytest.mark.parametrize("estimate", [build_answer({}, 500), build_answer({}), build_answer([]), build_answer(b"<p>")])
def test_an_app_whose_price_cannot_be_fetched_is_an_app_all_the_same(estimate: ApiAnswer) -> None:
    """A price that no one knows has rules of its own."""
    app = describe(examples.GRAPH, estimate)
    assert app.price_credits is None
    assert len(app.inputs or ()) == 2


def test_the_inputs_reach_a_run_by_node_and_field() -> None:
    """As the start request of the API reference has it."""
    app = describe(examples.GRAPH)
    keys = [item.run_key for item in app.inputs or ()]
    request = MAGICA.build_start_request(app, {keys[0]: "a llama", keys[1]: "https://x/y.png"})
    assert (request.method, request.path) == ("POST", "/v1/runs")
    assert request.body == {
        "workflowId": "wf_abc123",
        "values": {"node_1777671164161_request": {"text_field": "a llama", "image_field": "https://x/y.png"}},
    }
    only = MAGICA.build_start_request(app, {keys[0]: "a llama"}).body
    assert only == {key: examples.RUN_REQUEST[key] for key in ("workflowId", "values")}


def test_the_live_client_s_request_is_built_letter_by_letter() -> None:
    """A production client was seen to send it."""
    live = App("magica", "cmonfiheh0000kz04dpoe8cjz", "", is_own=True, price_credits=None)
    graph = build_answer({"nodes": [examples.GRAPH["nodes"][0]]})
    app, _ = converse(MAGICA.describe_app(live, read_at=NOW), graph)
    key = (app.inputs or ())[0].run_key
    assert MAGICA.build_start_request(app, {key: "a llama on a bike"}).body == examples.LIVE_REQUEST


def test_without_a_graph_the_mcp_server_is_asked() -> None:
    """`start_run` without values returns the fields, and says that it starts nothing (MCP server: tools)."""
    reported = build_answer({"fields": {"node_1": {"text_field": examples.REQUEST_FIELD}}})
    app, asked = converse(MAGICA.describe_app(SHOT, read_at=NOW), GONE, reported)
    assert get_paths(asked) == ["GET /v1/workflows/wf_abc123", "tool start_run"]
    assert fill_in(asked[1], build_offer("start_run", DRY_RUN, "workflow", "values")) == {"workflow": "wf_abc123"}
    (item,) = app.inputs or ()
    assert (item.id, item.label, item.default) == ("node_1/text_field", "Cat", "Cat")


@pytest.mark.parametrize(
    "description", ["Start a run.", "Starts a run; without values it runs with the saved ones.", ""]
)
def test_start_run_is_not_called_where_it_does_not_say_that_it_starts_nothing(description: str) -> None:
    """The call might cost money."""
    _, asked = _leave_out(GONE, CALLED)
    assert fill_in(asked[1], build_offer("start_run", description, "workflow")) is None
    assert fill_in(asked[1], build_offer("start_run", DRY_RUN, "name_or_so")) is None


def test_a_tool_that_starts_a_run_after_all_is_not_asked_twice_by_us() -> None:
    """Its description promised otherwise; the app is left out with the reason."""
    with pytest.raises(AppUnsupported, match="started a run although"):
        converse(MAGICA.describe_app(SHOT, read_at=NOW), GONE, build_answer({"runId": "r1"}))


def _leave_out(*answers: ApiAnswer | ProviderError, provider: Magica = MAGICA) -> tuple[str, list[ProviderRequest]]:
    """Return why the workflow is left out, and what was asked for."""
    asked: list[ProviderRequest] = []
    with pytest.raises(AppUnsupported) as caught:
        converse(provider.describe_app(SHOT, read_at=NOW), *answers, asked=asked)
    return caught.value.reason, asked


@pytest.mark.parametrize("graph", [GONE, build_answer({"nodes": []}), build_answer({}), build_answer({}, 405)])
@pytest.mark.parametrize("tool", [GONE, CALLED, build_answer({}), build_answer({}, 401), build_answer({}, 500)])
def test_a_workflow_whose_inputs_no_one_reports_is_left_out_with_three_ways(graph: ApiAnswer, tool: ApiAnswer) -> None:
    """Guessing would pay for a run of something else."""
    reason, _ = _leave_out(graph, tool)
    assert reason == HOW_TO_DECLARE
    assert all(way in reason for way in ("request node", "MCP server", "[[magica_workflows]] in config.toml"))


def test_a_person_s_declaration_is_the_last_word() -> None:
    """It is for workflows of which no one else reports."""
    field = DeclaredInput("node_1", "text_field", {"type": "text", "label": "Prompt", "required": False})
    provider = Magica(declared=(DeclaredWorkflow("wf_abc123", (field,)),))
    app, _ = converse(provider.describe_app(SHOT, read_at=NOW), GONE, GONE)
    assert [(item.id, item.label, item.is_required) for item in app.inputs or ()] == [
        ("node_1/text_field", "Prompt", False)
    ]
    assert provider.build_start_request(app, {"Prompt": "x"}).body == {
        "workflowId": "wf_abc123",
        "values": {"node_1": {"text_field": "x"}},
    }


@pytest.mark.parametrize("status", [500, 502])
def test_a_graph_that_is_broken_today_is_read_another_day_unless_someone_else_reports(status: int) -> None:
    """Leaving the app out would take a tool away for one bad minute."""
    with pytest.raises(ProviderBroken):
        converse(MAGICA.describe_app(SHOT, read_at=NOW), build_answer({}, status), GONE)
    reported = build_answer({"fields": {"n": {"f": {"type": "text"}}}})
    app, _ = converse(MAGICA.describe_app(SHOT, read_at=NOW), build_answer({}, status), reported)
    assert len(app.inputs or ()) == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (build_answer({}, 401), ProviderRefused),
        (build_answer({}, 429, retry_after="3"), ProviderBusy),
        (ProviderUnreachable("Magica", Operation.DESCRIBE_APP, Breakage.NO_ANSWER), ProviderUnreachable),
    ],
)
def test_a_refusal_says_nothing_about_the_inputs(answer: ApiAnswer | ProviderError, error: type[ProviderError]) -> None:
    """The key or the network is to be repaired, and then the app is there."""
    with pytest.raises(error):
        converse(MAGICA.describe_app(SHOT, read_at=NOW), answer)


def test_a_workflow_may_take_nothing() -> None:
    """Its request node has a list of fields, and it is empty."""
    assert (
        describe({"nodes": [{"id": "n", "type": "request", "data": {"fields": []}}, {"type": "a", "id": "b"}]}).inputs
        == ()
    )


def test_a_price_is_estimated_again_before_a_run() -> None:
    """Someone may have put a dearer node in since."""
    estimate = {"estimates": [{"microcredits": 1_000_000}, {"microcredits": 500_000}]}
    price, asked = converse(MAGICA.estimate_price(SHOT), build_answer(examples.GRAPH), build_answer(estimate))
    assert (price, len(asked)) == (1.5, 2)


@pytest.mark.parametrize("graph", [GONE, build_answer({"nodes": []})])
def test_what_has_no_nodes_to_be_reported_has_no_price(graph: ApiAnswer) -> None:
    """No one knows it, which is something else than free."""
    assert converse(MAGICA.estimate_price(SHOT), graph)[0] is None


def test_a_failed_estimate_is_a_refusal_like_any_other() -> None:
    """Anyone who asks decides what an unknown price means."""
    with pytest.raises(ProviderBroken):
        converse(MAGICA.estimate_price(SHOT), build_answer(examples.GRAPH), build_answer({}, 500))
