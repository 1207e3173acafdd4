"""Fresh links for outputs whose own have expired."""

from dataclasses import replace

import anyio
import pytest

from flowport.domain.errors import Breakage, Operation, ProviderUnreachable
from flowport.domain.models import Output, OutputKind, Run, RunState
from flowport.providers.interface import ApiRequest
from flowport.runs.downloads import LinkRefresher, Refreshed
from tests.runs.samples import NOW, RUN, build_status, read
from tests.support.fake_clock import FakeClock
from tests.support.scripted import Answer, FaultyStore, Reply, ScriptedAccount, build_answer, build_breakage, in_turn

OLD = Output(1, OutputKind.IMAGE, "https://cdn.example/0.png?token=old", provider_output_id="c0", expires_at=NOW - 1)
FRESH = replace(OLD, url=f"https://cdn.example/0.png?token=exp_{int(NOW) + 3600}", expires_at=NOW + 3600)
GONE = replace(OLD, save_problem="It is gone: its link has expired, and Magnific gives no fresh one.")
DONE = replace(RUN, state=RunState.SUCCEEDED, provider_run_id="remote-1", finished_at=NOW - 9)
UNKNOWN = build_answer({"message": "Not found"}, 404)


async def refresh_links(
    store: FaultyStore, clock: FakeClock, answer: Answer, *outputs: Output
) -> tuple[Refreshed, ScriptedAccount]:
    """Refresh every link of a run with these outputs."""
    run = replace(DONE, outputs=outputs)
    await store.accept(run)
    account = ScriptedAccount(answer, clock)
    numbers = {output.n for output in outputs}
    return await LinkRefresher(store, clock).refresh_links(run, account, numbers), account


@pytest.mark.parametrize("remote_id", ["c0", ""])
async def test_a_fresh_link_is_recorded(store: FaultyStore, clock: FakeClock, remote_id: str) -> None:
    """Later readers have it too; an output without a provider's id is identified by its position."""
    old = replace(OLD, provider_output_id=remote_id, save_problem="It was not saved: no network.")
    refreshed, account = await refresh_links(store, clock, in_turn(build_status("completed", images=1)), old)
    fresh = replace(FRESH, provider_output_id=remote_id)

    assert refreshed == Refreshed(replace(DONE, outputs=(fresh,)), frozenset({1}), frozenset())
    assert (await read(store)).outputs == (fresh,)
    assert len(account.asked) == 1


async def test_outputs_are_distinguished_by_their_ids(store: FaultyStore, clock: FakeClock) -> None:
    """A provider that lists them in another order must not swap a user's pictures."""
    second = replace(OLD, n=2, url="https://cdn.example/1.png?token=old", provider_output_id="c1")
    swapped = replace(OLD, provider_output_id="c1"), replace(second, provider_output_id="c0")
    refreshed, _ = await refresh_links(store, clock, in_turn(build_status("completed", images=2)), *swapped)
    assert [(output.url or "")[:25] for output in refreshed.run.outputs] == [
        "https://cdn.example/1.png",
        "https://cdn.example/0.png",
    ]


@pytest.mark.parametrize(
    "answer", [UNKNOWN, build_status("failed"), build_status("completed")], ids=["unknown", "failed", "without"]
)
async def test_an_output_that_the_provider_deleted_is_gone(store: FaultyStore, clock: FakeClock, answer: Reply) -> None:
    """The user must learn that waiting does not help; the old link stays in the store."""
    refreshed, _ = await refresh_links(store, clock, in_turn(answer), OLD)
    assert refreshed == Refreshed(replace(DONE, outputs=(GONE,)), frozenset(), frozenset({1}))
    assert (await read(store)).outputs == (GONE,)


async def test_a_saved_output_is_not_reported_as_gone(store: FaultyStore, clock: FakeClock) -> None:
    """Only its link has expired."""
    saved = replace(OLD, saved_path="/pictures/0.png")
    refreshed, _ = await refresh_links(store, clock, in_turn(UNKNOWN), saved)
    assert refreshed == Refreshed(replace(DONE, outputs=(saved,)), frozenset(), frozenset({1}))


@pytest.mark.parametrize(("expires_at", "is_gone"), [(NOW - 1, True), (NOW + 1, False)])
async def test_an_unchanged_link_is_gone_only_after_its_expiry(
    store: FaultyStore, clock: FakeClock, expires_at: float, *, is_gone: bool
) -> None:
    """A server may answer 404 for a file that has not reached it yet."""
    same = replace(OLD, url=FRESH.url, expires_at=expires_at)
    refreshed, _ = await refresh_links(store, clock, in_turn(build_status("completed", images=1)), same)
    assert (refreshed.fresh, refreshed.gone) == (frozenset(), frozenset({1} if is_gone else ()))
    assert bool(refreshed.run.outputs[0].save_problem) is is_gone


async def test_a_link_without_an_expiry_that_is_gone_gets_one(store: FaultyStore, clock: FakeClock) -> None:
    """Otherwise every start would try it again."""
    refreshed, _ = await refresh_links(store, clock, in_turn(UNKNOWN), replace(OLD, expires_at=None))
    assert refreshed.run.outputs == (replace(GONE, expires_at=NOW),)
    assert refreshed.gone == {1}


async def test_an_unavailable_provider_does_not_mark_outputs_as_gone(store: FaultyStore, clock: FakeClock) -> None:
    """The network may come back."""
    lost = build_breakage(Breakage.NO_CONNECTION, Operation.READ_RUN)
    with pytest.raises(ProviderUnreachable):
        await refresh_links(store, clock, in_turn(lost), OLD)
    assert (await read(store)).outputs == (OLD,)


async def test_concurrent_refreshes_share_one_request(store: FaultyStore, clock: FakeClock) -> None:
    """A client fetches all links of an answer concurrently."""
    run = replace(DONE, outputs=(OLD,))
    await store.accept(run)
    account = ScriptedAccount(in_turn(build_status("completed", images=1)), clock)
    link_refresher = LinkRefresher(store, clock)
    found: list[Refreshed] = []

    async def renew_one() -> None:
        """Refresh the one link."""
        found.append(await link_refresher.refresh_links(run, account, {1}))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(renew_one)
    assert found == [Refreshed(replace(DONE, outputs=(FRESH,)), frozenset({1}), frozenset())] * 5


@pytest.mark.parametrize("operation", ["get_run", "LinksRefreshed"])
async def test_a_fresh_link_is_returned_although_the_store_fails(
    store: FaultyStore, clock: FakeClock, caplog: pytest.LogCaptureFixture, operation: str
) -> None:
    """A full disk must not hide a file that can be fetched now."""
    store.failing.add(operation)
    refreshed, _ = await refresh_links(store, clock, in_turn(build_status("completed", images=1)), OLD)
    assert refreshed.run.outputs == (FRESH,)
    assert "the disk is full" in caplog.text


WAITED = [
    ((OLD,), [build_status("completed", images=1)], (FRESH,)),
    ((OLD,), [build_answer(None, 500)], (OLD,)),
    ((FRESH,), [], (FRESH,)),
    ((replace(OLD, saved_path="/a.png"),), [], (replace(OLD, saved_path="/a.png"),)),
]


@pytest.mark.parametrize(("outputs", "replies", "after"), WAITED, ids=["expired", "provider-down", "fresh", "saved"])
async def test_a_caller_gets_the_links_that_it_needs(
    *,
    store: FaultyStore,
    clock: FakeClock,
    outputs: tuple[Output, ...],
    replies: list[Reply],
    after: tuple[Output, ...],
) -> None:
    """Each poll costs a request, and a saved copy needs no link; without a response the old links are shown."""
    run: Run = replace(DONE, outputs=outputs)
    await store.accept(run)
    await LinkRefresher(store, clock).refresh_expired(run, ScriptedAccount(in_turn(*replies), clock))
    assert (await read(store)).outputs == after


async def test_a_slow_poll_does_not_delay_the_answer(
    store: FaultyStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The known facts can be shown meanwhile."""
    monkeypatch.setattr("flowport.runs.downloads.WAIT_SECONDS", 0.01)

    def answer(request: ApiRequest) -> Reply:
        """Delay the response beyond the limit."""
        raise AssertionError(request)

    account = ScriptedAccount(answer, clock)
    account.before_answer = anyio.sleep_forever
    run = replace(DONE, outputs=(OLD,))
    await store.accept(run)
    await LinkRefresher(store, clock).refresh_expired(run, account)
    assert (await read(store)).outputs == (OLD,)
