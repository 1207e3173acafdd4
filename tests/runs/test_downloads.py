"""Saving a run's outputs, from a real server on this machine to real files."""

import base64
import json
import resource
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import anyio
import pytest

from flowport.domain.models import Output, OutputKind, Run, RunState
from flowport.network.file_transfer import GROUP_BYTES, Fetcher
from flowport.runs.downloads import MAX_FETCHES, OutputSaver, Saved
from flowport.runs.output_file import SavingRules
from tests.fakes.client import build_photo, write
from tests.media.containers import movie_header, mp4, track
from tests.media.test_identify import SAMPLES
from tests.media.tiffs import build_dng
from tests.runs.samples import NOW, RUN, read
from tests.support.fake_clock import FakeClock
from tests.support.raw_server import Ending, RawServer, Reply, build_reply, serving
from tests.support.scripted import FaultyStore, ScriptedAccount, in_turn, wait_until

PNG, JPEG = write(build_photo(8, 8)), write(build_photo(8, 8), "JPEG")
MP4 = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2" + bytes(64)
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(32)
ID3 = b"ID3\4\0\0\0\0\0\x10" + bytes(16)
DONE = replace(RUN, state=RunState.SUCCEEDED, finished_at=NOW + 30, spent_credits=5.0, reserved_credits=0.0)
GONE = build_reply(b"<Error/>", status=403)


def read_sample(name: str) -> bytes:
    """Return a file as a common program wrote it."""
    return (SAMPLES / name).read_bytes()


@dataclass
class Bench:
    """The saving of outputs with its parts."""

    saver: OutputSaver
    account: ScriptedAccount
    store: FaultyStore
    server: RawServer
    folder: Path

    async def save(self, *paths: str, kind: OutputKind = OutputKind.IMAGE) -> Run:
        """Record a finished run with these outputs, save them and return it."""
        outputs = tuple(Output(n, kind, self.server.origin + path) for n, path in enumerate(paths, 1))
        run = replace(DONE, outputs=outputs)
        await self.store.accept(run)
        return (await self.save_missing(run)).run

    async def save_missing(self, run: Run) -> Saved:
        """Try to save the missing outputs of a run."""
        return await self.saver.save_all(run, self.account, only=self.saver.find_missing(run))

    def list_files(self) -> list[str]:
        """Return the names of all files under the folder, hidden ones too."""
        return sorted(path.name for path in self.folder.rglob("*") if path.is_file())


@asynccontextmanager
async def open_bench(
    store: FaultyStore, folder: Path, answers: Mapping[str, Reply] | Reply, *, is_wanted: bool = True
) -> AsyncIterator[Bench]:
    """Serve these responses by path, and open a bench that may fetch them."""

    def answer(head: str) -> Reply:
        """Return the response to a request."""
        return answers if isinstance(answers, Reply) else answers[head.split()[1]]

    clock, threads = FakeClock(), anyio.CapacityLimiter(4)
    fetcher = Fetcher(file_threads=threads)
    account = ScriptedAccount(in_turn(), clock)
    rules = SavingRules(folder, is_wanted=is_wanted)
    async with serving(answer) as server:
        account.origins = frozenset({server.origin})
        saver = OutputSaver(store, clock, fetcher, rules=rules)
        yield Bench(saver, account, store, server, folder)
        await fetcher.aclose()


async def save_data(store: FaultyStore, folder: Path, data: str) -> Output:
    """Record a finished run with an inline file, try to save it, and return the run from the store."""
    async with open_bench(store, folder, GONE) as bench:
        run = replace(DONE, outputs=(Output(1, OutputKind.IMAGE, data),))
        await store.accept(run)
        await bench.save_missing(run)
    return (await read(store)).outputs[0]


@pytest.fixture
def blocked_folder(folder: Path) -> Path:
    """Return an output folder whose path is a file."""
    folder.write_text("in the way")
    return folder


def forget_file(run: Run) -> Run:
    """Return the run as it was before its output was saved."""
    return replace(run, outputs=(replace(run.outputs[0], saved_path=""),))


def read_bytes(path: Path | str) -> bytes:
    """Return the bytes of a file."""
    return Path(path).read_bytes()


@contextmanager
def limit_file_size(size_bytes: int) -> Iterator[None]:
    """Limit the size of files of this process, like a disk that is almost full."""
    if sys.platform == "win32":
        pytest.skip("Windows has no such signals and limits")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an output folder that does not exist yet."""
    return tmp_path / "results"


async def test_an_inline_file_is_saved(store: FaultyStore, folder: Path) -> None:
    """Its data need not be kept twice then (runpod-workers/worker-comfyui#232)."""
    data = base64.b64encode(JPEG).decode()
    saved = await save_data(store, folder, f"data:image/png;base64,{data}")
    assert (read_bytes(saved.saved_path), saved.url) == (JPEG, None)
    assert (saved.mime_type, saved.width, Path(saved.saved_path).suffix) == ("image/jpeg", 8, ".jpg")


@pytest.mark.parametrize("data", ["data:image/png;base64,A", "data:,%3Chtml%3E", "data:image/png;base64,PGh0bWw+"])
async def test_inline_data_that_is_not_a_picture_is_kept_unchanged(store: FaultyStore, folder: Path, data: str) -> None:
    """It stays in the store, and the answer says that it was not saved."""
    kept = await save_data(store, folder, data)
    assert (kept.url, kept.saved_path) == (data, "")
    assert kept.save_problem.startswith("It was not saved: ")


async def test_an_output_is_saved_with_a_sidecar(store: FaultyStore, folder: Path) -> None:
    """The file, its facts, and the inputs that made it: months later people have forgotten the prompt."""
    async with open_bench(store, folder, build_reply(PNG, "Content-Type: text/html")) as bench:
        saved = (await bench.save("/0.jpg")).outputs[0]
    path = Path(saved.saved_path)

    expected = {"mime_type": "image/png", "size_bytes": len(PNG), "saved_path": str(path), "save_problem": ""}
    assert {name: getattr(saved, name) for name in expected} == expected
    assert (path.parent.parent, path.name) == (folder, "sketch-1-run_one.png")
    assert read_bytes(path) == PNG
    assert json.loads(read_bytes(f"{path}.json")) == {
        "app": "Sketch",
        "tool": "sketch",
        "provider": "magnific",
        "arguments": {"prompt": "a lake"},
        "run_id": "run_one",
        "output": 1,
        "mime_type": "image/png",
        "size_bytes": len(PNG),
        "width": 8,
        "height": 8,
        "duration_seconds": None,
        "sha256": sha256(PNG).hexdigest(),
        "credits": 5.0,
        "made_at": "2027-01-15T08:00:30+00:00",
    }
    assert (await read(store)).outputs == (saved,)


async def test_the_folder_is_named_by_the_day_of_acceptance(store: FaultyStore, folder: Path) -> None:
    """People look for last Friday's pictures."""
    async with open_bench(store, folder, build_reply(PNG)) as bench:
        saved = (await bench.save("/0.png")).outputs[0]
    assert Path(saved.saved_path).parent.name in {"2027-01-14", "2027-01-15", "2027-01-16"}


@pytest.mark.parametrize(
    ("kind", "data", "name", "mime_type"),
    [
        (OutputKind.IMAGE, JPEG, "sketch-1-run_one.jpg", "image/jpeg"),
        (OutputKind.VIDEO, MP4, "sketch-1-run_one.mp4", "video/mp4"),
        (OutputKind.AUDIO, WAV, "sketch-1-run_one.wav", "audio/wav"),
        (OutputKind.AUDIO, MP4, "sketch-1-run_one.mp4", "video/mp4"),
        (OutputKind.FILE, PNG, "sketch-1-run_one.png", "image/png"),
        (OutputKind.FILE, b"\x00\x01\xff no known format", "sketch-1-run_one.bin", ""),
        (OutputKind.AUDIO, read_sample("voice.m4a"), "sketch-1-run_one.m4a", "audio/mp4"),
        (OutputKind.AUDIO, read_sample("voice-fragments.mp4"), "sketch-1-run_one.m4a", "audio/mp4"),
        (OutputKind.AUDIO, read_sample("voice.webm"), "sketch-1-run_one.weba", "audio/webm"),
        (OutputKind.AUDIO, read_sample("voice.mka"), "sketch-1-run_one.mka", "audio/x-matroska"),
        (OutputKind.AUDIO, ID3 + read_sample("voice.flac"), "sketch-1-run_one.flac", "audio/flac"),
        (OutputKind.AUDIO, read_sample("voice.aiff"), "sketch-1-run_one.aiff", "audio/aiff"),
        (OutputKind.VIDEO, read_sample("film.mp4")[:1200], "sketch-1-run_one.mp4", "video/mp4"),
        (OutputKind.VIDEO, read_sample("film.m2ts"), "sketch-1-run_one.ts", "video/mp2t"),
        (OutputKind.IMAGE, build_dng(), "sketch-1-run_one.dng", "image/x-adobe-dng"),
    ],
)
async def test_the_content_decides_the_kind_of_a_file(
    *, store: FaultyStore, folder: Path, kind: OutputKind, data: bytes, name: str, mime_type: str
) -> None:
    """Providers name links and types carelessly, and sound often comes in a container made for video."""
    async with open_bench(store, folder, build_reply(data)) as bench:
        saved = (await bench.save("/result.webp", kind=kind)).outputs[0]
    assert (Path(saved.saved_path).name, saved.mime_type, saved.save_problem) == (name, mime_type, "")


async def test_the_extent_is_read_from_the_file_or_else_from_the_provider(store: FaultyStore, folder: Path) -> None:
    """Providers often omit it, and the saved file is what counts."""
    movie = mp4(movie_header(scale=10, ticks=25), track(640, 360))
    async with open_bench(store, folder, {"/0": build_reply(movie), "/1": build_reply(MP4)}) as bench:
        outputs = [
            Output(n, OutputKind.VIDEO, f"{bench.server.origin}/{n - 1}", width=7, height=5, duration_seconds=9.0)
            for n in (1, 2)
        ]
        run = replace(DONE, outputs=tuple(outputs))
        await store.accept(run)
        saved = (await bench.saver.save_all(run, bench.account, only={1, 2})).run.outputs
    assert [(one.width, one.height, one.duration_seconds) for one in saved] == [(640, 360, 2.5), (7, 5, 9.0)]


async def test_a_vector_image_is_kept(store: FaultyStore, folder: Path) -> None:
    """It was paid for; that it can carry programs is a reason not to show it, not one to lose it."""
    drawing = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    async with open_bench(store, folder, build_reply(drawing, "Content-Type: image/png")) as bench:
        saved = (await bench.save("/0.png")).outputs[0]
    assert (Path(saved.saved_path).name, saved.mime_type) == ("sketch-1-run_one.svg", "image/svg+xml")
    assert read_bytes(saved.saved_path) == drawing


@pytest.mark.parametrize(
    ("kind", "data", "path", "expected"),
    [
        (OutputKind.VIDEO, write(build_photo(8, 8), "GIF"), "/0.mp4", (OutputKind.IMAGE, "gif", "image/gif")),
        (OutputKind.IMAGE, MP4, "/0.png", (OutputKind.VIDEO, "mp4", "video/mp4")),
        (OutputKind.AUDIO, PNG, "/0.mp3", (OutputKind.IMAGE, "png", "image/png")),
        (OutputKind.VIDEO, read_sample("voice.m4a"), "/0.mp4", (OutputKind.AUDIO, "m4a", "audio/mp4")),
        (OutputKind.VIDEO, read_sample("voice.m4a")[:900], "/0.mp4", (OutputKind.VIDEO, "mp4", "video/mp4")),
        (OutputKind.AUDIO, read_sample("film.webm"), "/0.mp3", (OutputKind.VIDEO, "webm", "video/webm")),
        (OutputKind.AUDIO, WAV, "/0.mp3", (OutputKind.AUDIO, "wav", "audio/wav")),
        (OutputKind.VIDEO, WAV, "/0.mp4", (OutputKind.AUDIO, "wav", "audio/wav")),
        (OutputKind.IMAGE, b"%PDF-1.7\n\xff", "/0.png", (OutputKind.FILE, "pdf", "application/pdf")),
        (OutputKind.IMAGE, b"8BPS\0\1" + bytes(40), "/0", (OutputKind.IMAGE, "psd", "image/vnd.adobe.photoshop")),
        (OutputKind.IMAGE, b"\0\1\xff unknown", "/0.splat?token=1", (OutputKind.IMAGE, "splat", "")),
        (OutputKind.VIDEO, b"\0\1\xff unknown", "/0.MOV", (OutputKind.VIDEO, "mov", "")),
        (OutputKind.VIDEO, b"\0\1\xff unknown", "/0.png", (OutputKind.VIDEO, "bin", "")),
        (OutputKind.VIDEO, b"\0\1\xff unknown", "/0", (OutputKind.VIDEO, "bin", "")),
        (OutputKind.IMAGE, b"\0\1\xff unknown", "/0.html", (OutputKind.IMAGE, "bin", "")),
        (OutputKind.IMAGE, b"\0\1\xff unknown", "/0.exe", (OutputKind.IMAGE, "bin", "")),
        (OutputKind.IMAGE, b"\0\1\xff unknown", "/0.not-an-ending", (OutputKind.IMAGE, "bin", "")),
    ],
)
async def test_a_result_of_another_kind_than_announced_is_kept(
    *,
    store: FaultyStore,
    folder: Path,
    kind: OutputKind,
    data: bytes,
    path: str,
    expected: tuple[OutputKind, str, str],
) -> None:
    """It was paid for (SillyTavern/SillyTavern#4194): named by its content, or by a plausible link."""
    async with open_bench(store, folder, build_reply(data)) as bench:
        saved = (await bench.save(path, kind=kind)).outputs[0]
    suffix = Path(saved.saved_path).suffix.removeprefix(".")
    assert (saved.kind, suffix, saved.mime_type, saved.save_problem) == (*expected, "")
    assert read_bytes(saved.saved_path) == data


@pytest.mark.parametrize(
    ("kind", "data", "wanted"),
    [
        (OutputKind.IMAGE, b"<!doctype html><title>Please log in</title>", "an image"),
        (OutputKind.VIDEO, b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a video"),
        (OutputKind.AUDIO, b'{"error": "expired"}', "a sound"),
        (OutputKind.IMAGE, b"not found", "an image"),
        (OutputKind.VIDEO, b"MZ\x90\0" + bytes(90), "a video"),
        (OutputKind.AUDIO, b"\x7fELF\2\1" + bytes(90), "a sound"),
    ],
)
async def test_error_pages_and_programs_are_not_kept(
    *, store: FaultyStore, folder: Path, kind: OutputKind, data: bytes, wanted: str
) -> None:
    """An error page under a picture's name would look like a permanently lost result."""
    async with open_bench(store, folder, build_reply(data, "Content-Type: image/png")) as bench:
        saved = (await bench.save("/0.png", kind=kind)).outputs[0]
        left = bench.list_files()
    assert (saved.save_problem, saved.saved_path) == (f"It was not saved: what came is not {wanted}.", "")
    assert left == []


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (GONE, "its link is no longer good (HTTP 403)"),
        (build_reply(status=500), "its server answered HTTP 500"),
        (build_reply(b""), "nothing came"),
        (build_reply(PNG, length=len(PNG) + 10, ending=Ending.CLOSE), "its server's answer was not valid HTTP"),
        (Reply(b"", Ending.RESET), "the connection broke off"),
    ],
)
async def test_a_failed_download_is_reported_on_the_output(
    store: FaultyStore, folder: Path, reply: Reply, problem: str
) -> None:
    """The run succeeded and was paid; the user must learn why the file is missing, and keep the link."""
    async with open_bench(store, folder, reply) as bench:
        run = await bench.save("/0.png")
        left = bench.list_files()
    assert run.outputs[0].save_problem == f"It was not saved: {problem}."
    assert (run.outputs, left) == ((await read(store)).outputs, [])


async def test_one_failed_output_leaves_the_others(store: FaultyStore, folder: Path) -> None:
    """Of six variations five are better than none."""
    replies = {f"/{n}": build_reply(PNG) for n in range(1, 7)} | {"/3": GONE}
    async with open_bench(store, folder, replies) as bench:
        run = await bench.save(*replies)
    assert [bool(output.saved_path) for output in run.outputs] == [n != 3 for n in range(1, 7)]
    assert len({output.saved_path for output in run.outputs}) == 6
    assert run.outputs == (await read(store)).outputs


async def test_only_a_few_outputs_are_fetched_concurrently(store: FaultyStore, folder: Path) -> None:
    """A run with hundreds of outputs must not use every connection and thread."""
    stuck = build_reply(PNG, length=len(PNG) + 1)
    async with open_bench(store, folder, stuck) as bench, anyio.create_task_group() as tasks:
        tasks.start_soon(bench.save, *(f"/{n}" for n in range(12)))
        await wait_until(lambda: bench.server.connections >= MAX_FETCHES)
        await FakeClock(idle_seconds=0.05).settle()
        assert bench.server.connections == MAX_FETCHES
        tasks.cancel_scope.cancel()


async def test_slow_files_of_one_run_delay_no_other(store: FaultyStore, folder: Path) -> None:
    """A caller of a quick run must not wait for a server that sends a byte now and then."""
    stuck = build_reply(PNG, length=len(PNG) + 1)
    replies = {f"/slow/{n}": stuck for n in range(4 * MAX_FETCHES)} | {"/quick.png": build_reply(PNG)}
    async with open_bench(store, folder, replies) as bench, anyio.create_task_group() as tasks:
        for number in range(4):
            outputs = tuple(
                Output(n, OutputKind.IMAGE, f"{bench.server.origin}/slow/{n}") for n in range(1, MAX_FETCHES + 1)
            )
            slow = replace(DONE, id=f"run_slow_{number}", outputs=outputs)
            await store.accept(slow)
            tasks.start_soon(bench.save_missing, slow)
        await wait_until(lambda: bench.server.connections >= 4 * MAX_FETCHES)
        with anyio.fail_after(60):
            run = await bench.save("/quick.png")
        tasks.cancel_scope.cancel()
    assert run.outputs[0].saved_path


async def test_the_rows_of_a_batch_share_their_slots(store: FaultyStore, folder: Path) -> None:
    """Two thousand of them must not open eight thousand connections."""
    stuck = build_reply(PNG, length=len(PNG) + 1)
    async with open_bench(store, folder, stuck) as bench, anyio.create_task_group() as tasks:
        for number in range(3):
            outputs = tuple(Output(n, OutputKind.IMAGE, f"{bench.server.origin}/{n}") for n in range(1, 4))
            row = replace(DONE, id=f"run_row_{number}", batch_id="batch_a", outputs=outputs)
            await store.accept(row)
            tasks.start_soon(bench.save_missing, row)
        await wait_until(lambda: bench.server.connections >= MAX_FETCHES)
        await FakeClock(idle_seconds=0.05).settle()
        assert bench.server.connections == MAX_FETCHES
        tasks.cancel_scope.cancel()


async def test_a_folder_that_cannot_be_created_is_reported(store: FaultyStore, blocked_folder: Path) -> None:
    """A file exists where the folder should be; the links still work."""
    async with open_bench(store, blocked_folder, build_reply(PNG)) as bench:
        saved = (await bench.save("/0.png")).outputs[0]
    assert saved.save_problem == (
        f"It was not saved: the folder for results, {blocked_folder} (FLOWPORT_OUTPUT_DIR), cannot take it (Not a directory)."
    )


async def test_an_older_file_is_never_overwritten(store: FaultyStore, folder: Path) -> None:
    """The user may have retouched it, and may want the result again."""
    async with open_bench(store, folder, build_reply(PNG)) as bench:
        run = await bench.save("/0.png")
        Path(run.outputs[0].saved_path).write_bytes(b"retouched")
        again = (await bench.save_missing(forget_file(run))).run
        names = bench.list_files()
    assert Path(again.outputs[0].saved_path).name == "sketch-1-run_one-2.png"
    assert names == [f"sketch-1-run_one{tail}" for tail in ("-2.png", "-2.png.json", ".png", ".png.json")]
    assert read_bytes(run.outputs[0].saved_path) == b"retouched"


async def test_an_unrecorded_file_is_reused(store: FaultyStore, folder: Path) -> None:
    """A process killed just after publishing leaves the picture, sometimes without its sidecar."""
    async with open_bench(store, folder, build_reply(PNG)) as bench:
        run = await bench.save("/0.png")
        Path(f"{run.outputs[0].saved_path}.json").unlink()
        again = (await bench.save_missing(forget_file(run))).run
        names = bench.list_files()
    assert (again, names) == (run, ["sketch-1-run_one.png", "sketch-1-run_one.png.json"])


async def test_text_outputs_need_no_saving(store: FaultyStore, folder: Path) -> None:
    """Their text is in the store."""
    text = Output(1, OutputKind.TEXT, None, text="hello")
    run = replace(DONE, outputs=(text,))
    async with open_bench(store, folder, build_reply(PNG)) as bench:
        wanted = bool(bench.saver.find_missing(run)), bool(bench.saver.find_missing(replace(run, outputs=())))
        saved = (await bench.save_missing(run)).run
    assert (wanted, saved, bench.server.heads) == ((False, False), run, [])


@pytest.mark.parametrize("is_wanted", [True, False])
async def test_saving_can_be_turned_off(store: FaultyStore, folder: Path, *, is_wanted: bool) -> None:
    """Some users want links only."""
    run = replace(DONE, outputs=(Output(1, OutputKind.IMAGE, "https://cdn.example/0.png"),))
    async with open_bench(store, folder, build_reply(PNG), is_wanted=is_wanted) as bench:
        assert bool(bench.saver.find_missing(run)) is is_wanted


async def test_other_origins_on_this_machine_are_not_fetched(store: FaultyStore, folder: Path) -> None:
    """A provider must not point Flowport at the router's administration page."""
    async with open_bench(store, folder, build_reply(PNG)) as bench:
        bench.account.origins = frozenset()
        saved = (await bench.save("/0.png")).outputs[0]
    assert saved.save_problem == "It was not saved: its address is not an https one."
    assert bench.server.heads == []


@pytest.mark.parametrize("is_recorded", [True, False], ids=["disk-full", "end-not-recorded"])
async def test_a_saved_file_is_reported_although_the_store_cannot_record_it(
    store: FaultyStore, folder: Path, caplog: pytest.LogCaptureFixture, *, is_recorded: bool
) -> None:
    """The disk may be full, or the outputs missing because the end of the run could not be stored."""
    outputs = (Output(1, OutputKind.IMAGE, None),)
    async with open_bench(store, folder, build_reply(PNG)) as bench:
        run = replace(DONE, outputs=(replace(outputs[0], url=f"{bench.server.origin}/0"),))
        await store.accept(run if is_recorded else replace(run, outputs=()))
        store.failing.update({"OutputSaved"} if is_recorded else set())
        saved = (await bench.save_missing(run)).run.outputs[0]
    assert read_bytes(saved.saved_path) == PNG
    assert "output 1 of run run_one is saved, " in caplog.text


async def test_a_picture_whose_sidecar_does_not_fit_on_the_disk_is_kept(
    store: FaultyStore, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The picture is what was paid for; its sidecar is optional."""
    run = replace(DONE, arguments_json=json.dumps({"prompt": "x" * 10_000}))
    store.failing.add("OutputSaved")  # the limit applies to the whole process, so the store must not write meanwhile
    async with open_bench(store, folder, build_reply(PNG)) as bench:
        output = Output(1, OutputKind.IMAGE, f"{bench.server.origin}/0")
        with limit_file_size(len(PNG)):
            saved = (await bench.save_missing(replace(run, outputs=(output,)))).run.outputs[0]
        left = bench.list_files()
    assert (read_bytes(saved.saved_path), saved.save_problem) == (PNG, "")
    assert left == ["sketch-1-run_one.png"]
    assert "output 1 of run run_one is saved without its record: File too large" in caplog.text


async def test_cancelled_saving_leaves_no_partial_file(store: FaultyStore, folder: Path) -> None:
    """Flowport may be stopped during a video's download."""
    stuck = build_reply(MP4 + bytes(GROUP_BYTES), length=2 * GROUP_BYTES)
    async with open_bench(store, folder, stuck) as bench, anyio.create_task_group() as tasks:
        tasks.start_soon(bench.save, "/0.mp4")
        await wait_until(lambda: any(folder.rglob("*.part")))
        tasks.cancel_scope.cancel()
    assert bench.list_files() == []
