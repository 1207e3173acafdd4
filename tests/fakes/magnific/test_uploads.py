"""Uploads: the address, its headers and its end, over real HTTP where the wire matters."""

import pytest

from flowport.sandbox.files import ASSET_SECONDS, UPLOAD_SECONDS
from flowport.sandbox.web import Refused
from tests.fakes.client import Client, build_photo, write
from tests.fakes.magnific.uploads import UploadStore
from tests.sandbox.test_uploads import put, request

PNG = write(build_photo())


class Clock:
    """A clock that stands still until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


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
