"""Pings during large or blocked work of a server on standard input: the number of late answers."""

import fcntl
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from figures import Figure
from wire import Conversation, build_environment, exchange, greet

MAX_SECONDS: Final = 0.5
EVERY_SECONDS: Final = 0.005
PROMPT_BYTES: Final = 3_000_000
APP: Final = "sandbox_text_to_picture"
PIPE_BYTES: Final = 4096
NOISY_LINES: Final = 400
NOISE: Final = b"this is not json\n"
ROUNDS: Final = 5

PROMPTS: Final = {
    what: part * (PROMPT_BYTES // len(part.encode()))
    for what, part in {
        "words": "a b",
        "letters": "x",
        "accents": "e\N{COMBINING ACUTE ACCENT} ",
        "beyond the basic plane": "\N{GRINNING FACE}",
        "what cannot be seen": "\x01\n\N{RIGHT-TO-LEFT OVERRIDE}",
        "braces": "{",
        "spaces": " ",
    }.items()
}
LONGEST: Final = "a lake, " * 24_999
"""A prompt that is run."""


def measure_pinging() -> list[Figure]:
    """Ping continuously while prompts of megabytes arrive, and while the log is not read."""
    with _open_server() as conversation:
        own = _count(conversation, {"name": APP, "arguments": {"prompt": None}})
        by_name = _count(conversation, {"name": "run_app", "arguments": {"app": APP, "arguments": {"prompt": None}}})
    size = f"prompts of {PROMPT_BYTES // 1_000_000} and 0.2 MB of {len(PROMPTS)} kinds"
    figures = [
        _format(f"{size} come to an app's own tool", own),
        _format(f"{size} come to run_app", by_name),
    ]
    if sys.platform == "linux":
        figures.append(_format(f"stderr is {PIPE_BYTES} unread bytes, {NOISY_LINES} lines of noise", _make_noise()))
    return figures


def _format(what: str, waits: list[float]) -> Figure:
    late = sum(wait > MAX_SECONDS for wait in waits)
    worst = f"of {len(waits)}, worst {max(waits):.2f} s"
    return Figure(f"pings over {MAX_SECONDS} s while {what}", f"{late} ({worst})", "0", is_reached=late == 0)


@contextmanager
def _open_server(errors: int | None = None) -> Iterator[Conversation]:
    with tempfile.TemporaryDirectory(prefix="flowport-bench-") as name:
        environment = build_environment({"FLOWPORT_HOME": str(Path(name) / "home"), "FLOWPORT_OUTPUT_DIR": name})
        command = [sys.executable, "-m", "flowport"]
        with subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        ) as process:
            try:
                greet(process)
                exchange(process, "tools/list", {}, number=2)
                yield Conversation(process)
            finally:
                process.terminate()


def _count(conversation: Conversation, params: Mapping[str, Any]) -> list[float]:
    """Return the duration of each ping that was sent during a call with each prompt."""
    waits: list[float] = []
    for text in (*PROMPTS.values(), LONGEST):
        for _ in range(ROUNDS):
            with _ping(conversation, waits):
                conversation.wait_for(conversation.ask("tools/call", _fill(params, text)))
    return waits


def _fill(params: Mapping[str, Any], text: str) -> dict[str, Any]:
    return {
        name: text if value is None else _fill(value, text) if isinstance(value, Mapping) else value
        for name, value in params.items()
    }


def _make_noise() -> list[float]:
    if sys.platform != "linux":
        raise RuntimeError("only Linux lets the size of a pipe be set")
    source, target = os.pipe()
    fcntl.fcntl(target, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    waits: list[float] = []
    try:
        with _open_server(target) as conversation:
            os.close(target)
            for _ in range(ROUNDS):
                with _ping(conversation, waits):
                    for _ in range(NOISY_LINES):
                        conversation.write(NOISE)
                    conversation.wait_for(conversation.ask("tools/list", {}))
    finally:
        os.close(source)
    return waits


@contextmanager
def _ping(conversation: Conversation, waits: list[float]) -> Iterator[None]:
    """Ping every few milliseconds until the block ends, and once after it; add each duration."""
    is_over = threading.Event()
    sent: list[tuple[float, int]] = []

    def ping() -> None:
        while not is_over.wait(EVERY_SECONDS):
            sent.append(conversation.ask_at("ping", {}))

    pinger = threading.Thread(target=ping)
    pinger.start()
    try:
        yield
    finally:
        is_over.set()
        pinger.join()
    sent.append(conversation.ask_at("ping", {}))
    waits.extend(conversation.wait_for(number)[0] - began for began, number in sent)
