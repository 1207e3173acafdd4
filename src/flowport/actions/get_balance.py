"""Get the balance: what the provider says, what was spent through Flowport, and what the caps leave."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import anyio

from flowport.actions.tool import PROVIDER_NAMES, Arguments, BuiltInTool, build_input
from flowport.actions.views.view import UNKNOWN_COST, Facts, View, plain
from flowport.actions.workspace import OpenCatalog, Workspace
from flowport.catalog.search import is_provider
from flowport.domain.call_errors import count_credits, format_credits
from flowport.domain.errors import ProviderError
from flowport.domain.models import InputKind
from flowport.domain.spending import (
    PERIOD_SECONDS,
    Cap,
    Spending,
    SpendingLimits,
    combine_limits,
    get_caps,
    get_left_credits,
)
from flowport.network.account import OpenAccount
from flowport.network.ratelimit.limiter import LimiterStatus, Priority
from flowport.providers.interface import Balance, Conversation
from flowport.providers.registry import get_key_advice
from flowport.runs.delivery import Caller

BALANCE_SECONDS: Final = 10.0
"""How long the providers may take to return their balances; the answer does not wait longer."""


async def get_balance(workspace: Workspace, caller: Caller, arguments: Arguments) -> View:
    """Return the answer with an entry for each account; spending is counted per provider.

    Accounts of other providers are left out when `provider` names one; a name that none has means all.
    """
    provider = str(GET_BALANCE.parse(arguments).get("provider", ""))
    named = [one for one in workspace.catalogs if is_provider(one.provider_names, provider)]
    asked = named or workspace.catalogs
    rules = combine_limits(workspace.settings.spending_limits, caller.principal.spending_limits)
    found = [await _get_spending(workspace, one, caller.owner, rules) for one in asked]
    views = [await one.account.limiter.get_status() for one in asked]
    balances = await _read_balances(asked, views)
    accounts = [
        _build_facts(one, rules, spent, balance) | _build_requests(view)
        for one, spent, balance, view in zip(asked, found, balances, views, strict=True)
    ]
    titles = [f"{one.account.provider.title}: " if len(workspace.catalogs) > 1 else "" for one in asked]
    summary = " ".join(title + _format_summary(rules, spent) for title, spent in zip(titles, found, strict=True))
    return View({"summary": summary, "accounts": accounts})


async def _get_spending(
    workspace: Workspace, one: OpenCatalog, owner: str, rules: SpendingLimits
) -> dict[Cap, Spending]:
    """Return what each cap counts that is set, and always what the owner spent in 24 hours."""
    boot = workspace.clock.boot_time()
    found = {}
    for cap in {Cap.PERSON_DAY: None, **get_caps(rules)}:
        seconds = PERIOD_SECONDS[cap.period]
        found[cap] = await workspace.store.get_spending(
            account_id=one.account.account.id,
            owner=None if cap.is_account else owner,
            since=workspace.clock.now() - seconds,
            boot_since=boot.subtract(seconds) if boot else None,
        )
    return found


async def _read_balances(asked: Sequence[OpenCatalog], views: Sequence[LimiterStatus]) -> list[str]:
    """Return the balance at each provider as a sentence; all are requested at once, for a limited time."""
    sentences = {one.account.account.id: _format_silence(one.account) for one in asked}

    async def read(account: OpenAccount, balance: Conversation[Balance]) -> None:
        """Request one balance."""
        try:
            found = await account.converse(balance, Priority.POLL)
        except ProviderError as exc:
            sentences[account.account.id] = str(exc)
        else:
            sentences[account.account.id] = f"{count_credits(found.available_credits)} left."

    with anyio.move_on_after(BALANCE_SECONDS):
        async with anyio.create_task_group() as group:
            for one, view in zip(asked, views, strict=True):
                read_balance = one.account.provider.capabilities.balance
                if read_balance is not None and view.is_day_used_up:
                    sentences[one.account.account.id] = _format_end_of_day(one.account)
                elif read_balance is not None:
                    group.start_soon(read, one.account, read_balance())
    return [sentences[one.account.account.id] for one in asked]


def _format_silence(account: OpenAccount) -> str:
    title = account.provider.title
    if account.is_sandbox:
        return f"Its credits are play money. For your own apps: {get_key_advice()}."
    if account.provider.capabilities.balance is None:
        return f"{title} does not tell a key's balance; its website does."
    return f"{title} has not told the balance in time; try again."


def _format_end_of_day(account: OpenAccount) -> str:
    return f"The day's requests are used up; {account.provider.title} cannot be asked until the day goes on."


def _build_facts(one: OpenCatalog, rules: SpendingLimits, found: Mapping[Cap, Spending], balance: str) -> Facts:
    spending = found[Cap.PERSON_DAY]
    return {
        "provider": one.account.provider.title,
        "provider_balance": balance,
        "spent_credits_24_hours": _format_spent(spending),
        "of_which_unknown_credits": _round(spending.unknown_credits),
        "reserved_credits": _round(spending.reserved_credits),
        **_build_limits(rules, found),
        "runs_24_hours": spending.runs,
    } | ({"runs_of_unknown_cost_24_hours": spending.unpriced_runs} if spending.unpriced_runs else {})


def _build_requests(view: LimiterStatus) -> Facts:
    """Return the state of the rate limit; usual values are omitted."""
    facts: Facts = {
        "requests_last_minute": view.used,
        "requests_per_minute": view.limit or "no limit",
    }
    if view.limit:
        facts["requests_per_minute_source"] = _format_source(view)
        facts["requests_per_minute_ceiling"] = view.ceiling
    if view.refused_above:
        facts["requests_refused_above"] = view.refused_above
    if view.paused_seconds:
        facts["requests_paused_seconds"] = math.ceil(view.paused_seconds)
    if view.day_left is not None:
        facts["requests_left_today"] = view.day_left
    if view.limit and not view.is_shared:
        facts["requests_counted"] = "this program's alone: the file that all share cannot be used"
    return facts


def _format_source(view: LimiterStatus) -> str:
    if view.is_learned:
        return "learned from the provider's answers"
    if view.limit == view.ceiling:
        return "the setting FLOWPORT_REQUESTS_PER_MINUTE"
    return "documented by the provider; raised while work waits"


def _build_limits(rules: SpendingLimits, found: Mapping[Cap, Spending]) -> Facts:
    """Return the person's limits, named like their settings; those of a month and of the account where they are set."""
    caps = get_caps(rules)
    left = {cap: get_left_credits(cap_credits, found[cap]) for cap, cap_credits in caps.items()}
    limits: Facts = {
        "max_credits_per_day": caps.get(Cap.PERSON_DAY),
        "left_credits_24_hours": left.get(Cap.PERSON_DAY),
        "max_credits_per_run": rules.max_credits_per_run,
        "confirm_above_credits": rules.confirm_above_credits,
    }
    shown = {name: "no limit" if limit is None else _round(limit) for name, limit in limits.items()}
    for cap, (cap_name, left_name) in _MORE_CAPS.items():
        if cap in caps:
            shown |= {cap_name: _round(caps[cap]), left_name: _round(left[cap])}
    return {**shown, "unknown_price": rules.unknown_price.value}


_MORE_CAPS: Final = {
    Cap.PERSON_MONTH: ("max_credits_per_month", "left_credits_30_days"),
    Cap.ACCOUNT_DAY: ("account_max_credits_per_day", "account_left_credits_24_hours"),
    Cap.ACCOUNT_MONTH: ("account_max_credits_per_month", "account_left_credits_30_days"),
}


def _format_summary(rules: SpendingLimits, found: Mapping[Cap, Spending]) -> str:
    spending, caps = found[Cap.PERSON_DAY], get_caps(rules)
    known = "" if _format_spent(spending) == UNKNOWN_COST else f"{count_credits(spending.spent_credits)}"
    unknown = f"an unknown amount for {_count_runs(spending.unpriced_runs)}" if spending.unpriced_runs else ""
    spent = f"{' and '.join(filter(None, (known, unknown)))} spent through Flowport in the last 24 hours"
    reserved = f", {format_credits(spending.reserved_credits)} reserved for runs that go on" * bool(
        spending.reserved_credits
    )
    left = [
        f"{format_credits(get_left_credits(cap_credits, found[cap]))} left of the cap of {format_credits(cap_credits)}"
        + _CAP_WORDS[cap]
        for cap, cap_credits in caps.items()
    ]
    return f"{'; '.join((spent + reserved, *left))}."


_CAP_WORDS: Final = {
    Cap.PERSON_DAY: "",
    Cap.PERSON_MONTH: " in 30 days",
    Cap.ACCOUNT_DAY: " of all who use the account",
    Cap.ACCOUNT_MONTH: " of all who use the account in 30 days",
}
"""Whose cap it is, and over which time where that is not 24 hours."""


def _format_spent(spending: Spending) -> float | int | str | None:
    """Return the known sum; "unknown" where no run's cost is known."""
    is_unknown = spending.unpriced_runs > 0 and not spending.spent_credits
    return UNKNOWN_COST if is_unknown else _round(spending.spent_credits)


def _count_runs(count: int) -> str:
    return f"{count} run{'s' * (count != 1)} of unknown price"


def _round(credits_: float) -> float | int | None:
    """Return a sum of credits without what adding fractions makes of it."""
    return plain(round(credits_, 6))


GET_BALANCE: Final = BuiltInTool(
    "get_balance",
    "Get the balance",
    "Tell the provider's balance where it has one, and what was spent through Flowport in the last 24 hours. Free.",
    get_balance,
    (build_input("provider", InputKind.TEXT, f"Only this provider: {PROVIDER_NAMES}"),),
)
