"""What every action works on: the parts that `bootstrap` puts together for one set of accounts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any, Final

import anyio

from flowport.catalog.listing import Listing
from flowport.catalog.ranking import ToolOrder, merge_tools
from flowport.catalog.refresher import Catalog
from flowport.catalog.search import get_listing
from flowport.domain.call_errors import AppAmbiguous, AppNotFound, DefinitionNotRead, PriceUnconfirmed
from flowport.domain.errors import FlowportError, StoreError
from flowport.domain.spending import combine_limits, find_price_question
from flowport.domain.text import format_duration
from flowport.media.previews import Previewer
from flowport.network.account import OpenAccount
from flowport.network.file_transfer import Fetcher
from flowport.runs.announcements import Announcements
from flowport.runs.batch.prepare import PreparedBatch
from flowport.runs.batch.service import Batches
from flowport.runs.delivery import Caller, Deliveries
from flowport.runs.file_links import FileLinks
from flowport.runs.lost_starts import LostStarts
from flowport.runs.prepare import CallPreparer, PreparedCall
from flowport.runs.received_files import ReceivedFiles
from flowport.runs.recovery import Recovery
from flowport.runs.service import Runner
from flowport.runs.submit import RunRequest, Submitter
from flowport.runs.waiting import EventWait, Waiter, wait
from flowport.runtime.background import Changes, Supervisor
from flowport.runtime.clock import Clock
from flowport.settings.settings import Settings
from flowport.store.interface import Store

FIRST_CATALOGUE_SECONDS: Final = 8.0
"""How long the first list and the first call wait for a catalogue when none is cached."""

LEAST_SECONDS: Final = 2.0
"""How long a definition is waited for at the least: where no request has to wait it takes less, also for a caller who
wants every answer at once."""

_LIMIT_SECONDS: Final = 1.0
"""A request that waits for the request limit waits longer than this; it is shown in whole seconds."""


@dataclass(frozen=True, slots=True)
class OpenCatalog:
    """An account and its catalogue."""

    account: OpenAccount
    catalog: Catalog

    @property
    def provider_names(self) -> tuple[str, ...]:
        """What its provider is called in settings, and by people."""
        return self.account.account.provider, self.account.provider.title


@dataclass(slots=True)
class Reading:
    """A definition that is being read."""

    catalog: Catalog
    tool_name: str
    done: anyio.Event = field(default_factory=anyio.Event)
    error: FlowportError | None = None


class DefinitionReader:
    """Reads definitions in the background."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._readings: dict[tuple[Catalog, str], Reading] = {}
        """By catalogue and tool name: two accounts of a provider have an app under the same name."""

    def begin(self, catalog: Catalog, listing: Listing) -> Reading | None:
        """Return the reading of an app's definition, begun if none is under way; None when the definition is known."""
        if listing.tool is not None or listing.left_out:
            return None
        key = (catalog, listing.tool_name)
        reading = self._readings.get(key)
        if reading is None:
            reading = self._readings[key] = Reading(*key)
            self._supervisor.spawn(f"definition of {listing.tool_name}", self._read, reading)
        return reading

    async def _read(self, reading: Reading) -> None:
        try:
            await reading.catalog.fetch_listing(reading.tool_name)
        except FlowportError as exc:
            reading.error = exc
        except Exception:
            reading.error = StoreError("Flowport made a mistake", "Its log has the details.")
            raise
        finally:
            self._readings.pop((reading.catalog, reading.tool_name)).done.set()


@dataclass(frozen=True, slots=True)
class Workspace:
    """The parts of a running Flowport."""

    settings: Settings
    clock: Clock
    store: Store
    catalogs: Sequence[OpenCatalog]
    definitions: DefinitionReader
    preparer: CallPreparer
    runner: Runner
    batches: Batches
    run_submitter: Submitter[PreparedCall]
    batch_submitter: Submitter[PreparedBatch]
    waiter: Waiter
    recovery: Recovery
    lost_starts: LostStarts
    announcements: Announcements
    fetcher: Fetcher
    changes: Changes
    previewer: Previewer
    deliveries: Deliveries
    file_links: FileLinks
    received: ReceivedFiles
    tool_order: ToolOrder = field(default_factory=ToolOrder)

    def get_tools(self) -> list[Mapping[str, Any]]:
        """Return every app tool as it goes over the wire, in order; of all providers together no more than there may be."""
        merged = merge_tools([one.catalog.ranked for one in self.catalogs], max_tools=self.settings.max_tools)
        return self.tool_order.arrange(merged)

    def get_listings(self) -> list[Listing]:
        """Return every app of every catalogue."""
        return [listing for one in self.catalogs for listing in one.catalog.current.listings]

    async def wait_for_catalogues(self) -> None:
        """Wait until every catalogue has something to show, at most eight seconds."""
        awaited = [one.catalog for one in self.catalogs if not one.catalog.is_ready]
        if not awaited:
            return
        async with anyio.create_task_group() as group:
            for catalog in awaited:
                group.start_soon(catalog.wait_until_attempted, FIRST_CATALOGUE_SECONDS)

    def build_request(self, caller: Caller, *, is_new_wanted: bool) -> RunRequest:
        """Return the request of a call that asks for a run."""
        return RunRequest(
            caller.owner,
            caller.connection,
            is_local=caller.principal.is_local,
            max_file_bytes=None if caller.principal.is_local else self.settings.http.max_file_bytes,
            is_stopped_with_caller=self.settings.should_stop_on_cancel,
            is_new_wanted=is_new_wanted,
            own_limits=caller.principal.spending_limits,
            exchange=caller.exchange,
        )

    def find_price_question(
        self, caller: Caller, app_name: str, price_credits: float | None, *, runs: int = 1
    ) -> PriceUnconfirmed | None:
        """Return the question to the caller before runs of this price, by the caller's own limits; None if none is needed."""
        own = caller.principal.spending_limits
        limits = combine_limits(self.settings.spending_limits, own)
        is_own = own is not None and own.confirm_above_credits is not None
        return find_price_question(limits, app_name, price_credits, runs=runs, is_own=is_own)

    async def fetch_app(self, wanted: str, caller: Caller) -> tuple[OpenCatalog, Listing]:
        """Return the app that is meant, with its definition, which is read if it is not known yet.

        Raises:
            AppNotFound, AppAmbiguous: As `get_open_catalog`.
            DefinitionNotRead: It is not read yet, and the wait budget is used up; the reading goes on.
            FlowportError: What `Catalog.fetch_listing` raises.
        """
        home, listing = await self.find_app(wanted)
        return home, await self.fetch_definition(home, listing, caller)

    async def fetch_definition(self, home: OpenCatalog, listing: Listing, caller: Caller) -> Listing:
        """Return an app with its definition, as `fetch_app` does."""
        reading = self.definitions.begin(home.catalog, listing)
        if reading is not None:
            deadline = max(self.waiter.get_deadline(caller), self.clock.monotonic() + LEAST_SECONDS)
            subject = _DefinitionWait(reading.done, home.account)
            if not await wait(subject, caller, self.clock, deadline, self.waiter.patience):
                raise DefinitionNotRead(listing.app.name, home.account.provider.title, subject.get_limit_seconds())
            if reading.error is not None:
                raise reading.error
        return await home.catalog.fetch_listing(listing.tool_name)

    async def find_app(self, wanted: str) -> tuple[OpenCatalog, Listing]:
        """Return the app that is meant; only a tool that is known already waits for no catalogue that is still to come.

        Raises:
            AppNotFound, AppAmbiguous: As `get_open_catalog`.
        """
        try:
            home, listing = self.get_open_catalog(wanted)
        except AppNotFound:
            is_tool = False
        else:
            is_tool = listing.tool_name == wanted
        if is_tool:
            return home, listing
        # An app that is not read yet may have the name too, and then this one was perhaps not meant.
        await self.wait_for_catalogues()
        return self.get_open_catalog(wanted)

    def get_open_catalog(self, wanted: str) -> tuple[OpenCatalog, Listing]:
        """Return the app that a tool name, app id or app name means, and where it belongs.

        Raises:
            AppNotFound: No app has the name; the error says when that is because a catalogue could not be read.
            AppAmbiguous: Several have it.
        """
        try:
            found = get_listing(self.get_listings(), wanted)
        except AppNotFound as exc:
            raise replace(exc, catalogue_problem=self.get_catalogue_problem()) from exc
        except AppAmbiguous as exc:
            titles = {one.account.account.provider: one.account.provider.title for one in self.catalogs}
            namesakes = [replace(one, provider=titles.get(one.provider, one.provider)) for one in exc.namesakes]
            raise replace(exc, namesakes=tuple(namesakes)) from exc
        home = next(one for one in self.catalogs if found in one.catalog.current.listings)
        return home, found

    def get_catalogue_problem(self) -> str:
        """Return why apps may be missing, as sentences; empty when every catalogue was read."""
        return " ".join(filter(None, map(_get_problem, self.catalogs)))

    def get_account(self, account_id: str) -> OpenAccount | None:
        """Return an open account by its id, also one that this workspace does not offer; None when its key is not at hand."""
        return self.waiter.accounts.get(account_id)


class _DefinitionWait(EventWait):
    """Waits for the definition of an app."""

    def __init__(self, event: anyio.Event, account: OpenAccount) -> None:
        super().__init__(event)
        self._account = account

    def get_message(self) -> str:
        """Return what the reading waits for."""
        seconds = self.get_limit_seconds()
        why = (
            f"{self._account.provider.title} has not answered yet"
            if seconds is None
            else f"the requests of this minute are used up, about {format_duration(seconds)} left"
        )
        return f"waiting to read the app's definition: {why}"

    def get_limit_seconds(self) -> int | None:
        """Return how long a request waits for the request limit, in whole seconds; None when it does not have to."""
        seconds = self._account.limiter.get_wait(1)
        return ceil(seconds) if seconds > _LIMIT_SECONDS else None


def _get_problem(one: OpenCatalog) -> str:
    if one.catalog.problem or one.catalog.current.listed_at is not None:
        return one.catalog.problem
    return f"{one.account.provider.title} has not told its apps yet; try again in a moment."
