"""Bring the files of an accepted run to its provider, in the form that it takes.

A result of the same account goes by its id, else by its link, a fresh one if need be, else its saved copy goes like any file:
uploaded where the provider takes uploads, else inside the request. Nothing here can cost money; when a file cannot be
brought the run ends unsent.
"""

import base64
import logging
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, assert_never

import anyio
import anyio.to_thread

from flowport.domain.call_errors import build_refusal
from flowport.domain.errors import ArgumentsInvalid, ProviderError
from flowport.domain.models import JsonValue, Output, Run
from flowport.domain.run_events import InputsPrepared
from flowport.media.convert import Wanted, is_odd_picture_url
from flowport.media.data_uris import parse_data_uri
from flowport.media.errors import format_size
from flowport.media.input_files import FileMedia, UrlMedia, examine
from flowport.media.local_files import DiskSource, HeldSource, open_unchanged
from flowport.network.account import OpenAccount
from flowport.network.causes import FetchError
from flowport.network.download import Fetcher, FetchRules
from flowport.runs.downloads import LinkRefresher
from flowport.runs.output_file import SavingRules, build_folder_warning
from flowport.runs.prepare import MediaInput, PreparedCall, build_rules
from flowport.runs.references import CreationMedia, InputMedia, OutputMedia
from flowport.runs.uploads import FileUploads, convert_if_picture
from flowport.runtime.clock import Clock
from flowport.runtime.file_systems import find_folder_problem
from flowport.store.interface import Store
from flowport.store.records import Upload

logger = logging.getLogger(__name__)

MAX_INLINE_BYTES: Final = 30_000_000
"""All files that go inside one request; they lie in memory as bytes and as base64."""

SANDBOX_NOTE: Final = "The sandbox draws and generates nothing: a text gets a landscape, whatever it asks for. Its credits are play money."
"""Said of each of its runs, so that no one judges a provider by it."""

FOLDER_SECONDS: Final = 5.0
"""How long the folder for results is looked at; a share that has gone away must not hold up a start."""

LINK_MARGIN_SECONDS: Final = 900.0
"""How long a link must still live to be handed on."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a run is started with."""

    inputs: Mapping[str, JsonValue] = field(repr=False)
    """By run key; files stand in it as ids, addresses or base64."""
    uploads: tuple[str, ...] = ()
    """The digests of the uploaded files among them."""
    notes: str = ""
    """What was done to the files, as sentences."""


@dataclass(slots=True)
class _Delivery:
    """A delivery under way."""

    account: OpenAccount
    notes: list[str] = field(default_factory=list)
    uploads: list[str] = field(default_factory=list)
    inline_bytes: int = 0


class FileDeliverer:
    """Brings files to providers."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        uploads: FileUploads,
        fetcher: Fetcher,
        link_refresher: LinkRefresher,
        *,
        accounts: Mapping[str, OpenAccount],
        threads: anyio.CapacityLimiter,
        results: SavingRules | None = None,
    ) -> None:
        """Prepare.

        Args:
            results: Where the run's outputs will go; None when nobody minds.
        """
        self._results = results
        self._store = store
        self._clock = clock
        self._uploads = uploads
        self._fetcher = fetcher
        self._link_refresher = link_refresher
        self._accounts = accounts
        self._threads = threads

    async def deliver(self, run: Run, call: PreparedCall, account: OpenAccount) -> Delivered:
        """Return what the run is started with, its files having been brought; what was done to them is noted.

        Raises:
            ArgumentsInvalid: A file cannot be brought; nothing was sent that could cost anything.
            StoreError: The store cannot be read or written.
        """
        delivery = _Delivery(account)
        # Before anything is paid, so that the person can still choose another folder.
        delivery.notes.extend(await self._look_at_results())
        values: dict[str, JsonValue] = {}
        for item in call.media:
            brought = [await self._bring(one, item, delivery) for one in item.media]
            values[item.run_key] = list(brought) if item.is_list else brought[0]
        if account.is_sandbox:
            delivery.notes.append(SANDBOX_NOTE)
        notes = " ".join(dict.fromkeys(delivery.notes))
        if notes:
            await self._store.record(run.id, InputsPrepared(notes))
        return Delivered({**call.inputs, **values}, tuple(delivery.uploads), notes)

    async def _look_at_results(self) -> list[str]:
        """Return what stands in the way of saving the outputs, as a sentence; none when nothing does."""
        if self._results is None or not self._results.is_wanted:
            return []
        folder, reason = self._results.folder, ""
        with anyio.move_on_after(FOLDER_SECONDS):
            reason = await anyio.to_thread.run_sync(
                find_folder_problem, folder, limiter=self._threads, abandon_on_cancel=True
            )
        return [build_folder_warning(folder, reason)] if reason else []

    async def forget(self, delivered: Delivered, account: OpenAccount) -> None:
        """Forget the uploads of inputs that the provider refused: it may no longer have one of them."""
        for sha256 in delivered.uploads:
            await self._uploads.forget(account, sha256)

    async def _bring(self, media: InputMedia, item: MediaInput, delivery: _Delivery) -> str:
        match media:
            case CreationMedia():
                return media.id
            case UrlMedia():
                return await self._bring_url(media.url, item, delivery)
            case OutputMedia():
                return await self._bring_output(media, item, delivery)
            case FileMedia():
                return await self._bring_file(media, item, delivery)
            case _:
                assert_never(media)

    async def _bring_output(self, media: OutputMedia, item: MediaInput, delivery: _Delivery) -> str:
        output, account = media.output, delivery.account
        if account.is_sandbox and output.saved_path and await anyio.Path(output.saved_path).is_file():
            # The sandbox forgets old results, and reads nothing from the web.
            return await self._bring_saved(output.saved_path, item, delivery)
        is_theirs = media.run.account_id == account.account.id and account.provider.capabilities.is_output_id
        if is_theirs and output.provider_output_id:
            return output.provider_output_id
        output = await self._refresh_links(media)
        if output.url and self._is_fresh(output) and output.url.startswith("https:") and not account.is_sandbox:
            return output.url
        if output.url and not output.link:
            return await self._bring_data(output.url, item, delivery)
        if not output.saved_path:
            problem = f"names output {output.n} of {media.run.id}, whose link has expired and which was not saved"
            raise build_refusal(item.argument, problem, "Give another file, or run that app again.")
        return await self._bring_saved(output.saved_path, item, delivery)

    async def _bring_saved(self, saved_path: str, item: MediaInput, delivery: _Delivery) -> str:
        path = Path(saved_path)
        return await self._bring_file(await self._examine(path, path.parent, item, delivery), item, delivery)

    async def _bring_data(self, uri: str, item: MediaInput, delivery: _Delivery) -> str:
        """Bring a result that came inside its provider's answer and was not saved."""
        rules = await build_rules(delivery.account, ())

        def work() -> FileMedia:
            """Decode the file and look at it."""
            data = parse_data_uri(uri, argument=item.argument, max_bytes=rules.max_inline_bytes)
            return examine(HeldSource(data), argument=item.argument, kind=item.kind, rules=rules)

        media = await anyio.to_thread.run_sync(work, limiter=self._threads)
        return await self._bring_file(media, item, delivery)

    def _is_fresh(self, output: Output) -> bool:
        return output.expires_at is None or output.expires_at > self._clock.now() + LINK_MARGIN_SECONDS

    async def _refresh_links(self, media: OutputMedia) -> Output:
        """Return the output with a fresh link, if its own will not do and its provider gives another."""
        account = self._accounts.get(media.run.account_id)
        if account is None or not media.output.url or self._is_fresh(media.output):
            return media.output
        try:
            refreshed = await self._link_refresher.refresh_links(media.run, account, {media.output.n})
        except ProviderError as exc:
            logger.info("run %s could not be read again for a fresh link: %s", media.run.id, exc)
            return media.output
        return next(output for output in refreshed.run.outputs if output.n == media.output.n)

    async def _bring_url(self, url: str, item: MediaInput, delivery: _Delivery) -> str:
        """Hand a URL on, unless it promises a format that must be converted first."""
        if not is_odd_picture_url(url):
            return url
        async with self._fetch(url, item, delivery) as path:
            return await self._bring_file(await self._examine(path, path.parent, item, delivery), item, delivery)

    @asynccontextmanager
    async def _fetch(self, url: str, item: MediaInput, delivery: _Delivery) -> AsyncIterator[Path]:
        rules = await build_rules(delivery.account, ())
        limits = FetchRules(max_bytes=rules.max_file_bytes, trusted_origins=rules.trusted_origins)
        with tempfile.TemporaryDirectory(prefix="flowport-") as folder:
            path = Path(folder) / "fetched"
            with path.open("wb") as file:
                try:
                    await self._fetcher.fetch_to_file(url, file, rules=limits)
                except FetchError as exc:
                    problem = f"is a picture that must be converted first and could not be fetched: {exc.problem}"
                    raise build_refusal(item.argument, problem, "Give it as a PNG or JPEG.") from exc
            yield path

    async def _examine(self, path: Path, root: Path, item: MediaInput, delivery: _Delivery) -> FileMedia:
        rules = await build_rules(delivery.account, (root,))
        work = partial(examine, DiskSource(path, rules.roots), argument=item.argument, kind=item.kind, rules=rules)
        return await anyio.to_thread.run_sync(work, limiter=self._threads)

    async def _bring_file(self, media: FileMedia, item: MediaInput, delivery: _Delivery) -> str:
        _note(delivery, item, media.note)
        outcome = await self._uploads.upload(media, delivery.account, argument=item.argument)
        if not isinstance(outcome, Upload):
            return await self._inline(media, item, delivery, outcome.reason)
        delivery.uploads.append(outcome.sha256)
        _note(delivery, item, outcome.note)
        return outcome.url

    async def _inline(self, media: FileMedia, item: MediaInput, delivery: _Delivery, reason: str) -> str:
        provider = delivery.account.provider
        if provider.capabilities.inline is None:
            raise _build_unsendable(item.argument, provider.title, reason)
        wanted = Wanted(provider.capabilities.inline.types, provider.capabilities.inline.max_bytes)

        def work() -> tuple[bytes, str]:
            """Read the file, and convert it where that must be."""
            with open_unchanged(media.source, media.fingerprint, argument=item.argument) as file:
                converted = convert_if_picture(file, media, wanted, item.argument)
                if converted is not None:
                    return converted.data, converted.note
                file.seek(0)
                return file.read(wanted.max_bytes + 1), ""

        async with self._uploads.conversions:
            data, note = await anyio.to_thread.run_sync(work, limiter=self._threads)
        delivery.inline_bytes += len(data)
        _check_inline(len(data), delivery.inline_bytes, wanted, item.argument, reason)
        # What was lost was lost for want of an upload, where there is one.
        _note(
            delivery,
            item,
            f"{note}, because it could not be uploaded{_format_why(reason)}" if note and reason else note,
        )
        return base64.b64encode(data).decode("ascii")


def _check_inline(size_bytes: int, sum_bytes: int, wanted: Wanted, argument: str, reason: str) -> None:
    if size_bytes > wanted.max_bytes:
        most = format_size(wanted.max_bytes)
        problem = f"is a file of more than {most}, which could not be uploaded{_format_why(reason)}"
        raise build_refusal(argument, problem, "Give a smaller file, or an https URL of it.")
    if sum_bytes > MAX_INLINE_BYTES:
        raise _build_sum_refusal(argument)


def _build_unsendable(argument: str, title: str, reason: str) -> ArgumentsInvalid:
    why = f"it could not be uploaded there{_format_why(reason)}"
    problem = f"is a file of this computer; {title} takes web addresses alone, and {why}"
    return build_refusal(argument, problem, "Give an https URL of it.")


def _format_why(reason: str) -> str:
    return f" ({reason.removesuffix('.')})" if reason else ""


def _build_sum_refusal(argument: str) -> ArgumentsInvalid:
    problem = f"brings the files of this call to more than {MAX_INLINE_BYTES // 1_000_000} MB"
    return build_refusal(argument, problem, "Give fewer or smaller files, or https URLs of them.")


def _note(delivery: _Delivery, item: MediaInput, note: str) -> None:
    if note:
        delivery.notes.append(f"{item.argument} {note}.")
