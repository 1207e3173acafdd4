"""Calls over HTTP whose clients lose their connections, repeat requests, or use an id twice."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.crash.benches import KEY, Bench, open_bench
from tests.support.callers import ERAS, MODERN, HttpCall, HttpCaller, open_http_server
from tests.support.children import CONDITIONS
from tests.support.patience import poll_until

TOOL = "text_to_picture"


@dataclass(frozen=True, slots=True)
class World:
    """A sandbox, and a Flowport that listens on HTTP."""

    bench: Bench
    url: str
    home: Path
    stack: ExitStack

    def connect(self, era: str) -> HttpCaller:
        """Return a new client."""
        return HttpCaller(self.url, era, self.stack)

    def hold_runs(self, count: int) -> None:
        """Hold the next runs until they are released."""
        for _ in range(count):
            self.bench.switch("next_run", hold=True)

    def wait_for_runs(self, count: int) -> list[str]:
        """Return the ids of the live runs at the provider, once there are enough."""
        going: list[str] = []
        while len(going) < count:
            going = [run_id for run_id, run in self.bench.get_runs().items() if run["completed_at"] is None]
        return going

    def release(self, run_ids: list[str]) -> None:
        """Let runs end."""
        for run_id in run_ids:
            self.bench.switch(f"runs/{run_id}", release=True)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Run a sandbox and a Flowport."""
    folder = tmp_path_factory.mktemp("calls")
    with ExitStack() as stack:
        bench = stack.enter_context(open_bench(folder / "sandbox"))
        environment = {
            "MAGNIFIC_API_KEY": KEY,
            "MAGNIFIC_BASE_URL": bench.url,
            "MAGNIFIC_FILE_ORIGINS": bench.files_url,
            "FLOWPORT_REQUESTS_PER_MINUTE": "0",
            "FLOWPORT_PREVIEWS": "false",
            CONDITIONS: "pace=0.05",
        }
        url = stack.enter_context(open_http_server(folder / "flowport", environment))
        yield World(bench, url, folder / "flowport/home", stack)


@pytest.fixture
def world(served: World) -> Iterator[World]:
    """Give the two to one test, with no runs at the provider at first; a watchdog ends hanging calls."""
    served.bench.switch("reset")
    with ExitStack() as stack:
        yield World(served.bench, served.url, served.home, stack)


def read(call: HttpCall) -> dict[str, Any]:
    """Return the structured content of an answer."""
    facts: dict[str, Any] = call.read()[1]["result"]["structuredContent"]
    return facts


@pytest.mark.parametrize("era", ERAS)
def test_concurrent_variations_are_separate_runs_and_each_retry_joins_one(
    world: World, era: str, request: pytest.FixtureRequest
) -> None:
    """Of three equal calls two lose their connections, and the client repeats those two."""
    client, arguments = world.connect(era), {"prompt": request.node.name}
    world.hold_runs(3)
    calls = [client.call(TOOL, arguments) for _ in range(3)]
    going = world.wait_for_runs(3)
    calls[0].close(is_reset=True)
    calls[2].close()
    calls[0], calls[2] = (client.call(TOOL, arguments) for _ in range(2))
    world.release(going)
    found = [read(call) for call in calls]
    assert len({facts["run_id"] for facts in found}) == 3
    assert ["joined" in facts for facts in found] == [True, False, True]
    assert world.bench.count_starts() == 3


@pytest.mark.parametrize("era", ERAS)
def test_arguments_given_as_text_run_the_app(world: World, era: str, request: pytest.FixtureRequest) -> None:
    """They mean the same as the object, so an equal call during the first is the same call."""
    client, arguments = world.connect(era), {"prompt": request.node.name}
    params = {"name": TOOL, "arguments": json.dumps(arguments)}
    facts = read(client.ask("tools/call", params, name=TOOL))
    refused = client.ask("tools/call", {"name": TOOL, "arguments": "a lake"}, name=TOOL).read()[1]
    assert facts["state"] == "succeeded"
    assert refused["error"]["message"].startswith("arguments is text that is not a JSON object")
    assert world.bench.count_starts() == 1


@pytest.mark.parametrize("era", ERAS)
def test_a_half_closed_connection_counts_as_disconnected(
    world: World, era: str, request: pytest.FixtureRequest
) -> None:
    """The web server does not answer a half-closed connection, so the same call joins the run."""
    client, arguments = world.connect(era), {"prompt": request.node.name}
    world.hold_runs(1)
    first = client.call(TOOL, arguments)
    going = world.wait_for_runs(1)
    first.close_half()
    again = client.call(TOOL, arguments)
    world.release(going)
    assert "joined" in read(again)
    assert world.bench.count_starts() == 1


@pytest.mark.parametrize("era", ERAS)
def test_another_call_under_a_live_id_never_mixes_with_it(
    world: World, era: str, request: pytest.FixtureRequest
) -> None:
    """In a session it is refused; without sessions it may be another window's. Both streams end in any case."""
    client, prompt = world.connect(era), request.node.name
    world.hold_runs(1)
    first = client.call(TOOL, {"prompt": prompt})
    going = world.wait_for_runs(1)
    other = client.call(TOOL, {"prompt": f"{prompt} 2"}, request_id=first.id)
    message = other.read()[1]
    world.release(going)
    assert read(first)["state"] == "succeeded"
    if era == MODERN:
        assert message["result"]["structuredContent"]["state"] == "succeeded"
    else:
        assert (message["id"], message["error"]["code"]) == (first.id, -32600)
    assert world.bench.count_starts() == (2 if era == MODERN else 1)


def test_a_cancellation_ends_every_request_under_its_id(world: World, request: pytest.FixtureRequest) -> None:
    """A request and its repetition are both cancelled; no stream is left open."""
    client, arguments = world.connect(ERAS[0]), {"prompt": request.node.name}
    world.hold_runs(1)
    calls = [client.call(TOOL, arguments, request_id=7) for _ in range(2)]
    going = world.wait_for_runs(1)
    client.cancel(calls[0])
    answers = [call.read()[1] for call in calls]
    assert all("error" in one or one["result"]["isError"] for one in answers)
    again = client.call(TOOL, arguments)
    world.release(going)
    assert "joined" in read(again)
    assert world.bench.count_starts() == 1


@pytest.mark.parametrize("era", ERAS)
def test_a_number_and_the_same_as_text_are_two_ids(world: World, era: str, request: pytest.FixtureRequest) -> None:
    """The protocol's library keeps both under one key."""
    client, prompt = world.connect(era), request.node.name
    world.hold_runs(2)
    calls = [client.call(TOOL, {"prompt": f"{prompt} {one!r}"}, request_id=one) for one in (7, "7")]
    world.release(world.wait_for_runs(2))
    answers = [call.read()[1] for call in calls]
    assert [answer["id"] for answer in answers] == [7, "7"]
    assert len({answer["result"]["structuredContent"]["run_id"] for answer in answers}) == 2


@pytest.mark.parametrize("era", ERAS)
def test_an_undelivered_result_is_delivered_by_any_answer_that_contains_it(
    world: World, era: str, request: pytest.FixtureRequest
) -> None:
    """By `get_run` and by reading an output, but neither by a list nor by an answer to a disconnected client."""
    client, prompt = world.connect(era), request.node.name

    def get_newest() -> dict[str, Any]:
        """Return the newest run of the list."""
        row: dict[str, Any] = read(client.call("list_runs", {"limit": 1}))["runs"][0]
        return row

    run_ids = []
    for n in range(2):
        world.hold_runs(1)
        call = client.call(TOOL, {"prompt": f"{prompt} {n}"})
        going = world.wait_for_runs(1)
        call.close()
        world.release(going)
        poll_until(lambda: get_newest()["state"] == "succeeded")
        row = get_newest()
        run_ids.append(row["run_id"])
        assert row["is_seen"] is False

    assert read(client.call("get_run", {"run_id": run_ids[0]}))["outputs"]
    uri = f"flowport://runs/{run_ids[1]}/outputs/1"
    assert client.ask("resources/read", {"uri": uri}, name=uri).read()[1]["result"]["contents"]
    rows = {row["run_id"]: row for row in read(client.call("list_runs", {"limit": 9}))["runs"]}
    assert [rows[run_id]["is_seen"] for run_id in run_ids] == [True, True]


@pytest.mark.parametrize("era", ERAS)
def test_last_is_the_newest_of_this_connection_or_else_of_the_owner(
    world: World, era: str, request: pytest.FixtureRequest
) -> None:
    """A second window, or a new session, has received nothing yet."""
    one, prompt = world.connect(ERAS[0]), request.node.name
    first = read(one.call(TOOL, {"prompt": prompt}))
    other = world.connect(ERAS[0])
    second = read(other.call(TOOL, {"prompt": f"{prompt} 2"}))
    third = world.connect(era)

    def get_photo(client: HttpCaller) -> str:
        drawn = read(client.call("photo_to_pencil_sketch", {"photo": "last"}))
        uri = drawn["resource"]
        content = client.ask("resources/read", {"uri": uri}, name=uri).read()[1]["result"]["contents"][0]
        return str(json.loads(content["text"])["arguments"])

    if era == ERAS[0]:
        assert second["run_id"] in get_photo(third)
    assert first["run_id"] in get_photo(one)
