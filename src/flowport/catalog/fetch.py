"""Read a provider's lists in the path family in which it answers."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

import anyio

from flowport.domain.errors import ProviderError, ProviderRejected
from flowport.domain.models import Source
from flowport.network.account import OpenAccount
from flowport.network.ratelimit.limiter import Priority
from flowport.providers.interface import ApiRequest, AppList, ListQuery, Provider

MAX_PAGES: Final = 100
"""Of one list; more would cost a minute's requests at every reading."""


@dataclass(frozen=True, slots=True)
class FetchedLists:
    """The outcome of reading a provider's lists."""

    lists: Sequence[AppList]
    """Those that could be read, own apps first."""
    failures: Sequence[ProviderError]
    """Why the others could not."""


async def fetch_lists(account: OpenAccount, source: Source) -> FetchedLists:
    """Return the lists of a source, and set the account to the path family in which they were found.

    Another family is tried only when every list of the present one is unknown there. The same answer to anything else
    means that there is no such app or run.

    Raises:
        ProviderError: No list could be read.
    """
    provider = account.provider
    found = await _read(account, provider, source)
    for alternative in provider.alternatives:
        if not _is_family_unknown(found):
            break
        other = await _read(account, alternative, source)
        if other.lists:
            account.provider = alternative
        if not _is_family_unknown(other):
            found = other
    if not found.lists:
        raise found.failures[0]
    return found


async def _read(account: OpenAccount, provider: Provider, source: Source) -> FetchedLists:
    """Read the lists concurrently."""
    queries = [query for query in provider.build_list_queries() if source.includes(is_own=query.is_own)]
    found: dict[int, AppList] = {}
    failures: list[ProviderError] = []

    async def fetch(place: int, query: ListQuery) -> None:
        try:
            async for page in _read_pages(account, provider, query):
                found[place] = _join(found.get(place), page)
        except ProviderError as exc:
            # Earlier pages are kept.
            failures.append(exc)

    async with anyio.create_task_group() as group:
        for place, query in enumerate(queries):
            group.start_soon(fetch, place, query)
    return FetchedLists([found[place] for place in sorted(found)], failures)


async def _read_pages(account: OpenAccount, provider: Provider, query: ListQuery) -> AsyncIterator[AppList]:
    """Yield the pages of a list, until one is the last or has nothing new: some servers repeat the first one forever."""
    request: ApiRequest | None = query.request
    known: set[str] = set()
    for _ in range(MAX_PAGES):
        if request is None:
            return
        page = provider.parse_list(await account.send(request, Priority.DISCOVER), is_own=query.is_own)
        ids = {app.id for app in page.apps}
        if known and ids <= known:
            return
        known |= ids
        yield page
        request = page.next_page


def _join(before: AppList | None, page: AppList) -> AppList:
    return page if before is None else AppList(before.apps + page.apps, before.left_out + page.left_out)


def _is_family_unknown(found: FetchedLists) -> bool:
    return not found.lists and all(
        isinstance(failure, ProviderRejected) and failure.status == 404  # noqa: PLR2004
        for failure in found.failures
    )
