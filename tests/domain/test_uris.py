"""The `flowport://` grammar."""

import pytest

from flowport.domain.uris import Uri, format_app_uri, format_output_uri, format_run_uri, parse_uri

URIS = [
    (format_run_uri("run_ab2"), "flowport://runs/run_ab2", Uri("run_ab2")),
    (format_run_uri("run_ab2", start=21), "flowport://runs/run_ab2?from=21", Uri("run_ab2", start=21)),
    (format_run_uri("batch_ab2"), "flowport://batches/batch_ab2", Uri("batch_ab2", is_batch=True)),
    (
        format_run_uri("batch_ab2", start=3),
        "flowport://batches/batch_ab2?from=3",
        Uri("batch_ab2", is_batch=True, start=3),
    ),
    (format_output_uri("run_ab2", 4), "flowport://runs/run_ab2/outputs/4", Uri("run_ab2", n=4)),
    (format_app_uri("sketch_2"), "flowport://apps/sketch_2", Uri(tool_name="sketch_2")),
]


@pytest.mark.parametrize(("formatted", "text", "uri"), URIS, ids=[text for _, text, _ in URIS])
def test_every_uri_that_is_formatted_can_be_parsed(formatted: str, text: str, uri: Uri) -> None:
    """Answers link only to what can be read."""
    assert (formatted, parse_uri(formatted)) == (text, uri)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "flowport://",
        "flowport://runs/",
        "flowport://runs/RUN_AB2",
        "flowport://runs/run_ab2/",
        "flowport://runs/run_ab2?from=0",
        "flowport://runs/run_ab2?from=1234567",
        "flowport://runs/run_ab2/outputs/0",
        "flowport://batches/batch_ab2/outputs/1",
        "flowport://apps/a b",
        " flowport://runs/run_ab2",
        "https://cdn.example/runs/run_ab2",
    ],
)
def test_what_does_not_follow_the_grammar_names_nothing(text: str) -> None:
    """A resource request is read strictly; only arguments of tools are read leniently."""
    assert parse_uri(text) is None
