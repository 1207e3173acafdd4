"""What runs cost, for the limits of a person and of an account. Part of the transaction that accepts a call.

The caps of one call are summed up by one statement. The locks that `store.postgres.accept` takes make the sums hold until
the transaction ends.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from flowport.domain.call_errors import FilesFull
from flowport.domain.models import BootTime, Run, RunState
from flowport.domain.spending import Cap, LimitExceeded, Spending, SpendingCheck, find_obstacle, get_caps
from flowport.store.postgres.operations import IS_LIVE
from flowport.store.postgres.transaction import Sent, Transaction
from flowport.store.rows import IS_UNPRICED, build_spending_values

_UNSENT: Final = f"'{RunState.ACCEPTED}', '{RunState.STARTING}'"
_BOOT_SINCE: Final = "%(boot_since{cap})s::double precision"
_SINCE: Final = "%(since{cap})s::double precision"
_BOOT: Final = "%(boot_id)s::text"
_IS_SPENDING: Final = "runs.provider = %(provider)s AND (position(%(sandbox)s IN runs.account_id) > 0) = %(is_sandbox)s"
_OF_OWNER: Final = "runs.owner = %(owner)s"
_OF_ACCOUNT: Final = "runs.account_id = %(account_id)s"

_BOOT_END: Final = (
    "runs.accepted_boot_seconds + least(greatest(runs.finished_at - runs.accepted_at, 0), %(day)s::double precision)"
)
# The duration of a run comes from the wall clock, so it counts as a day at most. The two parts have no run in common.
_ENDED: Final = f"""(
    SELECT runs.*, {_BOOT_END} AS ended, true AS is_this_boot FROM runs
    WHERE {{whose}} AND runs.finished_at IS NOT NULL AND runs.boot_id = {_BOOT}
        AND runs.accepted_boot_seconds >= {_BOOT_SINCE} - %(day)s::double precision AND {_BOOT_END} >= {_BOOT_SINCE}
    UNION ALL
    SELECT runs.*, runs.finished_at, false FROM runs WHERE {{whose}} AND runs.finished_at >= {_SINCE}
        AND (runs.boot_id IS DISTINCT FROM {_BOOT} OR runs.accepted_boot_seconds IS NULL)
) AS runs"""  # noqa: S608 - our own words

# A run that is not polled, or that no key of ours can read, never ends here; after the period it reserves nothing.
_IS_RESERVED: Final = f"""(
    runs.state IN ({_UNSENT}) OR (runs.is_followed AND runs.adoption_tried_by = '')
    OR CASE WHEN runs.boot_id = {_BOOT} AND runs.accepted_boot_seconds IS NOT NULL
        THEN runs.accepted_boot_seconds >= {_BOOT_SINCE} ELSE runs.accepted_at >= {_SINCE} END
)"""


def _build_parts(cap: str, *, is_account: bool) -> tuple[str, str]:
    """Return what follows FROM for the runs that ended in a period, and for those that have not ended.

    Args:
        cap: What the names of the period's values end in.
    """
    whose = _OF_ACCOUNT if is_account else _OF_OWNER
    condition = "true" if is_account else _IS_SPENDING
    ended = f"{_ENDED.format(whose=whose, cap=cap)} WHERE {condition}"
    return ended, f"{_build_live(is_account=is_account)} AND {_IS_RESERVED.format(cap=cap)}"


def _build_live(*, is_account: bool) -> str:
    whose = _OF_ACCOUNT if is_account else f"{_OF_OWNER} AND {_IS_SPENDING}"
    return f"runs WHERE {whose} AND {IS_LIVE}"


_FILES: Final = "files"


def _build_sums(caps: Sequence[Cap], *, is_account: bool) -> str:
    """Return the statement for the caps of a person or of an account: the runs are walked once for all of them.

    Args:
        caps: The one of the longest period is the last.
    """
    ended, spent, reserved, rows = "", [], [], []
    for n, cap in enumerate(caps):
        suffix = f"_{cap.name}"
        ended = _build_parts(suffix, is_account=is_account)[0]
        since, boot_since = _SINCE.format(cap=suffix), _BOOT_SINCE.format(cap=suffix)
        counts = f"runs.ended >= CASE WHEN runs.is_this_boot THEN {boot_since} ELSE {since} END"
        spent.append(f"coalesce(sum(runs.spent_credits) FILTER (WHERE {counts}), 0) AS spent{n}")
        # Of an account the sum alone is needed, which its index holds.
        unknown = f"coalesce(sum(runs.spent_credits) FILTER (WHERE {counts} AND runs.state = 'unknown'), 0)"
        spent.append(f"{'0' if is_account else unknown} AS unknown{n}")
        is_reserved = _IS_RESERVED.format(cap=suffix)
        reserved.append(f"coalesce(sum(runs.reserved_credits) FILTER (WHERE {is_reserved}), 0) AS reserved{n}")
        rows.append(f"('{cap.name}', ended.spent{n}, ended.unknown{n}, live.reserved{n})")
    return (
        f"SELECT sums.* FROM (SELECT {', '.join(spent)} FROM {ended}) AS ended, "  # noqa: S608 - our own words
        f"(SELECT {', '.join(reserved)} FROM {_build_live(is_account=is_account)}) AS live, "
        f"LATERAL (VALUES {', '.join(rows)}) AS sums (cap, spent, unknown, reserved)"
    )


@cache
def _build_check(caps: tuple[Cap, ...], *, has_quota: bool) -> str:
    """Return the statement that sums up what each cap counts, under its name, and the bytes of files."""
    rows = [
        _build_sums(own, is_account=is_account)
        for is_account in (False, True)
        if (own := [cap for cap in caps if cap.is_account is is_account])
    ]
    if has_quota:
        rows.append(f"SELECT '{_FILES}', ({FILE_BYTES})::double precision, 0, 0")
    return " ".join(" UNION ALL ".join(rows).split())


FILE_BYTES: Final = (
    "coalesce((SELECT sum(size_bytes) FROM received_files WHERE owner = %(owner)s), 0)"
    " + coalesce((SELECT size_bytes FROM file_use WHERE owner = %(owner)s), 0)"
)
"""The bytes of an owner's received files and saved results, as SQL."""


def send_sums(transaction: Transaction, run: Run, terms: SpendingCheck) -> Sent | None:
    """Send the statement that sums up what the limits of a run count; None where they count nothing."""
    caps = tuple(get_caps(terms.rules))
    has_quota = terms.max_file_bytes is not None
    if not caps and not has_quota:
        return None
    values: dict[str, Any] = {"owner": run.owner}
    for cap in caps:
        since, boot_since = terms.get_since(cap.period)
        period = build_spending_values(run.account_id, run.owner, since, boot_since)
        values |= {f"since_{cap.name}": period.pop("since"), f"boot_since_{cap.name}": period.pop("boot_since")}
        values |= period
    return transaction.send(_build_check(caps, has_quota=has_quota), values)


async def check_terms(
    transaction: Transaction, run: Run, terms: SpendingCheck, sums: Sent | None
) -> LimitExceeded | None:
    """Return why a run may not be paid on these terms; None when it may. It holds while the transaction has its locks.

    Args:
        sums: What `send_sums` has sent since the last change.
    """
    found = {row[0]: row[1:] for row in (() if sums is None else await transaction.fetch(sums))}
    if terms.max_file_bytes is not None and (used_bytes := int(found[_FILES][0])) >= terms.max_file_bytes:
        return LimitExceeded(FilesFull(used_bytes, terms.max_file_bytes))
    spending = {
        cap: Spending(spent_credits=spent, unknown_credits=unknown, reserved_credits=reserved, runs=0)
        for cap, (spent, unknown, reserved) in ((cap, found[cap.name]) for cap in get_caps(terms.rules))
    }
    obstacle = find_obstacle(terms, run, spending)
    return None if obstacle is None else LimitExceeded(obstacle)


@cache
def _build_sum(*, is_account: bool) -> str:
    ended, live = _build_parts("", is_account=is_account)
    counts = f"count(*) FILTER (WHERE runs.row_count = 0), count(*) FILTER (WHERE {IS_UNPRICED})"
    return (
        "SELECT * FROM (SELECT coalesce(sum(runs.spent_credits), 0), "  # noqa: S608 - our own words
        f"coalesce(sum(runs.spent_credits) FILTER (WHERE runs.state = 'unknown'), 0), {counts} FROM {ended}) AS ended, "
        f"(SELECT coalesce(sum(runs.reserved_credits), 0), {counts} FROM {live}) AS live"
    )


async def sum_spending(
    transaction: Transaction, account_id: str, owner: str | None, since: float, boot_since: BootTime | None
) -> Spending:
    """Return what the runs cost that ended since an instant, and what is reserved for those that have not ended.

    Credits are counted over all accounts of an owner at a provider, because a new key spends the same person's money; those
    of the sandbox are counted separately. Without an owner, those of all owners of the account are counted. A cost counts
    until a period after the run's end. Where the run was accepted in the present boot of the machine, the boot clock decides
    when that is: setting the wall clock forward forgets nothing.
    """
    values = build_spending_values(account_id, owner, since, boot_since)
    cursor = await transaction.execute(_build_sum(is_account=owner is None), values)
    [(spent, unknown, ended, unpriced, reserved, live, unpriced_live)] = await cursor.fetchall()
    return Spending(
        spent_credits=spent,
        reserved_credits=reserved,
        unknown_credits=unknown,
        runs=ended + live,
        unpriced_runs=unpriced + unpriced_live,
    )
