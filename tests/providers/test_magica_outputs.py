"""What runs of Magica hand over: both shapes, every spelling, odd keys, failed nodes, and texts that are no addresses."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowport.domain.models import OutputKind, RunState
from flowport.providers.interface import RunStatus
from flowport.providers.magica.runs import parse_run, read_microcredits
from flowport.providers.result_items import MAX_OUTPUTS, MAX_TEXT

NOW = 1_785_000_000.0
A, B = "https://cdn.x/a.png", "https://cdn.x/b.mp4?sig=1"


def read(status: str = "COMPLETED", **body: Any) -> RunStatus:
    """Return how a run with this body stands."""
    look = parse_run({"status": status, **body}, now=NOW)
    assert look is not None
    return look


def made(**body: Any) -> list[tuple[OutputKind, str]]:
    """Return what a completed run handed over."""
    return [(one.kind, one.url or one.text) for one in read(**body).outputs]


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("QUEUED", RunState.QUEUED),
        ("RUNNING", RunState.RUNNING),
        ("COMPLETED", RunState.SUCCEEDED),
        ("FAILED", RunState.FAILED),
        ("ERROR", RunState.FAILED),
        ("CANCELED", RunState.CANCELLED),
        ("CANCELLED", RunState.CANCELLED),
    ],
)
@pytest.mark.parametrize("spell", [str, str.lower, str.title, lambda word: f" {word} "])
def test_a_state_is_read_in_every_spelling(word: str, state: RunState, spell: Any) -> None:
    """The pages and clients differ in both."""
    assert read(spell(word)).state is state


def test_an_unheard_of_state_counts_as_running() -> None:
    """A run is never given up for a word."""
    assert read("PAUSED\u202e") == RunStatus(RunState.RUNNING, unknown_status="PAUSED")


@pytest.mark.parametrize("key", ["completedAt", "finishedAt", "completed_at"])
def test_an_unlisted_word_is_an_end_when_a_response_or_an_instant_comes_with_it(key: str) -> None:
    """What single nodes have made is not an end: the others may go on."""
    made_one = [{"nodeType": "flux", "status": "COMPLETED", "output": {"result": A}}]
    assert read("ARCHIVED", nodeRuns=made_one).state is RunState.RUNNING
    ended = read("ARCHIVED", nodeRuns=made_one, **{key: "2026-02-25T12:02:00Z"})
    assert (ended.state, [output.url for output in ended.outputs]) == (RunState.SUCCEEDED, [A])
    answered = read("ARCHIVED", response={"result": A})
    assert (answered.state, [output.url for output in answered.outputs]) == (RunState.SUCCEEDED, [A])
    empty = read("ARCHIVED", **{key: "2026-02-25T12:02:00Z"})
    assert (empty.state, empty.outputs, empty.unknown_status) == (RunState.FAILED, (), "ARCHIVED")


@pytest.mark.parametrize("nodes", ["nodes", "nodeRuns"])
@pytest.mark.parametrize("type_key", ["type", "nodeType"])
@pytest.mark.parametrize("key", ["result", "nano_banana_2", "output", "text", "content", "response"])
def test_a_response_node_s_output_is_the_result_under_whatever_key(nodes: str, type_key: str, key: str) -> None:
    """What other nodes made on the way is not."""
    runs = [
        {type_key: "flux", "status": "COMPLETED", "output": {"result": ["https://cdn.x/between.png"]}},
        {type_key: "Response", "status": "COMPLETED", "output": {key: [A, B]}},
    ]
    assert made(**{nodes: runs}) == [(OutputKind.IMAGE, A), (OutputKind.VIDEO, B)]


def test_the_response_of_the_run_goes_before_its_nodes() -> None:
    """As the contract of both shapes has it; a repetition is one output."""
    runs = [{"type": "response", "output": {"result": B}}]
    assert made(response={"n": {"x": [A, A]}, "m": A}, nodes=runs) == [(OutputKind.IMAGE, A)]


def test_without_a_response_everything_but_the_request_is_the_result() -> None:
    """A workflow need not have a response node."""
    runs = [
        {"type": "request", "output": {"photo": A}},
        {"type": "flux", "output": [B]},
        {"type": "gpt_5", "output": "hi"},
    ]
    assert made(nodeRuns=runs) == [(OutputKind.VIDEO, B), (OutputKind.TEXT, "hi")]


@pytest.mark.parametrize(
    "text",
    [
        f"See {A} for more",
        f"{A} {B}",
        f"[a picture]({A})",
        f'<img src="{A}">',
        "ftp://x/y.png",
        "javascript:alert(1)",
        "https://",
        "http://user:word@x/y.png",
        "//cdn.x/a.png",
    ],
)
def test_an_address_inside_a_text_is_text_and_nothing_to_fetch(text: str) -> None:
    """Who writes the text would choose what we fetch."""
    (output,) = read(response={"text": text}).outputs
    assert (output.kind, output.url, output.text) == (OutputKind.TEXT, None, text)


def test_what_is_about_a_result_is_not_a_result() -> None:
    """Ids, types and reasons stand beside it."""
    body = {
        "type": "image",
        "id": "x",
        "model": "m",
        "finishReason": "stop",
        "metadata": {"a": "b"},
        "result": [A, "", 5],
    }
    assert made(response=body) == [(OutputKind.IMAGE, A)]
    assert made(response={"metadata": {"poster": A}}) == [(OutputKind.IMAGE, A)]


def test_a_response_without_files_and_texts_is_kept() -> None:
    """It was paid for; where something was read, numbers beside it are no result."""
    assert read(response={"score": 5}).unread == ('{"score":5}',)
    assert read(response={"score": 5, "result": A}).unread == ()
    assert read(response={}).unread == ()


def test_the_kind_is_by_the_ending_then_by_the_metadata_then_open() -> None:
    """The bytes decide once they are here."""
    plain, bare = "https://cdn.x/1", "https://cdn.x/2"
    body = {"result": [plain, A, bare], "resultMetadata": [{"mediaType": "video"}, {"mediaType": "audio"}, 5]}
    assert made(response=body) == [(OutputKind.VIDEO, plain), (OutputKind.IMAGE, A), (OutputKind.FILE, bare)]


def test_letters_of_other_alphabets_travel_as_codes() -> None:
    """A file may be called what it shows."""
    assert made(response="https://cdn.x/ä.png") == [(OutputKind.IMAGE, "https://cdn.x/%C3%A4.png")]


@pytest.mark.parametrize(
    ("url", "expected"),
    [("https://cdn.x/größe cup.png", "https://cdn.x/gr%C3%B6%C3%9Fe%20cup.png"), ("//cdn.x/a.png", A)],
)
def test_where_an_address_stands_its_flaws_are_corrected(url: str, expected: str) -> None:
    """In a text they would be words."""
    assert made(response={"image": {"url": url}}) == [(OutputKind.IMAGE, expected)]
    assert made(response={"text": url}) == [(OutputKind.TEXT, url)]


@pytest.mark.parametrize("response", ["data:image/png;base64,AAAA", {"result": ["data:image/png;base64,AAAA"]}])
def test_a_file_inside_the_answer_is_an_output(response: object) -> None:
    """It was paid for (runpod-workers/worker-comfyui#232)."""
    (output,) = read(response=response).outputs
    assert (output.kind, output.url, output.link) == (OutputKind.IMAGE, "data:image/png;base64,AAAA", None)
    assert (output.expires_at, output.mime_type) == (None, "")


def test_a_failed_run_names_its_failed_nodes() -> None:
    """Someone has to find the node in the editor."""
    runs = [
        {"type": "flux", "status": "COMPLETED", "output": {"result": A}},
        {"type": "gpt_5", "status": "ERROR", "error": "no such model"},
        {"nodeType": "veo", "status": "failed", "output": {"error": {"message": 'too "long"'}}},
        {"nodeId": "n9", "status": "FAILED"},
        {"status": "FAILED", "userMessage": "Try again", "error": "secret"},
    ]
    look = read("FAILED", nodes=runs)
    assert (look.state, look.outputs) == (RunState.FAILED, ())
    assert look.detail == (
        "node gpt_5 failed: no such model; node veo failed: too 'long'; node n9 failed; node without a name failed: Try again"
    )


def test_many_failed_nodes_are_counted() -> None:
    """A sentence has an end."""
    look = read(
        "FAILED",
        error={"code": "PROVIDER_UNAVAILABLE"},
        nodes=[{"type": f"n{n}", "status": "FAILED"} for n in range(7)],
    )
    assert look.detail.startswith("PROVIDER_UNAVAILABLE; node n0 failed; ")
    assert look.detail.endswith("; and 2 more nodes")


def test_a_completed_run_with_a_failed_node_is_partial() -> None:
    """What it made is here, and what it did not is reported."""
    runs = [{"type": "flux", "status": "COMPLETED", "output": A}, {"type": "veo", "status": "FAILED", "error": "busy"}]
    look = read(nodes=runs)
    assert (look.state, len(look.outputs), look.detail) == (RunState.PARTIAL, 1, "node veo failed: busy")
    assert read(nodes=runs[1:]).state is RunState.FAILED


def test_a_failed_run_that_answers_all_the_same_is_partial() -> None:
    """It is paid for, and nothing that was made is kept back."""
    assert read("FAILED", response={"x": A}).state is RunState.PARTIAL


def test_what_a_run_used_is_reported_in_credits() -> None:
    """By the run, else by its nodes together; else no one knows."""
    assert read(creditUsed=61520).cost_credits == 0.06152
    nodes = [{"type": "a", "creditUsed": 500_000}, {"type": "b", "output": {"creditUsed": 250_000}}, {"type": "c"}]
    assert read("CANCELED", nodes=nodes).cost_credits == 0.75
    assert read(nodes=[{"type": "c"}]).cost_credits is None


def test_a_cost_of_0_is_reported_only_by_the_run_or_by_every_node() -> None:
    """A node that says nothing may have cost something."""
    ends = [{"type": "request"}, {"nodeType": "RESPONSE", "output": {}}]
    free: dict[str, Any] = {"type": "a", "output": {"creditUsed": 0}}
    silent = {"type": "b"}
    assert read(creditUsed=0, nodes=[silent]).cost_credits == 0
    assert read(nodes=[free, {**free, "type": "b"}, *ends]).cost_credits == 0
    assert read(nodes=[free, silent, *ends]).cost_credits is None
    assert (
        read(nodes=[{"type": "request", "creditUsed": 0}, {"type": "response", "creditUsed": 0}]).cost_credits is None
    )


@pytest.mark.parametrize("value", [None, True, "5", -1, 1e30, [], float("inf")])
def test_what_is_not_an_amount_is_ignored(value: Any) -> None:
    """A spending limit must not be filled with nonsense."""
    assert read_microcredits(value) is None


def test_outputs_are_many_long_and_deep_only_so_far() -> None:
    """A hostile run must not fill the record."""
    deep: Any = A
    for _ in range(40):
        deep = [deep]
    assert len(read(response=[f"https://x/{n}.png" for n in range(MAX_OUTPUTS + 5)]).outputs) == MAX_OUTPUTS
    assert len(read(response="x" * (MAX_TEXT + 5)).outputs[0].text) == MAX_TEXT
    assert read(response=deep).outputs == ()


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["result", "resultMetadata", "output", "id", "x"]), inner)
        ),
    )
)
def test_every_file_is_whole_and_numbered(response: Any) -> None:
    """Whatever a workflow answers."""
    outputs = read(response=response).outputs
    assert [one.n for one in outputs] == list(range(1, len(outputs) + 1))
    assert all(one.url is None or one.url.startswith("http") for one in outputs)
