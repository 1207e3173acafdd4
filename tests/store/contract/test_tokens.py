"""The tokens of a server for several people."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from flowport.domain.access_tokens import AccessToken, TokenState, create_token, hash_token, is_token
from flowport.domain.principal import Principal
from flowport.domain.spending import SpendingLimits, UnknownPrice
from flowport.store.interface import Store
from tests.runs.samples import NOW

PLAIN = AccessToken("tok_1", "anna", "a" * 64, "anna", None, None, NOW)
LIMITS = SpendingLimits(10.0, 50.5, 0.0, UnknownPrice.REFUSE, 900.0)
BOUND = AccessToken(
    "tok_2", "ci", "b" * 64, "build", frozenset({"magnific", "magica:a:1"}), LIMITS, NOW + 1, NOW + 99.5
)


async def test_a_token_is_found_by_its_hash_as_it_was_stored(store: Store) -> None:
    """Its bearer gets exactly the rights that were given."""
    assert await store.add_token(PLAIN)
    assert await store.add_token(BOUND)
    assert [await store.get_token(one.sha256) for one in (PLAIN, BOUND)] == [PLAIN, BOUND]
    assert await store.get_token("c" * 64) is None
    assert await store.get_token("") is None
    assert await store.get_tokens() == (PLAIN, BOUND)


async def test_a_token_for_no_account_is_not_one_for_all(store: Store) -> None:
    """An empty set and none at all are opposites."""
    nothing = replace(PLAIN, account_ids=frozenset())
    await store.add_token(nothing)
    assert await store.get_token(nothing.sha256) == nothing


async def test_a_revocation_is_seen_by_the_next_look_up_of_every_process(open_store: Callable[[], Store]) -> None:
    """The server reads what a command in a terminal has written."""
    server, terminal = open_store(), open_store()
    await terminal.add_token(PLAIN)
    assert await server.get_token(PLAIN.sha256) == PLAIN
    revoked = replace(PLAIN, revoked_at=NOW + 5)
    assert await terminal.revoke_token(PLAIN.id, at=NOW + 5) == revoked
    assert await server.get_token(PLAIN.sha256) == revoked
    assert await server.revoke_token(PLAIN.id, at=NOW + 9) == revoked
    assert await server.revoke_token("tok_9", at=NOW) is None


async def test_a_name_is_unique_among_the_tokens_that_are_not_revoked(store: Store) -> None:
    """It is what a person types to revoke one; after that it may be given to the next."""
    second = replace(PLAIN, id="tok_3", sha256="d" * 64)
    assert await store.add_token(PLAIN)
    assert not await store.add_token(second)
    assert await store.get_token(second.sha256) is None
    await store.revoke_token(PLAIN.id, at=NOW)
    assert await store.add_token(second)
    assert [one.id for one in await store.get_tokens()] == ["tok_1", "tok_3"]


async def test_of_two_tokens_of_one_name_at_once_one_is_stored(open_store: Callable[[], Store]) -> None:
    """Two administrators type the same command."""
    stores = [open_store(), open_store()]
    tokens = [replace(PLAIN, id=f"tok_{n}", sha256=f"{n:064}") for n in range(10)]
    added = await asyncio.gather(*(stores[n % 2].add_token(one) for n, one in enumerate(tokens)))
    assert sum(added) == len(await stores[0].get_tokens()) == 1


async def test_tokens_outlive_the_runs_of_their_owner(store: Store) -> None:
    """Erasing the runs of an owner does not sign the owner out."""
    await store.add_token(BOUND)
    await store.erase_owner(BOUND.owner)
    assert await store.get_token(BOUND.sha256) == BOUND


async def test_the_record_holds_no_token(store: Store, read_record: Callable[[], bytes]) -> None:
    """A copy of the record, such as a backup, opens nothing."""
    token = create_token()
    await store.add_token(replace(PLAIN, sha256=hash_token(token)))
    await store.close()
    content = read_record()
    assert hash_token(token).encode() in content
    assert token.encode() not in content


def test_a_token_is_long_random_text_that_a_header_can_hold() -> None:
    """A guess is hopeless, and nothing has to be escaped."""
    tokens = {create_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(is_token(one) and len(one) == 46 for one in tokens)
    assert not any(map(is_token, ("", "fp_", f"fp_{'a' * 42}", f"fp_{'a' * 43}\n", f"fp_{'ä' * 43}", f"xx_{'a' * 43}")))


def test_only_a_valid_token_yields_a_principal() -> None:
    """Expired means from that very second on; a revoked one does not come back by a clock that is set."""
    expires = replace(BOUND, expires_at=NOW)
    revoked = replace(BOUND, revoked_at=NOW)
    assert BOUND.find_principal(NOW) == Principal("build", BOUND.account_ids, LIMITS, token_id="tok_2")
    assert [expires.get_state(at) for at in (NOW - 0.1, NOW)] == [TokenState.VALID, TokenState.EXPIRED]
    assert revoked.get_state(NOW - 1) is TokenState.REVOKED
    assert [one.find_principal(NOW) for one in (expires, revoked)] == [None, None]


def test_an_account_is_named_by_its_id_or_its_provider() -> None:
    """Naming the provider survives a new key; a name that only begins alike gives nothing."""
    may_use = Principal("build", BOUND.account_ids).may_use
    assert [may_use(one) for one in ("magnific:a:1", "magnific:b:2", "magica:a:1")] == [True, True, True]
    assert [may_use(one) for one in ("magica:a:2", "magica", "magnific2:a:1", "")] == [False, False, False, False]
    assert Principal("anna").may_use("magica:a:2")
    assert not Principal("anna", frozenset()).may_use("magica:a:2")
