"""Cancelling runs and reading many at once: two paths of which little is known, and off unless asked for."""

import pytest

from tests.fakes.magica.client import MagicaClient

PICTURE = "Text to Picture"


async def test_paths_of_which_little_is_known_are_not_there_unless_asked_for(magica: MagicaClient) -> None:
    """A client must not count on them."""
    run_id = await magica.start(PICTURE, prompt="hills")
    assert (await magica.ask("POST", f"/v1/runs/{run_id}/cancel")).status_code == 404
    assert (await magica.ask("POST", "/v1/runs/batch", json={"ids": [run_id]})).status_code == 404


@pytest.mark.parametrize(("plan", "left"), [({"pending_seconds": 3000}, 1_000_000_000), ({"hold": True}, 999_000_000)])
async def test_a_cancelled_run_refunds_what_it_had_not_used(
    magica: MagicaClient, plan: dict[str, object], left: int
) -> None:
    """All of the estimate while it waits, half of it while it runs."""
    await magica.switch(has_cancel=True)
    await magica.post("/_sandbox/next_run", plan)
    run_id = await magica.start(PICTURE, prompt="hills")
    while "hold" in plan and (await magica.get(f"/v1/runs/{run_id}"))["status"] == "QUEUED":
        pass
    assert (await magica.get("/v1/credits/balance"))["availableBalance"] == 998_000_000
    assert await magica.post(f"/v1/runs/{run_id}/cancel", {}) == {"runId": run_id, "status": "CANCELED"}
    run = await magica.get(f"/v1/runs/{run_id}", inDetails="true")
    assert (run["status"], run["creditUsed"]) == ("CANCELED", 1_000_000_000 - left)
    assert (await magica.get("/v1/credits/balance"))["availableBalance"] == left
    assert (await magica.count())["cancel"] == 1


async def test_a_run_that_is_over_cannot_be_cancelled(magica: MagicaClient) -> None:
    """Nor one that is not there, nor someone else's."""
    await magica.switch(has_cancel=True, keys=["gx_other"])
    run_id = await magica.start(PICTURE, prompt="hills")
    await magica.sandbox.end(run_id)
    over = await magica.ask("POST", f"/v1/runs/{run_id}/cancel")
    assert (over.status_code, over.json()["code"]) == (400, "RUN_NOT_CANCELABLE")
    assert (await magica.ask("POST", "/v1/runs/x/cancel")).status_code == 404
    other = MagicaClient(magica.sandbox, "gx_other")
    assert (await other.ask("POST", f"/v1/runs/{run_id}/cancel")).status_code == 404


async def test_several_runs_are_read_at_once(magica: MagicaClient) -> None:
    """Those that are not found are left out."""
    await magica.switch(has_batch=True)
    ids = [await magica.start(PICTURE, prompt="hills") for _ in range(2)]
    found = await magica.post("/v1/runs/batch", {"ids": [*ids, "x"]})
    assert [run["id"] for run in found["runs"]] == ids
    assert (await magica.count())["status_batch"] == 1


@pytest.mark.parametrize("ids", [None, [], ["x"] * 101, "x"])
async def test_a_batch_names_one_to_a_hundred_runs(magica: MagicaClient, ids: object) -> None:
    """The least is documented, the most is assumed."""
    await magica.switch(has_batch=True)
    assert (await magica.ask("POST", "/v1/runs/batch", json={"ids": ids})).status_code == 400


async def test_a_reset_forgets_what_was_spent(magica: MagicaClient) -> None:
    """A test leaves nothing for the next one."""
    await magica.start(PICTURE, prompt="hills")
    await magica.post("/_sandbox/reset", {})
    assert (await magica.get("/v1/credits/balance"))["availableBalance"] == 1_000_000_000
