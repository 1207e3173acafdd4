"""What the store knows of money. Each function is one operation inside the worker's transaction or snapshot.

Credits are counted over all accounts that an owner has at a provider, because a new key is the same person's money;
those of the built-in sandbox are play money and counted by themselves.

A run's cost counts until 24 hours after its end. Where the run was accepted in the present boot of the machine, the
boot clock decides when that is; it cannot be set, so setting the wall clock forward forgets nothing.
"""

import sqlite3
from typing import Final

from flowport.domain.models import SANDBOX_HOST, BootTime, Run, RunState
from flowport.domain.spending import DAY_SECONDS, LimitExceeded, Spending, SpendingCheck, find_obstacle
from flowport.store.sqlite.queries import IS_LIVE
from flowport.store.sqlite.rows import Value

_UNSENT: Final = f"'{RunState.ACCEPTED}', '{RunState.STARTING}'"

_IS_SPENDING: Final = "provider = :provider AND (instr(account_id, :sandbox) > 0) = :is_sandbox"
_IS_THIS_BOOT: Final = "boot_id = :boot_id AND accepted_boot_seconds IS NOT NULL"
# How long a run took is told by the wall clock, so it is taken for a day at most.
_IS_SPENT_WITHIN: Final = (
    f"CASE WHEN {_IS_THIS_BOOT} "
    "THEN accepted_boot_seconds + min(max(finished_at - accepted_at, 0), :day) >= :boot_since "
    "ELSE finished_at >= :since END"
)
# A run that is not polled, or that no key of ours can read, never ends here; after a day it reserves nothing.
_IS_RESERVED: Final = (
    f"state IN ({_UNSENT}) OR (is_followed AND adoption_tried_by = '') OR "
    f"CASE WHEN {_IS_THIS_BOOT} THEN accepted_boot_seconds >= :boot_since ELSE accepted_at >= :since END"
)

IS_UNPRICED: Final = (
    "runs.row_count = 0 AND runs.price_credits IS NULL AND runs.spent_credits = 0 AND NOT runs.is_cost_reported AND "
    f"(runs.started_at IS NOT NULL OR runs.state = '{RunState.UNKNOWN}')"
)
"""Sent, at an unknown price; `Run.cost_credits` says the same of one that is over."""

_SPENT: Final = f"""
SELECT total(spent_credits), total(spent_credits) FILTER (WHERE state = 'unknown'), count(*) FILTER (WHERE row_count = 0),
    count(*) FILTER (WHERE {IS_UNPRICED}) FROM runs WHERE rowid IN (
    SELECT rowid FROM runs WHERE owner = :owner AND finished_at >= :since
    UNION
    SELECT rowid FROM runs WHERE owner = :owner AND boot_id = :boot_id
        AND accepted_boot_seconds >= :boot_since - :day AND finished_at IS NOT NULL
) AND {_IS_SPENDING} AND {_IS_SPENT_WITHIN}
"""  # noqa: S608 - our own words
_RESERVED: Final = f"""
SELECT total(reserved_credits), count(*) FILTER (WHERE row_count = 0), count(*) FILTER (WHERE {IS_UNPRICED}) FROM runs
WHERE owner = :owner AND {_IS_SPENDING} AND {IS_LIVE} AND ({_IS_RESERVED})
"""  # noqa: S608 - our own words


def get_spending(
    connection: sqlite3.Connection, *, account_id: str, owner: str, since: float, boot_since: BootTime | None = None
) -> Spending:
    """Return what ended since an instant and what has not ended."""
    values: dict[str, Value] = {
        "owner": owner,
        "provider": account_id.partition(":")[0],
        "sandbox": f":{SANDBOX_HOST}:",
        "is_sandbox": f":{SANDBOX_HOST}:" in account_id,
        "since": since,
        # No run has no boot's id: where there is no boot clock, nothing is compared with it.
        "boot_id": boot_since.boot_id if boot_since else None,
        "boot_since": boot_since.seconds if boot_since else None,
        "day": DAY_SECONDS,
    }
    spent, unknown, ended, unpriced = connection.execute(_SPENT, values).fetchone()
    reserved, live, unpriced_live = connection.execute(_RESERVED, values).fetchone()
    return Spending(
        spent_credits=spent,
        reserved_credits=reserved,
        unknown_credits=unknown,
        runs=ended + live,
        unpriced_runs=unpriced + unpriced_live,
    )


def check_terms(connection: sqlite3.Connection, run: Run, terms: SpendingCheck) -> LimitExceeded | None:
    """Return why a run may not be paid on these terms; None when it may. It holds until the transaction ends."""
    spending = None
    if terms.rules.max_credits_per_day is not None:
        spending = get_spending(
            connection, account_id=run.account_id, owner=run.owner, since=terms.since, boot_since=terms.boot_since
        )
    obstacle = find_obstacle(terms, run, spending)
    return None if obstacle is None else LimitExceeded(obstacle)
