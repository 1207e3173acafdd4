"""The events of a run, and how each changes its record. Pure: the store reads, applies and writes.

`apply` holds every rule about states once. An event that is not possible from a run's present state, or that has been
applied already, leaves the run as it is. So a writer that does not know whether its event arrived records it again.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, TypeAlias, assert_never

from flowport.domain.models import FINAL_STATES, Output, Run, RunState

STARTED_STATES: Final = frozenset(state for state in RunState if state.is_at_provider)
"""The states of a run that its provider has accepted and not finished."""

KNOWN_ENDS: Final = FINAL_STATES - {RunState.UNKNOWN}
"""The final states whose outcome is known."""


class Witness(StrEnum):
    """What settled an unknown start."""

    WEBHOOK = "webhook"
    RUN_LIST = "run list"
    """The provider's list of runs."""
    PERSON = "person"


@dataclass(frozen=True, slots=True)
class StartRequested:
    """The start request is about to be sent."""

    at: float
    request: str = ""
    """Its method and path, for the receipt."""


@dataclass(frozen=True, slots=True)
class StartNotTaken:
    """The provider certainly did not accept the start request: the run waits to be sent again."""


@dataclass(frozen=True, slots=True)
class StartAcknowledged:
    """The reply to the start request named the provider's run."""

    provider_run_id: str
    state: RunState
    """Queued or running."""
    at: float

    def __post_init__(self) -> None:
        _require(self.state, STARTED_STATES)


@dataclass(frozen=True, slots=True)
class StartConfirmed(StartAcknowledged):
    """Another witness than the reply named the provider's run, such as a webhook or the provider's list of runs.

    It ends the state `unknown`. An id that a search has found, and that another run of the account has, confirms nothing.
    """

    witness: Witness = Witness.WEBHOOK
    process_id: str = ""
    """The process that follows an unknown run from now on; empty for the one that did."""


@dataclass(frozen=True, slots=True)
class StartUnknown:
    """The start request may have arrived, and no run id came back."""

    failure: str
    at: float
    answer: str = ""
    """What came back, capped."""


@dataclass(frozen=True, slots=True)
class Polled:
    """The provider said that the run is still queued or running."""

    state: RunState
    at: float

    def __post_init__(self) -> None:
        _require(self.state, STARTED_STATES)


@dataclass(frozen=True, slots=True)
class PollingStopped:
    """The user stopped following the run: it is no longer polled, and goes on at its provider."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The run was cancelled before anything was sent."""

    failure: str
    at: float


@dataclass(frozen=True, slots=True)
class Finished:
    """The run has come to an end that is known."""

    state: RunState
    """Succeeded, partial, failed or cancelled."""
    at: float
    outputs: tuple[Output, ...] = ()
    failure: str = ""
    spent_credits: float = 0.0
    is_cost_reported: bool = False
    """Whether the provider itself named the cost."""

    def __post_init__(self) -> None:
        _require(self.state, KNOWN_ENDS)


@dataclass(frozen=True, slots=True)
class Settled:
    """A person has decided about an unknown run that has no id at its provider."""

    state: RunState
    """Failed, for a run that was lost; succeeded, for outputs that the person has recognized."""
    at: float
    spent_credits: float
    outputs: tuple[Output, ...] = ()
    failure: str = ""

    def __post_init__(self) -> None:
        _require(self.state, frozenset({RunState.FAILED, RunState.SUCCEEDED}))


@dataclass(frozen=True, slots=True)
class OutputSaved:
    """An output was saved, or could not be: it replaces the output of the same number."""

    output: Output


@dataclass(frozen=True, slots=True)
class LinksRefreshed:
    """The provider was asked for fresh links: the outputs of these numbers get them, or the reason for their lack."""

    outputs: tuple[Output, ...]


@dataclass(frozen=True, slots=True)
class Reported:
    """An answer named the run to its caller; only the first time counts."""

    at: float


@dataclass(frozen=True, slots=True)
class InputsPrepared:
    """The files of the run were transferred to the provider."""

    notes: str
    """How they were changed, as sentences."""


@dataclass(frozen=True, slots=True)
class AdoptionTried:
    """The key of this account cannot read the run, whose own key is no longer configured."""

    account_id: str


@dataclass(frozen=True, slots=True)
class Adopted:
    """The key of another account of the same provider and host can read the run."""

    account_id: str
    from_account_id: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """An answer that holds the outputs of the run was written to a client."""

    at: float
    to: str = ""
    """The client, as it calls itself, cleaned; empty when it has no name."""
    boot_id: str = ""
    boot_seconds: float | None = None
    """The same instant by the boot clock, and which start of the machine it counts from; where there is such a clock."""
    is_unknown: bool = False
    """Whether it said that the outcome is unknown. A run whose outcome was found meanwhile has another answer to come."""


@dataclass(frozen=True, slots=True)
class DeliveryCancelled:
    """The client cancelled the request after its answer was written. The delivery stands."""

    delivered_at: float
    """Which delivery is meant; a later one is not affected."""


RunEvent: TypeAlias = (
    StartRequested
    | StartNotTaken
    | StartAcknowledged
    | StartConfirmed
    | StartUnknown
    | Polled
    | PollingStopped
    | Cancelled
    | Finished
    | Settled
    | OutputSaved
    | LinksRefreshed
    | Reported
    | InputsPrepared
    | AdoptionTried
    | Adopted
    | Delivered
    | DeliveryCancelled
)


def is_covered(run: Run, event: RunEvent, lease: int | None) -> bool:
    """Return whether an event may be recorded under a lease; None for what every process may record.

    A reply to a start request is evidence: it counts under each lease while the run has no provider id.
    """
    return lease in {None, run.lease} or (isinstance(event, StartAcknowledged) and not run.provider_run_id)


def apply(run: Run, event: RunEvent) -> Run:  # noqa: C901, PLR0911, PLR0912 - one case for each event
    """Return the run after an event. Applying the same event twice changes nothing."""
    match event:
        case StartRequested(at, request):
            if run.state is not RunState.ACCEPTED:
                return run
            return replace(run, state=RunState.STARTING, starting_at=at, start_request=request)
        case StartNotTaken():
            if run.state is not RunState.STARTING:
                return run
            return replace(run, state=RunState.ACCEPTED, starting_at=None, start_request="")
        case StartAcknowledged():
            return _apply_started(run, event)
        case StartUnknown(failure, at, answer):
            if run.state is not RunState.STARTING:
                return run
            # The run may have been paid for, so its reservation counts as spent.
            return replace(
                run,
                state=RunState.UNKNOWN,
                failure=failure,
                start_response=answer,
                unknown_at=at,
                finished_at=at,
                spent_credits=run.reserved_credits,
                reserved_credits=0.0,
            )
        case Polled(state, at):
            if run.state not in STARTED_STATES:
                return run
            return replace(run, state=state, running_at=_find_running_at(run, state, at))
        case PollingStopped():
            return run if run.state.is_final else replace(run, is_followed=False)
        case Cancelled(failure, at):
            if run.state is not RunState.ACCEPTED:
                return run
            return replace(run, state=RunState.CANCELLED, failure=failure, finished_at=at, reserved_credits=0.0)
        case Finished():
            return _apply_finished(run, event)
        case Settled():
            return _apply_settled(run, event)
        case OutputSaved(output):
            return _replace_outputs(run, (output,))
        case LinksRefreshed(outputs):
            links = {output.n: output for output in outputs}
            known = (output for output in run.outputs if output.n in links)
            return _replace_outputs(run, tuple(_replace_link(output, links[output.n]) for output in known))
        case Reported(at):
            return replace(run, reported_at=at) if run.reported_at is None else run
        case InputsPrepared(notes):
            return replace(run, notes=notes)
        case AdoptionTried(account_id):
            return replace(run, adoption_tried_by=account_id)
        case Adopted(account_id, from_account_id):
            is_left = run.account_id == from_account_id
            return replace(run, account_id=account_id, adoption_tried_by="") if is_left else run
        case Delivered(at, to, boot_id, boot_seconds, is_unknown):
            if is_unknown and run.state is not RunState.UNKNOWN:
                return run
            return replace(
                run,
                delivered_at=at,
                delivered_to=to,
                delivered_boot_id=boot_id,
                delivered_boot_seconds=boot_seconds,
                is_delivery_cancelled=run.is_delivery_cancelled and run.delivered_at == at,
            )
        case DeliveryCancelled(delivered_at):
            return replace(run, is_delivery_cancelled=True) if run.delivered_at == delivered_at else run
        case _:
            assert_never(event)


def _apply_started(run: Run, event: StartAcknowledged) -> Run:
    """Accept evidence that the provider has the run, also after the run became unknown."""
    if run.provider_run_id or run.state in KNOWN_ENDS:
        return run
    is_unknown = run.state is RunState.UNKNOWN
    if is_unknown:
        reserved, spent = run.spent_credits, 0.0
        run = replace(
            _forget_delivery(run), failure="", finished_at=None, reserved_credits=reserved, spent_credits=spent
        )
    if isinstance(event, StartConfirmed):
        run = replace(run, witness=event.witness.value, witnessed_at=event.at)
        if is_unknown and event.process_id not in {"", run.process_id}:
            run = replace(run, process_id=event.process_id, lease=run.lease + 1, is_followed=True)
    return replace(
        run,
        provider_run_id=event.provider_run_id,
        started_at=event.at,
        state=event.state,
        running_at=_find_running_at(run, event.state, event.at),
    )


def _find_running_at(run: Run, state: RunState, at: float) -> float | None:
    """Return the first instant at which the run was reported as running."""
    return at if state is RunState.RUNNING and run.running_at is None else run.running_at


def _apply_finished(run: Run, event: Finished) -> Run:
    if run.state.is_final:
        return run
    # Nothing was made before the provider had the run, and a start request that is under way cannot be cancelled.
    is_possible = run.state in STARTED_STATES or event.state is RunState.FAILED
    if not is_possible and (event.state, run.state) != (RunState.CANCELLED, RunState.ACCEPTED):
        return run
    return replace(
        # The answer that the run is unknown may have been recorded after the evidence that it was started.
        _forget_delivery(run),
        state=event.state,
        outputs=event.outputs,
        failure=event.failure,
        finished_at=event.at,
        spent_credits=event.spent_credits,
        is_cost_reported=event.is_cost_reported,
        reserved_credits=0.0,
    )


def _apply_settled(run: Run, event: Settled) -> Run:
    if run.state is not RunState.UNKNOWN:
        return run
    return replace(
        _forget_delivery(run),
        state=event.state,
        outputs=event.outputs,
        failure=event.failure,
        finished_at=event.at,
        spent_credits=event.spent_credits,
        witness=Witness.PERSON.value,
        witnessed_at=event.at,
    )


def _forget_delivery(run: Run) -> Run:
    """Return the run as undelivered: answers before its end, such as that it is unknown, held no result."""
    if run.delivered_at is None and not run.reminder_count:
        return run
    return replace(
        run,
        delivered_at=None,
        delivered_to="",
        delivered_boot_id="",
        delivered_boot_seconds=None,
        is_delivery_cancelled=False,
        reminder_count=0,
    )


def _replace_outputs(run: Run, outputs: tuple[Output, ...]) -> Run:
    changed = {output.n: output for output in outputs}
    return replace(run, outputs=tuple(changed.get(output.n, output) for output in run.outputs))


def _replace_link(output: Output, fresh: Output) -> Output:
    """Return an output with a fresh link; what another process has saved since the provider was asked stays."""
    problem = "" if output.saved_path else fresh.save_problem
    return replace(output, url=fresh.url, expires_at=fresh.expires_at, save_problem=problem)


def _require(state: RunState, allowed: frozenset[RunState]) -> None:
    if state not in allowed:
        message = f"{state} is not one of {', '.join(sorted(allowed))}"
        raise ValueError(message)
