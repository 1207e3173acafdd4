"""The live parts of Magica's face."""

import time
from collections.abc import Callable

from tests.fakes.magica.accounts import Accounts
from tests.fakes.magica.dialect import FIRST, MagicaDialect
from tests.fakes.magica.library import Library
from tests.fakes.magica.limits import KeyLimits
from tests.fakes.magica.records import RunRecords
from tests.fakes.magnific.runs import RunStore


class MagicaState:
    """What Magica's face has of its own; apps, runs, files, faults and counts are the sandbox's."""

    def __init__(
        self,
        key: str,
        files_origin: str,
        runs: RunStore,
        *,
        per_minute: int = 0,
        per_day: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Begin with one key; a limit of 0 means none."""
        self.clock = clock
        self.accounts = Accounts(key)
        self.limits = KeyLimits(per_minute, per_day, clock)
        self.library = Library(files_origin)
        self.records = RunRecords(runs)
        self.dialect: MagicaDialect = FIRST

    def get_balance(self, key: str) -> int:
        """Return what an account has left, in microcredits."""
        return self.accounts.get_granted(key) - self.records.sum_spent(key)

    def set_balance(self, microcredits: int) -> None:
        """Leave every account so much, whatever it has spent."""
        for key in self.accounts.keys:
            self.accounts.grant(key, microcredits + self.records.sum_spent(key))

    def reset(self) -> None:
        """Make everything as it was at the start."""
        self.dialect = FIRST
        self.accounts.reset()
        self.limits.reset()
        self.library.clear()
        self.records.clear()
