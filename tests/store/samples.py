"""Records and child processes that the store's tests share."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from flowport.domain.models import Output, OutputKind, Run, RunState

ACCOUNT = "magnific:api.example:f1"
OWNER = "local"
CHILD_SECONDS = 60
"""When a child is given up; none takes a tenth of it."""

OUTPUT = Output(
    n=1,
    kind=OutputKind.IMAGE,
    url="https://cdn.example/1.png?token=t",
    provider_output_id="c1",
    mime_type="image/png",
    size_bytes=12,
    width=640,
    height=480,
    duration_seconds=1.5,
    expires_at=900.0,
    saved_path="/pictures/1.png",
    save_problem="none to speak of",
    text="text",
)
"""An output with every field set."""

RUN = Run(
    id="run_full",
    account_id=ACCOUNT,
    owner=OWNER,
    provider="magnific",
    app_id="app1",
    app_name="Sketch to Realism",
    tool_name="sketch_to_realism",
    arguments_json='{"prompt": "a \\u00e9 cat"}',
    raw_digest="r" * 64,
    canonical_digest="c" * 64,
    state=RunState.PARTIAL,
    accepted_at=100.5,
    process_id="p1",
    lease=3,
    price_credits=5.0,
    reserved_credits=2.0,
    spent_credits=3.0,
    is_cost_reported=True,
    provider_run_id="remote",
    starting_at=101.0,
    started_at=102.0,
    finished_at=103.0,
    failure="One part failed.",
    start_response="<html>",
    reported_at=104.0,
    delivered_at=105.0,
    is_followed=False,
    running_at=102.5,
    delivered_to="Claude",
    delivered_boot_id="b1",
    delivered_boot_seconds=15.0,
    is_delivery_cancelled=True,
    boot_id="b1",
    accepted_boot_seconds=10.5,
    reminder_count=2,
    adoption_tried_by="magnific:api.example:f0",
    batch_id="batch_1",
    start_request="POST /v1/ai/flows/app1/run",
    unknown_at=101.5,
    witness="webhook",
    witnessed_at=102.0,
    outputs=(OUTPUT, Output(n=2, kind=OutputKind.TEXT, url=None, text="hello")),
)
"""A run with every field set."""


def build_run(run_id: str, state: RunState = RunState.ACCEPTED, **changes: Any) -> Run:
    """Return a run that was just accepted, or is in another state, with a reservation of five credits."""
    fresh = replace(
        RUN,
        reserved_credits=5.0,
        spent_credits=0.0,
        is_cost_reported=False,
        provider_run_id="",
        starting_at=None,
        started_at=None,
        finished_at=900.0 if state.is_final else None,
        failure="",
        start_response="",
        reported_at=None,
        delivered_at=None,
        is_followed=True,
        running_at=None,
        delivered_to="",
        delivered_boot_id="",
        delivered_boot_seconds=None,
        is_delivery_cancelled=False,
        reminder_count=0,
        adoption_tried_by="",
        batch_id="",
        start_request="",
        unknown_at=None,
        witness="",
        witnessed_at=None,
        outputs=(),
    )
    return replace(fresh, id=run_id, state=state, **changes)


def start_child(script: str, *arguments: object) -> "subprocess.Popen[str]":
    """Start another Python that can import this package as `store`, and Flowport."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish_child(child: "subprocess.Popen[str]") -> str:
    """Return what the child printed, once it ended well."""
    printed, complaint = child.communicate(timeout=CHILD_SECONDS)
    assert (child.returncode, complaint) == (0, "")
    return printed
