"""Names and safe writing of saved outputs.

A file is written under a temporary name beside its final one and renamed only when it is complete and synced. The file
system claims the final name, so two writers never overwrite each other or an older file: the second gets a number, unless
its bytes are those of the file that is there, left by a process that died before it recorded it. Blocks on the disk.
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import secrets
import stat
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

from flowport.domain.models import LOCAL_OWNER
from flowport.runtime.file_systems import move_to_free_name, sync_file, sync_folder

MAX_NAME_CHARACTERS: Final = 100
"""Longest name of a saved output, extension included."""

_MAX_STEM_BYTES: Final = 120
"""Of a name in another script, whose letters take several bytes each; file systems count bytes."""

_OWNERS: Final = "people"
"""The folder that holds the folders of owners."""
_MAX_OWNER_CHARACTERS: Final = 40
_OWNER_DIGEST_CHARACTERS: Final = 20

_COMPARED_BYTES: Final = 1024**2
_MAX_TRIES: Final = 10_000
_MAX_EXTENSION_CHARACTERS: Final = 10
_SHORT_ID_CHARACTERS: Final = 10
# Those that belong to no script and make no letter of their own; the vowel signs of many scripts are marks too.
_ACCENTS: Final = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]")
_UNSAFE: Final = re.compile(r"[^a-z0-9_]+")
_FOUND_FLAGS: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def build_owner_folder(folder: Path, owner: str) -> Path:
    """Return the folder of an owner's files: the folder itself for the person at this computer, else one of the owner's own.

    Its name holds letters of the owner for people who look for it, and a digest, so that no two owners share one.
    """
    if owner == LOCAL_OWNER:
        return folder
    digest = hashlib.sha256(owner.encode(errors="surrogatepass")).hexdigest()[:_OWNER_DIGEST_CHARACTERS]
    stem = _make_safe(owner)[:_MAX_OWNER_CHARACTERS].strip("_")
    return folder / _OWNERS / (f"{stem}-{digest}" if stem else digest)


def build_output_path(
    folder: Path, *, date: str, tool_name: str, n: int, run_id: str, extension: str, app_name: str = ""
) -> Path:
    """Return `folder/date/<tool>-<n>-<short id>.<extension>` with every part made safe, whatever it holds.

    Args:
        app_name: Stands for the tool where it holds letters that a tool's name cannot: people find a file by them.
        date: As `2026-11-22`.
        n: The output's place in its run, from 1.
        run_id: Its last letters become the short id.
        extension: Without the dot; `bin` stands in for one that is empty after cleaning.
    """
    suffix = _make_safe(extension)[:_MAX_EXTENSION_CHARACTERS] or "bin"
    return _build_path(folder, date, _choose_stem(tool_name, app_name), f"-{n}-{_shorten_id(run_id)}.{suffix}")


def build_batch_path(folder: Path, *, date: str, tool_name: str, batch_id: str, app_name: str = "") -> Path:
    """Return `folder/date/<tool>-batch-<short id>.csv`, as safe as `build_output_path`."""
    return _build_path(folder, date, _choose_stem(tool_name, app_name), f"-batch-{_shorten_id(batch_id)}.csv")


def _choose_stem(tool_name: str, app_name: str) -> str:
    """Return the letters of an app's name where they are not all Latin, else the tool's name, made safe."""
    letters = _ACCENTS.sub("", unicodedata.normalize("NFC", app_name).lower())
    kept = "".join(c if c.isalnum() or unicodedata.category(c).startswith("M") else "_" for c in letters)
    stem = re.sub("_+", "_", kept).strip("_")
    if stem.isascii() or not stem[0].isalnum():
        return _make_safe(tool_name)
    try:
        while len(os.fsencode(stem)) > _MAX_STEM_BYTES:
            stem = stem[:-1].rstrip("_")
    except UnicodeEncodeError:  # a system whose file names are ASCII
        return _make_safe(tool_name)
    return stem


def _build_path(folder: Path, date: str, stem: str, tail: str) -> Path:
    tool = stem[: MAX_NAME_CHARACTERS - len(tail)] or "output"
    # With its tail no name is that of a Windows device (`con`, `nul`), which would be found in every folder.
    return folder / (re.sub(r"[^0-9-]+", "", date).strip("-") or "undated") / f"{tool}{tail}"


def _shorten_id(run_id: str) -> str:
    return _make_safe(run_id)[-_SHORT_ID_CHARACTERS:].strip("_") or "run"


def _make_safe(text: str) -> str:
    return _UNSAFE.sub("_", text.lower()).strip("_")


@dataclass(frozen=True, slots=True)
class Published:
    """Where a file and its record are."""

    path: Path
    sidecar: Path | None
    """None when the record could not be written."""
    sidecar_problem: str = ""


class PartialFile:
    """A file that is being written and has no final name yet.

    As a context manager it removes what was not published, whatever ended the block.
    """

    def __init__(self, final: Path, writer: str = "") -> None:
        self._final = final
        self._writer = writer
        # `sweep_partials` matches these names.
        signed = f"{writer}.{secrets.token_hex(4)}" if writer else secrets.token_hex(4)
        self._path = final.with_name(f".{final.name}.{signed}.part")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        self.file: BinaryIO = os.fdopen(os.open(self._path, flags, 0o600), "w+b")
        """Where to write."""
        self._is_published = False

    def publish(self, final: Path | None = None) -> Path:
        """Sync the file, give it its final name and return that name, which has a number when the requested one is taken.

        Args:
            final: Another name in the same folder, for when the type showed only in the bytes; None keeps the first.

        Raises:
            OSError: The disk is full or the folder has gone; the partial file is removed when the block ends.
        """
        path = self.take_name(final)
        sync_folder(path.parent)
        return path

    def publish_with_sidecar(self, final: Path, record: Mapping[str, Any]) -> "Published":
        """Do as `publish` does and write the record beside the file, as `<file>.json`; both names are synced together.

        If a file with the same bytes already has the name, it is kept with its record and this one is removed.

        Raises:
            OSError: The file itself could not be published.
        """
        text = json.dumps(record, ensure_ascii=False, indent=2) + "\n"
        self._close_synced()
        path, is_resumed = _claim_name(self._path, final, can_resume=True)
        self._is_published = True
        sidecar = path.with_name(f"{path.name}.json")
        try:
            if is_resumed and sidecar.is_file() and not sidecar.is_symlink():
                return Published(path, sidecar)
            with open_partial(sidecar, self._writer) as partial:
                partial.file.write(text.encode())
                return Published(path, partial.take_name())
        except OSError as exc:
            return Published(path, None, exc.strerror or type(exc).__name__)
        finally:
            sync_folder(path.parent)

    def take_name(self, final: Path | None = None) -> Path:
        """Do as `publish` does, but leave it to the caller to sync the folder."""
        self._close_synced()
        path, _ = _claim_name(self._path, final or self._final)
        self._is_published = True
        return path

    def discard(self) -> None:
        """Close the file and remove it, unless it was published."""
        if self._is_published:
            return
        with contextlib.suppress(OSError):
            # Closing flushes, and on a full disk that fails again; the descriptor is closed all the same.
            self.file.close()
        self._path.unlink(missing_ok=True)

    def _close_synced(self) -> None:
        self.file.flush()
        sync_file(self.file.fileno())
        self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


def open_partial(final: Path, writer: str = "") -> PartialFile:
    """Return a new file beside the final place, readable by this user alone; missing folders are made.

    Args:
        writer: The id of the process that writes, so that another can find out whether the file was left behind.

    Raises:
        OSError: The folder cannot be made or written to.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    return PartialFile(final, writer)


def _claim_name(partial: Path, requested: Path, *, can_resume: bool = False) -> tuple[Path, bool]:
    """Give the partial file the requested name, or that name with a number, and return it.

    The second is whether a file with the same bytes had it and was kept: the partial one is removed.
    """
    for number in range(1, _MAX_TRIES):
        path = requested if number == 1 else requested.with_name(f"{requested.stem}-{number}{requested.suffix}")
        try:
            move_to_free_name(partial, path)
        except FileExistsError:
            if not (can_resume and _has_same_bytes(partial, path)):
                continue
            partial.unlink()
            return path, True
        return path, False
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(requested))


def _has_same_bytes(partial: Path, path: Path) -> bool:
    """Check whether a file stands there that holds what the partial one does; links, folders and pipes do not count."""
    try:
        # Without waiting, which the opening of a pipe would be.
        descriptor = os.open(path, os.O_RDONLY | _FOUND_FLAGS)
    except OSError:
        return False  # whatever it is, it is not ours
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size != partial.stat().st_size:
            return False
        with open(descriptor, "rb", closefd=False) as theirs, partial.open("rb") as ours:
            while piece := ours.read(_COMPARED_BYTES):
                if theirs.read(len(piece)) != piece:
                    return False
        return True
    finally:
        os.close(descriptor)


logger = logging.getLogger(__name__)

MAX_AGE_SECONDS: Final = 24 * 3600.0
"""How old a half-written file must be when it is unknown whether its writer lives; a download has five minutes."""

_NAME: Final = re.compile(
    r"\.[^\s.A-Z-]+-(?:\d+|batch)-[a-z0-9_]+(-\d+)?\.[a-z0-9_]+(\.json)?"
    r"\.(?:(?P<writer>[0-9a-f]{16})\.)?[0-9a-f]{8}(?:\.part)+"
)
"""The names of partial files of outputs and their records, and of the copies that `file_systems` makes of them."""


def sweep_partials(folder: Path, *, has_died: Callable[[str], bool], before: float) -> int:
    """Remove the partial files whose writer has died, or that are older than an instant; return how many.

    Args:
        has_died: Checks whether the writer with a process id is known to have died. A writer of another home is not
            known, and may be alive.
        before: Seconds since the epoch; applies to files whose writer is not known to have died.
    """
    removed = 0
    for path in _find_partials(folder):
        found = _NAME.fullmatch(path.name)
        if found is None:
            continue
        try:
            if has_died(found["writer"] or "") or path.stat().st_mtime < before:
                path.unlink()
                removed += 1
        except OSError as exc:
            # It may have been published or removed just now; if it is stuck, the next start tries again.
            logger.info("a half-written file could not be removed: %s", exc.strerror)
    return removed


def remove_of_owners(folder: Path, paths: Iterable[str]) -> None:
    """Remove saved files, each with its record, that are in folders of owners; those of the person at this computer stay."""
    owners = folder / _OWNERS
    for path in map(Path, paths):
        if ".." in path.parts or not path.is_relative_to(owners):
            continue
        try:
            path.with_name(f"{path.name}.json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        except OSError as exc:
            logger.warning("a result of a run that is on record no longer could not be removed: %s", exc.strerror)


def _find_partials(folder: Path) -> list[Path]:
    try:
        return [path for pattern in ("*/.*.part", f"{_OWNERS}/*/*/.*.part") for path in folder.glob(pattern)]
    except OSError as exc:
        # Each answer says that the folder cannot be used.
        logger.info("the folder for results cannot be listed: %s", exc.strerror)
        return []
