"""The time until a waiting caller has the result of a run whose polls failed for a while, in real processes."""

import json
import subprocess
import sys
import tempfile
import time
from typing import Final

from bench_app import INPUTS, TOOL_NAME
from figures import Figure
from side_by_side import KEY, Sandbox, check_answers, open_sandbox
from wire import Conversation, build_environment, exchange, greet

RUN_SECONDS: Final = 10.0
FAILURES: Final = 3
MAX_SECONDS: Final = 35.0
EARLIER_READS: Final = (0, 1, 2)
"""Polls that succeed before those that fail; it sets how late in the run the failures come."""


def measure_failed_reads() -> list[Figure]:
    """Let the polls of three runs fail, each from another poll on."""
    with open_sandbox() as sandbox, tempfile.TemporaryDirectory(prefix="flowport-bench-") as folder:
        environment = build_environment(
            {
                "FLOWPORT_HOME": f"{folder}/home",
                "FLOWPORT_OUTPUT_DIR": f"{folder}/outputs",
                "FLOWPORT_WAIT_SECONDS": "120",
                "MAGNIFIC_API_KEY": KEY,
                "MAGNIFIC_BASE_URL": sandbox.api_url,
                "MAGNIFIC_FILE_ORIGINS": sandbox.files_url,
            }
        )
        command = [sys.executable, "-m", "flowport", "serve"]
        with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            try:
                greet(process)
                exchange(process, "tools/list", {}, number=2)
                conversation = Conversation(process)
                taken = {earlier: _measure(conversation, sandbox, earlier) for earlier in EARLIER_READS}
            finally:
                process.terminate()
    each = ", ".join(f"{seconds:.1f} s after {earlier} good reads" for earlier, seconds in taken.items())
    print(f"failed_reads: {each}")
    worst = max(taken.values())
    what = f"result of a run of {RUN_SECONDS:g} s whose status reads fail {FAILURES} times, worst of {len(taken)}"
    return [Figure(what, f"{worst:.1f} s", f"{MAX_SECONDS:g} s", is_reached=worst <= MAX_SECONDS)]


def _measure(conversation: Conversation, sandbox: Sandbox, earlier: int) -> float:
    """Return the seconds from a call to its answer."""
    sandbox.request("/_sandbox/reset", {})
    sandbox.request("/_sandbox/next_run", {"seconds": RUN_SECONDS})
    if earlier:
        sandbox.request("/_sandbox/faults", {"operation": "status", "fault": "delay", "seconds": 0, "times": earlier})
    sandbox.request("/_sandbox/faults", {"operation": "status", "fault": "status", "status": 500, "times": FAILURES})
    began = time.perf_counter()
    call = conversation.ask("tools/call", {"name": TOOL_NAME, "arguments": {**INPUTS, "prompt": f"lake {earlier}"}})
    came_at, line = conversation.wait_for(call)
    check_answers([line])
    reads = sandbox.request("/_sandbox/counts")["status"]
    if reads <= earlier + FAILURES:
        raise RuntimeError(f"the status was read {reads} times only: {json.loads(line)}")
    return came_at - began
