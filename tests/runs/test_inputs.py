"""Sending the files of a run to its provider: once, in the form that it accepts, and nothing else."""

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
from tests.runs.samples import CALL, NOW, RUN, build_status, get_instant, read
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
    """The preparation of inputs with its parts."""

    preparer: InputPreparer
    account: ScriptedAccount
    store: FaultyStore
    clock: FakeClock
    server: PutServer
    process: ProcessLock

    async def deliver(self, *media: InputMedia, kind: InputKind = InputKind.IMAGE) -> PreparedInputs:
        """Send these files as one list."""
        item = MediaInput("photos_key", "photos", kind, is_list=True, media=media)
        return await self.preparer.prepare(RUN, replace(CALL, media=(item,)), self.account)

    async def send(self, *media: InputMedia, kind: InputKind = InputKind.IMAGE) -> list[JsonValue]:
        """Send these files and return the values that replace them in the start request."""
        brought = (await self.deliver(*media, kind=kind)).inputs["photos_key"]
        assert isinstance(brought, list)
        return brought

    async def prepare_media(self, data: bytes | Source, kind: InputKind = InputKind.MEDIA) -> FileMedia:
        """Return a file as a call has it."""
        source = HeldSource(data) if isinstance(data, bytes) else data
        return examine(source, argument="photos", kind=kind, rules=await build_rules(self.account, ()))

    def count(self) -> tuple[int, int]:
        """Return the numbers of upload slots requested and files uploaded."""
        return self.account.count(Operation.REQUEST_UPLOAD), len(self.server.puts)


@asynccontextmanager
async def open_bench(
    store: FaultyStore, folder: Path, *replies: Reply, provider: Magnific | None = None, is_automatic: bool = True
) -> AsyncIterator[Bench]:
    """Open a bench whose provider answers in turn, and then returns an upload slot."""
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
    """Return a file as it is encoded in a request."""
    return base64.b64encode(data).decode()


async def test_a_file_is_uploaded_and_its_url_is_sent(store: FaultyStore, tmp_path: Path) -> None:
    """It is uploaded once, however often it is used."""
    async with open_bench(store, tmp_path) as bench:
        media = await bench.prepare_media(PNG)
        delivered = await bench.deliver(media, UrlMedia(LINK), media, CreationMedia("uqzQLDr2Aw"))
        sha256 = media.fingerprint.sha256

        assert delivered == PreparedInputs(
            {"prompt": "a lake", "photos_key": [ASSET, LINK, ASSET, "uqzQLDr2Aw"]}, (sha256, sha256)
        )
        assert (bench.count(), bench.server.puts[0].sha256) == ((1, 1), sha256)
        assert bench.account.priorities == [bench.account.priorities[0]]


async def test_an_upload_that_expires_too_soon_is_repeated(store: FaultyStore, tmp_path: Path) -> None:
    """The limit is a day, less the time for which a run may wait."""
    async with open_bench(store, tmp_path) as bench:
        media = await bench.prepare_media(PNG)
        await bench.send(media)
        bench.clock.advance(86400 - 1801)
        await bench.send(media)
        assert bench.count() == (1, 1)
        bench.clock.advance(2)
        await bench.send(media)
        assert bench.count() == (2, 2)


async def test_an_upload_by_another_process_is_awaited(store: FaultyStore, tmp_path: Path) -> None:
    """When that process dies, this one uploads the file."""
    async with open_bench(store, tmp_path, is_automatic=False) as bench:
        media = await bench.prepare_media(PNG)
        other = ProcessLock(tmp_path / "home")
        claim = UploadClaim(bench.account.account.id, media.fingerprint.sha256, other.process_id, NOW)
        assert await store.claim_upload(claim) == ToUpload()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.send, media)
            await wait_until(lambda: bench.clock.count_sleepers() == 1)
            assert bench.count() == (0, 0)
            other.release()
            bench.clock.advance(0.5)
        assert bench.count() == (1, 1)


async def test_an_endless_upload_of_another_process_does_not_block_ours(store: FaultyStore, tmp_path: Path) -> None:
    """It may be suspended; after ten minutes the file is sent inline."""
    async with open_bench(store, tmp_path) as bench:
        media = await bench.prepare_media(PNG)
        other = ProcessLock(tmp_path / "home")
        sha256 = media.fingerprint.sha256
        claim = UploadClaim(bench.account.account.id, sha256, other.process_id, NOW)
        await store.claim_upload(claim)
        assert await bench.send(media) == [encode(PNG)]
        assert get_instant(bench.clock) == 600.0
        other.release()


async def test_an_unrecorded_upload_leaves_no_claim(store: FaultyStore, tmp_path: Path) -> None:
    """Other processes would wait for it as long as this process lives."""
    async with open_bench(store, tmp_path) as bench:
        media = await bench.prepare_media(PNG)
        store.failing = {"note_upload"}
        with pytest.raises(StoreError):
            await bench.send(media)
        store.failing = set()
        other = UploadClaim(bench.account.account.id, media.fingerprint.sha256, "p2", NOW)
        assert await store.claim_upload(other) == ToUpload()


async def test_conversions_are_recorded_with_the_run_and_the_upload(store: FaultyStore, tmp_path: Path) -> None:
    """A later run on the same upload reports them too."""
    await store.accept(RUN)
    async with open_bench(store, tmp_path) as bench:
        first, again = [await bench.deliver(await bench.prepare_media(TIFF)) for _ in range(2)]
        assert first.notes == again.notes == "photos was converted from TIFF to PNG."
        assert (await read(store)).notes == first.notes
        assert bench.count() == (1, 1)


@pytest.mark.parametrize("status", [301, 400, 401, 402, 403, 404, 405, 413, 415, 422, 500, 503])
async def test_a_file_that_cannot_be_uploaded_is_sent_inline(store: FaultyStore, tmp_path: Path, status: int) -> None:
    """An endpoint that refuses is not used for a day; one with a temporary fault is asked again."""
    is_refusal = 400 <= status < 500
    async with open_bench(store, tmp_path, *[build_answer({"message": "no"}, status)] * 3) as bench:
        assert await bench.send(await bench.prepare_media(PNG)) == [encode(PNG)]
        assert bench.count() == (1 if is_refusal else 3, 0)
        await bench.send(await bench.prepare_media(TIFF))
        assert bench.count() == (1, 0) if is_refusal else (4, 1)
        if is_refusal:
            bench.account.answer = in_turn(last=build_answer(bench.server.build_place()))
            bench.clock.advance(CLOSED_SECONDS)
            assert await bench.send(await bench.prepare_media(PNG)) == [ASSET]


@pytest.mark.parametrize(
    "reply",
    [
        build_answer({}, 429, retry_after="7"),
        build_answer({}, 503, retry_after="7"),
        build_breakage(Breakage.NO_CONNECTION, Operation.REQUEST_UPLOAD),
        build_answer(b"<html>"),
    ],
)
async def test_a_temporary_fault_of_the_provider_is_retried(store: FaultyStore, tmp_path: Path, reply: Reply) -> None:
    """Nothing that costs credits was sent, so it may be repeated; a requested delay is respected."""
    async with open_bench(store, tmp_path, reply) as bench:
        assert await bench.send(await bench.prepare_media(PNG)) == [ASSET]
        assert bench.count() == (2, 1)
        assert get_instant(bench.clock) == (7.0 if getattr(reply, "status", 0) in {429, 503} else 2.0)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
async def test_a_faulty_upload_slot_is_replaced(store: FaultyStore, tmp_path: Path, status: int) -> None:
    """Three slots are enough."""
    async with open_bench(store, tmp_path) as bench:
        bench.server.statuses = [status, 500]
        assert await bench.send(await bench.prepare_media(PNG)) == [ASSET]
        assert bench.count() == (3, 3)
        bench.server.statuses = [status] * 3
        assert (await bench.send(await bench.prepare_media(TIFF)))[0] != ASSET


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 409, 411, 412, 413, 416, 422])
async def test_an_upload_slot_that_refuses_the_file_is_used_once(
    store: FaultyStore, tmp_path: Path, status: int
) -> None:
    """The same file would be refused again; the next file is tried, because the refusal says nothing about it."""
    async with open_bench(store, tmp_path) as bench:
        bench.server.statuses = [status]
        assert await bench.send(await bench.prepare_media(VIDEO), kind=InputKind.VIDEO) == [encode(VIDEO)]
        assert (bench.count(), get_instant(bench.clock)) == ((1, 1), 0.0)
        assert await bench.send(await bench.prepare_media(VIDEO + bytes(8)), kind=InputKind.VIDEO) == [ASSET]


async def test_a_type_that_the_upload_slot_refuses_is_remembered(store: FaultyStore, tmp_path: Path) -> None:
    """It counts like a type that the provider itself refuses."""
    async with open_bench(store, tmp_path) as bench:
        bench.server.statuses = [415]
        assert await bench.send(await bench.prepare_media(VIDEO), kind=InputKind.VIDEO) == [encode(VIDEO)]
        assert await bench.send(await bench.prepare_media(VIDEO), kind=InputKind.VIDEO) == [encode(VIDEO)]
        assert bench.count() == (1, 1)
        assert await bench.send(await bench.prepare_media(SOUND), kind=InputKind.AUDIO) == [ASSET]
        bench.clock.advance(CLOSED_SECONDS)
        assert await bench.send(await bench.prepare_media(VIDEO), kind=InputKind.VIDEO) == [ASSET]


async def test_an_unusable_upload_slot_is_requested_once(store: FaultyStore, tmp_path: Path) -> None:
    """The provider would return the same one again."""
    async with open_bench(store, tmp_path) as bench:
        bench.account.origins = frozenset()
        assert await bench.send(await bench.prepare_media(PNG)) == [encode(PNG)]
        assert (bench.count(), get_instant(bench.clock)) == ((1, 0), 0.0)


async def test_a_large_file_that_cannot_be_uploaded_fails_the_run_or_is_scaled_down(
    store: FaultyStore, tmp_path: Path
) -> None:
    """A picture can be scaled down; a video cannot, and the message says why it was not uploaded."""
    provider = Magnific()
    inline = FileLimits(frozenset({"image/png", "image/jpeg"}), 1500)
    provider.capabilities = replace(provider.capabilities, inline=inline)
    async with open_bench(store, tmp_path, *[build_answer({}, 500)] * 6, provider=provider) as bench:
        video = await bench.prepare_media(VIDEO + bytes(2000))
        with pytest.raises(
            ArgumentsInvalid, match=r"more than 1.5 KB, which could not be uploaded \(Magnific could not"
        ):
            await bench.send(video, kind=InputKind.VIDEO)
        noise = await bench.prepare_media(write(build_photo(200, 200), "BMP"))
        delivered = await bench.deliver(noise)
        assert "photos was converted from BMP to " in delivered.notes


@pytest.mark.parametrize("data", [VIDEO, SOUND], ids=["film", "sound"])
async def test_videos_and_sounds_are_uploaded(store: FaultyStore, tmp_path: Path, data: bytes) -> None:
    """The upload slot is requested for their own type."""
    async with open_bench(store, tmp_path) as bench:
        media = await bench.prepare_media(data)
        assert await bench.send(media, kind=InputKind.MEDIA) == [ASSET]
        (request,) = [one for one in bench.account.asked if one.operation is Operation.REQUEST_UPLOAD]
        assert request.body == {"files": [{"content_type": media.sniffed.mime_type}]}
        assert bench.server.puts[0].sha256 == media.fingerprint.sha256


async def test_an_itunes_video_is_uploaded_as_mp4(store: FaultyStore, tmp_path: Path) -> None:
    """Its type has a name of its own, which no provider lists."""
    async with open_bench(store, tmp_path) as bench:
        media = await bench.prepare_media(VIDEO.replace(b"isom", b"M4V ", 1))
        assert media.sniffed.mime_type == "video/x-m4v"
        assert await bench.send(media, kind=InputKind.VIDEO) == [ASSET]
        (request,) = [one for one in bench.account.asked if one.operation is Operation.REQUEST_UPLOAD]
        assert request.body == {"files": [{"content_type": "video/mp4"}]}


async def test_a_type_without_upload_is_sent_inline(store: FaultyStore, tmp_path: Path) -> None:
    """FLAC is not among the types for uploads."""
    async with open_bench(store, tmp_path) as bench:
        flac = b"fLaC" + bytes(100)
        assert await bench.send(await bench.prepare_media(flac), kind=InputKind.AUDIO) == [encode(flac)]
        assert bench.count() == (0, 0)


@pytest.mark.parametrize("status", [400, 413, 415, 422])
async def test_a_refused_type_is_remembered_and_others_are_uploaded(
    store: FaultyStore, tmp_path: Path, status: int
) -> None:
    """For a day; a small file is sent inline, for a large one the message says why."""
    async with open_bench(store, tmp_path, build_answer({"message": "no"}, status)) as bench:
        assert await bench.send(await bench.prepare_media(VIDEO), kind=InputKind.VIDEO) == [encode(VIDEO)]
        with pytest.raises(ArgumentsInvalid, match=r"more than 10 MB, which could not be uploaded .*earlier refusal"):
            await bench.send(await bench.prepare_media(VIDEO + bytes(11_000_000)), kind=InputKind.VIDEO)
        assert bench.count() == (1, 0)
        assert await bench.send(await bench.prepare_media(SOUND), kind=InputKind.AUDIO) == [ASSET]
        assert await bench.send(await bench.prepare_media(PNG)) == [ASSET]
        bench.clock.advance(CLOSED_SECONDS)
        assert await bench.send(await bench.prepare_media(VIDEO), kind=InputKind.VIDEO) == [ASSET]


async def test_the_inline_files_of_a_request_have_a_total_limit(store: FaultyStore, tmp_path: Path) -> None:
    """They are in memory as bytes and as base64."""
    async with open_bench(store, tmp_path) as bench:
        video = await bench.prepare_media(b"fLaC" + bytes(9_000_000))
        with pytest.raises(ArgumentsInvalid, match="photos brings the files of this call to more than 30 MB"):
            await bench.send(*[video] * 4, kind=InputKind.AUDIO)


async def test_a_file_that_changed_since_the_call_ends_the_run(store: FaultyStore, tmp_path: Path) -> None:
    """It leaves no claim behind that would make other processes wait."""
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    async with open_bench(store, tmp_path) as bench:
        media = await bench.prepare_media(DiskSource(path, (tmp_path,)))
        path.write_bytes(TIFF)
        with pytest.raises(ArgumentsInvalid, match="has changed since the call"):
            await bench.send(media)
        path.write_bytes(PNG)
        assert await bench.send(media) == [ASSET]


async def test_a_store_that_fails_ends_the_run_unsent(store: FaultyStore, tmp_path: Path) -> None:
    """Nothing was started, and that is certain; a claim that cannot be released is logged."""
    async with open_bench(store, tmp_path) as bench:
        media = await bench.prepare_media(PNG)
        store.failing = {"claim_upload"}
        with pytest.raises(StoreError):
            await bench.send(media)
        store.failing = {"forget_upload"}
        await bench.preparer.forget(PreparedInputs({}, ("abc",)), bench.account)


async def test_a_depth_that_cannot_be_converted_is_refused_before_the_run(store: FaultyStore, tmp_path: Path) -> None:
    """Sixteen bits of grey are converted; a picture of 32-bit numbers is refused before its run could fail."""
    async with open_bench(store, tmp_path) as bench:
        deep = await bench.prepare_media(write(build_photo().convert("I").convert("I;16"), "TIFF"))
        assert await bench.send(deep) == [ASSET]
        with pytest.raises(ArgumentsInvalid, match="eight bits a colour"):
            await bench.prepare_media(write(build_photo().convert("F"), "TIFF"))


def build_output(**changes: Any) -> OutputMedia:
    """Return an output of an earlier run of the same account."""
    values: dict[str, Any] = {"n": 1, "kind": OutputKind.IMAGE, "url": LINK, "provider_output_id": "c1"}
    output = Output(**{**values, "expires_at": NOW + 3600, **changes})
    return OutputMedia(replace(RUN, id="run_old", state=RunState.SUCCEEDED, outputs=(output,)), output)


def of_another(media: OutputMedia) -> OutputMedia:
    """Return the same output as another account's."""
    return replace(media, run=replace(media.run, account_id="magnific:api.example:other"))


async def test_a_result_is_sent_by_id_then_by_link_then_by_copy(store: FaultyStore, tmp_path: Path) -> None:
    """The id is valid for its own account only, and a link until it expires."""
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
        assert await bench.send(*[media for media, _ in rows]) == [given for _, given in rows]
        assert bench.count() == (0, 0)
        for changes in ({"expires_at": NOW + 899}, {"url": "http://127.0.0.1:1/a.png"}, {"url": None}):
            assert await bench.send(of_another(build_output(saved_path=str(saved), **changes))) == [ASSET]
        assert bench.count() == (1, 1)


async def test_an_expired_link_is_refreshed_by_polling_its_run(store: FaultyStore, tmp_path: Path) -> None:
    """If the provider returns no other link, the saved copy is uploaded."""
    saved = tmp_path / "saved.png"
    saved.write_bytes(PNG)
    old = build_output(provider_output_id="", expires_at=NOW, saved_path=str(saved))
    old = replace(old, run=replace(old.run, provider_run_id="remote-1"))
    await store.accept(old.run)
    look = build_status("completed", images=1)
    async with open_bench(store, tmp_path, look) as bench:
        (fresh,) = await bench.send(old)
        assert (str(fresh).startswith("https://cdn.example/0.png?token=exp_"), bench.count()) == (True, (0, 0))
    other = replace(old, run=replace(old.run, id="run_other"))
    await store.accept(other.run)
    async with open_bench(store, tmp_path, build_answer({}, 500)) as bench:
        assert await bench.send(other) == [ASSET]


async def test_an_inline_result_is_uploaded(store: FaultyStore, tmp_path: Path) -> None:
    """It was not saved, and has no link that a provider could fetch."""
    data = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    async with open_bench(store, tmp_path) as bench:
        assert await bench.send(build_output(provider_output_id="", url=data, saved_path="", expires_at=None)) == [
            ASSET
        ]
        with pytest.raises(ArgumentsInvalid, match="broken or cut off"):
            await bench.send(build_output(provider_output_id="", url="data:image/png;base64,A", expires_at=None))


async def test_a_lost_result_ends_the_run(store: FaultyStore, tmp_path: Path) -> None:
    """Its link has expired and its copy is missing, or was never saved."""
    async with open_bench(store, tmp_path) as bench:
        for path, problem in (("", "whose link has expired and which was not saved"), ("/x/gone.png", "not exist")):
            with pytest.raises(ArgumentsInvalid, match=problem):
                await bench.send(of_another(build_output(expires_at=NOW, saved_path=path)))


async def test_a_picture_behind_a_url_is_fetched_for_conversion(store: FaultyStore, tmp_path: Path) -> None:
    """It is fetched under the usual rules, and is then a file like any other."""
    async with open_bench(store, tmp_path) as bench, serving(lambda _: build_reply(TIFF)) as server:
        bench.account.origins |= {server.origin}
        delivered = await bench.deliver(UrlMedia(f"{server.origin}/scan.tif?token=t"))
        assert (delivered.inputs["photos_key"], delivered.notes) == ([ASSET], "photos was converted from TIFF to PNG.")
