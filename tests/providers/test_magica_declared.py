"""What a person declares of workflows, and the sentence for each slip."""

import tomllib
from typing import Any

import pytest

from flowport.domain.errors import ConfigurationError
from flowport.providers.magica import declared as declarations
from flowport.providers.magica.declared import DeclaredInput, DeclaredWorkflow, parse_declarations

FIELD: dict[str, Any] = {"node": "n", "field": "f", "type": "text"}


def test_the_example_of_the_module_declares_one_workflow() -> None:
    """Anyone who copies it gets what it shows."""
    text = (declarations.__doc__ or "").split("\n\n", 1)[1].rpartition("Pure.")[0]
    table = tomllib.loads("\n".join(line.strip() for line in text.splitlines()))
    definition = {"required": False, "type": "text", "label": "Prompt", "default": "a llama on a bike"}
    assert parse_declarations(table["magica_workflows"]) == (
        DeclaredWorkflow(
            "cmonfiheh0000kz04dpoe8cjz",
            (DeclaredInput("node_1777671164161_request", "text_field", definition),),
        ),
    )


def test_every_word_of_an_input_is_kept() -> None:
    """Options with labels, bounds, lists and lengths among them."""
    more = {
        "options": ["a", {"value": "b", "label": "B"}],
        "required": True,
        "list": True,
        "minimum": 0,
        "maximum": 1.5,
        "max_length": 9,
        "max_items": 2,
        "allow_custom": False,
        "default": ["a"],
        "label": "L",
        "description": "D",
        "placeholder": "P",
    }
    (workflow,) = parse_declarations([{"id": " w ", "inputs": [{**FIELD, **more}]}])
    assert workflow.workflow_id == "w"
    assert workflow.inputs[0].definition == {"type": "text", **more}


@pytest.mark.parametrize(("word", "is_on"), [("yes", True), ("OFF", False), (1, True), (0, False), ("true", True)])
@pytest.mark.parametrize("key", ["required", "list", "allow_custom"])
def test_a_switch_of_an_input_takes_the_usual_words(key: str, word: Any, is_on: bool) -> None:
    """As the settings do."""
    (workflow,) = parse_declarations([{"id": "w", "inputs": [{**FIELD, key: word}]}])
    assert workflow.inputs[0].definition[key] is is_on


def test_the_slips_of_all_workflows_are_reported_at_once() -> None:
    """A person corrects the file once."""
    with pytest.raises(ConfigurationError) as caught:
        parse_declarations([{"id": "w", "zzz": 1}, {"id": "v"}, {"name": "u"}])
    assert [line.split(" has ")[0] for line in str(caught.value).splitlines()] == [
        "magica_workflows w",
        "magica_workflows 3",
    ]


def test_a_workflow_without_inputs_takes_none() -> None:
    """That is something to declare."""
    assert parse_declarations([{"id": "w"}]) == (DeclaredWorkflow("w", ()),)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ({}, "magica_workflows is not a list of tables"),
        ([5], "magica_workflows 1 has no id"),
        ([{"id": " "}], "magica_workflows 1 has no id"),
        ([{"id": "w"}, {"id": "w"}], "magica_workflows w is there twice"),
        (
            [{"id": "w", "input": []}],
            "magica_workflows w has a key 'input' that Flowport does not know. Did you mean inputs?",
        ),
        ([{"id": "w", "zzz": []}], "It takes id, inputs."),
        ([{"id": "w", "inputs": {}}], "magica_workflows w has inputs that are no list"),
        ([{"id": "w", "inputs": [5]}], "magica_workflows w, input 1 is not a table"),
        ([{"id": "w", "inputs": [{"node": "n", "type": "text"}]}], "magica_workflows w, input 1 has no field"),
        ([{"id": "w", "inputs": [{**FIELD, "defualt": 1}]}], "Did you mean default?"),
        ([{"id": "w", "inputs": [{**FIELD, "max_items": True}]}], "input 1 has a max_items that cannot be used"),
        ([{"id": "w", "inputs": [{**FIELD, "required": "perhaps"}]}], "input 1 has a required that cannot be used"),
        ([{"id": "w", "inputs": [{**FIELD, "list": 2}]}], "input 1 has a list that cannot be used"),
        ([{"id": "w", "inputs": [{**FIELD, "allow_custom": 0.0}]}], "input 1 has a allow_custom that cannot be used"),
        (
            [{"id": "w", "flowport_max_tools": 5}],
            "holds 'flowport_max_tools'. It is a setting of Flowport: write it above the first [[magica_workflows]].",
        ),
        ([{"id": "w", "inputs": [{**FIELD, "type": "picture"}]}], "input 1 is of type 'picture'. It takes text,"),
    ],
)
def test_a_slip_is_refused_with_its_place(found: Any, sentence: str) -> None:
    """A field that is named wrongly would be left out of runs that cost money."""
    with pytest.raises(ConfigurationError) as caught:
        parse_declarations(found)
    assert sentence in str(caught.value)
