"""A day whose requests are used up in the middle of a conversation with Magica."""

from pathlib import Path

import pytest

from flowport.domain.errors import DayUsedUp, Operation
from flowport.network.ratelimit.limiter import Priority, RateLimiter
from flowport.providers.answers import RateLimits
from tests.fakes.client import build_photo, write
from tests.fakes.magica.client import MagicaClient
from tests.providers.contract.worlds import wait_until_there
from tests.support.magica_face import MAGICA, PROMPT


def use_up_the_day(monkeypatch: pytest.MonkeyPatch, operation: Operation, *, after: int) -> None:
    """Have the budget allow so many requests for something, and then no more today."""
    take, taken = RateLimiter.take, 0

    async def count(self: RateLimiter, priority: Priority, asked: Operation = Operation.START_RUN) -> None:
        """Refuse what is too much."""
        nonlocal taken
        taken += asked is operation
        if asked is operation and taken > after:
            raise DayUsedUp("Magica", asked, 7200.0, is_reported=False)
        await take(self, priority, asked)

    monkeypatch.setattr(RateLimiter, "take", count)


@pytest.mark.parametrize("after", [0, 1, 2, 3, 4])
async def test_a_workflow_that_the_budget_did_not_let_us_ask_for_is_not_left_out(
    face: MagicaClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """It is read as soon as the day goes on, not a day later."""
    await face.switch(graph="missing")
    use_up_the_day(monkeypatch, Operation.DESCRIBE_APP, after=after)
    async with MAGICA.open(face.sandbox, tmp_path / "person", max_tools=1) as flowport:
        catalog = flowport.assembly.workspace.catalogs[0].catalog
        await catalog.refresh()
        problem = catalog.problem
    assert "The day's requests are used up" in problem
    assert [listing.left_out for listing in catalog.current.listings if listing.left_out] == []


@pytest.mark.parametrize("after", [0, 1, 2])
async def test_a_file_that_the_budget_did_not_let_go_up_is_told_as_that(
    face: MagicaClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Nothing was sent that costs, nobody made a mistake, and asking again at once is of no use."""
    async with MAGICA.open(face.sandbox, tmp_path / "person") as flowport:
        photo = tmp_path / "person" / "cup.png"
        photo.write_bytes(write(build_photo()))
        await flowport.client.list_tools()
        use_up_the_day(monkeypatch, Operation.REQUEST_UPLOAD, after=after)
        facts = await flowport.ask("photo_to_pencil_sketch", your_photo=str(photo))
    assert (facts["state"], facts["credits"], (await face.count())["run"]) == ("failed", 0, 0)
    assert "(The day's requests are used up, and Magica was not asked to accept the file." in facts["failure"]


@pytest.mark.parametrize("after", [0, 1, 2])
async def test_a_run_that_the_budget_did_not_let_us_cancel_is_told_as_that(
    face: MagicaClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """The person has to know that it still goes on."""
    await face.sandbox.switch("next_run", hold=True)
    async with MAGICA.open(face.sandbox, tmp_path / "person", wait_seconds=0.1) as flowport:
        run_id = (await flowport.ask("text_to_picture", **PROMPT))["run_id"]
        await wait_until_there(flowport, run_id)
        use_up_the_day(monkeypatch, Operation.CANCEL_RUN, after=after)
        answer = str(await flowport.call("cancel_run", run_id=run_id))
    assert "Magica was not asked to cancel the run" in answer


async def test_a_balance_that_cannot_be_asked_today_is_told_as_that(face: MagicaClient, tmp_path: Path) -> None:
    """Trying again is of no use before the day goes on."""
    async with MAGICA.open(face.sandbox, tmp_path / "person", requests_per_minute=800) as flowport:
        account = flowport.assembly.workspace.catalogs[0].account
        account.limiter.note_limits(RateLimits(0, reset_seconds=7200.0))
        told = (await flowport.ask("get_balance"))["accounts"][0]["provider_balance"]
    assert told == "The day's requests are used up; Magica cannot be asked until the day goes on."
