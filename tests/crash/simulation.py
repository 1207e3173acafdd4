"""A simulation of thousands of sessions in one event loop: a scripted provider, killed Flowports, and clients."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.to_thread

from flowport.bootstrap import Assembly, open_assembly
from flowport.domain.errors import Breakage, FlowportError, Operation, ProviderUnreachable, StoreError
from flowport.network.api_client import Permit
from flowport.providers.interface import ApiAnswer, ApiRequest
from flowport.runs.steps import Pace
from flowport.runtime.exchange import Exchange
from flowport.runtime.failpoints import Failpoint, trigger
from flowport.server.handlers import ToolCalls
from flowport.settings.settings import Settings
from flowport.store.records import CANCELLED_DELIVERY_SECONDS
from flowport.store.sqlite.store import SqliteStore
from flowport.store.sqlite.thread import Worker
from tests.catalog.samples import Store, build_flow
from tests.support.fake_clock import FakeClock, get_waiting
from tests.support.harness import ScriptedCaller
from tests.support.scripted import ScriptedAccount, build_answer
from tests.support.traps import Trap, set_trap

TOOL = "app_a0"
MAX_TURNS = 5_000
"""How often the loop may turn until every task waits, while no thread works."""

HANGING_SECONDS = 120.0
"""How long work on threads may take before it counts as hanging."""


class Provider(Store):
    """Magnific with one app, whose runs end and whose start requests fail when a test says so."""

    def __init__(self) -> None:
        super().__init__(build_flow("a0"))
        self.runs: dict[str, str] = {}
        """The prompt of every started run, by its id."""
        self.over: dict[str, str] = {}
        """The status of ended runs."""
        self.troubles: list[str] = []
        """The outcome of the next start requests."""
        self.usual_status = "running"
        """The status of runs without an explicit one."""

    def count_starts(self) -> Counter[str]:
        """Return the number of started runs for each prompt."""
        return Counter(self.runs.values())

    def __call__(self, request: ApiRequest) -> ApiAnswer | Exception:
        """Answer a request."""
        if request.operation is Operation.START_RUN:
            return self._start(request)
        if request.operation is Operation.READ_RUN:
            return self._poll(request.path.rpartition("/")[2])
        return super().__call__(request)

    def _start(self, request: ApiRequest) -> ApiAnswer | Exception:
        trouble = self.troubles.pop(0) if self.troubles else "none"
        if trouble == "refused":
            return build_answer({"message": "no"}, 422)
        if trouble == "busy":
            return build_answer({"message": "busy"}, 429, retry_after="1")
        if trouble == "no connection":
            return ProviderUnreachable("Magnific", request.operation, Breakage.NO_CONNECTION)
        if trouble == "reset":
            return ProviderUnreachable("Magnific", request.operation, Breakage.BROKEN_OFF)
        run_id = f"remote-{len(self.runs)}"
        self.runs[run_id] = cast("dict[str, Any]", request.body)["inputs"]["prompt"]
        if trouble == "dropped":
            return ProviderUnreachable("Magnific", request.operation, Breakage.BROKEN_OFF)
        return build_answer({"status": "running", "workflow_run_identifier": run_id}, 202)

    def _poll(self, run_id: str) -> ApiAnswer:
        status = self.over.get(run_id, self.usual_status)
        images = [{"id": run_id, "url": f"https://cdn.example/{run_id}.png"}]
        result = {"images": images} if status == "completed" else None
        return build_answer({"data": {"status": status, "error_message": None, "result": result}})


class ClosedStore:
    """The store of a dead process: it executes nothing."""

    damage: StoreError | None = None

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def write(self, *_: object, **_options: object) -> Any:
        """Do nothing."""
        raise StoreError("the process is dead", "")

    read = write

    def find_loss(self) -> StoreError | None:
        """Return the fault of the file: none."""
        return None

    async def close(self) -> None:
        """Close the file, as the operating system does."""
        await self._worker.close()


class CountedWorker:
    """The real store's thread, with the number of its open operations."""

    damage: StoreError | None = None

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.pending = 0

    async def write(self, work: Any, *, patience_seconds: float | None = None) -> Any:
        """Write, and count the operation meanwhile."""
        return await self._count(partial(self.worker.write, patience_seconds=patience_seconds), work)

    async def read(self, work: Any) -> Any:
        """Read, and count the operation meanwhile."""
        return await self._count(self.worker.read, work)

    def find_loss(self) -> StoreError | None:
        """Return the fault of the file."""
        return self.worker.find_loss()

    async def close(self) -> None:
        """Close the file."""
        await self.worker.close()

    async def _count(self, perform: Callable[[Any], Any], work: Any) -> Any:
        self.pending += 1
        try:
            return await perform(work)
        finally:
            self.pending -= 1


@dataclass
class Call:
    """A client's call of the tool."""

    prompt: str
    task: "asyncio.Task[None]"
    number: int
    """Connection of the process."""
    connection: str


@dataclass
class Process:
    """One Flowport."""

    number: int
    is_dead: bool = False
    assembly: Assembly | None = None
    task: "asyncio.Task[None] | None" = None
    worker: CountedWorker | None = None
    started: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def store(self) -> SqliteStore:
        """Return its store."""
        assert self.assembly is not None
        return cast("SqliteStore", self.assembly.workspace.store)

    def die(self) -> None:
        """Block every later write and request of this process; its tasks end by themselves."""
        self.is_dead = True
        if self.worker is not None:
            self.store.worker = cast("Worker", ClosedStore(self.worker.worker))
        if self.task is not None:
            self.task.cancel()


_RUNNING: ContextVar[Process | None] = ContextVar("running", default=None)
"""The process that a task belongs to."""


class Account(ScriptedAccount):
    """The account of one process, which ends with it."""

    def __init__(self, provider: Provider, clock: FakeClock, process: Process) -> None:
        super().__init__(provider, clock)
        self._process = process

    async def send_now(self, request: ApiRequest, permit: Permit | None = None) -> ApiAnswer:
        """Send a request, if the process is still alive."""
        if self._process.is_dead:
            await anyio.sleep_forever()
        if request.operation is not Operation.START_RUN:
            return await super().send_now(request, permit)
        # A sender that dies here gets no response; the request has left.
        trigger(Failpoint.AFTER_REQUEST_LEFT)
        answer = await super().send_now(request, permit)
        trigger(Failpoint.AFTER_PROVIDER_ACCEPTED)
        return answer


class World:
    """The provider, the processes on one home, and what the clients have learnt."""

    def __init__(self, home: Path) -> None:
        self.clock = FakeClock(is_automatic=False)
        self.provider = Provider()
        self.processes: list[Process] = []
        self.calls: list[Call] = []
        self.answered: dict[str, str] = {}
        """The last state of a run that a client received, by its id."""
        self.intended: Counter[str] = Counter()
        """The number of intended runs, by prompt."""
        self.open_intents: dict[str, float] = {}
        """The prompts without a result for any client yet, and when each was first called."""
        self.crossed = 0
        """How many of the next answers do not arrive, because their clients have just disconnected."""
        self.cancelled_late = 0
        """How many of the next requests are cancelled after their answers have arrived."""
        self.joinable_until: dict[str, float] = {}
        """The prompts whose result a client discarded that way, and until when a call gets the same one."""
        self._settings = Settings(
            providers=(),
            home=home,
            output_dir=home / "outputs",
            file_roots=(),
            should_save_outputs=False,
            should_show_previews=False,
        )

    @property
    def living(self) -> list[Process]:
        """Return the processes that are alive."""
        return [process for process in self.processes if not process.is_dead]

    async def start(self) -> None:
        """Start a Flowport."""
        process = Process(len(self.processes))
        self.processes.append(process)
        process.task = asyncio.create_task(self._live(process))
        await process.started.wait()
        await self.settle()

    async def call(self, prompt: str, process: Process, connection: str) -> None:
        """Call the tool, for a client that wants one run of this prompt until it has one."""
        # No two calls arrive in the same instant.
        self.clock.advance(0.01)
        now = self.clock.monotonic()
        if now >= self.joinable_until.pop(prompt, now + 1):
            self.open_intents.pop(prompt, None)
        # A later call joins nothing: it intends another run.
        if now - self.open_intents.get(prompt, -self._settings.reattach_seconds) >= self._settings.reattach_seconds:
            self.open_intents[prompt] = now
            self.intended[prompt] += 1
        task = asyncio.create_task(self._call(prompt, process, connection))
        self.calls.append(Call(prompt, task, process.number, connection))
        await self.settle()

    def set_trap(self, point: Failpoint) -> None:
        """Kill the next process that reaches a point."""
        set_trap(Trap(point, 0, send=lambda *_: _kill_running()))

    def end(self, run_id: str, status: str) -> None:
        """End a run at the provider. A failed one is not joined: the next call wants another."""
        self.provider.over[run_id] = status
        if status == "failed":
            self.open_intents.pop(self.provider.runs[run_id], None)

    async def ask(self, process: Process, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a built-in tool of a process and return its structured answer."""
        assert process.assembly is not None
        calls = ToolCalls(process.assembly.tenants)
        answer = await calls.call(tool, arguments, ScriptedCaller(self.clock.monotonic(), _report))
        facts = answer.facts
        if "state" in facts:
            self.answered[facts["run_id"]] = facts["state"]
        return facts

    async def settle(self) -> None:
        """Let all tasks run until they wait, for time or for the provider's runs; remove dead processes on the way."""
        turns = 0
        with anyio.fail_after(HANGING_SECONDS):
            while turns < MAX_TURNS:
                self._remove_dead()
                if self._is_quiet():
                    await asyncio.sleep(0)
                    if self._is_quiet():
                        return
                is_busy = self._is_busy()
                # How long the disk takes proves nothing.
                turns += not is_busy
                await asyncio.sleep(0.0002 if is_busy else 0)
        raise AssertionError("the world does not come to rest")

    async def pass_time(self, seconds: float, *, step: float = 2.0) -> None:
        """Let time pass in steps, so that sleeping tasks run in between."""
        while seconds > 0:
            self.clock.advance(min(step, seconds))
            seconds -= step
            await self.settle()

    async def close(self) -> None:
        """End all processes gracefully."""
        for process in self.living:
            assert process.task is not None
            process.task.cancel()
        await asyncio.gather(*(p.task for p in self.processes if p.task), return_exceptions=True)
        ends = await asyncio.gather(*(call.task for call in self.calls), return_exceptions=True)
        # A mistake of the fakes ends each call early, and then every law holds for lack of runs.
        if errors := [end for end in ends if isinstance(end, AttributeError | TypeError | NameError)]:
            raise errors[0]

    async def _live(self, process: Process) -> None:
        _RUNNING.set(process)
        try:
            await self._serve(process)
        finally:
            process.started.set()

    async def _serve(self, process: Process) -> None:
        account = Account(self.provider, self.clock, process)
        async with open_assembly(self._settings, clock=self.clock, pace=Pace(), account=account) as assembly:
            process.assembly = assembly
            assembly.first_list.note_written()
            # The operations that the start has sent to the store are done before they are counted.
            await process.store.count_undelivered(owner="local")
            process.worker = CountedWorker(process.store.worker)
            process.store.worker = cast("Worker", process.worker)
            if process.is_dead:
                process.die()
            process.started.set()
            await anyio.sleep_forever()

    async def _call(self, prompt: str, process: Process, connection: str) -> None:
        _RUNNING.set(process)
        assert process.assembly is not None
        exchange = Exchange()
        caller = ScriptedCaller(self.clock.monotonic(), _report, connection=connection, exchange=exchange)
        try:
            answer = await ToolCalls(process.assembly.tenants).call(TOOL, {"prompt": prompt}, caller)
            trigger(Failpoint.BEFORE_ANSWER)
        except FlowportError as exc:
            if not process.is_dead and type(exc).__name__ == "UncertainStart":
                self.open_intents.pop(prompt, None)
            exchange.note_written()
            return
        except asyncio.CancelledError:
            exchange.note_cancelled()
            raise
        if process.is_dead:
            return
        if self.crossed and exchange.listener is not None:
            self.crossed -= 1
            exchange.note_disconnected()
            return
        exchange.note_written()
        facts = answer.facts
        self.answered[facts["run_id"]] = facts["state"]
        intended_at = self.open_intents.get(prompt)
        if facts["state"] not in {"accepted", "starting", "queued", "running"}:
            self.open_intents.pop(prompt, None)
        if self.cancelled_late and intended_at is not None and facts["state"] == "succeeded":
            self.cancelled_late -= 1
            exchange.note_cancelled()
            # A call within a minute joins the same run and intends no other.
            self.joinable_until[prompt] = self.clock.monotonic() + CANCELLED_DELIVERY_SECONDS
            self.open_intents[prompt] = intended_at

    def _remove_dead(self) -> None:
        """End the calls of dead processes: they get no answer any more."""
        for call in self.calls:
            if self.processes[call.number].is_dead and not call.task.done():
                call.task.cancel()

    def _is_busy(self) -> bool:
        pending = sum(process.worker.pending for process in self.processes if process.worker is not None)
        borrowed = anyio.to_thread.current_default_thread_limiter().borrowed_tokens
        threads = sum(process.assembly.file_threads.borrowed_tokens for process in self.processes if process.assembly)
        dying = any(process.is_dead and process.task and not process.task.done() for process in self.processes)
        return bool(pending or borrowed or threads or dying)

    def _is_quiet(self) -> bool:
        return get_waiting() is not None and not self._is_busy()


def _kill_running() -> None:
    process = _RUNNING.get()
    if process is not None:
        process.die()


async def _report(_: float, __: str) -> None:
    """Show no progress."""
