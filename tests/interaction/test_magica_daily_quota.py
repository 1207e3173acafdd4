"""A daily request quota that is used up in the middle of a conversation with Magica."""

from pathlib import Path

import pytest

from flowport.domain.errors import DayUsedUp, Operation
from flowport.network.ratelimit.limiter import Priority, RateLimiter
from flowport.providers.answers import RateLimits
from tests.fakes.client import build_photo, write
from tests.fakes.magica.client import MagicaClient
from tests.providers.contract.worlds import wait_until_there
from tests.support.magica_face import MAGICA, PROMPT


def exhaust_quota(monkeypatch: pytest.MonkeyPatch, operation: Operation, *, after: int) -> None:
    """Let the limiter grant a number of requests of an operation, and then no more today."""
    take, taken = RateLimiter.take, 0

    async def count(self: RateLimiter, priority: Priority, asked: Operation = Operation.START_RUN) -> None:
        """Refuse requests beyond the number."""
        nonlocal taken
        taken += asked is operation
        if asked is operation and taken > after:
            raise DayUsedUp("Magica", asked, 7200.0, is_reported=False)
        await take(self, priority, asked)

    monkeypatch.setattr(RateLimiter, "take", count)


@pytest.mark.parametrize("after", [0, 1, 2, 3, 4])
async def test_a_workflow_that_the_quota_delays_is_not_left_out(
    face: MagicaClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """It is read as soon as the quota resets, not a day later."""
    await face.switch(graph="missing")
    exhaust_quota(monkeypatch, Operation.DESCRIBE_APP, after=after)
    async with MAGICA.open(face.sandbox, tmp_path / "person", max_tools=1) as flowport:
        catalog = flowport.assembly.workspace.catalogs[0].catalog
        await catalog.refresh()
        problem = catalog.problem
    assert "The day's requests are used up" in problem
    assert [listing.left_out for listing in catalog.current.listings if listing.left_out] == []


@pytest.mark.parametrize("after", [0, 1, 2])
async def test_an_upload_that_the_quota_prevents_is_reported_as_such(
    face: MagicaClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Nothing that costs was sent, the caller made no mistake, and an immediate retry cannot work."""
    async with MAGICA.open(face.sandbox, tmp_path / "person") as flowport:
        photo = tmp_path / "person" / "cup.png"
        photo.write_bytes(write(build_photo()))
        await flowport.client.list_tools()
        exhaust_quota(monkeypatch, Operation.REQUEST_UPLOAD, after=after)
        facts = await flowport.ask("photo_to_pencil_sketch", your_photo=str(photo))
    assert (facts["state"], facts["credits"], (await face.count())["run"]) == ("failed", 0, 0)
    assert "(The day's requests are used up, and Magica was not asked to accept the file." in facts["failure"]


@pytest.mark.parametrize("after", [0, 1, 2])
async def test_a_cancellation_that_the_quota_prevents_is_reported_as_such(
    face: MagicaClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """The answer says that the run continues."""
    await face.sandbox.switch("next_run", hold=True)
    async with MAGICA.open(face.sandbox, tmp_path / "person", wait_seconds=0.1) as flowport:
        run_id = (await flowport.ask("text_to_picture", **PROMPT))["run_id"]
        await wait_until_there(flowport, run_id)
        exhaust_quota(monkeypatch, Operation.CANCEL_RUN, after=after)
        answer = str(await flowport.call("cancel_run", run_id=run_id))
    assert "Magica was not asked to cancel the run" in answer


async def test_a_balance_that_the_quota_prevents_is_reported_as_such(face: MagicaClient, tmp_path: Path) -> None:
    """The answer says when the quota resets; a retry before that cannot work."""
    async with MAGICA.open(face.sandbox, tmp_path / "person", requests_per_minute=800) as flowport:
        account = flowport.assembly.workspace.catalogs[0].account
        account.limiter.note_limits(RateLimits(0, reset_seconds=7200.0))
        balance = (await flowport.ask("get_balance"))["accounts"][0]["provider_balance"]
    assert balance == "The day's requests are used up; Magica cannot be asked until the day goes on."
