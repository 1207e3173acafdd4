"""The MCP bundle as its host sees it: valid, and started by uv in a folder of its own."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.verify.clones import ROOT, build_environment, run
from tests.verify.test_clients import MODULES, find_node

BIN = Path(sys.executable).parent
CONFIGURE = """
import { getMcpConfigForManifest } from "@anthropic-ai/mcpb";
import { readFileSync } from "node:fs";
const [folder, userConfig] = process.argv.slice(2);
const manifest = JSON.parse(readFileSync(`${folder}/manifest.json`, "utf8"));
const options = { manifest, extensionPath: folder, systemDirs: {}, pathSeparator: "/", userConfig: JSON.parse(userConfig) };
console.log(JSON.stringify(await getMcpConfigForManifest(options)));
"""

pytestmark = pytest.mark.skipif(
    not MODULES.is_dir(), reason="the validator is not fetched: `make verify` does it with npm"
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle, built as `make bundle` does."""
    path = tmp_path_factory.mktemp("built") / "flowport.mcpb"
    code = f"from publishing import write_bundle; from pathlib import Path; write_bundle(Path({str(path)!r}))"
    run(sys.executable, "-c", code, cwd=ROOT / "scripts", env=os.environ)
    return path


@pytest.fixture
def unpacked(bundle: Path, tmp_path: Path) -> Path:
    """Return the bundle's folder, as a host unpacks it; its name needs quotes."""
    folder = tmp_path / "Claude Extensions" / "flowport"
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)
    return folder


def configure(folder: Path, user_config: dict[str, str]) -> dict[str, Any]:
    """Return the command that the host makes of the manifest and of what its user typed."""
    script = MODULES.parent / "node_modules" / "configure.mjs"
    script.write_text(CONFIGURE)
    done = run(find_node(), script, folder, json.dumps(user_config), cwd=folder, env=os.environ)
    config: dict[str, Any] = json.loads(done)
    return config


def test_the_bundle_is_valid(bundle: Path, unpacked: Path, tmp_path: Path) -> None:
    """Its own tool accepts the manifest and unpacks the bundle."""
    tool = (find_node(), MODULES / "@anthropic-ai/mcpb/dist/cli/cli.js")

    assert "passes" in run(*tool, "validate", unpacked / "manifest.json", cwd=tmp_path, env=os.environ)
    run(*tool, "unpack", bundle, tmp_path / "again", cwd=tmp_path, env=os.environ)
    assert (tmp_path / "again" / "server" / "main.py").is_file()


def test_keys_reach_the_server_as_its_user_typed_them(unpacked: Path) -> None:
    """What is left out is empty, never the placeholder; each `${…}` is filled in."""
    config = configure(unpacked, {"magnific_api_key": "mk-typed"})

    assert config["env"] == {"MAGNIFIC_API_KEY": "mk-typed", "MAGICA_API_KEY": ""}
    assert str(unpacked) in config["args"]
    assert "${" not in json.dumps(config)


def test_the_bundle_starts_with_the_locked_versions(unpacked: Path, tmp_path: Path) -> None:
    """uv fetches what the lock names, and the server lists the tools of the sandbox without any key."""
    config = configure(unpacked, {})
    home = tmp_path / "home"
    env = build_environment(home, UV_PYTHON=sys.executable, UV_PYTHON_DOWNLOADS="never", **config["env"])
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "verify", "version": "1"}}
    messages = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}},
    ]
    with subprocess.Popen(
        [BIN / config["command"], *config["args"]],
        cwd=tmp_path,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.writelines(json.dumps(message) + "\n" for message in messages)
        process.stdin.flush()
        tools = next(one["result"]["tools"] for one in map(json.loads, process.stdout) if one.get("id") == 2)
        process.stdin.close()

    assert process.returncode == 0
    assert {"run_app", "sandbox_retro_poster"} <= {tool["name"] for tool in tools}
    python = unpacked / ".venv" / "bin" / "python"
    installed = run(BIN / "uv", "pip", "freeze", "--python", python, cwd=tmp_path, env=env)
    locked = re.sub(r"\[.*?\]", "", (ROOT / "requirements.lock").read_text())
    versions = [line for line in installed.splitlines() if "==" in line]
    assert len(versions) > 20
    assert [line for line in versions if not re.search(rf"^{re.escape(line)}\b", locked, re.MULTILINE)] == []
