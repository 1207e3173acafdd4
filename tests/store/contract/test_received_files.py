"""What the store keeps of files that people upload to a server."""

from collections.abc import Callable
from dataclasses import replace

import anyio
import pytest

from flowport.domain.errors import RunNotFound
from flowport.domain.models import Output, OutputKind, RunState
from flowport.domain.run_events import Delivered, Finished, OutputSaved, StartAcknowledged, StartRequested
from flowport.store.interface import Store
from flowport.store.received_files import Kept, QuotaExceeded, ReceivedFile, ReceiveOutcome, TicketUsed
from tests.runs.samples import NOW, RUN

TICKET = ReceivedFile("k3j9", "ann", NOW, NOW + 3600, "a cup")
RECEIVED = replace(
    TICKET, received_at=NOW + 60, expires_at=NOW + 7 * 86400, file_name="k3j9.png", mime_type="image/png", size_bytes=10
)


async def test_a_ticket_is_used_once_also_after_a_restart(open_store: Callable[[], Store]) -> None:
    """The record is on disk, so another process refuses the second use as well."""
    first, second = open_store(), open_store()
    assert await first.request_file(TICKET, max_open=3)
    assert await first.keep_file(RECEIVED, max_bytes=100) == Kept(RECEIVED)
    assert await second.keep_file(RECEIVED, max_bytes=100) == TicketUsed()
    assert await second.find_file("k3j9", owner="ann") == RECEIVED


async def test_of_many_uses_at_once_one_is_kept(open_store: Callable[[], Store]) -> None:
    """Two browsers and a script may send to one link at the same moment."""
    stores = [open_store(), open_store()]
    await stores[0].request_file(TICKET, max_open=3)
    outcomes: list[ReceiveOutcome] = []

    async def use(store: Store) -> None:
        """Use the ticket."""
        outcomes.append(await store.keep_file(RECEIVED, max_bytes=100))

    async with anyio.create_task_group() as tasks:
        for n in range(10):
            tasks.start_soon(use, stores[n % 2])
    assert sorted(type(one).__name__ for one in outcomes) == ["Kept", *["TicketUsed"] * 9]


@pytest.mark.parametrize(
    "file", [replace(RECEIVED, id="other"), replace(RECEIVED, received_at=TICKET.expires_at + 1)], ids=["id", "time"]
)
async def test_an_unknown_or_expired_ticket_is_not_used(store: Store, file: ReceivedFile) -> None:
    """What was never given out cannot be used, and nothing can be used late."""
    await store.request_file(TICKET, max_open=3)
    assert await store.keep_file(file, max_bytes=100) == TicketUsed()
    assert await store.find_file("other", owner=None) is None


async def test_a_file_belongs_to_the_owner_of_its_ticket(store: Store) -> None:
    """Another owner has no such file, and who sends it does not decide whose it is."""
    await store.request_file(TICKET, max_open=3)
    assert await store.keep_file(replace(RECEIVED, owner="bob", purpose="x"), max_bytes=100) == Kept(RECEIVED)
    assert await store.find_file("k3j9", owner="bob") is None
    assert await store.find_file("k3j9", owner=None) == RECEIVED


async def test_unused_tickets_are_few_and_leave_when_they_expire(store: Store) -> None:
    """A model that asks again and again fills no record: the oldest ticket makes room; used ones and other owners' do not count."""
    for n, owner in enumerate(("ann", "bob", "ann", "ann")):
        assert await store.request_file(replace(TICKET, id=f"t{n}", owner=owner, requested_at=NOW + n), max_open=2)
    assert [await store.find_file(f"t{n}", owner=None) is not None for n in range(4)] == [False, True, True, True]
    await store.keep_file(replace(RECEIVED, id="t2"), max_bytes=100)
    assert await store.request_file(replace(TICKET, id="t4", requested_at=NOW + 4), max_open=2)
    assert await store.find_file("t3", owner="ann") is not None
    later = replace(TICKET, id="t5", requested_at=NOW + 4000, expires_at=NOW + 9000)
    assert await store.request_file(later, max_open=9)
    assert [await store.find_file(f"t{n}", owner=None) is not None for n in range(1, 6)] == [
        False,
        True,
        False,
        False,
        True,
    ]


async def test_an_id_is_given_out_once(store: Store) -> None:
    """A second ticket of the same id would replace the first."""
    assert await store.request_file(TICKET, max_open=3)
    assert not await store.request_file(replace(TICKET, owner="bob"), max_open=3)
    assert await store.find_file("k3j9", owner="ann") == TICKET


async def test_uploads_and_saved_results_share_one_quota(store: Store) -> None:
    """Those of one owner count, and a result that is only linked occupies nothing."""
    output = Output(1, OutputKind.IMAGE, "https://cdn.example/1.png", size_bytes=60)
    outputs = (replace(output, saved_path="/out/1.png"), replace(output, n=2))
    run = replace(RUN, owner="ann", state=RunState.SUCCEEDED, outputs=outputs)
    await store.accept(run)
    await store.accept(replace(run, id="run_of_bob", owner="bob"))
    await store.request_file(TICKET, max_open=3)
    assert await store.keep_file(RECEIVED, max_bytes=69) == QuotaExceeded(60)
    assert await store.keep_file(RECEIVED, max_bytes=70) == Kept(RECEIVED)
    assert await store.get_file_use(owner="ann") == 70
    assert await store.get_file_use(owner="new") == 0


async def test_files_are_forgotten_when_they_expire(store: Store) -> None:
    """Those that are still kept stay, and so do tickets that were not used."""
    await store.request_file(TICKET, max_open=3)
    await store.request_file(replace(TICKET, id="b"), max_open=3)
    await store.keep_file(RECEIVED, max_bytes=100)
    assert await store.get_expired_files(now=RECEIVED.expires_at) == ()
    assert await store.get_expired_files(now=RECEIVED.expires_at + 1) == (RECEIVED,)
    await store.forget_files(["k3j9"])
    assert await store.get_expired_files(now=RECEIVED.expires_at + 1) == ()
    assert await store.find_file("k3j9", owner="ann") is None
    assert await store.find_file("b", owner="ann") is not None


async def test_a_run_is_read_without_its_owner_where_other_proof_is_held(store: Store) -> None:
    """A signed link names no owner."""
    await store.accept(replace(RUN, owner="ann"))
    assert (await store.get_run_of_any_owner(RUN.id)).owner == "ann"
    with pytest.raises(RunNotFound):
        await store.get_run_of_any_owner("run_nothing")


async def test_the_bytes_of_results_follow_every_change(store: Store) -> None:
    """A result that is saved later, saved again with another size, pruned or erased; of each owner alone."""
    output = Output(1, OutputKind.IMAGE, "https://cdn.example/1.png")
    for run_id, owner in (("run_a", "ann"), ("run_b", "ann"), ("run_c", "bob")):
        await store.accept(replace(RUN, id=run_id, owner=owner))
        await store.record(run_id, StartRequested(NOW))
        await store.record(run_id, StartAcknowledged("p" + run_id, RunState.RUNNING, NOW))
        await store.record(run_id, Finished(RunState.SUCCEEDED, NOW, outputs=(output,)))
        await store.record(run_id, OutputSaved(replace(output, saved_path=f"/out/{run_id}", size_bytes=10)))
    assert await store.get_file_use(owner="ann") == 20
    await store.record("run_a", OutputSaved(replace(output, saved_path="/out/again", size_bytes=15)))
    assert await store.get_file_use(owner="ann") == 25
    await store.erase_run("run_a", owner="ann")
    assert await store.get_file_use(owner="ann") == 10
    await store.record("run_b", Delivered(NOW))
    assert (await store.prune(before=NOW + 10)).runs == 1
    assert (await store.get_file_use(owner="ann"), await store.get_file_use(owner="bob")) == (0, 10)
