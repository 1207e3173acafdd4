"""The definitions of the apps."""

import re

import pytest

from flowport.sandbox.apps import APPS, InputType, OptionShape, Recipe, SandboxApp, build_definition, build_summary


def test_every_recipe_belongs_to_exactly_one_app() -> None:
    """A recipe without an app would be dead code."""
    assert sorted(app.recipe for app in APPS) == sorted(Recipe)


@pytest.mark.parametrize("app", APPS, ids=lambda app: app.name)
def test_an_app_is_reachable_by_an_id_like_the_providers(app: SandboxApp) -> None:
    """Ids are ten letters and digits, as the provider's are, and an app in no list could not be found."""
    assert re.fullmatch(r"[A-Za-z0-9]{10}", app.id)
    assert app.is_published or app.is_own


@pytest.mark.parametrize("app", APPS, ids=lambda app: app.name)
def test_every_input_has_the_fields_of_the_contract(app: SandboxApp) -> None:
    """Magnific API 1.0.0, input-definition."""
    fields = {"id", "api_key", "key", "type", "label", "config", "nodeId", "default", "required", "presentation"}
    for entry in build_definition(app)["inputs"]:
        assert set(entry) == fields
        assert entry["id"] == f"input-{entry['nodeId']}-1"


@pytest.mark.parametrize("app", APPS, ids=lambda app: app.name)
def test_a_default_is_one_of_the_options(app: SandboxApp) -> None:
    """A default that the app itself refuses would make every call without it fail."""
    for entry in app.inputs:
        if entry.type is InputType.SELECT and entry.default is not None:
            assert entry.default in [value for value, _ in entry.options]


def test_all_three_shapes_of_options_occur() -> None:
    """The provider does not publish the shape, so clients must meet each."""
    shapes = {entry.option_shape for app in APPS for entry in app.inputs if entry.options}
    assert shapes == set(OptionShape)


def test_a_summary_tells_the_price() -> None:
    """Magnific API 1.0.0, flow-summary."""
    summary = build_summary(APPS[0])
    assert (summary["sqid"], summary["name"], summary["tool_metadata"]["total_cost"]) == (
        APPS[0].id,
        "Upscale Photo",
        5,
    )
