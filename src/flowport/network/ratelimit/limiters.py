"""The request budgets of the open accounts, each shared by all processes of a home."""

from dataclasses import dataclass

from flowport.domain.models import Account
from flowport.network.ratelimit.learned_limit import DEFAULT_CEILING
from flowport.network.ratelimit.limiter import RequestBudget
from flowport.network.ratelimit.state import SharedWindow
from flowport.providers.interface import Provider
from flowport.runtime.clock import Clock
from flowport.settings.settings import Settings
from flowport.store.sqlite.rate_windows import BudgetFile


@dataclass(frozen=True, slots=True)
class Budgets:
    """What request budgets are made of."""

    settings: Settings
    clock: Clock
    file: BudgetFile
    process_id: str

    def open(self, account: Account, provider: Provider, *, is_sandbox: bool = False) -> RequestBudget:
        """Return the budget of an account, which all processes of the home share; the sandbox has no limit of its own.

        The setting is a ceiling: what an account may send below it is learned, from the documented limit on.
        """
        per_minute, per_day = self.settings.requests_per_minute, self.settings.requests_per_day
        documented, documented_day = provider.requests_per_minute, provider.requests_per_day
        if is_sandbox:
            documented = documented_day = 0
        ceiling = (max(documented, DEFAULT_CEILING) if documented else 0) if per_minute is None else per_minute
        return RequestBudget(
            min(documented or ceiling, ceiling),
            self.clock,
            ceiling=ceiling,
            title=provider.title,
            per_day=documented_day if per_day is None else per_day,
            window=SharedWindow(self.file, account.id, self.clock),
            process_id=self.process_id,
        )
