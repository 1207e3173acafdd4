"""The sandbox's flows answers, and our requests, against the schemas of the official document."""

from typing import Any

import pytest

from flowport.sandbox.apps import APPS
from tests.fakes.client import Client, build_photo, encode
from tests.sandbox.official_schemas import (
    GET_FLOW_RUN_200,
    RUN_FLOW_202,
)
from tests.sandbox.test_official_schemas import check, check_definition

ENDS = ["completed", "completed_with_errors", "failed", "cancelled"]


@pytest.mark.parametrize("app", APPS, ids=[app.name for app in APPS])
async def test_each_definition_is_as_documented(sandbox: Client, app: Any) -> None:
    """get-flow. Lists of texts were seen live and are not in the document; `key` is, and is no longer sent."""
    await sandbox.switch("dialect", key=True)
    await check_definition(sandbox, app)


@pytest.mark.parametrize("status", ENDS)
async def test_a_run_is_as_documented_in_each_of_its_states(sandbox: Client, status: str) -> None:
    """run-flow and get-flow-run."""
    await sandbox.switch("next_run", hold=True, pending_seconds=3600)
    answer = await sandbox.run("Photo to Pencil Sketch", photo=encode(build_photo()))
    check(answer.json(), RUN_FLOW_202)
    run_id = answer.json()["workflow_run_identifier"]
    check({"data": await sandbox.read(run_id)}, GET_FLOW_RUN_200)
    await sandbox.switch(f"runs/{run_id}", status=status)
    ended = await sandbox.end(run_id)
    check({"data": ended}, GET_FLOW_RUN_200)
    assert ended["status"] == status
