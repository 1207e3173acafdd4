"""What every answer goes through."""

import pytest

from tests.fakes.client import Client


async def test_a_request_for_paths_that_do_not_exist_takes_no_fault(sandbox: Client) -> None:
    """A fault is for a request that the provider knows; it waits for the right one."""
    await sandbox.switch("dialect", style="apps")
    await sandbox.switch("faults", operation="list", fault="status", status=500)
    answers = [await sandbox.http.get(f"/v1/ai/{family}") for family in ("flows", "apps", "apps")]
    assert [answer.status_code for answer in answers] == [404, 500, 200]
    assert (await sandbox.http.get("/_sandbox/counts")).json()["families"] == {"flows": 1, "apps": 2}


@pytest.mark.parametrize("fault", ["truncate", "status_after"])
async def test_a_fault_may_spoil_a_refusal_without_a_body(sandbox: Client, fault: str) -> None:
    """Oddities come together."""
    await sandbox.switch("dialect", error_bodies="empty")
    await sandbox.switch("faults", operation="get", fault=fault, status=502)
    answer = await sandbox.http.get("/v1/ai/flows/nosuchapp1")
    assert answer.status_code == (502 if fault == "status_after" else 404)


async def test_the_files_origin_is_outside_the_limit(sandbox: Client) -> None:
    """The limit belongs to the key, and no key goes there."""
    await sandbox.switch("limit", requests_per_minute=1)
    answers = [await sandbox.http.get(f"{sandbox.addresses.files_url}/uploads/x/asset") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [404] * 3
