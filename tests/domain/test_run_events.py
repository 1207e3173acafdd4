"""What events make of a run: between which states each may move it, and what is left of the reservation."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowport.domain.models import FINAL_STATES, Output, OutputKind, Run, RunState
from flowport.domain.run_events import (
    Adopted,
    AdoptionTried,
    Cancelled,
    Delivered,
    DeliveryCancelled,
    Finished,
    InputsPrepared,
    LinksRefreshed,
    OutputSaved,
    Polled,
    PollingStopped,
    Reported,
    RunEvent,
    Settled,
    StartAcknowledged,
    StartConfirmed,
    StartNotTaken,
    StartRequested,
    StartUnknown,
    Witness,
    apply,
    is_covered,
)
from tests.store.samples import ACCOUNT, OUTPUT, RUN, build_run

S = RunState
AT_PROVIDER = {S.QUEUED, S.RUNNING}
LIVE = set(S) - FINAL_STATES
OUTPUTS = (OUTPUT, Output(n=2, kind=OutputKind.TEXT, url=None, text="hello"))

# Each event: where it may start, and where it leads.
EDGES: dict[str, tuple[RunEvent, set[RunState], RunState]] = {
    "start requested": (StartRequested(7.0), {S.ACCEPTED}, S.STARTING),
    "not taken": (StartNotTaken(), {S.STARTING}, S.ACCEPTED),
    "cancelled, nothing sent": (Cancelled("Nothing was sent.", 9.0), {S.ACCEPTED}, S.CANCELLED),
    "started, queued": (
        StartAcknowledged("r1", S.QUEUED, 8.0),
        {S.ACCEPTED, S.STARTING, S.UNKNOWN, *AT_PROVIDER},
        S.QUEUED,
    ),
    "confirmed": (StartConfirmed("r1", S.RUNNING, 8.0), {S.ACCEPTED, S.STARTING, S.UNKNOWN, *AT_PROVIDER}, S.RUNNING),
    "polled, queued": (Polled(S.QUEUED, 902.0), {S.RUNNING}, S.QUEUED),
    "polled, running": (Polled(S.RUNNING, 902.0), AT_PROVIDER, S.RUNNING),
    "succeeded": (Finished(S.SUCCEEDED, 9.0, OUTPUTS), AT_PROVIDER, S.SUCCEEDED),
    "partial": (Finished(S.PARTIAL, 9.0, OUTPUTS), AT_PROVIDER, S.PARTIAL),
    "failed": (Finished(S.FAILED, 9.0), LIVE, S.FAILED),
    "cancelled": (Finished(S.CANCELLED, 9.0), {S.ACCEPTED, *AT_PROVIDER}, S.CANCELLED),
    "unknown": (StartUnknown("No answer.", 9.0, "<html>"), {S.STARTING}, S.UNKNOWN),
    "settled as lost": (Settled(S.FAILED, 9.0, 0.0, failure="Lost."), {S.UNKNOWN}, S.FAILED),
    "settled with outputs": (Settled(S.SUCCEEDED, 9.0, 5.0, OUTPUTS), {S.UNKNOWN}, S.SUCCEEDED),
}

INSTANTS = st.integers(1, 4).map(float)
STARTED = st.sampled_from([S.QUEUED, S.RUNNING])
RUN_IDS = st.sampled_from(["r1", "r2"])
ACCOUNTS = st.sampled_from([ACCOUNT, "magnific:api.example:f0"])
CHANGED_OUTPUTS = st.builds(replace, st.sampled_from(OUTPUTS), saved_path=st.sampled_from(["", "/a"]))
EVENTS: "st.SearchStrategy[RunEvent]" = st.one_of(
    st.builds(StartRequested, INSTANTS),
    st.builds(StartNotTaken),
    st.builds(StartAcknowledged, RUN_IDS, STARTED, INSTANTS),
    st.builds(StartConfirmed, RUN_IDS, STARTED, INSTANTS, st.sampled_from(Witness), st.sampled_from(["", "p2"])),
    st.builds(Settled, st.sampled_from([S.SUCCEEDED, S.FAILED]), INSTANTS, st.sampled_from([0.0, 5.0])),
    st.builds(StartUnknown, st.just("why"), INSTANTS),
    st.builds(Polled, STARTED, INSTANTS),
    st.builds(PollingStopped),
    st.builds(Cancelled, st.just("why"), INSTANTS),
    st.builds(
        Finished,
        st.sampled_from([S.SUCCEEDED, S.PARTIAL, S.FAILED, S.CANCELLED]),
        INSTANTS,
        st.sampled_from([(), OUTPUTS]),
    ),
    st.builds(OutputSaved, CHANGED_OUTPUTS),
    st.builds(LinksRefreshed, st.lists(CHANGED_OUTPUTS, max_size=2).map(tuple)),
    st.builds(Reported, INSTANTS),
    st.builds(InputsPrepared, st.sampled_from(["", "smaller"])),
    st.builds(AdoptionTried, ACCOUNTS),
    st.builds(Adopted, ACCOUNTS, ACCOUNTS),
    st.builds(Delivered, INSTANTS, st.sampled_from(["", "a"])),
    st.builds(DeliveryCancelled, INSTANTS),
)
RUNS = st.lists(EVENTS, max_size=8).map(lambda events: _apply_all(build_run("run_1"), events))


def _apply_all(run: Run, events: list[RunEvent]) -> Run:
    for event in events:
        run = apply(run, event)
    return run


@given(RUNS, EVENTS)
def test_applying_an_event_twice_is_applying_it_once(run: Run, event: RunEvent) -> None:
    """A writer that does not know whether its event was recorded records it again."""
    once = apply(run, event)
    assert apply(once, event) == once


@given(RUNS, EVENTS)
def test_a_final_state_stays(run: Run, event: RunEvent) -> None:
    """Nothing brings an ended run back, except evidence, or a person's decision, about a run of unknown fate."""
    after = apply(run, event)
    if run.state.is_final and not (run.state is S.UNKNOWN and isinstance(event, StartAcknowledged | Settled)):
        assert (after.state, after.failure, after.finished_at) == (run.state, run.failure, run.finished_at)
        assert (after.spent_credits, after.reserved_credits) == (run.spent_credits, run.reserved_credits)


@given(RUNS, st.builds(StartAcknowledged, RUN_IDS, STARTED, INSTANTS))
def test_the_reply_to_a_start_is_accepted_while_the_run_has_no_provider_id(run: Run, event: StartAcknowledged) -> None:
    """Without the id a paid result could never be fetched; a second id never replaces the first."""
    after = apply(run, event)
    if run.provider_run_id or run.state in FINAL_STATES - {S.UNKNOWN}:
        assert after == run
    else:
        assert (after.provider_run_id, after.state) == (event.provider_run_id, event.state)
        assert after.finished_at is None


@given(RUNS)
def test_a_reservation_is_held_while_the_run_may_be_charged_and_settled_at_its_end(run: Run) -> None:
    """The caps count what is reserved and what is spent, so a credit must not be in both or in neither."""
    if not run.state.is_final:
        assert (run.reserved_credits, run.spent_credits) == (5.0, 0.0)
    elif run.state is S.UNKNOWN:
        assert (run.reserved_credits, run.spent_credits) == (0.0, 5.0)
    else:
        assert run.reserved_credits == 0.0


@given(st.lists(EVENTS, max_size=8))
def test_a_delivery_is_never_taken_back(events: list[RunEvent]) -> None:
    """Of several deliveries the last one stands, unless what was delivered is that the run is unknown, and it was started."""
    run, deliveries = build_run("run_1"), list[float]()
    for event in events:
        before, run = run, apply(run, event)
        if isinstance(event, Delivered):
            deliveries.append(event.at)
        is_reopened = before.state is S.UNKNOWN and run.state is not S.UNKNOWN
        if is_reopened or (isinstance(event, Finished) and run.state.is_final and not before.state.is_final):
            deliveries.clear()
    assert run.delivered_at == (deliveries[-1] if deliveries else None)


@pytest.mark.parametrize("is_late", [False, True], ids=["delivered first", "started first"])
def test_a_delivered_unknown_run_that_succeeds_is_still_to_be_seen(*, is_late: bool) -> None:
    """The answer said only that nothing is known; the result was never shown, so it is mentioned again."""
    unknown = build_run("run_1", S.UNKNOWN, spent_credits=5.0, reserved_credits=0.0, finished_at=8.0, reminder_count=3)
    delivered, started = Delivered(9.0, "a client", "boot", 9.0), StartAcknowledged("r1", S.RUNNING, 10.0)
    run = _apply_all(unknown, [started, delivered] if is_late else [delivered, started])
    over = apply(run, Finished(S.SUCCEEDED, 20.0, spent_credits=5.0))
    assert (over.state, over.delivered_at, over.delivered_to, over.reminder_count) == (S.SUCCEEDED, None, "", 0)
    assert (over.delivered_boot_id, over.delivered_boot_seconds, over.is_delivery_cancelled) == ("", None, False)


@pytest.mark.parametrize("state", [S.QUEUED, S.RUNNING, S.SUCCEEDED, S.PARTIAL, S.FAILED])
def test_the_answer_that_an_outcome_is_unknown_delivers_nothing_that_was_found_meanwhile(state: S) -> None:
    """Such an answer is noted when it was written, and a webhook may have come before that."""
    run = build_run("run_1", state=state)
    assert apply(run, Delivered(9.0, is_unknown=True)) == run
    unknown = build_run("run_1", state=S.UNKNOWN)
    assert apply(unknown, Delivered(9.0, is_unknown=True)).delivered_at == 9.0


@pytest.mark.parametrize("before", RunState)
@pytest.mark.parametrize(("event", "allowed", "after"), EDGES.values(), ids=EDGES.keys())
def test_an_event_moves_a_run_from_its_states_only(
    event: RunEvent, allowed: set[RunState], after: RunState, before: RunState
) -> None:
    """A forbidden transition is the way to a second payment or a lost result, so it changes nothing."""
    run = build_run("run_1", before)
    changed = apply(run, event)
    assert (changed != run) == (before in allowed)
    assert changed.state == (after if before in allowed else before)


def test_only_a_start_that_was_not_taken_goes_back_before_its_start() -> None:
    """A run that the provider may have must never be sent again."""
    early = {S.ACCEPTED, S.STARTING}
    back = {name: allowed for name, (_, allowed, after) in EDGES.items() if after is S.ACCEPTED}
    assert back == {"not taken": {S.STARTING}}
    assert {name for name, (_, allowed, after) in EDGES.items() if after in early} == {"start requested", "not taken"}


@pytest.mark.parametrize(
    ("run", "event", "changes"),
    [
        (
            build_run("a"),
            StartRequested(7.0, "POST /v1/run"),
            {"state": S.STARTING, "starting_at": 7.0, "start_request": "POST /v1/run"},
        ),
        (
            build_run("a", S.STARTING, starting_at=7.0, start_request="POST /v1/run"),
            StartNotTaken(),
            {"state": S.ACCEPTED, "starting_at": None, "start_request": ""},
        ),
        (
            build_run("a", S.STARTING),
            StartAcknowledged("r1", S.QUEUED, 8.0),
            {"state": S.QUEUED, "provider_run_id": "r1", "started_at": 8.0},
        ),
        (
            build_run("a", S.UNKNOWN, failure="why", start_response="<html>", reserved_credits=0.0, spent_credits=5.0),
            StartConfirmed("r1", S.RUNNING, 8.0, Witness.RUN_LIST, "p2"),
            {
                "state": S.RUNNING,
                "provider_run_id": "r1",
                "started_at": 8.0,
                "running_at": 8.0,
                "failure": "",
                "finished_at": None,
                "reserved_credits": 5.0,
                "spent_credits": 0.0,
                "witness": "run list",
                "witnessed_at": 8.0,
                "process_id": "p2",
                "lease": 4,
            },
        ),
        (
            build_run("a", S.STARTING),
            StartConfirmed("r1", S.QUEUED, 8.0, process_id="p2"),
            {
                "state": S.QUEUED,
                "provider_run_id": "r1",
                "started_at": 8.0,
                "witness": "webhook",
                "witnessed_at": 8.0,
            },
        ),
        (
            build_run("a", S.UNKNOWN, failure="why", start_response="<html>", spent_credits=5.0, reserved_credits=0.0),
            Settled(S.FAILED, 8.0, 0.0, failure="Lost."),
            {
                "state": S.FAILED,
                "failure": "Lost.",
                "finished_at": 8.0,
                "spent_credits": 0.0,
                "witness": "person",
                "witnessed_at": 8.0,
            },
        ),
        (
            build_run("a", S.STARTING),
            StartUnknown("No answer.", 9.0, "<html>"),
            {
                "state": S.UNKNOWN,
                "failure": "No answer.",
                "start_response": "<html>",
                "unknown_at": 9.0,
                "finished_at": 9.0,
                "reserved_credits": 0.0,
                "spent_credits": 5.0,
            },
        ),
        (
            build_run("a", S.RUNNING),
            Finished(S.PARTIAL, 9.0, OUTPUTS, "why", 4.0, is_cost_reported=True),
            {
                "state": S.PARTIAL,
                "outputs": OUTPUTS,
                "failure": "why",
                "finished_at": 9.0,
                "reserved_credits": 0.0,
                "spent_credits": 4.0,
                "is_cost_reported": True,
            },
        ),
        (build_run("a", S.RUNNING), PollingStopped(), {"is_followed": False}),
        (build_run("a", reported_at=1.0), Reported(2.0), {}),
        (build_run("a"), Reported(2.0), {"reported_at": 2.0}),
        (build_run("a"), InputsPrepared("smaller"), {"notes": "smaller"}),
        (build_run("a"), AdoptionTried("b"), {"adoption_tried_by": "b"}),
        (build_run("a", adoption_tried_by="b"), Adopted("c", ACCOUNT), {"account_id": "c", "adoption_tried_by": ""}),
        (build_run("a"), Adopted("c", "another"), {}),
    ],
    ids=str,
)
def test_an_event_changes_these_fields_and_no_others(run: Run, event: RunEvent, changes: dict[str, Any]) -> None:
    """What an event does not mention stays as it was recorded."""
    assert apply(run, event) == replace(run, **changes)


def test_a_fresh_link_leaves_alone_what_was_saved_meanwhile() -> None:
    """One process asks the provider for a link while another one saves the file: the run keeps its path."""
    old = Output(n=1, kind=OutputKind.FILE, url="https://x.example/1?old", save_problem="Its link has expired.")
    fresh = replace(old, url="https://x.example/1?fresh", expires_at=9.0, save_problem="")
    gone = replace(old, save_problem="It is gone.", expires_at=8.0)
    saved = replace(old, saved_path="/1.png", size_bytes=3, mime_type="image/png", save_problem="")
    before = replace(RUN, outputs=(saved,))

    assert apply(before, LinksRefreshed((fresh,))).outputs == (replace(saved, url=fresh.url, expires_at=9.0),)
    assert apply(before, LinksRefreshed((gone,))).outputs == (replace(saved, expires_at=8.0),)
    assert apply(replace(RUN, outputs=(old,)), LinksRefreshed((fresh,))).outputs == (fresh,)


def test_an_output_is_replaced_by_its_number() -> None:
    """It was saved; the others are still being downloaded, and a number that the run has not is not an output of it."""
    saved = Output(n=2, kind=OutputKind.FILE, url="https://x.example/2", saved_path="/2.bin", size_bytes=3)
    assert apply(RUN, OutputSaved(saved)).outputs == (RUN.outputs[0], saved)
    assert apply(RUN, OutputSaved(replace(saved, n=3))).outputs == RUN.outputs


def test_the_first_word_of_running_is_kept() -> None:
    """A provider may put a run back into its queue; how long it worked counts from the first time."""
    states = ((S.QUEUED, 1.0), (S.RUNNING, 2.0), (S.QUEUED, 3.0), (S.RUNNING, 4.0))
    assert _apply_all(build_run("a", S.QUEUED), [Polled(state, at) for state, at in states]).running_at == 2.0


def test_only_the_delivery_that_is_meant_is_cancelled() -> None:
    """A cancellation may come late."""
    run = apply(build_run("run_1"), Delivered(1.0, "a", "boot", 5.0))
    assert (run.delivered_to, run.delivered_boot_id, run.delivered_boot_seconds) == ("a", "boot", 5.0)
    assert apply(run, DeliveryCancelled(1.0)).is_delivery_cancelled
    assert not apply(run, DeliveryCancelled(2.0)).is_delivery_cancelled
    assert not apply(apply(run, DeliveryCancelled(1.0)), Delivered(2.0)).is_delivery_cancelled


@pytest.mark.parametrize("state", [S.ACCEPTED, S.STARTING, S.SUCCEEDED, S.UNKNOWN])
def test_only_a_providers_state_can_follow_a_start(state: RunState) -> None:
    """Any other is a mistake of the program, not a race."""
    for build in (lambda: StartAcknowledged("r1", state, 1.0), lambda: Polled(state, 1.0)):
        with pytest.raises(ValueError, match="is not one of queued, running"):
            build()


@pytest.mark.parametrize("state", [S.ACCEPTED, S.RUNNING, S.UNKNOWN])
def test_only_a_known_end_finishes_a_run(state: RunState) -> None:
    """An unknown run keeps its reservation as spent, so it has an event of its own."""
    with pytest.raises(ValueError, match="is not one of cancelled, failed, partial, succeeded"):
        Finished(state, 1.0)


@pytest.mark.parametrize(
    ("event", "provider_run_id", "lease", "expected"),
    [
        (Polled(S.RUNNING, 9.0), "r1", 3, True),
        (Polled(S.RUNNING, 9.0), "r1", 2, False),
        (Polled(S.RUNNING, 9.0), "r1", None, True),
        (StartAcknowledged("r1", S.QUEUED, 9.0), "", 2, True),
        (StartConfirmed("r1", S.QUEUED, 9.0), "", 2, True),
        (StartAcknowledged("r1", S.QUEUED, 9.0), "r1", 2, False),
        (StartUnknown("No answer.", 9.0), "", 2, False),
        (StartNotTaken(), "", 2, False),
    ],
)
def test_an_earlier_lease_covers_only_the_reply_to_a_start(
    event: RunEvent, provider_run_id: str, lease: int | None, *, expected: bool
) -> None:
    """A reply that names the provider's run is evidence, whichever process has the run by then."""
    assert is_covered(build_run("run_1", lease=3, provider_run_id=provider_run_id), event, lease) is expected
