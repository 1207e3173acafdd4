"""Every fault, as a client sees it and as the counts report it."""

from typing import Any

import httpx2
import pytest

from tests.fakes.client import IDS, Client
from tests.fakes.magnific.faults import Fault, FaultKind, FaultQueue
from tests.fakes.magnific.traffic import Operation
from tests.support.patience import PATIENCE_SECONDS


async def run_with(sandbox: Client, fault: str, **more: Any) -> httpx2.Response:
    """Start a run under a fault."""
    await sandbox.switch("faults", operation="run", fault=fault, **more)
    return await sandbox.run("Text to Picture", prompt="hills")


async def count_accepted(sandbox: Client) -> int:
    """Count the runs that were really started."""
    return int((await sandbox.http.get("/_sandbox/counts")).json()["runs_accepted"])


async def test_a_delay_ends_in_the_right_answer(sandbox: Client) -> None:
    """A slow provider is not a broken one."""
    assert (await run_with(sandbox, "delay", seconds=0)).status_code == 202


async def test_a_long_delay_outlasts_the_client(sandbox: Client) -> None:
    """That is how a client's own time limit is tested."""
    await sandbox.switch("faults", operation="list", fault="delay", seconds=3000)
    with pytest.raises(httpx2.ReadTimeout):
        await sandbox.http.get("/v1/ai/flows", timeout=httpx2.Timeout(PATIENCE_SECONDS, read=0.05))


async def test_a_reset_happens_before_anything_is_done(sandbox: Client) -> None:
    """The client cannot know that, and must treat the run as unknown."""
    with pytest.raises(httpx2.ReadError):
        await run_with(sandbox, "reset")
    assert await count_accepted(sandbox) == 0


@pytest.mark.parametrize("fault", ["drop", "truncate", "not_http"])
async def test_a_broken_answer_hides_an_accepted_run(sandbox: Client, fault: str) -> None:
    """The run is paid for although its id never arrived."""
    with pytest.raises(httpx2.RemoteProtocolError):
        await run_with(sandbox, fault)
    assert await count_accepted(sandbox) == 1


@pytest.mark.parametrize(("fault", "body"), [("garbage", "<html>Bad gateway</html>"), ("empty", "")])
async def test_a_useless_body_hides_an_accepted_run(sandbox: Client, fault: str, body: str) -> None:
    """The status is right, and the run id is not there."""
    answer = await run_with(sandbox, fault)
    assert (answer.status_code, answer.text, await count_accepted(sandbox)) == (202, body, 1)


@pytest.mark.parametrize(("fault", "accepted"), [("status", 0), ("status_after", 1)])
async def test_an_error_status_may_come_before_or_after_the_work(sandbox: Client, fault: str, accepted: int) -> None:
    """A client cannot distinguish the two apart."""
    answer = await run_with(sandbox, fault, status=500)
    assert (answer.status_code, answer.json()) == (500, {"message": "Internal Server Error"})
    assert await count_accepted(sandbox) == accepted


async def test_a_status_may_carry_headers_and_a_raw_body(sandbox: Client) -> None:
    """For delays that the provider asks for, redirects, and pages of a proxy."""
    answer = await run_with(sandbox, "status", status=307, body="<p>", retry_after=1.5, location="http://x.test/")
    assert (answer.status_code, answer.text) == (307, "<p>")
    assert (answer.headers["retry-after"], answer.headers["location"]) == ("1.5", "http://x.test/")


@pytest.mark.parametrize(
    ("status", "message"), [(402, "Not enough credits"), (418, "I'm a Teapot"), (599, "No known reason")]
)
async def test_a_status_says_what_the_contract_says(sandbox: Client, status: int, message: str) -> None:
    """Or the status's own name where the contract is silent."""
    assert (await run_with(sandbox, "status", status=status)).json()["message"] == message


async def test_a_429_by_fault_is_counted_as_one(sandbox: Client) -> None:
    """Tests of the request budget look at this count."""
    await run_with(sandbox, "status", status=429)
    assert (await sandbox.http.get("/_sandbox/counts")).json()["refused_429"] == 1


async def test_a_refusal_can_be_spoilt_too(sandbox: Client) -> None:
    """The work may end in a refusal, and its answer be lost like any other."""
    await sandbox.switch("faults", operation="get", fault="garbage")
    assert (await sandbox.http.get("/v1/ai/flows/nosuchapp1")).status_code == 404


async def test_a_fault_happens_as_often_as_it_was_asked_for(sandbox: Client) -> None:
    """Then all is well again."""
    await sandbox.switch("faults", operation="list", fault="status", status=503, times=2)
    answers = [await sandbox.http.get("/v1/ai/flows") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 503, 200]


@pytest.mark.parametrize(
    ("operation", "path"), [("list", "flows"), ("list_own", "me/flows"), ("get", f"flows/{IDS['Retro Poster']}")]
)
async def test_every_reading_operation_can_fail(sandbox: Client, operation: str, path: str) -> None:
    """And each fault strikes its own operation."""
    await sandbox.switch("faults", operation=operation, fault="status", status=503)
    assert (await sandbox.http.get(f"/v1/ai/{path}")).status_code == 503


async def test_looking_at_a_run_can_fail(sandbox: Client) -> None:
    """The run itself is not touched by it."""
    run_id = await sandbox.start("Text to Picture", prompt="hills")
    await sandbox.switch("faults", operation="status", fault="status", app=IDS["Text to Picture"], status=500)
    answers = [await sandbox.http.get(f"/v1/ai/flows/runs/{run_id}") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [500, 200]


async def test_a_file_can_break_off_in_the_middle(sandbox: Client) -> None:
    """A saved half of a picture is a lost result."""
    run = await sandbox.finish("Text to Picture", prompt="hills")
    await sandbox.switch("faults", operation="file", fault="truncate")
    with pytest.raises(httpx2.RemoteProtocolError):
        await sandbox.http.get(run["result"]["images"][0]["url"])


def test_a_fault_waits_for_its_app() -> None:
    """Requests about other apps pass it by."""
    queue = FaultQueue()
    queue.add(Fault(Operation.GET, FaultKind.DROP, app_id="a"), 1)
    queue.add(Fault(Operation.GET, FaultKind.RESET), 1)
    taken = [queue.take(Operation.GET, "b"), queue.take(Operation.GET, "b"), queue.take(Operation.GET, "a")]
    assert [fault and fault.kind for fault in taken] == [FaultKind.RESET, None, FaultKind.DROP]
