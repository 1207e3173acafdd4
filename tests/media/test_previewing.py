"""Which pictures of a run are shown, and that an answer stays short with them."""

import base64
import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import anyio
import mcp.types as t
import pytest
from PIL import Image

from flowport.actions.views.run import build_run_answer
from flowport.domain.models import JsonValue, Output, OutputKind, Run, RunState
from flowport.media.previews import MAX_PREVIEWS, Previewer
from flowport.runs.live import RunView
from flowport.server.results import build_result
from tests.fakes.client import Client as SandboxClient
from tests.media.containers import cover, movie_header, mp4, track
from tests.media.test_previews import build_png_header
from tests.store.samples import build_run
from tests.support.harness import open_harness


def build_finished(folder: Path, count: int, **changes: object) -> Run:
    """Return a finished run with so many pictures that pack as badly as pictures can."""
    folder.mkdir(exist_ok=True)
    outputs = []
    for n in range(1, count + 1):
        path = folder / f"{n}.png"
        Image.effect_noise((900, 900), 100).convert("RGB").save(path)
        outputs.append(Output(n, OutputKind.IMAGE, f"https://cdn.example/{n}.png", saved_path=str(path)))
    run = replace(build_run("run_abc"), state=RunState.SUCCEEDED, outputs=tuple(outputs))
    return replace(run, **changes)  # type: ignore[arg-type]  # the fields of a run


def build_previewer(*, is_wanted: bool = True) -> Previewer:
    """Return a previewer with threads of its own."""
    return Previewer(anyio.CapacityLimiter(2), is_wanted=is_wanted)


async def test_the_first_pictures_are_shown_and_the_answer_stays_short(tmp_path: Path) -> None:
    """Clients cut long answers, and what is cut off is lost."""
    run = build_finished(tmp_path, 6)

    previews = (await build_previewer().build_shown(run)).previews
    answer = build_result(build_run_answer(RunView(run, 3.0), previews))

    assert len(previews) == MAX_PREVIEWS
    assert len(answer.model_dump_json(by_alias=True)) < 150_000
    assert len(build_result(build_run_answer(RunView(run, 3.0))).model_dump_json(by_alias=True)) < 20_000


async def test_a_preview_is_meant_for_the_person_and_is_in_no_fact(tmp_path: Path) -> None:
    """Base64 among the facts would fill a model's context with noise."""
    run = build_finished(tmp_path, 1)

    previews = (await build_previewer().build_shown(run)).previews
    answer = build_result(build_run_answer(RunView(run, 3.0), previews))

    image = answer.content[-1]
    assert isinstance(image, t.ImageContent)
    assert base64.b64decode(image.data) == previews[0].data
    assert image.annotations == t.Annotations(audience=["user"])
    assert image.data[:40] not in str(answer.structured_content)


@pytest.mark.parametrize(
    "change",
    [
        {"state": RunState.RUNNING},
        {"outputs": ()},
        {"outputs": (Output(1, OutputKind.VIDEO, "https://cdn.example/a.mp4", saved_path="/gone/a.mp4"),)},
        {"outputs": (Output(1, OutputKind.AUDIO, "https://cdn.example/a.mp3", saved_path="/gone/a.mp3"),)},
    ],
)
async def test_without_a_finished_picture_there_is_nothing_to_show(change: dict[str, object], tmp_path: Path) -> None:
    """A file may have gone, and a sound has no picture."""
    run = build_finished(tmp_path, 1, **change)

    assert (await build_previewer().build_shown(run)).previews == ()


def build_video(path: Path, *parts: bytes) -> Output:
    """Return a saved video with these parts in its header."""
    path.write_bytes(mp4(movie_header(scale=10, ticks=10), track(640, 360), *parts))
    return Output(1, OutputKind.VIDEO, "https://cdn.example/a.mp4", saved_path=str(path))


async def test_the_cover_of_a_video_is_shown(tmp_path: Path) -> None:
    """It is what the person's own player shows of it."""
    buffer = io.BytesIO()
    Image.radial_gradient("L").resize((900, 600)).convert("RGB").save(buffer, "PNG")
    run = build_finished(tmp_path, 0, outputs=(build_video(tmp_path / "a.mp4", cover(buffer.getvalue())),))

    (preview,) = (await build_previewer().build_shown(run)).previews

    assert Image.open(io.BytesIO(preview.data)).size == (450, 300)


async def test_a_video_without_a_cover_takes_no_room_from_the_pictures(tmp_path: Path) -> None:
    """A picture that is alone is shown as large as one may be."""
    run = build_finished(tmp_path, 1)
    pictured = (await build_previewer().build_shown(run)).previews
    both = replace(run, outputs=(build_video(tmp_path / "a.mp4"), *run.outputs))

    assert (await build_previewer().build_shown(both)).previews == pictured


@pytest.mark.parametrize("content", [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<!doctype html>", b"%!PS", b"x"])
async def test_a_cover_that_is_not_a_picture_is_not_shown(content: bytes, tmp_path: Path) -> None:
    """What is inside a video is as much untrusted as the video."""
    run = build_finished(tmp_path, 0, outputs=(build_video(tmp_path / "a.mp4", cover(content)),))

    assert (await build_previewer().build_shown(run)).previews == ()


async def test_previews_can_be_turned_off(tmp_path: Path) -> None:
    """They take time and, in some clients, tokens."""
    assert (await build_previewer(is_wanted=False).build_shown(build_finished(tmp_path, 1))).previews == ()


async def test_a_picture_that_cannot_be_shown_does_not_hide_the_others(tmp_path: Path) -> None:
    """The person may have removed one."""
    run = build_finished(tmp_path, 2)
    await anyio.Path(run.outputs[0].saved_path).unlink()

    assert len((await build_previewer().build_shown(run)).previews) == 1


async def test_the_answer_says_why_a_picture_has_no_preview(tmp_path: Path) -> None:
    """The file is there; without a word a person thinks that it is broken."""
    run = build_finished(tmp_path, 2)
    await anyio.Path(run.outputs[0].saved_path).write_bytes(build_png_header(9000, 9000))

    shown = await build_previewer().build_shown(run)
    answer = build_result(build_run_answer(RunView(run, 3.0), shown.previews, shown.without))

    sentence = "1.png has no preview: it has too many pixels."
    assert answer.structured_content is not None
    assert answer.structured_content["without_preview"] == sentence
    assert isinstance(answer.content[0], t.TextContent)
    assert sentence in answer.content[0].text
    assert len(shown.previews) == 1


@pytest.mark.parametrize("is_wanted", [True, False])
@pytest.mark.parametrize("kind", OutputKind)
async def test_the_answer_says_that_a_file_was_removed(*, kind: OutputKind, is_wanted: bool, tmp_path: Path) -> None:
    """Of whatever kind it was, and the pictures that are left are shown."""
    run = build_finished(tmp_path, 2)
    await anyio.Path(run.outputs[0].saved_path).unlink()
    run = replace(run, outputs=(replace(run.outputs[0], kind=kind), run.outputs[1]))

    shown = await build_previewer(is_wanted=is_wanted).build_shown(run)

    assert shown.without == ("1.png was removed from its folder.",)
    assert len(shown.previews) == is_wanted


async def test_of_many_files_that_were_removed_a_few_are_named(tmp_path: Path) -> None:
    """A person who removes a folder knows it."""
    outputs = tuple(
        Output(n, OutputKind.AUDIO, f"https://cdn.example/{n}", saved_path=str(tmp_path / f"{n}.mp3"))
        for n in range(1, 31)
    )
    shown = await build_previewer().build_shown(build_finished(tmp_path, 0, outputs=outputs))

    assert shown.without[:-1] == tuple(f"{n}.mp3 was removed from its folder." for n in range(1, MAX_PREVIEWS + 1))
    assert shown.without[-1] == f"{30 - MAX_PREVIEWS} other files were removed as well."


@pytest.mark.parametrize("removed", ["file", "folder", "replaced by a broken link"])
async def test_no_answer_names_a_saved_file_that_was_removed(
    sandbox: SandboxClient, tmp_path: Path, removed: str
) -> None:
    """Anyone who reads the path would find nothing there; links and resources still lead to the result."""

    async def read_resource(uri: str) -> str:
        """Return the text of a resource."""
        (content,) = (await flowport.client.read_resource(uri)).contents
        assert isinstance(content, t.TextResourceContents)
        return content.text

    async with open_harness(sandbox, tmp_path / "person") as flowport:
        run = await flowport.ask("text_to_picture", prompt="a lake")
        rows: list[JsonValue] = [{"prompt": "a"}, {"prompt": "b"}]
        batch = await flowport.ask("run_batch", app="text_to_picture", rows=rows)
        outputs = [run["outputs"][0], batch["table"][0]["outputs"][0], batch["table"][1]["outputs"][0]]
        paths = [Path(output["saved_path"]) for output in outputs]
        if removed == "folder":
            await anyio.to_thread.run_sync(shutil.rmtree, flowport.outputs)
        else:
            paths[0].unlink()
            paths[1].unlink()
        if removed == "replaced by a broken link":
            paths[0].symlink_to("nowhere")
        gone = paths if removed == "folder" else paths[:2]
        answers = [
            await flowport.call("get_run", run_id=run["run_id"]),
            await flowport.call("get_run", run_id=run["run_id"], wait=False),
            await flowport.call("get_run", run_id=batch["run_id"]),
            await flowport.call("list_runs"),
        ]
        texts = [answer.model_dump_json() for answer in answers]
        texts += [await read_resource(run["resource"]), await read_resource(batch["resource"])]
    assert [path.name for path in gone for text in texts if json.dumps(str(path))[1:-1] in text] == []
    assert all(output["url"] in "".join(texts) for output in outputs)
    assert f"{paths[0].name} was removed from its folder." in texts[0]
    assert (str(paths[2]) in texts[2], str(paths[2]) in texts[5]) == (removed != "folder", removed != "folder")


async def test_the_record_keeps_the_path_of_a_file_that_was_removed(sandbox: SandboxClient, tmp_path: Path) -> None:
    """A person removed it; it is not saved again, and one that comes back is named again."""
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        run = await flowport.ask("text_to_picture", prompt="a lake")
        path = Path(run["outputs"][0]["saved_path"])
        path.rename(tmp_path / "elsewhere")
        away = await flowport.ask("get_run", run_id=run["run_id"])
        (tmp_path / "elsewhere").rename(path)
        back = await flowport.ask("get_run", run_id=run["run_id"])
    assert ("saved_path" in away["outputs"][0], back["outputs"][0]["saved_path"]) == (False, str(path))


def test_the_image_library_is_not_loaded_before_the_first_preview() -> None:
    """It would slow every start for what many runs never need."""
    program = "import sys, flowport.cli.serve; sys.exit('PIL' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
