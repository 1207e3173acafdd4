"""Keys and hosts."""

import pytest

from tests.fakes.client import KEY
from tests.sandbox.client import Client


async def test_no_key_is_a_missing_key(sandbox: Client) -> None:
    """Magnific API 1.0.0, 401."""
    answer = await sandbox.http.get("/v1/ai/flows", headers={"x-magnific-api-key": ""})
    assert (answer.status_code, answer.json()) == (401, {"message": "Missing API key"})


@pytest.mark.parametrize("key", [b"wrong", KEY.encode() + b"x", b"\xff\xfe"])
async def test_another_key_is_an_invalid_key(sandbox: Client, key: bytes) -> None:
    """Magnific API 1.0.0, 401; bytes beyond ASCII are no reason to fall over."""
    answer = await sandbox.http.get("/v1/ai/flows", headers=[(b"x-magnific-api-key", key)])
    assert (answer.status_code, answer.json()) == (401, {"message": "Invalid API key"})


async def test_the_older_header_is_accepted(sandbox: Client) -> None:
    """Clients from before the service's new name send it."""
    headers = {"x-magnific-api-key": "", "x-freepik-api-key": KEY}
    assert (await sandbox.http.get("/v1/ai/flows", headers=headers)).status_code == 200


@pytest.mark.parametrize("path", ["me/flows", "flows/x", "flows/runs/x"])
async def test_every_reading_operation_asks_for_the_key(sandbox: Client, path: str) -> None:
    """Whether something exists is not an one's business without a key."""
    assert (await sandbox.http.get(f"/v1/ai/{path}", headers={"x-magnific-api-key": "no"})).status_code == 401


@pytest.mark.parametrize("origin", ["api_url", "files_url"])
async def test_a_foreign_host_is_refused(sandbox: Client, origin: str) -> None:
    """A page whose name was made to resolve to this machine must not read anything."""
    answer = await sandbox.http.get(getattr(sandbox.addresses, origin), headers={"host": "evil.example"})
    assert (answer.status_code, answer.json()) == (403, {"message": "Host not allowed"})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
async def test_the_names_of_the_loopback_interface_are_let_in(sandbox: Client, host: str) -> None:
    """With the right port only."""
    port = sandbox.addresses.api_url.rpartition(":")[2]
    right = await sandbox.http.get("/v1/ai/flows", headers={"host": f"{host}:{port}"})
    wrong = await sandbox.http.get("/v1/ai/flows", headers={"host": f"{host}:1"})
    assert (right.status_code, wrong.status_code) == (200, 403)
