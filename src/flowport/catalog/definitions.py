"""Read the definitions of apps in tasks of their own, one for all who ask, so that a later call finds what this one began."""

from dataclasses import dataclass, field

import anyio

from flowport.catalog.listing import Listing
from flowport.catalog.refresher import Catalog
from flowport.domain.errors import FlowportError, StoreError
from flowport.runtime.background import Supervisor


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
        self._readings: dict[str, Reading] = {}
        """By tool name."""

    def begin(self, catalog: Catalog, listing: Listing) -> Reading | None:
        """Return the reading of an app's definition, begun if none is under way; None when the definition is known."""
        if listing.tool is not None or listing.left_out:
            return None
        reading = self._readings.get(listing.tool_name)
        if reading is None:
            reading = self._readings[listing.tool_name] = Reading(catalog, listing.tool_name)
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
            self._readings.pop(reading.tool_name).done.set()
