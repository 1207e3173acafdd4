"""A person at a terminal as a caller: progress, questions, delivery, and Ctrl-C, which leaves a started run going."""

import asyncio
import gc
import logging
import os
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import anyio
import anyio.lowlevel
import anyio.to_thread
import click

from flowport.actions.find_apps import refresh_catalogues
from flowport.actions.workspace import OpenCatalog, Workspace
from flowport.bootstrap import open_assembly
from flowport.catalog.listing import Listing
from flowport.cli.console import ExitCode, print_json, report_error, say, word_for_terminal
from flowport.cli.progress import LiveProgress
from flowport.cli.streams import OutputLost, discard_output
from flowport.domain.call_errors import AppNotFound, count_credits
from flowport.domain.errors import ConfigurationError, FlowportError, StoreError
from flowport.domain.models import Run, RunState
from flowport.domain.principal import LOCAL
from flowport.domain.spending import Consent
from flowport.domain.text import clean_line
from flowport.runtime.exchange import Exchange
from flowport.runtime.logging import start_logging
from flowport.settings.settings import Settings, get_environment, load_settings
from flowport.settings.values import find_passwords

PATIENCE_SECONDS: Final = 30 * 24 * 3600.0
"""How long a command waits for a run: a person ends it with Ctrl-C."""

START_SECONDS: Final = 15.0
"""How long Ctrl-C lets a start that is on its way come to its end. A second Ctrl-C does not wait."""

UNSENT: Final = frozenset({RunState.ACCEPTED, RunState.STARTING})


Work: TypeAlias = Callable[["Session"], Awaitable[ExitCode]]


class Session:
    """One command: the workspace, and the person who called it. It is a `Caller` and a `Watcher`."""

    principal = LOCAL
    owner = LOCAL.owner
    client = "flowport in a terminal"
    is_progress_wanted = True

    def __init__(self, workspace: Workspace, *, is_json: bool, is_agreed: bool) -> None:
        """Begin; `is_agreed` agrees to every price and to another run where the outcome of one is unknown."""
        self.workspace = workspace
        self.is_json = is_json
        self.arrived_at_seconds = workspace.clock.monotonic()
        self.connection = f"terminal-{secrets.token_hex(8)}"
        self.exchange = Exchange()
        self.progress = LiveProgress()
        self.run: Run | None = None
        """What the command has started or joined."""
        self.app_name = ""
        self._is_agreed = is_agreed
        self._is_asking = False

    async def report(self, _: float, message: str, /) -> None:
        """Show progress."""
        self.progress.update(message)

    async def confirm(self, question: str, _: float, /) -> Consent:
        """Ask on the terminal; without one nothing can be asked."""
        if self._is_agreed:
            return Consent.GIVEN
        if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
            return Consent.CANNOT_ASK
        self.progress.pause()
        self._is_asking = True
        is_wanted = await ask(word_for_terminal(question))
        self._is_asking = False
        return Consent.GIVEN if is_wanted else Consent.REFUSED

    def note_price(self, price_credits: float | None, runs: int) -> None:
        """Print what the run or the batch costs, before it starts."""
        self.progress.pause()
        price = "of unknown price" if price_credits is None else f"for {count_credits(price_credits)}"
        say(f"{self.app_name}: {'one run' if runs == 1 else f'{runs} runs'} {price}{' together' * (runs > 1)}.")

    def note_run(self, run: Run, *, is_joined: bool) -> None:
        """Remember the run, for Ctrl-C."""
        self.run = run
        if is_joined:
            self.progress.pause()
            say(f"Joined {run.id}, which asked for the same and was not delivered yet. --new makes another.")

    async def fetch_app(self, wanted: str) -> tuple[OpenCatalog, Listing]:
        """Return the app that is meant; before it is called unknown, the providers are asked for new apps.

        Raises:
            FlowportError: As `Workspace.fetch_app`.
        """
        try:
            found = await self.workspace.fetch_app(wanted, self)
        except AppNotFound:
            self.progress.update("asking for new apps")
            await refresh_catalogues(self.workspace)
            found = await self.workspace.fetch_app(wanted, self)
        self.app_name = clean_line(found[1].app.name)
        account, app = found[0].account.account, found[1].app
        durations = self.workspace.waiter.durations
        await durations.load(account.id, app.id)
        usual = durations.get_usual(account.id, app.id)
        self.progress.usual_seconds = usual.median_seconds if usual else None
        return found

    async def deliver(self, facts: Mapping[str, Any], human: Callable[[], None]) -> None:
        """Print a result; only when all of it was written it counts as delivered.

        Raises:
            OutputLost: It could not be written: what reads it has gone, or the disk is full.
        """
        self.progress.pause()
        try:
            if self.is_json:
                print_json(facts)
            else:
                human()
            sys.stdout.flush()
        except OutputLost:
            self.exchange.note_disconnected()
            raise
        self.exchange.note_written()
        await anyio.lowlevel.checkpoint()

    async def leave(self) -> None:
        """Say what becomes of the run after Ctrl-C. A start that is on its way comes to its end first."""
        if self._is_asking:
            sys.stderr.write("\n")
        run, live = self.run, self.workspace.waiter.live_runs
        if run is None:
            self._say_interrupted("Nothing was started.", {})
            return
        if (entry := live.get(run.id)) is not None and entry.run.state in UNSENT and not run.is_batch:
            say("Waiting for the start that is on its way. Ctrl-C again does not wait.")
        with anyio.move_on_after(START_SECONDS):
            while (entry := live.get(run.id)) is not None and entry.run.state in UNSENT and not run.is_batch:
                await entry.changed.wait()
        if run.is_batch:
            text = f"{run.id} goes on while any Flowport runs. `flowport show {run.id} --wait` continues it."
        elif entry is not None and entry.run.state is RunState.ACCEPTED:
            text = f"{run.id} was not sent, so it ends here and costs nothing."
        else:
            text = (
                f"{run.id} goes on at the provider. `flowport show {run.id} --wait` waits for its result and saves it."
            )
        self._say_interrupted(text, {"run_id": run.id})

    def _say_interrupted(self, text: str, facts: Mapping[str, Any]) -> None:
        if self.is_json:
            print_json({"error": {"kind": "Interrupted", "message": text, **facts}})
        else:
            say(text)


async def ask(question: str) -> bool:
    """Ask a yes-or-no question on the terminal; no answer is a no."""
    confirm = partial(click.confirm, question, default=False, err=True)
    try:
        return await anyio.to_thread.run_sync(confirm, abandon_on_cancel=True)
    except click.Abort:
        return False


def load_terminal_settings(config: Path | None, home: str | None) -> Settings:
    """Return the settings of a command that a person types.

    Files need no permission: FLOWPORT_FILE_ROOTS keeps assistants from private files, and a person who types the name of a
    file has chosen it.

    Raises:
        ConfigurationError: A setting cannot be used.
    """
    given = {"FLOWPORT_HOME": home} if home else {}
    settings = load_settings(given, get_environment(), config_path=config)
    return replace(
        settings,
        file_roots=_get_drives(),
        wait_seconds=PATIENCE_SECONDS,
        should_show_previews=False,
        should_stop_on_cancel=False,
    )


def _get_drives() -> tuple[Path, ...]:
    """Return the roots of the file system: one, or one for each drive."""
    list_drives: Callable[[], Sequence[str]] = getattr(os, "listdrives", lambda: [Path.cwd().anchor])
    return tuple(map(Path, list_drives()))


def run_session(work: Work, given: Mapping[str, Any]) -> int:
    """Open the workspace that a command's flags select, run the command in it and return the exit code."""
    is_json, is_agreed = given["is_json"], given.get("is_agreed", False)
    try:
        settings = load_terminal_settings(given["config"], given["home"])
    except ConfigurationError as exc:
        return report_error(exc, is_json=is_json)
    secrets = {provider.api_key for provider in settings.providers} | find_passwords(settings.database_url)
    start_logging(secrets, level=logging.ERROR)
    gc.freeze()
    gc.enable()
    try:
        code = anyio.run(_open, settings, partial(Session, is_json=is_json, is_agreed=is_agreed), work)
    except (StoreError, ConfigurationError) as exc:
        # The database of a team cannot be reached, or the libraries for it are missing.
        return report_error(exc, is_json=is_json)
    if code is ExitCode.INTERRUPTED:
        # A thread may still read the terminal, and the usual way out would wait for it.
        with suppress(OutputLost):
            sys.stdout.flush()
        os._exit(code)
    return code


async def _open(settings: Settings, build: Callable[[Workspace], Session], work: Work) -> ExitCode:
    async with open_assembly(settings) as assembly:
        session = build(assembly.workspace)
        code = ExitCode.INTERRUPTED
        loop = asyncio.get_running_loop()
        with session.progress, anyio.CancelScope() as scope:
            _at_signal(partial(loop.call_soon_threadsafe, scope.cancel))
            code = await _carry_out(session, work)
        _at_signal(partial(os._exit, ExitCode.INTERRUPTED))
        if code is ExitCode.INTERRUPTED:
            await session.leave()
    return code


async def _carry_out(session: Session, work: Work) -> ExitCode:
    try:
        try:
            return await work(session)
        except FlowportError as exc:
            session.exchange.withdraw()
            session.progress.pause()
            return report_error(exc, is_json=session.is_json)
    except OutputLost:
        shown = f" `flowport show {session.run.id}` prints it again." if session.run else ""
        say(f"The output could not be written, so the result does not count as delivered.{shown}")
        discard_output()
        return ExitCode.FAILED


def _at_signal(act: Callable[[], object]) -> None:
    """Do something at the next Ctrl-C, or when the terminal is closed. By plain handlers, because Windows' event loop takes none."""
    hangup = [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []
    for number in (signal.SIGINT, signal.SIGTERM, *hangup):
        signal.signal(number, lambda *_: act())
