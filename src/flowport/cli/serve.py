"""`flowport serve`: MCP over standard input and output or over HTTP, and a clean end however it comes; `flowport worker`."""

import gc
import importlib
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio
import anyio.abc
import click

from flowport.cli.flags import add_config_flag, add_setting_flags, define_command
from flowport.domain.errors import ConfigurationError, FlowportError
from flowport.runtime.background import FirstList
from flowport.runtime.logging import start_logging
from flowport.server import stdio
from flowport.server.saved_list import SavedList
from flowport.server.server import FlowportServer, LateHandlers, build_late_server
from flowport.server.shutdown import DRAINING_SECONDS, End, listen_for_signals, open_client_fd
from flowport.settings.api_keys import is_placeholder
from flowport.settings.settings import Settings, get_environment, load_settings
from flowport.settings.values import find_passwords, strip_quotes
from flowport.settings.variables import DATABASE_URL
from flowport.web.listen_address import FLAG, NO_AUTH, Address, is_private, listen, parse_address

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from flowport.bootstrap import Assembly

OpenAssembly: TypeAlias = "Callable[..., AbstractAsyncContextManager[Assembly]]"
Serve: TypeAlias = "Callable[[FlowportServer, anyio.abc.TaskGroup, End, Assembly | None], Awaitable[None]]"
Monitor: TypeAlias = "Callable[[Assembly, End], Coroutine[Any, Any, None]]"


class Role(Enum):
    """What a process does for its team."""

    SERVER = "server"
    """It accepts calls and answers them."""
    WORKER = "worker"
    """It carries out runs."""
    BOTH = "both"

    @property
    def is_worker(self) -> bool:
        """Whether it carries out runs."""
        return self is not Role.SERVER


WORKER: Final = "--worker"
_HTTP: Final = "flowport.web.transport"
_WEBHOOKS: Final = "flowport.web.webhooks"
_SIGNING: Final = "flowport.web.signing"
_USAGE_ERROR: Final = 2

YOUNG_OBJECTS: Final = 10_000
"""New objects after which garbage is collected. Hundreds of runs side by side keep many objects for their time, and the usual
700 have each of them looked at again and again, which takes a twentieth of what the runs cost."""

SWITCH_SECONDS: Final = 0.0005
"""How long one thread runs while another waits for its turn of the interpreter; a tenth of what is usual. The store's
thread needs a turn for each statement, and a run waits for it before its request leaves."""


@define_command(
    "serve",
    examples=("flowport", "flowport serve --max-credits-per-day 500", "flowport serve --http 127.0.0.1:8765"),
)
@add_config_flag
@click.option(
    FLAG,
    "http",
    metavar="ADDRESS",
    help="Speak Streamable HTTP at an address of this computer, as 127.0.0.1:8765, instead.",
)
@click.option(
    NO_AUTH,
    "has_auth",
    flag_value=False,
    default=True,
    help="Serve every program on this computer over HTTP without a token.",
)
@click.option(
    WORKER,
    "is_worker",
    is_flag=True,
    help="Carry out runs as well, for a team whose database FLOWPORT_DATABASE_URL names.",
)
@add_setting_flags
@click.pass_obj
def command(
    open_all: "OpenAssembly | None",
    /,
    config: Path | None,
    http: str | None,
    has_auth: bool,  # noqa: FBT001 - click gives it by name
    is_worker: bool,  # noqa: FBT001 - likewise
    **given: str | None,
) -> int:
    """Speak MCP on standard input and output."""
    values = {name: value for name, value in given.items() if value is not None}
    role = Role.BOTH if is_worker else Role.SERVER
    return run(config, http, values, open_all, has_auth=has_auth, role=role)


@define_command(
    "worker",
    examples=("flowport worker", "flowport worker --worker-runs 100", "flowport worker --http 127.0.0.1:8766"),
    variables={DATABASE_URL: "The PostgreSQL database that the replicas and workers of a team share."},
)
@add_config_flag
@click.option(
    FLAG,
    "http",
    metavar="ADDRESS",
    help="Answer /healthz, /readyz and /metrics at an address of this computer, as 127.0.0.1:8766.",
)
@add_setting_flags
@click.pass_obj
def worker(open_all: "OpenAssembly | None", /, config: Path | None, http: str | None, **given: str | None) -> int:
    """Carry out the runs that the replicas of a team accept, until a signal comes.

    It then takes nothing new, finishes what it is sending, and leaves the rest to other workers.
    """
    values = {name: value for name, value in given.items() if value is not None}
    return run(config, http, values, open_all, role=Role.WORKER)


def run(
    config: Path | None,
    http: str | None,
    given: Mapping[str, str],
    open_all: "OpenAssembly | None",
    *,
    has_auth: bool = True,
    role: Role = Role.SERVER,
) -> int:
    """Serve until shutdown; returns only if serving cannot begin, so that no thread can delay the end.

    Args:
        given: The variables that flags set.
        has_auth: Whether each request over HTTP has to prove who sends it.
        role: What this process does for its team.
        open_all: Opens everything that the settings name; tests give it another clock. None for the usual way.
    """
    start_logging(_get_secrets())
    is_stdio = http is None and role is not Role.WORKER
    try:
        address = None if http is None else parse_address(http)
        settings = _load_settings(config, given, is_stdio=is_stdio)
        check_team(settings, role, is_stdio=is_stdio)
        check_exposure(address, settings, has_auth=has_auth)
        serve = _choose_way(address, role, has_auth=has_auth)
    except ConfigurationError as exc:
        sys.stderr.write(f"{exc}\n")
        return _USAGE_ERROR
    # Python says so by None. Asking the descriptors later is too late: whatever is opened first gets their numbers.
    if is_stdio and None in (sys.stdin, sys.stdout):
        logger.error("standard input or output is closed, and the client speaks there: Flowport ends")
        return 1
    code = 1
    try:
        code = anyio.run(partial(_serve, settings, serve, open_all, is_stdio=is_stdio, is_worker=role.is_worker))
    except BaseException as exc:  # the boundary of the process, which is left below without a traceback
        problem = _find_first(exc)
        if isinstance(problem, FlowportError):
            logger.error("Flowport ends: %s", problem)  # noqa: TRY400 - a sentence for a person
            code = _USAGE_ERROR if isinstance(problem, ConfigurationError) else 1
        else:
            logger.exception("Flowport ends: %s: %s", type(problem).__name__, problem)
    finally:
        logging.shutdown()
        # The thread that reads standard input never returns, and leaving by the usual way would wait for it.
        os._exit(code)


def _choose_way(address: Address | None, role: Role, *, has_auth: bool) -> Serve:
    if address is None:
        return _work if role is Role.WORKER else _serve_stdio
    listener = listen(address)
    # By name, so that only this way pays for a web server.
    http = importlib.import_module(_HTTP)
    if role is Role.WORKER:
        return partial(_work, monitor=partial(http.serve_monitoring, listener))
    return partial(http.serve, listener, has_auth=has_auth)


def check_team(settings: Settings | ConfigurationError, role: Role, *, is_stdio: bool) -> None:
    """Refuse a worker that belongs to no team.

    Raises:
        ConfigurationError: The sentence for the person who starts it.
    """
    if role is Role.BOTH and is_stdio:
        raise ConfigurationError(WORKER, f"belongs to {FLAG}", f"Add {FLAG} ADDRESS, or start `flowport worker`.")
    if isinstance(settings, ConfigurationError):
        if role is Role.WORKER:
            raise settings
        return
    if role.is_worker and not settings.database_url:
        problem = "is not set, and a worker carries out the runs in the database of a team"
        raise ConfigurationError(DATABASE_URL, problem, "Set it, or start `flowport serve` alone.")


def check_exposure(address: Address | None, settings: Settings | ConfigurationError, *, has_auth: bool) -> None:
    """Refuse what would serve other computers without authentication, or serve them nothing but a wrong setting.

    Raises:
        ConfigurationError: The sentence for the person who starts the server.
    """
    if address is None:
        if not has_auth:
            raise ConfigurationError(NO_AUTH, f"belongs to {FLAG}", "Leave it out: standard input needs no token.")
        return
    if isinstance(settings, ConfigurationError):
        if not address.is_loopback:
            raise settings
        return
    if has_auth:
        return
    if settings.http.oauth_issuer:
        problem = "cannot be combined with FLOWPORT_OAUTH_ISSUER, whose tokens would prove nothing"
        raise ConfigurationError(NO_AUTH, problem, "Leave one of them out.")
    if is_private(address, settings.http.public_url):
        return
    if settings.http.public_url:
        problem = "cannot be combined with FLOWPORT_PUBLIC_URL: everyone who knows that address could spend credits"
    else:
        problem = f"cannot be combined with an address of {FLAG} that other computers can reach"
    raise ConfigurationError(NO_AUTH, problem, "Leave it out, and make tokens with `flowport token add NAME`.")


def _load_settings(config: Path | None, given: Mapping[str, str], *, is_stdio: bool) -> Settings | ConfigurationError:
    """Return the settings, or what is wrong with them for every call to answer."""
    try:
        settings = load_settings(given, get_environment(), config_path=config)
    except ConfigurationError as exc:
        return exc
    if is_stdio and settings.database_url:
        problem = "belongs to a team, and a server on standard input and output serves one person"
        return ConfigurationError(DATABASE_URL, problem, f"Remove it, or serve with {FLAG} ADDRESS.")
    secrets = {secret for one in settings.providers for secret in (one.api_key, *one.webhook_secrets)}
    secrets |= find_passwords(settings.database_url)
    is_json = settings.http.log_format == "json" or (settings.http.log_format == "" and not is_stdio)
    start_logging(_get_secrets() | secrets, is_json=is_json)
    return settings


def _get_secrets() -> set[str]:
    """Return the values that may be keys, without placeholders, which the user has to see."""
    values = (value for name, value in get_environment().items() if name.endswith("_API_KEY"))
    return {value for value in values if not is_placeholder(strip_quotes(value))}


def _find_first(problem: BaseException) -> BaseException:
    """Return what happened first, out of the groups that task groups make of it."""
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    return problem


async def _serve_stdio(server: FlowportServer, tasks: anyio.abc.TaskGroup, end: End, _: "Assembly | None") -> None:
    await stdio.serve(server, tasks, end)


async def _work(
    _: FlowportServer,
    tasks: anyio.abc.TaskGroup,
    end: End,
    assembly: "Assembly | None",
    *,
    monitor: "Monitor | None" = None,
) -> None:
    """Carry out runs until shutdown begins; `monitor` serves what asks about this worker."""
    click.echo("Flowport carries out the runs of its team")
    if assembly is not None and monitor is not None:
        tasks.start_soon(monitor, assembly, end)
    await end.begun.wait()
    if assembly is not None:
        await assembly.drain()
    end.ask()


async def _serve(
    settings: Settings | ConfigurationError,
    serve: Serve,
    open_all: "OpenAssembly | None",
    *,
    is_stdio: bool,
    is_worker: bool = False,
) -> int:
    """Serve, and return the exit code when everything is closed."""
    # Only a client on standard output has disconnected when its end is closed.
    end = End(open_client_fd()) if is_stdio else End(draining_seconds=DRAINING_SECONDS)
    listen_for_signals(end)
    async with anyio.create_task_group() as tasks:
        if isinstance(settings, ConfigurationError):
            from flowport.server.handlers import build_stopped_server  # noqa: PLC0415 - loads what runs apps

            logger.error("%s", settings)
            _settle()
            await serve(build_stopped_server(settings), tasks, end, None)
        else:
            await _serve_home(
                settings,
                lambda server, assembly: serve(server, tasks, end, assembly),
                tasks,
                open_all,
                is_alone=is_stdio,
                is_worker=is_worker,
            )
        # What reads standard input cannot be cancelled: the process ends with it still waiting.
        logging.shutdown()
        os._exit(end.code)
    return end.code


async def _serve_home(
    settings: Settings,
    serve: "Callable[[FlowportServer, Assembly | None], Awaitable[None]]",
    tasks: anyio.abc.TaskGroup,
    open_all: "OpenAssembly | None",
    *,
    is_alone: bool,
    is_worker: bool = False,
) -> None:
    """Serve until the end; what runs apps is loaded first, or after a list that was saved by an earlier process.

    Args:
        is_alone: Whether there is one client, so that its first list is known as the first.
    """
    file = SavedList(settings)
    first_list = FirstList(file.load() if is_alone else None)
    late = LateHandlers(first_list, file)
    server, is_over = build_late_server(late, _load_question_keys(settings)), anyio.Event()

    async def speak(assembly: "Assembly | None" = None) -> None:
        """Serve until the end, which is a reason to go on too."""
        await serve(server, assembly)
        is_over.set()
        first_list.written.set()

    is_early = first_list.saved is not None
    if is_early:
        tasks.start_soon(speak)
        await first_list.wait_until_written()
        if is_over.is_set():
            return
    from flowport.bootstrap import open_assembly  # noqa: PLC0415 - loads what runs apps, and the first list comes first
    from flowport.server.handlers import Handlers  # noqa: PLC0415 - likewise

    # By name, so that only a server over HTTP pays for a web server.
    build_url = None if is_alone else importlib.import_module(_WEBHOOKS).build_webhook_urls(settings)
    more: dict[str, Any] = {} if build_url is None else {"build_webhook_url": build_url}
    if is_worker:
        more["is_worker"] = True
    accepts_own_keys = not is_alone and settings.http.should_accept_own_keys
    opening = (open_all or open_assembly)(settings, first_list=first_list, accepts_own_keys=accepts_own_keys, **more)
    async with opening as assembly:
        marks = None if assembly.cluster is None else assembly.cluster.used_marks
        late.provide(Handlers(assembly.tenants, assembly.file_threads, first_list, marks))
        _settle()
        if not is_early:
            tasks.start_soon(speak, assembly)
        await is_over.wait()


def _load_question_keys(settings: Settings) -> Sequence[bytes]:
    """Return the keys that seal questions at every replica of a team; none where this process is alone.

    Raises:
        ConfigurationError: The home keeps no secret.
    """
    if not settings.database_url:
        return ()
    signing = importlib.import_module(_SIGNING)
    keys: Sequence[bytes] = signing.load_signer(settings.home).derive_keys(signing.Purpose.QUESTION)
    return keys


def _settle() -> None:
    """Begin to collect garbage, and let threads take turns as often as the store needs."""
    # What was made so far stays for good, so the collector, off since the start, need never look at it.
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
    gc.enable()
    sys.setswitchinterval(SWITCH_SECONDS)
