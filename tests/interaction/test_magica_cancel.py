"""Cancelling at Magica: by a configured path, by its MCP server, or not today."""

from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from flowport.domain.models import RunState
from flowport.providers.registry import ProviderSettings
from tests.actions.test_tool_calls import cancel_when
from tests.fakes.magica.client import MAGICA_KEY, MagicaClient
from tests.providers.contract.worlds import get_run, wait_until_there
from tests.support.harness import Harness, open_harness
from tests.support.magica_face import MAGICA, PROMPT


async def hold_run(face: MagicaClient, flowport: Harness) -> str:
    """Start a run that continues until it is ended, and return its id."""
    await face.sandbox.switch("next_run", hold=True, pending_seconds=0)
    run_id: str = (await flowport.ask("text_to_picture", **PROMPT))["run_id"]
    await wait_until_there(flowport, run_id)
    return run_id


@pytest.mark.parametrize("has_path", [True, False])
async def test_a_configured_path_cancels(face: MagicaClient, tmp_path: Path, has_path: bool) -> None:
    """The configured path is used if it exists, otherwise the MCP server."""
    await face.switch(has_cancel=has_path, missing_tools=["cancel_run"] if has_path else [])
    url = f"{face.sandbox.addresses.api_url}/magica"
    settings = ProviderSettings(
        "magica",
        url,
        MAGICA_KEY,
        {"file_origins": frozenset({face.sandbox.addresses.files_url}), "cancel_path": "/v1/runs/{run_id}/cancel"},
    )
    async with open_harness(face.sandbox, tmp_path / "person", providers=(settings,), wait_seconds=0.3) as flowport:
        run_id = await hold_run(face, flowport)
        assert (await flowport.ask("cancel_run", run_id=run_id))["state"] == "cancelled"
        assert (await get_run(flowport, run_id)).state is RunState.CANCELLED


@pytest.mark.parametrize("form", [{"missing_tools": ["cancel_run"]}, {"has_mcp": False}], ids=str)
async def test_a_run_that_cannot_be_cancelled_today_continues(
    face: MagicaClient, tmp_path: Path, form: dict[str, Any]
) -> None:
    """The answer claims neither that nothing more is charged nor that the run does not exist."""
    await face.switch(**form)
    async with MAGICA.open(face.sandbox, tmp_path / "person", wait_seconds=0.3) as flowport:
        run_id = await hold_run(face, flowport)
        answer = await flowport.call("cancel_run", run_id=run_id)
        run = await get_run(flowport, run_id)
        unfollowed = await flowport.ask("cancel_run", run_id=run_id, stop_following=True)
    assert (answer.is_error, run.state.is_final, unfollowed["outcome"]) == (True, False, "unfollowed")
    server = "Magica's MCP server, by which runs are cancelled,"
    why = f"{server} {'has no tool for it that could be used' if 'missing_tools' in form else 'does not answer'}"
    assert f"{why}, so nothing was cancelled: the run goes on there and is charged." in str(answer)
    assert "no such run" not in str(answer)


async def test_the_run_of_a_disconnected_caller_is_cancelled_at_the_provider(
    face: MagicaClient, tmp_path: Path
) -> None:
    """`FLOWPORT_ON_CANCEL=stop` also stops sent runs, where the provider can cancel."""
    await face.sandbox.switch("next_run", hold=True, pending_seconds=0)
    async with MAGICA.open(face.sandbox, tmp_path / "person", should_stop_on_cancel=True) as flowport:
        await flowport.client.list_tools()
        await cancel_when(flowport, "running")
        (row,) = (await flowport.ask("list_runs"))["runs"]
        with anyio.fail_after(60):
            while (await get_run(flowport, row["run_id"])).state is not RunState.CANCELLED:
                await anyio.lowlevel.checkpoint()
    assert (await face.count())["cancel"] == 1
