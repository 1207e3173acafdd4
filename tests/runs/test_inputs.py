"""Bringing the files of a run to its provider: once, in the form that it takes, and nothing else."""

import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from flowport.domain.errors import ArgumentsInvalid, Breakage, Operation, StoreError
from flowport.domain.models import InputKind, JsonValue, Output, OutputKind, RunState
from flowport.media.input_files import FileMedia, UrlMedia, examine
from flowport.media.sources import DiskSource, HeldSource, Source
from flowport.network.file_transfer import Fetcher, Uploader
from flowport.providers.interface import FileLimits
from flowport.providers.magnific.api import Magnific
from flowport.runs.downloads import LinkRefresher
from flowport.runs.inputs import InputPreparer, PreparedInputs
from flowport.runs.prepare import MediaInput, build_rules
from flowport.runs.references import CreationMedia, InputMedia, OutputMedia
from flowport.runs.uploads import CLOSED_SECONDS, FileUploads
from flowport.store.process_lock import ProcessLock
from flowport.store.records import ToUpload, UploadClaim
from tests.fakes.client import build_photo, write
from tests.media.containers import mp4, track
from tests.runs.samples import CALL, NOW, RUN, build_look, get_instant, read
from tests.support.fake_clock import FakeClock
from tests.support.put_server import PutServer, open_put_server
from tests.support.raw_server import build_reply, serving
from tests.support.scripted import (
    ACCOUNT,
    FaultyStore,
    Reply,
    ScriptedAccount,
    build_answer,
    build_breakage,
    in_turn,
    wait_until,
)

PNG = write(build_photo())
TIFF = write(build_photo(), "TIFF")
VIDEO = mp4(track(64, 48))
SOUND = (
    b"RIFF"
    + (36 + 4).to_bytes(4, "little")
    + b"WAVEfmt "
    + (16).to_bytes(4, "little")
    + bytes(16)
    + b"data\x04\0\0\0abcd"
)
ASSET = "https://storage.example/asset?token=t"
LINK = "https://cdn.example/1.png?token=t"


@dataclass
class Bench:
    """A preparer with what it works on."""

    preparer: InputPreparer
    account: ScriptedAccount
    store: FaultyStore
    clock: FakeClock
    server: PutServer
    process: ProcessLock

    async def deliver(self, *media: InputMedia, kind: InputKind = InputKind.IMAGE) -> PreparedInputs:
        """Bring these files as one list."""
        item = MediaInput("photos_key", "photos", kind, is_list=True, media=media)
        return await self.preparer.prepare(RUN, replace(CALL, media=(item,)), self.account)

    async def bring(self, *media: InputMedia, kind: InputKind = InputKind.IMAGE) -> list[JsonValue]:
        """Bring these files and return what the provider is given in their places."""
        brought = (await self.deliver(*media, kind=kind)).inputs["photos_key"]
        assert isinstance(brought, list)
        return brought

    async def hold(self, data: bytes | Source, kind: InputKind = InputKind.MEDIA) -> FileMedia:
        """Return a file as a call has it."""
        source = HeldSource(data) if isinstance(data, bytes) else data
        return examine(source, argument="photos", kind=kind, rules=await build_rules(self.account, ()))

    def count(self) -> tuple[int, int]:
        """Return how often a place was asked for, and a file put."""
        return self.account.count(Operation.REQUEST_UPLOAD), len(self.server.puts)


@asynccontextmanager
async def open_bench(
    store: FaultyStore, folder: Path, *replies: Reply, provider: Magnific | None = None, is_automatic: bool = True
) -> AsyncIterator[Bench]:
    """Give a preparer whose provider answers so, and then names a place."""
    clock, threads = FakeClock(is_automatic=is_automatic), anyio.CapacityLimiter(4)
    process, fetcher = ProcessLock(folder / "home"), Fetcher(file_threads=threads)
    async with open_put_server() as server:
        answer = in_turn(*replies, last=build_answer(server.build_place()))
        account = ScriptedAccount(answer, clock, provider=provider)
        account.origins = frozenset({server.origin})
        uploads = FileUploads(store, clock, process, Uploader(file_threads=threads), threads=threads)
        link_refresher, accounts = LinkRefresher(store, clock), {ACCOUNT.id: account}
        preparer = InputPreparer(store, clock, uploads, fetcher, link_refresher, accounts=accounts, threads=threads)
        yield Bench(preparer, account, store, clock, server, process)
    process.release()
    await fetcher.aclose()


def encode(data: bytes) -> str:
    """Return a file as it stands in a request."""
    return base64.b64encode(data).decode()


async def test_a_file_goes_up_and_its_address_goes_in(store: FaultyStore, tmp_path: Path) -> None:
    """Once, however often it is named."""
    async with open_bench(store, tmp_path) as bench:
        media = await bench.hold(PNG)
        delivered = await bench.deliver(media, UrlMedia(LINK), media, CreationMedia("uqzQLDr2Aw"))
        sha256 = media.fingerprint.sha256

        assert delivered == PreparedInputs(
            {"prompt": "a lake", "photos_key": [ASSET, LINK, ASSET, "uqzQLDr2Aw"]}, (sha256, sha256)
        )
        assert (bench.count(), bench.server.puts[0].sha256) == ((1, 1), sha256)
        assert bench.account.priorities == [bench.account.priorities[0]]


async def test_an_upload_is_made_again_when_it_would_not_live_long_enough(store: FaultyStore, tmp_path: Path) -> None:
    """A day, less what a run may wait."""
    async with open_bench(store, tmp_path) as bench:
        media = await bench.hold(PNG)
        await bench.bring(media)
        bench.clock.advance(86400 - 1801)
        await bench.bring(media)
        assert bench.count() == (1, 1)
        bench.clock.advance(2)
        await bench.bring(media)
        assert bench.count() == (2, 2)


async def test_another_process_that_uploads_the_file_is_waited_for(store: FaultyStore, tmp_path: Path) -> None:
    """And when it dies meanwhile, this one does it."""
    async with open_bench(store, tmp_path, is_automatic=False) as bench:
        media = await bench.hold(PNG)
        other = ProcessLock(tmp_path / "home")
        claim = UploadClaim(bench.account.account.id, media.fingerprint.sha256, other.process_id, NOW)
        assert await store.claim_upload(claim) == ToUpload()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.bring, media)
            await wait_until(lambda: bench.clock.count_sleepers() == 1)
            assert bench.count() == (0, 0)
            other.release()
            bench.clock.advance(0.5)
        assert bench.count() == (1, 1)


async def test_another_process_that_never_ends_its_upload_does_not_hold_ours(
    store: FaultyStore, tmp_path: Path
) -> None:
    """It may have been stopped in the middle; after ten minutes the file goes inside."""
    async with open_bench(store, tmp_path) as bench:
        media = await bench.hold(PNG)
        other = ProcessLock(tmp_path / "home")
        sha256 = media.fingerprint.sha256
        claim = UploadClaim(bench.account.account.id, sha256, other.process_id, NOW)
        await store.claim_upload(claim)
        assert await bench.bring(media) == [encode(PNG)]
        assert get_instant(bench.clock) == 600.0
        other.release()


async def test_an_upload_that_could_not_be_noted_leaves_no_claim(store: FaultyStore, tmp_path: Path) -> None:
    """Others would wait for it as long as this process lives."""
    async with open_bench(store, tmp_path) as bench:
        media = await bench.hold(PNG)
        store.failing = {"note_upload"}
        with pytest.raises(StoreError):
            await bench.bring(media)
        store.failing = set()
        other = UploadClaim(bench.account.account.id, media.fingerprint.sha256, "p2", NOW)
        assert await store.claim_upload(other) == ToUpload()


async def test_what_was_done_to_a_file_is_noted_with_the_run_and_with_the_upload(
    store: FaultyStore, tmp_path: Path
) -> None:
    """A later run on the same upload is told too."""
    await store.accept(RUN)
    async with open_bench(store, tmp_path) as bench:
        first, again = [await bench.deliver(await bench.hold(TIFF)) for _ in range(2)]
        assert first.notes == again.notes == "photos was converted from TIFF to PNG."
        assert (await read(store)).notes == first.notes
        assert bench.count() == (1, 1)


@pytest.mark.parametrize("status", [301, 400, 401, 402, 403, 404, 405, 413, 415, 422, 500, 503])
async def test_a_file_that_cannot_go_up_goes_inside(store: FaultyStore, tmp_path: Path, status: int) -> None:
    """An endpoint that refuses is left alone for a day; one that stumbles is asked again."""
    is_refusal = 400 <= status < 500
    async with open_bench(store, tmp_path, *[build_answer({"message": "no"}, status)] * 3) as bench:
        assert await bench.bring(await bench.hold(PNG)) == [encode(PNG)]
        assert bench.count() == (1 if is_refusal else 3, 0)
        await bench.bring(await bench.hold(TIFF))
        assert bench.count() == (1, 0) if is_refusal else (4, 1)
        if is_refusal:
            bench.account.answer = in_turn(last=build_answer(bench.server.build_place()))
            bench.clock.advance(CLOSED_SECONDS)
            assert await bench.bring(await bench.hold(PNG)) == [ASSET]


@pytest.mark.parametrize(
    "reply",
    [
        build_answer({}, 429, retry_after="7"),
        build_answer({}, 503, retry_after="7"),
        build_breakage(Breakage.NO_CONNECTION, Operation.REQUEST_UPLOAD),
        build_answer(b"<html>"),
    ],
)
async def test_a_provider_that_stumbles_is_asked_again(store: FaultyStore, tmp_path: Path, reply: Reply) -> None:
    """Nothing that costs anything was sent, so it may be sent again; a delay that it asks for is kept."""
    async with open_bench(store, tmp_path, reply) as bench:
        assert await bench.bring(await bench.hold(PNG)) == [ASSET]
        assert bench.count() == (2, 1)
        assert get_instant(bench.clock) == (7.0 if getattr(reply, "status", 0) in {429, 503} else 2.0)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
async def test_a_place_that_stumbles_is_replaced_by_another(store: FaultyStore, tmp_path: Path, status: int) -> None:
    """Three places are enough."""
    async with open_bench(store, tmp_path) as bench:
        bench.server.statuses = [status, 500]
        assert await bench.bring(await bench.hold(PNG)) == [ASSET]
        assert bench.count() == (3, 3)
        bench.server.statuses = [status] * 3
        assert (await bench.bring(await bench.hold(TIFF)))[0] != ASSET


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 409, 411, 412, 413, 416, 422])
async def test_a_place_that_refuses_the_file_is_asked_once(store: FaultyStore, tmp_path: Path, status: int) -> None:
    """The same file would be refused again; the next file is tried, because the refusal says nothing of it."""
    async with open_bench(store, tmp_path) as bench:
        bench.server.statuses = [status]
        assert await bench.bring(await bench.hold(VIDEO), kind=InputKind.VIDEO) == [encode(VIDEO)]
        assert (bench.count(), get_instant(bench.clock)) == ((1, 1), 0.0)
        assert await bench.bring(await bench.hold(VIDEO + bytes(8)), kind=InputKind.VIDEO) == [ASSET]


async def test_a_type_that_the_place_refuses_is_remembered(store: FaultyStore, tmp_path: Path) -> None:
    """As one that the provider itself refuses."""
    async with open_bench(store, tmp_path) as bench:
        bench.server.statuses = [415]
        assert await bench.bring(await bench.hold(VIDEO), kind=InputKind.VIDEO) == [encode(VIDEO)]
        assert await bench.bring(await bench.hold(VIDEO), kind=InputKind.VIDEO) == [encode(VIDEO)]
        assert bench.count() == (1, 1)
        assert await bench.bring(await bench.hold(SOUND), kind=InputKind.AUDIO) == [ASSET]
        bench.clock.advance(CLOSED_SECONDS)
        assert await bench.bring(await bench.hold(VIDEO), kind=InputKind.VIDEO) == [ASSET]


async def test_a_place_that_no_file_is_sent_to_is_asked_for_once(store: FaultyStore, tmp_path: Path) -> None:
    """The provider would name the same one again."""
    async with open_bench(store, tmp_path) as bench:
        bench.account.origins = frozenset()
        assert await bench.bring(await bench.hold(PNG)) == [encode(PNG)]
        assert (bench.count(), get_instant(bench.clock)) == ((1, 0), 0.0)


async def test_a_large_file_that_cannot_go_up_fails_the_run_or_is_made_smaller(
    store: FaultyStore, tmp_path: Path
) -> None:
    """A picture can be; a video cannot, and the sentence says why it did not go up."""
    provider = Magnific()
    inline = FileLimits(frozenset({"image/png", "image/jpeg"}), 1500)
    provider.capabilities = replace(provider.capabilities, inline=inline)
    async with open_bench(store, tmp_path, *[build_answer({}, 500)] * 6, provider=provider) as bench:
        video = await bench.hold(VIDEO + bytes(2000))
        with pytest.raises(
            ArgumentsInvalid, match=r"more than 1.5 KB, which could not be uploaded \(Magnific could not"
        ):
            await bench.bring(video, kind=InputKind.VIDEO)
        noise = await bench.hold(write(build_photo(200, 200), "BMP"))
        delivered = await bench.deliver(noise)
        assert "photos was converted from BMP to " in delivered.notes


@pytest.mark.parametrize("data", [VIDEO, SOUND], ids=["film", "sound"])
async def test_films_and_sounds_go_up(store: FaultyStore, tmp_path: Path, data: bytes) -> None:
    """With their own type, which the place is asked for."""
    async with open_bench(store, tmp_path) as bench:
        media = await bench.hold(data)
        assert await bench.bring(media, kind=InputKind.MEDIA) == [ASSET]
        (request,) = [one for one in bench.account.asked if one.operation is Operation.REQUEST_UPLOAD]
        assert request.body == {"files": [{"content_type": media.sniffed.mime_type}]}
        assert bench.server.puts[0].sha256 == media.fingerprint.sha256


async def test_a_film_of_itunes_goes_up_as_the_mp4_that_it_is(store: FaultyStore, tmp_path: Path) -> None:
    """Its type has a name of its own, which no provider lists."""
    async with open_bench(store, tmp_path) as bench:
        media = await bench.hold(VIDEO.replace(b"isom", b"M4V ", 1))
        assert media.sniffed.mime_type == "video/x-m4v"
        assert await bench.bring(media, kind=InputKind.VIDEO) == [ASSET]
        (request,) = [one for one in bench.account.asked if one.operation is Operation.REQUEST_UPLOAD]
        assert request.body == {"files": [{"content_type": "video/mp4"}]}


async def test_a_kind_that_is_not_uploaded_goes_inside(store: FaultyStore, tmp_path: Path) -> None:
    """FLAC is no type of an upload."""
    async with open_bench(store, tmp_path) as bench:
        flac = b"fLaC" + bytes(100)
        assert await bench.bring(await bench.hold(flac), kind=InputKind.AUDIO) == [encode(flac)]
        assert bench.count() == (0, 0)


@pytest.mark.parametrize("status", [400, 413, 415, 422])
async def test_a_type_that_is_refused_is_remembered_and_others_go_up(
    store: FaultyStore, tmp_path: Path, status: int
) -> None:
    """For a day; a small file goes inside, for a large one the sentence says why."""
    async with open_bench(store, tmp_path, build_answer({"message": "no"}, status)) as bench:
        assert await bench.bring(await bench.hold(VIDEO), kind=InputKind.VIDEO) == [encode(VIDEO)]
        with pytest.raises(ArgumentsInvalid, match=r"more than 10 MB, which could not be uploaded .*earlier refusal"):
            await bench.bring(await bench.hold(VIDEO + bytes(11_000_000)), kind=InputKind.VIDEO)
        assert bench.count() == (1, 0)
        assert await bench.bring(await bench.hold(SOUND), kind=InputKind.AUDIO) == [ASSET]
        assert await bench.bring(await bench.hold(PNG)) == [ASSET]
        bench.clock.advance(CLOSED_SECONDS)
        assert await bench.bring(await bench.hold(VIDEO), kind=InputKind.VIDEO) == [ASSET]


async def test_what_goes_inside_one_request_has_a_limit_together(store: FaultyStore, tmp_path: Path) -> None:
    """It lies in memory as bytes and as base64."""
    async with open_bench(store, tmp_path) as bench:
        video = await bench.hold(b"fLaC" + bytes(9_000_000))
        with pytest.raises(ArgumentsInvalid, match="photos brings the files of this call to more than 30 MB"):
            await bench.bring(*[video] * 4, kind=InputKind.AUDIO)


async def test_a_file_that_changed_since_the_call_ends_the_run(store: FaultyStore, tmp_path: Path) -> None:
    """And leaves no claim behind that would make others wait."""
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    async with open_bench(store, tmp_path) as bench:
        media = await bench.hold(DiskSource(path, (tmp_path,)))
        path.write_bytes(TIFF)
        with pytest.raises(ArgumentsInvalid, match="has changed since the call"):
            await bench.bring(media)
        path.write_bytes(PNG)
        assert await bench.bring(media) == [ASSET]


async def test_a_store_that_fails_ends_the_run_unsent(store: FaultyStore, tmp_path: Path) -> None:
    """Nothing was started, and that is certain; a claim that cannot be given up is logged."""
    async with open_bench(store, tmp_path) as bench:
        media = await bench.hold(PNG)
        store.failing = {"claim_upload"}
        with pytest.raises(StoreError):
            await bench.bring(media)
        store.failing = {"forget_upload"}
        await bench.preparer.forget(PreparedInputs({}, ("abc",)), bench.account)


async def test_a_depth_that_cannot_be_converted_is_refused_before_the_run(store: FaultyStore, tmp_path: Path) -> None:
    """Sixteen bits of grey are converted; numbers of 32 bits never become a run that fails."""
    async with open_bench(store, tmp_path) as bench:
        deep = await bench.hold(write(build_photo().convert("I").convert("I;16"), "TIFF"))
        assert await bench.bring(deep) == [ASSET]
        with pytest.raises(ArgumentsInvalid, match="eight bits a colour"):
            await bench.hold(write(build_photo().convert("F"), "TIFF"))


def build_output(**changes: Any) -> OutputMedia:
    """Return an output of an earlier run of the same account."""
    values: dict[str, Any] = {"n": 1, "kind": OutputKind.IMAGE, "url": LINK, "provider_output_id": "c1"}
    output = Output(**{**values, "expires_at": NOW + 3600, **changes})
    return OutputMedia(replace(RUN, id="run_old", state=RunState.SUCCEEDED, outputs=(output,)), output)


def of_another(media: OutputMedia) -> OutputMedia:
    """Return the same output as another account's."""
    return replace(media, run=replace(media.run, account_id="magnific:api.example:other"))


async def test_a_result_goes_by_its_id_then_by_its_link_then_by_its_copy(store: FaultyStore, tmp_path: Path) -> None:
    """The id is good for its own account alone, and a link for as long as it lives."""
    saved = tmp_path / "saved.png"
    saved.write_bytes(PNG)
    async with open_bench(store, tmp_path) as bench:
        rows: Sequence[tuple[OutputMedia, str]] = [
            (build_output(), "c1"),
            (build_output(expires_at=NOW), "c1"),
            (build_output(provider_output_id=""), LINK),
            (of_another(build_output()), LINK),
            (of_another(build_output(expires_at=None)), LINK),
        ]
        assert await bench.bring(*[media for media, _ in rows]) == [given for _, given in rows]
        assert bench.count() == (0, 0)
        for changes in ({"expires_at": NOW + 899}, {"url": "http://127.0.0.1:1/a.png"}, {"url": None}):
            assert await bench.bring(of_another(build_output(saved_path=str(saved), **changes))) == [ASSET]
        assert bench.count() == (1, 1)


async def test_a_link_that_has_expired_is_renewed_by_reading_its_run_again(store: FaultyStore, tmp_path: Path) -> None:
    """Where the provider gives another; else the saved copy goes up."""
    saved = tmp_path / "saved.png"
    saved.write_bytes(PNG)
    old = build_output(provider_output_id="", expires_at=NOW, saved_path=str(saved))
    old = replace(old, run=replace(old.run, provider_run_id="remote-1"))
    await store.accept(old.run)
    look = build_look("completed", images=1)
    async with open_bench(store, tmp_path, look) as bench:
        (fresh,) = await bench.bring(old)
        assert (str(fresh).startswith("https://cdn.example/0.png?token=exp_"), bench.count()) == (True, (0, 0))
    other = replace(old, run=replace(old.run, id="run_other"))
    await store.accept(other.run)
    async with open_bench(store, tmp_path, build_answer({}, 500)) as bench:
        assert await bench.bring(other) == [ASSET]


async def test_a_result_that_came_inside_an_answer_goes_up(store: FaultyStore, tmp_path: Path) -> None:
    """It was not saved, and has no link that a provider could fetch."""
    data = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    async with open_bench(store, tmp_path) as bench:
        assert await bench.bring(build_output(provider_output_id="", url=data, saved_path="", expires_at=None)) == [
            ASSET
        ]
        with pytest.raises(ArgumentsInvalid, match="broken or cut off"):
            await bench.bring(build_output(provider_output_id="", url="data:image/png;base64,A", expires_at=None))


async def test_a_result_that_is_nowhere_any_more_ends_the_run(store: FaultyStore, tmp_path: Path) -> None:
    """Its link has expired and its copy is gone, or never was."""
    async with open_bench(store, tmp_path) as bench:
        for path, problem in (("", "whose link has expired and which was not saved"), ("/x/gone.png", "not exist")):
            with pytest.raises(ArgumentsInvalid, match=problem):
                await bench.bring(of_another(build_output(expires_at=NOW, saved_path=path)))


async def test_a_picture_at_an_address_is_fetched_when_it_must_be_converted(store: FaultyStore, tmp_path: Path) -> None:
    """By the one fetcher, and then it is a file like any other."""
    async with open_bench(store, tmp_path) as bench, serving(lambda _: build_reply(TIFF)) as server:
        bench.account.origins |= {server.origin}
        delivered = await bench.deliver(UrlMedia(f"{server.origin}/scan.tif?token=t"))
        assert (delivered.inputs["photos_key"], delivered.notes) == ([ASSET], "photos was converted from TIFF to PNG.")
