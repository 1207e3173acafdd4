"""The states that each run went through, and which process brought each about, as the database of a team has seen it.

The record keeps the present state alone. A trigger notes each change in the transaction that makes it, so a change that was
undone is not noted, and none is missed while the test cannot reach the database.
"""

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.support.cluster import MEMBER, Team

_INSTALL: Final = (
    (
        "CREATE TABLE history (number bigint GENERATED ALWAYS AS IDENTITY, run_id text, state text, provider_run_id text, "
        "lease bigint, member text, at double precision)"
    ),
    (
        "CREATE FUNCTION note_history() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO history (run_id, state, provider_run_id, lease, member, at) VALUES (NEW.id, NEW.state, NEW.provider_run_id, "
        f"NEW.lease, coalesce(current_setting('{MEMBER}', true), ''), extract(epoch FROM clock_timestamp())); "
        "RETURN NULL; END $$"
    ),
    "CREATE TRIGGER note_new AFTER INSERT ON runs FOR EACH ROW EXECUTE FUNCTION note_history()",
    (
        "CREATE TRIGGER note_changed AFTER UPDATE ON runs FOR EACH ROW "
        "WHEN (OLD.state <> NEW.state OR OLD.lease <> NEW.lease) EXECUTE FUNCTION note_history()"
    ),
)
_HISTORY: Final = "SELECT run_id, state, provider_run_id, lease, member, at FROM history ORDER BY number"
_WITNESSES: Final = "SELECT id, state, witness, arguments_json FROM runs WHERE row_count = 0"
REPLY: Final = "its late reply"
"""What settled a run whose process was paused, and recorded the reply when it went on."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a run."""

    run_id: str
    state: str
    provider_run_id: str
    lease: int
    member: str
    """The process that made it, such as `worker-1.2`, the second process of a member; empty for a command."""
    at: float


@dataclass(frozen=True, slots=True)
class LostStart:
    """A start whose outcome became unknown."""

    starting: Change
    """The record that its request was about to be sent."""
    unknown: Change


def install_history(team: Team) -> None:
    """Have the database note each change of a run."""
    for statement in _INSTALL:
        team.query(statement)


def get_histories(team: Team) -> dict[str, list[Change]]:
    """Return the changes of each run, in their order."""
    histories: dict[str, list[Change]] = {}
    for row in team.query(_HISTORY):
        histories.setdefault(row[0], []).append(Change(*row))
    return histories


def find_lost_starts(changes: Sequence[Change]) -> list[LostStart]:
    """Return the lost starts of a run: nearly always none, and never two without a third process between them."""
    found: list[LostStart] = []
    starting: Change | None = None
    for change in changes:
        if change.state == "starting":
            # A claim of a run in this state starts nothing by itself.
            starting = starting or change
        else:
            if change.state == "unknown" and starting is not None:
                found.append(LostStart(starting, change))
            starting = None
    return found


@dataclass(frozen=True, slots=True)
class Interruption:
    """A kill or a pause of a process."""

    member: str
    began_at: float
    ended_at: float
    """Infinite for a kill."""

    def explains(self, lost: LostStart) -> bool:
        """Return whether it met the process that held a start, between the record of the start and that of its outcome."""
        is_between = self.began_at <= lost.unknown.at and self.ended_at >= lost.starting.at
        return self.member == lost.starting.member and is_between


@dataclass
class UnknownRuns:
    """The runs whose outcome was unknown at any time, and how each was settled."""

    found: int = 0
    unexplained: list[str] = field(default_factory=list)
    """Those of processes that were neither killed nor paused meanwhile, with their histories."""
    settled: Counter[str] = field(default_factory=Counter)
    """How many were settled by which witness."""
    absent: list[str] = field(default_factory=list)
    """The ids of those that the provider never had, so that no webhook can come; a person decides about them."""
    given_up: list[str] = field(default_factory=list)
    """The ids of those about which a person has decided so already."""
    unsettled: dict[str, str] = field(default_factory=dict)
    """The prompts of those that arrived and are unknown all the same, by their ids."""

    def __str__(self) -> str:
        counts = ", ".join(f"{count} settled by {witness}" for witness, count in sorted(self.settled.items()))
        return (
            f"{self.found} became unknown: {counts or 'none settled'}, {len(self.absent)} never arrived and are left to a "
            f"person, {len(self.given_up)} were given up by one, {len(self.unsettled)} arrived and are unsettled, {len(self.unexplained)} without a kill or pause"
        )


def find_unknown_runs(
    team: Team, interruptions: Sequence[Interruption], arrived: Collection[str], decided: Collection[str]
) -> UnknownRuns:
    """Return the unknown runs of a team.

    Args:
        arrived: The prompts that the provider has.
        decided: The prompts whose unknown run a person gave up, since the provider did not have it.
    """
    unknown = UnknownRuns()
    kept = {row[0]: (row[1], row[2], json.loads(row[3])["prompt"]) for row in team.query(_WITNESSES)}
    for run_id, changes in get_histories(team).items():
        lost = find_lost_starts(changes)
        if not lost:
            continue
        unknown.found += 1
        if not all(any(one.explains(start) for one in interruptions) for start in lost):
            unknown.unexplained.append("; ".join(f"{one.at:.3f} {one.state} by {one.member}" for one in changes))
        state, witness, prompt = kept[run_id]
        if state == "failed" and prompt in decided:
            unknown.given_up.append(run_id)
        elif state != "unknown":
            unknown.settled[witness or REPLY] += 1
        elif prompt in arrived:
            unknown.unsettled[run_id] = prompt
        else:
            unknown.absent.append(run_id)
    return unknown
