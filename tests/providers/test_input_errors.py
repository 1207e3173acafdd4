"""What providers find wrong with single inputs: every reason with its input, by our name for it where we have one."""

from typing import Any

import pytest

from flowport.domain.errors import Operation, ProviderRejected
from flowport.providers.answers import find_name, format_flaws, name_inputs, parse_flaws
from flowport.providers.interface import NotTaken
from flowport.providers.magica.answers import READER
from tests.providers.magnific_samples import MAGNIFIC, answer

NAMES = {
    "image": "photo",
    "input-4050c3f3-1": "photo",
    "text_prompt": "prompt",
    "node_1/text%5Ffield": "title",
    "style": "style",
}


def refuse(body: Any) -> ProviderRejected:
    """Return what a refused start of Magnific's says."""
    outcome = MAGNIFIC.parse_start(answer(body, 400))
    assert isinstance(outcome, NotTaken)
    assert isinstance(outcome.error, ProviderRejected)
    return outcome.error


@pytest.mark.parametrize("key", ["name", "field"])
@pytest.mark.parametrize(
    "place", ["inputs.image", "image", "inputs[image]", "/inputs/image", "inputs.image.0", 'inputs["image"]']
)
@pytest.mark.parametrize("is_nested", [False, True])
def test_each_reason_comes_with_its_input_by_our_name(key: str, place: str, is_nested: bool) -> None:
    """ "Validation error is required" helps no one; the name is in one member or the other."""
    flaws = [{key: place, "reason": "is required"}, {key: "inputs.text_prompt", "reason": "Too long"}]
    problem = {"message": "Validation error", "invalid_params": flaws}
    error = refuse({"problem": problem} if is_nested else problem)
    assert name_inputs(error, NAMES).detail == "Validation error; photo is required; prompt: Too long"


TABLES = [
    {"errors": {"inputs.image": ["is required"], "inputs.text_prompt": ["Too long", "is odd"]}},
    {"errors": {"inputs.image": "is required", "text_prompt": ["Too long", "is odd"]}},
    {"invalid_params": {"image": ["is required"], "text_prompt": ["Too long", "is odd"]}},
    {"details": [{"path": ["inputs", "image"], "message": "is required"}], "errors": "x"},
    {"violations": [{"property": "image", "message": "is required"}]},
]


@pytest.mark.parametrize("table", TABLES)
def test_reasons_by_input_are_read_where_frameworks_put_them(table: dict[str, Any]) -> None:
    """The body of a 422 is published nowhere, and a table of reasons by input is what frameworks answer by themselves."""
    rest = "; prompt: Too long; prompt is odd" if "text_prompt" in str(table) else ""
    error = name_inputs(refuse({"message": "Validation error", **table}), NAMES)
    assert error.detail == f"Validation error; photo is required{rest}"
    magica = READER.build_refusal(answer({"message": "Validation error", **table}, 400), Operation.START_RUN)
    assert isinstance(magica, ProviderRejected)
    if "violations" not in table:
        assert name_inputs(magica, NAMES).detail == error.detail


def test_a_reason_that_opens_the_answer_too_is_reported_once_and_by_our_name() -> None:
    """A framework's sentence names the input as it is called in the request."""
    sentence = "The inputs.image field is required."
    error = refuse({"message": sentence, "errors": {"inputs.image": [sentence]}})
    assert name_inputs(error, NAMES).detail == "The photo field is required."
    assert error.detail == sentence


def test_without_a_name_of_ours_the_provider_s_is_reported_without_its_place() -> None:
    """It is still more than nothing."""
    error = refuse(
        {"message": "Validation error", "invalid_params": [{"name": "inputs.image", "reason": "is required"}]}
    )
    assert error.detail == "Validation error; image is required"
    assert str(name_inputs(error, {})) == str(error)


@pytest.mark.parametrize(
    ("items", "detail"),
    [
        (
            [{"name": "page", "reason": "Parameter 'page' must be greater than 0"}],
            "Parameter 'page' must be greater than 0",
        ),
        ([{"name": "n", "reason": "must not be 0"}], "n must not be 0"),
        ([{"reason": "too long"}], "too long"),
        ([{"name": "inputs", "reason": "is empty"}], "inputs is empty"),
        ([{"name": 5, "field": "a", "reason": "is odd"}], "a is odd"),
        ([{"name": "a", "reason": 5, "message": "is odd"}], "a is odd"),
        ([{"path": ["values", "node_1", "a"], "message": "Required"}], "values.node_1.a: Required"),
        ([{"name": 'a". Ignore "', "reason": "is odd"}], "a.Ignore is odd"),
        ([{"name": "a\u202eb", "reason": "is\n\nodd"}], "ab is odd"),
        ([{"name": "x" * 500, "reason": "is odd"}], "x" * 59 + "… is odd"),
        ([{"name": "a", "reason": "is odd"}] * 3, "a is odd"),
        ([None, 5, "x", {}, {"name": "a"}, {"reason": " "}], ""),
        ({"name": "a", "reason": "is odd"}, ""),
    ],
)
def test_whatever_stands_there_is_read_as_far_as_it_goes(items: Any, detail: str) -> None:
    """A provider's words are data: odd members are left out, marks that would leave the quotation change."""
    assert format_flaws("", parse_flaws(items)) == detail


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("input-4050c3f3-1", "photo"),
        ("inputs.input-4050c3f3-1", "photo"),
        ("values.node_1.text%5Ffield", "title"),
        ("node_1", ""),
        ("inputs.images", ""),
        ("inputs", ""),
        ("", ""),
        ("image.style", "photo"),
    ],
)
def test_a_place_is_matched_by_whole_segments(place: str, name: str) -> None:
    """A part of a name is another name."""
    assert find_name(place, NAMES) == name


def test_magica_s_flaws_are_named_alike() -> None:
    """Its paths name the node and the field."""
    body = {
        "message": "Invalid input",
        "issues": [{"path": ["values", "node_1", "text_field"], "message": "must be text"}],
    }
    error = READER.build_refusal(answer(body, 400), Operation.START_RUN)
    assert isinstance(error, ProviderRejected)
    assert error.detail == "Invalid input; values.node_1.text_field must be text"
    assert name_inputs(error, {"node_1/text_field": "title"}).detail == "Invalid input; title must be text"
