"""A sandbox with a folder is stopped and started again: what clients know of it must still be true."""

import socket
import sqlite3
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from flowport.sandbox.runs import Retention
from flowport.sandbox.storage import DATABASE_NAME, Storage
from tests.fakes.client import build_photo, write
from tests.sandbox.client import Client, open_sandbox
from tests.support.patience import PATIENCE_SECONDS

TYPES = [
    *(f"image/{kind}" for kind in ("png", "jpeg", "webp")),
    *(f"video/{kind}" for kind in ("mp4", "webm", "quicktime")),
    *(f"audio/{kind}" for kind in ("mpeg", "wav", "mp4", "webm", "ogg")),
]


async def upload(sandbox: Client, data: bytes, content_type: str = "image/png") -> dict[str, Any]:
    """Upload a file and return its place."""
    answer = await sandbox.http.post("/v1/ai/uploads/request-url", json={"files": [{"content_type": content_type}]})
    place: dict[str, Any] = answer.json()["files"][0]
    async with httpx2.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as http:
        put = await http.put(place["upload_url"], content=data, headers=place["headers"])
    assert put.status_code == 200, put.text
    return place


async def test_finished_runs_and_their_results_are_there_the_next_day(tmp_path: Path, photo: str) -> None:
    """The run reads the same, its link works, and a new run may name its result by id or by link."""
    async with open_sandbox(Storage(tmp_path)) as first:
        run = await first.finish("Photo to Pencil Sketch", photo=photo)
    item = run["result"]["images"][0]
    async with open_sandbox(Storage(tmp_path)) as second:
        assert await second.read(run["run_id"]) == run
        assert (await second.http.get(item["url"])).headers["content-type"] == "image/png"
        ends = [await second.finish("Photo to Pencil Sketch", photo=value) for value in (item["id"], item["url"])]
        assert [end["status"] for end in ends] == ["completed", "completed"]


async def test_uploads_are_there_the_next_day(tmp_path: Path) -> None:
    """A client remembers the link for a day."""
    async with open_sandbox(Storage(tmp_path)) as first:
        place = await upload(first, write(build_photo()))
    async with open_sandbox(Storage(tmp_path)) as second:
        run = await second.finish("Photo to Pencil Sketch", photo=place["asset_url"])
        (listed,) = (await second.http.get("/v1/ai/uploads")).json()["files"]
    assert (run["status"], listed["asset_url"]) == ("completed", place["asset_url"])


def change(folder: Path, statement: str) -> None:
    """Change the stored state between two processes."""
    with sqlite3.connect(folder / DATABASE_NAME) as connection:
        connection.execute(statement)
    connection.close()


def count_files(folder: Path) -> int:
    """Return how many files are stored."""
    with sqlite3.connect(folder / DATABASE_NAME) as connection:
        count = connection.execute("SELECT count(*) FROM files").fetchone()[0]
    connection.close()
    return int(count)


@pytest.mark.parametrize("speed", [1000, 1], ids=["pending", "running"])
async def test_a_run_that_was_under_way_goes_on(tmp_path: Path, photo: str, speed: float) -> None:
    """With its picture, from where its time stands."""
    async with open_sandbox(Storage(tmp_path), speed=speed) as first:
        run_id = await first.start("Photo to Pencil Sketch", photo=photo)
        wanted = "pending" if speed > 1 else "running"
        with anyio.fail_after(60):
            while (before := await first.read(run_id))["status"] != wanted:  # noqa: ASYNC110 - the API has no event
                await anyio.sleep(0.01)
    async with open_sandbox(Storage(tmp_path), speed=1000) as second:
        after = await second.read(run_id)
    async with open_sandbox(Storage(tmp_path)) as third:
        ended = await third.end(run_id)
    assert (after["status"], after["started_at"]) == (before["status"], before["started_at"])
    assert (ended["status"], len(ended["result"]["images"])) == ("completed", 1)


async def test_a_run_whose_time_is_over_ends_at_once_after_a_restart(tmp_path: Path) -> None:
    """Time goes on while no sandbox runs."""
    async with open_sandbox(Storage(tmp_path), speed=100) as first:
        run_id = await first.start("Slow Cinema Still", prompt="hills")
    change(tmp_path, "UPDATE runs SET status = 'running', started_at = accepted_at - 7200")
    async with open_sandbox(Storage(tmp_path), speed=100) as second:
        assert (await second.end(run_id))["status"] == "completed"


async def test_a_run_of_an_app_that_is_gone_has_failed(tmp_path: Path) -> None:
    """Another version of Flowport may have other apps."""
    async with open_sandbox(Storage(tmp_path), speed=1000) as first:
        run_id = await first.start("Text to Picture", prompt="hills")
    change(tmp_path, "UPDATE runs SET app = 'gone'")
    async with open_sandbox(Storage(tmp_path)) as second:
        run = await second.read(run_id)
    assert (run["status"], "no longer has this app" in run["error_message"]) == ("failed", True)


async def test_results_of_a_run_that_was_cut_off_are_made_again(tmp_path: Path) -> None:
    """A process that is killed between a result and the end of its run leaves no second copy."""
    async with open_sandbox(Storage(tmp_path)) as first:
        run = await first.finish("Text to Picture", prompt="hills")
    change(tmp_path, "UPDATE runs SET status = 'running', completed_at = NULL, inputs = '{\"prompt\": \"hills\"}'")
    async with open_sandbox(Storage(tmp_path)) as second:
        again = await second.end(run["run_id"])
    assert (len(again["result"]["images"]), count_files(tmp_path)) == (1, 1)


async def test_the_ports_are_taken_again(tmp_path: Path) -> None:
    """So that links in a conversation lead somewhere the next day."""
    async with open_sandbox(Storage(tmp_path)) as first:
        pass
    async with open_sandbox(Storage(tmp_path)) as second:
        assert second.addresses == first.addresses


async def test_links_of_a_port_that_is_taken_are_known_by_their_signature(tmp_path: Path) -> None:
    """Another program may have the port the next day; where files were served before is reported."""
    async with open_sandbox(Storage(tmp_path)) as first:
        place = await upload(first, write(build_photo()))
        url = (await first.finish("Text to Picture", prompt="hills"))["result"]["images"][0]["url"]
    port = int(first.addresses.files_url.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        async with open_sandbox(Storage(tmp_path)) as second:
            ends = [await second.finish("Photo to Pencil Sketch", photo=one) for one in (url, place["asset_url"])]
            forged = await second.run("Photo to Pencil Sketch", photo=url[:-4] + "0000")
            foreign = await second.run("Photo to Pencil Sketch", photo=f"http://127.0.0.1:{port}/x.png")
    assert second.addresses.files_url != first.addresses.files_url
    assert [end["status"] for end in ends] == ["completed", "completed"]
    assert second.addresses.former_files_urls == (first.addresses.files_url,)
    assert [answer.status_code for answer in (forged, foreign)] == [422, 422]


async def test_a_run_whose_picture_is_lost_fails(tmp_path: Path) -> None:
    """Its client reads why."""
    async with open_sandbox(Storage(tmp_path), speed=1000) as first:
        place = await upload(first, write(build_photo()))
        run_id = await first.start("Photo to Pencil Sketch", photo=place["asset_url"])
    change(tmp_path, "DELETE FROM files")
    async with open_sandbox(Storage(tmp_path)) as second:
        run = await second.end(run_id)
    assert (run["status"], run["error_message"]) == ("failed", "Not found")


async def test_a_run_that_cannot_be_stored_is_refused(tmp_path: Path) -> None:
    """By a status that says that nothing was started."""
    storage = Storage(tmp_path)
    async with open_sandbox(storage) as sandbox:
        storage.read(f"PRAGMA max_page_count = {storage.read('PRAGMA page_count')[0][0]}")
        answer = await sandbox.run("Text to Picture", prompt="hills" * 1000)
    assert (answer.status_code, answer.json()["message"]) == (
        400,
        "The sandbox cannot store the run (database or disk is full)",
    )


async def test_old_runs_are_forgotten_but_not_those_that_are_needed(tmp_path: Path) -> None:
    """A week is long enough for trying things; what was not delivered waits."""
    async with open_sandbox(Storage(tmp_path)) as first:
        old, needed = [await first.finish("Text to Picture", prompt=text) for text in ("hills", "lake")]
    async with open_sandbox(Storage(tmp_path), speed=1000, retention=Retention(kept_seconds=-1)) as sandbox:
        live = await sandbox.start("Text to Picture", prompt="sea")
        await upload(sandbox, b"x")
        await sandbox.tidy([needed["run_id"]])
        runs = [await sandbox.http.get(f"/v1/ai/flows/runs/{run_id}") for run_id in (old["run_id"], live)]
        assert [answer.status_code for answer in runs] == [404, 200]
        assert await sandbox.read(needed["run_id"]) == needed
        assert (await sandbox.http.get(needed["result"]["images"][0]["url"])).status_code == 200
    assert count_files(tmp_path) == 1


async def test_the_oldest_are_forgotten_where_there_is_too_much(tmp_path: Path) -> None:
    """The folder does not grow without bound; uploads whose links work are left alone."""
    async with open_sandbox(Storage(tmp_path)) as sandbox:
        first, last = [await sandbox.finish("Text to Picture", prompt=text) for text in ("hills", "lake")]
        place = await upload(sandbox, write(build_photo()))
    storage = Storage(tmp_path)
    most = storage.read("SELECT sum(length(content)) FROM files")[0][0] - 1
    async with open_sandbox(storage, retention=Retention(max_bytes=most)) as sandbox:
        await sandbox.tidy()
        statuses = [(await sandbox.http.get(f"/v1/ai/flows/runs/{run['run_id']}")).status_code for run in (first, last)]
    async with open_sandbox(Storage(tmp_path), retention=Retention(max_bytes=0)) as sandbox:
        await sandbox.tidy()
        kept = (await sandbox.http.get(place["asset_url"])).status_code
    change(tmp_path, "UPDATE files SET link_expires_at = 0")
    async with open_sandbox(Storage(tmp_path), retention=Retention(max_bytes=0)) as sandbox:
        await sandbox.tidy()
    assert (statuses, kept, count_files(tmp_path)) == ([404, 200], 200, 0)


async def test_no_more_than_so_many_runs_are_kept(tmp_path: Path) -> None:
    """Failed ones take no room but time at each start."""
    async with open_sandbox(Storage(tmp_path), retention=Retention(max_runs=2)) as sandbox:
        runs = [await sandbox.finish("Always Fails", note=str(n)) for n in range(4)]
        await sandbox.tidy()
        answers = [await sandbox.http.get(f"/v1/ai/flows/runs/{run['run_id']}") for run in runs]
    assert [answer.status_code for answer in answers] == [404, 404, 200, 200]


async def test_a_sandbox_without_a_client_that_knows_forgets_by_itself(tmp_path: Path) -> None:
    """When it starts; the room is given back to the disk."""
    async with open_sandbox(Storage(tmp_path)) as sandbox:
        await sandbox.finish("Text to Picture", prompt="hills")
    size = (tmp_path / DATABASE_NAME).stat().st_size
    async with open_sandbox(Storage(tmp_path), tidies_at_start=True, retention=Retention(kept_seconds=-1)):
        pass
    assert (count_files(tmp_path), (tmp_path / DATABASE_NAME).stat().st_size < size // 2) == (0, True)


async def test_the_eleven_types_can_be_uploaded(sandbox: Client) -> None:
    """Two clients of the real provider name the same eleven; the list of uploads has the members that they read."""
    places = {content_type: await upload(sandbox, b"x" * 10, content_type) for content_type in TYPES}
    listed = {one["file_id"]: one for one in (await sandbox.http.get("/v1/ai/uploads")).json()["files"]}
    for content_type, place in places.items():
        found = listed[place["file_id"]]
        assert (found["content_type"], found["size_bytes"]) == (content_type, 10)
        assert 86_000 < found["asset_url_expires_in"] <= 86_400
        assert found["expires_at"].endswith("+00:00")


async def test_other_types_are_refused(sandbox: Client) -> None:
    """Whatever the client sends."""
    wrong: list[object] = ["image/gif", "video/x-matroska", "audio/flac", "", None, ["image/png"], {}]
    for content_type in wrong:
        answer = await sandbox.http.post("/v1/ai/uploads/request-url", json={"files": [{"content_type": content_type}]})
        assert answer.status_code == 400, content_type


async def test_a_picture_and_a_video_are_reported_apart(sandbox: Client) -> None:
    """An uploaded film is not a picture."""
    place = await upload(sandbox, b"film", "video/mp4")
    answer = await sandbox.run("Photo to Pencil Sketch", photo=place["asset_url"])
    assert (answer.status_code, answer.json()["message"]) == (422, "Input 'photo' must be an image")


async def test_a_used_up_link_is_signed_again_by_the_list(tmp_path: Path) -> None:
    """A link lives a day and the file a week."""
    async with open_sandbox(Storage(tmp_path)) as first:
        place = await upload(first, write(build_photo()))
    change(tmp_path, "UPDATE files SET link_expires_at = 0")
    async with open_sandbox(Storage(tmp_path)) as second:
        gone = await second.http.get(place["asset_url"])
        (listed,) = (await second.http.get("/v1/ai/uploads")).json()["files"]
        fresh = await second.http.get(listed["asset_url"])
    assert (gone.status_code, fresh.status_code) == (403, 200)


async def test_the_search_is_bounded(sandbox: Client) -> None:
    """Magnific API 1.0.0, list-flows: at most 200 characters."""
    answers = [await sandbox.http.get("/v1/ai/flows", params={"search": "x" * n}) for n in (200, 201)]
    assert [answer.status_code for answer in answers] == [200, 400]
