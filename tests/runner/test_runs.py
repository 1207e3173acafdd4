"""The runner as handlers see it: their fate touches no run, and no mistake of ours loses or repeats one."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import anyio
import anyio.lowlevel
import pytest

from flowport.errors import Breakage, LedgerError, Operation
from flowport.ledger.records import AttachRules
from flowport.model import ENDED_UNSENT, ENDED_WHILE_STARTING, App, JsonValue, Run, RunState, Urgency
from flowport.processes import ProcessLock
from flowport.providers.interface import ApiAnswer, ApiRequest, RunLook, StartOutcome
from flowport.providers.magnific import Magnific
from flowport.purse import PurseTerms
from flowport.runner.calling import RunCall
from flowport.runner.cancelling import CancelOutcome
from flowport.runner.leaving import GATHERING_SECONDS, WRITING_SECONDS
from tests.runner.benches import open_bench
from tests.runner.samples import CALL, NOW, RUN, TAKEN, build_look, read
from tests.scripted import (
    Answer,
    FaultyLedger,
    Reply,
    build_answer,
    build_breakage,
    in_turn,
    wait_until,
)

BUSY = build_answer(None, 429, retry_after="7")
DONE = build_look("completed")
RUNNING = replace(
    RUN, state=RunState.RUNNING, provider_run_id="remote-1", starting_at=NOW, started_at=NOW, running_at=NOW
)
BUG = ZeroDivisionError("our own bug")


async def test_a_run_goes_from_the_call_to_its_end(ledger: FaultyLedger, tmp_path: Path) -> None:
    """The plain case, as the ledger has it at the beginning and at the end."""
    async with open_bench(ledger, tmp_path, in_turn(TAKEN, build_look("running"), DONE)) as bench:
        run = await bench.submit()
        over = await bench.finish(run)

    booted: Any = {"boot_id": "boot", "accepted_boot_seconds": 0.0}
    assert run == replace(RUN, id=run.id, process_id=run.process_id, **booted)
    assert run.id.startswith("run_")
    assert len(run.id) == 14
    assert over == replace(
        RUNNING,
        id=run.id,
        process_id=run.process_id,
        state=RunState.SUCCEEDED,
        failure="The app finished, but Magnific handed over no result that Flowport can read.",
        finished_at=NOW + 6.5,
        spent_credits=5.0,
        reserved_credits=0.0,
        **booted,
    )


async def test_a_run_without_a_price_reserves_nothing(ledger: FaultyLedger, tmp_path: Path) -> None:
    """What the provider does not say cannot be held back."""
    call = replace(CALL, app=replace(CALL.app, price_credits=None))
    async with open_bench(ledger, tmp_path, in_turn(TAKEN, DONE)) as bench:
        run = (await bench.runner.submit(call, RunCall("somebody"))).run
    assert (run.price_credits, run.reserved_credits, run.owner) == (None, 0.0, "somebody")


@pytest.mark.parametrize("urgency", Urgency)
async def test_the_board_knows_how_soon_a_run_is_wanted(ledger: FaultyLedger, tmp_path: Path, urgency: Urgency) -> None:
    """It decides which run gets the next request of the budget."""
    async with open_bench(ledger, tmp_path, in_turn(TAKEN, DONE)) as bench:
        run = (await bench.runner.submit(CALL, RunCall("local", urgency=urgency))).run
        entry = bench.board.get(run.id)
        assert entry is not None
        assert entry.urgency is urgency


async def test_submitting_returns_only_when_the_run_is_on_disk(ledger: FaultyLedger, tmp_path: Path) -> None:
    """An id that a crash would forget must not be told."""
    ledger.held["accept"] = anyio.Event()
    returned: list[Run] = []
    async with open_bench(ledger, tmp_path, in_turn(TAKEN, DONE)) as bench, anyio.create_task_group() as tasks:

        async def submit() -> None:
            """Keep the run that was returned."""
            returned.append(await bench.submit())

        tasks.start_soon(submit)
        await wait_until(lambda: "accept" in ledger.called)
        await anyio.wait_all_tasks_blocked()
        assert (returned, bench.account.asked) == ([], [])
        ledger.held["accept"].set()
        await wait_until(lambda: bool(returned))
        assert (await bench.finish(returned[0])).state is RunState.SUCCEEDED


async def test_a_submitter_that_wanted_its_run_stopped_leaves_none(ledger: FaultyLedger, tmp_path: Path) -> None:
    """It left before it could learn which run is its own; nothing is sent for it."""
    ledger.held["accept"] = anyio.Event()
    async with open_bench(ledger, tmp_path, in_turn()) as bench:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.runner.submit, CALL, RunCall("local", is_stopped_with_caller=True))
            await wait_until(lambda: "accept" in ledger.called)
            tasks.cancel_scope.cancel()
        ledger.held["accept"].set()
        await wait_until(lambda: "note_abandoned" in ledger.called and bench.board.count_live() == 0)
    (run,) = await ledger.get_runs(account_id=None, owner="local", limit=9, unseen_first=False)
    assert (run.state, bench.account.asked) == (RunState.CANCELLED, [])


async def test_a_submitter_that_goes_away_leaves_the_run_going(ledger: FaultyLedger, tmp_path: Path) -> None:
    """Clients give up; the run may be paid for by then."""
    ledger.held["accept"] = anyio.Event()
    async with open_bench(ledger, tmp_path, in_turn(TAKEN, DONE)) as bench:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.submit)
            await wait_until(lambda: "accept" in ledger.called)
            tasks.cancel_scope.cancel()
        ledger.held["accept"].set()
        await wait_until(lambda: "note_started" in ledger.called)
        (run,) = await ledger.get_runs(account_id=None, owner="local", limit=9, unseen_first=False)
        assert (await bench.finish(run)).state is RunState.SUCCEEDED


async def test_a_run_that_cannot_be_recorded_is_not_sent(ledger: FaultyLedger, tmp_path: Path) -> None:
    """Without a record it could be paid twice."""
    ledger.failing.add("accept")
    async with open_bench(ledger, tmp_path, in_turn()) as bench:
        with pytest.raises(LedgerError, match="the disk is full"):
            await bench.submit()
        assert (bench.account.asked, bench.board.count_live()) == ([], 0)


async def test_a_run_that_cannot_be_noted_as_starting_fails_unsent(ledger: FaultyLedger, tmp_path: Path) -> None:
    """The ledger that broke in between says so in the run itself."""
    ledger.failing.add("note_starting")
    async with open_bench(ledger, tmp_path, in_turn()) as bench:
        over = await bench.finish(await bench.submit())
    assert (over.state, over.reserved_credits, over.spent_credits) == (RunState.FAILED, 0.0, 0.0)
    assert over.failure == "Flowport's record of runs cannot be used: the disk is full. Make room."


@pytest.mark.parametrize(
    ("failing", "answer", "state"),
    [
        ({"note_starting", "note_finished"}, in_turn(), RunState.FAILED),
        ({"note_started", "note_finished"}, in_turn(TAKEN, DONE), RunState.SUCCEEDED),
        ({"note_started"}, in_turn(TAKEN, DONE), RunState.SUCCEEDED),
        ({"note_unknown"}, in_turn(build_answer(None, 500)), RunState.UNKNOWN),
    ],
)
async def test_a_run_whose_end_is_not_on_disk_stays_on_the_board(
    *, ledger: FaultyLedger, tmp_path: Path, failing: set[str], answer: Answer, state: RunState
) -> None:
    """The board is then the only place where a person can learn of it."""
    ledger.failing.update(failing)
    async with open_bench(ledger, tmp_path, answer) as bench:
        run = await bench.submit()
        await bench.wait_for(run, state)
        await anyio.wait_all_tasks_blocked()
        entry = bench.runner.get_entry(run.id)
        assert entry is not None
        assert (entry.run.state, entry.is_settled) == (state, True)
        assert bench.account.count(Operation.START_RUN) <= 1


class Clumsy(Magnific):
    """A provider module with a bug in one of its functions."""

    def __init__(self, function: str) -> None:
        super().__init__()
        self.function = function

    def build_start_request(self, app: App, inputs: Mapping[str, JsonValue]) -> ApiRequest:
        """Crash, or do it."""
        self._crash_in("build_start_request")
        return super().build_start_request(app, inputs)

    def parse_start(self, answer: ApiAnswer) -> StartOutcome:
        """Crash, or do it."""
        self._crash_in("parse_start")
        return super().parse_start(answer)

    def build_look_request(self, provider_run_id: str) -> ApiRequest:
        """Crash, or do it."""
        self._crash_in("build_look_request")
        return super().build_look_request(provider_run_id)

    def parse_look(self, answer: ApiAnswer, *, now: float) -> RunLook:
        """Crash, or do it."""
        self._crash_in("parse_look")
        return super().parse_look(answer, now=now)

    def _crash_in(self, function: str) -> None:
        if function == self.function:
            raise BUG


CRASHES = [
    ("build_start_request", 0, RunState.FAILED, "Flowport made a mistake before anything was sent."),
    (
        "parse_start",
        1,
        RunState.UNKNOWN,
        "Flowport made a mistake while it started this run, so it may or may not be running.",
    ),
    ("build_look_request", 1, RunState.RUNNING, ""),
    ("parse_look", 1, RunState.RUNNING, ""),
]


@pytest.mark.parametrize(("function", "sent", "state", "failure"), CRASHES, ids=[row[0] for row in CRASHES])
async def test_a_crash_leaves_what_is_certain_and_wakes_those_who_wait(
    *, ledger: FaultyLedger, tmp_path: Path, function: str, sent: int, state: RunState, failure: str
) -> None:
    """Our own bug must not make a failed run of one that is paid for, nor leave a handler waiting."""
    async with open_bench(ledger, tmp_path, in_turn(TAKEN, DONE), provider=Clumsy(function)) as bench:
        run = await bench.submit()
        over = await bench.finish(run)
        assert (over.state, over.failure) == (state, failure)
        assert bench.account.count(Operation.START_RUN) == sent
    assert over.reserved_credits == (5.0 if state is RunState.RUNNING else 0.0)
    assert over.spent_credits == (5.0 if state is RunState.UNKNOWN else 0.0)


async def test_a_crash_rings_the_bell_of_a_waiting_handler(ledger: FaultyLedger, tmp_path: Path) -> None:
    """It would else wait until the client gives up."""
    async with open_bench(ledger, tmp_path, in_turn(TAKEN, DONE), provider=Clumsy("parse_look")) as bench:
        run = await bench.submit()
        await bench.wait_for(run, RunState.RUNNING)
        entry = bench.runner.get_entry(run.id)
        assert entry is not None
        with anyio.fail_after(5):
            await entry.changed.wait()
        assert entry.problem == "Flowport made a mistake while it followed this run."


@pytest.mark.parametrize(
    ("function", "operation", "state"),
    [
        ("build_start_request", "note_finished", RunState.FAILED),
        ("parse_start", "note_unknown", RunState.UNKNOWN),
    ],
)
async def test_a_crash_that_cannot_be_written_down_is_on_the_board(
    ledger: FaultyLedger, tmp_path: Path, function: str, operation: str, state: RunState
) -> None:
    """Two misfortunes at once still leave no handler waiting."""
    ledger.failing.add(operation)
    async with open_bench(ledger, tmp_path, in_turn(TAKEN), provider=Clumsy(function)) as bench:
        run = await bench.submit()
        await bench.wait_for(run, state)
        await anyio.wait_all_tasks_blocked()
        entry = bench.runner.get_entry(run.id)
        assert entry is not None
        assert (entry.is_settled, entry.is_unwritten) == (True, True)


class CrashingLedger(FaultyLedger):
    """A ledger with a bug."""

    async def accept(self, run: Run, rules: AttachRules | None = None, terms: PurseTerms | None = None) -> NoReturn:
        """Crash."""
        raise BUG


async def test_a_crash_before_the_record_is_told_to_the_submitter(tmp_path: Path) -> None:
    """Nothing was sent, and the call must not hang."""
    ledger = CrashingLedger(tmp_path / "ledger.sqlite3")
    async with open_bench(ledger, tmp_path, in_turn()) as bench:
        with pytest.raises(LedgerError, match="Flowport made a mistake"):
            await bench.submit()
        assert bench.account.asked == []
    await ledger.close()


async def test_a_place_that_cannot_be_reached_fails_the_run_unsent(ledger: FaultyLedger, tmp_path: Path) -> None:
    """The built-in sandbox may not start at all; that shows before anything is sent."""
    async with open_bench(ledger, tmp_path, in_turn()) as bench:
        lost = build_breakage(Breakage.NO_CONNECTION)

        async def refuse(priority: object, operation: object = None) -> NoReturn:
            """Stand for an account whose place cannot be found."""
            raise lost

        bench.account.wait_for_turn = refuse  # type: ignore[method-assign]  # the one way in which it can fail here
        over = await bench.finish(await bench.submit())
    assert (over.state, over.failure, over.reserved_credits) == (RunState.FAILED, str(lost), 0.0)


async def test_a_run_that_waits_for_its_turn_is_cancelled_for_nothing(ledger: FaultyLedger, tmp_path: Path) -> None:
    """Nothing was sent, so nothing is charged."""
    async with open_bench(ledger, tmp_path, in_turn(BUSY), is_automatic=False) as bench:
        run = await bench.submit()
        await bench.reach_pause(run, RunState.ACCEPTED)
        outcome = await bench.runner.cancel(run, should_stop_following=False)
        again = await bench.runner.cancel(run, should_stop_following=True)
        bench.clock.advance(7)
        over = await bench.finish(run)

    assert (outcome, again) == (CancelOutcome.CANCELLED, CancelOutcome.ALREADY_OVER)
    assert over == replace(
        RUN,
        id=run.id,
        process_id=run.process_id,
        state=RunState.CANCELLED,
        boot_id="boot",
        accepted_boot_seconds=0.0,
        failure="The run was cancelled before anything was sent; nothing was charged.",
        finished_at=NOW,
        reserved_credits=0.0,
    )
    assert len(bench.account.asked) == 1


async def test_a_cancelled_run_is_told_at_once(ledger: FaultyLedger, tmp_path: Path) -> None:
    """The task of the run may sleep for minutes yet."""
    async with open_bench(ledger, tmp_path, in_turn(BUSY), is_automatic=False) as bench:
        run = await bench.submit()
        await bench.reach_pause(run, RunState.ACCEPTED)
        await bench.runner.cancel(run, should_stop_following=False)
        entry = bench.runner.get_entry(run.id)
        assert entry is not None
        assert entry.is_settled


async def test_a_run_that_is_being_started_cannot_be_cancelled(ledger: FaultyLedger, tmp_path: Path) -> None:
    """The request is under way; saying "cancelled" now could be a lie."""
    async with open_bench(ledger, tmp_path, in_turn(TAKEN, DONE)) as bench:
        go = anyio.Event()
        bench.account.before_answer = go.wait
        run = await bench.submit()
        await bench.wait_for(run, RunState.STARTING)
        outcomes = [
            await bench.runner.cancel(run, should_stop_following=False),
            await bench.runner.cancel(run, should_stop_following=True),
        ]
        go.set()
        await wait_until(lambda: "note_started" in ledger.called)
        await anyio.wait_all_tasks_blocked()
        kept = await read(ledger, run.id)
    assert outcomes == [CancelOutcome.CANNOT, CancelOutcome.UNFOLLOWED]
    assert (kept.state, kept.is_followed, kept.provider_run_id) == (RunState.RUNNING, False, "remote-1")
    assert len(bench.account.asked) == 1


async def test_a_running_run_goes_on_or_is_no_longer_looked_at(ledger: FaultyLedger, tmp_path: Path) -> None:
    """Magnific cannot cancel, so these are the two honest outcomes."""
    async with open_bench(ledger, tmp_path, in_turn(TAKEN), is_automatic=False) as bench:
        run = await bench.submit()
        await bench.reach_pause(run, RunState.RUNNING)
        outcomes = [
            await bench.runner.cancel(run, should_stop_following=False),
            await bench.runner.cancel(run, should_stop_following=True),
        ]
        over = await bench.finish(run)
        bench.clock.advance(60)
        await wait_until(lambda: bench.clock.count_sleepers() == 0)
    assert outcomes == [CancelOutcome.CANNOT, CancelOutcome.UNFOLLOWED]
    assert (over.state, over.is_followed) == (RunState.RUNNING, False)
    assert bench.account.count(Operation.READ_RUN) == 0


async def test_a_run_of_another_process_is_cancelled_through_the_ledger(ledger: FaultyLedger, tmp_path: Path) -> None:
    """Two clients share one home; the other process finds the run cancelled when its turn comes."""
    other = replace(RUN, id="run_two")
    await ledger.accept(RUN)
    await ledger.accept(other)
    await ledger.note_starting(other.id, at=NOW)
    async with open_bench(ledger, tmp_path, in_turn()) as bench:
        outcomes = [await bench.runner.cancel(run, should_stop_following=False) for run in (RUN, other)]
    assert outcomes == [CancelOutcome.CANCELLED, CancelOutcome.CANNOT]
    assert (await read(ledger)).state is RunState.CANCELLED


async def test_a_run_that_got_away_meanwhile_is_not_called_cancelled(ledger: FaultyLedger, tmp_path: Path) -> None:
    """The ledger decides, not what somebody read a moment ago."""
    await ledger.accept(RUN)
    await ledger.note_starting(RUN.id, at=NOW)
    async with open_bench(ledger, tmp_path, in_turn()) as bench:
        assert await bench.runner.cancel(RUN, should_stop_following=False) is CancelOutcome.CANNOT


@pytest.mark.parametrize("operation", ["note_cancelled", "note_followed"])
async def test_a_wish_that_cannot_be_recorded_is_not_granted(
    ledger: FaultyLedger, tmp_path: Path, operation: str
) -> None:
    """Saying "cancelled" and starting all the same would cost the person money."""
    run = RUN if operation == "note_cancelled" else RUNNING
    await ledger.accept(run)
    ledger.failing.add(operation)
    async with open_bench(ledger, tmp_path, in_turn()) as bench:
        with pytest.raises(LedgerError):
            await bench.runner.cancel(run, should_stop_following=True)
    assert await read(ledger) == run


async def test_a_run_whose_caller_has_gone_is_stopped_if_nothing_was_sent(ledger: FaultyLedger, tmp_path: Path) -> None:
    """Some people want their stop button to stop."""
    async with open_bench(ledger, tmp_path, in_turn(BUSY), is_automatic=False) as bench:
        call = RunCall("local")
        run = (await bench.runner.submit(CALL, call)).run
        await bench.reach_pause(run, RunState.ACCEPTED)
        bench.runner.stop_unwanted(run, call)
        await bench.wait_for(run, RunState.CANCELLED)
    assert (await read(ledger, run.id)).state is RunState.CANCELLED


@pytest.mark.parametrize("is_shared", [True, False])
async def test_a_wish_to_stop_outlives_a_start_that_was_not_taken(
    ledger: FaultyLedger, tmp_path: Path, *, is_shared: bool
) -> None:
    """Its request was on its way when the caller left; it comes back untaken, and is sent again only for somebody else."""
    call, held = RunCall("local"), anyio.Event()

    def answer(request: ApiRequest) -> Reply:
        """Let the caller leave while the first request is away."""
        if held.is_set():
            return TAKEN if request.operation is Operation.START_RUN else DONE
        held.set()
        return BUSY

    async with open_bench(ledger, tmp_path, answer, is_automatic=False) as bench:
        run = (await bench.runner.submit(CALL, call)).run
        if is_shared:
            await bench.runner.submit(CALL, RunCall("local", connection="another"))
        bench.board.note_unwanted(run.id)
        await ledger.leave(call.id)
        await wait_until(lambda: bench.clock.count_sleepers() == 1)
        bench.clock.advance(7)
        if is_shared:
            await wait_until(lambda: len(bench.account.asked) == 2)
        else:
            assert (await bench.finish(run)).state is RunState.CANCELLED
            assert len(bench.account.asked) == 1


async def test_a_run_that_nobody_follows_is_taken_up_to_its_end(ledger: FaultyLedger, tmp_path: Path) -> None:
    """After a restart, or after somebody stopped looking, the result is still there to be had."""
    left = replace(RUNNING, is_followed=False)
    await ledger.accept(left)
    async with open_bench(ledger, tmp_path, in_turn(DONE)) as bench:
        await bench.inheritor.take_up(left)
        await bench.inheritor.take_up(left)
        over = await bench.finish(left)
    assert (over.state, over.is_followed) == (RunState.SUCCEEDED, True)
    assert len(bench.account.asked) == 1


async def test_a_run_is_taken_up_although_the_ledger_cannot_note_it(ledger: FaultyLedger, tmp_path: Path) -> None:
    """Looking is free and harms nothing, so a full disk is no reason not to."""
    await ledger.accept(RUNNING)
    ledger.failing.add("note_followed")
    async with open_bench(ledger, tmp_path, in_turn(DONE)) as bench:
        await bench.inheritor.take_up(RUNNING)
        assert (await bench.finish(RUNNING)).state is RunState.SUCCEEDED


async def test_a_crash_of_a_run_that_was_taken_up_leaves_nobody_waiting(ledger: FaultyLedger, tmp_path: Path) -> None:
    """The entry would else say "running" for as long as the process lives."""
    await ledger.accept(RUNNING)
    async with open_bench(ledger, tmp_path, in_turn(DONE), provider=Clumsy("parse_look")) as bench:
        await bench.inheritor.take_up(RUNNING)
        assert (await bench.finish(RUNNING)).state is RunState.RUNNING


@pytest.mark.parametrize(
    "run",
    [
        RUN,
        replace(RUN, state=RunState.STARTING),
        replace(RUNNING, provider_run_id=""),
        replace(RUNNING, state=RunState.SUCCEEDED),
        replace(RUNNING, state=RunState.UNKNOWN),
        replace(RUNNING, account_id="magnific:elsewhere:f2"),
    ],
    ids=["accepted", "starting", "without-id", "over", "unknown", "other-key"],
)
async def test_what_cannot_be_looked_at_is_not_taken_up(ledger: FaultyLedger, tmp_path: Path, run: Run) -> None:
    """There is no id to ask for, nothing left to learn, or no key to ask with."""
    async with open_bench(ledger, tmp_path, in_turn()) as bench:
        await bench.inheritor.take_up(run)
        assert bench.board.get(run.id) is None


@pytest.mark.parametrize(
    ("seconds", "is_seen"), [(WRITING_SECONDS - 1, False), (WRITING_SECONDS + GATHERING_SECONDS, True)]
)
async def test_a_result_is_seen_for_good_once_its_answer_must_be_written(
    ledger: FaultyLedger, tmp_path: Path, seconds: float, is_seen: bool
) -> None:
    """A process that is killed over its answer cannot say whether the client has it."""
    over = replace(RUN, state=RunState.SUCCEEDED, finished_at=NOW)
    async with open_bench(ledger, tmp_path, in_turn(), is_automatic=False) as bench:
        await ledger.accept(over)
        await bench.runner.hand_over(over.id, RunCall("local"), by="Claude")
        await wait_until(lambda: bench.clock.count_sleepers() == 1)
        assert (await read(ledger)).seen_by == "Claude"
        bench.clock.advance(seconds)
        await bench.clock.settle()
        while is_seen and ledger.called[-1] != "leave":
            await anyio.lowlevel.checkpoint()
        await ledger.forget_dead_calls(lambda _: False)

        assert ((await read(ledger)).seen_at is not None) is is_seen


async def test_a_result_stays_seen_when_the_process_ends_after_its_answer(ledger: FaultyLedger, tmp_path: Path) -> None:
    """Clients leave right after the last answer, and nothing of it is to be mentioned again."""
    over = replace(RUN, state=RunState.SUCCEEDED, finished_at=NOW)
    async with open_bench(ledger, tmp_path, in_turn(), is_automatic=False) as bench:
        await ledger.accept(over)
        await bench.runner.hand_over(over.id, RunCall("local"), by="Claude")
        await wait_until(lambda: bench.clock.count_sleepers() == 1)
    await ledger.forget_dead_calls(lambda _: False)

    assert (await read(ledger)).seen_at is not None


async def test_stopping_and_beginning_again_leaves_one_follower(ledger: FaultyLedger, tmp_path: Path) -> None:
    """Two would ask twice as often and save every file twice."""
    answer = in_turn(TAKEN, DONE)
    async with open_bench(ledger, tmp_path, answer, is_automatic=False) as bench:
        run = await bench.submit()
        await bench.reach_pause(run, RunState.RUNNING)
        await bench.runner.cancel(run, should_stop_following=True)
        await bench.inheritor.take_up(await read(ledger, run.id))
        (watch,) = bench.runner._follower._watches.values()
        await wait_until(lambda: watch._seated == 2)
        bench.clock.advance(60)
        assert (await bench.finish(run)).state is RunState.SUCCEEDED
        await wait_until(lambda: bench.clock.count_sleepers() == 0)
    assert bench.account.count(Operation.READ_RUN) == 1


async def test_outputs_are_saved_before_the_run_is_settled(ledger: FaultyLedger, tmp_path: Path) -> None:
    """An answer is given when the run is settled, and it names the files or why there are none."""
    async with open_bench(ledger, tmp_path, in_turn(TAKEN, build_look("completed", images=1))) as bench:
        ledger.held["note_output"] = anyio.Event()
        bench.account.origins = frozenset({"https://cdn.example"})
        run = await bench.submit()
        await bench.wait_for(run, RunState.SUCCEEDED)
        entry = bench.runner.get_entry(run.id)
        assert entry is not None
        assert (entry.is_saving, entry.is_settled) == (True, False)
        ledger.held["note_output"].set()
        over = await bench.finish(run)
    assert over.outputs[0].save_problem.startswith("It was not saved: ")


async def test_fifty_runs_leave_nothing_behind(ledger: FaultyLedger, tmp_path: Path) -> None:
    """A server lives for weeks in an editor."""
    ends: list[Reply] = [DONE, build_look("failed"), build_answer(None, 500), build_answer(None, 422), BUSY]
    taken = iter(range(1_000))

    def answer(request: ApiRequest) -> Reply:
        """Let the runs end in different ways, one after the other."""
        end = ends[next(taken) % 5]
        if request.operation is Operation.START_RUN:
            return end if isinstance(end, ApiAnswer) and end.status >= 400 else TAKEN
        return DONE

    async with open_bench(ledger, tmp_path, answer) as bench:
        calls = [RunCall("local", is_new_wanted=True, is_doubt_accepted=True) for _ in range(50)]
        runs = [(await bench.runner.submit(CALL, call)).run for call in calls]
        for run in runs:
            await bench.finish(run)
        assert (bench.board._entries, bench.clock.count_sleepers()) == ({}, 0)
    kept = await ledger.get_runs(account_id=None, owner="local", limit=100, unseen_first=False)
    assert {run.id for run in kept} == {run.id for run in runs}
    assert all(run.state.is_final for run in kept)
    assert sum(run.reserved_credits for run in kept) == 0


ORPHANS = [
    (RunState.ACCEPTED, "", RunState.CANCELLED, ENDED_UNSENT, 0.0),
    (RunState.STARTING, "", RunState.UNKNOWN, ENDED_WHILE_STARTING, 5.0),
    (RunState.RUNNING, "remote-1", RunState.RUNNING, "", 0.0),
]


@pytest.mark.parametrize(("state", "remote", "settled", "failure", "spent"), ORPHANS)
async def test_what_a_dead_process_left_is_settled(
    *, ledger: FaultyLedger, tmp_path: Path, state: RunState, remote: str, settled: RunState, failure: str, spent: float
) -> None:
    """Nothing will ever start such a run, so nobody must be told to wait for it; what may be paid for says so."""
    await ledger.accept(replace(RUN, state=state, provider_run_id=remote))
    async with open_bench(ledger, tmp_path, in_turn(last=build_look("running"))) as bench:
        await bench.watch.take_over()
        kept = await read(ledger)

    assert (kept.state, kept.failure, kept.spent_credits) == (settled, failure, spent)


async def test_what_a_living_process_is_doing_is_left_to_it(ledger: FaultyLedger, tmp_path: Path) -> None:
    """Two clients each start a Flowport, and each has runs of its own."""
    other = ProcessLock(tmp_path / "home")
    await ledger.accept(replace(RUN, process_id=other.process_id))
    async with open_bench(ledger, tmp_path, in_turn()) as bench:
        await bench.watch.take_over()
        await bench.inheritor.take_up(await read(ledger))
    other.release()

    assert (await read(ledger)).state is RunState.ACCEPTED


@pytest.mark.parametrize(
    ("state", "settled", "failure"),
    [
        (RunState.ACCEPTED, RunState.CANCELLED, ENDED_UNSENT),
        (RunState.STARTING, RunState.UNKNOWN, ENDED_WHILE_STARTING),
    ],
)
async def test_our_own_end_is_written_down(
    ledger: FaultyLedger, tmp_path: Path, state: RunState, settled: RunState, failure: str
) -> None:
    """The next process must know what is certain, and credits must not stay reserved for ever."""
    async with open_bench(ledger, tmp_path, in_turn(BUSY), is_automatic=False) as bench:
        if state is RunState.STARTING:
            bench.account.before_answer = anyio.sleep_forever
        run = await bench.submit()
        if state is RunState.ACCEPTED:
            await bench.reach_pause(run, state)
        else:
            await bench.wait_for(run, state)
    kept = await read(ledger, run.id)

    assert (kept.state, kept.failure, kept.reserved_credits) == (settled, failure, 0.0)


async def test_time_counts_from_the_acceptance_also_when_another_process_takes_a_run_up(
    ledger: FaultyLedger, tmp_path: Path
) -> None:
    """Three seconds after a minute of waiting is a minute and three seconds."""
    await ledger.accept(replace(RUNNING, accepted_at=NOW - 60))
    async with open_bench(ledger, tmp_path, in_turn(last=build_look("running")), is_automatic=False) as bench:
        await bench.inheritor.take_up(await read(ledger))
        entry = bench.board.get(RUN.id)

        assert entry is not None
        assert bench.clock.monotonic() - entry.noted_at == 60.0
