"""What holds for one process holds for many: caps, joining, claims and uploads over several replicas at once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from flowport.domain.call_errors import AccountCapReached, DayCapReached
from flowport.domain.models import Run, RunState
from flowport.domain.run_events import Cancelled, StartAcknowledged, StartRequested, StartUnknown
from flowport.domain.spending import LimitExceeded
from flowport.store.postgres.store import PostgresStore, open_postgres_store
from flowport.store.records import (
    Accepted,
    BeingUploaded,
    Claimed,
    Joined,
    KnownProcesses,
    Recorded,
    Stale,
    ToUpload,
    UploadClaim,
)
from tests.store.contract.test_accept import NOW, build_equal, build_rules
from tests.store.contract.test_spending import build_terms
from tests.store.samples import ACCOUNT, OWNER, build_run, finish_child, start_child

S = RunState


@pytest.fixture
async def open_replica(database_url: str) -> AsyncIterator[Callable[[], PostgresStore]]:
    """Open the store of one more replica, with connections of its own."""
    opened: list[PostgresStore] = []

    def open_one() -> PostgresStore:
        """Open it."""
        opened.append(open_postgres_store(database_url))
        return opened[-1]

    yield open_one
    for one in opened:
        await one.close()


@pytest.fixture
def replicas(open_replica: Callable[[], PostgresStore]) -> tuple[PostgresStore, ...]:
    """Open the stores of three replicas."""
    return tuple(open_replica() for _ in range(3))


SPEND = """
import asyncio, sys
from flowport.domain.spending import SpendingCheck, SpendingLimits
from flowport.store.postgres.store import open_postgres_store
from flowport.store.records import Accepted
from store.contract.test_accept import build_rules
from store.samples import build_run

async def main(url, name, cap):
    store = open_postgres_store(url)
    await store.get_calling_processes()
    terms = SpendingCheck(SpendingLimits(**{cap: 101.0}), 0.0)
    print("open", flush=True)
    sys.stdin.readline()

    async def spend(n):
        price = [1.0, 2.5, 7.0, 0.5, 17.0][n % 5]
        owner = f"owner{n % 7}" if "account" in cap else "local"
        run = build_run(
            f"run_{name}_{n}", owner=owner, price_credits=price, reserved_credits=price,
            raw_digest=f"{name}{n}", canonical_digest=f"{name}{n}",
        )
        rules = build_rules(f"call_{name}_{n}", process_id=name)
        return price if isinstance(await store.accept(run, rules, terms, whole_arguments="{}"), Accepted) else 0.0

    print(sum(await asyncio.gather(*(spend(n) for n in range(50)))))
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("cap", ["max_credits_per_day", "max_account_credits_per_day"])
async def test_a_cap_of_101_credits_holds_over_three_replicas_with_fifty_calls_each(
    database_url: str, open_replica: Callable[[], PostgresStore], cap: str
) -> None:
    """Never above by one credit, and nothing left unspent that a call would have had room for."""
    children = [start_child(SPEND, database_url, name, cap) for name in "abc"]
    for child in children:
        assert child.stdout is not None
        assert await asyncio.to_thread(child.stdout.readline) == "open\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    spent = await asyncio.to_thread(lambda: sum(float(finish_child(child)) for child in children))
    store = open_replica()
    owner = None if "account" in cap else OWNER
    spending = await store.get_spending(account_id=ACCOUNT, owner=owner, since=0.0)
    assert spending.reserved_credits == spent
    # The prices up to 2.5 alone are more than the cap, so one of them was refused.
    assert 101.0 - 2.5 < spent <= 101.0
    limits: dict[str, Any] = {cap: 101.0}
    refused = await store.accept(build_run("run_last", price_credits=1.0), None, build_terms(**limits))
    assert isinstance(refused, LimitExceeded)
    assert isinstance(refused.reason, AccountCapReached | DayCapReached)


async def test_equal_calls_on_three_replicas_at_once_are_one_run(replicas: tuple[PostgresStore, ...]) -> None:
    """A client that retries is answered by whichever replica it meets."""
    outcomes = await asyncio.gather(
        *(
            replicas[n % 3].accept(
                build_equal(f"run_{n}", process_id=f"p{n % 3}"),
                build_rules(
                    f"call_{n}",
                    process_id=f"p{n % 3}",
                    processes=KnownProcesses(alive=frozenset({"p0", "p1", "p2"})),
                ),
            )
            for n in range(30)
        )
    )
    accepted = [one.run.id for one in outcomes if isinstance(one, Accepted)]
    joined = {one.run.id for one in outcomes if isinstance(one, Joined)}
    assert len(accepted) == 1
    assert joined == set(accepted)
    assert await replicas[0].get_calling_processes() == {"p0", "p1", "p2"}


async def test_a_caller_that_joins_while_another_abandons_never_gets_a_cancelled_run(
    replicas: tuple[PostgresStore, ...],
) -> None:
    """Either the run goes on for the one who came, or the one who came gets a new run."""
    first, second, _ = replicas
    for n in range(25):
        digests: dict[str, Any] = {"raw_digest": f"r{n}", "canonical_digest": f"c{n}"}
        await first.accept(build_equal(f"run_{n}", **digests), build_rules(f"call_{n}"))
        abandoned, called = await asyncio.gather(
            first.record(f"run_{n}", Cancelled("given up", NOW), ended_call_id=f"call_{n}", unless_waited_for=True),
            second.accept(build_equal(f"again_{n}", **digests), build_rules(f"call_again_{n}", process_id="p2")),
        )
        if isinstance(called, Joined):
            assert isinstance(abandoned, Stale)
        else:
            assert isinstance(abandoned, Recorded)
            assert isinstance(called, Accepted)


async def test_of_many_that_start_or_claim_a_run_one_does(replicas: tuple[PostgresStore, ...]) -> None:
    """The second start request would be the second payment."""
    await replicas[0].accept(build_run("run_1"))
    claims = await asyncio.gather(*(replicas[n % 3].claim("run_1", f"p{n}", lease=3) for n in range(12)))
    [claimed] = [one for one in claims if isinstance(one, Claimed)]
    starts = await asyncio.gather(
        *(replicas[n % 3].record("run_1", StartRequested(1.0), claimed.run.lease) for n in range(12))
    )
    assert len([one for one in starts if isinstance(one, Recorded)]) == 1


async def test_one_replica_uploads_and_takes_over_from_a_dead_one(replicas: tuple[PostgresStore, ...]) -> None:
    """Hundreds of rows with one picture are one upload."""
    claims = await asyncio.gather(
        *(replicas[n % 3].claim_upload(UploadClaim(ACCOUNT, "abc", f"p{n}", NOW)) for n in range(12))
    )
    assert len([one for one in claims if isinstance(one, ToUpload)]) == 1
    [holder] = {one.process_id for one in claims if isinstance(one, BeingUploaded)}
    claims = await asyncio.gather(
        *(
            replicas[n % 3].claim_upload(UploadClaim(ACCOUNT, "abc", f"q{n}", NOW, dead_process_id=holder))
            for n in range(12)
        )
    )
    assert len([one for one in claims if isinstance(one, ToUpload)]) == 1


# Runs that any worker starts


async def accept_queued(store: PostgresStore, run: Run, call_id: str, **changes: Any) -> object:
    """Accept a run that any worker starts; who asks knows no process but itself."""
    rules = build_rules(call_id, processes=KnownProcesses(), **changes)
    return await store.accept(replace(run, process_id=""), rules, whole_arguments='{"prompt": "a cat"}')


async def test_a_queued_run_has_a_job_and_its_whole_arguments(
    replicas: tuple[PostgresStore, ...],
) -> None:
    """Both are there with the run or not at all; the arguments go once they are not needed."""
    store, _, other = replicas
    run = replace(build_equal("run_1"), process_id="")
    assert await accept_queued(store, run, "call_1") == Accepted(run)
    assert await read(other, "SELECT args ->> 'run_id' FROM procrastinate_jobs") == [("run_1",)]
    assert await read(other, "SELECT arguments_json FROM whole_arguments") == [('{"prompt": "a cat"}',)]
    await store.record("run_1", StartRequested(NOW))
    assert len(await read(other, "SELECT 1 FROM whole_arguments")) == 1
    await store.record("run_1", StartAcknowledged("r1", S.QUEUED, NOW))
    assert await read(other, "SELECT 1 FROM whole_arguments") == []


async def read(store: PostgresStore, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""

    async def select(transaction: Any) -> list[tuple[Any, ...]]:
        """Select them."""
        return list(await (await transaction.execute(query)).fetchall())

    return await store.database.look_up(select)


async def test_a_queued_run_that_was_not_sent_outlives_every_process(replicas: tuple[PostgresStore, ...]) -> None:
    """With or without a worker that has died, it will be started, so a retry joins it and asks for no process."""
    first, second, _ = replicas
    await accept_queued(first, build_equal("run_1"), "call_1")
    await first.leave("call_1")
    outcome = await accept_queued(second, build_equal("run_2"), "call_2", process_id="p2")
    assert isinstance(outcome, Joined)
    await second.leave("call_2")
    await first.claim("run_1", "worker", lease=3)
    again = await accept_queued(second, build_equal("run_3"), "call_3", process_id="p2")
    assert isinstance(again, Joined)
    await second.leave("call_3")
    dead = KnownProcesses(dead=frozenset({"worker", ""}))
    rules = build_rules("call_4", processes=dead)
    assert isinstance(await first.accept(build_equal("run_4"), rules, whole_arguments="{}"), Joined)


async def test_a_queued_run_that_is_being_started_is_joined_whatever_a_replica_thinks_of_its_worker(
    replicas: tuple[PostgresStore, ...],
) -> None:
    """A worker that was paused claims a run as soon as it is back, while the last look of a replica has it as dead."""
    first, second, _ = replicas
    await accept_queued(first, build_equal("run_1"), "call_1")
    await first.leave("call_1")
    await first.claim("run_1", "worker", lease=3)
    await first.record("run_1", StartRequested(NOW), 4)
    rules = build_rules("call_2", processes=KnownProcesses(dead=frozenset({"worker"})))
    outcome = await second.accept(build_equal("run_2"), rules, whole_arguments="{}")
    assert isinstance(outcome, Joined)
    assert outcome.run.state is S.STARTING
    assert isinstance(await first.record("run_1", StartAcknowledged("r1", S.RUNNING, NOW), 4), Recorded)


async def test_what_a_settlement_frees_may_be_spent_by_the_same_call(replicas: tuple[PostgresStore, ...]) -> None:
    """The sums are taken after the run of a dead process was settled."""
    store = replicas[0]
    terms = build_terms(max_credits_per_day=5.0)
    await store.accept(build_equal("run_1", process_id="dead"), build_rules("call_1", process_id="dead"), terms)
    assert isinstance(await store.accept(build_equal("run_2"), build_rules("call_2"), terms), Accepted)


async def test_a_late_reply_gives_an_unknown_queued_run_its_job_back(replicas: tuple[PostgresStore, ...]) -> None:
    """Its worker lost the run meanwhile; the worker that takes the job polls it."""
    store = replicas[0]
    await accept_queued(store, build_equal("run_1"), "call_1")
    await store.claim("run_1", "worker", lease=3)
    await store.record("run_1", StartRequested(NOW), 4)
    await store.record("run_1", StartUnknown("no answer", NOW))

    async def end_jobs(transaction: Any) -> None:
        """Remove all jobs."""
        await transaction.execute("DELETE FROM procrastinate_jobs")

    await store.database.write(end_jobs)
    assert isinstance(await store.record("run_1", StartAcknowledged("r1", S.RUNNING, NOW), 3), Recorded)
    assert await read(store, "SELECT args ->> 'run_id' FROM procrastinate_jobs") == [("run_1",)]
