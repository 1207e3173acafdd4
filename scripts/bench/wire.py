"""A minimal client: lines of JSON to a server's standard input, and its answers."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
HELLO: Final = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "bench", "version": "1"},
}
ANSWER_SECONDS: Final = 120.0


def build_environment(changes: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without what would configure Flowport, and with these changes."""
    ours = ("FLOWPORT_", "MAGNIFIC_", "MAGICA_")
    return {**{name: value for name, value in os.environ.items() if not name.startswith(ours)}, **changes}


def send(process: subprocess.Popen[bytes], message: dict[str, Any]) -> None:
    """Write one message."""
    if process.stdin is None:
        raise RuntimeError("the server has no standard input")
    process.stdin.write(json.dumps(message).encode() + b"\n")
    process.stdin.flush()


def exchange(process: subprocess.Popen[bytes], method: str, params: dict[str, Any], *, number: int) -> dict[str, Any]:
    """Send a request and return the result of its answer."""
    send(process, {"jsonrpc": "2.0", "id": number, "method": method, "params": params})
    for line in process.stdout or ():
        message = json.loads(line)
        if message.get("id") == number:
            result: dict[str, Any] = message["result"]
            return result
    raise RuntimeError(f"no answer to {method}")


def greet(process: subprocess.Popen[bytes]) -> None:
    """Open a session."""
    exchange(process, "initialize", HELLO, number=1)
    send(process, {"jsonrpc": "2.0", "method": "notifications/initialized"})


class Conversation:
    """Many concurrent requests to an initialised server; a thread takes the answers as they arrive."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        """Begin to read."""
        self._process = process
        self._numbers = iter(range(100, 1_000_000))
        self._arrived = threading.Condition()
        self._writing = threading.Lock()
        self._answers: dict[int, tuple[float, bytes]] = {}
        threading.Thread(target=self._read, daemon=True).start()

    def ask(self, method: str, params: dict[str, Any]) -> int:
        """Send a request and return its number."""
        return self.ask_at(method, params)[1]

    def ask_at(self, method: str, params: dict[str, Any]) -> tuple[float, int]:
        """Send a request and return when its writing began, in seconds of `time.perf_counter`, and its number."""
        number = next(self._numbers)
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        return self.write(json.dumps(message, ensure_ascii=False).encode() + b"\n"), number

    def write(self, line: bytes) -> float:
        """Write a line unchanged, which may be invalid, and return when that began."""
        with self._writing:
            began = time.perf_counter()
            if self._process.stdin is None:
                raise RuntimeError("the server has no standard input")
            self._process.stdin.write(line)
            self._process.stdin.flush()
        return began

    def wait_for(self, number: int) -> tuple[float, bytes]:
        """Return when the answer to a request came, in seconds of `time.perf_counter`, and its line."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: number in self._answers, ANSWER_SECONDS):
                raise RuntimeError("no answer came")
            return self._answers[number]

    def _read(self) -> None:
        for line in self._process.stdout or ():
            came_at = time.perf_counter()
            number = json.loads(line).get("id")
            with self._arrived:
                if number is not None:
                    self._answers[number] = (came_at, line)
                    self._arrived.notify_all()


def get_cpu_seconds(process_id: int) -> float:
    """Return the processor time of a process, all its threads included, its children not."""
    if sys.platform != "linux":
        raise RuntimeError("only Linux reports the processor time of another process")
    with open(f"/proc/{process_id}/stat", encoding="ascii") as file:  # noqa: PTH123 - not a file that has a place
        fields = file.read().rpartition(")")[2].split()
    # proc(5): fields 14 and 15 are the user and system time in ticks; the third is the first after the name.
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def get_exact_cpu_seconds(process_id: int) -> float:
    """Return the processor time of the present threads of a process, to the nanosecond."""
    if sys.platform != "linux":
        raise RuntimeError("only Linux reports the processor time of another process")
    # The first field of `schedstat` is the time on the processor in nanoseconds (kernel: Documentation/scheduler).
    threads = Path(f"/proc/{process_id}/task").glob("*/schedstat")
    # A thread may end between the listing and the reading.
    return sum(int(thread.read_text("ascii").split()[0]) for thread in threads if thread.exists()) / 1e9
