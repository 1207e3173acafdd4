"""Inputs that a switch makes wrong."""

from tests.fakes.client import Client

SKETCH = "Photo to Pencil Sketch"


async def test_a_wrong_input_is_not_counted(sandbox: Client) -> None:
    """No run is started or counted."""
    assert (await sandbox.run("Text to Picture")).status_code == 422
    assert (await sandbox.http.get("/_sandbox/counts")).json()["runs_accepted"] == 0


async def test_an_expired_link_is_not_an_input(sandbox: Client) -> None:
    """It is the caller's input that is wrong, so the status is 422."""
    run_id = await sandbox.start("Text to Picture", prompt="hills")
    url = (await sandbox.end(run_id))["result"]["images"][0]["url"]
    await sandbox.switch(f"runs/{run_id}", expire_links=True)
    answer = await sandbox.run(SKETCH, photo=url)
    assert (answer.status_code, answer.json()["message"]) == (422, "The link has expired or its token is wrong")
