"""Access tokens of an issuer: which ones count, and what happens while the issuer changes its keys or cannot be reached."""

import time
from collections.abc import AsyncIterator

import anyio
import httpx2
import jwt
import pytest
from starlette.responses import JSONResponse, RedirectResponse, Response

from flowport.domain.principal import Principal
from flowport.network import issuer as issuer_door
from flowport.network.issuer import IssuerFailed, build_metadata_urls, fetch_issuer
from flowport.web.auth import Refusal
from flowport.web.jwt_rules import SKEW_SECONDS, Expected, check_claims
from flowport.web.oauth import FRESH_SECONDS, MAX_FORCED, RETRY_SECONDS, STALE_SECONDS, UNREACHABLE, OAuthVerifier
from tests.support.fake_clock import FakeClock
from tests.support.oauth_issuer import KEYS, METADATA, OPENID, Issuer, make_key, open_issuer
from tests.web.forged_tokens import ATTACKER, forge

AUDIENCE = "https://flowport.example.com/mcp"


class WallClock(FakeClock):
    """A clock that shows the machine's instant at first, as the issuer does, and moves by hand."""

    def __init__(self) -> None:
        super().__init__(float(int(time.time())), is_automatic=False)


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    """Run an issuer."""
    async with open_issuer() as found:
        yield found


@pytest.fixture
def clock() -> WallClock:
    """Return the clock of the server."""
    return WallClock()


def build(issuer: Issuer, clock: FakeClock, *scopes: str) -> OAuthVerifier:
    """Return a verifier of the issuer's tokens."""
    return OAuthVerifier(issuer.url, frozenset({AUDIENCE}), scopes, clock)


async def test_no_forged_or_misused_token_counts(issuer: Issuer, clock: WallClock) -> None:
    """Each is tried beside a genuine one that counts, so that a refusal is never for another reason."""
    verifier = build(issuer, clock)
    forged = list(forge(issuer, AUDIENCE))
    accepted, tried = [], 0
    for name, token in forged:
        tried += 1
        if not isinstance(await verifier.verify(token), Refusal):
            accepted.append(name)
        clock.advance(0.1)
    assert isinstance(await verifier.verify(issuer.issue(AUDIENCE)), Principal)
    assert (tried >= 150, accepted) == (True, [])
    assert len({token for _, token in forged}) == tried
    assert issuer.requests["/attacker-keys"] == 0


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS512", "ES256", "ES384", "ES512", "EdDSA"])
async def test_each_usual_algorithm_counts(issuer: Issuer, clock: WallClock, algorithm: str) -> None:
    """Which one an issuer uses is its own decision."""
    issuer.rotate(make_key(algorithm, algorithm))
    found = await build(issuer, clock).verify(issuer.issue(AUDIENCE))
    assert found == Principal("oauth|anna")


async def test_what_honest_issuers_differ_in_is_accepted(issuer: Issuer, clock: WallClock) -> None:
    """Types, lists of audiences, keys without ids and hints of certificates are all in use."""
    verifier, key = build(issuer, clock), issuer.signing
    claims = issuer.claim(AUDIENCE)
    tokens = [
        key.sign(claims, typ="at+jwt"),
        key.sign(claims, typ="application/at+JWT"),
        key.sign(claims, x5t="abc", x5u="https://issuer.example/cert"),
        key.sign({**claims, "aud": ["https://other.example", AUDIENCE]}),
        key.sign({**claims, "aud": f"{AUDIENCE}/"}),
        key.sign({**claims, "exp": claims["exp"] + 0.5}),
        key.sign({name: value for name, value in claims.items() if name not in {"nbf", "iat"}}),
        key.sign({**claims, "sub": "auth0|5f7c8ec7c33c6c004bbafe82"}),
    ]
    found = [await verifier.verify(token) for token in tokens]
    assert not [one for one in found if isinstance(one, Refusal)]
    issuer.keys = [{name: value for name, value in key.publish().items() if name in {"kty", "n", "e"}}]
    bare = jwt.encode(claims, key.private, "RS256")
    assert isinstance(await build(issuer, clock).verify(bare), Principal)


@pytest.mark.parametrize(
    ("claim", "offset", "is_accepted"),
    [
        ("exp", -SKEW_SECONDS + 1, True),
        ("exp", -SKEW_SECONDS, False),
        ("nbf", SKEW_SECONDS, True),
        ("nbf", SKEW_SECONDS + 1, False),
        ("iat", SKEW_SECONDS, True),
        ("iat", SKEW_SECONDS + 1, False),
    ],
)
def test_clocks_may_differ_by_a_minute(claim: str, offset: float, *, is_accepted: bool) -> None:
    """The issuer's clock and this one are never the same."""
    now = 1_800_000_000.0
    claims = {"iss": "i", "aud": AUDIENCE, "sub": "anna", "exp": now + 600, claim: now + offset}
    found = check_claims(claims, Expected("i", frozenset({AUDIENCE})), now)
    assert isinstance(found, Principal) is is_accepted


@pytest.mark.parametrize(
    ("claims", "is_enough"),
    [
        ({"scope": "flowport profile"}, True),
        ({"scope": "profile flowport runs"}, True),
        ({"scp": ["flowport", "runs"]}, True),
        ({"scp": "flowport runs"}, True),
        ({"scope": ["flowport"]}, True),
        ({"scope": "flow port"}, False),
        ({"scope": "flowports"}, False),
        ({"scope": ""}, False),
        ({"scope": 5}, False),
        ({"permissions": ["flowport"]}, False),
        ({}, False),
    ],
)
async def test_a_token_needs_every_scope(
    issuer: Issuer, clock: WallClock, claims: dict[str, object], is_enough: bool
) -> None:
    """A token without one is genuine, so the client learns what to ask for."""
    found = await build(issuer, clock, "flowport").verify(issuer.issue(AUDIENCE, **claims))
    assert isinstance(found, Principal) is is_enough
    if isinstance(found, Refusal):
        assert (found.status, found.error, found.scopes) == (403, "insufficient_scope", ("flowport",))


async def test_a_new_key_counts_at_once_and_a_retired_one_no_longer(issuer: Issuer, clock: WallClock) -> None:
    """Issuers rotate keys, and withdraw one that leaked."""
    verifier = build(issuer, clock)
    old = issuer.issue(AUDIENCE)
    assert isinstance(await verifier.verify(old), Principal)
    issuer.rotate(make_key("second"))
    assert isinstance(await verifier.verify(issuer.issue(AUDIENCE)), Principal)
    assert isinstance(await verifier.verify(old), Refusal)
    assert issuer.requests[KEYS] <= 3


async def test_a_key_that_was_withdrawn_counts_for_minutes_only(issuer: Issuer, clock: WallClock) -> None:
    """The keys are fetched again although no token asks for it."""
    verifier = build(issuer, clock)
    old = issuer.issue(AUDIENCE)
    await verifier.verify(old)
    issuer.rotate(make_key("second"))
    assert isinstance(await verifier.verify(old), Principal)
    clock.advance(FRESH_SECONDS)
    assert isinstance(await verifier.verify(old), Refusal)


async def test_a_new_key_without_an_id_counts_at_once(issuer: Issuer, clock: WallClock) -> None:
    """Some issuers publish one key and name it nowhere."""
    verifier = build(issuer, clock)
    for name in ("first", "second"):
        key = make_key(name)
        issuer.keys = [key.publish(kid=None)]
        token = jwt.encode(issuer.claim(AUDIENCE), key.private, "RS256")
        assert isinstance(await verifier.verify(token), Principal)


async def test_unknown_keys_do_not_make_us_ask_the_issuer_often(issuer: Issuer, clock: WallClock) -> None:
    """Anyone can send tokens with invented key ids."""
    verifier = build(issuer, clock)
    tokens = [ATTACKER.sign(issuer.claim(AUDIENCE), kid=f"k{n}") for n in range(50)]
    async with anyio.create_task_group() as tasks:
        for token in tokens:
            tasks.start_soon(verifier.verify, token)
    assert issuer.requests[KEYS] <= 1 + MAX_FORCED
    clock.advance(60)
    issuer.rotate(make_key("second"))
    assert isinstance(await verifier.verify(issuer.issue(AUDIENCE)), Principal)


async def test_many_first_tokens_fetch_the_keys_once(issuer: Issuer, clock: WallClock) -> None:
    """After a start every client sends its token at the same time."""
    verifier, token = build(issuer, clock), issuer.issue(AUDIENCE)
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(verifier.verify, token)
    assert (issuer.requests[METADATA], issuer.requests[KEYS]) == (1, 1)


async def test_an_issuer_that_cannot_be_reached_is_not_a_wrong_token(issuer: Issuer, clock: WallClock) -> None:
    """The client keeps its token and tries again; the last keys count for a while."""
    verifier, token = build(issuer, clock), issuer.issue(AUDIENCE, exp=clock.now() + 2 * STALE_SECONDS)
    issuer.answers = {path: Response(status_code=500) for path in (METADATA, OPENID)}
    assert await verifier.verify(token) == UNREACHABLE
    asked = issuer.requests.total()
    assert await verifier.verify(token) == UNREACHABLE
    assert issuer.requests.total() == asked
    issuer.answers = {}
    clock.advance(RETRY_SECONDS)
    assert isinstance(await verifier.verify(token), Principal)
    issuer.answers = {path: Response(status_code=500) for path in (METADATA, OPENID)}
    assert await verifier.verify(ATTACKER.sign(issuer.claim(AUDIENCE))) == UNREACHABLE
    clock.advance(FRESH_SECONDS)
    assert isinstance(await verifier.verify(token), Principal)
    clock.advance(STALE_SECONDS)
    assert await verifier.verify(token) == UNREACHABLE


async def test_a_caller_that_leaves_does_not_stop_the_others(issuer: Issuer, clock: WallClock) -> None:
    """The first caller fetches the keys for all who wait."""
    verifier, token = build(issuer, clock), issuer.issue(AUDIENCE)
    issuer.held, found = anyio.Event(), []

    async def verify() -> None:
        """Keep the outcome."""
        found.append(await verifier.verify(token))

    async with anyio.create_task_group() as tasks, anyio.create_task_group() as leaving:
        leaving.start_soon(verifier.verify, token)
        while not issuer.requests[METADATA]:
            await anyio.lowlevel.checkpoint()
        tasks.start_soon(verify)
        leaving.cancel_scope.cancel()
        issuer.held.set()
    assert found == [Principal("oauth|anna")]


@pytest.mark.parametrize(
    ("issuer_url", "urls"),
    [
        ("https://a.example", ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration")),
        (
            "https://a.example/tenant",
            (
                "/.well-known/oauth-authorization-server/tenant",
                "/.well-known/openid-configuration/tenant",
                "/tenant/.well-known/openid-configuration",
            ),
        ),
    ],
)
def test_metadata_are_sought_where_the_standards_put_them(issuer_url: str, urls: tuple[str, ...]) -> None:
    """RFC 8414 inserts the well-known part, and OpenID Discovery appends it."""
    assert build_metadata_urls(issuer_url) == tuple(f"https://a.example{path}" for path in urls)


@pytest.mark.parametrize("path", ["", "/tenant", "/realms/one"])
@pytest.mark.parametrize("served", [METADATA, OPENID])
async def test_an_issuer_below_a_path_or_with_openid_alone_works(path: str, served: str, clock: WallClock) -> None:
    """Large providers have a path for each tenant, and many know OpenID Discovery only."""
    async with open_issuer(path) as issuer:
        issuer.served = {served}
        assert isinstance(await build(issuer, clock).verify(issuer.issue(AUDIENCE)), Principal)


async def test_an_issuer_that_spells_itself_with_a_slash_is_taken_by_its_word(issuer: Issuer, clock: WallClock) -> None:
    """Some do, and a setting that is typed without it names the same issuer; the tokens have to agree with the metadata."""
    issuer.metadata = {"issuer": f"{issuer.url}/"}
    verifier = build(issuer, clock)
    assert isinstance(await verifier.verify(issuer.issue(AUDIENCE, iss=f"{issuer.url}/")), Principal)
    assert isinstance(await verifier.verify(issuer.issue(AUDIENCE)), Refusal)
    assert await verifier.find_issuer() == f"{issuer.url}/"


def describe(**metadata: object) -> dict[str, object]:
    """Return a name for a case of changed metadata."""
    return metadata


@pytest.mark.parametrize(
    "metadata",
    [
        describe(issuer="https://evil.example"),
        describe(issuer=None),
        describe(issuer=5),
        describe(jwks_uri=None),
        describe(jwks_uri="http://keys.example.com/keys"),
        describe(jwks_uri="http://169.254.169.254/latest/meta-data"),
        describe(jwks_uri="http://10.0.0.1/keys"),
        describe(jwks_uri="file:///etc/passwd"),
        describe(jwks_uri="ftp://127.0.0.1/keys"),
        describe(jwks_uri="https://user:password@keys.example.com/keys"),
        describe(jwks_uri="https://keys.example.com\\@127.0.0.1/keys"),
        describe(jwks_uri="//127.0.0.1/keys"),
        describe(jwks_uri="/keys"),
        describe(jwks_uri="https://["),
        describe(jwks_uri="https://127.0.0.1:99999/keys"),
        describe(jwks_uri=["https://keys.example.com"]),
    ],
    ids=str,
)
async def test_metadata_that_lead_elsewhere_are_refused(
    issuer: Issuer, clock: WallClock, metadata: dict[str, object]
) -> None:
    """An issuer names its keys' address, and must not make this server ask inside its own network."""
    issuer.metadata = metadata
    with pytest.raises(IssuerFailed):
        await fetch_issuer(issuer.url)
    assert issuer.requests[KEYS] == 0
    assert await build(issuer, clock).verify(issuer.issue(AUDIENCE)) == UNREACHABLE


async def test_a_public_issuer_cannot_name_keys_on_this_computer() -> None:
    """Plain HTTP on this computer is for an issuer on this computer."""
    is_usable = issuer_door._is_usable
    assert is_usable("http://127.0.0.1:1/keys", is_issuer_here=True)
    assert not is_usable("http://127.0.0.1:1/keys", is_issuer_here=False)
    assert not is_usable("http://localhost/keys", is_issuer_here=False)
    assert is_usable("https://keys.example.com/keys?v=2", is_issuer_here=False)


BAD_ANSWERS = {
    "too long": Response(b" " * (issuer_door.MAX_BYTES + 1)),
    "a redirect": RedirectResponse("/elsewhere"),
    "no JSON": Response(b"<html>"),
    "a list": JSONResponse([]),
    "no keys": JSONResponse({}),
    "keys that are no list": JSONResponse({"keys": {}}),
    "depth": Response(b"[" * 100_000),
    "an error": Response(status_code=503),
    "no content": Response(status_code=204),
    "another coding": Response(b"\x1f\x8b", headers={"content-encoding": "gzip"}),
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
async def test_keys_that_cannot_be_read_are_a_fault_of_the_issuer(
    issuer: Issuer, clock: WallClock, answer: Response
) -> None:
    """No token is called wrong because of it, and no redirect is followed."""
    issuer.answers = {KEYS: answer}
    verifier = build(issuer, clock)
    assert await verifier.verify(issuer.issue(AUDIENCE)) == UNREACHABLE
    assert issuer.requests["/elsewhere"] == 0
    issuer.answers = {}
    clock.advance(RETRY_SECONDS)
    assert isinstance(await verifier.verify(issuer.issue(AUDIENCE)), Principal)


async def test_an_issuer_that_does_not_answer_is_given_up(
    issuer: Issuer, clock: WallClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow issuer must not hold the requests of this server."""
    monkeypatch.setattr(issuer_door, "FETCH_SECONDS", 0.05)
    issuer.held = anyio.Event()
    assert await build(issuer, clock).verify(issuer.issue(AUDIENCE)) == UNREACHABLE


async def test_damaged_keys_do_not_hide_a_good_one(issuer: Issuer, clock: WallClock) -> None:
    """An issuer publishes keys of many kinds."""
    good = issuer.keys[0]
    issuer.keys = [None, 5, {}, {"kty": 5}, {"kty": "RSA"}, {"kty": "RSA", "kid": "first", "n": "!", "e": ""}, good]  # type: ignore[list-item]
    assert isinstance(await build(issuer, clock).verify(issuer.issue(AUDIENCE)), Principal)


def test_an_unreachable_issuer_is_answered_so_that_clients_try_again() -> None:
    """It is not 401, upon which a client would throw its token away."""
    assert UNREACHABLE.status == 503
    assert UNREACHABLE.retry_after_seconds == RETRY_SECONDS
    assert httpx2.codes.is_server_error(UNREACHABLE.status)
