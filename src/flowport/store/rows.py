"""Columns and records: what both stores write of a run and its outputs, and how they read it. Pure.

Columns have the names of the record's fields.
"""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final, Protocol, TypeAlias

from flowport.domain.errors import StoreError
from flowport.domain.models import FINAL_STATES, SANDBOX_HOST, BootTime, Output, OutputKind, Run, RunState
from flowport.domain.spending import DAY_SECONDS

Value: TypeAlias = str | int | float | None
"""What a column holds."""


class NamedRow(Protocol):
    """A row whose values are found by their column."""

    def __getitem__(self, key: str, /) -> Any:
        """Return the value of a column."""


_FLAGS: Final = ("is_followed", "is_delivery_cancelled", "is_cost_reported")
RUN_COLUMNS: Final = tuple(field.name for field in fields(Run) if field.name != "outputs")
OUTPUT_COLUMNS: Final = tuple(field.name for field in fields(Output))
"""The output's own columns; `run_id` stands beside them."""
_get_run_values: Final = attrgetter(*RUN_COLUMNS)
RUN_LIST: Final = ", ".join(f"runs.{column}" for column in RUN_COLUMNS)
FINAL: Final = ", ".join(f"'{state}'" for state in RunState if state in FINAL_STATES)
"""The states of runs that are over, as SQL."""
LIVE: Final = ", ".join(f"'{state}'" for state in RunState if state not in FINAL_STATES)
"""The states of runs that are not over, as SQL."""
IS_UNPRICED: Final = (
    "runs.row_count = 0 AND runs.price_credits IS NULL AND runs.spent_credits = 0 AND NOT runs.is_cost_reported AND "
    f"(runs.started_at IS NOT NULL OR runs.state = '{RunState.UNKNOWN}')"
)
"""Sent, at an unknown price; `Run.cost_credits` says the same of one that is over."""


def build_value(value: Value) -> Value:
    """Return what a column can hold.

    Text from elsewhere may hold half of a surrogate pair, which no UTF-8 can; a result is not lost over that.
    """
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def build_run_values(run: Run) -> dict[str, Value]:
    """Return a run's columns by name, without its outputs."""
    return {column: build_value(value) for column, value in zip(RUN_COLUMNS, _get_run_values(run), strict=True)}


def build_changed_values(before: Run, after: Run) -> dict[str, Value]:
    """Return the columns by name in which two states of a run differ, with the later values; outputs are left out."""
    pairs = zip(RUN_COLUMNS, _get_run_values(before), _get_run_values(after), strict=True)
    return {column: build_value(new) for column, old, new in pairs if new is not old and new != old}


def build_output_values(run_id: str, output: Output) -> dict[str, Value]:
    """Return an output's columns by name, `run_id` included."""
    return {"run_id": run_id, **{column: build_value(getattr(output, column)) for column in OUTPUT_COLUMNS}}


def parse_run(row: Sequence[Any], outputs: Iterable[Output]) -> Run:
    """Return the run in a row that begins with `RUN_COLUMNS`, in their order.

    Raises:
        StoreError: It is in a state that this version does not know.
    """
    # By position: a row of SQLite finds a name by comparing it with one column after another.
    values = dict(zip(RUN_COLUMNS, row, strict=False))
    try:
        state = RunState(values.pop("state"))
    except ValueError as exc:
        raise _build_unreadable_error() from exc
    values.update({name: bool(values[name]) for name in _FLAGS})
    return Run(**values, state=state, outputs=tuple(outputs))


def parse_output(row: NamedRow) -> Output:
    """Return the output that a row with at least `OUTPUT_COLUMNS` holds.

    Raises:
        StoreError: It is of a kind that this version does not know.
    """
    values = {column: row[column] for column in OUTPUT_COLUMNS}
    try:
        kind = OutputKind(values.pop("kind"))
    except ValueError as exc:
        raise _build_unreadable_error() from exc
    return Output(**values, kind=kind)


def _build_unreadable_error() -> StoreError:
    return StoreError("a record in it has a value that this version does not know", "Update this Flowport.")


def build_spending_values(
    account_id: str, owner: str | None, since: float, boot_since: BootTime | None
) -> dict[str, Value]:
    """Return the values of the queries that sum up what runs cost."""
    return {
        "owner": owner,
        "account_id": account_id,
        "provider": account_id.partition(":")[0],
        "sandbox": f":{SANDBOX_HOST}:",
        "is_sandbox": f":{SANDBOX_HOST}:" in account_id,
        "since": since,
        # No run has no boot's id: where there is no boot clock, nothing is compared with it.
        "boot_id": boot_since.boot_id if boot_since else None,
        "boot_since": boot_since.seconds if boot_since else None,
        "day": DAY_SECONDS,
    }
