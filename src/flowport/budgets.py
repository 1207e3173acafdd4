"""The request budgets of the open accounts, each shared by all processes of a home."""

from dataclasses import dataclass

from flowport.allowance import Limits
from flowport.budget import RequestBudget
from flowport.clock import Clock
from flowport.ledger.budget_file import BudgetFile
from flowport.model import Account
from flowport.providers.interface import Provider
from flowport.settings import Settings
from flowport.windows import SharedWindow


@dataclass(frozen=True, slots=True)
class Budgets:
    """What request budgets are made of."""

    settings: Settings
    clock: Clock
    file: BudgetFile
    process_id: str

    def open(self, account: Account, provider: Provider, *, is_sandbox: bool = False) -> RequestBudget:
        """Return the budget of an account, which all processes of the home share; the sandbox has no limit of its own."""
        documented = Limits(0) if is_sandbox else Limits(provider.requests_per_minute, provider.requests_per_day)
        per_minute, per_day = self.settings.requests_per_minute, self.settings.requests_per_day
        return RequestBudget(
            documented.per_minute if per_minute is None else per_minute,
            self.clock,
            title=provider.title,
            per_day=documented.per_day if per_day is None else per_day,
            window=SharedWindow(self.file, account.id, self.clock),
            process_id=self.process_id,
        )
