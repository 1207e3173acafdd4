"""Test doubles for runs and catalogues: an account that answers from a script, and a store that fails on demand."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import anyio.lowlevel

from flowport.domain.errors import Breakage, Operation, ProviderUnreachable, StoreError
from flowport.domain.models import Account
from flowport.network.account import OpenAccount
from flowport.network.api_client import Location, Permit
from flowport.network.ratelimit.limiter import Priority, RateLimiter
from flowport.providers.interface import ApiAnswer, ApiRequest, Provider
from flowport.providers.magnific.api import Magnific
from flowport.runtime.clock import Clock
from flowport.store.interface import Store
from flowport.store.sqlite.store import SqliteStore, open_sqlite_store
from tests.support.fake_clock import working

ACCOUNT = Account("magnific", "api.example", "f1")

Reply: TypeAlias = ApiAnswer | Exception
Answer: TypeAlias = Callable[[ApiRequest], Reply]
"""Returns the answer to a request, or the exception to raise."""


def build_answer(body: Any = None, status: int = 200, **headers: str) -> ApiAnswer:
    """Return an answer; bytes are sent unchanged, everything else as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ApiAnswer(status, named, data)


def build_breakage(breakage: Breakage, operation: Operation = Operation.START_RUN) -> ProviderUnreachable:
    """Return the error of a broken connection."""
    return ProviderUnreachable("Magnific", operation, breakage)


def in_turn(*replies: Reply, last: Reply | None = None) -> Answer:
    """Answer requests in order; `last` answers all later ones."""
    waiting = list(replies)

    def answer(request: ApiRequest) -> Reply:
        """Take the next reply."""
        if waiting:
            return waiting.pop(0)
        assert last is not None, f"unexpected request: {request}"
        return last

    return answer


class ScriptedAccount(OpenAccount):
    """An open account without a network. It records requests and their priorities."""

    def __init__(
        self,
        answer: Answer,
        clock: Clock,
        *,
        provider: Provider | None = None,
        limit: int = 0,
        per_day: int = 0,
        is_sandbox: bool = False,
    ) -> None:
        super().__init__(
            ACCOUNT,
            provider or Magnific(),
            RateLimiter(limit, clock, per_day=per_day),
            _find_nothing,
            is_sandbox=is_sandbox,
        )
        self.answer = answer
        self.asked: list[ApiRequest] = []
        self.priorities: list[Priority] = []
        self.before_answer: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint
        """Awaited while a request is in progress."""
        self.origins = frozenset[str]()

    async def wait_for_turn(self, priority: Priority, operation: Operation = Operation.START_RUN) -> None:
        """Record the priority and take a request from the limiter."""
        self.priorities.append(priority)
        await self.limiter.take(priority)

    async def send_now(self, request: ApiRequest, permit: Permit | None = None) -> ApiAnswer:
        """Answer from the script."""
        if permit is not None:
            await permit()
        self.asked.append(request)
        await self.before_answer()
        reply = self.answer(request)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def fetch_file_origins(self) -> frozenset[str]:
        """Return the origins that the test trusts."""
        return self.origins

    def count(self, operation: Operation) -> int:
        """Return how many requests of a kind were sent."""
        return sum(request.operation is operation for request in self.asked)


async def _find_nothing() -> Location:
    raise AssertionError("a scripted account has no location")


class FaultyStore(SqliteStore):
    """The real store in a real file, whose operations fail or wait by name; an event by the name of its class."""

    def __init__(self, path: Path) -> None:
        super().__init__(open_sqlite_store(path).worker)
        self.failing: set[str] = set()
        """Operations that raise `StoreError` and change nothing."""
        self.held: dict[str, anyio.Event] = {}
        """Operations that wait for an event first."""
        self.called: list[str] = []
        """All operations that were called, in order."""

    def __getattribute__(self, name: str) -> Any:
        """Apply the faults before the operations of a store; return everything else unchanged."""
        found = super().__getattribute__(name)
        if not hasattr(Store, name) or name == "close" or name.startswith("_"):
            return found

        async def perform(*args: Any, **options: Any) -> Any:
            """Fail, wait or do it."""
            operation = type(args[1]).__name__ if name == "record" else name
            self.called.append(operation)
            if operation in self.held:
                await self.held[operation].wait()
            if {name, operation} & self.failing:
                raise StoreError("the disk is full", "Make room.")
            with working():
                return await found(*args, **options)

        return perform


async def wait_until(condition: Callable[[], bool]) -> None:
    """Let other tasks run until the condition holds; fail after a minute."""
    with anyio.fail_after(60):
        while not condition():
            await anyio.lowlevel.checkpoint()


class Listener:
    """Keeps what an exchange reports about its answer."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def note_written(self) -> None:
        """Keep that the answer was written."""
        self.events.append("written")

    def note_cancelled(self) -> None:
        """Keep that the request was cancelled after that."""
        self.events.append("cancelled")

    def note_left(self) -> None:
        """Keep that the client has left."""
        self.events.append("left")
