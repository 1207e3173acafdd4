"""Uploads: the address, its headers and its end, over real HTTP where the wire matters."""

from typing import Any

import httpx2
import pytest

from flowport.sandbox.files import ASSET_SECONDS, UPLOAD_SECONDS
from flowport.sandbox.web import Refused
from tests.fakes.client import Client, build_photo, write
from tests.fakes.magnific.uploads import UploadStore

PNG = write(build_photo())


class Clock:
    """A clock that stands still until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


async def request(sandbox: Client, *types: str) -> list[dict[str, Any]]:
    """Ask for places."""
    body = {"files": [{"content_type": kind} for kind in types or ("image/png",)]}
    answer = await sandbox.http.post("/v1/ai/uploads/request-url", json=body)
    assert answer.status_code == 200, answer.text
    files: list[dict[str, Any]] = answer.json()["files"]
    return files


async def put(place: dict[str, Any], **headers: str) -> httpx2.Response:
    """Put a file as a client should, with changes; a header without a value is left out."""
    named = {**place["headers"], **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with httpx2.AsyncClient(trust_env=False) as http:
        sent = {name: value for name, value in named.items() if value}
        return await http.put(place["upload_url"], content=PNG, headers=sent)


async def test_switches_end_the_life_of_a_place_and_of_a_link(sandbox: Client) -> None:
    """So that no test waits two minutes, or a day."""
    late, gone = await request(sandbox, "image/png", "image/png")
    await sandbox.switch(f"uploads/{late['file_id']}", expire_place=True)
    assert (await put(late)).status_code == 403
    await put(gone)
    await sandbox.switch(f"uploads/{gone['file_id']}", expire_asset=True)
    assert (await sandbox.http.get(gone["asset_url"])).status_code == 403
    refused = await sandbox.run("Photo to Pencil Sketch", photo=gone["asset_url"])
    assert (refused.status_code, refused.json()["message"]) == (422, "The link has expired or its token is wrong")
    assert (await sandbox.http.post("/_sandbox/uploads/x", json={"expire_asset": True})).status_code == 404


def test_a_place_lives_two_minutes_and_a_link_a_day() -> None:
    """By the clock."""
    clock = Clock()
    uploads = UploadStore("http://127.0.0.1:1", clock)
    (place,) = uploads.request(["image/png"])
    signature = place["upload_url"].partition("=")[2]
    headers = {name.lower(): value for name, value in place["headers"].items()}
    clock.now += UPLOAD_SECONDS - 1
    uploads.check_put(place["file_id"], signature, headers)
    uploads.put(place["file_id"], PNG)
    clock.now += 1
    with pytest.raises(Refused, match="403"):
        uploads.check_put(place["file_id"], signature, headers)
    clock.now = 1000 + ASSET_SECONDS - 1
    found = uploads.open_url(place["asset_url"])
    assert found is not None
    assert found.data == PNG
    clock.now += 1
    with pytest.raises(Refused, match="403"):
        uploads.open_url(place["asset_url"])


def test_a_file_that_arrives_after_a_reset_is_dropped() -> None:
    """Its place is gone."""
    uploads = UploadStore("http://127.0.0.1:1")
    (place,) = uploads.request(["image/png"])
    uploads.clear()
    uploads.put(place["file_id"], PNG)
    assert uploads.list_uploads() == []
