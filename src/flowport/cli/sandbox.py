"""`flowport sandbox`: the built-in provider by itself, or as the child of a Flowport that has no key."""

import json
import os
import secrets
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import anyio
import click

from flowport.cli.flags import add_json_flag, define_command
from flowport.runtime.file_systems import replace_file
from flowport.sandbox.serve import Leases, SandboxAddresses, SandboxOptions, serve
from flowport.sandbox.storage import Storage
from flowport.store.process_lock import ADDRESS_NAME, ADDRESS_VERSION, LeaderLock
from flowport.store.process_lock import FOLDER as PROCESSES

_MAX_PORT: Final = 65_535
_MAX_SPEED: Final = 1000.0

LOCK_NAME: Final = "sandbox"


def _parse_port(text: Any) -> int:
    try:
        port = int(text)
    except ValueError as exc:
        raise click.BadParameter(f"{text!r} is no whole number") from exc
    if not 0 <= port <= _MAX_PORT:
        raise click.BadParameter(f"{port} is not from 0 to {_MAX_PORT}")
    return port


def _parse_speed(text: Any) -> float:
    try:
        speed = float(text)
    except ValueError as exc:
        raise click.BadParameter(f"{text!r} is no number") from exc
    if not 0 <= speed <= _MAX_SPEED:
        raise click.BadParameter(f"{text} is not from 0 to {_MAX_SPEED:g}")
    return speed


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags of the command."""

    port: int
    files_port: int
    key: str | None
    speed: float
    folder: Path | None
    child: bool
    is_json: bool


@define_command("sandbox", examples=("flowport sandbox", "flowport sandbox --port 8700 --speed 0.2 --folder ./sandbox"))
@click.option(
    "--port", type=_parse_port, metavar="NUMBER", default=0, help="Of the API; 0, the default, for any free one."
)
@click.option(
    "--files-port",
    type=_parse_port,
    metavar="NUMBER",
    default=0,
    help="Of the results; 0, the default, for any free one.",
)
@click.option("--key", metavar="KEY", help="The API key that it accepts; random and shown unless given.")
@click.option(
    "--speed", type=_parse_speed, metavar="NUMBER", default=1.0, help="Multiplies how long runs take; 1 unless given."
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Keep runs, results and uploads there, for the next start; nothing is kept unless given.",
)
@add_json_flag
@click.option("--child", is_flag=True, hidden=True)
def command(**given: Any) -> int:
    """Serve the built-in provider on 127.0.0.1."""
    flags = Flags(**given)
    # Serves until interrupted; as a child until no program needs it any more.
    if flags.child:
        return _run_child(flags)
    key = flags.key or secrets.token_urlsafe(24)
    storage = None
    if flags.folder is not None:
        opened = open_folder(flags.folder)
        if opened.storage is None:
            sys.stderr.write(f"{opened.problem[:1].upper()}{opened.problem[1:]}.\n")
            return 2
        if opened.problem:
            sys.stderr.write(f"Note: {opened.problem}.\n")
        storage = opened.storage
    options = build_options(flags, key)
    try:
        anyio.run(serve, options, _build_announcer(key, is_json=flags.is_json), storage)
    except KeyboardInterrupt:
        return 0
    except OSError as exc:
        sys.stderr.write(f"The sandbox cannot listen there: {os.strerror(exc.errno or 0)}.\n")
        return 2
    return 0


@dataclass(frozen=True, slots=True)
class OpenedFolder:
    """What came of opening a folder."""

    storage: Storage | None
    """None when it cannot be used; then `problem` says why."""
    problem: str = ""
    """Part of a sentence; also said when what lay there could not be read."""
    is_taken: bool = False
    """Whether another sandbox has the folder."""
    turn: LeaderLock | None = None
    """Held for life: one sandbox at a time has a folder."""


def open_folder(folder: Path) -> OpenedFolder:
    """Take a folder for this process, if no other has it, and read what lies there."""
    try:
        (folder / PROCESSES).mkdir(parents=True, exist_ok=True, mode=0o700)
        turn = LeaderLock(folder, LOCK_NAME)
        if not turn.take():
            return OpenedFolder(None, f"another sandbox uses the folder {folder}", is_taken=True)
        storage = Storage(folder)
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        return OpenedFolder(None, f"the sandbox's folder {folder} cannot be used ({reason})")
    return OpenedFolder(storage, storage.problem, turn=turn)


def _run_child(flags: Flags) -> int:
    """Serve the programs of a home. What goes wrong with the folder is told; the sandbox then works without it."""
    # Ctrl-C in a terminal may reach the whole group; the child goes when no program needs it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    key = sys.stdin.readline().strip()
    opened = OpenedFolder(None) if flags.folder is None else open_folder(flags.folder)
    if opened.is_taken:
        _say({"is_taken": True})
        return 0
    address = flags.folder / ADDRESS_NAME if flags.folder and opened.storage is not None else None

    def end() -> None:
        """Leave at once: what is to outlive the process is written already."""
        if address is not None:
            with suppress(OSError):
                address.unlink(missing_ok=True)
        os._exit(0)

    leases = Leases(key, end)
    threading.Thread(target=_watch_parent, args=(leases,), daemon=True).start()

    def announce(addresses: SandboxAddresses) -> None:
        about = {**asdict(addresses), "lease_port": leases.port}
        problem = opened.problem
        if address is not None:
            try:
                _write_private(address, json.dumps({"version": ADDRESS_VERSION, "key": key, **about}).encode())
            except OSError as exc:
                problem = problem or f"{address} cannot be written ({exc.strerror}); other programs have their own"
        _say({**about, "problem": problem})

    anyio.run(serve, build_options(flags, key), announce, opened.storage, leases)
    return 0


def _watch_parent(leases: Leases) -> None:
    while sys.stdin.readline():
        pass
    leases.note_parent_gone()


def _say(about: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(about) + "\n")
    sys.stdout.flush()


def build_options(flags: Flags, key: str) -> SandboxOptions:
    """Return what the flags ask for."""
    return SandboxOptions(
        key=key,
        port=flags.port,
        files_port=flags.files_port,
        speed=flags.speed,
        tidies_at_start=not flags.child,
    )


def _build_announcer(key: str, *, is_json: bool) -> Callable[[SandboxAddresses], None]:
    def announce(addresses: SandboxAddresses) -> None:
        if is_json:
            names = ("MAGNIFIC_BASE_URL", "MAGNIFIC_API_KEY", "MAGNIFIC_FILE_ORIGINS")
            _say(dict(zip(names, (addresses.api_url, key, addresses.files_url), strict=True)))
            return
        sys.stdout.write(
            f"The sandbox listens. Let Flowport use it:\n"
            f"  MAGNIFIC_BASE_URL={addresses.api_url}\n  MAGNIFIC_API_KEY={key}\n"
            f"  MAGNIFIC_FILE_ORIGINS={addresses.files_url}\n"
            f"Ctrl-C ends it.\n"
        )
        sys.stdout.flush()

    return announce


def _write_private(path: Path, data: bytes) -> None:
    """Write a file whole, or not at all; only its owner may read it. Raises `OSError`."""
    temporary = path.with_name(f"{path.name}.new")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
        replace_file(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
