"""Everything that a call may need, in one place: the parts that `assembly` put together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from flowport.accounts import OpenAccount
from flowport.call_errors import AppAmbiguous, AppNotFound
from flowport.catalog.discovery import Catalog
from flowport.catalog.records import Listing
from flowport.catalog.search import get_listing
from flowport.catalog.selection import merge_tools
from flowport.catalog.tool_order import ToolOrder
from flowport.changes import Changes
from flowport.clock import Clock
from flowport.fetch import Fetcher
from flowport.ledger.interface import Ledger
from flowport.previewing import Previewer
from flowport.runner.batches import Batches
from flowport.runner.delivery import Deliveries
from flowport.runner.durations import DurationBook
from flowport.runner.inheriting import RunInheritor
from flowport.runner.preparing import CallPreparer
from flowport.runner.runs import Runner
from flowport.settings import Settings
from flowport.supervisor import Supervisor


@dataclass(frozen=True, slots=True)
class OpenCatalog:
    """An account and its catalogue."""

    account: OpenAccount
    catalog: Catalog


@dataclass(frozen=True, slots=True)
class Desk:
    """The parts of a running Flowport."""

    settings: Settings
    clock: Clock
    ledger: Ledger
    catalogs: Sequence[OpenCatalog]
    preparer: CallPreparer
    runner: Runner
    batches: Batches
    inheritor: RunInheritor
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
