"""Accept a call: join the earlier run that it asks for again (`store.join_rules`), or record a new one, in one transaction.

What one call has found must hold until it is committed. So calls that ask for the same wait for each other; where a cap of
the owner is set, so do all calls of the owner, and where one of the account is set, all calls of the account. The locks are
always taken in the order of owner, account, words and meaning, and end with the transaction.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

from flowport.domain.call_errors import PriceUnconfirmed
from flowport.domain.models import Run
from flowport.domain.spending import SpendingCheck, get_caps
from flowport.store.cluster import NewsKind
from flowport.store.join_rules import (
    EqualRun,
    build_settlement,
    choose_run,
    find_recent_uncertain,
    find_unasked,
    find_uncertain,
    is_joinable,
    select_recent,
)
from flowport.store.postgres.jobs import INSERT_JOB, build_job_values
from flowport.store.postgres.operations import (
    INSERT_RUN,
    IS_ALONE,
    IS_UNDELIVERED,
    build_change_news,
    build_new_values,
    find_run,
    insert_run,
    lock_texts,
    record_event,
    select_runs,
)
from flowport.store.postgres.spending import check_terms, send_sums
from flowport.store.postgres.transaction import NEWS_CHANNEL, Transaction
from flowport.store.records import (
    MAX_REMINDERS,
    STOPPED_BY_PERSON,
    Accepted,
    AcceptOutcome,
    AttachRules,
    Joined,
    LivenessNeeded,
    Reminder,
    Uncertain,
    WaitingCall,
)
from flowport.store.rows import RUN_COLUMNS, RUN_LIST, parse_run

_MAX_NAMED: Final = 3
"""Runs that one mention names."""


async def accept_call(
    transaction: Transaction,
    run: Run,
    rules: AttachRules | None,
    terms: SpendingCheck | None,
    *,
    row_digests: Sequence[str] = (),
    is_queued: bool = False,
    whole_arguments: str | None = None,
) -> AcceptOutcome:
    """Join an earlier run, refuse the call, or record a new run.

    Args:
        row_digests: The canonical digests of a batch's rows.
        is_queued: Whether any worker may start the run; it then gets a job.
        whole_arguments: The arguments of a queued run; a batch has its rows instead.
    """
    _lock(transaction, run, rules, terms)
    sums = None if terms is None else send_sums(transaction, run, terms)
    uncertain: Uncertain | None = None
    if rules is not None:
        found, has_settled = await _attach(transaction, run, rules)
        if has_settled and terms is not None:
            sums = send_sums(transaction, run, terms)
        if found is None and row_digests:
            found = await _find_uncertain_row(transaction, run, rules, row_digests)
        if isinstance(found, Joined | LivenessNeeded):
            return found
        uncertain = None if rules.is_uncertainty_accepted else found
        if uncertain is not None and not rules.is_new_wanted:
            return uncertain
    unpaid = None if terms is None else await check_terms(transaction, run, terms, sums)
    # A cap that forbids the run comes before the question about an unknown run; that question and the price are one question.
    if unpaid is not None and (uncertain is None or not isinstance(unpaid.reason, PriceUnconfirmed)):
        return unpaid
    if uncertain is not None:
        return uncertain
    await _insert(transaction, run, rules, is_queued=is_queued, whole_arguments=whole_arguments)
    return Accepted(run)


async def _insert(
    transaction: Transaction, run: Run, rules: AttachRules | None, *, is_queued: bool, whole_arguments: str | None
) -> None:
    if is_queued and whole_arguments is not None and rules is not None and not run.outputs:
        _send_queued(transaction, run, rules.call, whole_arguments)
        return
    await insert_run(transaction, run, is_queued=is_queued)
    if whole_arguments is not None:
        transaction.send(
            "INSERT INTO whole_arguments (run_id, arguments_json) VALUES (%s, %s)", (run.id, whole_arguments)
        )
    if rules is not None:
        _send_waiting(transaction, run.id, rules.call)


def _lock(transaction: Transaction, run: Run, rules: AttachRules | None, terms: SpendingCheck | None) -> None:
    """Let calls that could join the same run, or spend under the same cap, wait for each other."""
    caps = () if terms is None else tuple(get_caps(terms.rules))
    texts = []
    if any(not cap.is_account for cap in caps):
        texts.append(f"owner {run.owner}")
    if any(cap.is_account for cap in caps):
        texts.append(f"account {run.account_id}")
    if rules is not None:
        asked = f"{run.account_id} {run.app_id} {run.owner}"
        texts += [f"raw {run.raw_digest} {asked}", f"canonical {run.canonical_digest} {asked}"]
    lock_texts(transaction, *texts)


_INSERT_QUEUED: Final = (
    f"WITH run AS ({INSERT_RUN}), job AS ({INSERT_JOB}), "  # noqa: S608 - our own words
    "whole AS (INSERT INTO whole_arguments (run_id, arguments_json) VALUES (%(run_id)s, %(whole_arguments)s)), "
    "call AS (INSERT INTO waiting_calls (id, run_id, process_id) VALUES (%(call_id)s, %(run_id)s, %(call_process_id)s) "
    "ON CONFLICT (id) DO NOTHING) SELECT pg_notify(%(channel)s, %(news)s)"
)


def _send_queued(transaction: Transaction, run: Run, call: WaitingCall, whole_arguments: str) -> None:
    """Add a run with its job, its arguments, its waiting call and the news of it, by one statement."""
    values = {
        **build_new_values(run, is_queued=True),
        **build_job_values(run.id, run.batch_id, is_batch=run.is_batch),
        "whole_arguments": whole_arguments,
        "call_id": call.id,
        "call_process_id": call.process_id,
        "channel": NEWS_CHANNEL,
        "news": transaction.format_news(build_change_news(run, NewsKind.CREATED)),
    }
    transaction.send(_INSERT_QUEUED, values)


async def _attach(
    transaction: Transaction, run: Run, rules: AttachRules
) -> tuple[Joined | Uncertain | LivenessNeeded | None, bool]:
    """Join an earlier run, or return the one that is uncertain; None when the call is the first of its kind.

    Beside it stands whether a run was settled, which changes what was spent.
    """
    has_settled = False
    while True:
        equal = select_recent(await _select_equal(transaction, run, rules), rules)
        if unasked := find_unasked(equal, rules):
            return LivenessNeeded(unasked), has_settled
        settled = [await _settle(transaction, one, rules) for one in equal]
        has_settled |= settled != equal
        chosen = None if rules.is_new_wanted else choose_run(settled, rules)
        if chosen is None:
            return find_uncertain(settled), has_settled
        joined = await find_run(transaction, chosen.id, is_locked=True)
        # A run may be delivered, cancelled or erased before its row is locked; then the choice is another one.
        if joined is not None and is_joinable(joined, rules):
            _send_waiting(transaction, joined.id, rules.call)
            return Joined(joined), has_settled


async def _settle(transaction: Transaction, equal: EqualRun, rules: AttachRules) -> EqualRun:
    """Record what a dead process left before the provider had the run, and return the run as it is then."""
    event = build_settlement(equal, rules)
    if event is None:
        return equal
    outcome = await record_event(transaction, equal.run.id, event)
    return replace(equal, run=outcome.run or equal.run)


async def _find_uncertain_row(
    transaction: Transaction, run: Run, rules: AttachRules, digests: Sequence[str]
) -> Uncertain | None:
    """Return an unknown run that asked for the same as one of a batch's rows; None if nothing was found."""
    equal = await select_runs(
        transaction,
        "runs WHERE owner = %s AND state = 'unknown' AND account_id = %s AND app_id = %s "
        "AND canonical_digest = ANY(%s) ORDER BY accepted_at DESC",
        (run.owner, run.account_id, run.app_id, list(dict.fromkeys(digests))),
    )
    return find_recent_uncertain(equal, rules)


_IS_CONNECTED: Final = (
    "(newest.process_id = %(process_id)s AND newest.id = ANY(%(connected)s) "
    "OR newest.process_id <> %(process_id)s AND newest.process_id <> ALL(%(dead)s))"
)
_LEFT_OUT: Final = (
    "SELECT beside.run_id FROM waiting_calls AS beside WHERE beside.id = ANY(%(beside)s) "  # noqa: S608 - our own words
    "AND NOT EXISTS (SELECT 1 FROM waiting_calls AS newest "
    f"WHERE newest.run_id = beside.run_id AND newest.call_number > beside.call_number AND {_IS_CONNECTED})"
)
_SELECT_EQUAL: Final = (
    f"SELECT {RUN_LIST}, runs.is_queued, calls.process_id FROM runs "  # noqa: S608 - our own words
    "LEFT JOIN LATERAL (SELECT newest.process_id FROM waiting_calls AS newest "
    f"WHERE newest.run_id = runs.id AND {_IS_CONNECTED} ORDER BY newest.call_number DESC LIMIT 1) AS calls ON true "
    "WHERE runs.account_id = %(account_id)s AND runs.owner = %(owner)s AND runs.app_id = %(app_id)s "
    "AND (runs.delivered_at IS NULL OR runs.is_delivery_cancelled OR runs.state = 'unknown') "
    "AND (runs.raw_digest = %(raw_digest)s OR runs.canonical_digest = %(canonical_digest)s) "
    f"AND (runs.id NOT IN ({_LEFT_OUT}) OR runs.state = 'unknown') "
    # A row was asked for with its batch: no call joins it, but an equal call is refused while its fate is unknown.
    "AND runs.state NOT IN ('failed', 'cancelled') AND (runs.batch_id = '' OR runs.state = 'unknown') "
    # A cancelled batch answers no call, although rows of it may go on.
    "AND NOT EXISTS (SELECT 1 FROM batches WHERE batches.id = runs.id AND batches.stop_reason = %(cancelled)s) "
    "ORDER BY runs.accepted_at, runs.id"
)


async def _select_equal(transaction: Transaction, run: Run, rules: AttachRules) -> list[EqualRun]:
    """Find the runs that asked for the same, by the words of the call or by their meaning, oldest first.

    Those whose newest connected caller is beside this one are left out: when hundreds of equal calls come at once, each has
    hundreds of them, and none can be joined.
    """
    if rules.window_seconds <= 0:
        return []
    cursor = await transaction.execute(
        _SELECT_EQUAL,
        {
            "account_id": run.account_id,
            "owner": run.owner,
            "app_id": run.app_id,
            "raw_digest": run.raw_digest,
            "canonical_digest": run.canonical_digest,
            "process_id": rules.call.process_id,
            "connected": list(rules.connected_call_ids),
            "beside": list(rules.beside_call_ids),
            "dead": list(rules.processes.dead),
            "cancelled": STOPPED_BY_PERSON,
        },
    )
    place = len(RUN_COLUMNS)
    return [EqualRun(parse_run(row, ()), row[place + 1] or "", row[place]) for row in await cursor.fetchall()]


def _send_waiting(transaction: Transaction, run_id: str, call: WaitingCall) -> None:
    transaction.send(
        "INSERT INTO waiting_calls (id, run_id, process_id) VALUES (%s, %s, %s) ON CONFLICT (id) DO NOTHING",
        (call.id, run_id, call.process_id),
    )


_IS_TO_MENTION: Final = (
    f"runs.owner = %(owner)s AND {IS_UNDELIVERED} AND {IS_ALONE} AND runs.reminder_count < %(most)s "  # noqa: S608 - our own words
    "AND runs.id <> ALL(%(excluded)s) "
    "AND NOT EXISTS (SELECT 1 FROM waiting_calls WHERE waiting_calls.run_id = runs.id)"
)


async def has_reminder(transaction: Transaction, owner: str, excluded: Collection[str]) -> bool:
    """Return whether a run is to be mentioned."""
    cursor = await transaction.execute(
        f"SELECT 1 FROM runs WHERE {_IS_TO_MENTION} LIMIT 1",  # noqa: S608 - our own words
        {"owner": owner, "most": MAX_REMINDERS, "excluded": list(excluded)},
    )
    return await cursor.fetchone() is not None


async def count_mention(transaction: Transaction, owner: str, excluded: Collection[str]) -> Reminder | None:
    """Return the undelivered runs that are to be mentioned, and count the mention."""
    cursor = await transaction.execute(
        f"UPDATE runs SET reminder_count = reminder_count + 1 WHERE {_IS_TO_MENTION} RETURNING runs.accepted_at, runs.id",  # noqa: S608 - our own words
        {"owner": owner, "most": MAX_REMINDERS, "excluded": list(excluded)},
    )
    found = sorted(await cursor.fetchall(), reverse=True)
    if not found:
        return None
    newest = [run_id for _, run_id in found[:_MAX_NAMED]]
    runs = await select_runs(
        transaction, "runs WHERE runs.id = ANY(%s) ORDER BY runs.accepted_at DESC, runs.id DESC", (newest,)
    )
    return Reminder(len(found), runs)
