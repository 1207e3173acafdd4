"""The script that runs the team server on one computer without containers."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests.verify.clones import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
from local_postgres import MISSING, find_programs
from loopback import build_context, find_proxy, run_server

from tests.support.patience import PATIENCE_SECONDS


@pytest.mark.parametrize("kind", ["nginx", "caddy"])
@pytest.mark.parametrize("way", [["--single"], []], ids=["single", "replicas"])
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT], ids=str)
def test_it_serves_over_tls_and_ends_what_it_started(
    kind: str, end: signal.Signals, way: list[str], tmp_path: Path
) -> None:
    """What it prints is true, and after its end no process of it is left and its ports are closed."""
    if not way and find_programs() is None:
        pytest.skip(MISSING)
    if find_proxy(kind) is None:
        pytest.skip(f"{kind} is not installed: `apt-get install {kind}` provides it")
    script_path = str(ROOT / "scripts/loopback.py")
    command = [sys.executable, script_path, "--proxy", kind, "--port", "0", "--folder", str(tmp_path), *way]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as script:
        assert script.stdout is not None
        lines = [script.stdout.readline() for _ in range(6)]
        printed = {line[:16].strip(): line[16:].strip() for line in lines[1:]}
        url = printed["MCP endpoint"].removesuffix("/mcp")
        with httpx2.Client(verify=build_context(Path(printed["certificate"])), trust_env=False, timeout=60) as http:
            health = http.get(f"{url}/healthz")
            runs = http.get(f"{url}/gallery/api/runs", headers={"Authorization": f"Bearer {printed['token']}"})
            unknown = http.get(f"{url}/gallery/api/runs")
        script.send_signal(end)
        assert script.wait(timeout=60) == 0

    assert [health.status_code, runs.status_code, unknown.status_code] == [200, 200, 401]
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(url, trust_env=False, timeout=PATIENCE_SECONDS)
    if sys.platform != "win32":
        with pytest.raises(ProcessLookupError):
            os.killpg(script.pid, 0)


def test_a_kept_folder_is_served_again_and_never_at_a_port_in_use(tmp_path: Path) -> None:
    """The second start makes another token; at the port of the first it says what to change."""
    if (kind := next(filter(find_proxy, ("nginx", "caddy")), None)) is None:
        pytest.skip("neither nginx nor Caddy is installed: `apt-get install nginx` provides one")
    with run_server(tmp_path / "kept", kind=kind) as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(RuntimeError, match=f"Port {port} cannot be used"), run_server(tmp_path / "x", port=port):
            pass
    with run_server(tmp_path / "kept", kind=kind) as again:
        assert again.token != first.token
        url = f"{again.url}/gallery/api/runs"
        with httpx2.Client(verify=build_context(again.certificate), trust_env=False, timeout=60) as http:
            codes = [
                http.get(url, headers={"Authorization": f"Bearer {token}"}).status_code
                for token in (first.token, again.token)
            ]

    assert codes == [401, 200]
