"""Everything that a call may need, in one place: the parts that `assembly` put together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from flowport.catalog.listing import Listing
from flowport.catalog.ranking import ToolOrder, merge_tools
from flowport.catalog.refresher import Catalog
from flowport.catalog.search import get_listing
from flowport.domain.call_errors import AppAmbiguous, AppNotFound
from flowport.media.previews import Previewer
from flowport.network.account import OpenAccount
from flowport.network.download import Fetcher
from flowport.runs.batch.service import Batches
from flowport.runs.delivery import Deliveries
from flowport.runs.durations import DurationBook
from flowport.runs.prepare import CallPreparer
from flowport.runs.recovery import RunClaimer
from flowport.runs.service import Runner
from flowport.runtime.change_feed import Changes
from flowport.runtime.clock import Clock
from flowport.runtime.supervisor import Supervisor
from flowport.settings.settings import Settings
from flowport.store.interface import Store


@dataclass(frozen=True, slots=True)
class OpenCatalog:
    """An account and its catalogue."""

    account: OpenAccount
    catalog: Catalog


@dataclass(frozen=True, slots=True)
class Workspace:
    """The parts of a running Flowport."""

    settings: Settings
    clock: Clock
    store: Store
    catalogs: Sequence[OpenCatalog]
    preparer: CallPreparer
    runner: Runner
    batches: Batches
    claimer: RunClaimer
    fetcher: Fetcher
    changes: Changes
    previewer: Previewer
    deliveries: Deliveries
    durations: DurationBook
    supervisor: Supervisor
    tool_order: ToolOrder = field(default_factory=ToolOrder)

    def get_tools(self) -> list[Mapping[str, Any]]:
        """Return every app tool as it goes over the wire, in order; of all providers together no more than there may be."""
        merged = merge_tools([one.catalog.ranked for one in self.catalogs], max_tools=self.settings.max_tools)
        return self.tool_order.arrange(merged)

    def get_open_catalog(self, wanted: str) -> tuple[OpenCatalog, Listing]:
        """Return the app that a tool name, app id or app name means, and where it belongs.

        Raises:
            AppNotFound: None answers to it; the error tells when that is because a catalogue could not be read.
            AppAmbiguous: Several answer to it.
        """
        listings = [listing for one in self.catalogs for listing in one.catalog.current.listings]
        try:
            found = get_listing(listings, wanted)
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
        """Return an open account by its id, or None when its key is no longer configured."""
        return next((one.account for one in self.catalogs if one.account.account.id == account_id), None)


def _get_problem(one: OpenCatalog) -> str:
    if one.catalog.problem or one.catalog.current.listed_at is not None:
        return one.catalog.problem
    return f"{one.account.provider.title} has not told its apps yet; try again in a moment."
