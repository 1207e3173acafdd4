"""Whom a token stands for, as the record says at that moment, and what cannot be looked up."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from flowport.domain.access_tokens import create_token, hash_token
from flowport.domain.errors import StoreError
from flowport.domain.principal import LOCAL, Principal
from flowport.settings.http_settings import HttpSettings
from flowport.settings.settings import Settings
from flowport.store.interface import Store
from flowport.store.sqlite.connection import STORE_NAME
from flowport.store.sqlite.reconnect import open_refusing_store, open_store
from flowport.web.auth import UNKNOWN_TOKEN, Authenticator, Refusal, open_authenticator, parse_bearer
from flowport.web.listen_address import Address
from flowport.web.local_token import NAME, load_local_token
from tests.runs.samples import NOW
from tests.support.tokens import SilentIssuer, build_token

HERE = Address("127.0.0.1", 1)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """Open a new store."""
    found = open_store(tmp_path / STORE_NAME)
    yield found
    await found.close()


def build_settings(home: Path, public_url: str = "") -> Settings:
    """Return the settings of a server."""
    return Settings((), home, home, (), http=HttpSettings(public_url=public_url))


@pytest.mark.parametrize("is_private", [True, False])
@pytest.mark.parametrize("owner", ["local", "anna"])
async def test_paths_are_the_callers_own_for_the_local_person_of_a_private_server_alone(
    store: Store, owner: str, *, is_private: bool
) -> None:
    """Another person's token, or any at another computer, must not read this computer's files."""
    token, record = build_token(owner)
    await store.add_token(record)
    found = await Authenticator(store, lambda: NOW, is_private=is_private).identify(token)
    assert found == Principal(owner, is_local=is_private and owner == "local", token_id=record.id)


async def test_the_token_of_the_home_stands_for_the_local_person(store: Store, tmp_path: Path) -> None:
    """It is the one that a server for this computer makes."""
    authenticator = await open_authenticator(build_settings(tmp_path), store, HERE, lambda: NOW, has_auth=True)
    token = load_local_token(tmp_path)
    assert await authenticator.identify(token) == replace(LOCAL, token_id=f"{NAME}-{hash_token(token)[:8]}")
    assert authenticator.local_hash == hash_token(token)
    assert await store.get_tokens() == ()


async def test_the_token_of_the_home_goes_on_working_beside_others_until_its_file_is_deleted(
    store: Store, tmp_path: Path
) -> None:
    """A person who makes a token for a colleague keeps the own one."""
    own = load_local_token(tmp_path)
    _, record = build_token("anna")
    await store.add_token(record)
    settings = build_settings(tmp_path)
    beside = await open_authenticator(settings, store, HERE, lambda: NOW, has_auth=True)
    assert isinstance(await beside.identify(own), Principal)
    (tmp_path / NAME).unlink()
    alone = await open_authenticator(settings, store, HERE, lambda: NOW, has_auth=True)
    assert isinstance(await alone.identify(own), Refusal)
    assert not (tmp_path / NAME).exists()


async def test_a_public_server_does_not_take_the_token_of_the_home(store: Store, tmp_path: Path) -> None:
    """It stands for the person at this computer, who is not at the other end of a public address."""
    own = load_local_token(tmp_path)
    _, record = build_token("anna")
    await store.add_token(record)
    settings = build_settings(tmp_path, "https://flowport.example.com")
    authenticator = await open_authenticator(settings, store, HERE, lambda: NOW, has_auth=True)
    assert isinstance(await authenticator.identify(own), Refusal)


async def test_a_person_who_signed_in_has_the_rights_of_now(store: Store) -> None:
    """A session names its token, and says nothing about what became of it."""
    _, record = build_token("anna")
    await store.add_token(record)
    authenticator = Authenticator(store, lambda: NOW, verifier=SilentIssuer())
    assert await authenticator.identify_again("anna", record.id) == Principal("anna", token_id=record.id)
    assert await authenticator.identify_again("boris", record.id) is UNKNOWN_TOKEN
    assert await authenticator.identify_again("anna", "tok_none") is UNKNOWN_TOKEN
    assert await authenticator.identify_again("oauth|anna", "") == Principal("oauth|anna")
    assert await authenticator.identify_again("local", "") is UNKNOWN_TOKEN
    assert await authenticator.identify_again("local", NAME) is UNKNOWN_TOKEN
    assert await replace(authenticator, verifier=None).identify_again("oauth|anna", "") is UNKNOWN_TOKEN
    local, later = (replace(authenticator, local_hash=hash_token(create_token())) for _ in range(2))
    token_id = f"{NAME}-{local.local_hash[:8]}"
    assert await local.identify_again("local", token_id) == replace(LOCAL, token_id=token_id)
    assert await local.identify_again("anna", token_id) is UNKNOWN_TOKEN
    # Its file was deleted because others could read it: sessions that it began end.
    assert await later.identify_again("local", token_id) is UNKNOWN_TOKEN
    await store.revoke_token(record.id, at=NOW)
    assert isinstance(await authenticator.identify_again("anna", record.id), Refusal)


async def test_a_store_that_cannot_be_read_is_not_a_wrong_token(tmp_path: Path) -> None:
    """A client throws a token away that is called wrong, and a locked file is unlocked soon."""
    broken = open_refusing_store(tmp_path / "store", StoreError("The store cannot be opened", "Make room."))
    found = await Authenticator(broken, lambda: NOW).identify(create_token())
    assert isinstance(found, Refusal)
    assert (found.status, found.retry_after_seconds) == (503, 5)


@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        ([], "Send an access token"),
        (["Basic eA=="], "Send an access token"),
        (["Bearer"], "does not know"),
        (["Bearer a b"], "does not know"),
        (["Bearer é"], "does not know"),
        (["Bearerx"], "does not know"),
        (["Bearer a", "Bearer a"], "several"),
        (["bearer  abc=="], "abc=="),
        (["Bearer a.b-c_d~e+f/g"], "a.b-c_d~e+f/g"),
    ],
)
def test_the_header_holds_one_token(values: list[str], outcome: str) -> None:
    """Two programs that read two tokens must not each take another."""
    headers = [(b"accept", b"*/*"), *((b"Authorization", value.encode("latin-1")) for value in values)]
    found = parse_bearer(headers)
    assert outcome in found.sentence if isinstance(found, Refusal) else found == outcome
