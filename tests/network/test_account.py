"""An open account: where its API is, and what it may hand us from this machine."""

import anyio
import pytest

from flowport.domain.errors import Breakage, DayUsedUp, Operation, ProviderUnreachable
from flowport.domain.models import Account
from flowport.network.account import FixedLocation, OpenAccount
from flowport.network.api_client import Location
from flowport.network.ratelimit.limiter import Priority, RateLimiter
from flowport.providers.answers import RateLimits
from flowport.providers.interface import ApiRequest
from flowport.providers.magnific.api import Magnific
from tests.support.fake_clock import FakeClock, wait_until_blocked
from tests.support.raw_server import RawServer, Reply, build_reply, serving

READ = ApiRequest(Operation.READ_RUN, "GET", "/run")
UNREACHABLE = ProviderUnreachable("The sandbox", Operation.LIST_APPS, Breakage.NO_CONNECTION)


class Place:
    """Where an API is, which may change or be unknown, and how often someone asked."""

    def __init__(self, origin: str, *, file_origins: frozenset[str] = frozenset()) -> None:
        self.origin = origin
        self.file_origins = file_origins
        self.error: Exception | None = None
        self.asked = 0

    async def __call__(self) -> Location:
        self.asked += 1
        if self.error is not None:
            raise self.error
        headers = {"x-magnific-api-key": "mk"}
        return Location(self.origin, headers, is_loopback=True, file_origins=self.file_origins)


def build_account(place: Place, *, limit: int = 0, clock: FakeClock | None = None) -> OpenAccount:
    """Return an account at a place."""
    limiter = RateLimiter(limit, clock or FakeClock())
    return OpenAccount(Account("magnific", "sandbox", "builtin"), Magnific(), limiter, place)


async def wait_until_alone(server: RawServer) -> None:
    """Wait until every connection to a server has ended."""
    with anyio.fail_after(60):
        while server.open_connections:
            await wait_until_blocked()


async def test_a_fixed_place_is_returned_as_it_is() -> None:
    """A configured provider does not move."""
    location = Location("https://x", {})
    assert await FixedLocation(location)() is location


async def test_the_place_is_asked_for_at_the_first_request_and_at_each_after_it() -> None:
    """The sandbox may have died in between and come back elsewhere; opening an account must not wait for it."""
    async with serving(build_reply()) as server:
        place = Place(server.origin)
        account = build_account(place)
        assert place.asked == 0
        for _ in range(2):
            await account.send(READ, Priority.POLL)
        assert place.asked >= 2
        assert server.connections == 1
        await account.aclose()


async def test_connections_are_replaced_when_the_place_changes() -> None:
    """The old ones lead nowhere, and its key is no longer good."""
    async with serving(build_reply()) as old, serving(build_reply()) as new:
        place = Place(old.origin)
        account = build_account(place)
        await account.send(READ, Priority.POLL)
        place.origin = new.origin
        await account.send(READ, Priority.POLL)
        await wait_until_alone(old)
        assert (old.connections, new.connections) == (1, 1)
        await account.aclose()
        await wait_until_alone(new)


async def test_one_who_waits_for_a_turn_is_not_sent_to_the_old_place() -> None:
    """The place may change while the provider has asked for a pause."""
    clock = FakeClock(is_automatic=False)
    async with serving(build_reply()) as old, serving(build_reply(status=201)) as new:
        place = Place(old.origin)
        account = build_account(place, clock=clock)
        account.limiter.note_busy(10.0)
        statuses: list[int] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_note_status, account, statuses)
            await clock.settle()
            place.origin = new.origin
            await account.send_now(READ)
            clock.advance(10.0)
        assert (statuses, len(old.heads), len(new.heads)) == ([201], 0, 2)
        await account.aclose()


async def _note_status(account: OpenAccount, statuses: list[int]) -> None:
    statuses.append((await account.send(READ, Priority.POLL)).status)


async def test_a_day_that_is_used_up_is_an_error_in_the_providers_name() -> None:
    """Nothing is sent; the error says what was not asked, and when to come back."""
    async with serving(build_reply()) as server:
        account = build_account(Place(server.origin), limit=9)
        account.limiter.note_limits(RateLimits(0, reset_seconds=500.0))
        with pytest.raises(DayUsedUp) as caught:
            await account.send(READ, Priority.DISCOVER)
        assert (caught.value.operation, caught.value.resumes_seconds) == (READ.operation, 500.0)
        assert not server.heads
        await account.aclose()


async def test_a_request_counts_once_in_the_budget() -> None:
    """Whether it is sent at once or after its turn was awaited."""
    async with serving(build_reply()) as server:
        account = build_account(Place(server.origin), limit=9)
        await account.send(READ, Priority.POLL)
        assert account.limiter.get_used() == 1
        await account.wait_for_turn(Priority.START)
        await account.send_now(READ)
        assert account.limiter.get_used() == 2
        await account.aclose()


async def test_a_place_that_is_not_known_costs_no_turn() -> None:
    """A sandbox that does not start must neither use up the budget nor block the next try."""
    place = Place("")
    place.error = UNREACHABLE
    account = build_account(place, limit=9)
    for _ in range(2):
        with pytest.raises(ProviderUnreachable) as caught:
            await account.send(READ, Priority.POLL)
        assert caught.value is UNREACHABLE
    assert account.limiter.get_used() == 0


async def test_files_come_from_the_origins_of_the_place_without_a_request() -> None:
    """Only they may be on this machine or network; the provider is not asked, and cannot name others."""
    place = Place("http://127.0.0.1:9", file_origins=frozenset({"http://127.0.0.1:80"}))
    account = build_account(place, limit=9)
    for _ in range(2):
        assert await account.fetch_file_origins() == {"http://127.0.0.1:80"}
    assert account.limiter.get_used() == 0
    await account.aclose()


async def test_no_origin_is_trusted_while_the_place_is_not_known() -> None:
    """A moment without a sandbox must not make every later result unreachable."""
    place = Place("http://127.0.0.1:9", file_origins=frozenset({"http://127.0.0.1:80"}))
    place.error = UNREACHABLE
    account = build_account(place)
    assert await account.fetch_file_origins() == frozenset()
    place.error = None
    assert await account.fetch_file_origins() == {"http://127.0.0.1:80"}
    await account.aclose()


async def test_the_origins_move_with_the_place() -> None:
    """A sandbox that was started again may serve its files at another port."""
    place = Place("http://127.0.0.1:9", file_origins=frozenset({"http://127.0.0.1:1"}))
    account = build_account(place)
    assert await account.fetch_file_origins() == {"http://127.0.0.1:1"}
    place.file_origins = frozenset({"http://127.0.0.1:2"})
    assert await account.fetch_file_origins() == {"http://127.0.0.1:2"}
    await account.aclose()


@pytest.mark.parametrize(
    ("reply", "is_there"),
    [
        (build_reply(b'{"files": [{"file_id": "other"}, {"file_id": "f1"}]}'), True),
        (build_reply(b'{"files": [{"file_id": "other"}]}'), False),
        (build_reply(b'{"files": [7]}'), False),
        (build_reply(b"[]"), False),
        (build_reply(b"no JSON"), False),
        (build_reply(b"{}", status=500), False),
    ],
)
async def test_the_sandbox_s_list_says_whether_an_upload_is_there(reply: Reply, *, is_there: bool) -> None:
    """An answer that cannot be read counts as no: the file is then uploaded again."""
    async with serving(reply) as server:
        account = build_account(Place(server.origin))
        account.is_sandbox = True
        assert await account.has_upload("f1") is is_there
        await account.aclose()


async def test_an_account_that_was_never_used_closes() -> None:
    """A process may end before its first request."""
    place = Place("")
    await build_account(place).aclose()
    assert place.asked == 0
