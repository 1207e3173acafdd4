"""Magnific's requests and lists: those of the documentation word for word, and everything that a server may send instead."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowport.domain.errors import AppUnsupported, Operation, ProviderBroken, ProviderError
from flowport.domain.models import App, Input, InputKind, JsonValue
from flowport.providers.interface import ApiAnswer, ApiRequest, AppList, LeftOut, ListQuery, NotTaken, Uncertain
from flowport.providers.magnific.api import Magnific
from tests.providers import magnific_examples as examples
from tests.providers.magnific_samples import MAGNIFIC, NOW, SKETCH, answer

OLDER = Magnific(styles=("apps",))
UNUSABLE = LeftOut("", "", "the provider's list names it without a usable id")
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)
KNOWN_KEYS = st.sampled_from(
    [
        "data",
        "sqid",
        "name",
        "tool_metadata",
        "total_cost",
        "inputs",
        "id",
        "api_key",
        "type",
        "label",
        "config",
        "options",
        "required",
        "status",
        "result",
        "images",
        "videos",
        "url",
        "width",
        "error_message",
        "message",
        "workflow_run_identifier",
        "problem",
        "invalid_params",
    ]
)
KNOWN_TEXTS = st.sampled_from(
    ["uqzQLDr2Aw", "creation", "select", "completed", "completed_with_errors", "failed", "https://x/y.png", "\ud83d"]
)
NEARLY_RIGHT = st.recursive(
    JSON_VALUES | KNOWN_TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KNOWN_KEYS, inner, max_size=6),
)
BODIES = (
    st.binary(max_size=60)
    | NEARLY_RIGHT.map(lambda value: json.dumps(value).encode())
    | NEARLY_RIGHT.map(lambda value: json.dumps({"data": value}).encode())
)


# Requests


@pytest.mark.parametrize("provider", [MAGNIFIC, OLDER], ids=["flows", "apps"])
@pytest.mark.parametrize(
    ("host", "header"),
    [
        ("api.magnific.com", "x-magnific-api-key"),
        ("127.0.0.1", "x-magnific-api-key"),
        ("gateway.example", "x-magnific-api-key"),
        ("api.freepik.com", "x-freepik-api-key"),
        ("eu.api.freepik.com", "x-freepik-api-key"),
        ("notapi.freepik.com", "x-magnific-api-key"),
        ("api.freepik.com.example", "x-magnific-api-key"),
    ],
)
def test_the_key_goes_into_the_header_of_its_host_alone(provider: Magnific, host: str, header: str) -> None:
    """Magnific API 1.0.0, securitySchemes; docs.freepik.com, authentication. The path family has no say in it."""
    assert provider.build_headers("mk", host) == {header: "mk"}


def test_own_flows_are_listed_before_published_ones() -> None:
    """A person's own apps come first in the tools too; neither list has pages."""
    assert MAGNIFIC.build_list_queries() == (
        ListQuery(ApiRequest(Operation.LIST_APPS, "GET", "/v1/ai/me/flows"), is_own=True),
        ListQuery(ApiRequest(Operation.LIST_APPS, "GET", "/v1/ai/flows"), is_own=False),
    )


def test_the_older_family_has_the_same_requests_below_its_own_paths() -> None:
    """list-apps, list-my-apps, get-app and get-app-run of the "Freepik API"."""
    assert [query.request.path for query in OLDER.build_list_queries()] == ["/v1/ai/me/apps", "/v1/ai/apps"]
    assert OLDER.build_app_request("uqzQLDr2Aw").path == "/v1/ai/apps/uqzQLDr2Aw"
    assert OLDER.build_status_request("vCrK3Aa47y").path == "/v1/ai/apps/runs/vCrK3Aa47y"


def test_the_older_family_names_inputs_by_their_ids() -> None:
    """run-app has no readable keys; a definition that was read in the newer family must not break it."""
    app = replace(
        SKETCH,
        inputs=(
            Input("input-1", "image", InputKind.IMAGE, "", is_required=True),
            Input("input-2", "input-2", InputKind.TEXT, "", is_required=True),
        ),
    )
    sent: dict[str, JsonValue] = {"image": "https://example.com/photo.jpg", "input-2": "car in the forest"}
    body: dict[str, JsonValue] = {
        "inputs": {"input-1": "https://example.com/photo.jpg", "input-2": "car in the forest"}
    }
    assert OLDER.build_start_request(app, sent) == ApiRequest(
        Operation.START_RUN, "POST", "/v1/ai/apps/uqzQLDr2Aw/run", body
    )
    assert MAGNIFIC.build_start_request(app, sent).body == {"inputs": sent}


@pytest.mark.parametrize("inputs", [None, ()])
def test_the_older_family_starts_an_app_without_inputs_too(inputs: tuple[Input, ...] | None) -> None:
    """Some need nothing."""
    assert OLDER.build_start_request(replace(SKETCH, inputs=inputs), {}).body == {"inputs": {}}


def test_a_provider_speaks_one_family_and_knows_the_others() -> None:
    """The newer one is tried first; anyone who has found the older puts it first and can come back."""
    (older,) = Magnific("The sandbox").alternatives
    assert (MAGNIFIC.style, MAGNIFIC.styles) == ("flows", ("flows", "apps"))
    assert (older.title, older.style, older.styles) == ("The sandbox", "apps", ("apps", "flows"))
    assert [one.style for one in older.alternatives] == ["flows"]
    assert [*OLDER.alternatives] == []


def test_requests_are_those_of_the_documentation() -> None:
    """get-flow, run-flow and get-run, with the example body of run-flow."""
    inputs = examples.RUN_REQUEST["inputs"]
    start = ApiRequest(Operation.START_RUN, "POST", "/v1/ai/flows/uqzQLDr2Aw/run", {"inputs": inputs})
    describe_app = ApiRequest(Operation.DESCRIBE_APP, "GET", "/v1/ai/flows/uqzQLDr2Aw")
    read_run = ApiRequest(Operation.READ_RUN, "GET", "/v1/ai/flows/runs/vCrK3Aa47y")
    assert MAGNIFIC.build_start_request(SKETCH, inputs) == start
    assert MAGNIFIC.build_app_request("uqzQLDr2Aw") == describe_app
    assert MAGNIFIC.build_status_request("vCrK3Aa47y") == read_run


@pytest.mark.parametrize(
    ("strange", "segment"),
    [
        ("a/../b", "a%2F%2E%2E%2Fb"),
        ("..", "%2E%2E"),
        ("a?b#c", "a%3Fb%23c"),
        ("a%2Fb", "a%252Fb"),
        ("é \n", "%C3%A9%20%0A"),
    ],
)
def test_an_id_stays_one_segment_of_the_path(strange: str, segment: str) -> None:
    """Ids come from the provider; none may turn a request into another one."""
    start = MAGNIFIC.build_start_request(replace(SKETCH, id=strange), {})
    assert MAGNIFIC.build_app_request(strange).path == f"/v1/ai/flows/{segment}"
    assert start.path == f"/v1/ai/flows/{segment}/run"
    assert MAGNIFIC.build_status_request(strange).path == f"/v1/ai/flows/runs/{segment}"


# Lists


def test_the_published_list_is_read_as_the_example_shows_it() -> None:
    """list-flows: the price is in `tool_metadata`."""
    assert MAGNIFIC.parse_list(answer(examples.LIST), is_own=False) == AppList((SKETCH,))


def test_the_own_list_is_read_as_the_example_shows_it() -> None:
    """list-my-flows: ids and names alone."""
    own = [("uqzQLDr2Aw", "My Custom Sketch to Image"), ("n0LYQDBl58", "Product Background Remover")]
    apps = tuple(App("magnific", sqid, name, is_own=True, price_credits=None) for sqid, name in own)
    assert MAGNIFIC.parse_list(answer(examples.OWN_LIST), is_own=True) == AppList(apps)


@pytest.mark.parametrize(
    ("cost", "price"),
    [
        (5, 5.0),
        (0, 0.0),
        (2.5, 2.5),
        (-1, None),
        (True, None),
        ("5", None),
        (None, None),
        ([5], None),
        (10**9, None),
        (10**400, None),
        (float("nan"), None),
        (float("inf"), None),
    ],
)
def test_a_price_is_a_number_that_can_be_one(cost: object, price: float | None) -> None:
    """A cap must not be compared with a mistake; an unknown price is asked about instead."""
    listed = MAGNIFIC.parse_list(answer({"data": [{"sqid": "x", "tool_metadata": {"total_cost": cost}}]}), is_own=True)
    assert listed == AppList((App("magnific", "x", "", is_own=True, price_credits=price),))


@pytest.mark.parametrize("extra", [{"name": 5}, {"name": None}, {"tool_metadata": "x"}, {"inputs": 7}, {"odd": []}])
def test_an_odd_extra_costs_no_app(extra: dict[str, object]) -> None:
    """The specification requires no field of a summary."""
    listed = MAGNIFIC.parse_list(answer({"data": [{"sqid": "x", **extra}]}), is_own=True)
    assert [app.id for app in listed.apps] == ["x"]


@pytest.mark.parametrize("item", [{}, {"sqid": None}, {"sqid": 7}, {"sqid": ""}, {"sqid": " "}, "x", None, []])
def test_an_item_without_a_usable_id_is_left_out_by_itself(item: object) -> None:
    """Its neighbours are as good as ever."""
    listed = MAGNIFIC.parse_list(answer({"data": [item, {"sqid": "x"}]}), is_own=False)
    assert ([app.id for app in listed.apps], listed.left_out) == (["x"], (UNUSABLE,))


@pytest.mark.parametrize("body", ["", "[]", "5", "null", '{"items": []}', '{"data": {}}', '{"data": null}', "<html>"])
def test_a_malformed_list_is_the_providers_fault(body: str) -> None:
    """The last known catalogue stays; an empty one must not take its place."""
    with pytest.raises(ProviderBroken) as caught:
        MAGNIFIC.parse_list(answer(body), is_own=False)
    assert (caught.value.operation, caught.value.status) == (Operation.LIST_APPS, 200)


# Anything at all


@given(body=BODIES, status=st.sampled_from([200, 202, 302, 400, 422, 500]) | st.integers(100, 599), whole=st.booleans())
@settings(deadline=None, max_examples=200)
def test_no_answer_escapes_the_parsers(*, body: bytes, status: int, whole: bool) -> None:
    """Whatever a server sends becomes a record or an error of ours whose sentence can be shown."""
    given_answer = ApiAnswer(status, {}, body, is_complete=whole)
    outcome = MAGNIFIC.parse_start(given_answer)
    errors = [outcome.error] if isinstance(outcome, NotTaken | Uncertain) else []
    parsers = (
        lambda: MAGNIFIC.parse_list(given_answer, is_own=True),
        lambda: MAGNIFIC.parse_app(given_answer, SKETCH, read_at=NOW),
        lambda: MAGNIFIC.parse_status(given_answer, now=NOW),
    )
    for parse in parsers:
        try:
            shown = repr(parse())
        except (ProviderError, AppUnsupported) as exc:
            shown = str(exc)
        shown.encode()
    assert all(str(error).isprintable() for error in errors)
