"""Name the tools and arguments of one account's apps, and build their tools."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from flowport.catalog.listing import Listing
from flowport.catalog.names import build_property_names, build_tool_name
from flowport.catalog.schema import build_tool
from flowport.domain.errors import AppUnsupported, StoreError
from flowport.domain.models import App
from flowport.domain.text import clean_line
from flowport.network.account import OpenAccount
from flowport.store.interface import Store
from flowport.store.records import get_usual_seconds

SANDBOX_NOTE: Final = (
    "For trying Flowport without an account: pictures are drawn on this computer, not generated. A text gets a "
    "landscape, whatever it asks for."
)


def name_apps(
    apps: Iterable[App], assigned: Mapping[str, tuple[str, str]], *, scope: str, prefix: str = ""
) -> dict[str, str]:
    """Return the tool name of each app by its id: the assigned one, otherwise one that no app has.

    Where another provider's app has the name, the provider's name is put before it.

    Args:
        assigned: The scope and the app id of each name that was ever assigned.
        scope: "<provider>:<host>", of these apps.
    """
    owners = dict(assigned)
    names = {app_id: name for name, (owner, app_id) in assigned.items() if owner == scope}
    provider = scope.partition(":")[0]
    named: dict[str, str] = {}
    for app in apps:
        if app.id not in names:
            cleaned, key = clean_line(app.name), f"{scope}/{app.id}"
            owner, _ = owners.get(build_tool_name(cleaned, key, prefix=prefix, taken=()), ("", ""))
            is_elsewhere = owner and owner.partition(":")[0] != provider
            name = build_tool_name(
                cleaned, key, prefix=f"{provider}_{prefix}" if is_elsewhere else prefix, taken=owners
            )
            names[app.id], owners[name] = name, (scope, app.id)
        named[app.id] = names[app.id]
    return named


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
    tool = _mark_sandbox(tool) if account.is_sandbox else tool
    return replace(listing, property_names=property_names, tool=tool)


def _mark_sandbox(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tool of a sandbox's app: it says that nothing is generated, and offers no web addresses."""
    schema = tool["inputSchema"]
    properties = {name: _drop_url_hint(one) for name, one in schema["properties"].items()}
    description = f"{tool['description']} {SANDBOX_NOTE}"
    return {**tool, "description": description, "inputSchema": {**schema, "properties": properties}}


def _drop_url_hint(property_schema: Mapping[str, Any]) -> dict[str, Any]:
    description = property_schema.get("description")
    changed = {"description": description.replace(" path, URL, ", " path, ")} if isinstance(description, str) else {}
    return {**property_schema, **changed}


class NameBook:
    """The names of one account's tools and arguments, and the usual durations.

    They come from the store. In a home that is unusable they are assigned without it: no run is ever started there, so an
    unrecorded name cannot be mistaken later, and the tool list need not wait. A store that only fails now raises instead.
    """

    def __init__(self, store: Store, account: OpenAccount, *, unrecorded: dict[str, tuple[str, str]] | None) -> None:
        """Prepare.

        Args:
            unrecorded: The scope and the app id of each name that this process has assigned, for all accounts; None where
                the store keeps them.
        """
        self.problem = ""
        """Why the store is unusable, as a sentence, where names are assigned without it."""
        self._unrecorded = unrecorded
        self._store = store
        self._account = account
        self._scope = account.account.scope
        self._prefix = "sandbox_" if account.is_sandbox else ""

    async def name_tools(self, apps: Sequence[App], known: Mapping[str, Listing]) -> Mapping[str, str]:
        """Return the tool name of each app by its id.

        Args:
            known: The listings of the last catalogue by app id; their names are kept where there is no store.

        Raises:
            StoreError: The names could not be stored.
        """
        name = partial(name_apps, apps, scope=self._scope, prefix=self._prefix)
        try:
            names: dict[str, str] = {}
            # Once more where another process has assigned one of these names since.
            while len(names) < len({app.id for app in apps}):
                names = await self._store.assign_tool_names(self._scope, name(await self._store.get_tool_names()))
        except StoreError as exc:
            unrecorded = self._do_without(exc)
            unrecorded.update({listing.tool_name: (self._scope, app_id) for app_id, listing in known.items()})
            names = name(unrecorded)
            unrecorded.update({each: (self._scope, app_id) for app_id, each in names.items()})
        return names

    async def build_listings(self, listings: Sequence[Listing]) -> dict[str, Listing]:
        """Return the listings by app id, those whose definition was read with property names and tools.

        Raises:
            StoreError: The names could not be stored.
        """
        built = {item.app.id: item for item in listings}
        readable = [item for item in listings if item.app.inputs is not None and not item.left_out]
        if not readable:
            return built
        names = await self._name_arguments(readable)
        for item in readable:
            usual = await self._get_usual_seconds(item.app.id)
            built[item.app.id] = build_listing(item, names[item.app.id], usual_seconds=usual, account=self._account)
        return built

    async def _name_arguments(self, listings: Sequence[Listing]) -> Mapping[str, Mapping[str, str]]:
        inputs = {item.app.id: item.app.inputs or () for item in listings}
        try:
            while True:
                assigned = await self._store.get_property_names(self._scope, inputs.keys())
                built = {app_id: build_property_names(own, assigned[app_id]) for app_id, own in inputs.items()}
                names = await self._store.assign_property_names(self._scope, built)
                # Once more where another process has assigned one of these names to another input since.
                if all(built[app_id].keys() <= names[app_id].keys() for app_id in built):
                    return {app_id: {one: names[app_id][one] for one in own} for app_id, own in built.items()}
        except StoreError as exc:
            self._do_without(exc)
        return {item.app.id: build_property_names(inputs[item.app.id], item.property_names) for item in listings}

    async def _get_usual_seconds(self, app_id: str) -> float | None:
        try:
            return get_usual_seconds(
                await self._store.get_durations(account_id=self._account.account.id, app_id=app_id)
            )
        except StoreError as exc:
            self._do_without(exc)
            return None

    def _do_without(self, error: StoreError) -> dict[str, tuple[str, str]]:
        if self._unrecorded is None:
            raise error
        self.problem = str(error)
        return self._unrecorded
