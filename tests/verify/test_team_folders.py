"""A process of a team with folders of its own is named, with real processes."""

import json
import subprocess
from functools import partial
from pathlib import Path

import anyio.to_thread

from tests.support.cluster import Team
from tests.verify.test_replica_operations import FLOWPORT, provider, read_logs, team, wait_until

__all__ = ["provider", "team"]


def diagnose(team: Team) -> list[dict[str, str]]:
    """Return what the doctor finds; a fault makes it fail."""
    command = [str(FLOWPORT), "doctor", "--json"]
    done = subprocess.run(command, env=dict(team.environment), check=False, capture_output=True, text=True)
    found: list[dict[str, str]] = json.loads(done.stdout)["findings"]
    return found


async def test_a_process_with_a_home_of_its_own_is_named_by_doctor_log_and_readiness(
    team: Team, tmp_path: Path
) -> None:
    """Uploads that it receives would be missing at the others."""
    (tmp_path / "other").mkdir(mode=0o700)
    await anyio.to_thread.run_sync(partial(team.replicas[1].replace, FLOWPORT_HOME=str(tmp_path / "other")))
    await wait_until(lambda: "other folders" in team.replicas[0].ask("/readyz")[1])
    findings = await anyio.to_thread.run_sync(diagnose, team)
    assert [one["name"] for one in findings if one["level"] == "fault"] == ["folders of the team"]
    await anyio.to_thread.run_sync(partial(team.replicas[1].replace, FLOWPORT_HOME=str(team.home)))
    await wait_until(lambda: all(json.loads(one.ask("/readyz")[1]) == {"status": "ready"} for one in team.replicas))
    assert "has another FLOWPORT_HOME" in read_logs(team)["worker-1"]
