"""A catalogue on a real store and a scripted Magnific, under a clock that never waits."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowport.catalog.refresher import Catalog
from flowport.domain.errors import Operation
from tests.catalog.samples import Store
from tests.support.fake_clock import FakeClock
from tests.support.scripted import FaultyStore, ScriptedAccount


@dataclass
class Bench:
    """A catalogue with what it works on."""

    catalog: Catalog
    cache_store: Store
    account: ScriptedAccount
    store: FaultyStore
    clock: FakeClock

    def count(self) -> tuple[int, int]:
        """Return how many lists and how many definitions were read."""
        return self.account.count(Operation.LIST_APPS), self.account.count(Operation.DESCRIBE_APP)

    @property
    def tools(self) -> tuple[Mapping[str, Any], ...]:
        """The published tools in wire format, in their order."""
        return tuple(one.tool for one in self.catalog.ranked)

    def list_names(self) -> list[str]:
        """Return the names of the published tools."""
        return [tool["name"] for tool in self.tools]

    def get_left_out(self) -> dict[str, str]:
        """Return why apps are left out, by id."""
        return {item.app.id: item.left_out for item in self.catalog.current.listings if item.left_out}


def build_bench(store: FaultyStore, folder: Path, cache_store: Store, *, limit: int = 0, **options: Any) -> Bench:
    """Return a catalogue that knows nothing yet; a second one on the same folder is a later start."""
    clock = options.pop("clock", None) or FakeClock()
    account = ScriptedAccount(cache_store, clock, limit=limit, is_sandbox=options.pop("is_sandbox", False))
    catalog = Catalog(account, store, clock, folder / "catalogue" / "one.json", **options)
    return Bench(catalog, cache_store, account, store, clock)
