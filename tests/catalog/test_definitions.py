"""Calls of apps whose definitions are not read yet, while the request budget or the provider keeps them waiting."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from flowport.actions.workspace import DefinitionReader, Workspace
from flowport.catalog.listing import Listing
from flowport.domain.call_errors import DefinitionNotRead
from flowport.domain.errors import StoreError
from flowport.runs.waiting import Patience, report_while
from flowport.runtime.background import Supervisor
from tests.catalog.samples import build_listing
from tests.fakes.client import Client as SandboxClient
from tests.support.harness import Harness, ScriptedCaller, open_harness
from tests.support.scripted import wait_until
from tests.support.shifted_clock import ShiftedClock

CALL = {"app": "text_to_picture", "arguments": {"prompt": "a lake"}}
ROWS = {"app": "text_to_picture", "rows": [{"prompt": "a lake"}]}


def get_definition(flowport: Harness) -> object:
    """Return the tool of the app; None while its definition is not read."""
    return flowport.assembly.workspace.catalogs[0].catalog.get_listing("text_to_picture").tool


async def test_a_call_whose_definition_waits_for_the_budget_is_answered_in_time(
    sandbox: SandboxClient, tmp_path: Path
) -> None:
    """The client's patience is known; the reading goes on, so that a later call finds it."""
    # The two lists use up the minute, which passes in three seconds.
    clock = ShiftedClock(rate=20.0)
    async with open_harness(
        sandbox, tmp_path / "person", clock=clock, requests_per_minute=2, max_tools=0, wait_seconds=12.0
    ) as flowport:
        await flowport.client.list_tools()
        facts = await flowport.ask("run_app", **CALL)
        batch = await flowport.ask("run_batch", **ROWS)
        assert (facts["error"], batch["error"], await flowport.count("run")) == ("DefinitionNotRead",) * 2 + (0,)
        assert (await flowport.ask("list_runs"))["runs"] == []
        await wait_until(lambda: get_definition(flowport) is not None)
        done = await flowport.ask("run_app", **CALL)
    assert "the requests of this minute are used up. The reading goes on; call again in about " in facts["message"]
    messages = [message for _, message in flowport.progress]
    assert messages[0].startswith(
        "waiting to read the app's definition: the requests of this minute are used up, about "
    )
    assert done["run_id"]


class SlowCatalog:
    """A catalogue whose provider answers when the test lets it."""

    def __init__(self, error: Exception | None = None) -> None:
        """Begin without an answer; with an error, that is what comes of the reading."""
        self.answered = anyio.Event()
        self.asked = 0
        self._error = error

    async def fetch_listing(self, _: str) -> Listing:
        """Return the app once the provider has answered."""
        self.asked += 1
        await self.answered.wait()
        if self._error is not None:
            raise self._error
        return DESCRIBED


UNREAD = build_listing("aB3", "Sketch", tool_name="sketch")
DESCRIBED = build_listing("aB3", "Sketch", tool_name="sketch", property_names={"in-1": "photo"})
RATE = 100.0
"""Five seconds are a twentieth of one."""


@pytest.fixture
async def workspace() -> AsyncIterator[Any]:
    """Give a test what a reader needs of a workspace, with a clock that runs fast and a patience of forty seconds."""
    async with Supervisor() as supervisor:
        waiter = SimpleNamespace(get_deadline=lambda caller: caller.arrived_at_seconds + 40.0, patience=Patience())
        definitions = DefinitionReader(supervisor)
        yield SimpleNamespace(clock=ShiftedClock(rate=RATE), waiter=waiter, definitions=definitions)


def build_home(catalog: SlowCatalog) -> Any:
    """Return an open catalogue with a budget in which nothing waits."""
    limiter = SimpleNamespace(get_wait=lambda _: 0.0)
    return SimpleNamespace(
        catalog=catalog, account=SimpleNamespace(limiter=limiter, provider=SimpleNamespace(title="Magnific"))
    )


def build_caller(workspace: Any, messages: list[str]) -> ScriptedCaller:
    """Return a caller who calls now."""

    async def report(_: float, message: str) -> None:
        """Keep each message."""
        messages.append(message)

    return ScriptedCaller(workspace.clock.monotonic(), report)


async def test_a_definition_that_the_provider_keeps_back_is_asked_for_once(workspace: Any) -> None:
    """A repeated call waits for the same answer."""
    catalog, messages = SlowCatalog(), list[str]()
    home = build_home(catalog)
    for _ in range(2):
        with pytest.raises(DefinitionNotRead) as late:
            await Workspace.fetch_definition(workspace, home, UNREAD, build_caller(workspace, messages))
        assert (late.value.provider, late.value.wait_seconds) == ("Magnific", None)
    assert set(messages) == {"waiting to read the app's definition: Magnific has not answered yet"}
    assert catalog.asked == 1
    catalog.answered.set()
    assert await Workspace.fetch_definition(workspace, home, UNREAD, build_caller(workspace, messages)) is DESCRIBED


@pytest.mark.parametrize(
    ("error", "problem"), [(StoreError("The disk is full", "."), "The disk is full"), (OSError(), "Flowport made")]
)
async def test_what_comes_of_the_reading_reaches_who_waits(
    workspace: Any, error: Exception, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A mistake of ours among them: no caller waits without limit, and the next call tries again."""
    catalog = SlowCatalog(error)
    catalog.answered.set()
    home = build_home(catalog)
    with caplog.at_level(logging.CRITICAL):
        for _ in range(2):
            with pytest.raises(StoreError) as found:
                await Workspace.fetch_definition(workspace, home, UNREAD, build_caller(workspace, []))
            assert found.value.problem.startswith(problem)
    assert catalog.asked == 2


async def test_what_takes_long_is_reported_meanwhile(workspace: Any) -> None:
    """Clients give up a call without any progress."""
    messages: list[str] = []
    is_second = anyio.Event()

    async def report(progress: float, message: str) -> None:
        """Keep each message, and signal the second."""
        messages.append(message)
        assert progress >= 0
        if len(messages) == 2:
            is_second.set()

    async def work() -> int:
        """Take until the second word."""
        await is_second.wait()
        return 7

    caller = ScriptedCaller(workspace.clock.monotonic(), report)
    assert await report_while(work(), caller, workspace.clock, "preparing the call") == 7
    assert messages == ["preparing the call"] * 2


async def test_an_error_of_what_takes_long_comes_as_it_is(workspace: Any) -> None:
    """Callers know it by its class."""

    async def work() -> int:
        """Fail."""
        raise StoreError("The disk is full", ".")

    with pytest.raises(StoreError):
        await report_while(work(), build_caller(workspace, []), workspace.clock, "preparing the call")
