"""A token that the record has just confirmed counts while the record cannot be read, and only then."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import anyio.lowlevel
import pytest

from flowport.domain.access_tokens import AccessToken, create_token, hash_token
from flowport.domain.errors import StoreError
from flowport.domain.principal import Principal
from flowport.store.interface import Store
from flowport.store.sqlite.connection import STORE_NAME
from flowport.store.sqlite.reconnect import open_store
from flowport.web.auth import UNKNOWN_TOKEN, Authenticator, Refusal
from flowport.web.confirmed_tokens import AWAY_SECONDS, CONFIRMED_SECONDS, MAX_CONFIRMED, ConfirmedTokens
from tests.runs.samples import NOW
from tests.support.team import wait_for
from tests.support.tokens import build_token


@dataclass
class Line:
    """The way to a record, which can be cut."""

    store: Store
    is_cut: bool = False
    looks: int = 0

    async def get_token(self, sha256: str) -> AccessToken | None:
        """Look a token up."""
        self.looks += 1
        if self.is_cut:
            await anyio.lowlevel.checkpoint()
            raise StoreError("the database cannot be reached", "Ask again in a moment.")
        return await self.store.get_token(sha256)


class CutStore(Line):
    """A store behind the line."""

    def __getattr__(self, name: str) -> Any:
        """Return what needs no line."""
        return getattr(self.store, name)


@dataclass
class People:
    """The people of a server."""

    line: Line
    authenticator: Authenticator
    seconds: list[float]
    now: list[float]

    async def add(self, owner: str, **changes: float) -> tuple[str, AccessToken]:
        """Put a token on record."""
        token, record = build_token(owner, **changes)
        assert await self.line.store.add_token(record)
        return token, record


@pytest.fixture
async def people(tmp_path: Path) -> AsyncIterator[People]:
    """Open a record, and what authenticates by it."""
    store = open_store(tmp_path / STORE_NAME)
    line, seconds, now = CutStore(store), [0.0], [NOW]
    confirmed = ConfirmedTokens(lambda: seconds[0])
    yield People(line, Authenticator(cast("Store", line), lambda: now[0], confirmed=confirmed), seconds, now)
    await store.close()


async def test_a_confirmed_token_counts_while_the_record_cannot_be_read(people: People) -> None:
    """A client that asks for the tools just then gets them, with the same rights."""
    token, record = await people.add("anna")
    before = await people.authenticator.identify(token)
    people.line.is_cut = True

    assert before == Principal("anna", token_id=record.id)
    assert [await people.authenticator.identify(token) for _ in range(3)] == [before] * 3


async def test_a_token_that_was_not_confirmed_does_not_count(people: People) -> None:
    """Neither one that was not used yet, nor a wrong one, is let in because nothing can be looked up."""
    token, _ = await people.add("anna")
    wrong = create_token()
    assert await people.authenticator.identify(wrong) is UNKNOWN_TOKEN
    people.line.is_cut = True

    for one in (token, wrong):
        found = await people.authenticator.identify(one)
        assert isinstance(found, Refusal)
        assert (found.status, found.retry_after_seconds) == (503, 5)


async def test_a_confirmed_token_counts_for_a_while_after_its_last_check(people: People) -> None:
    """A token that was revoked meanwhile ends with that time; use without a check does not extend it."""
    token, _ = await people.add("anna")
    await people.authenticator.identify(token)
    people.line.is_cut = True
    people.seconds[0] = CONFIRMED_SECONDS - 1
    assert isinstance(await people.authenticator.identify(token), Principal)
    people.seconds[0] = CONFIRMED_SECONDS
    found = await people.authenticator.identify(token)

    assert isinstance(found, Refusal)
    assert found.status == 503


async def test_a_confirmed_token_expires_at_its_instant(people: People) -> None:
    """Expiry needs no record."""
    token, _ = await people.add("anna", expires_at=NOW + 10)
    await people.authenticator.identify(token)
    people.line.is_cut = True
    people.now[0] = NOW + 9
    assert isinstance(await people.authenticator.identify(token), Principal)
    people.now[0] = NOW + 10
    found = await people.authenticator.identify(token)

    assert isinstance(found, Refusal)
    assert found.status == 401


async def test_a_revoked_token_ends_at_once_while_the_record_answers(people: People) -> None:
    """What was confirmed before does not matter then, and is forgotten."""
    token, record = await people.add("anna")
    assert isinstance(await people.authenticator.identify(token), Principal)
    await people.line.store.revoke_token(record.id, at=NOW)
    found = await people.authenticator.identify(token)
    people.line.is_cut = True
    later = await people.authenticator.identify(token)

    assert isinstance(found, Refusal)
    assert isinstance(later, Refusal)
    assert (found.status, later.status) == (401, 503)


async def test_a_record_that_answers_again_decides_again(people: People) -> None:
    """It is asked in the background, so a token that was revoked meanwhile ends without a request that waits."""
    token, record = await people.add("anna")
    await people.authenticator.identify(token)
    people.line.is_cut = True
    await people.authenticator.identify(token)
    await people.line.store.revoke_token(record.id, at=NOW)
    people.line.is_cut = False
    found: list[Principal | Refusal] = []

    async def is_refused() -> bool:
        """Send a request."""
        found[:] = [await people.authenticator.identify(token)]
        return isinstance(found[0], Refusal)

    await wait_for(is_refused)
    assert [one.status for one in found if isinstance(one, Refusal)] == [401]


async def test_a_record_that_was_away_long_ago_is_asked_first(people: People) -> None:
    """Without requests no look goes on, and the record may have come back."""
    token, record = await people.add("anna")
    await people.authenticator.identify(token)
    people.line.is_cut = True
    assert isinstance(await people.authenticator.identify(token), Principal)
    await people.line.store.revoke_token(record.id, at=NOW)
    people.line.is_cut = False
    people.seconds[0] += AWAY_SECONDS

    assert isinstance(await people.authenticator.identify(token), Refusal)


async def test_requests_do_not_wait_for_a_record_that_is_known_to_be_away(people: People) -> None:
    """A look at a database that is away takes seconds: one at a time goes on, and no confirmed request waits for it."""
    tokens = [(await people.add(owner))[0] for owner in ("anna", "boris")]
    for token in tokens:
        await people.authenticator.identify(token)
    people.line.is_cut = True
    await people.authenticator.identify(tokens[0])
    looks = people.line.looks
    found = [await people.authenticator.identify(tokens[n % 2]) for n in range(100)]

    assert all(isinstance(one, Principal) for one in found)
    assert people.line.looks == looks


@pytest.mark.parametrize("is_cut_off", [True, False])
async def test_a_connection_that_shows_whether_the_record_is_away_decides_who_waits(
    people: People, *, is_cut_off: bool
) -> None:
    """While it is lost no request waits, however rarely one comes; when it is back the record is asked before each one."""
    token, record = await people.add("anna")
    confirmed = ConfirmedTokens(lambda: people.seconds[0], is_cut_off=lambda: is_cut_off)
    authenticator = replace(people.authenticator, confirmed=confirmed)
    await authenticator.identify(token)
    people.line.is_cut = True
    await authenticator.identify(token)
    await people.line.store.revoke_token(record.id, at=NOW)
    people.line.is_cut = False
    if is_cut_off:
        people.seconds[0] += 10 * AWAY_SECONDS

    assert isinstance(await authenticator.identify(token), Principal if is_cut_off else Refusal)


async def test_confirmed_tokens_need_bounded_memory(people: People) -> None:
    """The one that was confirmed longest ago is forgotten first."""
    confirmed = ConfirmedTokens(lambda: 0.0, max_confirmed=2)
    hashes = [hash_token((await people.add(owner))[0]) for owner in ("anna", "boris", "clara")]
    for place in (0, 1, 0, 2):
        assert await confirmed.find(hashes[place], people.line.get_token)
    people.line.is_cut = True

    with pytest.raises(StoreError):
        await confirmed.find(hashes[1], people.line.get_token)
    assert await confirmed.find(hashes[0], people.line.get_token)
    assert await confirmed.find(hashes[2], people.line.get_token)
    assert MAX_CONFIRMED <= 10_000
