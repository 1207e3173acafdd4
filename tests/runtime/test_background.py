"""Background tasks."""

import logging
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest

from flowport.domain.errors import StoreError
from flowport.runtime.background import Supervisor
from tests.support.fake_clock import wait_until_blocked


async def crash(text: str = "words of the bug") -> None:
    """Die at once."""
    raise RuntimeError(text)


async def test_a_crash_is_logged_with_its_traceback_and_its_owner_is_notified(caplog: pytest.LogCaptureFixture) -> None:
    """A task that dies unheard leaves a process that neither answers nor exits."""
    notified = anyio.Event()
    async with Supervisor() as supervisor:
        supervisor.spawn("watcher", crash, "the bug", on_crash=_set(notified))
        await notified.wait()
    assert "the task 'watcher' has crashed" in caplog.text
    assert "RuntimeError: the bug" in caplog.text


def _set(event: anyio.Event) -> Callable[[], Awaitable[None]]:
    async def notify() -> None:
        event.set()

    return notify


async def test_the_others_go_on_after_a_crash() -> None:
    """One bad run must not end the catalogue."""
    crashed, ended = anyio.Event(), anyio.Event()

    async def outlive() -> None:
        """Live on after the other's crash."""
        await crashed.wait()
        await anyio.lowlevel.checkpoint()
        ended.set()

    async with Supervisor() as supervisor:
        supervisor.spawn("steady", outlive)
        supervisor.spawn("weak", crash, on_crash=_set(crashed))
        await ended.wait()


async def test_a_crash_without_an_owner_is_logged_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """No other part depends on the task, but the operator must know."""
    async with Supervisor() as supervisor:
        supervisor.spawn("lonely", crash)
        await wait_until_blocked()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_an_owner_that_crashes_on_the_news_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    """The clean-up after a crash meets the same broken world."""
    async with Supervisor() as supervisor:
        supervisor.spawn("watcher", crash, on_crash=crash)
        await wait_until_blocked()
    named = [record.args for record in caplog.records]
    assert named == [("watcher",), ("watcher, after its crash",)]


async def test_a_task_that_ends_well_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Nor is its owner notified: it did not crash."""
    notified, ended = anyio.Event(), anyio.Event()
    async with Supervisor() as supervisor:
        supervisor.spawn("short", _set(ended), on_crash=_set(notified))
        await ended.wait()
        await wait_until_blocked()
    assert (notified.is_set(), caplog.records) == (False, [])


async def test_leaving_cancels_every_task_without_calling_it_a_crash(caplog: pytest.LogCaptureFixture) -> None:
    """A process that stops must not wait for a watcher, and its end is not an error."""
    notified = anyio.Event()
    async with Supervisor() as supervisor:
        for name in "abc":
            supervisor.spawn(name, anyio.sleep_forever, on_crash=_set(notified))
        await wait_until_blocked()
    assert (notified.is_set(), caplog.records) == (False, [])


async def test_an_error_of_the_body_leaves_as_it_came() -> None:
    """The door of the process catches our errors by their class; a group around them would pass it."""
    error = StoreError("its file is damaged", "Move it away.")
    with pytest.raises(StoreError) as caught:
        await _fail_under_supervision(error)
    assert caught.value is error


async def _fail_under_supervision(error: Exception) -> None:
    async with Supervisor() as supervisor:
        supervisor.spawn("steady", anyio.sleep_forever)
        raise error


async def test_a_cancelled_body_takes_its_tasks_with_it() -> None:
    """The end of the process arrives as a cancellation."""
    with anyio.CancelScope() as scope:
        async with Supervisor() as supervisor:
            supervisor.spawn("steady", anyio.sleep_forever)
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
