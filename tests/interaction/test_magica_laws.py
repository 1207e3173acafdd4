"""The laws of every listed tool, checked over thousands of generated Magica workflows."""

from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from flowport.catalog.name_book import name_apps
from flowport.catalog.names import build_property_names
from flowport.catalog.schema import build_tool
from flowport.domain.errors import FlowportError
from flowport.domain.models import App
from flowport.providers.magica.api import Magica
from tests.providers.conversing import converse
from tests.support.laws import build_arguments, find_breaches, is_clean, reaches_magica
from tests.support.magica_definitions import GRAPHS
from tests.support.scripted import build_answer

LEAST_TRIED = 3000
MAGICA = Magica()
GONE = build_answer({}, 404)


class Tally:
    """What was tried."""

    tried = listed = called = 0


def leave_out(refusal: FlowportError) -> None:
    """Check that the reason for leaving an app out is fit to show."""
    assert is_clean(str(refusal)), repr(refusal)


def describe(graph: object) -> App | None:
    """Return the app of a graph, or None when it is left out for a reason that is fit to show."""
    app = App("magica", "wf", "Product shot", is_own=True, price_credits=None)
    asked: list[object] = []
    conversation = MAGICA.describe_app(app, read_at=0.0)
    try:
        # Each further request (for fields, for a price) is answered with nothing.
        asked.append(next(conversation))
        conversation.send(build_answer(graph))
        while True:
            conversation.send(GONE)
    except StopIteration as end:
        found: App = end.value
        return found
    except FlowportError as refusal:
        leave_out(refusal)
        return None


@given(graph=GRAPHS, seed=st.integers(0, 2**32))
@settings(
    max_examples=LEAST_TRIED,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def check_graph(graph: object, seed: int) -> None:
    """Check one workflow against every law."""
    Tally.tried += 1
    app = describe(graph)
    if app is None:
        return
    names = build_property_names(app.inputs or (), {})
    (tool_name,) = name_apps([app], {}, scope="magica:x").values()
    try:
        tool = build_tool(app, tool_name=tool_name, property_names=names, provider_title="Magica")
    except FlowportError as refusal:
        leave_out(refusal)
        return
    Tally.listed += 1
    assert find_breaches(tool) == []
    arguments = build_arguments(app, tool, names, Random(seed))
    assert reaches_magica(app, tool, names, arguments)
    Tally.called += 1


@pytest.mark.long
def test_every_listed_workflow_keeps_every_law() -> None:
    """A value that the schema accepts reaches its node and field; a workflow without such a schema is left out."""
    check_graph()
    assert Tally.tried >= LEAST_TRIED
    assert Tally.listed == Tally.called > LEAST_TRIED // 20


def test_a_plain_workflow_is_listed() -> None:
    """Plain workflows are listed, or the laws would be checked on nothing."""
    graph = {"nodes": [{"id": "n", "type": "request", "data": {"fields": [{"id": "f", "type": "text"}]}}]}
    app, _ = converse(
        MAGICA.describe_app(App("magica", "wf", "", is_own=True, price_credits=None), read_at=0.0), build_answer(graph)
    )
    assert len(app.inputs or ()) == 1
