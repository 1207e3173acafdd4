"""Apps in the provider's JSON, in each form of its API."""

from dataclasses import replace
from typing import Any

import pytest

from flowport.sandbox.apps import APPS, OptionShape, SandboxApp
from tests.fakes.magnific.describing import build_definition, build_own_summary, build_summary
from tests.fakes.magnific.dialect import PLAIN, Dialect, Family

POSTER = next(app for app in APPS if app.name == "Retro Poster")


def describe(dialect: Dialect = PLAIN, family: Family = Family.FLOWS) -> dict[str, dict[str, Any]]:
    """Return the inputs of an app with a picture, a text and a select, by label."""
    return {entry["label"]: entry for entry in build_definition(POSTER, dialect, family)["inputs"]}


@pytest.mark.parametrize("app", APPS, ids=lambda app: app.name)
def test_every_input_has_the_fields_of_the_contract(app: SandboxApp) -> None:
    """Magnific API 1.0.0, input-definition."""
    fields = {"id", "api_key", "key", "type", "label", "config", "nodeId", "default", "required", "presentation"}
    for entry in build_definition(app)["inputs"]:
        assert set(entry) == fields
        assert entry["id"] == f"input-{entry['nodeId']}-1"


def test_a_summary_reports_the_price() -> None:
    """Magnific API 1.0.0, flow-summary."""
    summary = build_summary(APPS[0])
    assert (summary["sqid"], summary["name"], summary["tool_metadata"]["total_cost"]) == (
        APPS[0].id,
        "Upscale Photo",
        5,
    )


def test_a_list_may_report_names_alone() -> None:
    """A live list was seen with ids and names only."""
    bare = replace(PLAIN, has_tool_metadata=False)
    assert build_summary(POSTER, bare) == build_own_summary(POSTER)
    assert set(build_definition(POSTER, bare)) == {"sqid", "name", "inputs"}


@pytest.mark.parametrize(
    ("dialect", "family", "keys"),
    [
        (PLAIN, Family.FLOWS, {"api_key", "key"}),
        (PLAIN, Family.APPS, {"key"}),
        (replace(PLAIN, has_key=False), Family.FLOWS, {"api_key"}),
        (replace(PLAIN, has_key=False, has_api_key=False), Family.FLOWS, set()),
        (replace(PLAIN, has_api_key=True), Family.APPS, {"api_key", "key"}),
    ],
)
def test_an_input_carries_the_keys_of_its_time(dialect: Dialect, family: Family, keys: set[str]) -> None:
    """`api_key` came with the flows, and the live service has dropped `key`; `id` was always there."""
    for entry in describe(dialect, family).values():
        assert set(entry) & {"id", "api_key", "key"} == keys | {"id"}


@pytest.mark.parametrize(
    ("shape", "config"),
    [
        (OptionShape.STRINGS, {"options": ["sunset", "harbour", "forest", "berry"]}),
        (OptionShape.CHOICES, {"choices": ["sunset", "harbour", "forest", "berry"]}),
        (OptionShape.NONE, None),
    ],
)
def test_every_select_can_write_its_options_in_each_shape(shape: OptionShape, config: object) -> None:
    """The provider does not publish the shape, so clients must meet each."""
    assert describe(replace(PLAIN, option_shape=shape))["Palette"]["config"] == config


def test_a_select_writes_its_options_in_its_own_shape_unless_reported() -> None:
    """The documented API needs no switch to show them all."""
    assert describe()["Palette"]["config"]["options"][0] == {"value": "sunset", "label": "Sunset"}
    assert {entry.option_shape for app in APPS for entry in app.inputs if entry.options} == set(OptionShape) - {
        OptionShape.NONE
    }


def test_the_older_family_shows_a_media_type_on_texts() -> None:
    """The example of get-app has it so, and a client that infers a type from it is wrong."""
    assert describe(PLAIN, Family.APPS)["Title"]["config"] == {"mediaType": "image"}
    assert describe()["Title"]["config"] is None
