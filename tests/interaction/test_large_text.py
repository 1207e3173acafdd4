"""Megabytes in place of a word are refused with a sentence, and the next request is answered."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.children import open_child

LONG = "x" * 5_000_000
APP = "sandbox_text_to_picture"


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("run_app", {"app": LONG, "arguments": {}}, "was given 5,000,000 characters"),
        ("run_app", {"app": LONG[:100_000], "arguments": {}}, "There is no app"),
        (APP, {"prompt": LONG}, "was given 5,000,000 characters"),
        (APP, {"prompt": "a lake", LONG: 1}, "is not an argument"),
        (APP, {"prompt": "a lake", **{f"name {n}": n for n in range(50_000)}}, "is not an argument"),
        ("run_batch", {"app": LONG, "rows": [{}]}, "was given 5,000,000 characters"),
        ("run_batch", {"app": APP, "rows": [{"prompt": LONG}]}, "was given 5,000,000 characters"),
        ("run_batch", {"app": APP, "rows": [{}] * 200_000}, "was given 200,000 items"),
        ("get_run", {"run_id": LONG}, "characters"),
        ("find_apps", {"query": LONG}, ""),
    ],
)
def test_megabytes_are_refused_and_nothing_is_started(
    tmp_path: Path, tool: str, arguments: dict[str, Any], words: str
) -> None:
    """The answer's text is a sentence, and no run exists."""
    with open_child(tmp_path) as child:
        child.greet()
        answer = child.ask("tools/call", {"name": tool, "arguments": arguments})
        text = answer["content"][0]["text"]
        assert words in text
        assert len(text) < 5000
        assert child.ask("ping") == {}
        assert child.call("list_runs")["runs"] == []
