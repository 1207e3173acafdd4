"""Write one output of a run to the output folder: identify, measure, name and describe it."""

import json
import logging
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

from flowport.domain.models import Output, OutputKind, Run
from flowport.media.formats import FileFormat
from flowport.media.identify import has_tracks, identify
from flowport.media.measure import measure
from flowport.media.saving import PartialFile, build_output_path, build_owner_folder, open_partial
from flowport.network.file_transfer import Fetched

logger = logging.getLogger(__name__)

_SVG: Final = "image/svg+xml"
_PAGES: Final = frozenset({"text/html", "text/xml", "application/json"})
_PROGRAMS: Final = (
    b"MZ",
    b"\x7fELF",
    b"\xcf\xfa\xed\xfe",
    b"\xce\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe",
    b"\0asm",
    b"dex\n",
)
"""Of Windows, Linux, macOS, Java, browsers and Android."""
_PROGRAM_ENDINGS: Final = frozenset(
    [
        "exe",
        "com",
        "scr",
        "msi",
        "bat",
        "cmd",
        "ps1",
        "vbs",
        "js",
        "mjs",
        "jar",
        "sh",
        "app",
        "dmg",
        "pkg",
        "apk",
        "lnk",
        "html",
        "htm",
        "xhtml",
        "svg",
        "xml",
        "php",
        "py",
        "pl",
        "rb",
        "desktop",
        "reg",
        "dll",
        "so",
        "url",
        "part",
        "json",
    ]
)
_ENDING: Final = re.compile(r"[a-z0-9]{1,10}")
_NO_ENDING: Final = "bin"
_KNOWN_ENDINGS: Final = {
    **dict.fromkeys(
        ("png", "jpg", "jpeg", "gif", "webp", "avif", "heic", "heif", "tif", "tiff", "bmp"), OutputKind.IMAGE
    ),
    **dict.fromkeys(("mp4", "mov", "m4v", "webm", "mkv", "avi", "ogv", "3gp", "mpg", "mpeg", "ts"), OutputKind.VIDEO),
    **dict.fromkeys(("mp3", "wav", "ogg", "opus", "flac", "m4a", "aac", "aiff", "wma"), OutputKind.AUDIO),
    **dict.fromkeys(("pdf", "zip", "glb"), OutputKind.FILE),
}
"""Extensions of formats that are identified by their bytes, and their kinds."""
_MEDIA: Final = frozenset({OutputKind.IMAGE, OutputKind.VIDEO, OutputKind.AUDIO})
_MOVING: Final = frozenset({OutputKind.VIDEO, OutputKind.AUDIO})


@dataclass(frozen=True, slots=True)
class SavingRules:
    """Where outputs go."""

    folder: Path
    is_wanted: bool = True
    """False: outputs are only linked."""
    writer: str = ""
    """The id of this process, for the names of files that are not whole yet."""

    def get_folder(self, owner: str) -> Path:
        """Return the folder for the results of an owner."""
        return build_owner_folder(self.folder, owner)


class Outcome(Enum):
    """The result of trying to save one output."""

    KEPT = "kept"
    FAILED = "failed"
    EXPIRED = "expired"
    UNFIT = "unfit"
    """The download is empty, of the wrong type, or met a bug of Flowport; this may pass or be permanent."""
    USELESS = "useless"
    """Its address is refused, and will be the next time."""


class OutputFile:
    """A sink for one output, used on a thread. As a context manager it removes what was not published."""

    def __init__(self, run: Run, output: Output, rules: SavingRules) -> None:
        """Prepare; the file is created with the first piece."""
        self._run = run
        self._output = output
        self._path, self._writer = _build_path(run, output, rules.get_folder(run.owner)), rules.writer
        self._partial: PartialFile | None = None

    def write(self, piece: bytes, /) -> None:
        """Append a piece."""
        self._open().file.write(piece)

    def finish(self, fetched: Fetched, /) -> tuple[Output, Outcome]:
        """Publish the file with its record, if it has the expected type; return the output with its measures."""
        if not fetched.size_bytes:
            return note_problem(self._output, "nothing came"), Outcome.UNFIT
        file = self._open().file
        sniffed = identify(file)
        if not _is_fit(sniffed, fetched.head, self._output.kind):
            return note_problem(self._output, f"what came is not {_name(self._output.kind)}"), Outcome.UNFIT
        kept = self._describe(fetched, sniffed)
        path = self._path.with_suffix(f".{sniffed.extension if sniffed else _get_ending(self._output)}")
        published = self._open().publish_with_sidecar(path, _build_sidecar(self._run, kept, fetched))
        if published.sidecar is None:
            words = "output %d of run %s is saved without its record: %s"
            logger.warning(words, kept.n, self._run.id, published.sidecar_problem)
        return replace(kept, saved_path=str(published.path)), Outcome.KEPT

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._partial is not None:
            self._partial.discard()

    def _open(self) -> PartialFile:
        if self._partial is None:
            self._partial = open_partial(self._path, self._writer)
        return self._partial

    def _describe(self, fetched: Fetched, sniffed: FileFormat | None) -> Output:
        output, file = self._output, self._open().file
        measures = measure(file, sniffed)
        return replace(
            output,
            kind=_judge_kind(output.kind, sniffed, has_tracks=sniffed is not None and has_tracks(file, sniffed)),
            mime_type=sniffed.mime_type if sniffed else output.mime_type,
            size_bytes=fetched.size_bytes,
            # The file decides; the provider's numbers are used where it has none.
            width=measures.width or output.width,
            height=measures.height or output.height,
            duration_seconds=measures.duration_seconds or output.duration_seconds,
        )


def _judge_kind(announced: OutputKind, sniffed: FileFormat | None, *, has_tracks: bool) -> OutputKind:
    """Return the kind of an output: that of its bytes, or what the provider said where they are unknown."""
    if sniffed is None or sniffed.mime_type == _SVG:
        return announced
    # A video without its index may be the sound that the provider announced.
    if {announced, sniffed.kind} <= _MOVING and not has_tracks:
        return announced
    is_known = sniffed.is_media or announced in _MEDIA
    return sniffed.kind if is_known else announced


def _build_path(run: Run, output: Output, folder: Path) -> Path:
    """Return the path, with a temporary extension until the bytes are identified."""
    day = datetime.fromtimestamp(run.accepted_at, tz=UTC).astimezone().strftime("%Y-%m-%d")
    tool_name, n = run.tool_name, output.n
    return build_output_path(
        folder, date=day, tool_name=tool_name, n=n, run_id=run.id, extension="part", app_name=run.app_name
    )


def note_problem(output: Output, problem: str) -> Output:
    """Return the output with the sentence that says why it has no file."""
    return replace(output, save_problem=f"It was not saved: {problem}.")


def format_folder_problem(folder: Path, reason: str) -> str:
    """Return why nothing can be saved in the folder for results, as a clause that names it and its setting."""
    return f"the folder for results, {folder} (FLOWPORT_OUTPUT_DIR), cannot take it ({reason})"


_WARNING: Final = re.compile(r"Warning: .*? Links to the results are all that will be left\.")


def build_folder_warning(folder: Path, reason: str) -> str:
    """Return the note for a run whose outputs cannot be saved, shown before anything is paid."""
    return f"Warning: {format_folder_problem(folder, reason)}. Links to the results are all that will be left."


def find_folder_warning(notes: str) -> str:
    """Return that warning out of a run's notes; empty when it is not among them."""
    found = _WARNING.search(notes)
    return found[0] if found else ""


def _is_fit(sniffed: FileFormat | None, head: bytes, kind: OutputKind) -> bool:
    """Return whether the bytes can be the result of an app: for media, anything but text pages and programs.

    An error page must not be saved as a picture. The announced type matters little: the result was paid for.
    """
    if kind not in _MEDIA:
        return True
    if sniffed is None:
        return not head.startswith(_PROGRAMS)
    return sniffed.mime_type == _SVG or (sniffed.kind is not OutputKind.TEXT and sniffed.mime_type not in _PAGES)


def _get_ending(output: Output) -> str:
    """Return the extension of the link, for unknown bytes; `bin` where it cannot be right."""
    try:
        ending = PurePosixPath(urlsplit(output.url or "").path).suffix.removeprefix(".").lower()
    except ValueError:
        return _NO_ENDING
    if not _ENDING.fullmatch(ending) or ending in _PROGRAM_ENDINGS:
        return _NO_ENDING
    kind = _KNOWN_ENDINGS.get(ending)
    return ending if kind is None or kind is output.kind else _NO_ENDING


def _name(kind: OutputKind) -> str:
    return {OutputKind.IMAGE: "an image", OutputKind.VIDEO: "a video", OutputKind.AUDIO: "a sound"}.get(kind, "a file")


def _build_sidecar(run: Run, output: Output, fetched: Fetched) -> dict[str, Any]:
    return {
        "app": run.app_name,
        "tool": run.tool_name,
        "provider": run.provider,
        "arguments": json.loads(run.arguments_json),
        "run_id": run.id,
        "output": output.n,
        "mime_type": output.mime_type,
        "size_bytes": output.size_bytes,
        "width": output.width,
        "height": output.height,
        "duration_seconds": output.duration_seconds,
        "sha256": fetched.sha256,
        "credits": run.cost_credits,
        "made_at": datetime.fromtimestamp(run.finished_at or run.accepted_at, tz=UTC).isoformat(),
    }
