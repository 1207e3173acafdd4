"""Whatever an event holds, the row of a group stores it as the transaction that reads first does."""

import itertools
import math
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowport.domain.models import FIRST_LEASE, Output, OutputKind, Run, RunState
from flowport.domain.run_events import (
    Finished,
    OutputSaved,
    Polled,
    RunEvent,
    StartAcknowledged,
    StartRequested,
    StartUnknown,
)
from flowport.store.postgres.database import Database
from flowport.store.postgres.migrate import migrate
from flowport.store.postgres.store import PostgresStore
from flowport.store.records import Claimed, Recorded
from tests.store.samples import build_run

pytestmark = pytest.mark.anyio

TEXTS = st.text(st.characters(exclude_categories=()) | st.sampled_from("\0\ud83d\ude00\\\"'{}\u2028\x1f%"), max_size=12)
FLOATS = st.floats() | st.sampled_from([0.1, 1e22, 5e-324, -0.0, 1.7976931348623157e308, 7, math.nan, math.inf])
COUNTS = st.none() | st.integers(-(2**63), 2**63 - 1)
OUTPUTS = st.builds(
    Output,
    n=st.just(1),
    kind=st.sampled_from(OutputKind),
    url=st.none() | TEXTS,
    provider_output_id=TEXTS,
    mime_type=TEXTS,
    # The trigger adds them up.
    size_bytes=st.none() | st.integers(0, 2**40),
    width=COUNTS,
    height=COUNTS,
    duration_seconds=st.none() | FLOATS,
    expires_at=st.none() | FLOATS,
    saved_path=TEXTS,
    save_problem=TEXTS,
    text=TEXTS,
)
STARTED = st.sampled_from([RunState.QUEUED, RunState.RUNNING])
ENDS = st.builds(
    Finished,
    st.sampled_from([RunState.SUCCEEDED, RunState.PARTIAL, RunState.FAILED, RunState.CANCELLED]),
    FLOATS,
    st.lists(OUTPUTS, min_size=1, max_size=3).map(
        lambda found: tuple(replace(one, n=n) for n, one in enumerate(found, start=1))
    ),
    TEXTS,
    FLOATS,
    st.booleans(),
)
ACCEPTED = st.builds(StartAcknowledged, TEXTS, STARTED, FLOATS)
EVENTS = st.tuples(
    st.builds(StartRequested, FLOATS, TEXTS),
    st.builds(StartUnknown, TEXTS, FLOATS, TEXTS) | ACCEPTED,
    ACCEPTED | st.builds(Polled, STARTED, FLOATS),
    ENDS,
    st.builds(OutputSaved, OUTPUTS),
)
NUMBERS = itertools.count()


@pytest.fixture
async def stores(database_url: str) -> AsyncIterator[tuple[PostgresStore, PostgresStore]]:
    """Open two stores on one database."""
    opened = [PostgresStore(Database(database_url, prepare=migrate)) for _ in range(2)]
    yield opened[0], opened[1]
    for one in opened:
        await one.close()


async def accept_and_claim(holder: PostgresStore, run_id: str) -> Run:
    """Accept a run, which its holder then knows."""
    await holder.accept(
        build_run(run_id, lease=FIRST_LEASE, raw_digest=run_id, canonical_digest=run_id, reserved_credits=0.1)
    )
    claimed = await holder.claim(run_id, "p1", lease=FIRST_LEASE)
    assert isinstance(claimed, Claimed)
    return claimed.run


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS)
async def test_any_value_is_stored_as_by_the_transaction(
    stores: tuple[PostgresStore, PostgresStore], events: tuple[RunEvent, ...]
) -> None:
    """Zero characters, halves of pairs, what JSON escapes, and numbers that JSON has not."""
    holder, other = stores
    first, second = [await accept_and_claim(holder, f"run_{next(NUMBERS)}") for _ in range(2)]
    for event in events:
        outcomes = [
            await holder.record(first.id, event, first.lease),
            await other.record(second.id, event, second.lease),
        ]
        assert isinstance(outcomes[0], Recorded) == isinstance(outcomes[1], Recorded)
        one, two = [await other.get_run_of_any_owner(run.id) for run in (first, second)]
        # A NaN is equal to nothing, and its text to itself.
        assert repr(replace(one, id="", raw_digest="", canonical_digest="", arguments_json="")) == repr(
            replace(two, id="", raw_digest="", canonical_digest="", arguments_json="")
        )
