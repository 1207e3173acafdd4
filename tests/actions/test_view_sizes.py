"""The length of an answer: short, whatever the run returned."""

from dataclasses import replace
from typing import Any

import mcp.types as t
from hypothesis import given, settings
from hypothesis import strategies as st

from flowport.actions.views.run import MAX_SHOWN_OUTPUTS, build_run_answer, format_reminder
from flowport.actions.views.view import MAX_ANSWER_BYTES
from flowport.domain.models import Output, OutputKind, Run, RunState
from flowport.media.previews import MAX_PREVIEWS, MAX_TOGETHER_BYTES, Preview
from flowport.runs.live import RunView
from flowport.server.results import build_result
from flowport.store.records import Reminder
from tests.store.samples import build_run

MAX_ANSWER_WITH_PREVIEWS_BYTES = 150_000
LETTERS = st.sampled_from(["a", '"', "\\", "\n", "é", "\u4e2d", "\U0001f600", "a\u0301", "\x00", "a\n", "\ud83d"])


def build_texts(most: int) -> st.SearchStrategy[str]:
    """Return texts up to a length, short or of a single character that may take many bytes."""
    long = st.builds(lambda letter, count: (letter * count)[:most], LETTERS, st.integers(0, most))
    return st.text(max_size=min(most, 20)) | long


OUTPUTS = st.builds(
    Output,
    n=st.just(1),
    kind=st.sampled_from(OutputKind),
    url=st.none() | st.integers(0, 4076).map(lambda count: f"https://cdn.example/{'u' * count}"),
    mime_type=st.sampled_from(["", "image/png", "application/" + "x" * 100]),
    size_bytes=st.none() | st.integers(0, 10**12),
    width=st.none() | st.integers(1, 10**6),
    duration_seconds=st.none() | st.floats(0, 10**6),
    expires_at=st.none() | st.floats(0, 2e9),
    saved_path=build_texts(1000),
    save_problem=build_texts(300),
    text=build_texts(5000),
)
RUNS = st.builds(
    lambda outputs, count, changes: replace(build_run("run_abc"), outputs=number(outputs, count), **changes),
    st.lists(OUTPUTS, max_size=3),
    st.integers(0, 200),
    st.fixed_dictionaries(
        {
            "state": st.sampled_from(RunState),
            # The problem is stored cleaned and as one line.
            "app_name": st.sampled_from(["Sketch", "\U0001f600" * 80, '"' * 80]),
            "failure": build_texts(3000),
            "start_response": build_texts(2000),
        }
    ),
)
MENTION = Reminder(10**6, tuple(replace(build_run(f"run_{n}"), app_name="\U0001f600" * 80) for n in range(3)))


def number(outputs: list[Output], count: int) -> tuple[Output, ...]:
    """Return a number of outputs, repeating these."""
    return tuple(replace(outputs[n % len(outputs)], n=n + 1) for n in range(count)) if outputs else ()


def count_wire_bytes(answer: t.CallToolResult) -> int:
    """Return the greatest length of an answer on the wire."""
    return len(answer.model_dump_json(by_alias=True).encode(errors="replace"))


def build_longest_previews(count: int) -> list[Preview]:
    """Return previews of the greatest total size."""
    return [Preview("image/jpeg", bytes(MAX_TOGETHER_BYTES // count)) for _ in range(count)]


@settings(max_examples=300)
@given(RUNS, build_texts(3000), st.integers(1, MAX_PREVIEWS))
def test_an_answer_is_short_whatever_the_run_returned(run: Run, problem: str, previews: int) -> None:
    """Clients truncate long answers, and the model loses the rest."""
    view = RunView(run, 34.2, problem=problem, is_joined=True)

    mention = format_reminder(MENTION)
    plain = build_result(build_run_answer(view).add("unseen", mention))
    shown = build_result(build_run_answer(view, build_longest_previews(previews)).add("unseen", mention))

    assert count_wire_bytes(plain) < MAX_ANSWER_BYTES
    assert count_wire_bytes(shown) < MAX_ANSWER_WITH_PREVIEWS_BYTES


@settings(max_examples=200)
@given(RUNS)
def test_the_first_outputs_are_shown_and_the_rest_is_counted(run: Run) -> None:
    """A shortened answer must not look like a complete one."""
    facts: dict[str, Any] = build_run_answer(RunView(run, 1.0)).facts

    shown = facts.get("outputs", [])
    assert [one["n"] for one in shown] == list(range(1, len(shown) + 1))
    assert facts.get("outputs_not_shown", 0) == len(run.outputs) - len(shown)
    is_whole = len(shown) == len(run.outputs) and all(
        one.get("url") == output.url for one, output in zip(shown, run.outputs, strict=True)
    )
    assert is_whole or "flowport://runs/run_abc" in facts["left_out"]


def build_signed(count: int, url_bytes: int) -> RunView:
    """Return a run of saved pictures with long links."""
    url = "https://cdn.example/" + "s" * (url_bytes - 20)
    path = "/home/me/Pictures/Flowport/2026-11-22/sketch-1-a1b2c3d4e5.png"
    output = Output(1, OutputKind.IMAGE, url, mime_type="image/png", size_bytes=10**6, width=1024, saved_path=path)
    return RunView(replace(build_run("run_abc"), state=RunState.SUCCEEDED, outputs=number([output], count)), 3.0)


def test_usual_links_are_shown_completely() -> None:
    """Four pictures with signed links are what most apps return."""
    answer = build_result(build_run_answer(build_signed(4, 600)))

    facts = answer.structured_content or {}
    assert "left_out" not in facts
    assert [str(block.uri)[:8] for block in answer.content if block.type == "resource_link"] == ["https://"] * 4


def test_long_links_are_not_repeated() -> None:
    """The facts give the URL to the model; a link that is read through Flowport opens just as well."""
    answer = build_result(build_run_answer(build_signed(3, 2000)))

    facts = answer.structured_content or {}
    assert [len(one["url"]) for one in facts["outputs"]] == [2000] * 3
    links = [block.uri for block in answer.content if block.type == "resource_link"]
    assert links[-1] == "flowport://runs/run_abc/outputs/3"
    assert "left_out" not in facts


def test_of_very_many_outputs_each_shown_one_has_its_path() -> None:
    """A user who cannot click can still open the saved file."""
    facts = build_run_answer(build_signed(200, 2000)).facts

    assert len(facts["outputs"]) == MAX_SHOWN_OUTPUTS
    assert all(one["saved_path"] and one["resource"] for one in facts["outputs"])
    assert "url" in facts["outputs"][0]
    assert "url" not in facts["outputs"][-1]
    assert facts["left_out"].endswith("flowport://runs/run_abc has all outputs with their links.")


def test_explanations_are_truncated_to_leave_room() -> None:
    """Non-ASCII letters take several bytes each, and the outputs matter more than the explanation."""
    run = replace(
        build_signed(4, 200).run, app_name="S", failure="\U0001f600" * 3000, start_response="\U0001f600" * 3000
    )
    view = RunView(run, 1.0, problem="\U0001f600" * 3000)

    facts = build_run_answer(view).facts
    assert len(facts["failure"]) == len(facts["problem"]) == 80
    assert len(facts["outputs"]) == 4
