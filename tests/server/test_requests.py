"""The ids under which requests are passed on."""

import gc
import weakref
from dataclasses import replace

import anyio
import pytest

from flowport.runtime.clock import SystemClock
from flowport.runtime.exchange import Exchange, RequestId
from flowport.server.repeats import RequestIdInUse, RequestsInProgress
from flowport.server.requests import MAX_KEPT, RequestTable
from tests.support.fake_clock import wait_until_blocked
from tests.support.harness import READER, ScriptedCaller
from tests.support.scripted import Listener, wait_until


def test_an_unused_id_is_passed_on_unchanged() -> None:
    """The id is passed on again after its request was answered."""
    table = RequestTable()
    for _ in range(2):
        request = table.begin("c", 7)
        assert (request.inner_id, request.is_renamed, table.find("c", 7)) == (7, False, request)
        request.exchange.note_written()
        table.end(request, is_answered=True)
    assert table.find("c", 7) is None


def test_an_id_that_the_library_would_confuse_is_renamed() -> None:
    """The library treats 7 and "7" as equal, and keeps the data of a request under its id."""
    table = RequestTable()
    first = table.begin("c", 7)
    others = [table.begin("c", one) for one in (7, "7")]
    assert not table.begin("other", 7).is_renamed
    assert [one.is_renamed for one in others] == [True, True]
    assert len({one.inner_id for one in (first, *others)}) == 3
    assert [table.find("c", one.inner_id) for one in others] == others


def test_the_id_of_an_unanswered_request_is_not_reused() -> None:
    """The library may still process the first request, and would answer the second in its place."""
    table = RequestTable()
    first = table.begin("c", 7)
    assert table.cancel("c", 7) == [first]
    assert table.begin("c", 7).is_renamed
    # It was answered all the same, without a listener.
    table.end(first, is_answered=True)
    assert not table.begin("c", 7).is_renamed


def test_a_cancellation_applies_to_live_requests_or_else_to_the_last_one() -> None:
    """An id may be used again once its request is over."""
    table = RequestTable()
    assert table.cancel("c", 7) == []
    old = table.begin("c", 7)
    old.exchange.note_written()
    table.end(old, is_answered=True)
    assert table.cancel("c", 7) == [old]
    new = [table.begin("c", 7) for _ in range(2)]
    assert table.cancel("c", "7") == []
    assert table.find_inner_ids("c", 7) == [one.inner_id for one in new]
    assert table.cancel("c", 7) == new
    assert table.find_inner_ids("c", 7) == [new[-1].inner_id]
    assert table.find_inner_ids("c", "7") == ["7"]


def test_finished_requests_are_remembered_for_a_limited_time() -> None:
    """A server lives for weeks in an editor."""
    table = RequestTable()
    for n in range(MAX_KEPT + 2):
        request = table.begin("c", n)
        table.end(request, is_answered=n % 2 == 0)
    assert table.cancel("c", 1) == []
    assert not table.begin("c", 1).is_renamed
    assert len(table.cancel("c", MAX_KEPT)) == 1


def build_caller(request_id: RequestId = 7, connection: str = "c") -> ScriptedCaller:
    """Return a caller with a request of its own."""
    return replace(READER, exchange=Exchange(request_id), connection=connection)


class Bench:
    """Requests and the answers made for them."""

    def __init__(self) -> None:
        self.requests = RequestsInProgress[str](SystemClock())
        self.made = 0
        self.go_on = anyio.Event()
        self.answers: list[str] = []

    async def make(self) -> str:
        """Make an answer when the test allows it."""
        self.made += 1
        number = self.made
        await self.go_on.wait()
        return f"answer {number}"

    async def ask(self, caller: ScriptedCaller, content: object = "x", *, is_stateless: bool = False) -> None:
        """Send a request and keep the answer; a client that disconnects ends its request."""
        with anyio.CancelScope() as scope:
            caller.exchange.set_on_left(scope.cancel)
            self.answers.append(await self.requests.answer(caller, content, self.make, is_stateless=is_stateless))


async def test_a_repeated_request_runs_once_and_is_answered_each_time() -> None:
    """A proxy that is unsure sends a request twice."""
    bench = Bench()
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(bench.ask, build_caller())
        await wait_until_blocked()
        bench.go_on.set()
    assert (bench.made, bench.answers) == (1, ["answer 1"] * 3)


class Content(dict[str, int]):
    """The content of a request, to which a weak reference can be made."""


async def test_a_finished_request_holds_neither_its_content_nor_its_caller() -> None:
    """It is kept for a while, and calls with files have megabytes."""
    bench, caller, content = Bench(), build_caller(), Content(a=1)
    bench.go_on.set()
    await bench.ask(caller, content)
    held_caller, held_content = weakref.ref(caller), weakref.ref(content)
    del caller, content
    gc.collect()
    assert (held_caller(), held_content()) == (None, None)


async def test_the_order_of_members_makes_no_other_request() -> None:
    """A proxy may write an object in another order."""
    bench = Bench()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.ask, build_caller(), ("x", {"a": 1, "b": {"c": 2, "d": 3}}))
        tasks.start_soon(bench.ask, build_caller(), ("x", {"b": {"d": 3, "c": 2}, "a": 1}))
        await wait_until_blocked()
        bench.go_on.set()
    assert (bench.made, bench.answers) == (1, ["answer 1"] * 2)


async def test_an_unwritten_answer_is_returned_again() -> None:
    """The client may have stopped reading; its id is free once the answer was written."""
    bench, first, second = Bench(), build_caller(), build_caller()
    bench.go_on.set()
    await bench.ask(first)
    await bench.ask(second)
    for caller in (first, second):
        caller.exchange.note_written()
    assert (bench.made, bench.answers) == (1, ["answer 1"] * 2)
    for caller in (build_caller(), build_caller()):
        await bench.ask(caller)
        caller.exchange.note_written()
    assert bench.made == 3


async def test_when_the_first_client_disconnects_another_one_continues_its_request() -> None:
    """Of two that wait, exactly one continues."""
    bench, callers = Bench(), [build_caller() for _ in range(3)]
    async with anyio.create_task_group() as tasks:
        for caller in callers:
            tasks.start_soon(bench.ask, caller)
            await wait_until_blocked()
        callers[0].exchange.note_disconnected()
        await wait_until(lambda: bench.made == 2)
        await wait_until_blocked()
        bench.go_on.set()
    assert (bench.made, bench.answers) == (2, ["answer 2"] * 2)


@pytest.mark.parametrize(
    ("request_id", "connection", "content", "made"),
    [(8, "c", "x", 2), ("7", "c", "x", 2), (7, "other", "x", 2), (7, "other", "y", 2)],
)
async def test_different_requests_are_separate(request_id: RequestId, connection: str, content: str, made: int) -> None:
    """Another id, a number given as text, or another connection makes a separate request."""
    bench = Bench()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.ask, build_caller())
        tasks.start_soon(bench.ask, build_caller(request_id, connection), content)
        await wait_until_blocked()
        bench.go_on.set()
    assert bench.made == made


async def test_another_request_under_a_live_id_is_refused_on_a_connection() -> None:
    """Over stateless HTTP the other request may be another window's."""
    bench = Bench()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.ask, build_caller())
        await wait_until_blocked()
        with pytest.raises(RequestIdInUse, match="The id 7 belongs to another request that is still in progress"):
            await bench.ask(build_caller(), "y")
        bench.go_on.set()
        await bench.requests.answer(build_caller(), "z", bench.make, is_stateless=True)
    assert bench.made == 2


@pytest.mark.parametrize(
    ("content", "request_id", "events"), [("x", 7, ["cancelled"]), ("y", 7, []), ("x", "7", []), ("x", 8, [])]
)
async def test_the_same_request_under_an_answered_id_counts_as_cancelled(
    content: str, request_id: RequestId, events: list[str]
) -> None:
    """An id is used once in a session, so a repeated request means that the answer was not received."""
    bench, first, listener = Bench(), build_caller(), Listener()
    bench.go_on.set()
    await bench.ask(first)
    first.exchange.expect(listener)
    first.exchange.note_written()
    await bench.ask(build_caller(request_id), content)
    assert (listener.events, bench.made) == (["written", *events], 2)
