"""Bulk status: which runs one request includes, what it reports of them, and what follows a failure."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import pytest

from flowport.domain.errors import Breakage, Operation
from flowport.domain.models import Run, RunState, Urgency
from flowport.providers.interface import ApiRequest
from flowport.providers.magica.api import Magica
from flowport.providers.magica.runs import MagicaBulkStatus
from flowport.providers.magnific.api import Magnific
from flowport.runs.bulk_status import FAILED_SECONDS, REFUSED_SECONDS, BulkStatusReader
from tests.runs.polls import Watch, open_watch
from tests.runs.samples import build_status
from tests.support.fake_clock import FakeClock
from tests.support.scripted import Answer, FaultyStore, Reply, ScriptedAccount, build_answer, build_breakage, in_turn

MADE: Final[dict[str, Any]] = {
    "status": "COMPLETED",
    "nodeRuns": [{"nodeType": "response", "status": "COMPLETED", "output": {"result": ["https://cdn.x/a.png"]}}],
}
GOING: Final = {"status": "RUNNING"}
NEXT_SECONDS: Final = 6.5
"""The times of a run's second poll."""
NAMES: Final = [f"run_{n}" for n in range(6)]


def get_ids(request: ApiRequest) -> list[str]:
    """Return the runs that a request is about."""
    if request.operation is Operation.READ_RUNS:
        ids = (request.body or {})["ids"]
        assert isinstance(ids, list)
        return [str(run_id) for run_id in ids]
    return [request.path.rpartition("/")[2].partition("?")[0]]


def respond(states: Callable[[str], Mapping[str, Any] | None]) -> Answer:
    """Answer every request by the runs' states; a bulk response omits a run without a state."""

    def answer(request: ApiRequest) -> Reply:
        """Answer as Magica does."""
        ids = get_ids(request)
        if request.operation is Operation.READ_RUN:
            return build_answer({"id": ids[0], **(states(ids[0]) or MADE)})
        return build_answer({"runs": [{"id": one, **state} for one in ids if (state := states(one)) is not None]})

    return answer


def fail_together(reply: Reply) -> Answer:
    """Answer a bulk request with this, and a request for a single run with its end."""
    good = respond(lambda _: MADE)
    return lambda request: reply if request.operation is Operation.READ_RUNS else good(request)


@asynccontextmanager
async def open_magica(
    store: FaultyStore, answer: Answer, names: Sequence[str] = NAMES, *, limit: int = 1000
) -> AsyncIterator[Watch]:
    """Poll runs that are due together."""
    async with open_watch(store, answer, limit=limit, provider=Magica()) as watch:
        await watch.accept(*names)
        for name in names:
            await watch.follow(name, Urgency.BATCH)
        yield watch


def get_parties(watch: Watch) -> list[list[str]]:
    """Return the runs of each bulk request."""
    return [sorted(get_ids(one)) for one in watch.account.asked if one.operation is Operation.READ_RUNS]


def get_singles(watch: Watch) -> list[str]:
    """Return the runs that were read singly."""
    return sorted(get_ids(one)[0] for one in watch.account.asked if one.operation is Operation.READ_RUN)


async def test_one_request_reads_all_due_runs(store: FaultyStore) -> None:
    """Each run is over with its results."""
    async with open_magica(store, respond(lambda _: MADE)) as watch:
        await watch.finish(*NAMES)
        assert get_parties(watch) == [NAMES]
        assert get_singles(watch) == []
        assert watch.asked_at == [2.5]
        for name in NAMES:
            followed = watch.over[name]
            assert followed.state is RunState.SUCCEEDED
            assert [output.url for output in followed.outputs] == ["https://cdn.x/a.png"]


async def test_a_live_run_is_polled_again_at_its_own_pace(store: FaultyStore) -> None:
    """The bulk poll counts as a poll of each run in it."""
    seen = dict.fromkeys(NAMES, 0)

    def state(name: str) -> Mapping[str, Any]:
        """Be live once."""
        seen[name] += 1
        return GOING if seen[name] == 1 else MADE

    async with open_magica(store, respond(state)) as watch:
        await watch.finish(*NAMES)
        assert set(seen.values()) == {2}
        assert watch.asked_at[0] == 2.5
        assert watch.asked_at[1] >= 6.5


async def test_a_request_has_no_more_runs_than_the_provider_allows(store: FaultyStore) -> None:
    """The rest have a request of their own."""
    names = [f"run_{n}" for n in range(MagicaBulkStatus.most + 5)]
    async with open_magica(store, respond(lambda _: MADE), names) as watch:
        await watch.finish(*names)
        assert sorted(map(len, get_parties(watch))) == [5, MagicaBulkStatus.most]


@pytest.mark.parametrize(("limit", "names"), [(0, NAMES), (1000, NAMES[:1])], ids=["no limit", "one run"])
async def test_without_load_each_run_is_read_singly(store: FaultyStore, limit: int, names: list[str]) -> None:
    """The request for a single run is the fully documented one."""
    async with open_magica(store, respond(lambda _: MADE), names, limit=limit) as watch:
        await watch.finish(*names)
        assert (get_parties(watch), get_singles(watch)) == ([], names)


async def test_without_bulk_status_each_run_is_read_singly(store: FaultyStore) -> None:
    """Magnific has none, and its polls keep their pace."""
    async with open_watch(store, in_turn(last=build_status("completed")), limit=1000) as watch:
        await watch.accept(*NAMES)
        for name in NAMES:
            await watch.follow(name)
        await watch.finish(*NAMES)
        assert (get_parties(watch), sorted(watch.get_polled())) == ([], NAMES)
    reader = BulkStatusReader(ScriptedAccount(in_turn(), FakeClock(), provider=Magnific(), limit=9), FakeClock())
    assert (reader.get_most(), await reader.fetch(["a"])) == (1, {})


@pytest.mark.parametrize("missing", [["run_0"], ["run_3", "run_4"], NAMES[:5]], ids=str)
async def test_omitted_runs_are_read_singly_at_once(store: FaultyStore, missing: Collection[str]) -> None:
    """An omission is not a poll: it affects neither the run's pace nor the hour for which it may be unknown."""
    async with open_magica(store, respond(lambda name: None if name in missing else MADE)) as watch:
        await watch.finish(*NAMES)
        assert get_parties(watch) == [NAMES]
        assert get_singles(watch) == sorted(missing)
        assert max(watch.asked_at) < NEXT_SECONDS


async def test_a_run_that_is_always_omitted_is_read_singly_each_time(store: FaultyStore) -> None:
    """Otherwise the same request would be repeated, and the run would never end."""
    seen = 0

    def state(name: str) -> Mapping[str, Any] | None:
        """Omit one run; the others are live."""
        return None if name == "run_0" else GOING

    def answer(request: ApiRequest) -> Reply:
        """End the one run at its third poll."""
        nonlocal seen
        if request.operation is Operation.READ_RUN:
            seen += get_ids(request) == ["run_0"]
            return build_answer({"id": "run_0", **(MADE if seen == 3 else GOING)})
        return respond(state)(request)

    async with open_magica(store, answer) as watch:
        await watch.finish("run_0")
        assert set(get_singles(watch)) == {"run_0"}
        assert len(get_parties(watch)) >= 3


BAD: Final[list[tuple[Reply, float]]] = [
    *((build_answer({"message": "no"}, status), REFUSED_SECONDS) for status in (302, 400, 401, 403, 404, 405)),
    (build_answer({"runs": []}), REFUSED_SECONDS),
    (build_answer({"runs": [{"id": "x", **MADE}]}), REFUSED_SECONDS),
    (build_answer(b"<html>"), REFUSED_SECONDS),
    (build_answer({"message": "no"}, 429), FAILED_SECONDS),
    (build_answer({"message": "no"}, 500), FAILED_SECONDS),
    (build_breakage(Breakage.NO_ANSWER, Operation.READ_RUNS), FAILED_SECONDS),
]


@pytest.mark.parametrize("reply", [reply for reply, _ in BAD], ids=str)
async def test_after_a_failed_bulk_request_each_run_is_read_singly_at_once(store: FaultyStore, reply: Reply) -> None:
    """The run that triggered the request, too: no run loses a poll or counts a failure that is not its own."""
    async with open_magica(store, fail_together(reply)) as watch:
        await watch.finish(*NAMES)
        assert (get_parties(watch), get_singles(watch)) == ([NAMES], NAMES)
        assert max(watch.asked_at) < NEXT_SECONDS
        assert {followed.state for followed in watch.over.values()} == {RunState.SUCCEEDED}


@pytest.mark.parametrize(("reply", "seconds"), BAD, ids=str)
async def test_bulk_status_pauses_after_a_failure(reply: Reply, seconds: float) -> None:
    """For a day where it is not available, for a few minutes after a network failure."""
    clock = FakeClock(is_automatic=False)
    account = ScriptedAccount(fail_together(reply), clock, provider=Magica(), limit=50)
    reader = BulkStatusReader(account, clock)
    assert reader.get_most() == MagicaBulkStatus.most
    assert await reader.fetch(["a", "b"]) == {}
    clock.advance(seconds - 1)
    assert reader.get_most() == 1
    clock.advance(1)
    assert reader.get_most() == MagicaBulkStatus.most


async def test_a_daily_limit_is_enough_for_bulk_status(store: FaultyStore) -> None:
    """Bulk status saves requests of the day as well as of the minute."""
    async with open_watch(store, respond(lambda _: MADE), provider=Magica(), per_day=100) as watch:
        await watch.accept(*NAMES)
        for name in NAMES:
            await watch.follow(name)
        await watch.finish(*NAMES)
        assert get_parties(watch)


@pytest.mark.parametrize("others", [[], ["c"]], ids=["leader and companion", "two companions"])
async def test_two_runs_of_one_id_do_not_share_a_request(store: FaultyStore, others: list[str]) -> None:
    """The provider may have returned one id twice; each run is polled."""
    async with open_magica(store, respond(lambda _: MADE), []) as watch:
        await watch.accept("a", "b", *others)
        for name in ("a", "b"):
            await watch.follow(name, Urgency.BATCH, provider_run_id="a")
        for name in others:
            await watch.follow(name)
        await watch.finish("a", "b", *others)
        parties = get_parties(watch)
        assert parties == ([["a", *others]] if others else [])
        assert get_singles(watch) == ["a"] * (2 - len(parties))


async def test_a_run_that_is_no_longer_polled_delays_no_other(store: FaultyStore) -> None:
    """Its part of the response is ignored, the other run's is used."""
    async with open_magica(store, respond(lambda _: None), ["gone", "here"]) as watch:
        held = anyio.Event()

        async def hang() -> None:
            """Hold the first response."""
            watch.asked.set()
            await held.wait()

        watch.account.before_answer = hang
        await watch.asked.wait()
        watch.live_runs.remove("gone")
        held.set()
        await watch.finish("gone", "here")
        assert watch.over["gone"].state is RunState.RUNNING
        assert get_singles(watch) == ["here"]


async def test_an_internal_error_ends_the_polling_of_the_requested_runs(
    store: FaultyStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting callers must receive the error."""

    def stumble(*_: object, **__: object) -> None:
        """Fail with an internal error."""
        raise ZeroDivisionError

    monkeypatch.setattr(MagicaBulkStatus, "parse", stumble)
    async with open_watch(store, respond(lambda _: MADE), limit=1000, provider=Magica()) as watch:
        failed = list[str]()

        async def follow(run: Run) -> None:
            """Record the error."""
            with pytest.raises(RuntimeError, match="has crashed"):
                await watch.poller.poll(run, watch.account)
            failed.append(run.id)

        runs = [await watch.put(name, Urgency.BATCH) for name in NAMES]
        async with anyio.create_task_group() as tasks:
            for run in runs:
                tasks.start_soon(follow, run)
        assert sorted(failed) == NAMES
        # The next polls are single, so the same bug does not stop them.
        async with anyio.create_task_group() as tasks:
            for run in runs:
                tasks.start_soon(watch.poller.poll, run, watch.account)
        assert get_singles(watch) == NAMES
    assert "ZeroDivisionError" in caplog.text


PACE: Final = [2.5, 6.5, 10.5]


@pytest.mark.parametrize("rows", [0, 12])
async def test_rows_do_not_delay_the_polls_of_an_awaited_run(store: FaultyStore, rows: int) -> None:
    """A bulk poll for rows may include the run, and its own poll still comes at its time."""
    names = [f"row_{n}" for n in range(rows)]
    looked_at: list[float] = []
    going = respond(lambda _: GOING)
    async with open_watch(store, going, limit=60, provider=Magica()) as watch:

        def answer(request: ApiRequest) -> Reply:
            """Record each poll of the awaited run."""
            if "waited" in get_ids(request):
                looked_at.append(watch.clock.monotonic() - watch.began_at)
            if len(looked_at) == len(PACE):
                watch.asked.set()
            return going(request)

        watch.account.answer = answer
        await watch.accept("waited", *names)
        for name in names:
            await watch.follow(name, Urgency.BATCH)
        await watch.follow("waited")
        await watch.asked.wait()
    assert all(seconds <= latest for seconds, latest in zip(looked_at, PACE, strict=False)), looked_at
