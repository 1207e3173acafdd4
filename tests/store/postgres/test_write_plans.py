"""By which steps PostgreSQL performs what other calls wait for: with 100,000 runs nothing may walk them."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from flowport.domain.models import BootTime, RunState
from flowport.domain.run_events import Delivered, Finished, StartAcknowledged
from flowport.domain.spending import SpendingCheck, SpendingLimits, UnknownPrice
from flowport.store.postgres.store import PostgresStore
from flowport.store.postgres.transaction import Sent, Transaction, Values
from flowport.store.records import Claimed, Upload
from tests.store.contract.test_accept import NOW, build_equal, build_rules
from tests.store.samples import ACCOUNT, OUTPUT, OWNER

from .test_query_plans import RUNS, Ask, Recorder, explain, full_url

__all__ = ["full_url"]

CAPS = SpendingLimits(None, 9e9, None, UnknownPrice.ALLOW, 9e9, 9e9, 9e9)
TERMS = SpendingCheck(CAPS, RUNS - 500.0, BootTime("b1", RUNS - 500.0), max_file_bytes=10**15)


class WriteRecorder(Recorder):
    """A database that keeps the statements of writes too."""

    async def write(self, work: Any, **options: Any) -> Any:
        """Perform an operation in a transaction."""
        return await super().write(lambda transaction: work(self.build_transaction(transaction)), **options)

    async def change(self, work: Any) -> Any:
        """Perform statements that commit by themselves."""
        return await super().change(lambda transaction, again: work(self.build_transaction(transaction), again))

    def build_transaction(self, transaction: Transaction) -> Transaction:
        """Return a transaction whose statements are kept, those that are sent too."""
        send = transaction.send

        def send_and_keep(statement: str, values: Values = ()) -> Sent:
            """Keep it, then send it."""
            self.statements.append((statement, values))
            return send(statement, values)

        transaction.send = send_and_keep  # type: ignore[method-assign]
        return super().build_transaction(transaction)


@pytest.fixture
async def recorder(full_url: str) -> AsyncIterator[WriteRecorder]:
    """Open the database with many runs."""
    opened = WriteRecorder(full_url)
    yield opened
    await opened.close()


async def accept(store: PostgresStore) -> object:
    """Accept a call that could join, under all limits."""
    run = replace(build_equal("run_new"), raw_digest="new", canonical_digest="new")
    return await store.accept(run, build_rules("call_new", beside_call_ids=frozenset({"call_0"})), TERMS)


async def record(store: PostgresStore) -> object:
    """Record an end with outputs, and a delivery."""
    await store.record(f"run_{RUNS - 1}", Finished(RunState.SUCCEEDED, NOW, (OUTPUT,)), ended_call_id="call_9")
    return await store.record("run_50", Delivered(NOW), unless_waited_for=True)


async def hold(store: PostgresStore) -> object:
    """Claim a run, and record its start as its holder."""
    run = await store.get_run_of_any_owner(f"run_{RUNS - 2}")
    claimed = await store.claim(run.id, "p9", lease=run.lease)
    assert isinstance(claimed, Claimed)
    return await store.record(run.id, StartAcknowledged("r1", RunState.RUNNING, NOW), claimed.run.lease)


OPERATIONS: dict[str, tuple[Ask, set[str]]] = {
    "accept": (
        accept,
        {"runs_by_raw_digest", "runs_by_canonical_digest", "runs_live_by_owner", "runs_ended_of_account", "runs_live"},
    ),
    "record": (record, {"runs_pkey"}),
    "hold": (hold, {"runs_pkey", "outputs_pkey"}),
    "claim": (lambda store: store.claim("run_77", "p9", lease=3), {"runs_pkey"}),
    "reminder": (lambda store: store.take_reminder(owner=OWNER), {"runs_undelivered_by_owner"}),
    "spending": (
        lambda store: store.get_spending(account_id=ACCOUNT, owner=OWNER, since=RUNS - 500.0),
        {"runs_live_by_owner", "runs_ended"},
    ),
    "spending of an account": (
        lambda store: store.get_spending(account_id=ACCOUNT, owner=None, since=RUNS - 500.0),
        {"runs_live", "runs_ended_of_account"},
    ),
    "upload": (
        lambda store: store.note_upload(Upload(ACCOUNT, "a" * 64, "https://a.example/1", 9e9, "f1")),
        set(),
    ),
}
"""Operations on few runs among many, and the indexes that lead to those few."""


@pytest.mark.parametrize(("ask", "indexes"), OPERATIONS.values(), ids=OPERATIONS.keys())
async def test_no_operation_walks_the_runs(recorder: WriteRecorder, ask: Ask, indexes: set[str]) -> None:
    """Others wait for its locks meanwhile."""
    await ask(PostgresStore(recorder))
    statements = [
        (one, values) for one, values in recorder.statements if re.match(r"\s*(SELECT|UPDATE|DELETE|WITH)", one)
    ]
    plans = [step for statement, values in statements for step in explain(recorder.url, statement, values)]
    assert [step for step in plans if re.search(r"Seq Scan on (runs|outputs|batch_rows)", step)] == []
    found = set(re.findall(r"(?:using|on) (\w+)", "\n".join(plans)))
    assert indexes <= found, "\n".join(plans)
