"""How the next runs are to go, where a test wants them to go otherwise than their app says."""

from dataclasses import dataclass

from flowport.sandbox.apps import SandboxApp
from tests.fakes.magnific.runs import RunPlan, RunStatus


@dataclass(frozen=True, slots=True)
class PlanChange:
    """What is to be different about one run; None everywhere: as the app says."""

    app_id: str | None = None
    """Only a run of this app; None: of any."""
    total_seconds: float | None = None
    """From acceptance to the end, the work not counted."""
    pending_seconds: float | None = None
    """The part of it before the run starts."""
    status: RunStatus | None = None
    error_message: str | None = None
    output_count: int | None = None
    is_held: bool = False


class PlanQueue:
    """Changes waiting for the runs that they are about."""

    def __init__(self) -> None:
        """Start with none."""
        self._changes: list[PlanChange] = []

    def add(self, change: PlanChange) -> None:
        """Keep a change for the next accepted run that it fits."""
        self._changes.append(change)

    def take(self, app_id: str) -> PlanChange:
        """Remove and return the first change for a run of this app; one that changes nothing when it does not exist."""
        for index, change in enumerate(self._changes):
            if change.app_id in {None, app_id}:
                return self._changes.pop(index)
        return PlanChange()

    def clear(self) -> None:
        """Forget the changes that no run has taken."""
        self._changes.clear()


def build_plan(app: SandboxApp, change: PlanChange, speed: float) -> RunPlan:
    """Build a run's plan; `speed` multiplies the app's own times, not those that a change gives."""
    pending, running = app.pending_seconds * speed, app.running_seconds * speed
    if change.total_seconds is not None:
        pending = min(pending, change.total_seconds)
        running = change.total_seconds - pending
    if change.pending_seconds is not None:
        running = max(0.0, pending + running - change.pending_seconds) if change.total_seconds is not None else running
        pending = change.pending_seconds
    return RunPlan(pending, running, change.is_held, change.status, change.error_message, change.output_count)
