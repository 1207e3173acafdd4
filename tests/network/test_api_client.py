"""Requests to an API, over real connections to a server that misbehaves as reported."""

import contextlib
import json
from collections.abc import AsyncIterator

import anyio
import httpx2
import pytest

from flowport.domain.errors import NEVER_CONNECTED, Breakage, Operation, ProviderUnreachable
from flowport.network.api_client import (
    MAX_ANSWER_BYTES,
    PAUSE_WITHOUT_WORD_SECONDS,
    REQUEST_SECONDS,
    Api,
    KeyRemover,
    Location,
)
from flowport.network.causes import BREAKAGES, get_breakage
from flowport.network.ratelimit.limiter import Priority, RateLimiter
from flowport.providers.interface import ApiAnswer, ApiRequest
from flowport.runtime.failpoints import Failpoint
from tests.support.fake_clock import FakeClock
from tests.support.raw_server import Ending, Reply, build_reply, find_closed_origin, serving
from tests.support.traps import Trap, clear_traps, set_trap

READ = ApiRequest(Operation.READ_RUN, "GET", "/v1/ai/flows/runs/a%2Fb")
START = ApiRequest(Operation.START_RUN, "POST", "/v1/ai/flows/x/run", {"inputs": {"text": "café"}})
HEADERS = {"x-magnific-api-key": "mk-secret"}
LIBRARY_ERRORS = sorted(
    {kind for kind in vars(httpx2).values() if isinstance(kind, type) and issubclass(kind, Exception)},
    key=lambda kind: kind.__name__,
)


@contextlib.asynccontextmanager
async def opened(
    base_url: str,
    *,
    limiter: RateLimiter | None = None,
    transport: httpx2.AsyncBaseTransport | None = None,
    is_loopback: bool = True,
) -> AsyncIterator[Api]:
    """Give the way to an API for the length of a block."""
    location = Location(base_url, HEADERS, "mk-secret", is_loopback=is_loopback)
    api = Api("Magnific", location, limiter or RateLimiter(0, FakeClock()), transport=transport)
    try:
        yield api
    finally:
        await api.aclose()


async def ask(base_url: str, request: ApiRequest = READ) -> ApiAnswer:
    """Send one request on its own."""
    async with opened(base_url) as api:
        return await api.send(request)


async def fail(base_url: str, request: ApiRequest = START) -> ProviderUnreachable:
    """Return the error of a request that gets no answer."""
    with pytest.raises(ProviderUnreachable) as caught:
        await ask(base_url, request)
    return caught.value


@pytest.mark.parametrize("kind", LIBRARY_ERRORS)
def test_every_error_of_the_library_has_its_meaning(kind: type[Exception]) -> None:
    """An upgrade that brings a new error must not make a start look safe to send again."""
    certain = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol", "InvalidURL"}
    breakage = get_breakage(kind.__new__(kind))
    assert (breakage in NEVER_CONNECTED) is (kind.__name__ in certain)


def test_the_table_names_errors_that_exist_and_the_most_special_decides() -> None:
    """`ConnectError` is a `NetworkError` too, and must not count as broken off."""
    assert set(BREAKAGES) <= {*LIBRARY_ERRORS, TimeoutError}
    assert get_breakage(httpx2.ConnectError("x")) is Breakage.NO_CONNECTION
    assert get_breakage(httpx2.WriteError("x")) is Breakage.BROKEN_OFF


def test_what_the_table_does_not_name_may_have_arrived() -> None:
    """When in uncertainty a run is unknown, never started again."""
    assert get_breakage(RuntimeError("x")) is Breakage.BROKEN_OFF


@pytest.mark.parametrize(
    "kind", [kind for kind in LIBRARY_ERRORS if issubclass(kind, httpx2.TransportError | httpx2.InvalidURL)]
)
async def test_no_error_of_a_request_leaves_in_the_librarys_own_words(kind: type[Exception]) -> None:
    """Callers know our errors only; the library's is kept as the cause for the log."""
    error = kind("words of the library")

    def break_off(_: httpx2.Request) -> httpx2.Response:
        """Fail as the network would."""
        raise error

    async with opened("https://x", transport=httpx2.MockTransport(break_off)) as api:
        with pytest.raises(ProviderUnreachable) as caught:
            await api.send(START)
    assert (caught.value.provider, caught.value.operation) == ("Magnific", Operation.START_RUN)
    assert caught.value.breakage is get_breakage(error)
    assert caught.value.__cause__ is error


async def test_a_request_carries_key_path_and_json() -> None:
    """The path is sent as the provider's module encoded it."""
    async with serving(build_reply(b'{"a": 1}', "X-Odd: Yes", status=202)) as server:
        answer = await ask(f"{server.origin}/base", START)
    assert server.heads[0].startswith("POST /base/v1/ai/flows/x/run HTTP/1.1\r\n")
    assert "x-magnific-api-key: mk-secret" in server.heads[0]
    assert "content-type: application/json" in server.heads[0].lower()
    assert json.loads(server.bodies[0]) == START.body
    assert answer == ApiAnswer(202, {"content-length": "8", "x-odd": "Yes"}, b'{"a": 1}')


async def test_a_request_without_a_body_sends_none() -> None:
    """A GET with `null` in it confuses servers."""
    async with serving(build_reply()) as server:
        await ask(server.origin)
    assert server.heads[0].startswith("GET /v1/ai/flows/runs/a%2Fb HTTP/1.1\r\n")
    assert server.bodies == [b""]


@pytest.mark.parametrize("status", [200, 204, 302, 400, 401, 404, 422, 500, 503])
async def test_every_status_is_an_answer(status: int) -> None:
    """What it means is for the provider's module to say."""
    async with serving(build_reply(b"", status=status)) as server:
        assert (await ask(server.origin)).status == status


async def test_a_refused_connection_was_certainly_not_sent() -> None:
    """Such a start may be tried again."""
    error = await fail(await find_closed_origin())
    assert (error.breakage, error.was_sent) == (Breakage.NO_CONNECTION, False)


@pytest.mark.parametrize("base_url", ["ftp://127.0.0.1", "http://[::1", "http://127.0.0.1:x"])
async def test_an_unusable_address_was_certainly_not_sent(base_url: str) -> None:
    """Nothing left this machine."""
    error = await fail(base_url)
    assert (error.breakage, error.was_sent) == (Breakage.UNUSABLE_ADDRESS, False)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"", Ending.CLOSE),
        Reply(b"", Ending.RESET),
        Reply(b"HTTP/1.1 200 OK\r\nContent-Le", Ending.CLOSE),
        Reply(b"SSH-2.0-OpenSSH_9.6\r\n", Ending.CLOSE),
        Reply(b"HTTP/1.1 2000 OK\r\n\r\n", Ending.CLOSE),
    ],
    ids=["closed", "reset", "half a head", "another protocol", "a bad status"],
)
async def test_a_request_that_left_without_an_answer_may_have_arrived(reply: Reply) -> None:
    """The server read it before it broke off, so the run may be under way and paid for."""
    async with serving(reply) as server:
        error = await fail(server.origin)
    assert len(server.heads) == 1
    assert error.breakage in {Breakage.BROKEN_OFF, Breakage.GARBLED}
    assert error.was_sent


@pytest.mark.parametrize("ending", [Ending.CLOSE, Ending.RESET])
async def test_half_a_body_keeps_the_status(ending: Ending) -> None:
    """A 422 is a refusal, whether or not its reason came through."""
    async with serving(build_reply(b'{"mess', status=422, length=100, ending=ending)) as server:
        answer = await ask(server.origin, START)
    assert (answer.status, answer.is_complete) == (422, False)
    assert b'{"mess'.startswith(answer.body)


async def test_a_body_that_is_not_what_its_encoding_says_keeps_the_status() -> None:
    """A broken gateway may say gzip and send text."""
    async with serving(build_reply(b"plain", "Content-Encoding: gzip", status=202)) as server:
        answer = await ask(server.origin, START)
    assert (answer.status, answer.is_complete) == (202, False)


async def test_an_oversized_body_is_cut() -> None:
    """A provider gone mad must not fill our memory."""
    async with serving(build_reply(bytes(MAX_ANSWER_BYTES + 1))) as server:
        answer = await ask(server.origin)
    assert (len(answer.body), answer.is_complete) == (MAX_ANSWER_BYTES, False)


async def test_a_body_of_just_the_largest_size_is_whole() -> None:
    """The limit itself is allowed."""
    async with serving(build_reply(bytes(MAX_ANSWER_BYTES))) as server:
        answer = await ask(server.origin)
    assert (len(answer.body), answer.is_complete) == (MAX_ANSWER_BYTES, True)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("request_", [READ, START], ids=["read", "start"])
async def test_a_redirect_is_not_followed(status: int, request_: ApiRequest) -> None:
    """The library would carry the key to another origin, and start the run there once more."""
    async with serving(build_reply()) as elsewhere:
        reply = build_reply(b"", f"Location: {elsewhere.origin}/", status=status)
        async with serving(reply) as server:
            answer = await ask(server.origin, request_)
    assert (answer.status, len(server.heads), elsewhere.connections) == (status, 1, 0)


async def test_each_start_has_a_connection_of_its_own() -> None:
    """A kept-alive connection that the server is just closing would leave the fate of a run unknown."""
    async with serving(build_reply()) as server, opened(server.origin) as api:
        for _ in range(3):
            await api.send(START)
        assert server.connections == 3


async def test_reads_share_a_connection() -> None:
    """A run is looked at a dozen times; a handshake for each look would cost more than the look."""
    async with serving(build_reply()) as server, opened(server.origin) as api:
        for _ in range(3):
            await api.send(READ)
        assert server.connections == 1


async def test_a_start_does_not_take_the_connection_of_a_read() -> None:
    """It would be a kept-alive one."""
    async with serving(build_reply()) as server, opened(server.origin) as api:
        await api.send(READ)
        await api.send(START)
        await api.send(READ)
        assert server.connections == 2


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ((), PAUSE_WITHOUT_WORD_SECONDS),
        (("Retry-After: 7",), 7.0),
        (("Retry-After: 0",), 1.0),
        (("Retry-After: soon",), PAUSE_WITHOUT_WORD_SECONDS),
        (("Date: Mon, 30 Nov 2026 10:00:00 GMT", "Retry-After: Mon, 30 Nov 2026 10:01:10 GMT"), 70.0),
        (("Retry-After: 3", "Retry-After: 9"), 9.0),
        (("X-RateLimit-Remaining: 0", "X-RateLimit-Reset: 40"), 40.0),
    ],
)
async def test_a_429_makes_the_whole_account_rest(headers: tuple[str, ...], pause: float) -> None:
    """The limit belongs to the key, so every other call must wait too."""
    clock = FakeClock()
    limiter = RateLimiter(50, clock)
    async with serving(build_reply(b"", *headers, status=429)) as server, opened(server.origin, limiter=limiter) as api:
        await api.send(READ)
    await limiter.take(Priority.START)
    assert clock.monotonic() == pause


async def test_what_an_answer_says_is_left_holds_for_the_account() -> None:
    """Magica's headers; the rest of the key's minute belongs to someone else."""
    clock = FakeClock()
    limiter = RateLimiter(50, clock)
    reset = f"X-RateLimit-Reset: {int(clock.now() + 20) * 1000}"
    reply = build_reply(b"", "X-RateLimit-Remaining: 1", reset)
    async with serving(reply) as server, opened(server.origin, limiter=limiter) as api:
        await api.send(READ)
    await limiter.take(Priority.POLL)
    assert clock.monotonic() == 0.0
    await limiter.take(Priority.POLL)
    assert clock.monotonic() == 20.0


async def test_a_refusal_of_the_day_lowers_nothing() -> None:
    """It is not a sign of someone else, and a look that waits must not be paced for it."""
    clock = FakeClock()
    limiter = RateLimiter(50, clock)
    day = ("X-RateLimit-Remaining: 0", "X-RateLimit-Reset: 30000", "Retry-After: 9")
    async with serving(build_reply(b"", *day, status=429)) as server, opened(server.origin, limiter=limiter) as api:
        await api.send(READ)
    view = await limiter.get_status()
    assert (view.limit, view.paused_seconds, view.day_left) == (50, 0.0, 0)


@pytest.mark.parametrize("status", [200, 503])
async def test_no_other_status_makes_it_rest(status: int) -> None:
    """A 503 says that the provider is down, not that we ask too much."""
    clock = FakeClock()
    limiter = RateLimiter(50, clock)
    reply = build_reply(b"", "Retry-After: 7", status=status)
    async with serving(reply) as server, opened(server.origin, limiter=limiter) as api:
        await api.send(READ)
    await limiter.take(Priority.START)
    assert clock.monotonic() == 0.0


@pytest.mark.parametrize(("is_loopback", "through_proxy"), [(True, 0), (False, 1)])
async def test_a_proxy_of_the_environment_is_used_for_other_machines_only(
    *, is_loopback: bool, through_proxy: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Companies have one; it cannot reach the sandbox on this machine."""
    async with serving(build_reply()) as proxy, serving(build_reply()) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.origin)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        async with opened(server.origin, is_loopback=is_loopback) as api:
            await api.send(READ)
    assert (len(proxy.heads), len(server.heads)) == (through_proxy, 1 - through_proxy)


async def test_closing_an_api_that_was_never_used_is_harmless() -> None:
    """No HTTP client is made before the first request, since making one delays the first list."""
    async with opened("https://x") as api:
        assert (api._readers, api._starters) == (None, None)


def test_a_place_does_not_show_its_key() -> None:
    """It ends in logs."""
    assert "mk-secret" not in f"{Location('https://x', HEADERS)!r}"


@pytest.mark.parametrize(
    "spelling", ['mk/s+\u00e9 x"y', r"mk/s+\u00e9 x\"y", r"mk\/s+\u00e9 x\"y", "mk%2Fs%2B%C3%A9%20x%22y"]
)
def test_a_key_that_the_provider_repeats_goes_no_further(spelling: str) -> None:
    """Answers end in the store, in the log and in the chat, and a key may come back as JSON or in a URL."""
    remover = KeyRemover('mk/s+\u00e9 x"y')

    assert remover.remove(f"a {spelling} b {spelling} c".encode()) == b"a [API key] b [API key] c"


async def test_the_letters_of_a_test_key_stay_where_they_are() -> None:
    """Taking every `k` out of an answer would leave none."""
    assert KeyRemover("k").remove(b"kayak") == b"kayak"


async def test_an_echoed_key_is_taken_out_on_the_way() -> None:
    """The same over a real connection."""
    async with serving(build_reply(b'{"message": "key mk-secret is bad"}')) as server:
        assert (await ask(server.origin)).body == b'{"message": "key [API key] is bad"}'


@pytest.mark.parametrize("request_", [READ, START], ids=["read", "start"])
async def test_an_answer_that_never_ends_is_not_an_answer(request_: ApiRequest) -> None:
    """A byte now and then keeps the library waiting forever; a start of that kind is unknown."""

    class Drip(httpx2.AsyncByteStream):
        """A body that stands still."""

        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"{"
            await anyio.sleep_forever()

    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, stream=Drip()))
    location = Location("https://x", HEADERS)
    limits = dict.fromkeys(Operation, 0.0)
    api = Api("Magnific", location, RateLimiter(0, FakeClock()), transport=transport, request_seconds=limits)
    with pytest.raises(ProviderUnreachable) as caught:
        await api.send(request_)
    await api.aclose()

    assert (caught.value.breakage, caught.value.was_sent) == (Breakage.NO_ANSWER, True)


def test_every_operation_has_its_limit() -> None:
    """A start may take longest: giving up on it costs the most."""
    assert set(REQUEST_SECONDS) == set(Operation)
    assert max(REQUEST_SECONDS.values()) == REQUEST_SECONDS[Operation.START_RUN]


@pytest.mark.parametrize("ending", Ending)
async def test_a_start_passes_the_points_between_its_request_and_its_reply(ending: Ending) -> None:
    """A process that is killed there leaves a request whose fate it cannot know; the library's words for it may change."""
    passed: list[Failpoint] = []
    points = (Failpoint.AFTER_REQUEST_LEFT, Failpoint.AFTER_PROVIDER_ACCEPTED)
    for point in points:
        set_trap(Trap(point, 0, send=lambda *_, point=point: passed.append(point)))
    reply = build_reply() if ending is Ending.KEEP else Reply(b"", ending)
    try:
        async with serving(reply) as server:
            for request, found in ((READ, ()), (START, points)):
                with contextlib.suppress(ProviderUnreachable):
                    await ask(server.origin, request)
                assert tuple(passed) == found
    finally:
        clear_traps()
