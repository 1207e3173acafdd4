"""Read every list and definition of an account, and compare them with what is documented. Nothing is started."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from flowport.domain.errors import (
    AppUnsupported,
    DayUsedUp,
    Operation,
    ProviderBroken,
    ProviderBusy,
    ProviderRefused,
    ProviderRejected,
    ProviderUnreachable,
)
from flowport.domain.models import App
from flowport.network.account import OpenAccount
from flowport.network.ratelimit.limiter import Priority
from flowport.providers.contract import Difference, Shape, find_differences
from flowport.providers.interface import ApiAnswer, ApiRequest, ListQuery
from flowport.providers.parsing import parse_json
from flowport.providers.registry import get_plugin

_MAX_PAGES: Final = 100


@dataclass
class Comparison:
    """The answers to one kind of request. Mutable."""

    request: str
    shape: Shape
    statuses: Counter[str] = field(default_factory=Counter)
    differences: Counter[Difference] = field(default_factory=Counter)

    def add(self, answer: ApiAnswer) -> None:
        """Compare one more answer."""
        self.statuses[str(answer.status)] += 1
        if not 200 <= answer.status < 300:  # noqa: PLR2004
            return
        try:
            self.differences.update(find_differences(parse_json(answer), self.shape))
        except ValueError:
            self.differences[Difference("", "another type", "not JSON")] += 1

    def build_facts(self) -> dict[str, Any]:
        """Return it as JSON that can be sent."""
        found = [{**one._asdict(), "count": count} for one, count in sorted(self.differences.items())]
        return {"request": self.request, "statuses": dict(self.statuses), "differences": found}


async def compare_account(account: OpenAccount, report: Callable[[str], None]) -> dict[str, Any]:
    """Return the comparison of one account, as far as the day's requests allow; it waits for the request limit.

    Args:
        report: Takes a line about the progress.
    """
    plugin = get_plugin(account.account.provider)
    if plugin.load_documented is None:
        return {"provider": plugin.name, "answers": [], "stopped": "the provider declares no documented answers"}
    documented = plugin.load_documented()
    lists = {
        True: Comparison("own list", documented.own_list),
        False: Comparison("published list", documented.published_list),
    }
    definitions = Comparison("definition", documented.definition)
    apps: dict[str, App] = {}
    stopped = ""
    try:
        for query in account.provider.build_list_queries():
            apps |= await _read_pages(account, query, lists[query.is_own])
        for number, app in enumerate(apps.values(), 1):
            report(f"{plugin.title}: definition {number} of {len(apps)}")
            await _read_definition(account, app, definitions)
    except (DayUsedUp, ProviderUnreachable, ProviderRefused) as exc:
        stopped = type(exc).__name__
    answers = [one.build_facts() for one in (*lists.values(), definitions)]
    return {"provider": plugin.name, "style": account.provider.style, "answers": answers, "stopped": stopped}


async def _read_pages(account: OpenAccount, query: ListQuery, comparison: Comparison) -> dict[str, App]:
    """Return the apps of a list, as far as it can be read."""
    apps: dict[str, App] = {}
    request: ApiRequest | None = query.request
    for _ in range(_MAX_PAGES):
        if request is None:
            break
        answer = await account.send(request, Priority.DISCOVER)
        comparison.add(answer)
        try:
            page = account.provider.parse_list(answer, is_own=query.is_own)
        except (ProviderBroken, ProviderBusy, ProviderRejected):
            break
        new = {app.id: app for app in page.apps if app.id not in apps}
        apps |= new
        # Some servers repeat the first page forever.
        request = page.next_page if new else None
    return apps


async def _read_definition(account: OpenAccount, app: App, comparison: Comparison) -> None:
    """Read what describes an app. Only requests that read are sent, although the provider's own reading may take others."""
    conversation = account.provider.describe_app(app, read_at=0.0)
    not_sent = ProviderRejected(account.provider.title, Operation.DESCRIBE_APP, 405)
    try:
        request = next(conversation)
        while True:
            if isinstance(request, ApiRequest) and request.method == "GET":
                answer = await account.send(request, Priority.DISCOVER)
                comparison.add(answer)
                request = conversation.send(answer)
            else:
                request = conversation.throw(not_sent)
    except (StopIteration, AppUnsupported, ProviderBroken, ProviderBusy, ProviderRejected):
        return


def format_comparison(facts: dict[str, Any]) -> list[str]:
    """Return the comparison as lines for a terminal."""
    lines = [f"{facts['provider']}, API {facts.get('style', '')}:"]
    for answer in facts["answers"]:
        statuses = ", ".join(f"{count} with HTTP {status}" for status, count in answer["statuses"].items())
        lines.append(f"  {answer['request']}: {statuses or 'not read'}; differences: {len(answer['differences'])}")
        for one in answer["differences"]:
            seen = f": {one['seen']}" if one["seen"] else ""
            lines.append(f"    {one['path'] or 'the answer'} is {one['kind']}{seen} ({one['count']} times)")
    return [*lines, f"  It stopped early ({facts['stopped']})."] if facts["stopped"] else lines
