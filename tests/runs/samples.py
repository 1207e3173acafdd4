"""A run and a call that the tests of this folder share, and Magnific's responses about them."""

from dataclasses import replace
from typing import Any

from flowport.domain.models import App, Input, InputKind, Run, RunState
from flowport.providers.interface import ApiAnswer
from flowport.runs.prepare import PreparedCall
from tests.support.fake_clock import FakeClock
from tests.support.scripted import ACCOUNT, FaultyStore, build_answer

NOW = 1_800_000_000.0
"""The initial time of the fake clock."""

APP = App("magnific", "aB3", "Sketch", is_own=False, price_credits=5.0, inputs=(), read_at=NOW)

PROMPT = Input("in-1", "prompt", InputKind.TEXT, "Prompt", is_required=True)

RUN = Run(
    id="run_one",
    account_id=ACCOUNT.id,
    owner="local",
    provider="magnific",
    app_id="aB3",
    app_name="Sketch",
    tool_name="sketch",
    arguments_json='{"prompt": "a lake"}',
    raw_digest="r",
    canonical_digest="c",
    state=RunState.ACCEPTED,
    accepted_at=NOW,
    process_id="p1",
    price_credits=5.0,
    reserved_credits=5.0,
)

CALL = PreparedCall(
    app=APP,
    app_name="Sketch",
    tool_name="sketch",
    account_id=ACCOUNT.id,
    inputs={"prompt": "a lake"},
    arguments_json='{"prompt": "a lake"}',
    raw_digest="r",
    canonical_digest="c",
)

TAKEN = build_answer({"status": "running", "workflow_run_identifier": "remote-1"}, 202)
"""The response to a successful start request."""

BUSY = build_answer(None, 429, retry_after="7")

RUNNING = replace(
    RUN, state=RunState.RUNNING, provider_run_id="remote-1", starting_at=NOW, started_at=NOW, running_at=NOW
)


def build_status(status: str, *, images: int = 0, message: str | None = None) -> ApiAnswer:
    """Return Magnific's response to a poll."""
    items = [{"id": f"c{n}", "url": f"https://cdn.example/{n}.png?token=exp_{int(NOW) + 3600}"} for n in range(images)]
    data: dict[str, Any] = {"status": status, "error_message": message, "result": {"images": items} if items else None}
    return build_answer({"data": data})


DONE = build_status("completed")


async def read(store: FaultyStore, run_id: str = RUN.id) -> Run:
    """Return the run from the store."""
    return await store.get_run(run_id, account_id=None, owner="local")


def get_instant(clock: FakeClock) -> float:
    """Return the seconds that have passed on a clock."""
    return clock.now() - NOW
