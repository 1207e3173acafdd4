"""Writes about runs, and the states between which each may move one."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from flowport.domain.errors import RunNotFound, StoreError
from flowport.domain.models import NEXT_STATES, Output, OutputKind, Run, RunState
from flowport.domain.run_events import Delivered, DeliveryCancelled
from flowport.store.sqlite.store import SqliteStore

from .samples import ACCOUNT, OUTPUT, OWNER, RUN, build_run

S = RunState
OUTPUTS = (OUTPUT, Output(n=2, kind=OutputKind.TEXT, url=None, text="hello"))

Change = Callable[[SqliteStore, str], Awaitable[bool]]


def finish(state: RunState) -> Change:
    """Return the change to an end."""
    return lambda store, run_id: store.note_finished(
        run_id, state=state, outputs=OUTPUTS, failure="why", spent_credits=4.0, at=9.0
    )


def start(state: RunState) -> Change:
    """Return the change that writes the provider's id."""
    return lambda store, run_id: store.note_started(run_id, provider_run_id="r1", state=state, at=8.0)


def look(state: RunState) -> Change:
    """Return the change after a look."""
    return lambda store, run_id: store.note_look(run_id, state=state, at=902.0)


def note_starting(store: SqliteStore, run_id: str) -> Awaitable[bool]:
    """Move a run to starting."""
    return store.note_starting(run_id, at=7.0)


def note_not_taken(store: SqliteStore, run_id: str) -> Awaitable[bool]:
    """Move a run back to accepted."""
    return store.note_not_taken(run_id)


def note_unknown(store: SqliteStore, run_id: str) -> Awaitable[bool]:
    """Move a run to unknown."""
    return store.note_unknown(run_id, failure="No answer.", start_answer="<html>", at=9.0)


def note_cancelled(store: SqliteStore, run_id: str) -> Awaitable[bool]:
    """Cancel a run for which nothing was sent."""
    return store.note_cancelled(run_id, failure="Nothing was sent.", at=9.0)


# Each change: where it may start, and where it leads. Written out, so that the table in the model is checked as well.
EDGES: dict[str, tuple[Change, set[RunState], RunState]] = {
    "starting": (note_starting, {S.ACCEPTED}, S.STARTING),
    "not taken": (note_not_taken, {S.STARTING}, S.ACCEPTED),
    "cancelled, nothing sent": (note_cancelled, {S.ACCEPTED}, S.CANCELLED),
    "started, queued": (start(S.QUEUED), {S.STARTING}, S.QUEUED),
    "started, running": (start(S.RUNNING), {S.STARTING}, S.RUNNING),
    "look, queued": (look(S.QUEUED), {S.QUEUED, S.RUNNING}, S.QUEUED),
    "look, running": (look(S.RUNNING), {S.QUEUED, S.RUNNING}, S.RUNNING),
    "succeeded": (finish(S.SUCCEEDED), {S.QUEUED, S.RUNNING}, S.SUCCEEDED),
    "partial": (finish(S.PARTIAL), {S.QUEUED, S.RUNNING}, S.PARTIAL),
    "failed": (finish(S.FAILED), {S.ACCEPTED, S.STARTING, S.QUEUED, S.RUNNING}, S.FAILED),
    "cancelled": (finish(S.CANCELLED), {S.ACCEPTED, S.QUEUED, S.RUNNING}, S.CANCELLED),
    "unknown": (note_unknown, {S.STARTING}, S.UNKNOWN),
}


async def get_run(store: SqliteStore, run_id: str = "run_1") -> Run:
    """Return a run as it lies on disk."""
    return await store.get_run(run_id, account_id=ACCOUNT, owner=OWNER)


@pytest.mark.parametrize("before", RunState)
@pytest.mark.parametrize(("change", "allowed", "after"), EDGES.values(), ids=EDGES.keys())
async def test_a_change_is_made_from_its_states_only(
    store: SqliteStore, change: Change, allowed: set[RunState], after: RunState, before: RunState
) -> None:
    """A forbidden change is the way to a second payment or a lost result, so nothing of it may be written."""
    run = build_run("run_1", before)
    await store.accept(run)
    assert await change(store, "run_1") == (before in allowed)
    if before in allowed:
        assert (await get_run(store)).state == after
    else:
        assert await get_run(store) == run


def test_every_edge_of_the_model_has_a_change() -> None:
    """A state that the store cannot write would never be reached."""
    covered = {(before, after) for _, allowed, after in EDGES.values() for before in allowed if before != after}
    assert covered == {(before, after) for before, later in NEXT_STATES.items() for after in later}


@pytest.mark.parametrize("change", [edge[0] for edge in EDGES.values()], ids=EDGES.keys())
async def test_a_run_that_is_missing_is_not_changed(store: SqliteStore, change: Change) -> None:
    """It may have been erased a moment ago."""
    assert await change(store, "run_none") is False


async def test_an_accepted_run_comes_back_whole(store: SqliteStore) -> None:
    """Every field is needed by somebody after a restart."""
    await store.accept(RUN)
    assert await get_run(store, RUN.id) == RUN


async def test_an_id_is_accepted_once(store: SqliteStore) -> None:
    """Writing over a run would lose it."""
    await store.accept(build_run("run_1", app_name="first"))
    with pytest.raises(StoreError, match="contradicts an earlier one"):
        await store.accept(build_run("run_1", app_name="second"))
    assert (await get_run(store)).app_name == "first"


async def test_starting_writes_its_time(store: SqliteStore) -> None:
    """After a crash it tells when the request may have left."""
    run = build_run("run_1")
    await store.accept(run)
    await note_starting(store, "run_1")
    assert await get_run(store) == replace(run, state=S.STARTING, starting_at=7.0)


async def test_a_run_not_taken_is_as_if_never_tried(store: SqliteStore) -> None:
    """The provider said 429, so it will be sent again with the same reservation."""
    run = build_run("run_1")
    await store.accept(run)
    await note_starting(store, "run_1")
    await note_not_taken(store, "run_1")
    assert await get_run(store) == run


async def test_a_started_run_has_the_providers_id(store: SqliteStore) -> None:
    """Without it the result could never be fetched."""
    run = build_run("run_1", S.STARTING)
    await store.accept(run)
    await start(S.QUEUED)(store, "run_1")
    assert await get_run(store) == replace(run, state=S.QUEUED, provider_run_id="r1", started_at=8.0)


async def test_a_finished_run_has_its_outputs_and_no_reservation(store: SqliteStore) -> None:
    """All of it is one transaction: outputs without the end, or the end without outputs, would be a lost result."""
    run = build_run("run_1", S.RUNNING)
    await store.accept(run)
    await finish(S.PARTIAL)(store, "run_1")
    assert await get_run(store) == replace(
        run,
        state=S.PARTIAL,
        failure="why",
        finished_at=9.0,
        reserved_credits=0.0,
        spent_credits=4.0,
        outputs=OUTPUTS,
    )


async def test_a_second_end_leaves_the_first(store: SqliteStore) -> None:
    """Another process that followed the same run must not undo what was saved meanwhile."""
    await store.accept(build_run("run_1", S.RUNNING))
    await finish(S.SUCCEEDED)(store, "run_1")
    await store.note_output("run_1", replace(OUTPUT, saved_path="/kept.png"))
    assert await finish(S.SUCCEEDED)(store, "run_1") is False
    assert (await get_run(store)).outputs[0].saved_path == "/kept.png"


async def test_an_unknown_run_counts_as_paid(store: SqliteStore) -> None:
    """It may have been charged, and the caps must hold in the worse case."""
    run = build_run("run_1", S.STARTING)
    await store.accept(run)
    await note_unknown(store, "run_1")
    assert await get_run(store) == replace(
        run,
        state=S.UNKNOWN,
        failure="No answer.",
        start_answer="<html>",
        finished_at=9.0,
        reserved_credits=0.0,
        spent_credits=5.0,
    )


@pytest.mark.parametrize("state", [S.ACCEPTED, S.STARTING, S.SUCCEEDED, S.UNKNOWN])
@pytest.mark.parametrize("change", [start, look])
async def test_only_a_providers_state_can_follow_a_start(
    store: SqliteStore, change: Callable[[RunState], Change], state: RunState
) -> None:
    """Any other is a mistake of the caller, not a race."""
    with pytest.raises(ValueError, match="is not one of queued, running"):
        await change(state)(store, "run_1")


@pytest.mark.parametrize("state", [S.ACCEPTED, S.RUNNING, S.UNKNOWN])
async def test_only_a_known_end_finishes_a_run(store: SqliteStore, state: RunState) -> None:
    """An unknown run keeps its reservation, so it has a change of its own."""
    with pytest.raises(ValueError, match="is not one of cancelled, failed, partial, succeeded"):
        await finish(state)(store, "run_1")


async def test_one_output_is_replaced(store: SqliteStore) -> None:
    """It was saved; the others are still being fetched."""
    await store.accept(RUN)
    saved = Output(n=2, kind=OutputKind.FILE, url="https://x.example/2", saved_path="/2.bin", size_bytes=3)
    await store.note_output(RUN.id, saved)
    assert (await get_run(store, RUN.id)).outputs == (RUN.outputs[0], saved)


async def test_an_output_that_was_never_written_is_not_replaced(store: SqliteStore) -> None:
    """A file without a result is a mistake to hear of."""
    await store.accept(build_run("run_1"))
    with pytest.raises(RunNotFound) as caught:
        await store.note_output("run_1", OUTPUT)
    assert caught.value.run_id == "run_1"


async def test_told_keeps_its_first_time_and_delivered_its_last(store: SqliteStore) -> None:
    """Whether a crash may drop a run depends on the first answer; the last result is the one that was delivered last."""
    await store.accept(build_run("run_1"))
    for at in (1.0, 2.0):
        await store.note_told("run_1", at=at)
        assert await store.record("run_1", Delivered(at + 10, "Claude"))
    run = await get_run(store)
    assert (run.told_at, run.delivered_at, run.delivered_to) == (1.0, 12.0, "Claude")
    assert not await store.record("run_none", Delivered(3.0))


async def test_a_cancellation_counts_for_the_delivery_that_it_follows(store: SqliteStore) -> None:
    """A late word about an earlier answer takes nothing from a later one."""
    await store.accept(build_run("run_1"))
    for event in (Delivered(1.0), DeliveryCancelled(1.0)):
        await store.record("run_1", event)
    assert (await get_run(store)).is_delivery_cancelled
    for event in (Delivered(2.0), DeliveryCancelled(1.0)):
        await store.record("run_1", event)
    run = await get_run(store)
    assert (run.delivered_at, run.is_delivery_cancelled) == (2.0, False)


async def test_following_ends_and_begins_again(store: SqliteStore) -> None:
    """Whoever stopped looking may think again."""
    await store.accept(build_run("run_1"))
    for is_followed in (False, True):
        await store.note_followed("run_1", is_followed=is_followed)
        assert (await get_run(store)).is_followed is is_followed


async def test_half_a_surrogate_pair_does_not_lose_a_result(store: SqliteStore) -> None:
    """JSON may carry one, and SQLite takes only UTF-8."""
    await store.accept(build_run("run_1", S.RUNNING))
    text = Output(n=1, kind=OutputKind.TEXT, url=None, text="a\ud800b")
    assert await store.note_finished(
        "run_1", state=S.SUCCEEDED, outputs=[text], failure="\udfff", spent_credits=0, at=9.0
    )
    run = await get_run(store)
    assert (run.failure, run.outputs) == ("?", (replace(text, text="a?b"),))


@pytest.mark.parametrize("state", [S.RUNNING, S.SUCCEEDED])
async def test_of_two_who_take_a_run_over_one_gets_it(store: SqliteStore, state: RunState) -> None:
    """Two followers would ask twice as often and save every file twice; whoever takes it over wants it looked at."""
    run = build_run("run_1", state, is_followed=False)
    await store.accept(run)
    won = [await store.note_taken_over("run_1", from_process="p1", to_process=name) for name in ("p2", "p3")]
    assert won == [True, False]
    assert await get_run(store) == replace(run, process_id="p2", is_followed=True)


async def test_a_run_is_adopted_once(store: SqliteStore) -> None:
    """From then on it belongs to the key that can read it, as if no other had tried."""
    old = "magnific:api.example:f0"
    run = build_run("run_1", S.RUNNING, account_id=old)
    await store.accept(run)
    await store.note_adoption_tried("run_1", account_id="magnific:api.example:f9")
    tried = await store.get_run("run_1", account_id=old, owner=OWNER)
    won = [await store.note_adopted("run_1", from_account=old, to_account=ACCOUNT) for _ in range(2)]
    assert tried == replace(run, adoption_tried="magnific:api.example:f9")
    assert won == [True, False]
    assert await get_run(store) == replace(run, account_id=ACCOUNT)


async def test_the_first_word_of_running_is_kept(store: SqliteStore) -> None:
    """A provider may put a run back into its queue; how long it worked counts from the first time."""
    await store.accept(build_run("run_1", S.QUEUED))
    for state, at in ((S.QUEUED, 1.0), (S.RUNNING, 2.0), (S.QUEUED, 3.0), (S.RUNNING, 4.0)):
        await store.note_look("run_1", state=state, at=at)
    assert (await get_run(store)).running_at == 2.0
