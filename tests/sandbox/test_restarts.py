"""A sandbox with a folder is stopped and started again: what clients know of it must still be true."""

import json
import socket
from pathlib import Path
from typing import Any

import httpx2
import pytest

from flowport.sandbox.state import Retention
from flowport.sandbox.storage import FolderStorage

from .client import Client, build_photo, open_sandbox, write

TYPES = [
    *(f"image/{kind}" for kind in ("png", "jpeg", "webp")),
    *(f"video/{kind}" for kind in ("mp4", "webm", "quicktime")),
    *(f"audio/{kind}" for kind in ("mpeg", "wav", "mp4", "webm", "ogg")),
]


async def upload(sandbox: Client, data: bytes, content_type: str = "image/png") -> dict[str, Any]:
    """Upload a file and return its place."""
    answer = await sandbox.http.post("/v1/ai/uploads/request-url", json={"files": [{"content_type": content_type}]})
    place: dict[str, Any] = answer.json()["files"][0]
    async with httpx2.AsyncClient(trust_env=False) as http:
        put = await http.put(place["upload_url"], content=data, headers=place["headers"])
    assert put.status_code == 200, put.text
    return place


async def test_finished_runs_and_their_results_are_there_the_next_day(tmp_path: Path, photo: str) -> None:
    """The run reads the same, its link works, and a new run may name its result by id or by link."""
    async with open_sandbox(FolderStorage(tmp_path)) as first:
        run = await first.finish("Photo to Pencil Sketch", photo=photo)
    item = run["result"]["images"][0]
    async with open_sandbox(FolderStorage(tmp_path)) as second:
        assert await second.read(run["run_id"]) == run
        assert (await second.http.get(item["url"])).headers["content-type"] == "image/png"
        ends = [await second.finish("Photo to Pencil Sketch", photo=value) for value in (item["id"], item["url"])]
        assert [end["status"] for end in ends] == ["completed", "completed"]


async def test_uploads_are_there_the_next_day(tmp_path: Path) -> None:
    """A client remembers the link for a day."""
    async with open_sandbox(FolderStorage(tmp_path)) as first:
        place = await upload(first, write(build_photo()))
    async with open_sandbox(FolderStorage(tmp_path)) as second:
        run = await second.finish("Photo to Pencil Sketch", photo=place["asset_url"])
        (listed,) = (await second.http.get("/v1/ai/uploads")).json()["files"]
    assert (run["status"], listed["asset_url"]) == ("completed", place["asset_url"])


@pytest.mark.parametrize("pending_seconds", [3600, 0], ids=["pending", "running"])
async def test_a_run_that_was_under_way_goes_on(tmp_path: Path, photo: str, pending_seconds: float) -> None:
    """With its picture, from where its time stands."""
    async with open_sandbox(FolderStorage(tmp_path)) as first:
        await first.switch("next_run", hold=True, pending_seconds=pending_seconds)
        run_id = await first.start("Photo to Pencil Sketch", photo=photo)
        before = await first.read(run_id)
    async with open_sandbox(FolderStorage(tmp_path)) as second:
        after = await second.read(run_id)
        await second.switch(f"runs/{run_id}", release=True)
        ended = await second.end(run_id)
    assert (after["status"], after["started_at"]) == (before["status"], before["started_at"])
    assert (ended["status"], len(ended["result"]["images"])) == ("completed", 1)


async def test_a_run_whose_time_is_over_ends_at_once_after_a_restart(tmp_path: Path) -> None:
    """Time goes on while no sandbox runs."""
    async with open_sandbox(FolderStorage(tmp_path)) as first:
        await first.switch("next_run", seconds=3600, pending_seconds=0)
        run_id = await first.start("Slow Cinema Still", prompt="hills")
    journal = tmp_path / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in lines:
        if line.get("kind") == "run":
            line["fields"]["accepted_at"] -= 7200
            line["fields"]["started_at"] = line["fields"]["started_at"] and line["fields"]["started_at"] - 7200
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    async with open_sandbox(FolderStorage(tmp_path)) as second:
        assert (await second.end(run_id))["status"] == "completed"


async def test_the_ports_are_taken_again(tmp_path: Path) -> None:
    """So that links in a conversation lead somewhere the next day."""
    async with open_sandbox(FolderStorage(tmp_path)) as first:
        pass
    async with open_sandbox(FolderStorage(tmp_path)) as second:
        assert second.addresses == first.addresses


async def test_links_of_a_port_that_is_taken_are_known_by_their_signature(tmp_path: Path) -> None:
    """Another program may have the port the next day; where files were served before is told."""
    async with open_sandbox(FolderStorage(tmp_path)) as first:
        place = await upload(first, write(build_photo()))
        url = (await first.finish("Text to Picture", prompt="hills"))["result"]["images"][0]["url"]
    port = int(first.addresses.files_url.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        async with open_sandbox(FolderStorage(tmp_path)) as second:
            ends = [await second.finish("Photo to Pencil Sketch", photo=one) for one in (url, place["asset_url"])]
            forged = await second.run("Photo to Pencil Sketch", photo=url[:-4] + "0000")
            foreign = await second.run("Photo to Pencil Sketch", photo=f"http://127.0.0.1:{port}/x.png")
    assert second.addresses.files_url != first.addresses.files_url
    assert [end["status"] for end in ends] == ["completed", "completed"]
    assert second.addresses.former_files_urls == (first.addresses.files_url,)
    assert [answer.status_code for answer in (forged, foreign)] == [422, 422]


async def test_a_reset_forgets_what_is_stored(tmp_path: Path) -> None:
    """For good."""
    async with open_sandbox(FolderStorage(tmp_path)) as first:
        run = await first.finish("Text to Picture", prompt="hills")
        await first.switch("reset")
    async with open_sandbox(FolderStorage(tmp_path)) as second:
        answer = await second.http.get(f"/v1/ai/flows/runs/{run['run_id']}")
    assert (answer.status_code, list((tmp_path / "blobs").iterdir())) == (404, [])


@pytest.mark.parametrize("kind", ["run", "file", "upload"])
@pytest.mark.parametrize("fields", [{}, {"blobs": []}, {"blobs": ["a", "b"]}, {"status": "odd"}, {"app": 5}])
async def test_a_record_that_is_not_whole_is_left_out(tmp_path: Path, kind: str, fields: dict[str, object]) -> None:
    """What was stored by another version, or damaged, must not keep the sandbox from starting."""
    FolderStorage(tmp_path).put(kind, "odd", fields)
    async with open_sandbox(FolderStorage(tmp_path)) as sandbox:
        assert (await sandbox.finish("Text to Picture", prompt="hills"))["status"] == "completed"


async def test_a_run_whose_picture_is_lost_is_left_out(tmp_path: Path, photo: str) -> None:
    """Its client hears that there is no such run."""
    async with open_sandbox(FolderStorage(tmp_path)) as first:
        await first.switch("next_run", hold=True)
        run_id = await first.start("Photo to Pencil Sketch", photo=photo)
    for path in (tmp_path / "blobs").iterdir():
        path.unlink()
    async with open_sandbox(FolderStorage(tmp_path)) as second:
        assert (await second.http.get(f"/v1/ai/flows/runs/{run_id}")).status_code == 404


async def test_a_result_whose_content_is_lost_is_not_found(tmp_path: Path) -> None:
    """Somebody may tidy up by hand."""
    async with open_sandbox(FolderStorage(tmp_path)) as sandbox:
        item = (await sandbox.finish("Text to Picture", prompt="hills"))["result"]["images"][0]
        for path in (tmp_path / "blobs").iterdir():
            path.unlink()
        run = await sandbox.run("Photo to Pencil Sketch", photo=item["id"])
        assert (await sandbox.http.get(item["url"])).status_code == 404
        assert (run.status_code, "no longer has" in run.text) == (422, True)


async def test_a_run_that_cannot_be_stored_is_refused(tmp_path: Path) -> None:
    """By a status that says that nothing was started."""
    storage = FolderStorage(tmp_path)
    async with open_sandbox(storage) as sandbox:
        storage._path = Path("/dev/full")
        answer = await sandbox.run("Text to Picture", prompt="hills")
    assert (answer.status_code, answer.json()["message"]) == (
        400,
        "The sandbox cannot store the run (No space left on device)",
    )


async def test_old_runs_are_forgotten_but_not_those_that_are_needed(tmp_path: Path) -> None:
    """A week is long enough for trying things; what was not delivered waits."""
    async with open_sandbox(FolderStorage(tmp_path), retention=Retention(kept_seconds=-1)) as sandbox:
        old, needed = [await sandbox.finish("Text to Picture", prompt=text) for text in ("hills", "lake")]
        await sandbox.switch("next_run", hold=True)
        live = await sandbox.start("Text to Picture", prompt="sea")
        await upload(sandbox, b"x")
        await sandbox.switch("tidy", needed_runs=[needed["run_id"]])
        runs = [await sandbox.http.get(f"/v1/ai/flows/runs/{run_id}") for run_id in (old["run_id"], live)]
        assert [answer.status_code for answer in runs] == [404, 200]
        assert await sandbox.read(needed["run_id"]) == needed
        assert (await sandbox.http.get(needed["result"]["images"][0]["url"])).status_code == 200
        assert len(list((tmp_path / "blobs").iterdir())) == 1


async def test_the_oldest_are_forgotten_where_there_is_too_much(tmp_path: Path) -> None:
    """The folder does not grow without bound; uploads whose links work are left alone."""
    async with open_sandbox(FolderStorage(tmp_path)) as sandbox:
        first, last = [await sandbox.finish("Text to Picture", prompt=text) for text in ("hills", "lake")]
        place = await upload(sandbox, write(build_photo()))
    most = sum(path.stat().st_size for path in (tmp_path / "blobs").iterdir()) - 1
    async with open_sandbox(FolderStorage(tmp_path), retention=Retention(max_bytes=most)) as sandbox:
        await sandbox.switch("tidy")
        statuses = [(await sandbox.http.get(f"/v1/ai/flows/runs/{run['run_id']}")).status_code for run in (first, last)]
    async with open_sandbox(FolderStorage(tmp_path), retention=Retention(max_bytes=0)) as sandbox:
        await sandbox.switch("tidy")
        kept = (await sandbox.http.get(place["asset_url"])).status_code
        await sandbox.switch(f"uploads/{place['file_id']}", expire_asset=True)
        await sandbox.switch("tidy")
    assert (statuses, kept, list((tmp_path / "blobs").iterdir())) == ([404, 200], 200, [])


async def test_no_more_than_so_many_runs_are_kept(tmp_path: Path) -> None:
    """Failed ones take no room but time at each start."""
    async with open_sandbox(FolderStorage(tmp_path), retention=Retention(max_runs=2)) as sandbox:
        runs = [await sandbox.finish("Always Fails", note=str(n)) for n in range(4)]
        await sandbox.switch("tidy")
        answers = [await sandbox.http.get(f"/v1/ai/flows/runs/{run['run_id']}") for run in runs]
    assert [answer.status_code for answer in answers] == [404, 404, 200, 200]


async def test_a_sandbox_without_a_client_that_knows_forgets_by_itself(tmp_path: Path) -> None:
    """At its start."""
    async with open_sandbox(FolderStorage(tmp_path)) as sandbox:
        await sandbox.finish("Text to Picture", prompt="hills")
    async with open_sandbox(FolderStorage(tmp_path), tidies_by_itself=True, retention=Retention(kept_seconds=-1)):
        assert list((tmp_path / "blobs").iterdir()) == []


@pytest.mark.parametrize("content_type", TYPES)
async def test_the_eleven_types_can_be_uploaded(sandbox: Client, content_type: str) -> None:
    """Two clients of the real provider name the same eleven; the list of uploads has the members that they read."""
    place = await upload(sandbox, b"x" * 10, content_type)
    listed = [
        one for one in (await sandbox.http.get("/v1/ai/uploads")).json()["files"] if one["file_id"] == place["file_id"]
    ]
    assert [(one["content_type"], one["size_bytes"]) for one in listed] == [(content_type, 10)]
    assert 86_000 < listed[0]["asset_url_expires_in"] <= 86_400
    assert listed[0]["expires_at"].endswith("+00:00")


@pytest.mark.parametrize("content_type", ["image/gif", "video/x-matroska", "audio/flac", "", None, ["image/png"], {}])
async def test_other_types_are_refused(sandbox: Client, content_type: object) -> None:
    """Whatever the client sends."""
    answer = await sandbox.http.post("/v1/ai/uploads/request-url", json={"files": [{"content_type": content_type}]})
    assert answer.status_code == 400


async def test_a_picture_and_a_video_are_told_apart(sandbox: Client) -> None:
    """An uploaded film is no picture."""
    place = await upload(sandbox, b"film", "video/mp4")
    answer = await sandbox.run("Photo to Pencil Sketch", photo=place["asset_url"])
    assert (answer.status_code, answer.json()["message"]) == (422, "Input 'photo' must be an image")


async def test_a_used_up_link_is_signed_again_by_the_list(sandbox: Client) -> None:
    """A link lives a day and the file a week."""
    place = await upload(sandbox, write(build_photo()))
    await sandbox.switch(f"uploads/{place['file_id']}", expire_asset=True)
    gone = await sandbox.http.get(place["asset_url"])
    (listed,) = [
        one for one in (await sandbox.http.get("/v1/ai/uploads")).json()["files"] if one["file_id"] == place["file_id"]
    ]
    assert (gone.status_code, (await sandbox.http.get(listed["asset_url"])).status_code) == (403, 200)


async def test_the_search_is_bounded(sandbox: Client) -> None:
    """Magnific API 1.0.0, list-flows: at most 200 characters."""
    answers = [await sandbox.http.get("/v1/ai/flows", params={"search": "x" * n}) for n in (200, 201)]
    assert [answer.status_code for answer in answers] == [200, 400]
