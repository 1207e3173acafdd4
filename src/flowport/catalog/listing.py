"""One account's catalogue as it stands at a moment."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from flowport.catalog.names import build_property_names, build_tool_name
from flowport.catalog.schema import build_tool
from flowport.domain.errors import AppUnsupported
from flowport.domain.models import App, Source
from flowport.domain.text import clean_line
from flowport.network.account import OpenAccount
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
    """The tool as it goes over the wire; None until the definition was read, and for an app that cannot be a tool."""
    left_out: str = ""
    """Why the app cannot be a tool, as the end of "left out because"; empty when it can or was not read yet."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every app of one account, own ones first, each group in the provider's order."""

    listings: tuple[Listing, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    """Items of the provider's lists that could not even be named."""
    listed_at: float | None = None
    """When the lists were last read; None when they never were."""
    style: str = ""
    """The path family in which the provider answered, so that the next start need not find it out; empty when unknown."""
    source: Source = Source.ALL
    """Whose apps were asked for."""


SANDBOX_NOTE: Final = (
    "For trying Flowport without an account: pictures are drawn on this computer, not generated. A text gets a "
    "landscape, whatever it asks for."
)


def build_name(app_name: str, app_key: str, taken: Mapping[str, str], *, prefix: str) -> str:
    """Return a tool name that is not taken, as the store asks for it.

    Where another provider's app has the name already, the provider's own name is put before it.

    Args:
        app_key: "<provider>:<host>/<app id>".
        taken: The scope of each name that was ever given.
    """
    cleaned, provider = clean_line(app_name), app_key.partition(":")[0]
    owner = taken.get(build_tool_name(cleaned, app_key, prefix=prefix, taken=()), "")
    if owner and owner.partition(":")[0] != provider:
        prefix = f"{provider}_{prefix}"
    return build_tool_name(cleaned, app_key, prefix=prefix, taken=taken)


def build_properties(app: App, frozen: Mapping[str, str]) -> Mapping[str, str]:
    """Return the argument names of an app's inputs, as the store asks for them."""
    return build_property_names(app.inputs or (), frozen=frozen)


def build_listing(
    listing: Listing, property_names: Mapping[str, str], *, usual_seconds: float | None, account: OpenAccount
) -> Listing:
    """Return the listing with its tool, or with the reason why it can have none."""
    try:
        tool = build_tool(
            listing.app,
            tool_name=listing.tool_name,
            property_names=property_names,
            provider_title="the sandbox" if account.is_sandbox else account.provider.title,
            usual_seconds=usual_seconds,
            title_prefix="Sandbox: " if account.is_sandbox else "",
        )
    except AppUnsupported as exc:
        return replace(listing, property_names=property_names, tool=None, left_out=exc.reason)
    tool = _say_what_it_is(tool) if account.is_sandbox else tool
    return replace(listing, property_names=property_names, tool=tool)


def _say_what_it_is(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tool of a sandbox's app: it says that nothing is generated, and offers no web addresses."""
    schema = tool["inputSchema"]
    properties = {name: _drop_url_hint(one) for name, one in schema["properties"].items()}
    description = f"{tool['description']} {SANDBOX_NOTE}"
    return {**tool, "description": description, "inputSchema": {**schema, "properties": properties}}


def _drop_url_hint(property_schema: Mapping[str, Any]) -> dict[str, Any]:
    description = property_schema.get("description")
    changed = {"description": description.replace(" path, URL, ", " path, ")} if isinstance(description, str) else {}
    return {**property_schema, **changed}
