"""Any picture that can be named, tried from the outside on a real sandbox, in both eras."""

import base64
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from PIL import Image

from tests.fakes.client import Client as SandboxClient
from tests.fakes.client import build_photo
from tests.support.harness import MODES, Harness, open_harness


@pytest.fixture(params=MODES)
async def flowport(request: pytest.FixtureRequest, sandbox: SandboxClient, tmp_path: Path) -> AsyncIterator[Harness]:
    """Run Flowport with a client of each era."""
    async with open_harness(sandbox, tmp_path / "person", mode=request.param) as harness:
        yield harness


@pytest.fixture
async def modern(sandbox: SandboxClient, tmp_path: Path) -> AsyncIterator[Harness]:
    """Run Flowport with one client."""
    async with open_harness(sandbox, tmp_path / "person") as harness:
        yield harness


def lay(tmp_path: Path, name: str = "photo.png", picture: Image.Image | None = None, **options: Any) -> Path:
    """Write a picture into the person's folder."""
    folder = tmp_path / "person"
    folder.mkdir(exist_ok=True)
    path = folder / name
    (picture or build_photo()).save(path, **options)
    return path


async def test_two_apps_are_chained_by_last_without_an_upload(flowport: Harness) -> None:
    """The result is at the provider already; sending it again would cost time and change it."""
    made = await flowport.ask("text_to_picture", prompt="a lake")
    upscaled = await flowport.ask("upscale_photo", photo="last", factor="2")
    again = await flowport.ask("upscale_photo", photo="last", factor="2")

    widths = [facts["outputs"][0]["width"] for facts in (made, upscaled, again)]
    assert [facts["state"] for facts in (made, upscaled, again)] == ["succeeded"] * 3
    assert widths[1] == 2 * widths[0]
    assert again["run_id"] != upscaled["run_id"]
    assert [await flowport.count(kind) for kind in ("request_upload", "upload", "run")] == [0, 0, 3]


@pytest.mark.parametrize(
    "spelling",
    [
        "run:{id}",
        "run:{id}#1",
        "run:{bare}#1",
        "{id}",
        "{id}#1",
        "flowport://runs/{id}",
        "flowport://runs/{id}/outputs/1",
        " LAST#1 ",
        "last",
        "{url}",
    ],
)
async def test_each_name_of_a_result_goes_in_by_the_id_that_the_provider_gave(modern: Harness, spelling: str) -> None:
    """Assistants write what they saw, in whatever form they saw it."""
    made = await modern.ask("text_to_picture", prompt="a lake")
    run_id, url = made["run_id"], made["outputs"][0]["url"]
    photo = spelling.format(id=run_id, bare=run_id.removeprefix("run_"), url=url)

    facts = await modern.ask("photo_to_pencil_sketch", photo=photo)

    assert facts["state"] == "succeeded"
    assert await modern.count("request_upload") == 0


@pytest.mark.parametrize(
    "spelling", ["{path}", "~/photo.png", "file://{path}", "data:image/png;base64,{data}", "{data}", " {path}\n"]
)
async def test_each_name_of_a_file_goes_in_as_an_upload(
    modern: Harness, tmp_path: Path, spelling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are one file, so they would be one upload."""
    path = lay(tmp_path)
    monkeypatch.setenv("HOME", str(path.parent))
    data = base64.b64encode(path.read_bytes()).decode()

    facts = await modern.ask("photo_to_pencil_sketch", photo=spelling.format(path=path, data=data))

    assert facts["state"] == "succeeded"
    assert "notes" not in facts
    assert [await modern.count(kind) for kind in ("request_upload", "upload")] == [1, 1]


async def test_an_id_of_the_provider_is_handed_on(modern: Harness) -> None:
    """Its website shows them."""
    output = (await modern.sandbox.finish("Text to Picture", prompt="a lake"))["result"]["images"][0]
    facts = await modern.ask("photo_to_pencil_sketch", photo=output["id"])
    assert facts["state"] == "succeeded"


async def test_the_same_file_in_twenty_runs_goes_up_once(flowport: Harness, tmp_path: Path) -> None:
    """All at once, and again afterwards."""
    path = lay(tmp_path)
    states: list[str] = []

    async def work(n: int) -> None:
        """Run one app on the file."""
        facts = await flowport.ask("retro_poster", photo=str(path), title=f"Poster {n}")
        states.append(facts["state"])

    async with anyio.create_task_group() as tasks:
        for n in range(20):
            tasks.start_soon(work, n)
    await work(20)

    assert states == ["succeeded"] * 21
    assert [await flowport.count(kind) for kind in ("request_upload", "upload", "run")] == [1, 1, 21]


async def test_two_programs_upload_a_file_once(sandbox: SandboxClient, tmp_path: Path) -> None:
    """Each of them has a process of its own and the same home."""
    path = lay(tmp_path)
    async with open_harness(sandbox, tmp_path / "person") as one, open_harness(sandbox, tmp_path / "person") as two:
        async with anyio.create_task_group() as tasks:
            for n, harness in enumerate((one, two, one, two)):
                tasks.start_soon(lambda h, n: h.ask("retro_poster", photo=str(path), title=f"P{n}"), harness, n)
        assert [await one.count(kind) for kind in ("request_upload", "upload", "run")] == [1, 1, 4]


async def test_a_file_larger_than_a_request_may_be_goes_up(modern: Harness, tmp_path: Path) -> None:
    """Ten megabytes is the most that may stand in a request."""
    path = lay(tmp_path)
    with path.open("ab") as file:
        file.truncate(30_000_000)
    facts = await modern.ask("photo_to_pencil_sketch", photo=str(path))
    assert (facts["state"], "notes" in facts) == ("succeeded", False)
    assert await modern.count("upload") == 1


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (404, "has no place for uploads"),
        (405, "has no place for uploads"),
        (401, "does not accept the API key"),
        (403, "does not allow this key or plan"),
        (415, "does not take this kind of file"),
        (422, "rejected the request to accept the file (HTTP 422)"),
    ],
)
async def test_where_nothing_can_be_uploaded_files_go_inside_and_no_one_asks_again(
    modern: Harness, tmp_path: Path, status: int, cause: str
) -> None:
    """An account without the endpoint must not pay a request for each file, and the note says what is true of an upload."""
    await modern.sandbox.switch("faults", operation="request_upload", fault="status", status=status, times=9)
    for n in range(3):
        path = lay(tmp_path, f"{n}.webp", build_photo(90, 60 + n))
        facts = await modern.ask("photo_to_pencil_sketch", photo=str(path))
        assert facts["state"] == "succeeded"
        beginning = "photo was converted from WebP to JPEG, because it could not be uploaded ("
        assert facts["notes"].startswith(
            f"{beginning}Magnific {cause}" if n == 0 else f"{beginning}not tried, within a day"
        )
    assert [await modern.count(kind) for kind in ("request_upload", "upload")] == [1, 0]


async def test_what_was_done_to_a_picture_is_reported_and_kept(flowport: Harness, tmp_path: Path) -> None:
    """The person should know that something else went than what they gave."""
    path = lay(tmp_path, "scan.tif")
    facts = await flowport.ask("photo_to_pencil_sketch", photo=str(path))
    joined = await flowport.ask("upscale_photo", photo=str(path), factor="2")

    assert facts["notes"] == joined["notes"] == "photo was converted from TIFF to PNG."
    assert (await flowport.ask("get_run", run_id=facts["run_id"]))["notes"] == facts["notes"]
    read = (await flowport.client.read_resource(facts["resource"])).contents[0]
    assert json.loads(getattr(read, "text", ""))["notes"] == facts["notes"]
    assert await flowport.count("upload") == 1


@pytest.mark.parametrize("suffix", ["tif", "bmp", "webp", "avif", "gif", "jpg", "png"])
async def test_every_usual_format_goes_in(modern: Harness, tmp_path: Path, suffix: str) -> None:
    """What the provider does not take is converted first."""
    path = lay(tmp_path, f"photo.{suffix}")
    assert (await modern.ask("photo_to_pencil_sketch", photo=str(path)))["state"] == "succeeded"
    sent = (await modern.sandbox.http.get("/v1/ai/uploads")).json()["files"][0]["content_type"]
    assert sent == {"jpg": "image/jpeg", "webp": "image/webp", "avif": "image/jpeg"}.get(suffix, "image/png")


async def test_an_upload_that_the_provider_lost_is_made_again(modern: Harness, tmp_path: Path) -> None:
    """Its word on how long a file lives may be wrong; the run that finds out costs nothing."""
    path = lay(tmp_path)
    await modern.ask("photo_to_pencil_sketch", photo=str(path))
    (upload,) = (await modern.sandbox.http.get("/v1/ai/uploads")).json()["files"]
    await modern.sandbox.switch(f"uploads/{upload['file_id']}", expire_asset=True)

    refused = await modern.ask("upscale_photo", photo=str(path), factor="2")
    repaired = await modern.ask("upscale_photo", photo=str(path), factor="2")

    assert (refused["state"], refused["credits"], repaired["state"]) == ("failed", 0, "succeeded")
    assert await modern.count("upload") == 2


async def test_last_is_the_newest_result_that_someone_has_seen(modern: Harness) -> None:
    """Of another connection's results too, when this one has none yet; and of the kind that the input takes."""
    none = await modern.ask("upscale_photo", photo="last", factor="2")
    assert "no result has been seen yet" in none["message"]
    await modern.ask("clip_and_jingle", mood="calm")
    wrong = await modern.ask("upscale_photo", photo="last", factor="2")
    assert "photo takes an image, and this result is a video" in wrong["message"]
    assert await modern.count("run") == 1


async def test_another_program_finds_the_last_result_in_the_record(sandbox: SandboxClient, tmp_path: Path) -> None:
    """A person goes on in another client."""
    async with open_harness(sandbox, tmp_path / "person") as one:
        await one.ask("text_to_picture", prompt="a lake")
    async with open_harness(sandbox, tmp_path / "person") as two:
        assert (await two.ask("photo_to_pencil_sketch", photo="last"))["state"] == "succeeded"
        assert await two.count("request_upload") == 0


async def test_a_picture_at_an_address_is_fetched_only_to_be_converted(modern: Harness) -> None:
    """Here its server is closed to the fetcher, so the run ends before anything is sent."""
    facts = await modern.ask("photo_to_pencil_sketch", photo="https://127.0.0.1/scan.tiff")
    assert (facts["state"], facts["credits"]) == ("failed", 0)
    assert "photo is a picture that must be converted first and could not be fetched: its host" in facts["failure"]
    assert await modern.count("run") == 0


async def test_a_picture_that_is_broken_is_refused_before_anything_is_sent(modern: Harness, tmp_path: Path) -> None:
    """Half a photograph makes a paid run that fails."""
    buffer = io.BytesIO()
    build_photo(300, 200).save(buffer, "JPEG")
    path = lay(tmp_path)
    path.write_bytes(buffer.getvalue()[:-900])
    facts = await modern.ask("photo_to_pencil_sketch", photo=str(path))
    assert "Nothing was started. photo is a picture that is damaged, cut off" in facts["message"]
    assert [await modern.count(kind) for kind in ("request_upload", "run")] == [0, 0]
