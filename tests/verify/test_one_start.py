"""One intended run is one start request, whatever the client does and when: both transports and eras, real processes.

The provider is a sandbox in its own process behind a gate, which holds a run at the moment that a cell tests.
"""

import itertools
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from tests.crash.benches import KEY, Bench, open_bench
from tests.support.callers import ERAS, Caller, HttpCaller, StdioCaller, open_http_server
from tests.support.children import CONDITIONS
from tests.support.gates import Gate, Stop, open_gate

TOOL = "photo_to_pencil_sketch"
LIVE = {"accepted", "starting", "queued", "running"}
RETRIES = 3
SESSION_SECONDS = 120.0
"""When a hanging cell is ended from outside; its test then fails."""


class Transport(StrEnum):
    """The client's transport."""

    STDIO = "stdio"
    HTTP = "http"


class Action(StrEnum):
    """What the client does before it sends the same call again."""

    DROP = "drop"
    CANCEL = "cancel"
    SAME_ID = "same id"
    RECONNECT = "reconnect"


class Moment(StrEnum):
    """When it does so."""

    BEFORE_POST = "before the POST"
    """The run is accepted; its picture is not uploaded yet."""
    BEFORE_ID = "before the id"
    """The provider has accepted the start request; its response has not arrived."""
    RUNNING = "while running"
    AFTER_ANSWER = "after the answer"


@dataclass(frozen=True, slots=True)
class Cell:
    """One way to request one run."""

    transport: Transport
    era: str
    action: Action
    moment: Moment

    def __str__(self) -> str:
        return f"{self.transport}-{self.era}-{self.action}-{self.moment}".replace(" ", "_")

    @property
    def may_be_unknown(self) -> bool:
        """Whether the response to the start request may be lost: on stdio Flowport ends with the connection."""
        ends = self.transport is Transport.STDIO and self.action in {Action.DROP, Action.RECONNECT}
        return ends and self.moment in {Moment.BEFORE_ID, Moment.RUNNING}


CELLS = [Cell(*parts) for parts in itertools.product(Transport, ERAS, Action, Moment)]


@dataclass(frozen=True, slots=True)
class World:
    """The provider and the proxy to it."""

    bench: Bench
    gate: Gate
    folder: Path
    url: str
    """The URL of the Flowport of all HTTP cells."""
    environment: dict[str, str]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Run the sandbox, the gate, and a Flowport over HTTP."""
    folder = tmp_path_factory.mktemp("matrix")
    with open_bench(folder / "sandbox") as bench, open_gate(urlsplit(bench.url).port or 0) as gate:
        environment = {
            "MAGNIFIC_API_KEY": KEY,
            "MAGNIFIC_BASE_URL": f"http://127.0.0.1:{gate.port}",
            "MAGNIFIC_FILE_ORIGINS": bench.files_url,
            "FLOWPORT_FILE_ROOTS": str(folder),
            "FLOWPORT_REQUESTS_PER_MINUTE": "0",
            "FLOWPORT_PREVIEWS": "false",
            CONDITIONS: "pace=0.05",
        }
        with open_http_server(folder / "http", environment) as url:
            yield World(bench, gate, folder, url, environment)


@contextmanager
def open_caller(cell: Cell, world: World) -> Iterator[Caller]:
    """Connect the client of a cell."""
    with ExitStack() as stack:
        if cell.transport is Transport.HTTP:
            yield HttpCaller(world.url, cell.era, stack)
        else:
            yield StdioCaller(world.folder / str(cell), world.environment, cell.era, stack)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_one_intended_run_is_one_start_and_its_result_arrives(cell: Cell, world: World, record_property: Any) -> None:
    """By the provider's own count."""
    before = world.bench.count_starts(), world.bench.count_requests()
    photo = world.folder / f"{cell}.png"
    Image.effect_noise((64, 48), 80).save(photo)
    with open_caller(cell, world) as caller:
        watchdog = threading.Timer(SESSION_SECONDS, world.gate.open)
        watchdog.start()
        try:
            answers = play(cell, world, caller, {"photo": str(photo)})
        finally:
            watchdog.cancel()
            world.gate.open()
    starts = world.bench.count_starts() - before[0]
    requests = world.bench.count_requests() - before[1]
    delivered = {facts["run_id"] for facts in answers if facts.get("state") == "succeeded" and facts["outputs"]}
    is_unknown = any(facts.get("state") == "unknown" or facts.get("error") == "UncertainStart" for facts in answers)
    verdict = "called unknown" if is_unknown else f"{len(delivered)} delivered"
    record_property(
        "one start",
        (f"{cell.transport} {cell.era} {cell.action}", cell.moment.value, f"{starts} started, {verdict}"),
    )
    assert (starts, requests) == (1, 1), answers
    assert cell.may_be_unknown or not is_unknown
    assert len(delivered) == (0 if is_unknown else 1), answers


_STOPS = {Moment.BEFORE_POST: Stop.UPLOAD, Moment.BEFORE_ID: Stop.START_REPLY}


def play(cell: Cell, world: World, caller: Caller, arguments: dict[str, str]) -> list[dict[str, Any]]:
    """Call, perform the action at its moment, call again, and return the answers."""
    if (stop := _STOPS.get(cell.moment)) is not None:
        world.gate.close(stop)
    elif cell.moment is Moment.RUNNING:
        world.bench.switch("next_run", hold=True)
    first = caller.call(TOOL, arguments)
    if cell.moment is Moment.AFTER_ANSWER:
        return _go_on_after_answer(cell, caller, first, arguments)
    run_id = ""
    if stop is None:
        run_id = _wait_until_running(world)
    else:
        world.gate.wait()
    again = _repeat(cell, caller, first, arguments)
    if (cell.transport, cell.action) == (Transport.HTTP, Action.DROP):
        # A client that times out repeats its call several times.
        for _ in range(RETRIES):
            again = _repeat(cell, caller, again, arguments)
    if run_id:
        world.bench.switch(f"runs/{run_id}", release=True)
    world.gate.open()
    answers = [_read(caller, again)]
    if cell.action is Action.SAME_ID:
        answers.append(_read(caller, first))
    while answers[-1].get("state") in LIVE:
        answers.append(_read(caller, caller.call("get_run", {"run_id": answers[-1]["run_id"]})))
    return answers


def _repeat(cell: Cell, caller: Caller, call: Any, arguments: dict[str, str]) -> Any:
    """Perform the action and send the same call at once."""
    match cell.action:
        case Action.DROP:
            caller.drop(call)
        case Action.CANCEL:
            caller.cancel(call)
        case Action.RECONNECT:
            caller.reconnect(call)
        case Action.SAME_ID:
            return caller.call(TOOL, arguments, request_id=getattr(call, "id", call))
    return caller.call(TOOL, arguments)


def _go_on_after_answer(cell: Cell, caller: Caller, first: Any, arguments: dict[str, str]) -> list[dict[str, Any]]:
    """Read the answer, perform the action, and check that the result stays delivered; repeat a cancelled request."""
    answers = [_read(caller, first)]
    if cell.action in {Action.CANCEL, Action.SAME_ID} and (cell.transport, cell.era, cell.action) != (
        Transport.HTTP,
        ERAS[-1],
        # Since 2026-07-28 a request over HTTP cannot be cancelled after its answer was sent.
        Action.CANCEL,
    ):
        answers.append(_read(caller, _repeat(cell, caller, first, arguments)))
    elif cell.action is Action.CANCEL:
        caller.cancel(first)
    elif cell.action is Action.DROP:
        caller.drop(first)
    else:
        caller.reconnect(first)
    rows = _read(caller, caller.call("list_runs", {"limit": 50}))["runs"]
    mine = [row for row in rows if row["run_id"] in {facts["run_id"] for facts in answers}]
    assert [row["is_seen"] for row in mine] == [True] * len(mine)
    return [*answers, _read(caller, caller.call("get_run", {"run_id": answers[0]["run_id"]}))]


def _read(caller: Caller, call: Any) -> dict[str, Any]:
    message = caller.read(call)
    facts: dict[str, Any] = message["result"]["structuredContent"]
    return facts


def _wait_until_running(world: World) -> str:
    """Return the provider's id of the live run, once Flowport has polled it."""
    while True:
        going = [run_id for run_id, run in world.bench.get_runs().items() if run["completed_at"] is None]
        if going and world.bench.count_polls() > 0:
            return going[-1]
