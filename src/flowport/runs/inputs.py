"""Prepare the inputs of an accepted run: give its files to the provider in a form that it accepts.

A result of the same account is sent by its id, else by its link, refreshed if needed, else its saved copy like any file:
uploaded where the provider accepts uploads, else inside the request. Nothing here can cost money; when a file cannot be
sent the run ends unsent.
"""

import base64
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path
from typing import Final, assert_never

import anyio
import anyio.to_thread

from flowport.domain.call_errors import build_refusal
from flowport.domain.errors import ProviderError
from flowport.domain.models import JsonValue, Output, Run
from flowport.domain.run_events import InputsPrepared
from flowport.domain.text import format_size
from flowport.media.convert import Wanted, is_odd_picture_url
from flowport.media.input_files import FileMedia, MediaRules, UrlMedia, examine
from flowport.media.sources import DiskSource, HeldSource, Source, parse_data_uri
from flowport.network.account import OpenAccount
from flowport.network.causes import FetchError
from flowport.network.file_transfer import Fetcher, FetchRules
from flowport.runs.downloads import LinkRefresher
from flowport.runs.output_file import SavingRules, build_folder_warning
from flowport.runs.prepare import MediaInput, PreparedCall, build_rules
from flowport.runs.references import CreationMedia, InputMedia, OutputMedia
from flowport.runs.uploads import FileUploads
from flowport.runtime.clock import Clock
from flowport.runtime.file_systems import find_folder_problem
from flowport.store.interface import Store
from flowport.store.records import Upload

logger = logging.getLogger(__name__)

MAX_INLINE_BYTES: Final = 30_000_000
"""All files that go inside one request; they lie in memory as bytes and as base64."""

SANDBOX_NOTE: Final = "The sandbox draws and generates nothing: a text gets a landscape, whatever it asks for. Its credits are play money."
"""Part of the notes of each of its runs, so that no provider is judged by it."""

FOLDER_SECONDS: Final = 5.0
"""How long the check of the folder for results may take; an unreachable share must not delay a start."""

FOLDER_RECHECK_SECONDS: Final = 2.0
"""How long the folder for results counts as usable after a check: many runs may start at once."""

LINK_MARGIN_SECONDS: Final = 900.0
"""How long a link must still live to be passed on."""


@dataclass(frozen=True, slots=True)
class PreparedInputs:
    """What a run is started with."""

    inputs: Mapping[str, JsonValue] = field(repr=False)
    """By run key; files are ids, addresses or base64."""
    uploads: tuple[str, ...] = ()
    """The digests of the uploaded files among them."""
    notes: str = ""
    """What was done to the files, as sentences."""


@dataclass(slots=True)
class _Preparation:
    """The inputs of one run while they are prepared."""

    account: OpenAccount
    notes: list[str] = field(default_factory=list)
    uploads: list[str] = field(default_factory=list)
    inline_bytes: int = 0

    def note(self, item: MediaInput, note: str) -> None:
        """Add what was done to a file; nothing for an empty note."""
        if note:
            self.notes.append(f"{item.argument} {note}.")


class InputPreparer:
    """Gives the files of runs to their providers."""

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
            results: Where the run's outputs will be saved; None skips the check of that folder.
        """
        self._results = results
        self._folder_usable_at = -inf
        """When the folder for results was last found to take files."""
        self._store = store
        self._clock = clock
        self._uploads = uploads
        self._fetcher = fetcher
        self._link_refresher = link_refresher
        self._accounts = accounts
        self._threads = threads

    async def prepare(self, run: Run, call: PreparedCall, account: OpenAccount) -> PreparedInputs:
        """Return what the run is started with, after its files were sent; changes to them are recorded as notes.

        Raises:
            ArgumentsInvalid: A file cannot be sent; nothing was sent that could cost anything.
            StoreError: The store cannot be read or written.
        """
        job = _Preparation(account)
        # Before anything is paid, so that the user can still choose another folder.
        job.notes.extend(await self._check_results_folder())
        values: dict[str, JsonValue] = {}
        for item in call.media:
            sent: list[JsonValue] = [await self._send(one, item, job) for one in item.media]
            values[item.run_key] = sent if item.is_list else sent[0]
        if account.is_sandbox:
            job.notes.append(SANDBOX_NOTE)
        notes = " ".join(dict.fromkeys(job.notes))
        if notes:
            await self._store.record(run.id, InputsPrepared(notes), run.lease)
        return PreparedInputs({**call.inputs, **values}, tuple(job.uploads), notes)

    async def _check_results_folder(self) -> list[str]:
        """Return why the outputs could not be saved, as a sentence; empty when they can."""
        if self._results is None or not self._results.is_wanted:
            return []
        folder, reason, now = self._results.folder, "", self._clock.monotonic()
        if now - self._folder_usable_at < FOLDER_RECHECK_SECONDS:
            return []
        with anyio.move_on_after(FOLDER_SECONDS):
            reason = await anyio.to_thread.run_sync(
                find_folder_problem, folder, limiter=self._threads, abandon_on_cancel=True
            )
            if not reason:
                self._folder_usable_at = now
        return [build_folder_warning(folder, reason)] if reason else []

    async def forget(self, prepared: PreparedInputs, account: OpenAccount) -> None:
        """Forget the uploads of refused inputs: the provider may no longer have one of them."""
        for sha256 in prepared.uploads:
            await self._uploads.forget(account, sha256)

    async def _send(self, media: InputMedia, item: MediaInput, job: _Preparation) -> str:
        match media:
            case CreationMedia():
                return media.id
            case UrlMedia():
                return await self._send_url(media.url, item, job)
            case OutputMedia():
                return await self._send_output(media, item, job)
            case FileMedia():
                return await self._send_file(media, item, job)
            case _:
                assert_never(media)

    async def _send_output(self, media: OutputMedia, item: MediaInput, job: _Preparation) -> str:
        output, account = media.output, job.account
        if account.is_sandbox and output.saved_path and await anyio.Path(output.saved_path).is_file():
            # The sandbox forgets old results, and fetches nothing from the web.
            return await self._send_path(Path(output.saved_path), item, job)
        is_own = media.run.account_id == account.account.id and account.provider.capabilities.is_output_id
        if is_own and output.provider_output_id:
            return output.provider_output_id
        output = await self._refresh_links(media)
        url = output.url or ""
        if url.startswith("https:") and self._is_fresh(output) and not account.is_sandbox:
            return url
        if url and not output.link:
            # The bytes came inside the provider's answer and were not saved.
            rules = await build_rules(account, ())
            parse = partial(parse_data_uri, url, argument=item.argument, max_bytes=rules.max_inline_bytes)
            data = await anyio.to_thread.run_sync(parse, limiter=self._threads)
            return await self._send_source(HeldSource(data), item, job, rules)
        if not output.saved_path:
            problem = f"names output {output.n} of {media.run.id}, whose link has expired and which was not saved"
            raise build_refusal(item.argument, problem, "Give another file, or run that app again.")
        return await self._send_path(Path(output.saved_path), item, job)

    def _is_fresh(self, output: Output) -> bool:
        return output.expires_at is None or output.expires_at > self._clock.now() + LINK_MARGIN_SECONDS

    async def _refresh_links(self, media: OutputMedia) -> Output:
        """Return the output, with a fresh link if its own has expired and its provider gives another."""
        account = self._accounts.get(media.run.account_id)
        if account is None or not media.output.url or self._is_fresh(media.output):
            return media.output
        try:
            refreshed = await self._link_refresher.refresh_links(media.run, account, {media.output.n})
        except ProviderError as exc:
            logger.info("run %s could not be read again for a fresh link: %s", media.run.id, exc)
            return media.output
        return next(output for output in refreshed.run.outputs if output.n == media.output.n)

    async def _send_url(self, url: str, item: MediaInput, job: _Preparation) -> str:
        """Pass a URL on, unless it ends like a format that must be converted first."""
        if not is_odd_picture_url(url):
            return url
        rules = await build_rules(job.account, ())
        limits = FetchRules(max_bytes=rules.max_file_bytes, trusted_origins=rules.trusted_origins)
        with tempfile.TemporaryDirectory(prefix="flowport-") as folder:
            path = Path(folder) / "fetched"
            with path.open("wb") as file:
                try:
                    await self._fetcher.fetch_to_file(url, file, rules=limits)
                except FetchError as exc:
                    problem = f"is a picture that must be converted first and could not be fetched: {exc.problem}"
                    raise build_refusal(item.argument, problem, "Give it as a PNG or JPEG.") from exc
            return await self._send_path(path, item, job)

    async def _send_path(self, path: Path, item: MediaInput, job: _Preparation) -> str:
        rules = await build_rules(job.account, (path.parent,))
        return await self._send_source(DiskSource(path, rules.roots), item, job, rules)

    async def _send_source(self, source: Source, item: MediaInput, job: _Preparation, rules: MediaRules) -> str:
        """Check a file as if the call had named it, and send it."""
        work = partial(examine, source, argument=item.argument, kind=item.kind, rules=rules)
        return await self._send_file(await anyio.to_thread.run_sync(work, limiter=self._threads), item, job)

    async def _send_file(self, media: FileMedia, item: MediaInput, job: _Preparation) -> str:
        job.note(item, media.note)
        outcome = await self._uploads.upload(media, job.account, argument=item.argument)
        if isinstance(outcome, Upload):
            job.uploads.append(outcome.sha256)
            job.note(item, outcome.note)
            return outcome.url
        return await self._inline(media, item, job, f" ({outcome.reason.removesuffix('.')})" if outcome.reason else "")

    async def _inline(self, media: FileMedia, item: MediaInput, job: _Preparation, why: str) -> str:
        """Return a file as base64 for the request. `why` says in brackets why it was not uploaded."""
        provider = job.account.provider
        inline = provider.capabilities.inline
        if inline is None:
            cause = f"it could not be uploaded there{why}"
            problem = f"is a file of this computer; {provider.title} takes web addresses alone, and {cause}"
            raise build_refusal(item.argument, problem, "Give an https URL of it.")
        body = await self._uploads.open_body(media, Wanted(inline.types, inline.max_bytes), argument=item.argument)
        with body.file:
            data = await anyio.to_thread.run_sync(body.file.read, inline.max_bytes + 1, limiter=self._threads)
        job.inline_bytes += len(data)
        if len(data) > inline.max_bytes:
            problem = f"is a file of more than {format_size(inline.max_bytes)}, which could not be uploaded{why}"
            raise build_refusal(item.argument, problem, "Give a smaller file, or an https URL of it.")
        if job.inline_bytes > MAX_INLINE_BYTES:
            problem = f"brings the files of this call to more than {MAX_INLINE_BYTES // 1_000_000} MB"
            raise build_refusal(item.argument, problem, "Give fewer or smaller files, or https URLs of them.")
        # What the conversion lost was lost because there was no upload, where the provider accepts them.
        job.note(item, f"{body.note}, because it could not be uploaded{why}" if body.note and why else body.note)
        return base64.b64encode(data).decode("ascii")
