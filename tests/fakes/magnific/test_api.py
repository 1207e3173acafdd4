"""The provider's interface over real HTTP."""

from tests.fakes.client import IDS, Client, open_sandbox

PICTURE = IDS["Text to Picture"]


async def test_equal_requests_are_two_runs(sandbox: Client) -> None:
    """There is no idempotency key: a retry would be paid twice, and tests must be able to see it."""
    assert await sandbox.start("Text to Picture", prompt="a") != await sandbox.start("Text to Picture", prompt="a")
    counts = (await sandbox.http.get("/_sandbox/counts")).json()
    assert (counts["run"], counts["runs_accepted"], counts["runs_accepted_by_app"]) == (2, 2, {PICTURE: 2})


async def test_the_rate_limit_refuses_what_is_too_much() -> None:
    """Fifty a minute at the real provider; the files and the switches are outside it."""
    async with open_sandbox(requests_per_minute=2) as client:
        answers = [await client.http.get("/v1/ai/flows") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[2].json() == {"message": "Too many requests"}
        assert (await client.http.get("/_sandbox/counts")).json()["refused_429"] == 1
