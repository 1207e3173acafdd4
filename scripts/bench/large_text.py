"""The delay of a ping behind calls that contain megabytes of text in place of a word."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from figures import Figure
from wire import Conversation, build_environment, exchange, greet

SIZE_CHARACTERS: Final = 5_000_000
MAX_SECONDS: Final = 0.5
APP: Final = "sandbox_text_to_picture"
_LONG: Final = "a b" * (SIZE_CHARACTERS // 3)
_LETTERS: Final = "x" * SIZE_CHARACTERS
_ACCENTS: Final = "e\N{COMBINING ACUTE ACCENT} " * (SIZE_CHARACTERS // 3)

CALLS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    f"{what}, {kind}": (method, params)
    for kind, text in {"words": _LONG, "letters": _LETTERS, "accents": _ACCENTS}.items()
    for what, method, params in (
        ("run_app: app", "tools/call", {"name": "run_app", "arguments": {"app": text, "arguments": {}}}),
        ("an app: text", "tools/call", {"name": APP, "arguments": {"prompt": text}}),
        ("an app: option", "tools/call", {"name": APP, "arguments": {"prompt": "a lake", "mood": text}}),
        ("an app: name of an argument", "tools/call", {"name": APP, "arguments": {"prompt": "a lake", text: 1}}),
        ("an app: number", "tools/call", {"name": APP, "arguments": {"prompt": "a lake", "width": text}}),
        ("an app: picture", "tools/call", {"name": "sandbox_retro_poster", "arguments": {"photo": text}}),
        ("run_batch: app", "tools/call", {"name": "run_batch", "arguments": {"app": text, "rows": [{}]}}),
        ("run_batch: row", "tools/call", {"name": "run_batch", "arguments": {"app": APP, "rows": [{"prompt": text}]}}),
        ("get_run: id", "tools/call", {"name": "get_run", "arguments": {"run_id": text}}),
        ("cancel_run: id", "tools/call", {"name": "cancel_run", "arguments": {"run_id": text}}),
        ("list_runs: state", "tools/call", {"name": "list_runs", "arguments": {"state": text}}),
        ("find_apps: words", "tools/call", {"name": "find_apps", "arguments": {"query": text}}),
        ("find_apps: app", "tools/call", {"name": "find_apps", "arguments": {"app": text}}),
        ("a tool that is not there", "tools/call", {"name": text, "arguments": {}}),
        ("a resource", "resources/read", {"uri": f"flowport://runs/{text}"}),
        ("a prompt", "prompts/get", {"name": "run-app", "arguments": {"app": text}}),
        (
            "completion",
            "completion/complete",
            {"ref": {"type": "ref/prompt", "name": "run-app"}, "argument": {"name": "app", "value": text}},
        ),
    )
}


CALLS["an app: many names"] = ("tools/call", {"name": APP, "arguments": {f"name {n}": n for n in range(100_000)}})
CALLS["run_batch: many rows"] = ("tools/call", {"name": "run_batch", "arguments": {"app": APP, "rows": [{}] * 500_000}})


def measure_large_text() -> list[Figure]:
    """Send each call and a ping behind it."""
    waits = measure_waits()
    what = f"a ping behind {SIZE_CHARACTERS // 1_000_000} MB of text, worst of {len(waits)} places"
    worst = max(waits, key=lambda name: waits[name])
    print(f"large_text: the worst place is {worst}")
    return [Figure(what, f"{waits[worst]:.2f} s", f"{MAX_SECONDS} s", is_reached=waits[worst] <= MAX_SECONDS)]


def measure_waits() -> dict[str, float]:
    """Return the duration of each ping, less that of an invalid line of the same size."""
    with tempfile.TemporaryDirectory(prefix="flowport-bench-") as name:
        environment = build_environment({"FLOWPORT_HOME": str(Path(name) / "home"), "FLOWPORT_OUTPUT_DIR": name})
        command = [sys.executable, "-m", "flowport"]
        with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            try:
                greet(process)
                exchange(process, "tools/list", {}, number=2)
                conversation = Conversation(process)
                return {what: _measure(conversation, *call) for what, call in CALLS.items()}
            finally:
                process.terminate()


def _measure(conversation: Conversation, method: str, params: dict[str, Any]) -> float:
    json.dumps(params)
    call = conversation.ask(method, params)
    began = time.perf_counter()
    came_at, _ = conversation.wait_for(conversation.ask("ping", {}))
    conversation.wait_for(call)
    return came_at - began
