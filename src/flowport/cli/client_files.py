"""Add, update and remove Flowport's entry in a client's configuration file.

A change is planned from the bytes of the file and verified: parsed again, the file differs in that entry and in nothing
else. What cannot be read for certain is refused. A file is written at once, through symbolic links, with its mode and
owner, and after a copy.
"""

import copy
import difflib
import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path, PurePath
from typing import Any, Final, Literal

from flowport.cli import jsonc, toml_entry
from flowport.cli.clients import INSTALLED, Client, is_ours
from flowport.cli.jsonc import Edit, Unreadable, apply_edits
from flowport.domain.errors import FlowportError
from flowport.domain.text import drop_invisible
from flowport.runtime.file_systems import replace_file, sync_file, sync_folder

Action = Literal["add", "update", "replace", "remove", "none"]

_BOM: Final = b"\xef\xbb\xbf"
_SECRET: Final = re.compile(r"(?i)(\w*(?:key|token|secret|password)\w*[\"']?\s*[:=]\s*)([\"'])(?!\$)(?:\\.|(?!\2).)*\2")
_BY_HAND: Final = "Correct the file, or add the entry by hand: `flowport install CLIENT --print` prints it."


@dataclass(eq=False)
class FileNotEdited(FlowportError):
    """A client's configuration file stays as it is."""

    path: Path
    problem: str
    """The problem, as the end of a sentence that begins with the path."""
    remedy: str
    """What to do, as a sentence."""

    def __str__(self) -> str:
        return f"{self.path} {self.problem}. {self.remedy}"


@dataclass(eq=False)
class EntryNotOurs(FlowportError):
    """The file has an entry of our name that starts something else."""

    path: Path
    name: str

    def __str__(self) -> str:
        cause = f'{self.path} has an entry "{self.name}" for another program, or that starts Flowport in another way.'
        return f"{cause} It stays as it is. Choose another name with --name, or overrule this with --force."


@dataclass(frozen=True, slots=True)
class Plan:
    """A change of a file that is not made yet."""

    path: Path
    action: Action
    before: bytes | None
    """What the file contains; None if there is no file."""
    after: bytes
    lines: Sequence[str]
    """The removed and the added lines, without the lines around them, which may contain secrets."""


def choose_path(candidates: Iterable[PurePath]) -> Path:
    """Return the first place whose folder exists, otherwise the last one.

    Raises:
        FileNotEdited: Several folders match one place, or the user has no home folder.
    """
    path = Path()
    for path in map(_find_home, candidates):
        depth = next((index for index, part in enumerate(path.parts) if "*" in part), None)
        if depth is None:
            found = [path]
        else:
            roots = Path(*path.parts[:depth]).glob(path.parts[depth])
            found = [root.joinpath(*path.parts[depth + 1 :]) for root in sorted(roots)]
        found = [one for one in found if one.parent.is_dir()]
        found = [one for one in found if one.exists()] or found
        if len(found) > 1:
            raise FileNotEdited(found[0], f"is one of {len(found)} files that it could be", "Name one with --file.")
        if found:
            return found[0]
    return path


def _find_home(candidate: PurePath) -> Path:
    try:
        return Path(candidate).expanduser().absolute()
    except RuntimeError as exc:
        remedy = "Set HOME, or name a file with --file."
        raise FileNotEdited(Path(candidate), "is in a home folder that this user lacks", remedy) from exc


def plan_install(
    client: Client, path: Path, name: str, entry: Mapping[str, Any], *, should_force: bool = False
) -> Plan:
    """Plan to add an entry, or to bring ours up to date: what starts Flowport; whatever else it has stays.

    Raises:
        FileNotEdited: The file cannot be read or edited for certain.
        EntryNotOurs: Another entry has this name.
    """
    data, entries = read_entries(client, path)
    known = entries.get(name)
    place = (client.section, name)
    if known is None:
        return _plan(client, path, data, "add", [(place, entry)])
    if is_ours(known):
        changes = [(key, value) for key, value in entry.items() if key in INSTALLED or key not in known]
        changes = [(key, value) for key, value in changes if known.get(key) != value]
        return _plan(client, path, data, "update", [((*place, key), value) for key, value in changes])
    if not should_force:
        raise EntryNotOurs(path, name)
    return _plan(client, path, data, "replace", [(place, entry)])


def plan_uninstall(client: Client, path: Path, name: str, *, should_force: bool = False) -> Plan:
    """Plan to remove our entry.

    Raises:
        FileNotEdited: The file cannot be read or edited for certain.
        EntryNotOurs: Another entry has this name.
    """
    data, entries = read_entries(client, path)
    known = entries.get(name)
    if known is not None and not is_ours(known) and not should_force:
        raise EntryNotOurs(path, name)
    return _plan(client, path, data, "remove", [] if known is None else [((client.section, name), None)])


def carry_out(plan: Plan, *, is_shared: bool = False) -> Path | None:
    """Write the file, and return the copy of what it contained; None where there was nothing to copy.

    Args:
        is_shared: Whether a new file is for others too, as in a project; clients add secrets to the user's own.

    Raises:
        FileNotEdited: The file was changed meanwhile, or cannot be written.
    """
    if _read_bytes(plan.path) != plan.before:
        raise FileNotEdited(plan.path, "was changed meanwhile", "Quit the client and try again.")
    target = Path(os.path.realpath(plan.path))
    stamp = f"{datetime.now(UTC).astimezone():%Y%m%d-%H%M%S}"
    copies = (target.with_name(f"{target.name}.{stamp}{f'-{number}' if number else ''}.bak") for number in count())
    backup = next(one for one in copies if not one.exists()) if plan.before else None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if backup is not None:
            _write(backup, plan.before or b"", model=target)
        _write(target, plan.after, model=target, mode=0o644 if is_shared else 0o600)
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        remedy = "Correct the rights of the file and its folder, and try again."
        raise FileNotEdited(plan.path, f"cannot be written ({reason})", remedy) from exc
    return backup


def read_entries(client: Client, path: Path) -> tuple[bytes | None, dict[str, Any]]:
    """Return what the file contains, and its entries by name.

    Raises:
        FileNotEdited: The file cannot be read for certain.
    """
    data = _read_bytes(path)
    try:
        section = _parse(client, _decode(data)).get(client.section, {})
        if not isinstance(section, dict):
            raise Unreadable(f'its "{client.section}" does not contain entries')  # noqa: TRY301 - one sentence for all
    except Unreadable as exc:
        raise FileNotEdited(path, f"cannot be edited, because {exc}", _BY_HAND) from exc
    return data, section


def _plan(
    client: Client, path: Path, data: bytes | None, action: Action, changes: Sequence[tuple[Sequence[str], Any]]
) -> Plan:
    """Plan to set members, or to remove those whose new value is None."""
    editor = toml_entry if client.format == "toml" else jsonc
    lines: list[str] = []
    try:
        text = _decode(data)
        expected = copy.deepcopy(_parse(client, text))
        for place, value in changes:
            edits = editor.remove(text, place) if value is None else editor.put(text, place, value)
            lines += _format_edits(text, edits)
            text = apply_edits(text, edits)
            _change(expected, place, value)
        is_certain = _drop_empty(_parse(client, text), client) == _drop_empty(expected, client)
    except Unreadable as exc:
        raise FileNotEdited(path, f"cannot be edited, because {exc}", _BY_HAND) from exc
    if not is_certain:
        problem = f'cannot be edited for certain, because of the form of its "{client.section}"'
        raise FileNotEdited(path, problem, _BY_HAND)
    bom = _BOM if (data or b"").startswith(_BOM) else b""
    return Plan(path, action if changes else "none", data, bom + text.encode(), lines)


def _decode(data: bytes | None) -> str:
    try:
        return (data or b"").removeprefix(_BOM).decode("utf-8")
    except UnicodeDecodeError as exc:
        raise Unreadable("it is not text in UTF-8") from exc


def _parse(client: Client, text: str) -> dict[str, Any]:
    return toml_entry.parse(text) if client.format == "toml" else jsonc.parse(text)


def _change(expected: dict[str, Any], place: Sequence[str], value: Any) -> None:
    *outer, key = place
    for name in outer:
        expected = expected.setdefault(name, {})
    if value is None:
        del expected[key]
    else:
        expected[key] = value


def _drop_empty(value: dict[str, Any], client: Client) -> dict[str, Any]:
    """Return a value without its section if that is empty: in TOML an empty section may have no line of its own."""
    return {key: one for key, one in value.items() if key != client.section or one}


def _format_edits(text: str, edits: Iterable[Edit]) -> Iterator[str]:
    """Yield the removed and the added lines, without keys and without what would change the terminal."""
    for edit in sorted(edits):
        old, new = text[edit.start : edit.end].splitlines(), edit.text.splitlines()
        changes = [line for line in difflib.ndiff(old, new) if line[0] in "+-" and line[1:].strip(" \t,")]
        if changes:
            number = text.count("\n", 0, edit.start) + 1
            yield f"@@ line {number} @@"
            yield from (drop_invisible(_SECRET.sub(r"\1\2…\2", line.expandtabs(4))) for line in changes)


def _read_bytes(path: Path) -> bytes | None:
    """Return what a file contains, None if there is no file.

    Raises:
        FileNotEdited: It cannot be read, or could not be written.
    """
    target = Path(os.path.realpath(path))
    try:
        state = target.stat()
        data = target.read_bytes() if stat.S_ISREG(state.st_mode) else None
    except FileNotFoundError:
        return None
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        raise FileNotEdited(path, f"cannot be read ({reason})", "Correct its rights and try again.") from exc
    if data is None:
        raise FileNotEdited(path, "is not a file", "Name one with --file.")
    # The superuser may write to every file; the owner of this one asked that it stays.
    if not state.st_mode & 0o222 or not os.access(target, os.W_OK):
        raise FileNotEdited(path, "is read-only", "Make it writable and try again.")
    return data


def _write(path: Path, data: bytes, *, model: Path, mode: int = 0o600) -> None:
    """Write a file at once, with the mode and the owner of another one if that exists.

    Raises:
        OSError: It cannot be written, or the other one belongs to another user.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            sync_file(file.fileno())
        if model.exists():
            state, own = model.stat(), os.stat(name)  # noqa: PTH116 - a name from `mkstemp`
            if sys.platform != "win32" and (state.st_uid, state.st_gid) != (own.st_uid, own.st_gid):
                os.chown(name, state.st_uid, state.st_gid)
            mode = stat.S_IMODE(state.st_mode)
        Path(name).chmod(mode)
        replace_file(Path(name), path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
