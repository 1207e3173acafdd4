"""Events that name another run than the one at whose address they came."""

from typing import Any, cast

from flowport.providers.interface import WebhookEvent
from flowport.runs.announcements import Announcements, Reception
from flowport.runs.witness import RUN_KEY
from tests.support.fake_clock import FakeClock

NOTHING = cast("Any", None)


async def test_an_event_with_the_metadata_of_another_run_is_foreign() -> None:
    """A provider that repeats what the start request gave it repeats the id of that run; nothing else is asked then."""
    announcements = Announcements(
        witness=NOTHING,
        poller=NOTHING,
        recovery=NOTHING,
        accounts={},
        store=NOTHING,
        live_runs=NOTHING,
        clock=FakeClock(),
    )
    event = WebhookEvent("cuid_abc123", "run.completed", {RUN_KEY: "run_2"})
    assert await announcements.take("run_1", event) is Reception.FOREIGN
