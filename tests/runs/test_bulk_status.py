"""One request for several runs: who goes along, what is told of them, and what happens when it goes wrong."""

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
from flowport.runs.poller import FAILED_SECONDS, REFUSED_SECONDS, BulkStatusReader
from tests.runs.polls import Watch, open_watch
from tests.runs.samples import build_look
from tests.support.fake_clock import FakeClock
from tests.support.scripted import Answer, FaultyStore, Reply, ScriptedAccount, build_answer, build_breakage, in_turn

MADE: Final[dict[str, Any]] = {
    "status": "COMPLETED",
    "nodeRuns": [{"nodeType": "response", "status": "COMPLETED", "output": {"result": ["https://cdn.x/a.png"]}}],
}
GOING: Final = {"status": "RUNNING"}
NEXT_SECONDS: Final = 6.5
"""When runs would be looked at for the second time."""
NAMES: Final = [f"run_{n}" for n in range(6)]


def get_ids(request: ApiRequest) -> list[str]:
    """Return the runs that a request is about."""
    if request.operation is Operation.READ_RUNS:
        ids = (request.body or {})["ids"]
        assert isinstance(ids, list)
        return [str(run_id) for run_id in ids]
    return [request.path.rpartition("/")[2].partition("?")[0]]


def tell(states: Callable[[str], Mapping[str, Any] | None]) -> Answer:
    """Answer every request by how its runs are; of one without a state a request for several tells nothing."""

    def answer(request: ApiRequest) -> Reply:
        """Answer as Magica does."""
        ids = get_ids(request)
        if request.operation is Operation.READ_RUN:
            return build_answer({"id": ids[0], **(states(ids[0]) or MADE)})
        return build_answer({"runs": [{"id": one, **state} for one in ids if (state := states(one)) is not None]})

    return answer


def fail_together(reply: Reply) -> Answer:
    """Answer a request for several with this, and one for a single run with its end."""
    good = tell(lambda _: MADE)
    return lambda request: reply if request.operation is Operation.READ_RUNS else good(request)


@asynccontextmanager
async def open_magica(
    store: FaultyStore, answer: Answer, names: Sequence[str] = NAMES, *, limit: int = 1000
) -> AsyncIterator[Watch]:
    """Follow runs that are ripe together."""
    async with open_watch(store, answer, limit=limit, provider=Magica()) as watch:
        await watch.accept(*names)
        for name in names:
            await watch.follow(name, Urgency.BATCH)
        yield watch


def get_parties(watch: Watch) -> list[list[str]]:
    """Return the runs of each request for several."""
    return [sorted(get_ids(one)) for one in watch.account.asked if one.operation is Operation.READ_RUNS]


def get_singles(watch: Watch) -> list[str]:
    """Return the runs that were read by themselves."""
    return sorted(get_ids(one)[0] for one in watch.account.asked if one.operation is Operation.READ_RUN)


async def test_one_request_tells_of_all_that_are_ripe(store: FaultyStore) -> None:
    """And each is over with what it made."""
    async with open_magica(store, tell(lambda _: MADE)) as watch:
        await watch.finish(*NAMES)
        assert get_parties(watch) == [NAMES]
        assert get_singles(watch) == []
        assert watch.asked_at == [2.5]
        for name in NAMES:
            followed = watch.over[name]
            assert followed.state is RunState.SUCCEEDED
            assert [output.url for output in followed.outputs] == ["https://cdn.x/a.png"]


async def test_a_run_that_goes_on_is_looked_at_again_in_its_pace(store: FaultyStore) -> None:
    """It was seen, whoever's request it was."""
    seen = dict.fromkeys(NAMES, 0)

    def state(name: str) -> Mapping[str, Any]:
        """Go on once."""
        seen[name] += 1
        return GOING if seen[name] == 1 else MADE

    async with open_magica(store, tell(state)) as watch:
        await watch.finish(*NAMES)
        assert set(seen.values()) == {2}
        assert watch.asked_at[0] == 2.5
        assert watch.asked_at[1] >= 6.5


async def test_no_more_runs_go_along_than_the_provider_takes(store: FaultyStore) -> None:
    """The rest have a request of their own."""
    names = [f"run_{n}" for n in range(MagicaBulkStatus.most + 5)]
    async with open_magica(store, tell(lambda _: MADE), names) as watch:
        await watch.finish(*names)
        assert sorted(map(len, get_parties(watch))) == [5, MagicaBulkStatus.most]


@pytest.mark.parametrize(("limit", "names"), [(0, NAMES), (1000, NAMES[:1])], ids=["no limit", "one run"])
async def test_without_need_each_is_read_by_itself(store: FaultyStore, limit: int, names: list[str]) -> None:
    """That is the request whose every word is documented."""
    async with open_magica(store, tell(lambda _: MADE), names, limit=limit) as watch:
        await watch.finish(*names)
        assert (get_parties(watch), get_singles(watch)) == ([], names)


async def test_where_the_provider_has_no_such_request_each_is_read_by_itself(store: FaultyStore) -> None:
    """Magnific has none, and its pace is what it was."""
    async with open_watch(store, in_turn(last=build_look("completed")), limit=1000) as watch:
        await watch.accept(*NAMES)
        for name in NAMES:
            await watch.follow(name)
        await watch.finish(*NAMES)
        assert (get_parties(watch), sorted(watch.get_looked_at())) == ([], NAMES)
    reader = BulkStatusReader(ScriptedAccount(in_turn(), FakeClock(), provider=Magnific(), limit=9), FakeClock())
    assert (reader.get_most(), await reader.fetch(["a"])) == (1, {})


@pytest.mark.parametrize("missing", [["run_0"], ["run_3", "run_4"], NAMES[:5]], ids=str)
async def test_those_of_whom_nothing_is_told_are_read_by_themselves_at_once(
    store: FaultyStore, missing: Collection[str]
) -> None:
    """It was no look at them: neither their pace nor the hour in which a run may be unknown counts it."""
    async with open_magica(store, tell(lambda name: None if name in missing else MADE)) as watch:
        await watch.finish(*NAMES)
        assert get_parties(watch) == [NAMES]
        assert get_singles(watch) == sorted(missing)
        assert max(watch.asked_at) < NEXT_SECONDS


async def test_a_run_that_is_never_told_with_others_has_a_look_of_its_own_each_time(store: FaultyStore) -> None:
    """Else the same request would be made for it again and again, and it would never end."""
    seen = 0

    def state(name: str) -> Mapping[str, Any] | None:
        """Leave one out, and let the others go on."""
        return None if name == "run_0" else GOING

    def answer(request: ApiRequest) -> Reply:
        """Let the one end at its third look."""
        nonlocal seen
        if request.operation is Operation.READ_RUN:
            seen += get_ids(request) == ["run_0"]
            return build_answer({"id": "run_0", **(MADE if seen == 3 else GOING)})
        return tell(state)(request)

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
async def test_when_it_goes_wrong_each_is_read_by_itself_at_once(store: FaultyStore, reply: Reply) -> None:
    """The leader too: nobody loses a look, and no failure is counted that was not the run's own."""
    async with open_magica(store, fail_together(reply)) as watch:
        await watch.finish(*NAMES)
        assert (get_parties(watch), get_singles(watch)) == ([NAMES], NAMES)
        assert max(watch.asked_at) < NEXT_SECONDS
        assert {followed.state for followed in watch.over.values()} == {RunState.SUCCEEDED}


@pytest.mark.parametrize(("reply", "seconds"), BAD, ids=str)
async def test_nobody_asks_like_this_again_for_a_while(reply: Reply, seconds: float) -> None:
    """A day where it is not to be had, a few minutes where it may have been the network."""
    clock = FakeClock(is_automatic=False)
    account = ScriptedAccount(fail_together(reply), clock, provider=Magica(), limit=50)
    reader = BulkStatusReader(account, clock)
    assert reader.get_most() == MagicaBulkStatus.most
    assert await reader.fetch(["a", "b"]) == {}
    clock.advance(seconds - 1)
    assert reader.get_most() == 1
    clock.advance(1)
    assert reader.get_most() == MagicaBulkStatus.most


async def test_a_limit_of_the_day_alone_is_reason_enough(store: FaultyStore) -> None:
    """The same requests count."""
    async with open_watch(store, tell(lambda _: MADE), provider=Magica(), per_day=100) as watch:
        await watch.accept(*NAMES)
        for name in NAMES:
            await watch.follow(name)
        await watch.finish(*NAMES)
        assert get_parties(watch)


@pytest.mark.parametrize("others", [[], ["c"]], ids=["leader and companion", "two companions"])
async def test_two_runs_of_one_id_do_not_share_a_request(store: FaultyStore, others: list[str]) -> None:
    """The provider may have told one id twice; each of them is looked at."""
    async with open_magica(store, tell(lambda _: MADE), []) as watch:
        await watch.accept("a", "b", *others)
        for name in ("a", "b"):
            await watch.follow(name, Urgency.BATCH, provider_run_id="a")
        for name in others:
            await watch.follow(name)
        await watch.finish("a", "b", *others)
        parties = get_parties(watch)
        assert parties == ([["a", *others]] if others else [])
        assert get_singles(watch) == ["a"] * (2 - len(parties))


async def test_a_run_that_is_left_alone_meanwhile_holds_up_nobody(store: FaultyStore) -> None:
    """Its answer is of no use, and the other's is."""
    async with open_magica(store, tell(lambda _: None), ["gone", "here"]) as watch:
        held = anyio.Event()

        async def hang() -> None:
            """Hold the first answer."""
            watch.asked.set()
            await held.wait()

        watch.account.before_answer = hang
        await watch.asked.wait()
        watch.live_runs.remove("gone")
        held.set()
        await watch.finish("gone", "here")
        assert watch.over["gone"].state is RunState.RUNNING
        assert get_singles(watch) == ["here"]


async def test_a_bug_of_ours_ends_the_following_of_those_that_were_asked_for(
    store: FaultyStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits must hear of it."""

    def stumble(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(MagicaBulkStatus, "parse", stumble)
    async with open_watch(store, tell(lambda _: MADE), limit=1000, provider=Magica()) as watch:
        heard = list[str]()

        async def follow(run: Run) -> None:
            """Hear of it."""
            with pytest.raises(RuntimeError, match="has crashed"):
                await watch.follower.follow(run, watch.account)
            heard.append(run.id)

        runs = [await watch.put(name, Urgency.BATCH) for name in NAMES]
        async with anyio.create_task_group() as tasks:
            for run in runs:
                tasks.start_soon(follow, run)
        assert sorted(heard) == NAMES
    assert "ZeroDivisionError" in caplog.text


PACE: Final = [2.5, 6.5, 10.5]


@pytest.mark.parametrize("rows", [0, 12])
async def test_a_run_that_is_waited_for_is_looked_at_no_later_for_the_rows_beside_it(
    store: FaultyStore, rows: int
) -> None:
    """Rows that take it along do it a favour, and its own look comes when it came."""
    names = [f"row_{n}" for n in range(rows)]
    looked_at: list[float] = []
    going = tell(lambda _: GOING)
    async with open_watch(store, going, limit=60, provider=Magica()) as watch:

        def answer(request: ApiRequest) -> Reply:
            """Note each look at the one."""
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
