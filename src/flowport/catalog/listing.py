"""A snapshot of one account's catalogue."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flowport.domain.models import App, Source
from flowport.providers.interface import LeftOut


@dataclass(frozen=True, slots=True)
class Listing:
    """One app of the catalogue with its tool."""

    app: App
    tool_name: str
    """Written to the store once; it never passes to another app."""
    property_names: Mapping[str, str] = field(default_factory=dict)
    """Argument name by input id; empty until the definition was read."""
    tool: Mapping[str, Any] | None = None
    """The tool in wire format; None until the definition was read, and for an app that cannot be a tool."""
    left_out: str = ""
    """Why the app cannot be a tool, as the end of "left out because"; empty when it can or was not read yet."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every app of one account, own ones first, each group in the provider's order."""

    listings: tuple[Listing, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    """Items of the provider's lists that have no usable name."""
    listed_at: float | None = None
    """When the lists were last read; None when they never were."""
    style: str = ""
    """The path family in which the provider answered, which saves the next start from probing; empty when unknown."""
    source: Source = Source.ALL
    """Whose apps were asked for."""
