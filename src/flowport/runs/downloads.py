"""Save the outputs of runs: download them, refresh links that expired, retry failures."""

import logging
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, TypeVar
from weakref import WeakValueDictionary

import anyio

from flowport.domain.backoff import Backoff
from flowport.domain.errors import ArgumentsInvalid, ProviderError, RunNotFound, StoreError
from flowport.domain.models import DATA_SCHEME, Output, Run
from flowport.domain.run_events import LinksRefreshed, OutputSaved
from flowport.media.sources import parse_data_uri
from flowport.network.account import OpenAccount
from flowport.network.causes import FetchError
from flowport.network.file_transfer import Fetcher, FetchRules, Sink
from flowport.runs.output_file import Outcome, OutputFile, SavingRules, format_folder_problem, note_problem
from flowport.runs.poll import fetch_status, is_unknown_there
from flowport.runtime.clock import Clock
from flowport.store.interface import Store

logger = logging.getLogger(__name__)


WAIT_SECONDS: Final = 10.0
"""How long a caller waits for fresh links before the old ones are shown."""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The links after a run was read again."""

    run: Run
    fresh: frozenset[int]
    """The outputs that have another link now."""
    gone: frozenset[int]
    """The outputs for which the provider has no link."""


class LinkRefresher:
    """Fetches fresh links and writes them into the store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

    def has_expired(self, output: Output) -> bool:
        """Return whether the link has expired by our clock; its server may still accept it."""
        return bool(output.url) and output.expires_at is not None and output.expires_at <= self._clock.now()

    async def refresh_expired(self, run: Run, account: OpenAccount) -> None:
        """Refresh, for a waiting caller, the links whose files are not saved; gives up after `WAIT_SECONDS`."""
        expired = {output.n for output in run.outputs if not output.saved_path and self.has_expired(output)}
        if expired:
            with anyio.move_on_after(WAIT_SECONDS):
                try:
                    await self.refresh_links(run, account, expired)
                except ProviderError as exc:
                    logger.info("run %s could not be read again for fresh links: %s", run.id, exc)

    async def refresh_links(
        self, run: Run, account: OpenAccount, numbers: Collection[int], lease: int | None = None
    ) -> Refreshed:
        """Return the run with fresh links for these outputs, reading it once for all who ask at the same time.

        Args:
            lease: Of the process that saves the outputs; None for what every process may record.

        Raises:
            ProviderError: The provider does not answer, so no link is known to be gone.
        """
        lock = self._locks.setdefault(run.id, anyio.Lock())
        async with lock:
            kept = await self._get_kept(run)
            if fresh := _find_changed(run, kept, numbers):
                # Another caller refreshed it while we waited for the lock.
                return Refreshed(kept, fresh, frozenset())
            given = await self._fetch_outputs(run, account)
            changed = {
                output.n: self._compare(output, _find_same(output, given), account)
                for output in kept.outputs
                if output.n in numbers
            }
            refreshed = replace(kept, outputs=tuple(changed.get(output.n, output) for output in kept.outputs))
            await self._record(run, tuple(changed.values()), lease)
        fresh = _find_changed(run, refreshed, numbers)
        gone = {output.n for output in changed.values() if output.n not in fresh and self._is_gone(output)}
        return Refreshed(refreshed, fresh, frozenset(gone))

    async def _get_kept(self, run: Run) -> Run:
        try:
            return await self._store.get_run(run.id, account_id=None, owner=run.owner)
        except (StoreError, RunNotFound) as exc:
            logger.warning("run %s is read again without the store: %s", run.id, exc)
            return run

    async def _fetch_outputs(self, run: Run, account: OpenAccount) -> tuple[Output, ...]:
        try:
            return (await fetch_status(run, account, self._clock)).outputs
        except ProviderError as exc:
            if is_unknown_there(exc):
                return ()
            raise

    def _compare(self, output: Output, given: Output | None, account: OpenAccount) -> Output:
        """Return the output with its fresh link, or with the reason for its lack; unchanged while its own may still work."""
        if given is not None and given.url != output.url:
            return replace(output, url=given.url, expires_at=given.expires_at, save_problem="")
        if given is not None and not self._is_gone(output):
            return output
        problem = "" if output.saved_path else format_gone(account.provider.title)
        # Without an instant of its own it would be tried again at every start.
        return replace(output, save_problem=problem, expires_at=output.expires_at or self._clock.now())

    def _is_gone(self, output: Output) -> bool:
        return output.expires_at is None or self.has_expired(output)

    async def _record(self, run: Run, outputs: tuple[Output, ...], lease: int | None) -> None:
        try:
            await self._store.record(run.id, LinksRefreshed(outputs), lease)
        except StoreError as exc:
            logger.warning("fresh links of run %s could not be recorded: %s", run.id, exc)


def format_gone(title: str) -> str:
    """Return the sentence for an output that is no longer available."""
    return f"It is gone: its link has expired, and {title} gives no fresh one."


def _find_same(output: Output, given: Iterable[Output]) -> Output | None:
    """Return the output as the provider reports it now: by its id, where it has one, else by its place."""
    if output.provider_output_id:
        return next((one for one in given if one.provider_output_id == output.provider_output_id), None)
    return next((one for one in given if one.n == output.n and one.kind is output.kind), None)


def _find_changed(before: Run, after: Run, numbers: Collection[int]) -> frozenset[int]:
    urls = {output.n: output.url for output in before.outputs}
    return frozenset(one.n for one in after.outputs if one.n in numbers and one.url != urls.get(one.n))


MAX_FETCHES: Final = 4
"""Outputs of one run, or of all rows of one batch, that are downloaded at once. Slow files of another run delay none."""

T = TypeVar("T")

MISTAKE: Final = "Flowport made a mistake, and its log has the details"


@dataclass(frozen=True, slots=True)
class Saved:
    """The result of trying to save outputs."""

    run: Run
    """With the path, or the reason for its lack, on each output."""
    failed: frozenset[int]
    """The outputs that are worth another try."""
    expired: frozenset[int]
    """Those of them whose links are no longer good, according to their server or our clock."""
    unfit: frozenset[int]
    """Downloads that returned nothing or the wrong type, or met a bug of Flowport; retried a limited number of times."""


async def bring_output(fetcher: Fetcher, url: str, sink: Sink[T], *, rules: FetchRules) -> T:
    """Download an output into a sink, or decode it where its link is a data URI.

    Raises:
        FetchError: It cannot or must not be fetched, or its data is broken.
        OSError: The sink cannot write.
    """
    if not url.startswith(DATA_SCHEME):
        return await fetcher.fetch(url, sink, rules=rules)
    try:
        read = partial(parse_data_uri, url, argument="result", max_bytes=rules.max_bytes)
        return await fetcher.hand_over(read, sink)
    except ArgumentsInvalid as exc:
        problem = "its data stood in the provider's answer, and is broken or too large"
        raise FetchError("the provider", problem, is_refused=True) from exc


class OutputSaver:
    """Saves the outputs of finished runs."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        fetcher: Fetcher,
        *,
        rules: SavingRules,
    ) -> None:
        self._store = store
        self._clock = clock
        self._fetcher = fetcher
        self._rules = rules
        self._places: WeakValueDictionary[str, anyio.Semaphore] = WeakValueDictionary()
        """By run or batch, while any of its outputs is downloaded."""

    def find_missing(self, run: Run) -> frozenset[int]:
        """Return the outputs that are to be saved and are not, by their numbers.

        A link that should have expired is tried as well: a clock may be wrong.
        """
        if not self._rules.is_wanted:
            return frozenset()
        return frozenset(output.n for output in run.outputs if output.url and not output.saved_path)

    async def save_all(self, run: Run, account: OpenAccount, *, only: Collection[int]) -> Saved:
        """Try to save these outputs of a run, all at once, and record each result."""
        rules = FetchRules(trusted_origins=await account.fetch_file_origins())
        saved: dict[int, tuple[Output, Outcome]] = {}
        wanted = [output for output in run.outputs if output.n in only]
        async with anyio.create_task_group() as group:
            for output in wanted[1:]:
                group.start_soon(self._save_one, run, output, account, rules, saved)
            for output in wanted[:1]:
                await self._save_one(run, output, account, rules, saved)
        outcomes = {kind: frozenset(n for n, (_, outcome) in saved.items() if outcome is kind) for kind in Outcome}
        expired, unfit = outcomes[Outcome.EXPIRED], outcomes[Outcome.UNFIT]
        outputs = tuple(saved[output.n][0] if output.n in saved else output for output in run.outputs)
        return Saved(replace(run, outputs=outputs), expired | unfit | outcomes[Outcome.FAILED], expired, unfit)

    async def _save_one(
        self,
        run: Run,
        output: Output,
        account: OpenAccount,
        rules: FetchRules,
        saved: dict[int, tuple[Output, Outcome]],
    ) -> None:
        """Save one output, record the result and add it to `saved`."""
        async with self._places.setdefault(run.batch_id or run.id, anyio.Semaphore(MAX_FETCHES)):
            url = await account.localize(output.url or "")
            saved[output.n] = await self._save(run, output, url, rules)
        await self._note(run, saved[output.n][0])

    async def _note(self, run: Run, output: Output) -> None:
        try:
            outcome = await self._store.record(run.id, OutputSaved(output), run.lease)
        except StoreError as exc:
            logger.warning("output %d of run %s is saved, which could not be recorded: %s", output.n, run.id, exc)
            return
        # The store lacks the output when it could not take the end of the run.
        if outcome.run is None or output.n not in {one.n for one in outcome.run.outputs}:
            logger.warning("output %d of run %s is saved, and not on record", output.n, run.id)

    async def _save(self, run: Run, output: Output, url: str, rules: FetchRules) -> tuple[Output, Outcome]:
        """Return the output with its path, or with the reason for its lack."""
        try:
            # The problem of an earlier attempt no longer holds.
            with OutputFile(run, replace(output, save_problem=""), self._rules) as file:
                kept, outcome = await bring_output(self._fetcher, url, file, rules=rules)
                # A file that came inside the response is not kept twice.
                return (replace(kept, url=kept.link) if outcome is Outcome.KEPT else kept), outcome
        except FetchError as exc:
            return note_problem(output, exc.problem), self._judge(output, exc)
        except OSError as exc:
            reason = exc.strerror or type(exc).__name__
            return note_problem(output, format_folder_problem(self._rules.folder, reason)), Outcome.FAILED
        except Exception:  # the boundary of one output: a bug must not affect others or the next attempt
            logger.exception("output %d of run %s could not be saved because of a bug of Flowport", output.n, run.id)
            return note_problem(output, MISTAKE), Outcome.UNFIT

    def _judge(self, output: Output, error: FetchError) -> Outcome:
        if error.is_refused:
            return Outcome.USELESS
        is_over = output.expires_at is not None and output.expires_at <= self._clock.now()
        return Outcome.EXPIRED if error.is_expired or is_over else Outcome.FAILED


FAILED_DOWNLOAD: Final = Backoff(300.0, 1.0, steps=(1.0, 3.0, 10.0, 30.0, 60.0))
"""A short network failure must not cost minutes. Links live for hours, so it goes on while they may work."""

MAX_UNFIT: Final = 5
"""How often a working link may return nothing or the wrong type before the output is given up."""


@dataclass(slots=True)
class DownloadTask:
    """The outputs of one run that are being saved. Mutable: every attempt changes it."""

    run: Run
    account: OpenAccount
    missing: frozenset[int]
    """The outputs that are worth another attempt."""
    is_refreshed: bool = False
    """Whether the run was read again for fresh links; that is done once."""
    unfit: Counter[int] = field(default_factory=Counter)
    """How often an output returned nothing or the wrong type."""

    async def save(self, saver: OutputSaver, only: frozenset[int]) -> Saved:
        """Try to save these outputs, and drop those of them that are not worth another attempt."""
        saved = await saver.save_all(self.run, self.account, only=only)
        self.unfit.update(saved.unfit)
        hopeless = {n for n in saved.unfit if self.unfit[n] >= MAX_UNFIT}
        self.run, self.missing = saved.run, (self.missing - only) | (saved.failed - hopeless)
        return saved


class DownloadRetrier:
    """Saves outputs, and retries failures while that may help."""

    def __init__(self, store: Store, saver: OutputSaver, link_refresher: LinkRefresher, clock: Clock) -> None:
        self._store = store
        self._saver = saver
        self._link_refresher = link_refresher
        self._clock = clock
        self._retrying: dict[str, anyio.CancelScope | None] = {}
        """The runs that are retried in the background: how to end the pause, None during an attempt."""

    async def try_first(self, run: Run, account: OpenAccount) -> DownloadTask:
        """Try each output that is not saved, with a fresh link where the old one has expired; `try_again` follows."""
        download_task = DownloadTask(run, account, self._saver.find_missing(run))
        await self._attempt(download_task)
        return download_task

    async def try_again(self, download_task: DownloadTask) -> None:
        """Retry what is left, with growing pauses, until nothing is left or another caller restarts it."""
        run_id = download_task.run.id
        failures = 1
        while download_task.missing and (pause := FAILED_DOWNLOAD.get_pause(failures)) is not None:
            failures += 1
            with anyio.CancelScope() as scope:
                self._retrying[run_id] = scope
                await self._clock.sleep(pause)
            if scope.cancel_called:
                return
            self._retrying[run_id] = None
            try:
                await self._read_again(download_task)
                await self._attempt(download_task)
            finally:
                del self._retrying[run_id]

    def restart(self, run_id: str) -> bool:
        """End the pause of a run that is tried again; False when it is being tried right now, and all is well."""
        scope = self._retrying.get(run_id)
        if scope is None:
            return run_id not in self._retrying
        del self._retrying[run_id]
        scope.cancel()
        return True

    async def _read_again(self, download_task: DownloadTask) -> None:
        """Read what others have recorded since: a fresh link, or that the run was erased."""
        run = download_task.run
        try:
            kept = await self._store.get_run(run.id, account_id=None, owner=run.owner)
        except RunNotFound:
            download_task.missing = frozenset()
        except StoreError as exc:
            logger.info("the outputs of run %s are tried again without the store: %s", run.id, exc)
        else:
            # A store that could not record the end of the run has no outputs.
            if kept.lease != run.lease:
                # Another process saves them now.
                download_task.missing = frozenset()
            elif kept.state.is_final:
                download_task.run = kept
                download_task.missing &= self._saver.find_missing(kept)

    async def _attempt(self, download_task: DownloadTask) -> None:
        saved = await download_task.save(self._saver, download_task.missing)
        if saved.expired and not download_task.is_refreshed:
            await self._try_refreshed(download_task, saved.expired)
        elif download_task.is_refreshed:
            download_task.missing -= self._find_dead(download_task.run, saved.expired)

    async def _try_refreshed(self, download_task: DownloadTask, expired: Collection[int]) -> None:
        run = download_task.run
        try:
            refreshed = await self._link_refresher.refresh_links(run, download_task.account, expired, run.lease)
        except ProviderError as exc:
            logger.info("run %s could not be read again for fresh links: %s", run.id, exc)
            return
        download_task.run = refreshed.run
        # The same links may work later; the provider is asked once more when they do not.
        download_task.is_refreshed = bool(refreshed.fresh or refreshed.gone)
        download_task.missing -= refreshed.gone
        if refreshed.fresh:
            await download_task.save(self._saver, refreshed.fresh)

    def _find_dead(self, run: Run, expired: Collection[int]) -> frozenset[int]:
        """Return the outputs whose fresh links have expired as well, according to their server and our clock."""
        dead = (one for one in run.outputs if one.expires_at is None or self._link_refresher.has_expired(one))
        return frozenset(one.n for one in dead if one.n in expired)
