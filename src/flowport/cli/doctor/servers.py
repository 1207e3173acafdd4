"""Start the command that a client would start, and list its tools: nothing is called, so nothing is run or paid for.

The server gets a home of its own with a copy of the cached app list, because in the real one it would take over what a
dead process has left, and start what was accepted. Its providers are at an address where nothing answers, so it takes none
of a key's requests.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

from flowport.catalog.snapshots import rename_for_host
from flowport.cli.doctor.facts import ServerFacts
from flowport.domain.text import clean_line
from flowport.providers.registry import get_plugins

OWN_COMMAND: Final = (sys.executable, "-m", "flowport", "serve")
SERVER_SECONDS: Final = 15.0
"""How long a server may take from its start to its list."""
_NOWHERE: Final = "127.0.0.1:9"
"""The discard port, at which nothing listens."""
_END_SECONDS: Final = 3.0
_MAX_LINE_BYTES: Final = 16 * 1024 * 1024
_MAX_COPIED_BYTES: Final = 32 * 1024 * 1024
_CLIENT: Final = {"name": "flowport-doctor", "version": "1"}
_MESSAGES: Final = (
    {
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": _CLIENT},
    },
    {"method": "notifications/initialized"},
    {"id": 2, "method": "tools/list", "params": {}},
)
_REFERENCE: Final = re.compile(r"\$\{?(?:env:)?([A-Za-z_]\w*)\}?")


def build_environment(passed: Mapping[str, str], given: Mapping[str, str], every: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that a client gives its server.

    Args:
        passed: What the client passes on.
        given: The variables of the entry, which may name others.
        every: What those names stand for.
    """
    expanded = {name: _REFERENCE.sub(lambda one: every.get(one[1], one[0]), text) for name, text in given.items()}
    return {**passed, **expanded}


def list_tools(
    command: Sequence[str], environment: Mapping[str, str], home: Path, *, seconds: float = SERVER_SECONDS
) -> ServerFacts:
    """Start a server as a client does and return its tools; it is ended in any case, with what it has started. Blocks."""
    program = shutil.which(command[0], path=environment.get("PATH", os.defpath))
    if program is None:
        return ServerFacts(problem="does not exist, or is not on the client's PATH")
    with (
        tempfile.TemporaryDirectory(prefix="flowport-doctor-", ignore_cleanup_errors=True) as name,
        tempfile.TemporaryFile() as errors,
    ):
        folder = Path(name)
        _copy_lists(home, folder)
        started = [program, *_replace_home(command[1:], folder)]
        environment = {**environment, "FLOWPORT_HOME": name, **_build_addresses(environment)}
        try:
            with subprocess.Popen(  # noqa: S603 - what the client would start
                started,
                env=environment,
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            ) as process:
                return _talk(process, errors, seconds)
        except (OSError, ValueError) as exc:
            return ServerFacts(problem=f"cannot be started ({getattr(exc, 'strerror', None) or type(exc).__name__})")


def _build_addresses(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that send each provider's requests nowhere; one without a key is turned on by its address."""
    rows = ((plugin.find_row("base_url"), plugin.find_row("api_key")) for plugin in get_plugins())
    return {url.name: f"http://{_NOWHERE}" for url, key in rows if url and (key or url.name in environment)}


def _copy_lists(home: Path, folder: Path) -> None:
    """Copy what a home's server needs for its first list, as far as it can be read."""
    (folder / "catalogue").mkdir()
    with suppress(OSError):
        # A user without a home folder has no home of Flowport either.
        for path in (*home.glob("catalogue/*.json"), *home.glob("*.json")) if home.is_absolute() else ():
            if path.is_file() and path.stat().st_size <= _MAX_COPIED_BYTES:
                shutil.copyfile(path, folder / rename_for_host(path, _NOWHERE).relative_to(home))


def _replace_home(arguments: Sequence[str], home: Path) -> list[str]:
    """Return the arguments of a command; the flag for the home, if there is one, names another."""
    pairs = zip(("", *arguments), arguments, strict=False)
    return [
        str(home) if before == "--home" else f"--home={home}" if word.startswith("--home=") else word
        for before, word in pairs
    ]


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process with what it has started, which could hold its output open."""
    if sys.platform == "win32":
        process.kill()
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _talk(process: "subprocess.Popen[bytes]", errors: IO[bytes], seconds: float) -> ServerFacts:
    timer = threading.Timer(seconds, _kill, (process,))
    timer.daemon = True
    timer.start()
    listed, noise, size_bytes = None, "", 0
    assert process.stdin and process.stdout  # noqa: S101, PT018 - both are pipes
    try:
        with suppress(OSError):
            process.stdin.write(b"".join(json.dumps({"jsonrpc": "2.0", **one}).encode() + b"\n" for one in _MESSAGES))
            process.stdin.flush()
        while listed is None and (line := process.stdout.readline(_MAX_LINE_BYTES)):
            message = _parse(line)
            if message is None:
                noise = noise or clean_line(line.decode("utf-8", "replace"), limit=80) or "an empty line"
            elif message.get("id") == 2:  # noqa: PLR2004 - the last of the messages
                listed, size_bytes = message, len(line)
        with suppress(OSError):
            # A server ends by itself when its client leaves.
            process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
    finally:
        is_late = not timer.is_alive()
        timer.cancel()
        _kill(process)
    if listed is None:
        errors.seek(0)
        lines = [line for line in errors.read()[-4000:].decode("utf-8", "replace").splitlines() if line.strip()]
        reason = f" ({clean_line(lines[-1], limit=160)})" if lines else ""
        problem = f"did not answer within {seconds:g} s" if is_late else "ended before it answered"
        return ServerFacts(problem=f"{problem}{reason}", noise=noise)
    result = listed.get("result")
    tools = result.get("tools") if isinstance(result, dict) else None
    if not isinstance(tools, list):
        return ServerFacts(problem="answers the request for its tools with an error", noise=noise)
    return ServerFacts([tool for tool in tools if isinstance(tool, dict)], size_bytes, noise=noise)


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) and message.get("jsonrpc") == "2.0" else None
