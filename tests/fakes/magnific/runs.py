"""The runs of the sandbox: from pending to their end, by a clock that tests can hold or hurry."""

import base64
import logging
import secrets
import string
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import cycle, islice
from typing import Any, Final

import anyio
import anyio.abc
import anyio.to_thread

from flowport.sandbox import pictures
from flowport.sandbox.apps import Outcome, Product, ProductKind, Recipe, SandboxApp, StepFailed, Values
from flowport.sandbox.engine import build_drawing, produce
from flowport.sandbox.web import format_instant
from tests.fakes.magnific.files import FileStore, StoredFile

_LOG = logging.getLogger(__name__)

_ID_LETTERS: Final = string.ascii_letters + string.digits

_PIXEL: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGPgEpEDAABoAD1UCKP3AAAAAElFTkSuQmCC"
)


class RunStatus(StrEnum):
    """The provider's words for where a run is (Magnific API 1.0.0, get-run)."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    COMPLETED_WITH_ERRORS = "completed_with_errors"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens to the run."""
        return self not in {RunStatus.PENDING, RunStatus.RUNNING}


@dataclass(frozen=True, slots=True)
class RunPlan:
    """How a run is to go."""

    pending_seconds: float
    running_seconds: float
    is_held: bool = False
    """Keep running until released."""
    status: RunStatus | None = None
    """How it ends, whatever the work says; None: as the work says."""
    error_message: str | None = None
    """Replaces the work's own; None: as the work says."""
    output_count: int | None = None
    """The work's outputs are repeated or cut to so many; None: as the work says."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run as the provider would report about it."""

    id: str
    app: SandboxApp
    values: Values = field(repr=False)
    """Empty once the run is over: photographs are large."""
    status: RunStatus = RunStatus.PENDING
    started_at: float | None = None
    """None while pending."""
    completed_at: float | None = None
    """None until it is over."""
    error_message: str | None = None
    files: tuple[StoredFile, ...] = ()
    accepted_at: float = 0.0


@dataclass(slots=True, eq=False)
class _Life:
    """What steers a run from outside while its task is alive; owned by the store."""

    plan: RunPlan
    hurry: anyio.Event = field(default_factory=anyio.Event)
    """Set: wait for nothing more."""
    started: anyio.Event = field(default_factory=anyio.Event)
    over: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)


def make_pixel(_: Recipe, __: Values) -> Outcome:
    """Make a picture of one pixel: a load test measures Flowport, not how fast pictures are drawn."""
    return Outcome((Product(ProductKind.IMAGES, "text-to-image", "image/png", _PIXEL, 1, 1),))


def draw_small(recipe: Recipe, values: Values) -> Outcome:
    """Do the work of an app; its landscapes are small, because most of a run's processor time would go into drawing them."""
    if recipe not in {"picture", "cinema"}:
        return produce(recipe, values)
    width, height = pictures.SHAPES[values.get("shape", "wide")]
    return Outcome(
        (build_drawing("text-to-image", pictures.draw_landscape(values["prompt"], (width // 8, height // 8))),)
    )


class RunStore:
    """All runs since the last reset, each followed by a task of its own."""

    def __init__(
        self,
        files: FileStore,
        tasks: anyio.abc.TaskGroup,
        limiter: anyio.CapacityLimiter,
        clock: Callable[[], float] = time.time,
        *,
        make: Callable[[Recipe, Values], Outcome] = draw_small,
    ) -> None:
        """Start empty; runs live in `tasks` and work in threads of `limiter`.

        Args:
            make: Does the work of a run.
        """
        self._make = make
        self._files = files
        self._tasks = tasks
        self._limiter = limiter
        self._clock = clock
        self._runs: dict[str, Run] = {}
        self._lives: dict[str, _Life] = {}

    def accept(self, app: SandboxApp, values: Values, plan: RunPlan, run_id: str | None = None) -> Run:
        """Start a run, under an id of Magnific's form unless given. Equal requests are different runs, as there."""
        run_id = run_id or "".join(secrets.choice(_ID_LETTERS) for _ in range(10))
        run = Run(run_id, app, values, accepted_at=self._clock())
        self._begin(run, plan)
        return run

    def _begin(self, run: Run, plan: RunPlan) -> None:
        self._runs[run.id] = run
        self._lives[run.id] = _Life(plan)
        self._tasks.start_soon(self._follow, run, self._lives[run.id])

    def get(self, run_id: str) -> Run | None:
        """Return the run as it is now, or None."""
        return self._runs.get(run_id)

    def get_all(self) -> tuple[Run, ...]:
        """Return all runs as they are now, in the order in which they were accepted."""
        return tuple(self._runs.values())

    def get_plan(self, run_id: str) -> RunPlan:
        """Return how a known run is to go."""
        return self._lives[run_id].plan

    def hurry(self, run_id: str, plan: RunPlan) -> None:
        """Let a run go to its end at once, by this plan; too late for one that is over."""
        life = self._lives[run_id]
        life.plan = plan
        life.hurry.set()

    async def wait_until_started(self, run_id: str) -> None:
        """Wait until a run is no longer pending; one that a reset has forgotten is not."""
        if run_id in self._lives:
            await self._lives[run_id].started.wait()

    async def wait_until_over(self, run_id: str) -> None:
        """Wait for the end of a run; one that a reset has forgotten is over."""
        if run_id in self._lives:
            await self._lives[run_id].over.wait()

    def reset(self) -> None:
        """End and forget all runs, and let go of those who wait for them."""
        for life in self._lives.values():
            life.scope.cancel()
            life.started.set()
            life.over.set()
        self._lives.clear()
        self._runs.clear()

    async def _follow(self, run: Run, life: _Life) -> None:
        with life.scope:
            if run.started_at is None:
                await _wait(life.hurry, self._get_rest(run.accepted_at, life.plan.pending_seconds))
                run = self._keep(replace(run, status=RunStatus.RUNNING, started_at=self._clock()))
            life.started.set()
            rest = self._get_rest(run.started_at or 0.0, life.plan.running_seconds)
            await _wait(life.hurry, None if life.plan.is_held else rest)
            outcome = await self._work(run)
            self._keep(self._finish(run, life.plan, outcome))
            life.over.set()

    def _get_rest(self, since: float, seconds: float) -> float:
        """Return what is left of a time that began at an instant; a clock that was set back makes it no longer."""
        return min(seconds, max(0.0, since + seconds - self._clock()))

    async def _work(self, run: Run) -> Outcome:
        try:
            return await anyio.to_thread.run_sync(
                self._make, run.app.recipe, run.values, limiter=self._limiter, abandon_on_cancel=True
            )
        except StepFailed as exc:
            return Outcome((), str(exc))
        except Exception:  # noqa: BLE001 - the boundary of the task, see below
            # Whatever untrusted picture did to the engine, only this run fails.
            _LOG.exception("The sandbox's run %s broke", run.id)
            return Outcome((), "Node 'engine' failed: internal error")

    def _finish(self, run: Run, plan: RunPlan, outcome: Outcome) -> Run:
        status = plan.status or _get_status(outcome)
        products = outcome.products
        if plan.output_count is not None:
            products = tuple(islice(cycle(products), plan.output_count))
        if status in {RunStatus.FAILED, RunStatus.CANCELLED}:
            products = ()
        return replace(
            run,
            values={},
            status=status,
            completed_at=self._clock(),
            error_message=_choose_message(status, plan, outcome),
            files=tuple(self._files.add(run.app.id, product) for product in products),
        )

    def _keep(self, run: Run) -> Run:
        # A reset may have forgotten the run while its task was about to go on.
        if run.id in self._runs:
            self._runs[run.id] = run
        return run


def build_run(run: Run, files: FileStore) -> dict[str, Any]:
    """Describe a run with its seven fields (Magnific API 1.0.0, get-run)."""
    has_result = run.status in {RunStatus.COMPLETED, RunStatus.COMPLETED_WITH_ERRORS}
    return {
        "run_id": run.id,
        "status": run.status,
        "app_id": run.app.id,
        "started_at": format_instant(run.started_at),
        "completed_at": format_instant(run.completed_at),
        "error_message": run.error_message,
        "result": _build_result(run, files) if has_result else None,
    }


def _build_result(run: Run, files: FileStore) -> dict[str, Any]:
    return {kind: [_build_item(file, files) for file in run.files if file.product.kind is kind] for kind in ProductKind}


def _build_item(file: StoredFile, files: FileStore) -> dict[str, Any]:
    return {
        "id": file.id,
        "url": files.get_url(file.id),
        "tool": file.product.tool,
        "duration": file.product.duration_seconds,
        "width": file.product.width,
        "height": file.product.height,
        "created_at": format_instant(file.created_at),
    }


async def _wait(hurry: anyio.Event, seconds: float | None) -> None:
    """Wait so long, or without limit for None; shorter when asked to hurry."""
    with anyio.move_on_after(seconds):
        await hurry.wait()


def _get_status(outcome: Outcome) -> RunStatus:
    if not outcome.problem:
        return RunStatus.COMPLETED
    return RunStatus.COMPLETED_WITH_ERRORS if outcome.products else RunStatus.FAILED


def _choose_message(status: RunStatus, plan: RunPlan, outcome: Outcome) -> str | None:
    if plan.error_message is not None:
        return plan.error_message
    if status in {RunStatus.COMPLETED, RunStatus.CANCELLED}:
        return None
    return outcome.problem or "Node 'switch' failed: a test asked for it"
