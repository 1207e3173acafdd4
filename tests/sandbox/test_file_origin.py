"""The second origin."""

import pytest

from flowport.sandbox.files import MAX_KEPT_BYTES
from tests.sandbox.client import Client


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/private/production/x/render.png", 404),
        ("PUT", "/uploads/x", 404),
        ("GET", "/uploads/x", 405),
        ("GET", "/uploads/x/asset", 404),
        ("GET", "/v1/ai/flows", 404),
    ],
)
async def test_nothing_is_there_without_a_link(sandbox: Client, method: str, path: str, status: int) -> None:
    """Every refusal has the contract's shape."""
    answer = await sandbox.http.request(method, sandbox.addresses.files_url + path)
    assert (answer.status_code, list(answer.json())) == (status, ["message"])


async def test_an_upload_that_is_too_large_is_not_kept(sandbox: Client) -> None:
    """The header allows a gigabyte; the sandbox keeps its files in memory and takes less."""
    body = {"files": [{"content_type": "image/png"}]}
    (place,) = (await sandbox.http.post("/v1/ai/uploads/request-url", json=body)).json()["files"]
    # The sandbox's client sends its key with everything, so the request is built by hand.
    request = sandbox.http.build_request("PUT", place["upload_url"], content=bytes(MAX_KEPT_BYTES + 1))
    del request.headers["x-magnific-api-key"]
    request.headers.update(place["headers"])
    assert (await sandbox.http.send(request)).status_code == 413
    assert (await sandbox.http.get(place["asset_url"])).status_code == 404
