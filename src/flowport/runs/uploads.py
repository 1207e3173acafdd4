"""Upload a file once for all runs that need it, in any process, while it lives at the provider."""

import io
import logging
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import BinaryIO, Final, assert_never

import anyio
import anyio.to_thread

from flowport.domain.backoff import Backoff
from flowport.domain.errors import (
    DayUsedUp,
    ProviderBusy,
    ProviderError,
    ProviderRefused,
    ProviderRejected,
    StoreError,
)
from flowport.domain.models import OutputKind
from flowport.domain.text import format_size
from flowport.media.convert import Wanted, convert_picture
from flowport.media.input_files import FileMedia
from flowport.media.sources import Fingerprint, compute_fingerprint, open_unchanged
from flowport.network.account import OpenAccount
from flowport.network.causes import UploadError
from flowport.network.file_transfer import PASSING_STATUSES, SLOWEST_BYTES_PER_SECOND, Uploader
from flowport.network.ratelimit.limiter import Priority
from flowport.providers.interface import PlacedUploads, UploadedFile, UploadPlace, WholeUploads
from flowport.runtime.clock import Clock
from flowport.store.interface import Store, Workers
from flowport.store.records import BeingUploaded, ToUpload, Upload, UploadClaim

logger = logging.getLogger(__name__)

MAX_UPLOADS: Final = 4
"""Files that are sent concurrently, over all runs."""

MARGIN_SECONDS: Final = 1800.0
"""How long an upload must still live to be reused: the run may be queued here, and then at its provider."""

CLOSED_SECONDS: Final = 24 * 3600.0
"""How long an endpoint that is missing, or refuses a type, is not tried again."""

_ASK_AGAIN_SECONDS: Final = 0.5
_MOST_QUESTIONS: Final = 1200
"""Ten minutes, plus the time of the file on a slow line: a suspended process keeps its claim, and must not block our runs."""
FAILED_UPLOAD: Final = Backoff(2.0, 1.0, tries=3)
"""The provider may ask for another pause."""
_ENDPOINT_STATUSES: Final = frozenset({401, 402, 403, 404, 405, 410})
"""Refusals that concern the account or the endpoint; any other concerns the requested type."""
_ANY_TYPE: Final = ""
_SAME_TYPES: Final = {"video/x-m4v": "video/mp4"}
"""Older names of types."""


@dataclass(frozen=True, slots=True)
class NotUploaded:
    """Why a file was not uploaded; it may still be sent inside the request."""

    reason: str
    """Ends a sentence; empty when nothing failed and such files are not accepted."""


@dataclass(frozen=True, slots=True)
class _Closure:
    """An endpoint of an account that is missing, or refuses a type."""

    until: float
    reason: str
    """The error of the file that showed it."""


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent of a file."""

    file: BinaryIO = field(repr=False)
    mime_type: str
    fingerprint: Fingerprint
    note: str


class FileUploads:
    """Uploads files and records where they are; one for all runs of this process."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        process: Workers,
        uploader: Uploader,
        *,
        threads: anyio.CapacityLimiter,
    ) -> None:
        self._store = store
        self._clock = clock
        self._process = process
        self._uploader = uploader
        self._threads = threads
        self._places = anyio.CapacityLimiter(MAX_UPLOADS)
        self._turns: dict[tuple[str, str], anyio.Lock] = {}
        self._closures: dict[tuple[str, str], _Closure] = {}
        self._conversions = anyio.CapacityLimiter(1)
        """One picture at a time: the memory limit is that of the process."""

    async def upload(self, media: FileMedia, account: OpenAccount, *, argument: str) -> Upload | NotUploaded:
        """Return where the file is at the provider, uploaded if it was not there.

        Raises:
            ArgumentsInvalid: The file cannot be read any more, has changed, or cannot be converted.
            StoreError: The store cannot be read or written.
        """
        accepted = account.provider.capabilities.upload
        is_picture = media.sniffed.kind is OutputKind.IMAGE
        # A picture is converted to an accepted type.
        if accepted is None or not accepted.types or not (is_picture or _get_type(media) in accepted.types):
            return NotUploaded("")
        wanted = Wanted(accepted.types, accepted.max_bytes)
        if (closed := self._find_closure(account, _ANY_TYPE if is_picture else _get_type(media))) is not None:
            return closed
        if not is_picture and media.fingerprint.size_bytes > wanted.max_bytes:
            # A picture is made smaller instead.
            return NotUploaded(f"it is larger than {format_size(wanted.max_bytes)}")
        key = (account.account.id, media.fingerprint.sha256)
        turn = self._turns.setdefault(key, anyio.Lock())
        try:
            async with turn:
                found = await self._claim(*key, media.fingerprint.size_bytes)
                if isinstance(found, Upload) and not await self._is_there(found, account):
                    await self.forget(account, found.sha256)
                    found = await self._claim(*key, media.fingerprint.size_bytes)
                return found or await self._fill(media, account, wanted, argument)
        finally:
            if not turn.locked() and not turn.statistics().tasks_waiting:
                self._turns.pop(key, None)

    def _find_closure(self, account: OpenAccount, mime_type: str) -> NotUploaded | None:
        """Return why a file of a type is not tried; the type of a picture is known once it was converted."""
        for closed_type in (_ANY_TYPE, mime_type):
            closure = self._closures.get((account.account.id, closed_type))
            if closure is not None and self._clock.monotonic() < closure.until:
                return NotUploaded(f"not tried, within a day of an earlier refusal: {closure.reason}")
        return None

    async def forget(self, account: OpenAccount, sha256: str, *, process_id: str = "") -> None:
        """Forget an upload that the provider may no longer have; or the claim of this process alone."""
        try:
            await self._store.forget_upload(account_id=account.account.id, sha256=sha256, process_id=process_id)
        except StoreError as exc:
            logger.warning("an unusable upload could not be removed from the record: %s", exc)

    async def _is_there(self, upload: Upload, account: OpenAccount) -> bool:
        """Return whether the provider still has an upload; True where that is unknown."""
        try:
            return await account.has_upload(upload.provider_upload_id)
        except ProviderError as exc:
            logger.info("an upload could not be checked: %s", exc)
            return True

    async def _claim(self, account_id: str, sha256: str, size_bytes: int) -> Upload | NotUploaded | None:
        """Return an existing upload, or None once this process may make it."""
        sending_seconds, dead_process_id = size_bytes // SLOWEST_BYTES_PER_SECOND, ""
        for _ in range(_MOST_QUESTIONS + int(sending_seconds / _ASK_AGAIN_SECONDS)):
            usable_until = self._clock.now() + MARGIN_SECONDS
            claim = UploadClaim(account_id, sha256, self._process.process_id, usable_until, dead_process_id)
            match await self._store.claim_upload(claim):
                case Upload() as upload:
                    return upload
                case ToUpload():
                    return None
                case BeingUploaded(process_id) if self._process.is_alive(process_id):
                    await self._clock.sleep(_ASK_AGAIN_SECONDS)
                case BeingUploaded(dead_process_id):
                    pass
                case _ as never:
                    assert_never(never)
        return NotUploaded("another program has not finished uploading it")

    async def _fill(
        self, media: FileMedia, account: OpenAccount, wanted: Wanted, argument: str
    ) -> Upload | NotUploaded:
        """Make the upload that this process has claimed, or release the claim."""
        is_kept = False
        try:
            async with self._places:
                upload = await self._send_with_retries(media, account, wanted, argument)
            if isinstance(upload, Upload):
                await self._store.note_upload(upload)
                is_kept = True
        finally:
            if not is_kept:
                # Shielded: others wait for this claim as long as we live.
                with anyio.CancelScope(shield=True):
                    await self.forget(account, media.fingerprint.sha256, process_id=self._process.process_id)
        return upload

    async def _send_with_retries(
        self, media: FileMedia, account: OpenAccount, wanted: Wanted, argument: str
    ) -> Upload | NotUploaded:
        body = await self.open_body(media, wanted, argument=argument)
        with body.file:
            if (closed := self._find_closure(account, body.mime_type)) is not None:
                return closed
            failures = 0
            while True:
                try:
                    place = await self._send(body, account)
                except (ProviderError, UploadError) as exc:
                    logger.info("a file was not uploaded: %s", exc)
                    failures += 1
                    if not await self._can_try_again(exc, account, body.mime_type, failures):
                        return NotUploaded(str(exc))
                else:
                    return Upload(
                        account_id=account.account.id,
                        sha256=media.fingerprint.sha256,
                        url=place.asset_url,
                        expires_at=self._clock.now() + place.asset_seconds,
                        provider_upload_id=place.provider_upload_id,
                        note=body.note,
                    )

    async def open_body(self, media: FileMedia, wanted: Wanted, *, argument: str) -> Body:
        """Return what is sent of a file, open: the file itself, or a picture converted to what is wanted.

        Raises:
            ArgumentsInvalid: The file cannot be read any more, has changed, or cannot be converted.
        """
        async with self._conversions:
            work = partial(_open_body, media, wanted, argument)
            return await anyio.to_thread.run_sync(work, limiter=self._threads)

    async def _send(self, body: Body, account: OpenAccount) -> UploadPlace | UploadedFile:
        """Send the file as the provider accepts it: whole, or to a place that it names."""
        match account.provider.capabilities.upload:
            case PlacedUploads(request_place=request_place):
                place = await account.converse(request_place(body.mime_type), Priority.START)
                origins = await account.fetch_file_origins()
                await self._uploader.put(place, body.file, body.fingerprint, trusted_origins=origins)
                return place
            case WholeUploads(send=send):
                data = await anyio.to_thread.run_sync(body.file.read, limiter=self._threads)
                return await account.converse(send(body.mime_type, data), Priority.START)
            case None:
                raise UploadError(account.provider.title, "it takes none")
            case other:
                assert_never(other)

    async def _can_try_again(
        self, error: ProviderError | UploadError, account: OpenAccount, mime_type: str, failures: int
    ) -> bool:
        """Pause and return whether to try again; a refused endpoint or type is remembered."""
        closed_type = _find_refused_type(error, mime_type)
        if closed_type is not None:
            closure = _Closure(self._clock.monotonic() + CLOSED_SECONDS, str(error))
            self._closures[account.account.id, closed_type] = closure
            return False
        is_permanent = isinstance(error, DayUsedUp) or (isinstance(error, UploadError) and error.is_permanent)
        pause = FAILED_UPLOAD.get_pause(failures)
        if pause is None or is_permanent:
            return False
        asked = error.retry_after_seconds if isinstance(error, ProviderBusy) else None
        await self._clock.sleep(pause if asked is None else asked)
        return True


def _open_body(media: FileMedia, wanted: Wanted, argument: str) -> Body:
    with ExitStack() as closing:
        file = closing.enter_context(open_unchanged(media.source, media.fingerprint, argument=argument))
        is_picture = media.sniffed.kind is OutputKind.IMAGE
        converted = convert_picture(file, media.sniffed, wanted, argument=argument) if is_picture else None
        if converted is None:
            file.seek(0)
            closing.pop_all()
            return Body(file, _get_type(media), media.fingerprint, "")
    data = io.BytesIO(converted.data)
    fingerprint = compute_fingerprint(data, argument=argument, max_bytes=len(converted.data))
    return Body(data, converted.mime_type, fingerprint, converted.note)


def _find_refused_type(error: ProviderError | UploadError, mime_type: str) -> str | None:
    """Return the type that a refusal concerns, `_ANY_TYPE` for all; None for any other error."""
    if isinstance(error, UploadError):
        # The other refusals of a place are about this file or its signature.
        return mime_type if error.status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE else None
    if not isinstance(error, ProviderRefused | ProviderRejected) or error.status in PASSING_STATUSES:
        return None
    return _ANY_TYPE if error.status in _ENDPOINT_STATUSES else mime_type


def _get_type(media: FileMedia) -> str:
    """Return the MIME type to upload a file as."""
    return _SAME_TYPES.get(media.sniffed.mime_type, media.sniffed.mime_type)
