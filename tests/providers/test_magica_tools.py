"""When a tool of Magica's MCP server may be called, and what is read of its answers."""

from typing import Any

import pytest

from flowport.providers.magica.mcp_tools import find_address, has_started, starts_nothing_without_values


@pytest.mark.parametrize(
    "description",
    [
        "Called without `values` it does not start anything: it returns the field names, types and defaults.",
        "Start a run. Omit values for a dry run.",
        "Starts a run of a workflow.\n\nIf `values` is omitted, nothing is started and the fields are returned.",
        "Without values, returns the fields without starting a run.",
        "With no values it doesn\u2019t actually start; it lists the fields.",
        "When values are left out no run is created.",
        "Leave out values: the tool starts nothing.",
        "Start a run. When called without values, returns the Request Node fields instead of starting the run.",
        "If values are omitted the tool does not launch anything.",
        "Called without `values`, it returns the fields rather than starting a run.",
        "If you don't pass values, the tool lists the request node's fields instead of executing the workflow.",
        "Instead of starting the run, returns its fields when values is omitted.",
        "When values is not provided, the fields are returned instead of starting a run.",
        "Omit values to get the fields instead of running the workflow.",
        "If values are missing, describes the inputs in place of starting it.",
        "Unless values are given, the tool returns the fields instead of starting the run.",
        "Without values: returns the fields rather than actually starting any run, so you can fill them in.",
        "When values is absent the field list is shown instead of starting the workflow.",
        "If values is not set, nothing is started.",
    ],
)
def test_a_description_that_says_it_is_believed(description: str) -> None:
    """Asking is free then."""
    assert starts_nothing_without_values(description)


@pytest.mark.parametrize(
    "description",
    [
        "",
        "Start a run.",
        "Start a run. Values are optional.",
        "Without values the run starts with its saved defaults.",
        "Values that are not given start as they were saved.",
        "Without values, start the run with the saved ones.",
        "Does not start anything. Values may be empty strings to run with defaults.",
        "Omit values to use the defaults. Nothing else is needed to start a run.",
        "No values are needed to start.",
        "Without values, starts the run with saved defaults instead of returning the fields.",
        "Called without values it still starts the run, rather than failing.",
        "Without values it starts the run instead of starting a wizard.",
        "Without values, returns a link instead of starting a wizard.",
        "Without values, does not return the fields instead of starting the run.",
        "Without values it never returns fields rather than starting the run.",
        "Without values, the run is started rather than returning fields.",
        "Without values, runs the workflow with defaults and returns its id instead of starting a new run.",
        "Called without values, queues the run and returns instead of starting the run.",
        "Without values, returns the run id instead of starting the run twice.",
        "Without values the run resumes instead of starting.",
        "Without values, will run with defaults and return the result instead of starting the run.",
        "Returns the fields instead of starting the run. Values are optional.",
        "With preview, returns the fields instead of starting the run. Without values the run uses defaults.",
        "Values must not be set for runs that are not started yet.",
        "Does not start a second run when called without values twice.",
        "Called without values, it does not run the workflow again.",
        "Without values it never launches another run.",
        "When values are given, returns the run instead of starting it.",
    ],
)
def test_a_description_that_leaves_it_open_is_not(description: str) -> None:
    """A wrong guess costs money."""
    assert not starts_nothing_without_values(description)


@pytest.mark.parametrize(
    ("body", "address"),
    [
        ({"url": "https://a/b.png"}, "https://a/b.png"),
        ({"file": {"publicUrl": "https://a/b.png"}}, "https://a/b.png"),
        ({"text": "https://a/b.png"}, "https://a/b.png"),
        ({"thumbnail": "https://a/t.png", "url": "https://a/b.png"}, "https://a/b.png"),
        (["https://a/b.png"], "https://a/b.png"),
        ({"text": "It is at https://a/b.png"}, ""),
        ({"url": "http://a b"}, ""),
        ({"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"url": "https://a"}}}}}}}}}}, ""),
        (5, ""),
    ],
)
def test_the_address_of_an_upload_is_found(body: Any, address: str) -> None:
    """The page promises one and shows no answer."""
    assert find_address(body) == address


@pytest.mark.parametrize(
    ("body", "is_so"), [({"runId": "r"}, True), ({"run": {"run_id": "r"}}, True), ({"runId": None}, False), ({}, False)]
)
def test_a_run_in_an_answer_means_that_one_was_started(body: Any, is_so: bool) -> None:
    """Whatever the description promised."""
    assert has_started(body) is is_so
