"""The life of a run, over real HTTP."""

import pytest

from tests.fakes.client import build_photo, encode
from tests.sandbox.client import Client, open_sandbox

FIELDS = {"run_id", "status", "app_id", "started_at", "completed_at", "error_message", "result"}
ITEM_FIELDS = {"id", "url", "tool", "duration", "width", "height", "created_at"}


async def test_a_completed_run_has_items_with_all_their_fields(sandbox: Client) -> None:
    """Magnific API 1.0.0, webhook-result-item."""
    run = await sandbox.finish("Text to Picture", prompt="hills", shape="wide")
    (item,) = run["result"]["images"]
    assert (set(run["result"]), set(item)) == ({"images", "videos", "audios"}, ITEM_FIELDS)
    assert (item["width"], item["height"], item["duration"]) == (1024, 576, None)
    assert run["started_at"].endswith("+00:00")
    assert run["started_at"] <= run["completed_at"]


async def test_many_runs_at_once_all_end(sandbox: Client) -> None:
    """They share two threads and the loop stays free."""
    ids = [await sandbox.start("Photo to Pencil Sketch", photo=encode(build_photo())) for _ in range(12)]
    assert [(await sandbox.end(run_id))["status"] for run_id in ids] == ["completed"] * 12


async def test_a_pending_run_has_not_started() -> None:
    """Magnific API 1.0.0, get-run: all seven fields, `started_at` null."""
    async with open_sandbox(speed=1000) as sandbox:
        run = await sandbox.read(await sandbox.start("Text to Picture", prompt="hills"))
    assert set(run) == FIELDS
    assert (run["status"], run["started_at"], run["result"]) == ("pending", None, None)


async def test_a_broken_engine_fails_the_run_alone(
    sandbox: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours reaches neither the other runs nor the client as a text."""

    def break_down(*_: object) -> None:
        """Stand for a fault of the engine."""
        raise ZeroDivisionError("secret")

    with monkeypatch.context() as patch:
        patch.setattr("flowport.sandbox.pictures.draw_landscape", break_down)
        run = await sandbox.finish("Text to Picture", prompt="a fault")
    assert (run["status"], run["error_message"]) == ("failed", "Node 'engine' failed: internal error")
    assert run["run_id"] in caplog.text
    assert (await sandbox.finish("Text to Picture", prompt="no fault"))["status"] == "completed"
