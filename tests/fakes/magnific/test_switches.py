"""The switches: what they refuse, and what they report."""

from typing import Any

import pytest

from tests.fakes.client import Client


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "counts"),
        ("POST", "reset"),
        ("POST", "faults"),
        ("POST", "next_run"),
        ("GET", "runs"),
        ("POST", "runs/x"),
        ("GET", "runs/x/end"),
    ],
)
async def test_every_switch_needs_the_key(sandbox: Client, method: str, path: str) -> None:
    """A page in a browser must not be able to turn one."""
    answer = await sandbox.http.request(method, f"/_sandbox/{path}", headers={"x-magnific-api-key": ""})
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("faults", {}, "operation: Field required"),
        ("faults", {"operation": "list", "fault": "status", "size": 1}, "size: Extra inputs are not permitted"),
        ("faults", {"operation": "list", "fault": "drop", "app": "x"}, "app: there is no app 'x'"),
        (
            "faults",
            {"operation": "list", "fault": "drop", "times": 0},
            "times: Input should be greater than or equal to 1",
        ),
        ("next_run", {"hold": "perhaps"}, "hold: Input should be a valid boolean, unable to interpret input"),
    ],
)
async def test_an_unknown_switch_is_a_400_with_a_sentence(
    sandbox: Client, path: str, body: dict[str, Any], message: str
) -> None:
    """A test with a misspelt switch must not pass by accident."""
    answer = await sandbox.http.post(f"/_sandbox/{path}", json=body)
    assert (answer.status_code, answer.json()) == (400, {"message": message})


async def test_a_finished_run_cannot_be_given_another_end(sandbox: Client) -> None:
    """What was reported once stays true."""
    run = await sandbox.finish("Always Fails")
    answer = await sandbox.http.post(f"/_sandbox/runs/{run['run_id']}", json={"release": True})
    assert answer.status_code == 400
    assert run["run_id"] in answer.json()["message"]


@pytest.mark.parametrize(("method", "path"), [("POST", "runs/x"), ("GET", "runs/x/end")])
async def test_the_switches_of_an_unknown_run_are_not_found(sandbox: Client, method: str, path: str) -> None:
    """As the run itself is."""
    assert (await sandbox.http.request(method, f"/_sandbox/{path}", json={})).status_code == 404


async def test_a_reset_forgets_faults_plans_and_counts(sandbox: Client) -> None:
    """Each test begins with a sandbox as new."""
    await sandbox.switch("faults", operation="run", fault="status")
    await sandbox.switch("next_run", status="failed")
    await sandbox.http.get("/v1/ai/flows")
    await sandbox.switch("reset")
    assert (await sandbox.http.get("/_sandbox/counts")).json()["list"] == 0
    assert (await sandbox.finish("Text to Picture", prompt="hills"))["status"] == "completed"


async def test_the_instants_of_runs_are_reported_to_the_fraction(sandbox: Client) -> None:
    """A client whose clock runs fast must know to the tenth of a second when a run was over."""
    over = await sandbox.finish("Always Fails")
    await sandbox.switch("next_run", hold=True)
    held = await sandbox.start("Always Fails")
    reported = (await sandbox.http.get("/_sandbox/runs")).json()["runs"]

    assert list(reported) == [over["run_id"], held]
    assert reported[over["run_id"]]["started_at"] < reported[over["run_id"]]["completed_at"]
    assert reported[held]["completed_at"] is None
