"""What runs cost, for the limits of a person and of an account. Part of the transaction that accepts a call."""

import sqlite3
from functools import partial
from typing import Final

from flowport.domain.call_errors import FilesFull
from flowport.domain.models import BootTime, Run, RunState
from flowport.domain.spending import LimitExceeded, Spending, SpendingCheck, find_obstacle, get_caps
from flowport.store.rows import IS_UNPRICED, build_spending_values
from flowport.store.sqlite.operations import IS_LIVE
from flowport.store.sqlite.people import sum_file_bytes

_UNSENT: Final = f"'{RunState.ACCEPTED}', '{RunState.STARTING}'"

_IS_SPENDING: Final = "provider = :provider AND (instr(account_id, :sandbox) > 0) = :is_sandbox"
_IS_THIS_BOOT: Final = "boot_id = :boot_id AND accepted_boot_seconds IS NOT NULL"
# The duration of a run comes from the wall clock, so it counts as a day at most.
_IS_SPENT_WITHIN: Final = (
    f"CASE WHEN {_IS_THIS_BOOT} "
    "THEN accepted_boot_seconds + min(max(finished_at - accepted_at, 0), :day) >= :boot_since "
    "ELSE finished_at >= :since END"
)
# A run that is not polled, or that no key of ours can read, never ends here; after the period it reserves nothing.
_IS_RESERVED: Final = (
    f"state IN ({_UNSENT}) OR (is_followed AND adoption_tried_by = '') OR "
    f"CASE WHEN {_IS_THIS_BOOT} THEN accepted_boot_seconds >= :boot_since ELSE accepted_at >= :since END"
)

_OF_OWNER: Final = f"owner = :owner AND {_IS_SPENDING}"
_OF_ACCOUNT: Final = "account_id = :account_id"


def _build_queries(whose: str, key: str, live_index: str) -> tuple[str, str]:
    """Return the queries of what was spent and of what is reserved, of the runs that a condition selects by a column."""
    spent = f"""
SELECT total(spent_credits), total(spent_credits) FILTER (WHERE state = 'unknown'), count(*) FILTER (WHERE row_count = 0),
    count(*) FILTER (WHERE {IS_UNPRICED}) FROM runs WHERE rowid IN (
    SELECT rowid FROM runs WHERE {key} = :{key} AND finished_at >= :since
    UNION
    SELECT rowid FROM runs WHERE {key} = :{key} AND boot_id = :boot_id
        AND accepted_boot_seconds >= :boot_since - :day AND finished_at IS NOT NULL
) AND {whose} AND {_IS_SPENT_WITHIN}
"""  # noqa: S608 - our own words
    reserved = f"""
SELECT total(reserved_credits), count(*) FILTER (WHERE row_count = 0), count(*) FILTER (WHERE {IS_UNPRICED})
FROM runs INDEXED BY {live_index} WHERE {whose} AND {IS_LIVE} AND ({_IS_RESERVED})
"""  # noqa: S608 - our own words
    return spent, reserved


_QUERIES: Final = {
    False: _build_queries(_OF_OWNER, "owner", "runs_live_by_owner"),
    True: _build_queries(_OF_ACCOUNT, "account_id", "runs_live"),
}
"""By whether the runs of all owners of an account are meant."""


_SPENT_OF_ACCOUNT: Final = """
SELECT (
    SELECT total(spent_credits) FROM runs INDEXED BY runs_ended_of_account_in_boot
    WHERE account_id = :account_id AND boot_id = :boot_id AND accepted_boot_seconds >= :boot_since - :day
        AND finished_at IS NOT NULL
        AND accepted_boot_seconds + min(max(finished_at - accepted_at, 0), :day) >= :boot_since
) + (
    SELECT total(spent_credits) FROM runs INDEXED BY runs_ended_of_account
    WHERE account_id = :account_id AND finished_at >= :since
        AND (boot_id IS NOT :boot_id OR accepted_boot_seconds IS NULL)
)
"""
"""The sum alone, of what the full query counts: a cap is checked with all other calls waiting."""


def check_terms(connection: sqlite3.Connection, run: Run, terms: SpendingCheck) -> LimitExceeded | None:
    """Return why a run may not be paid on these terms; None when it may. It holds until the transaction ends."""
    if terms.max_file_bytes is not None:
        used_bytes = sum_file_bytes(connection, run.owner)
        if used_bytes >= terms.max_file_bytes:
            return LimitExceeded(FilesFull(used_bytes, terms.max_file_bytes))
    spending = {}
    for cap in get_caps(terms.rules):
        sum_up = _sum_account if cap.is_account else partial(sum_spending, owner=run.owner)
        since, boot_since = terms.get_since(cap.period)
        spending[cap] = sum_up(connection, run.account_id, since=since, boot_since=boot_since)
    obstacle = find_obstacle(terms, run, spending)
    return None if obstacle is None else LimitExceeded(obstacle)


def sum_spending(
    connection: sqlite3.Connection, account_id: str, owner: str | None, since: float, boot_since: BootTime | None
) -> Spending:
    """Return what the runs cost that ended since an instant, and what is reserved for those that have not ended.

    Credits are counted over all accounts of an owner at a provider, because a new key spends the same person's money; those
    of the sandbox are counted separately. Without an owner, those of all owners of the account are counted. A cost counts
    until a period after the run's end. Where the run was accepted in the present boot of the machine, the boot clock decides
    when that is: setting the wall clock forward forgets nothing.
    """
    values = build_spending_values(account_id, owner, since, boot_since)
    query_spent, query_reserved = _QUERIES[owner is None]
    spent, unknown, ended, unpriced = connection.execute(query_spent, values).fetchone()
    reserved, live, unpriced_live = connection.execute(query_reserved, values).fetchone()
    return Spending(
        spent_credits=spent,
        reserved_credits=reserved,
        unknown_credits=unknown,
        runs=ended + live,
        unpriced_runs=unpriced + unpriced_live,
    )


def _sum_account(
    connection: sqlite3.Connection, account_id: str, since: float, boot_since: BootTime | None
) -> Spending:
    """Return the sums of `sum_spending` for all owners of an account, without its counts."""
    values = build_spending_values(account_id, None, since, boot_since)
    spent = connection.execute(_SPENT_OF_ACCOUNT, values).fetchone()[0]
    reserved = connection.execute(_QUERIES[True][1], values).fetchone()[0]
    return Spending(spent_credits=spent, reserved_credits=reserved, unknown_credits=0.0, runs=0)
