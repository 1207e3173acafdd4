"""Keys and hosts."""

from tests.fakes.client import Client


async def test_a_refused_key_is_not_counted(sandbox: Client) -> None:
    """Counts are of requests that the provider dealt with."""
    await sandbox.http.post("/v1/ai/flows/x/run", headers={"x-magnific-api-key": "no"})
    assert (await sandbox.http.get("/_sandbox/counts")).json()["run"] == 0
