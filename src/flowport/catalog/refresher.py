"""Bring an account's catalogue up to date: lists first, then the definitions of the apps that will be listed."""

import logging
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from flowport.catalog.fetch import fetch_lists
from flowport.catalog.listing import Catalogue, Listing
from flowport.catalog.name_book import NameBook
from flowport.catalog.ranking import Places, RankedTool, index_tools, order_listings, rank_tools
from flowport.catalog.search import get_listing
from flowport.catalog.snapshots import (
    carry_over,
    choose_to_reread,
    get_unread,
    is_outdated,
    load_catalogue,
    merge_catalogues,
    narrow_catalogue,
    replace_listings,
    save_catalogue,
    unite_apps,
)
from flowport.domain.backoff import Backoff
from flowport.domain.errors import AppUnsupported, ProviderError, StoreError
from flowport.domain.models import App, Source
from flowport.network.account import OpenAccount
from flowport.network.ratelimit.limiter import Priority
from flowport.providers.interface import AppList
from flowport.runtime.clock import Clock
from flowport.runtime.file_systems import get_stamp
from flowport.store.interface import Store

logger = logging.getLogger(__name__)

FAILED_REFRESH: Final = Backoff(15.0, 2.0, 600.0)
"""Between two refreshes that failed."""

WATCH_SECONDS: Final = 15.0
FIRST_WATCH_SECONDS: Final = 0.5
"""Between two checks of the file that another process saves: with a catalogue, and without one."""
MAX_REREAD: Final = 5
"""How many stale definitions are read again within `REREAD_SECONDS`; a model may send wrong inputs all day long."""
REREAD_SECONDS: Final = 600.0

USED_WITHIN_SECONDS: Final = 30 * 24 * 3600.0
"""How long before the start a run gives its app a place in the list; a list that changes by use would cost clients money."""


class Catalog:
    """The catalogue of one open account. It owns the snapshot, its copy on disk and the work of refreshing them."""

    def __init__(
        self,
        account: OpenAccount,
        store: Store,
        clock: Clock,
        cache_path: Path,
        *,
        globs: Sequence[str] = (),
        max_tools: int = 40,
        shares_list: bool = False,
        source: Source = Source.ALL,
        on_change: Callable[[], None] = lambda: None,
        on_saved: Callable[[], None] = lambda: None,
        on_written: Callable[[], None] = lambda: None,
        has_turn: Callable[[], bool] = lambda: True,
        unrecorded: dict[str, tuple[str, str]] | None = None,
    ) -> None:
        """Make an empty catalogue.

        Args:
            shares_list: Whether the tools of other catalogues are in the same list.
            on_change: Called when the tools have changed.
            on_saved: Called when the file was loaded or saved; on_written: when this process has saved it.
            has_turn: Whether this process is the one that refreshes; the others read what it saves.
            unrecorded: The names given so far in a home that is unusable, where nothing is kept; None in any other.
        """
        self._account = account
        self._store = store
        self._names = NameBook(store, account, unrecorded=unrecorded)
        self._clock = clock
        self._cache_path = cache_path
        self._globs = globs
        self._max_tools = max_tools
        self._shares_list = shares_list
        self._on_change = on_change
        self._on_saved = on_saved
        self._on_written = on_written
        self._has_turn = has_turn
        self._is_kept = unrecorded is None
        self._file_stamp = 0
        self._source = source
        self._stale: dict[str, App] = {}
        self._stale_added = anyio.Event()
        self._reread_at: deque[float] = deque(maxlen=MAX_REREAD)
        self._refreshing = anyio.Lock()
        self._reading: defaultdict[str, anyio.Lock] = defaultdict(anyio.Lock)
        # Held from reading `current` to replacing it, so that no concurrent update is lost.
        self._changing = anyio.Lock()
        self._attempted = anyio.Event()
        self._is_cached = False
        self._used: AbstractSet[str] | None = None
        self._order = Places()
        self.ranked: tuple[RankedTool, ...] = ()
        """The app tools with their rank among those of other catalogues."""
        self.current = Catalogue()
        self._list_problem = ""
        self._app_problems: dict[str, str] = {}
        self._declared_ids = account.provider.declared_ids

    @property
    def problem(self) -> str:
        """What could not be refreshed and why, as a sentence; empty when everything could."""
        if self._list_problem or not self._app_problems:
            return self._list_problem or self._names.problem
        (name, sentence), *others = self._app_problems.items()
        return f"{name}{f' and {len(others)} more' if others else ''}: {sentence}"

    async def load(self) -> bool:
        """Merge what an earlier or another process has saved with what was read since; False when nothing was found."""
        self._file_stamp = get_stamp(self._cache_path)
        cached = load_catalogue(self._cache_path)
        if cached is None:
            return False
        self._account.use_path_family(cached.style)
        # The file of a narrower source lacks part of the list; its definitions still save requests.
        is_whole = cached.source in {Source.ALL, self._source}
        async with self._changing:
            narrowed = narrow_catalogue(cached, self._source)
            await self._publish(merge_catalogues(self.current, narrowed, is_whole=is_whole))
        self._is_cached = self._is_cached or is_whole
        self._on_saved()
        return is_whole

    def get_file(self) -> tuple[Path, int]:
        """Return the path of the file and its stamp when it was loaded or saved; 0 when it holds less than is listed."""
        return self._cache_path, self._file_stamp if self._is_cached else 0

    @property
    def is_ready(self) -> bool:
        """Whether there is something to show: an earlier catalogue, or the outcome of the first refresh."""
        return self._is_cached or self._attempted.is_set()

    async def wait_until_attempted(self, seconds: float) -> None:
        """Wait until the first refresh succeeded or failed, at most this long."""
        with anyio.move_on_after(seconds):
            await self._attempted.wait()

    def get_listing(self, wanted: str) -> Listing:
        """Return the app with this tool name, app id or app name.

        Raises:
            AppNotFound: No app has it.
            AppAmbiguous: Several apps have it.
        """
        return get_listing(self.current.listings, wanted)

    async def fetch_listing(self, wanted: str) -> Listing:
        """Return the app as `get_listing` does, with its definition read if it was not yet.

        Raises:
            AppNotFound: No app has it.
            AppAmbiguous: Several apps have it.
            AppUnsupported: It cannot be a tool.
            ProviderError: Its definition cannot be read.
        """
        async with self._reading[self.get_listing(wanted).app.id]:
            # The previous holder of the lock may have read it.
            listing = self.get_listing(wanted)
            if listing.tool is None and not listing.left_out:
                try:
                    changed = replace(listing, app=await self._fetch_definition(listing, Priority.START))
                except AppUnsupported as exc:
                    changed = replace(listing, left_out=exc.reason)
                await self._adopt(changed)
                listing = self.get_listing(listing.tool_name)
        if listing.left_out:
            raise AppUnsupported(listing.tool_name, listing.left_out)
        return listing

    async def keep_fresh(self) -> None:
        """Refresh now and from time to time, and read the definitions of unlisted apps in between. Never returns.

        One process of a home does this for an account; the others load what it saves, and take over when it ends.
        """
        failures = 0
        while True:
            if not self._has_turn():
                await self._watch_file(WATCH_SECONDS if self.is_ready else FIRST_WATCH_SECONDS)
                continue
            failures = 0 if await self.refresh() else failures + 1
            if failures:
                await self._clock.sleep(FAILED_REFRESH.get_pause(failures) or 0.0)
                continue
            if self._account.provider.reads_ahead:
                await self._describe_the_rest()
            await self._watch_file(self._account.provider.refresh_seconds)

    async def _watch_file(self, seconds: float) -> None:
        """Wait this long, and meanwhile load what another process saves: it may have read a stale definition."""
        until = self._clock.monotonic() + seconds
        while (left := until - self._clock.monotonic()) > 0:
            await self._clock.sleep(min(left, WATCH_SECONDS))
            await self.load_changed()

    async def load_changed(self) -> None:
        """Load the catalogue if another process has saved it since."""
        if get_stamp(self._cache_path) == self._file_stamp:
            return
        try:
            if await self.load():
                self._attempted.set()
        except StoreError as exc:
            self._file_stamp = 0
            logger.warning("the catalogue of another process is loaded later: %s", exc)

    def mark_stale(self, app: App) -> None:
        """Have a definition read again, because its provider refused inputs that fit it. Returns at once."""
        self._stale[app.id] = app
        self._stale_added.set()

    async def refresh_stale(self) -> None:
        """Read stale definitions again, in every process; the others get them from the file. Never returns."""
        while True:
            while not self._stale:
                self._stale_added = anyio.Event()
                await self._stale_added.wait()
            app = self._stale.pop(next(iter(self._stale)))
            if get_unread(self.current, app) is None:
                continue
            if len(self._reread_at) == MAX_REREAD:
                await self._clock.sleep(self._reread_at[0] + REREAD_SECONDS - self._clock.monotonic())
            self._reread_at.append(self._clock.monotonic())
            if (listing := get_unread(self.current, app)) is None:
                continue
            try:
                await self._describe([listing], Priority.DISCOVER)
                await self._save()
            except StoreError as exc:
                logger.warning("the tool %s could not be built again: %s", listing.tool_name, exc)

    async def refresh(self) -> bool:
        """Read the lists and what the tool list lacks; False, with `problem` set, when some of it cannot be read.

        After a failure the last catalogue stays.
        """
        async with self._refreshing:
            self._app_problems.clear()
            try:
                await self._read_all()
            except (ProviderError, StoreError) as exc:
                self._list_problem = self._account.explain(exc)
                # The log drops a repeated store error, but only if it gets the error itself.
                shown = exc if isinstance(exc, StoreError) else self._list_problem
                logger.warning("the catalogue could not be refreshed: %s", shown)
                return False
            except Exception:  # the boundary of the refresh: a bug is reported and the refresh retried
                title = self._account.provider.title
                self._list_problem = f"Flowport made a mistake while it read the apps of {title}."
                logger.exception("the catalogue could not be refreshed")
                return False
            finally:
                self._attempted.set()
            await self._save()
            return not (self._list_problem or self._app_problems)

    async def _read_all(self) -> None:
        found = await fetch_lists(self._account, self._source)
        # Reported although the rest was read: what this list names may be out of date.
        self._list_problem = self._account.explain(found.failures[0]) if found.failures else ""
        await self._resume(found.lists)
        await self._describe(await self._choose_to_read(), Priority.DISCOVER)
        # Many clients list once: a passing failure is retried before they are answered.
        await self._describe(await self._choose_missing(), Priority.DISCOVER)

    async def _resume(self, lists: Sequence[AppList]) -> None:
        """Publish the catalogue of these lists. A tool whose app has changed is rebuilt first, so none is missing."""
        async with self._changing:
            merged = await self._merge(lists)
            built = await self._names.build_listings([item for item in merged.listings if is_outdated(item)])
            await self._publish(replace_listings(merged, built))

    async def _merge(self, lists: Sequence[AppList]) -> Catalogue:
        """Return the catalogue of these lists, with names given and known definitions carried over."""
        apps = unite_apps(app for one in lists for app in one.apps)
        known = {listing.app.id: listing for listing in self.current.listings}
        if self._list_problem:
            # One of the lists could not be read: what it contained the last time stays.
            for app_id, listing in known.items():
                apps.setdefault(app_id, listing.app)
        names = await self._names.name_tools(tuple(apps.values()), known)
        # A new process asks again: what was left out may have been declared or repaired since.
        patience = self._account.provider.left_out_seconds if self._attempted.is_set() else 0.0
        keep = partial(carry_over, left_out_since=self._clock.now() - patience)
        listings = tuple(keep(app, names[app.id], known.get(app.id)) for app in apps.values())
        left_out = tuple(item for one in lists for item in one.left_out)
        return Catalogue(listings, left_out, self._clock.now(), style=self._account.provider.style, source=self._source)

    async def _choose_to_read(self) -> list[Listing]:
        """Return the apps whose definitions the tool list lacks, and a few whose definitions are old, oldest first."""
        again = choose_to_reread(self.current.listings, now=self._clock.now(), declared_ids=self._declared_ids)
        self._declared_ids = frozenset()
        return list({listing.app.id: listing for listing in (*await self._choose_missing(), *again)}.values())

    async def _choose_missing(self) -> list[Listing]:
        used = await self._find_used(self.current.listings)
        ordered = order_listings(self._order.settle(self.current.listings), globs=self._globs, used_app_ids=used)
        wanted = [listing for listing in ordered if not listing.left_out][: self._max_tools]
        return [listing for listing in wanted if listing.tool is None]

    async def _describe_the_rest(self) -> None:
        for listing in self.current.listings:
            if listing.tool is None and not listing.left_out:
                try:
                    await self._describe([listing], Priority.DISCOVER_LATER)
                except StoreError as exc:
                    logger.warning("the rest of the catalogue is not read: %s", exc)
                    return
        await self._save()

    async def _describe(self, listings: Sequence[Listing], priority: Priority) -> None:
        """Read these apps' definitions concurrently and publish each tool as it arrives. One that fails stays as it is.

        Raises:
            StoreError: Names could not be kept, so some tools are missing.
        """
        failures: list[StoreError] = []

        async def describe(listing: Listing) -> None:
            try:
                app = await self._fetch_definition(listing, priority)
                await self._adopt(replace(listing, app=app, left_out=""))
            except AppUnsupported as exc:
                app = replace(listing.app, read_at=self._clock.now())
                await self._adopt(replace(listing, app=app, tool=None, left_out=exc.reason))
            except ProviderError as exc:
                self._app_problems[listing.tool_name] = str(exc)
            except StoreError as exc:
                failures.append(exc)

        async with anyio.create_task_group() as group:
            for listing in listings:
                group.start_soon(describe, listing)
        if failures:
            raise failures[0]

    async def _adopt(self, listing: Listing) -> None:
        """Build the tool of this listing and publish it in place of the old one."""
        self._app_problems.pop(listing.tool_name, None)
        async with self._changing:
            built = await self._names.build_listings([listing])
            await self._publish(replace_listings(self.current, built))

    async def _fetch_definition(self, listing: Listing, priority: Priority) -> App:
        description = self._account.provider.describe_app(listing.app, read_at=self._clock.now())
        return await self._account.converse(description, priority)

    async def _find_used(self, listings: Sequence[Listing]) -> AbstractSet[str]:
        """Return the apps that were used before this process began, where that decides which have a tool."""
        if self._used is None and (len(listings) > self._max_tools or self._shares_list):
            since = self._clock.now() - USED_WITHIN_SECONDS
            try:
                self._used = await self._store.get_used_apps(account_id=self._account.account.id, since=since)
            except StoreError as exc:
                # The order matters less than the list, which must not wait for the store to be repaired.
                logger.warning("the recently used apps could not be read: %s", exc)
        return self._used or frozenset()

    async def _publish(self, catalogue: Catalogue) -> None:
        used = await self._find_used(catalogue.listings)
        ranked = rank_tools(self._order.settle(catalogue.listings), globs=self._globs, used_app_ids=used)[
            : self._max_tools
        ]
        before, self.current, self.ranked = self.ranked, catalogue, ranked
        if index_tools(ranked) != index_tools(before):
            self._on_change()

    async def _save(self) -> None:
        """Write the file, with what another process has written into it since. A list wider than ours is kept."""
        if not self._is_kept:
            return
        await self.load_changed()
        stored = load_catalogue(self._cache_path)
        whole = self.current if stored is None else merge_catalogues(self.current, stored, is_whole=True)
        try:
            save_catalogue(self._cache_path, whole)
            self._file_stamp = get_stamp(self._cache_path)
            self._is_cached = True
            self._on_saved()
            self._on_written()
        except OSError as exc:
            logger.warning("the catalogue could not be saved: %s (%s)", exc.strerror, self._cache_path)
