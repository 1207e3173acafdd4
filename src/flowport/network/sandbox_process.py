"""The sandbox of a home: one process that all programs of the home share, so that Flowport works without any account.

The first program starts it. It takes the folder's lock, says where it listens in a file that only its owner may read,
and ends when the last program lets go of its connection, however that happens. When it dies, the next request starts
another, which goes on with what is stored in the folder.
"""

import json
import logging
import re
import secrets
import socket
import subprocess
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import anyio
import anyio.to_thread

from flowport.domain.errors import Breakage, Operation, ProviderError, ProviderUnreachable, StoreError
from flowport.domain.models import Account
from flowport.network.account import OpenAccount
from flowport.network.api_client import Location
from flowport.network.ratelimit.limiter import RateLimiter
from flowport.providers.interface import Provider
from flowport.runtime.clock import Clock
from flowport.store.interface import Store
from flowport.store.process_lock import ADDRESS_NAME, ADDRESS_VERSION

logger = logging.getLogger(__name__)

CHILD_COMMAND: Final = (sys.executable, "-m", "flowport", "sandbox", "--child")
FOLDER_NAME: Final = "sandbox"
LOG_NAME: Final = "log.txt"
START_TIMEOUT_SECONDS: Final = 20.0
_CONNECT_SECONDS: Final = 2.0
_LEAVING_SECONDS: Final = 1.0
_COLLECTING_SECONDS: Final = 0.5
_ASK_AGAIN_SECONDS: Final = 0.05
_START_AGAIN_SECONDS: Final = 2.0
_SHARING_SECONDS: Final = 8.0
"""How long a program tries to share a sandbox that another process seems to be."""

_MAX_LOG_BYTES: Final = 100_000
_FIRST_TIDY_SECONDS: Final = 20.0
_TIDY_SECONDS: Final = 3600.0
"""Between two rounds of forgetting; the first is soon, because many programs live for minutes."""
_TIDY_REPLY_SECONDS: Final = 20.0
_GRANTED: Final = b"ok\n"
_LOOPBACK_URL: Final = re.compile(r"http://127\.0\.0\.1:[0-9]{1,5}")

_left_running: list["subprocess.Popen[bytes]"] = []
"""Children that other programs still use when we have let go: the system collects them when we end."""


def _separate_session() -> dict[str, Any]:
    """Return the options with which a child ignores the signals that a terminal sends to this process."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


class _SandboxFailed(Exception):
    """A sandbox process did not come up; the text says how."""


@dataclass(frozen=True, slots=True)
class _About:
    """Where a sandbox listens and how to be let in."""

    api_url: str
    files_url: str
    former_files_urls: frozenset[str]
    """Where earlier processes of the same folder served files."""
    lease_port: int
    key: str


class BuiltInSandbox:
    """This program's share in the sandbox. It is found or started at the first request, and again when it has died."""

    def __init__(self, provider: Provider, folder: Path | None = None, command: Sequence[str] = CHILD_COMMAND) -> None:
        """Prepare; nothing is started.

        Args:
            provider: Whose API it speaks.
            folder: Where it keeps runs and files, and where programs find it; None for one that no other program shares.
            command: How a process is started.
        """
        self._provider = provider
        self._folder = folder
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._lease: socket.socket | None = None
        self._location: Location | None = None
        self._about: _About | None = None
        self._lock = anyio.Lock()
        self._reported: set[str] = set()

    async def locate(self) -> Location:
        """Return where the sandbox listens, finding or starting it if need be.

        Raises:
            ProviderUnreachable: It does not start.
        """
        if (location := self._get_location()) is not None:
            return location
        async with self._lock:
            # A caller that waited here finds what another has started.
            return self._get_location() or await self._attach()

    def _get_location(self) -> Location | None:
        """Return where the sandbox listens, None when we hold no connection to one that lives."""
        is_held = self._lease is not None and _is_open(self._lease)
        return self._location if is_held else None

    async def aclose(self) -> None:
        """Let go of the sandbox; it ends unless other programs use it."""
        lease, self._lease = self._lease, None
        process, self._process = self._process, None
        self._location = None
        if lease is not None or process is not None:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_leave, lease, process)

    async def tidy(self, needed_runs: Collection[str]) -> None:
        """Let the sandbox forget what is old, but for what these runs need.

        Raises:
            ProviderUnreachable: It does not start, or is ending.
        """
        await self.locate()
        line = json.dumps(sorted(needed_runs)).encode() + b"\n"
        if self._about is not None and not await anyio.to_thread.run_sync(_send_line, self._about, line):
            raise ProviderUnreachable(self._provider.title, Operation.LIST_APPS, Breakage.NO_CONNECTION)

    async def _attach(self) -> Location:
        await self.aclose()
        try:
            with anyio.fail_after(START_TIMEOUT_SECONDS):
                try:
                    return await self._find_or_start()
                except _SandboxFailed:
                    # A signal that ends us as well may have reached it before it had a session of its own.
                    return await self._find_or_start()
        except (OSError, TimeoutError, _SandboxFailed) as exc:
            log = "" if self._folder is None else f"; {self._folder / LOG_NAME} may say more"
            logger.warning("the sandbox does not start (%s)%s", str(exc) or type(exc).__name__, log)
            raise ProviderUnreachable(self._provider.title, Operation.LIST_APPS, Breakage.NO_CONNECTION) from exc

    async def _find_or_start(self) -> Location:
        began_at = start_at = anyio.current_time()
        while True:
            about = await anyio.to_thread.run_sync(self._read_address)
            location = None if about is None else await self._join(about)
            now = anyio.current_time()
            if location is None and now - began_at >= _SHARING_SECONDS:
                # The one that has the folder hangs, or is of a version that we cannot speak with.
                logger.warning("the sandbox that has %s does not answer; this program uses its own", self._folder)
                location = await self._start(None)
            elif location is None and now >= start_at:
                location = await self._start(self._folder)
                start_at = anyio.current_time() + _START_AGAIN_SECONDS
            if location is not None:
                return location
            # Another program is starting it, or it is just ending.
            await anyio.sleep(_ASK_AGAIN_SECONDS)

    def _read_address(self) -> _About | None:
        """Return where the folder's sandbox says that it listens; None when nothing usable is said."""
        if self._folder is None:
            return None
        try:
            report = json.loads((self._folder / ADDRESS_NAME).read_bytes())
        except (OSError, ValueError):
            return None
        is_ours = isinstance(report, dict) and report.get("version") == ADDRESS_VERSION
        return _parse_about(report, report.get("key")) if is_ours else None

    async def _join(self, about: _About) -> Location | None:
        """Take a share in a sandbox that runs; None when it does not, or is ending."""
        lease = await anyio.to_thread.run_sync(_connect, about)
        if lease is None:
            return None
        self._lease, self._about = lease, about
        headers = self._provider.build_headers(about.key, "127.0.0.1")
        self._location = Location(
            about.api_url,
            headers,
            about.key,
            is_loopback=True,
            file_origins=frozenset({about.files_url}),
            former_file_origins=about.former_files_urls,
        )
        return self._location

    async def _start(self, folder: Path | None) -> Location | None:
        """Start a sandbox and take a share in it; None when another one has the folder, or it is gone already."""
        key = secrets.token_urlsafe(24)
        process = _spawn(self._command, folder)
        try:
            report = await anyio.to_thread.run_sync(_introduce, process, key, abandon_on_cancel=True)
            about = _parse_about(report, key)
            location = None if about is None else await self._join(about)
        except BaseException:
            # A caller that is cancelled meanwhile too must leave no process behind.
            process.kill()
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_collect, process)
            raise
        if location is None:
            await anyio.to_thread.run_sync(_collect, process)
            return None
        self._process = process
        problem = report.get("problem")
        if isinstance(problem, str) and problem and problem not in self._reported:
            self._reported.add(problem)
            logger.warning("%s", problem)
        return location


class SandboxAccount(OpenAccount):
    """The account of the home's sandbox. Nothing is started before its first request."""

    def __init__(self, account: Account, provider: Provider, budget: RateLimiter, sandbox: BuiltInSandbox) -> None:
        super().__init__(account, provider, budget, sandbox.locate, is_sandbox=True)
        self._sandbox = sandbox

    async def tidy(self, needed_runs: Collection[str]) -> None:
        """Let the sandbox forget what is old, but for what these runs need; raises `ProviderUnreachable`."""
        await self._sandbox.tidy(needed_runs)


async def keep_tidy(accounts: Sequence[OpenAccount], store: Store, clock: Clock) -> None:
    """Let the sandbox forget what is old, at intervals, but for runs that were not delivered.

    Never returns where there is a sandbox.
    """
    sandbox = next((one for one in accounts if isinstance(one, SandboxAccount)), None)
    if sandbox is None:
        return
    # Not at the start, which it would slow.
    pause_seconds = _FIRST_TIDY_SECONDS
    while True:
        await clock.sleep(pause_seconds)
        pause_seconds = _TIDY_SECONDS
        try:
            await sandbox.tidy(await store.get_needed_provider_ids(account_id=sandbox.account.id))
        except (StoreError, ProviderError) as exc:
            logger.info("the sandbox's folder was not tidied, which is tried again later: %s", exc)


def _spawn(command: Sequence[str], folder: Path | None) -> "subprocess.Popen[bytes]":
    """Start a process in a session of its own: Ctrl-C and the end of a terminal are for us, and others may use it."""
    arguments = [*command] if folder is None else [*command, "--folder", str(folder)]
    log = None if folder is None else _open_log(folder)
    # It may outlive us, and must not hold our standard error open.
    errors = subprocess.DEVNULL if log is None else log
    try:
        return subprocess.Popen(  # noqa: S603 - our own program
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, **_separate_session()
        )
    finally:
        if log is not None:
            log.close()


def _open_log(folder: Path) -> BinaryIO | None:
    """Open where a process writes what goes wrong with it; None where the folder cannot be written to."""
    path = folder / LOG_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        is_long = path.exists() and path.stat().st_size > _MAX_LOG_BYTES
        return path.open("wb" if is_long else "ab")
    except OSError:
        return None


def _introduce(process: "subprocess.Popen[bytes]", key: str) -> dict[str, Any]:
    """Send a process its key and return what it says of itself; raises `OSError` or `_SandboxFailed`."""
    if process.stdin is None or process.stdout is None:
        raise AssertionError("both pipes were asked for")
    with suppress(BrokenPipeError):
        process.stdin.write(f"{key}\n".encode())
        process.stdin.flush()
    try:
        report = json.loads(process.stdout.readline())
    except ValueError as exc:
        raise _SandboxFailed("its process ended, or speaks nonsense") from exc
    if isinstance(report, dict) and (_parse_about(report, key) or report.get("is_taken")):
        return report
    raise _SandboxFailed("its process does not say where it listens")


def _parse_about(report: Any, key: Any) -> _About | None:
    """Return what a process says of itself; None when it is not enough, or leads away from this computer."""
    match report:
        case {
            "api_url": str(api_url),
            "files_url": str(files_url),
            "former_files_urls": list(former),
            "lease_port": int(port),
        } if isinstance(key, str) and all(map(_LOOPBACK_URL.fullmatch, (api_url, files_url))):
            return _About(api_url, files_url, frozenset(filter(_LOOPBACK_URL.fullmatch, map(str, former))), port, key)
        case _:
            return None


def _connect(about: _About) -> socket.socket | None:
    """Take a share in a sandbox; None when it does not exist, or is ending."""
    lease: socket.socket | None = None
    try:
        lease = socket.create_connection(("127.0.0.1", about.lease_port), timeout=_CONNECT_SECONDS)
        lease.sendall(f"{about.key}\n".encode())
        answer = b""
        while len(answer) < len(_GRANTED) and (part := lease.recv(len(_GRANTED) - len(answer))):
            answer += part
        if answer == _GRANTED:
            lease.setblocking(False)  # noqa: FBT003 - the library's own way
            return lease
    except (OSError, OverflowError):
        pass
    if lease is not None:
        lease.close()
    return None


def _send_line(about: _About, line: bytes) -> bool:
    """Send a line over a lease of its own and wait for the reply; False when there is no sandbox."""
    lease = _connect(about)
    if lease is None:
        return False
    with lease:
        try:
            lease.settimeout(_TIDY_REPLY_SECONDS)
            lease.sendall(line)
            return bool(lease.recv(len(_GRANTED)))
        except OSError:
            return False


def _is_open(lease: socket.socket) -> bool:
    """Check whether the other end still holds the connection."""
    try:
        return bool(lease.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        return False


def _leave(lease: socket.socket | None, process: "subprocess.Popen[bytes] | None") -> None:
    """Let go of a sandbox, and wait for its end if that comes of it."""
    is_over = True
    if lease is not None:
        with lease, suppress(OSError):
            lease.settimeout(_LEAVING_SECONDS)
            lease.shutdown(socket.SHUT_WR)
            # It ends without a word unless others use it.
            is_over = not lease.recv(len(_GRANTED))
    if process is None:
        return
    if is_over:
        _collect(process)
        return
    _close_pipes(process)
    _left_running.append(process)


def _collect(process: "subprocess.Popen[bytes]") -> None:
    """Collect a process that ends, or end it."""
    try:
        process.wait(timeout=_COLLECTING_SECONDS if process.poll() is None else None)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _close_pipes(process)


def _close_pipes(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
