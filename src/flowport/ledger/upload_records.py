"""What the ledger keeps of files that were uploaded, so that the same file goes up once; and who is uploading one now."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from flowport.model import Run


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that lies at a provider."""

    account_id: str
    sha256: str
    """Of the file as it was given, before any conversion."""
    url: str
    """Where the provider finds it; good until `expires_at`."""
    expires_at: float
    provider_upload_id: str
    note: str = ""
    """How it differs from what was given, as the end of a sentence; empty when it does not."""


@dataclass(frozen=True, slots=True)
class UploadClaim:
    """The wish to upload a file, or to find that somebody has."""

    account_id: str
    sha256: str
    process_id: str
    is_alive: Callable[[str], bool]
    """Whether a process is; called on the ledger's thread."""
    usable_until: float
    """How long an earlier upload must last to be of use."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The caller is to upload the file, and then to call `note_upload` or `forget_upload`."""


@dataclass(frozen=True, slots=True)
class BeingUploaded:
    """Another process that lives is uploading the file; ask again."""


ClaimOutcome: TypeAlias = Upload | Claimed | BeingUploaded


class UploadLedger(Protocol):
    """The part of a ledger that has to do with what goes into runs; its rules are those of `Ledger`."""

    async def claim_upload(self, claim: UploadClaim) -> ClaimOutcome:
        """Return the upload that is there, or say who is to make it. A process may claim again what it has claimed."""
        ...

    async def note_upload(self, upload: Upload) -> None:
        """Record a finished upload in the place of its claim."""
        ...

    async def forget_upload(self, *, account_id: str, sha256: str) -> None:
        """Give up a claim, or an upload that the provider no longer takes."""
        ...

    async def note_notes(self, run_id: str, *, notes: str) -> None:
        """Record what was done to the files of a run."""
        ...

    async def get_last_delivered(self, *, owner: str) -> Run | None:
        """Return the owner's run with outputs that was delivered last; None when there is none."""
        ...
