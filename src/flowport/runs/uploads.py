"""Upload a file once for all runs that want it, in whatever process, for as long as it lives at the provider."""

import io
import logging
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import BinaryIO, Final, assert_never

import anyio
import anyio.to_thread

from flowport.domain.errors import (
    DayUsedUp,
    ProviderBusy,
    ProviderError,
    ProviderRefused,
    ProviderRejected,
    StoreError,
)
from flowport.domain.models import OutputKind
from flowport.media.convert import Converted, Wanted, convert_picture
from flowport.media.errors import format_size
from flowport.media.input_files import FileMedia
from flowport.media.local_files import Fingerprint, compute_fingerprint, open_unchanged
from flowport.network.account import OpenAccount
from flowport.network.causes import UploadError
from flowport.network.ratelimit.limiter import Priority
from flowport.network.upload import PASSING_STATUSES, SLOWEST_BYTES_PER_SECOND, Uploader
from flowport.providers.interface import PlacedUploads, UploadedFile, UploadPlace, WholeUploads
from flowport.runtime.clock import Clock
from flowport.store.interface import Store
from flowport.store.records import BeingUploaded, ToUpload, Upload, UploadClaim
from flowport.store.workers import Workers

logger = logging.getLogger(__name__)

MAX_UPLOADS: Final = 4
"""Files that are sent side by side, over all runs."""

MAX_TRIES: Final = 3
MARGIN_SECONDS: Final = 1800.0
"""How long an upload must still live to be used again: the run may wait for its turn, and then for its provider."""

CLOSED_SECONDS: Final = 24 * 3600.0
"""How long an endpoint that is missing, or refuses a type, is not asked again."""

_ASK_AGAIN_SECONDS: Final = 0.5
_MOST_QUESTIONS: Final = 1200
"""Ten minutes, and the time that the file takes on a slow line: a program that was stopped in the middle holds its claim, and must not hold our runs."""
_PAUSE_SECONDS: Final = 2.0
_ENDPOINT_STATUSES: Final = frozenset({401, 402, 403, 404, 405, 410})
"""Of refusals that are about the account or the endpoint; any other is about the type that was asked for."""
_ANY_TYPE: Final = ""
_SAME_TYPES: Final = {"video/x-m4v": "video/mp4"}
"""Types that are another one under an earlier name."""


@dataclass(frozen=True, slots=True)
class NotUploaded:
    """Why a file did not go up; it may still go inside the request."""

    reason: str
    """Ends a sentence; empty when nothing failed and there is just no place for such a file."""


@dataclass(frozen=True, slots=True)
class _Closure:
    """That an account's endpoint is missing, or refuses a type."""

    until: float
    reason: str
    """Why, as it was said of the file with which that was found out."""


@dataclass(frozen=True, slots=True)
class _Body:
    """What is sent."""

    file: BinaryIO = field(repr=False)
    mime_type: str
    fingerprint: Fingerprint
    note: str


class FileUploads:
    """Uploads files and remembers which lie where; one for all runs of this process."""

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
        self.conversions = anyio.CapacityLimiter(1)
        """One picture at a time, so that the memory of one is the memory of all."""

    async def upload(self, media: FileMedia, account: OpenAccount, *, argument: str) -> Upload | NotUploaded:
        """Return where the file lies at the provider, having brought it there if it was not.

        Raises:
            ArgumentsInvalid: The file cannot be read any more, has changed, or cannot be converted.
            StoreError: The store cannot be read or written.
        """
        accepted = account.provider.capabilities.upload
        if accepted is None or not _takes(accepted.types, media):
            return NotUploaded("")
        is_picture = media.sniffed.kind is OutputKind.IMAGE
        if (closed := self._find_closure(account, _ANY_TYPE if is_picture else _get_type(media))) is not None:
            return closed
        most = accepted.max_bytes
        if not is_picture and media.fingerprint.size_bytes > most:
            # A picture is made smaller instead.
            return NotUploaded(f"it is larger than {format_size(most)}")
        key = (account.account.id, media.fingerprint.sha256)
        turn = self._turns.setdefault(key, anyio.Lock())
        try:
            async with turn:
                found = await self._claim(*key, media.fingerprint.size_bytes)
                if isinstance(found, Upload) and not await self._is_there(found, account):
                    await self.forget(account, found.sha256)
                    found = await self._claim(*key, media.fingerprint.size_bytes)
                return found or await self._fill(media, account, argument)
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

    async def forget(self, account: OpenAccount, sha256: str) -> None:
        """Forget an upload that the provider may no longer have."""
        try:
            await self._store.forget_upload(account_id=account.account.id, sha256=sha256)
        except StoreError as exc:
            logger.warning("that an upload is of no use could not be noted: %s", exc)

    async def _is_there(self, upload: Upload, account: OpenAccount) -> bool:
        """Tell whether the provider still has an upload, as far as that can be asked."""
        try:
            return await account.has_upload(upload.provider_upload_id)
        except ProviderError as exc:
            logger.info("whether an upload is still there is not known: %s", exc)
            return True

    async def _claim(self, account_id: str, sha256: str, size_bytes: int) -> Upload | NotUploaded | None:
        """Return an upload that is there, or None once this process is to make it."""
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

    async def _fill(self, media: FileMedia, account: OpenAccount, argument: str) -> Upload | NotUploaded:
        """Make the upload that this process has claimed, or give the claim up."""
        is_kept = False
        try:
            async with self._places:
                upload = await self._bring(media, account, argument)
            if isinstance(upload, Upload):
                await self._store.note_upload(upload)
                is_kept = True
        finally:
            if not is_kept:
                # Shielded: others wait for this claim as long as we live.
                with anyio.CancelScope(shield=True):
                    await self.forget(account, media.fingerprint.sha256)
        return upload

    async def _bring(self, media: FileMedia, account: OpenAccount, argument: str) -> Upload | NotUploaded:
        body = await self._open(media, account, argument)
        try:
            if (closed := self._find_closure(account, body.mime_type)) is not None:
                return closed
            for n in range(1, MAX_TRIES + 1):
                try:
                    place = await self._send(body, account)
                except (ProviderError, UploadError) as exc:
                    logger.info("a file was not uploaded: %s", exc)
                    if not await self._can_try_again(exc, account, body.mime_type, n):
                        return NotUploaded(str(exc))
                else:
                    return self._build_upload(place, media, account, body.note)
            raise AssertionError("the last try is never tried again")
        finally:
            body.file.close()

    async def _open(self, media: FileMedia, account: OpenAccount, argument: str) -> _Body:
        accepted = account.provider.capabilities.upload
        if accepted is None:
            raise AssertionError("a file is opened only for a provider that takes uploads")
        wanted = Wanted(accepted.types, accepted.max_bytes)

        def work() -> _Body:
            """Open the file, and convert it where that must be."""
            file = open_unchanged(media.source, media.fingerprint, argument=argument)
            try:
                converted = convert_if_picture(file, media, wanted, argument)
            except BaseException:
                file.close()
                raise
            if converted is None:
                return _Body(file, _get_type(media), media.fingerprint, "")
            file.close()
            data = io.BytesIO(converted.data)
            fingerprint = compute_fingerprint(data, argument=argument, max_bytes=wanted.max_bytes)
            return _Body(data, converted.mime_type, fingerprint, converted.note)

        async with self.conversions:
            return await anyio.to_thread.run_sync(work, limiter=self._threads)

    async def _send(self, body: _Body, account: OpenAccount) -> UploadPlace | UploadedFile:
        """Send the file as the provider takes it: whole, or to a place that it names."""
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
        self, error: ProviderError | UploadError, account: OpenAccount, mime_type: str, tries: int
    ) -> bool:
        """Tell whether it is worth another try, after a pause; an endpoint or a type that is refused is remembered."""
        closed_type = _find_refused_type(error, mime_type)
        if closed_type is not None:
            closure = _Closure(self._clock.monotonic() + CLOSED_SECONDS, str(error))
            self._closures[account.account.id, closed_type] = closure
            return False
        is_permanent = isinstance(error, DayUsedUp) or (isinstance(error, UploadError) and error.is_permanent)
        if tries == MAX_TRIES or is_permanent:
            return False
        asked = error.retry_after_seconds if isinstance(error, ProviderBusy) else None
        await self._clock.sleep(_PAUSE_SECONDS if asked is None else asked)
        return True

    def _build_upload(
        self, place: UploadPlace | UploadedFile, media: FileMedia, account: OpenAccount, note: str
    ) -> Upload:
        return Upload(
            account_id=account.account.id,
            sha256=media.fingerprint.sha256,
            url=place.asset_url,
            expires_at=self._clock.now() + place.asset_seconds,
            provider_upload_id=place.provider_upload_id,
            note=note,
        )


def _find_refused_type(error: ProviderError | UploadError, mime_type: str) -> str | None:
    """Return the type that a refusal is about, `_ANY_TYPE` for all of them; None when it is no such refusal."""
    if isinstance(error, UploadError):
        # The other refusals of a place are about this file or its signature.
        return mime_type if error.status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE else None
    if not isinstance(error, ProviderRefused | ProviderRejected) or error.status in PASSING_STATUSES:
        return None
    return _ANY_TYPE if error.status in _ENDPOINT_STATUSES else mime_type


def _takes(types: frozenset[str], media: FileMedia) -> bool:
    """Check whether uploads of this kind are accepted; a picture is converted to an accepted type."""
    return bool(types) and (media.sniffed.kind is OutputKind.IMAGE or _get_type(media) in types)


def _get_type(media: FileMedia) -> str:
    """Return the type that a place is asked for."""
    return _SAME_TYPES.get(media.sniffed.mime_type, media.sniffed.mime_type)


def convert_if_picture(file: BinaryIO, media: FileMedia, wanted: Wanted, argument: str) -> Converted | None:
    """Return a picture in the form that is wanted; None when the file itself will do, or is no picture."""
    if media.sniffed.kind is not OutputKind.IMAGE:
        return None
    return convert_picture(file, media.sniffed, wanted, argument=argument)
