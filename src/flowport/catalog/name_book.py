"""Names of tools and of their arguments: from the record, or given by a process that can never use one.

In a home that cannot be used no run is ever started, so a name that is on no record can cost nothing, and the list of
tools need not wait. A record that only fails just now keeps its names to itself: one that was not written down could go
to another app later.
"""

from collections.abc import Mapping, Sequence
from functools import partial

from flowport.catalog.listing import Listing, build_name, build_properties
from flowport.domain.errors import StoreError
from flowport.domain.models import App
from flowport.network.account import OpenAccount
from flowport.store.interface import Store
from flowport.store.records import get_usual_seconds


class NameBook:
    """Gives the names of one account's apps, and knows how long each usually takes."""

    def __init__(self, store: Store, account: OpenAccount, *, unrecorded: dict[str, str] | None) -> None:
        """Prepare.

        Args:
            unrecorded: The scope of each name that this process has given, for all accounts together; None where a record
                keeps them.
        """
        self.problem = ""
        """Why the record cannot be used, as a sentence, where names are given without it."""
        self._unrecorded = unrecorded
        self._store = store
        self._account = account.account
        self._build_name = partial(build_name, prefix="sandbox_" if account.is_sandbox else "")

    async def name_tools(self, apps: Sequence[App], known: Mapping[str, Listing]) -> Mapping[str, str]:
        """Return the tool name of each app by its id.

        Args:
            known: The listings of the last catalogue by app id; their names are kept where there is no record.

        Raises:
            StoreError: The record could not keep them.
        """
        scope = self._account.scope
        pairs = [(app.id, app.name) for app in apps]
        try:
            return await self._store.assign_tool_names(scope, apps=pairs, build_name=self._build_name)
        except StoreError as exc:
            taken = self._do_without(exc)
        names = {app_id: listing.tool_name for app_id, listing in known.items()}
        taken.update(dict.fromkeys(names.values(), scope))
        for app_id, app_name in pairs:
            if app_id not in names:
                names[app_id] = self._build_name(app_name, f"{scope}/{app_id}", taken)
                taken[names[app_id]] = scope
        return names

    async def name_arguments(self, listings: Sequence[Listing]) -> Mapping[str, Mapping[str, str]]:
        """Return the argument names of these listings by app id and input id; their definitions must have been read.

        Raises:
            StoreError: The record could not keep them.
        """
        builders = [(item.app.id, partial(build_properties, item.app)) for item in listings]
        try:
            return await self._store.assign_property_names(self._account.scope, apps=builders)
        except StoreError as exc:
            self._do_without(exc)
        return {item.app.id: build_properties(item.app, item.property_names) for item in listings}

    async def get_usual_seconds(self, app_id: str) -> float | None:
        """Return how long runs of an app took before; None when nothing is known.

        Raises:
            StoreError: The record cannot be read.
        """
        try:
            durations = await self._store.get_durations(account_id=self._account.id, app_id=app_id)
        except StoreError as exc:
            self._do_without(exc)
            return None
        return get_usual_seconds(durations)

    def _do_without(self, error: StoreError) -> dict[str, str]:
        if self._unrecorded is None:
            raise error
        self.problem = str(error)
        return self._unrecorded
