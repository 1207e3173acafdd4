"""Compare the tool list with its reviewed snapshots, because it is the product."""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.client import open_sandbox
from tests.support.harness import Harness, open_harness

FOLDER = Path(__file__).parent / "snapshots"
ACCEPT = "ACCEPT_SNAPSHOTS"


@pytest.fixture
async def flowport(tmp_path: Path) -> AsyncIterator[Harness]:
    """Run Flowport on the sandbox."""
    async with open_sandbox() as sandbox, open_harness(sandbox, tmp_path / "person") as harness:
        yield harness


async def test_every_tool_is_as_it_was_reviewed(flowport: Harness) -> None:
    """`ACCEPT_SNAPSHOTS=1 pytest tests/test_snapshots.py` accepts a difference, which then shows in review."""
    tools = {
        tool.name: tool.model_dump(by_alias=True, exclude_none=True, mode="json")
        for tool in (await flowport.client.list_tools()).tools
    }
    texts = {f"{name}.json": json.dumps(tool, indent=2, ensure_ascii=False) + "\n" for name, tool in tools.items()}
    if os.environ.get(ACCEPT):
        for path in FOLDER.glob("*.json"):
            path.unlink()
        for name, text in texts.items():
            (FOLDER / name).write_text(text, encoding="utf-8")

    assert {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")} == texts
