"""Saving continues after the answer: from a real server that fails, with a clock that never waits."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import anyio
import pytest

from flowport.domain.models import Output, OutputKind, Run, RunState
from flowport.domain.run_events import OutputSaved
from flowport.network.file_transfer import Fetcher, FetchRules, Sink
from flowport.runs.downloads import DownloadRetrier, DownloadTask, LinkRefresher, OutputSaver
from flowport.runs.output_file import SavingRules
from tests.fakes.client import build_photo, write
from tests.runs.samples import NOW, RUN, read
from tests.support.fake_clock import FakeClock, working
from tests.support.raw_server import Ending, RawServer, build_reply, serving
from tests.support.raw_server import Reply as FileReply
from tests.support.scripted import Answer, FaultyStore, ScriptedAccount, build_answer, in_turn, wait_until

PNG = write(build_photo(8, 8))
GOOD, DOWN, DEAD = build_reply(PNG), build_reply(status=500), build_reply(status=403)
SHORT = build_reply(PNG, length=len(PNG) + 9, ending=Ending.CLOSE)
PAGE = build_reply(b"<!doctype html><title>Log in</title>")
EMPTY = build_reply(b"")
UNKNOWN = build_answer({"message": "Not found"}, 404)
HOUR = 3600.0
T = TypeVar("T")


class WorkingFetcher(Fetcher):
    """A fetcher during whose fetches the clock stands still, however long they take."""

    async def fetch(self, url: str, sink: Sink[T], *, rules: FetchRules) -> T:
        """Fetch."""
        with working():
            return await super().fetch(url, sink, rules=rules)


@dataclass
class Bug:
    """A bug that occurs when some files are fetched."""

    path: str
    times: int

    def meet(self, url: str) -> None:
        """Crash, as often as the bug occurs."""
        if self.path in url and self.times:
            self.times -= 1
            raise RecursionError("our own bug")


class CrashingFetcher(WorkingFetcher):
    """A fetcher with a bug."""

    bug = Bug("", 0)

    async def fetch(self, url: str, sink: Sink[T], *, rules: FetchRules) -> T:
        """Crash, or fetch."""
        self.bug.meet(url)
        return await super().fetch(url, sink, rules=rules)


@dataclass
class Bench:
    """The download retries with their parts."""

    retrier: DownloadRetrier
    account: ScriptedAccount
    store: FaultyStore
    server: RawServer
    clock: FakeClock
    run: Run
    times: list[float]
    """When each file was requested, in seconds from the beginning."""

    async def save(self) -> DownloadTask:
        """Download, and retry until it ends."""
        download_task = await self.retrier.try_first(self.run, self.account)
        await self.retrier.try_again(download_task)
        return download_task

    async def get_output(self) -> Output:
        """Return the output from the store."""
        return (await read(self.store)).outputs[0]


@asynccontextmanager
async def open_bench(
    store: FaultyStore,
    folder: Path,
    *replies: FileReply,
    answer: Answer | None = None,
    expires_at: float | None = NOW + HOUR,
    is_automatic: bool = True,
    bug: Bug | None = None,
) -> AsyncIterator[Bench]:
    """Serve a file's responses in turn, repeating the last one, and record a finished run with that file."""
    threads = anyio.CapacityLimiter(4)
    clock = FakeClock(is_automatic=is_automatic, is_busy=lambda: threads.borrowed_tokens > 0)
    waiting, times = list(replies), list[float]()

    def reply(_: str) -> FileReply:
        """Return the next response."""
        times.append(clock.monotonic())
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    account, fetcher = ScriptedAccount(answer or in_turn(), clock), CrashingFetcher(file_threads=threads)
    fetcher.bug = bug or fetcher.bug
    async with serving(reply) as server:
        account.origins = frozenset({server.origin})
        output = Output(1, OutputKind.IMAGE, f"{server.origin}/0.png?token=old", "c0", expires_at=expires_at)
        run = replace(RUN, state=RunState.SUCCEEDED, provider_run_id="r1", finished_at=NOW, outputs=(output,))
        await store.accept(run)
        saver = OutputSaver(store, clock, fetcher, rules=SavingRules(folder / "results"))
        retrier = DownloadRetrier(store, saver, LinkRefresher(store, clock), clock)
        yield Bench(retrier, account, store, server, clock, run, times)
        await fetcher.aclose()


def build_fresh_status(server: RawServer, *, seconds: int = 7200) -> Answer:
    """Answer each poll with another link, which expires a number of seconds after the beginning."""
    numbers = iter(range(1000))

    def answer(_: object) -> object:
        """Draw a link."""
        url = f"{server.origin}/0.png?n={next(numbers)}&token=exp_{int(NOW) + seconds}"
        return build_answer({"data": {"status": "completed", "result": {"images": [{"id": "c0", "url": url}]}}})

    return answer  # type: ignore[return-value]  # the draw returns an answer


@pytest.mark.parametrize("failure", [DOWN, SHORT, FileReply(b"", Ending.RESET)], ids=["500", "short", "reset"])
async def test_a_failed_download_is_retried_until_it_is_complete(
    store: FaultyStore, tmp_path: Path, failure: FileReply
) -> None:
    """The result is paid for, and its link works for hours."""
    async with open_bench(store, tmp_path, failure, failure, GOOD) as bench:
        download_task = await bench.save()
        kept = await bench.get_output()
    assert bench.times == [0, 1, 4]
    assert await anyio.Path(kept.saved_path).read_bytes() == PNG
    assert (kept.save_problem, download_task.missing) == ("", frozenset())


async def test_delays_grow_to_five_minutes(store: FaultyStore, tmp_path: Path) -> None:
    """A server that is down must not be overloaded; a laptop may be offline for hours."""
    async with open_bench(store, tmp_path, *[DOWN] * 7, GOOD) as bench:
        await bench.save()
    assert bench.times == [0, 1, 4, 14, 44, 104, 404, 704]


async def test_the_first_attempt_ends_with_the_link_and_the_reason(store: FaultyStore, tmp_path: Path) -> None:
    """A waiting call is answered after the first attempt."""
    async with open_bench(store, tmp_path, DOWN, GOOD) as bench:
        download_task = await bench.retrier.try_first(bench.run, bench.account)
    (output,) = download_task.run.outputs
    assert output == replace(bench.run.outputs[0], save_problem="It was not saved: its server answered HTTP 500.")
    assert (download_task.missing, await bench.get_output()) == (frozenset({1}), output)


async def test_saving_to_a_full_disk_is_retried(store: FaultyStore, tmp_path: Path) -> None:
    """People free space."""
    (tmp_path / "results").write_text("in the way")
    async with open_bench(store, tmp_path, GOOD) as bench:
        download_task = await bench.retrier.try_first(bench.run, bench.account)
        (tmp_path / "results").unlink()
        await bench.retrier.try_again(download_task)
    assert (await bench.get_output()).saved_path


@pytest.mark.parametrize("bad", [PAGE, EMPTY], ids=["page", "empty"])
async def test_a_file_of_another_kind_is_retried(store: FaultyStore, tmp_path: Path, bad: FileReply) -> None:
    """A server may briefly return an error page with status 200."""
    async with open_bench(store, tmp_path, bad, DOWN, bad, GOOD) as bench:
        download_task = await bench.save()
        kept = await bench.get_output()
    assert (bench.times, download_task.missing, kept.save_problem) == ([0, 1, 4, 14], frozenset(), "")
    assert await anyio.Path(kept.saved_path).read_bytes() == PNG


@pytest.mark.parametrize(
    ("bad", "words"), [(PAGE, "what came is not an image"), (EMPTY, "nothing came")], ids=["page", "empty"]
)
async def test_a_file_that_is_always_of_another_kind_is_abandoned(
    store: FaultyStore, tmp_path: Path, bad: FileReply, words: str
) -> None:
    """After five attempts it is not a temporary fault."""
    async with open_bench(store, tmp_path, bad) as bench:
        download_task = await bench.save()
        kept = await bench.get_output()
    assert (bench.times, download_task.missing) == ([0, 1, 4, 14, 44], frozenset())
    assert kept.save_problem == f"It was not saved: {words}."


async def test_a_page_behind_a_fresh_link_is_abandoned_too(store: FaultyStore, tmp_path: Path) -> None:
    """The attempts of both links count together."""
    async with open_bench(store, tmp_path, PAGE, DEAD, PAGE) as bench:
        bench.account.answer = build_fresh_status(bench.server)
        download_task = await bench.save()
    assert (bench.times, download_task.missing) == ([0, 1, 1, 4, 14, 44], frozenset())


async def test_a_forbidden_download_is_not_retried(store: FaultyStore, tmp_path: Path) -> None:
    """Our own rules refuse it every time."""
    async with open_bench(store, tmp_path, GOOD) as bench:
        bench.account.origins = frozenset()
        download_task = await bench.save()
    assert (bench.times, download_task.missing) == ([], frozenset())


@pytest.mark.parametrize("expires_at", [NOW + HOUR, NOW - 5 * HOUR, None], ids=["in-time", "by-clock", "unsaid"])
async def test_an_expired_link_is_replaced_by_a_fresh_one_at_once(
    store: FaultyStore, tmp_path: Path, expires_at: float | None
) -> None:
    """The provider keeps the file longer than the link."""
    async with open_bench(store, tmp_path, DEAD, GOOD, expires_at=expires_at) as bench:
        bench.account.answer = build_fresh_status(bench.server)
        download_task = await bench.retrier.try_first(bench.run, bench.account)
        kept = await bench.get_output()
    assert (bench.times, download_task.missing, len(bench.account.asked)) == ([0, 0], frozenset(), 1)
    assert "n=0" in (kept.url or "")
    assert kept.saved_path


async def test_a_link_that_should_have_expired_is_tried(store: FaultyStore, tmp_path: Path) -> None:
    """A clock that is wrong by hours, here or at the provider, must not cost a result."""
    async with open_bench(store, tmp_path, GOOD, expires_at=NOW - 9 * HOUR) as bench:
        await bench.save()
    assert (await bench.get_output()).saved_path
    assert bench.account.asked == []


async def test_an_output_that_the_provider_deleted_is_gone(store: FaultyStore, tmp_path: Path) -> None:
    """Further attempts would change nothing."""
    async with open_bench(store, tmp_path, DEAD, answer=in_turn(UNKNOWN), expires_at=NOW - 1) as bench:
        download_task = await bench.save()
        kept = await bench.get_output()
    assert (bench.times, download_task.missing) == ([0], frozenset())
    assert kept == replace(
        bench.run.outputs[0], save_problem="It is gone: its link has expired, and Magnific gives no fresh one."
    )


async def test_the_request_for_a_fresh_link_is_retried(store: FaultyStore, tmp_path: Path) -> None:
    """A provider that is down has not said that the output is gone."""
    async with open_bench(store, tmp_path, DEAD, DEAD, GOOD, expires_at=NOW - 1) as bench:
        fresh = build_fresh_status(bench.server)
        replies = in_turn(build_answer(None, 500))
        bench.account.answer = lambda request: replies(request) if len(bench.account.asked) == 1 else fresh(request)
        await bench.save()
    assert (await bench.get_output()).saved_path
    assert bench.times == [0, 1, 1]


async def test_a_fresh_link_that_fails_is_tried_until_it_expires(store: FaultyStore, tmp_path: Path) -> None:
    """The run is polled again once, or a provider that always returns new links would be polled without end."""
    async with open_bench(store, tmp_path, DEAD, expires_at=NOW - 1) as bench:
        bench.account.answer = build_fresh_status(bench.server, seconds=1000)
        download_task = await bench.save()
    assert (download_task.missing, len(bench.account.asked)) == (frozenset(), 1)
    assert bench.times == [0, 0, 1, 4, 14, 44, 104, 404, 704, 1004]


async def test_an_unchanged_link_is_tried_until_it_expires(store: FaultyStore, tmp_path: Path) -> None:
    """A file may not be on every server yet; each refusal asks once more for another link."""
    async with open_bench(store, tmp_path, DEAD, DEAD, GOOD) as bench:
        url = bench.run.outputs[0].url
        look = build_answer({"data": {"status": "completed", "result": {"images": [{"id": "c0", "url": url}]}}})
        bench.account.answer = in_turn(last=look)
        await bench.save()
    assert (await bench.get_output()).saved_path
    assert bench.times == [0, 1, 4]


async def test_an_erased_run_is_not_retried(store: FaultyStore, tmp_path: Path) -> None:
    """The user wanted all of it to be deleted."""
    async with open_bench(store, tmp_path, DOWN) as bench:
        download_task = await bench.retrier.try_first(bench.run, bench.account)
        await store.worker.write(lambda connection: connection.execute("DELETE FROM runs"))
        await bench.retrier.try_again(download_task)
    assert bench.times == [0]


async def test_an_output_that_another_process_saved_is_not_fetched_again(store: FaultyStore, tmp_path: Path) -> None:
    """The store is more recent than what was read an hour ago."""
    async with open_bench(store, tmp_path, DOWN) as bench:
        download_task = await bench.retrier.try_first(bench.run, bench.account)
        await store.record(RUN.id, OutputSaved(replace(bench.run.outputs[0], saved_path="/a.png")))
        await bench.retrier.try_again(download_task)
    assert bench.times == [0]


@pytest.mark.parametrize("trouble", ["unreadable", "end not recorded"])
async def test_retries_continue_without_the_store(store: FaultyStore, tmp_path: Path, trouble: str) -> None:
    """The file on the disk is what was paid for."""
    async with open_bench(store, tmp_path, DOWN, GOOD) as bench:
        if trouble == "unreadable":
            store.failing.add("get_run")
        else:
            await store.worker.write(lambda connection: connection.execute("UPDATE runs SET state = 'running'"))
        download_task = await bench.save()
    assert download_task.run.outputs[0].saved_path


async def test_a_restart_ends_the_delay(store: FaultyStore, tmp_path: Path) -> None:
    """A request for the run retries at once instead of in a quarter of an hour, and with one task only."""
    async with open_bench(store, tmp_path, DOWN, is_automatic=False) as bench, anyio.create_task_group() as tasks:
        download_task = await bench.retrier.try_first(bench.run, bench.account)
        tasks.start_soon(bench.retrier.try_again, download_task)
        await wait_until(lambda: bench.clock.count_sleepers() == 1)
        restarted = [bench.retrier.restart(RUN.id), bench.retrier.restart(RUN.id)]
        await wait_until(lambda: bench.clock.count_sleepers() == 0)
    assert (restarted, bench.times) == ([True, True], [0])


async def test_a_running_attempt_is_not_interrupted(store: FaultyStore, tmp_path: Path) -> None:
    """Two attempts would save the file twice."""
    store.held["get_run"] = anyio.Event()
    async with open_bench(store, tmp_path, DOWN, GOOD, is_automatic=False) as bench:
        download_task = await bench.retrier.try_first(bench.run, bench.account)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.retrier.try_again, download_task)
            await wait_until(lambda: bench.clock.count_sleepers() == 1)
            bench.clock.advance(5)
            await wait_until(lambda: "get_run" in store.called)
            assert bench.retrier.restart(RUN.id) is False
            store.held["get_run"].set()
        assert bench.retrier.restart(RUN.id) is True
        assert (await bench.get_output()).saved_path


async def test_a_laptop_retries_at_once_after_sleep(store: FaultyStore, tmp_path: Path) -> None:
    """Ten hours may pass within one delay; the server decides whether the link still works."""
    async with open_bench(store, tmp_path, DOWN, GOOD, is_automatic=False) as bench:
        download_task = await bench.retrier.try_first(bench.run, bench.account)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.retrier.try_again, download_task)
            await wait_until(lambda: bench.clock.count_sleepers() == 1)
            bench.clock.advance(10 * HOUR)
    assert bench.times == [0, 10 * HOUR]
    assert (await bench.get_output()).saved_path


@pytest.mark.parametrize("jump", [-90 * 24 * HOUR, 90 * 24 * HOUR], ids=["back", "forward"])
async def test_setting_the_wall_clock_costs_no_result(store: FaultyStore, tmp_path: Path, jump: float) -> None:
    """By our clock every link has expired, or expires in months; only its server can decide."""
    async with open_bench(store, tmp_path, DOWN, GOOD) as bench:
        download_task = await bench.retrier.try_first(bench.run, bench.account)
        bench.clock.set_wall(jump)
        await bench.retrier.try_again(download_task)
    assert (await bench.get_output()).saved_path
    assert bench.account.asked == []


async def test_an_internal_error_while_saving_is_retried(store: FaultyStore, tmp_path: Path) -> None:
    """The result is paid for, and the cause may be temporary."""
    async with open_bench(store, tmp_path, GOOD, bug=Bug("0.png", 2)) as bench:
        download_task = await bench.retrier.try_first(bench.run, bench.account)
        (problem,) = [output.save_problem for output in download_task.run.outputs]
        await bench.retrier.try_again(download_task)
        kept = await bench.get_output()
    assert problem == "It was not saved: Flowport made a mistake, and its log has the details."
    assert await anyio.Path(kept.saved_path).read_bytes() == PNG
    assert (kept.save_problem, download_task.missing, bench.times) == ("", frozenset(), [4])


async def test_a_persistent_internal_error_is_abandoned(store: FaultyStore, tmp_path: Path) -> None:
    """The link and the reason remain."""
    async with open_bench(store, tmp_path, GOOD, bug=Bug("0.png", 1000)) as bench:
        download_task = await bench.save()
        kept = await bench.get_output()
    assert (download_task.missing, bench.times) == (frozenset(), [])
    assert kept.save_problem.startswith("It was not saved: Flowport made a mistake")


async def test_an_internal_error_with_one_output_affects_no_other(store: FaultyStore, tmp_path: Path) -> None:
    """Outputs of a run are fetched concurrently and independently."""
    async with open_bench(store, tmp_path, GOOD, bug=Bug("/1.png", 1000)) as bench:
        outputs = [replace(bench.run.outputs[0], n=n, url=f"{bench.server.origin}/{n}.png") for n in (1, 2, 3)]
        bench.run = replace(bench.run, outputs=tuple(outputs))
        download_task = await bench.retrier.try_first(bench.run, bench.account)
    assert [bool(output.saved_path) for output in download_task.run.outputs] == [False, True, True]
