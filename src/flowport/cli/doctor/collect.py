"""Find out the facts: thin, bounded in time, and without a lock of a home in which a Flowport serves."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from flowport.cli.doctor.facts import AccountFacts, Answered, Failed, FolderFacts
from flowport.domain.errors import (
    ConfigurationError,
    FlowportError,
    Operation,
    ProviderError,
    ProviderRejected,
    StoreError,
)
from flowport.network.account import OpenAccount
from flowport.network.accounts import AccountOpener, open_accounts
from flowport.network.connections import Proxy, find_proxy_of, get_ssl_context
from flowport.network.ratelimit.limiter import Priority
from flowport.providers.interface import ApiAnswer, Provider
from flowport.providers.registry import get_plugin
from flowport.runtime.clock import SystemClock
from flowport.settings.settings import Origin, Settings
from flowport.store.opening import open_rate_windows
from flowport.store.process_lock import take_process_lock

CHECK_SECONDS: Final = 10.0
"""How long one check may take; all of them run side by side."""
_FILE_ADDRESS: Final = "https://files.example"
"""Stands for the hosts of results, which only the provider knows."""
_NOT_FOUND: Final = 404
_UNAUTHORIZED: Final = 401


async def open_reading_accounts(settings: Settings, stack: AsyncExitStack) -> list[OpenAccount]:
    """Return the configured accounts. Their requests count in the window that all programs of the home share.

    A home that does not exist yet is not created.
    """
    if not settings.providers:
        return []
    is_there = await anyio.to_thread.run_sync(os.path.isdir, settings.home, abandon_on_cancel=True)
    if not (is_there and settings.home.is_absolute()):
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        settings = replace(settings, home=Path(folder))
    windows = open_rate_windows(settings.home, settings.database_url)
    stack.push_async_callback(windows.close)
    opener = AccountOpener(settings, SystemClock(), windows, secrets.token_hex(8))
    accounts = open_accounts(opener, is_home_usable=False, stack=stack)
    for account in accounts:
        stack.push_async_callback(account.aclose)
    return accounts


async def check_account(
    account: OpenAccount, origins: Mapping[str, Origin], seconds: float = CHECK_SECONDS
) -> AccountFacts:
    """Return whether a provider accepts its key: one free request, or two where the first path family is unknown."""
    plugin = get_plugin(account.account.provider)
    setting = f"{plugin.prefix}API_KEY"
    outcome: Answered | Failed = Failed(None, f"{plugin.title} did not answer within {seconds:g} s.")
    limit = None
    with anyio.move_on_after(seconds):
        try:
            outcome = await _ask_for_list(account)
        except FlowportError as exc:
            outcome = _explain(account, exc)
        limit = await account.limiter.get_status()
    origin = origins.get(setting, "")
    return AccountFacts(plugin.title, plugin.name, account.account.host, setting, origin, outcome, limit)


def _explain(account: OpenAccount, error: FlowportError) -> Failed:
    """Return an error with its advice, and with the address that a person has set where it looks wrong."""
    if not isinstance(error, ProviderError):
        return Failed(error, str(error))
    # The error's own advice speaks of an assistant's client, and here a person gave the key.
    advice = "Check the key." if getattr(error, "status", 0) == _UNAUTHORIZED else error.advice
    address = account.explain(error).removeprefix(str(error))
    return Failed(error, error.explanation, f"{advice}{address}".strip())


async def _ask_for_list(account: OpenAccount) -> Answered:
    """Return what the first list holds, in the first path family that exists.

    Raises:
        FlowportError: No list came.
    """
    first, *others = (account.provider, *account.provider.alternatives)
    try:
        return await _read_list(account, first)
    except ProviderRejected as exc:
        if exc.status != _NOT_FOUND:
            raise
        for provider in others:
            with suppress(ProviderRejected):
                return await _read_list(account, provider)
        raise


async def _read_list(account: OpenAccount, provider: Provider) -> Answered:
    await account.wait_for_turn(Priority.START, Operation.LIST_APPS)
    answer = await account.send_now(provider.build_list_queries()[0].request)
    apps = provider.parse_list(answer, is_own=True).apps
    account.use_path_family(provider.style)
    return Answered(len(apps), provider.style, _read_skew(answer))


def _read_skew(answer: ApiAnswer) -> float | None:
    """Return how far this computer's clock is ahead of the date in an answer."""
    try:
        return SystemClock().now() - parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        return None


def find_routes(settings: Settings) -> dict[str, Proxy | ConfigurationError | None]:
    """Return how the APIs and the files are reached; None for a direct connection. A local API needs no proxy."""
    addresses = {get_plugin(one.provider).title: one.base_url for one in settings.providers if not one.is_loopback}
    return {purpose: _find_route(address) for purpose, address in {**addresses, "files": _FILE_ADDRESS}.items()}


def _find_route(address: str) -> Proxy | ConfigurationError | None:
    try:
        return find_proxy_of(address)
    except ConfigurationError as exc:
        return exc


def find_trust_problem() -> ConfigurationError | None:
    """Return why servers cannot be verified; None if they can."""
    try:
        get_ssl_context()
    except ConfigurationError as exc:
        return exc
    return None


def check_home(folder: Path) -> FolderFacts:
    """Return the state of the home: besides writing, it needs file locks."""
    facts = check_folder("the record of runs", "FLOWPORT_HOME", folder)
    if facts.problem or not folder.is_dir():
        return facts
    try:
        # A lock of our own, as each program has one: it is released at once.
        take_process_lock(folder).release()
    except StoreError as exc:
        return replace(facts, problem=exc.problem)
    return facts


def check_folder(purpose: str, setting: str, path: Path, *, is_needed: bool = True) -> FolderFacts:
    """Return whether a file can be written in a folder, or the folder be created. What is written is removed."""
    facts = FolderFacts(purpose, setting, path, is_needed=is_needed)
    try:
        missing = [one for one in (path, *path.parents) if not os.path.lexists(one)]
        trial = missing[-1] if missing else path / f".flowport-{secrets.token_hex(4)}"
        with suppress(FileExistsError):
            trial.mkdir(mode=0o700)
            free_bytes = shutil.disk_usage(trial).free
            # Another program that creates the folder just now may keep it.
            with suppress(OSError):
                trial.rmdir()
            return replace(facts, free_bytes=free_bytes)
    except OSError as exc:
        return replace(facts, problem=(exc.strerror or type(exc).__name__).lower())
    return facts
