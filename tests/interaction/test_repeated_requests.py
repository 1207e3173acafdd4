"""Requests on standard input that are repeated, cancelled, or share an id: none of them is paid twice."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.crash.benches import KEY, Bench, open_bench
from tests.support.callers import ERAS, StdioCaller
from tests.support.children import CONDITIONS
from tests.support.patience import poll_until

TOOL = "text_to_picture"
PROMPT = {"prompt": "a lake"}
CANCELLED = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 500}}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Run a sandbox."""
    with open_bench(tmp_path_factory.mktemp("sandbox")) as bench:
        yield bench


@pytest.fixture(params=ERAS)
def client(request: pytest.FixtureRequest, tmp_path: Path, bench: Bench) -> Iterator[StdioCaller]:
    """Start Flowport for a client of each era."""
    bench.switch("reset")
    environment = {
        "MAGNIFIC_API_KEY": KEY,
        "MAGNIFIC_BASE_URL": bench.url,
        "MAGNIFIC_FILE_ORIGINS": bench.files_url,
        "FLOWPORT_REQUESTS_PER_MINUTE": "0",
        "FLOWPORT_PREVIEWS": "false",
        CONDITIONS: "pace=0.05",
    }
    with ExitStack() as stack:
        yield StdioCaller(tmp_path / "f", environment, request.param, stack)


def read(client: StdioCaller, request_id: int | str) -> dict[str, Any]:
    """Return the structured content of an answer."""
    facts: dict[str, Any] = client.read(request_id)["result"]["structuredContent"]
    return facts


def test_the_same_line_twice_in_one_write_is_one_run(client: StdioCaller, bench: Bench) -> None:
    """An id starts one run; both requests are answered, with the same run."""
    line = client.build(TOOL, PROMPT, request_id=500)
    client.send(line, line)
    found = [read(client, 500) for _ in range(2)]
    assert len({facts["run_id"] for facts in found}) == 1
    assert [facts["state"] for facts in found] == ["succeeded"] * 2
    assert bench.count_requests() == 1


def test_a_line_that_is_cancelled_and_comes_again_at_once_is_one_run(client: StdioCaller, bench: Bench) -> None:
    """A request cancelled and repeated in one write under the same id starts one run, at every stage of the first."""
    line = client.build(TOOL, PROMPT, request_id=500)
    client.send(line)
    for _ in range(5):
        client.send(CANCELLED, line)
    assert read(client, 500)["state"] == "succeeded"
    # Its delivery was cancelled as well, and the id is free again.
    client.send(CANCELLED, line)
    assert "joined" in read(client, 500)
    assert bench.count_requests() == 1


def test_another_call_under_an_id_in_progress_is_refused_by_it(client: StdioCaller, bench: Bench) -> None:
    """The second call is refused by its id; the first continues and is answered."""
    bench.switch("next_run", hold=True)
    client.send(client.build(TOOL, PROMPT, request_id=500))
    client.send(client.build(TOOL, {"prompt": "a hill"}, request_id=500))
    refusal = client.read(500)
    poll_until(lambda: len(bench.get_runs()) == 1)
    going = list(bench.get_runs())
    bench.switch(f"runs/{going[0]}", release=True)
    assert refusal["error"]["code"] == -32600
    assert read(client, 500)["state"] == "succeeded"
    assert bench.count_requests() == 1


def test_a_number_and_the_same_as_text_are_two_ids(client: StdioCaller, bench: Bench) -> None:
    """The number 1 and the text "1" are different ids, so cancelling one leaves the other."""
    for _ in range(2):
        bench.switch("next_run", hold=True)
    client.send(client.build(TOOL, PROMPT, request_id=7))
    client.send(client.build(TOOL, {"prompt": "a hill"}, request_id="7"))
    poll_until(lambda: len(bench.get_runs()) == 2)
    going = list(bench.get_runs())
    client.send({**CANCELLED, "params": {"requestId": 7}})
    for run_id in going:
        bench.switch(f"runs/{run_id}", release=True)
    assert read(client, "7")["state"] == "succeeded"
    again = read(client, client.call(TOOL, PROMPT))
    assert (again["state"], "joined" in again) == ("succeeded", True)
    assert bench.count_requests() == 2


def test_an_array_of_requests_with_one_id_is_one_run(client: StdioCaller, bench: Bench) -> None:
    """An array of requests is split, and its parts follow the same rules."""
    line = client.build(TOOL, PROMPT, request_id=500)
    client.send([line, line])
    assert len({read(client, 500)["run_id"] for _ in range(2)}) == 1
    assert bench.count_requests() == 1


def test_a_cancellation_of_an_answer_that_delivered_nothing_changes_nothing(client: StdioCaller, bench: Bench) -> None:
    """Cancelling an answer that delivered no run changes nothing: clients cancel whatever they have read."""
    facts = read(client, client.call(TOOL, PROMPT))
    for tool in ("list_runs", "get_balance"):
        client.cancel(client.call(tool, {}))
        asked = client.call(tool, {})
        client.read(asked)
        client.cancel(asked)
    other = read(client, client.call(TOOL, PROMPT))
    assert other["run_id"] != facts["run_id"]
    assert bench.count_requests() == 2
