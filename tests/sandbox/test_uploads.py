"""Uploads: the address, its headers and its end, over real HTTP where the wire matters."""

from typing import Any

import httpx2
import pytest

from flowport.sandbox.files import ASSET_SECONDS, UPLOAD_SECONDS, Files
from flowport.sandbox.storage import Storage
from flowport.sandbox.web import Refused
from tests.fakes.client import KEY, build_photo, write
from tests.fakes.client import Client as FakeClient
from tests.sandbox.client import Client
from tests.support.patience import PATIENCE_SECONDS

PNG = write(build_photo())


class Clock:
    """A clock that stands still until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


async def request(sandbox: Client | FakeClient, *types: str) -> list[dict[str, Any]]:
    """Ask for places."""
    body = {"files": [{"content_type": kind} for kind in types or ("image/png",)]}
    answer = await sandbox.http.post("/v1/ai/uploads/request-url", json=body)
    assert answer.status_code == 200, answer.text
    files: list[dict[str, Any]] = answer.json()["files"]
    return files


async def put(place: dict[str, Any], **headers: str) -> httpx2.Response:
    """Put a file as a client should, with changes; a header without a value is left out."""
    named = {**place["headers"], **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with httpx2.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as http:
        sent = {name: value for name, value in named.items() if value}
        return await http.put(place["upload_url"], content=PNG, headers=sent)


async def test_places_are_described_as_the_page_shows_them(sandbox: Client) -> None:
    """Two minutes to put, a day to use, at most a gigabyte."""
    png, jpeg = await request(sandbox, "image/png", "image/jpeg")
    assert png["headers"] == {"x-goog-content-length-range": "0,1073741824", "Content-Type": "image/png"}
    assert jpeg["headers"]["Content-Type"] == "image/jpeg"
    assert (png["expires_in"], png["asset_url_expires_in"]) == (120, 86_400)
    assert png["file_id"] != jpeg["file_id"]
    assert png["upload_url"].startswith(sandbox.addresses.files_url)


@pytest.mark.parametrize(
    "files",
    [None, {}, [], [{}], ["image/png"], [{"content_type": "image/svg+xml"}], [{"content_type": "image/png"}] * 15],
)
async def test_a_request_for_places_is_checked(sandbox: Client, files: object) -> None:
    """One to fourteen pictures of three types."""
    answer = await sandbox.http.post("/v1/ai/uploads/request-url", json={"files": files})
    assert answer.status_code == 400


async def test_an_uploaded_picture_can_be_fetched_listed_and_used(sandbox: Client) -> None:
    """The link is the value of a creation."""
    (place,) = await request(sandbox)
    assert (await put(place)).status_code == 200
    fetched = await sandbox.http.get(place["asset_url"])
    assert (fetched.content, fetched.headers["content-type"]) == (PNG, "image/png")
    (listed,) = (await sandbox.http.get("/v1/ai/uploads")).json()["files"]
    assert (listed["file_id"], listed["size_bytes"], listed["asset_url"]) == (
        place["file_id"],
        len(PNG),
        place["asset_url"],
    )
    assert (await sandbox.finish("Photo to Pencil Sketch", photo=place["asset_url"]))["status"] == "completed"


async def test_a_place_without_a_file_is_nothing_yet(sandbox: Client) -> None:
    """It can neither be fetched nor used."""
    (place,) = await request(sandbox)
    assert (await sandbox.http.get(place["asset_url"])).status_code == 404
    assert (await sandbox.run("Photo to Pencil Sketch", photo=place["asset_url"])).status_code == 422
    assert (await sandbox.http.get("/v1/ai/uploads")).json() == {"files": []}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x_magnific_api_key": KEY}, 400),
        ({"x_freepik_api_key": KEY}, 400),
        ({"authorization": "Bearer x"}, 400),
        ({"x_goog_content_length_range": "0,5"}, 403),
        ({"x_goog_content_length_range": ""}, 403),
        ({"Content_Type": "image/jpeg"}, 403),
    ],
)
async def test_a_put_with_a_key_or_other_headers_is_refused(
    sandbox: Client, headers: dict[str, str], status: int
) -> None:
    """The address belongs to another company's storage, and its signature covers the headers."""
    (place,) = await request(sandbox)
    assert (await put(place, **headers)).status_code == status
    assert (await sandbox.http.get(place["asset_url"])).status_code == 404


async def test_an_address_that_was_tampered_with_is_refused(sandbox: Client) -> None:
    """A signature is for one file and one purpose."""
    one, two = await request(sandbox, "image/png", "image/png")
    signature = two["upload_url"].partition("=")[2]
    assert (await put({**one, "upload_url": one["upload_url"].partition("=")[0] + "=" + signature})).status_code == 403
    assert (await put({**one, "upload_url": one["upload_url"].replace(one["file_id"], "f00")})).status_code == 404
    await put(one)
    assert (await sandbox.http.get(one["asset_url"] + "0")).status_code == 403
    assert (await sandbox.run("Photo to Pencil Sketch", photo=one["asset_url"].replace("/asset", "/x"))).is_error


@pytest.mark.parametrize("is_there", [True, False])
async def test_uploads_need_the_key_and_the_put_does_not_count(sandbox: Client, is_there: bool) -> None:
    """The limit is on the API alone."""
    answer = await sandbox.http.request(
        "GET" if is_there else "POST",
        "/v1/ai/uploads" if is_there else "/v1/ai/uploads/request-url",
        headers={"x-magnific-api-key": ""},
    )
    assert answer.status_code == 401


def test_a_place_lives_two_minutes_and_a_link_a_day() -> None:
    """By the clock."""
    clock = Clock()
    files = Files("http://127.0.0.1:1", Storage(), 60, clock)
    (place,) = files.request_uploads(["image/png"])
    signature = place["upload_url"].partition("=")[2]
    headers = {name.lower(): value for name, value in place["headers"].items()}
    clock.now += UPLOAD_SECONDS - 1
    files.check_put(place["file_id"], signature, headers)
    files.put(place["file_id"], PNG)
    clock.now += 1
    with pytest.raises(Refused, match="403"):
        files.check_put(place["file_id"], signature, headers)
    clock.now = 1000 + ASSET_SECONDS - 1
    found = files.find(place["asset_url"])
    assert found is not None
    assert found.data == PNG
    clock.now += 1
    with pytest.raises(Refused, match="422"):
        files.find(place["asset_url"])
