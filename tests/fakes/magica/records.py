"""What Magica's face knows of a run beyond the run itself: whose it is, of which workflow, what it may cost."""

import secrets
import string
from dataclasses import dataclass, field, replace
from typing import Any, Final

from flowport.sandbox.apps import SandboxApp
from tests.fakes.magica.workflows import Workflow
from tests.fakes.magnific.runs import Run, RunStatus, RunStore

_ID_LETTERS: Final = string.ascii_lowercase + string.digits


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of Magica's face."""

    run_id: str
    key: str
    """The account's; no one else sees the run."""
    app: SandboxApp
    workflow: Workflow | None
    """None for the run of a model."""
    node_type: str
    """The model's; empty for the run of a workflow."""
    estimate_microcredits: int
    """Taken when the run is accepted."""
    text: str
    """What a node that writes has written."""
    created_at: float
    values: Any = field(default=None, repr=False)
    """What a workflow was given, as it came."""
    refund_microcredits: int = 0
    """Given back when the run was cancelled."""

    @property
    def used_microcredits(self) -> int:
        """What the run has cost, or keeps reserved."""
        return self.estimate_microcredits - self.refund_microcredits


def build_run_id() -> str:
    """Build a new run's id: `cm`, then letters and digits, as workflows have it."""
    return "cm" + "".join(secrets.choice(_ID_LETTERS) for _ in range(23))


class RunRecords:
    """The records of all runs since the start or the last reset."""

    def __init__(self, runs: RunStore) -> None:
        """Start empty."""
        self._runs = runs
        self._records: dict[str, RunRecord] = {}

    def add(self, record: RunRecord) -> None:
        """Keep a new run's record."""
        self._records[record.run_id] = record

    def find(self, run_id: str, key: str) -> tuple[RunRecord, Run] | None:
        """Return a run that this key may see, or None."""
        record, run = self._records.get(run_id), self._runs.get(run_id)
        return (record, run) if record is not None and run is not None and record.key == key else None

    def get_all(self, key: str) -> list[tuple[RunRecord, Run]]:
        """Return the runs that this key may see, newest first."""
        found = [self.find(run_id, key) for run_id in reversed(self._records)]
        return [one for one in found if one is not None]

    def get_app_id(self, run_id: str) -> str | None:
        """Return which app a run is of, or None."""
        record = self._records.get(run_id)
        return None if record is None else record.app.id

    def sum_spent(self, key: str) -> int:
        """Return what an account has spent or reserved, in microcredits."""
        mine = (record for record in self._records.values() if record.key == key)
        return sum(record.used_microcredits for record in mine)

    async def cancel(self, run_id: str, run: Run) -> None:
        """Cancel a run that is not over, wait for its end, and refund what it had not used.

        How much that is is not published: here all of it before the run has started, half of it afterwards.
        """
        record = self._records[run_id]
        unused = record.estimate_microcredits // (1 if run.status is RunStatus.PENDING else 2)
        self._records[run_id] = replace(record, refund_microcredits=unused)
        self._runs.hurry(run_id, replace(self._runs.get_plan(run_id), status=RunStatus.CANCELLED))
        await self._runs.wait_until_over(run_id)

    def clear(self) -> None:
        """Forget all records."""
        self._records.clear()
