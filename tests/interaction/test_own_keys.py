"""People who bring their own provider key: its account is opened for them, used by them alone, and forgotten."""

import gc
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import mcp.types as t
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from flowport.actions import own_accounts
from flowport.actions.own_accounts import OwnAccounts
from flowport.domain.errors import ConfigurationError
from flowport.domain.text import HIDDEN
from flowport.network.account import OpenAccount
from flowport.runtime.logging import clean_log_line
from tests.fakes.client import IDS
from tests.support.children import open_child
from tests.support.harness import MODES, Mode
from tests.support.scripted import wait_until
from tests.support.tenants import (
    KEY_HEADER,
    OTHER_KEY,
    OWN_KEY,
    SHARED_KEY,
    KeyedProvider,
    Tenancy,
    get_facts,
    open_provider,
    open_tenancy,
)
from tests.support.tokens import add_token, show_token

TOOL = "text_to_picture"
PRIVATE = "retro_poster"
"""The tool of an app that only the account of the own key has."""


@pytest.fixture(scope="module")
async def provider() -> AsyncIterator[tuple[KeyedProvider, str]]:
    """Run a provider with three keys; the shared account lacks an app."""
    async with open_provider(SHARED_KEY, OWN_KEY, OTHER_KEY) as (keyed, address):
        await keyed.accounts[SHARED_KEY].switch("catalogue", delete=[IDS["Retro Poster"]])
        yield keyed, address


@asynccontextmanager
async def open_people(provider: tuple[KeyedProvider, str], folder: Path, **changes: Any) -> AsyncIterator[Tenancy]:
    """Serve people, and count the requests of each key from now on."""
    keyed, address = provider
    keyed.seen.clear()
    async with open_tenancy(keyed, address, folder, **changes) as tenancy:
        yield tenancy


@pytest.fixture
async def people(provider: tuple[KeyedProvider, str], tmp_path: Path) -> AsyncIterator[Tenancy]:
    """Serve people with a new home."""
    async with open_people(provider, tmp_path / "server") as tenancy:
        yield tenancy


def get_own_accounts(people: Tenancy) -> OwnAccounts:
    """Return what opens the accounts of own keys."""
    own = people.assembly.tenants._own_accounts
    assert isinstance(own, OwnAccounts)
    return own


async def count_starts(people: Tenancy, key: str) -> int:
    """Return how many runs an account was asked to start."""
    return int((await people.provider.accounts[key].http.get("/_sandbox/counts")).json()["run"])


@pytest.mark.parametrize("mode", MODES)
async def test_a_person_sees_and_runs_the_apps_of_their_own_key(people: Tenancy, mode: Mode) -> None:
    """The agency's account must not pay for it, and its apps are not this person's."""
    own, shared = await people.connect("cara", mode, key=OWN_KEY), await people.connect("anna", mode)
    names = [{tool.name for tool in (await client.list_tools()).tools} for client in (own, shared)]
    before = {key: await count_starts(people, key) for key in (OWN_KEY, SHARED_KEY)}
    facts = get_facts(await own.call_tool(TOOL, {"prompt": "a lake"}))
    other = get_facts(await shared.call_tool(TOOL, {"prompt": "a lake"}))
    started = {key: await count_starts(people, key) - count for key, count in before.items()}

    assert (PRIVATE in names[0], PRIVATE in names[1]) == (True, False)
    assert (facts["state"], other["state"]) == ("succeeded", "succeeded")
    assert facts["run_id"] != other["run_id"]
    assert started == {OWN_KEY: 1, SHARED_KEY: 1}


async def test_people_with_one_key_share_one_catalogue_and_one_limit(people: Tenancy) -> None:
    """Fifty people must not read the same list fifty times, or send fifty times what the key may."""
    for owner in ("anna", "bert", "dora"):
        await (await people.connect(owner)).list_tools()
    for owner in ("cara", "emil"):
        await (await people.connect(owner, key=OWN_KEY)).list_tools()
    await wait_until(lambda: people.provider.seen[OWN_KEY] > 0)
    engine = get_own_accounts(people)._engine

    assert sorted(engine.accounts) == sorted(engine.catalogs)
    assert len(engine.accounts) == 2
    assert len({id(account.limiter) for account in engine.accounts.values()}) == 2


async def test_the_key_of_the_agency_is_its_account_also_when_a_person_sends_it(people: Tenancy) -> None:
    """Two limiters of one key would together send twice what it may."""
    await (await people.connect("anna", key=SHARED_KEY)).list_tools()

    assert get_own_accounts(people)._entries == {}


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("gx_0123456789abcdef0123", "Magica"),
        ("${MAGNIFIC_API_KEY}", "placeholder"),
        ("", "empty"),
        ("a b c d", "no key"),
        ("k1", "length of a key"),
        ("k" * 300 + "1" * 300, "length of a key"),
    ],
    ids=["another provider's", "placeholder", "empty", "with spaces", "short", "long"],
)
async def test_what_cannot_be_a_key_is_refused_in_a_sentence(people: Tenancy, key: str, words: str) -> None:
    """A key of the wrong provider would be sent to a service that it must not reach."""
    http = await people.open_http("anna")
    answer = await http.post(people.url, json={"jsonrpc": "2.0", "id": 1, "method": "ping"}, headers={KEY_HEADER: key})

    assert answer.status_code == 400
    assert words in answer.text
    assert "X-Magnific-Api-Key" in answer.text
    assert not key or key.startswith("$") or key not in answer.text
    assert set(people.provider.seen) <= {SHARED_KEY}


async def test_a_server_that_takes_no_keys_says_so(people: Tenancy) -> None:
    """Silence would leave it uncertain whose key pays."""
    people.assembly.tenants._own_accounts = None

    with pytest.raises(ConfigurationError, match="X-Magnific-Api-Key is not accepted by this server"):
        await people.assembly.tenants.open_own_account("magnific", OWN_KEY, "anna")


async def test_the_key_is_stored_and_shown_nowhere_and_forgotten_with_its_account(
    people: Tenancy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is the person's money; a home is backed up, and a process may be inspected."""
    client = await people.connect("cara", key=OWN_KEY)
    run = get_facts(await client.call_tool(TOOL, {"prompt": "a lake"}))
    answers = [
        run,
        get_facts(await client.call_tool("find_apps", {})),
        get_facts(await client.call_tool("list_runs", {})),
    ]
    while_open = clean_log_line(f"sent with {OWN_KEY}", ())
    own = get_own_accounts(people)
    account = next(entry.opened.account for entry in own._entries.values() if entry.opened is not None)
    is_held = holds_key(account)
    monkeypatch.setattr(own_accounts, "IDLE_SECONDS", 0.0)
    await own.close_idle()
    await wait_until(lambda: OWN_KEY in clean_log_line(OWN_KEY, ()))

    assert OWN_KEY not in str(answers)
    assert while_open == f"sent with {HIDDEN}"
    assert not own._entries
    assert list(own._engine.accounts) == list(people.assembly.tenants.account_ids)
    assert (is_held, holds_key(account)) == (True, False)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if OWN_KEY.encode() in path.read_bytes()] == []


def holds_key(account: OpenAccount) -> bool:
    """Return whether an account still leads to its key, over whatever it refers to."""
    seen: set[int] = set()
    pending: list[Any] = [account]
    while pending:
        thing = pending.pop()
        if id(thing) in seen or isinstance(thing, type) or len(seen) > 50_000:
            continue
        seen.add(id(thing))
        if (isinstance(thing, str) and OWN_KEY in thing) or (isinstance(thing, bytes) and OWN_KEY.encode() in thing):
            return True
        if type(thing).__module__.startswith(("flowport", "builtins", "httpx2", "functools")):
            pending += [one for one in gc.get_referents(thing) if type(one).__name__ not in {"module", "function"}]
    return False


async def test_an_account_with_live_runs_stays_open_and_comes_back_when_it_was_closed(
    people: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is not followed is lost; an account that is not used costs memory and requests."""
    monkeypatch.setattr(own_accounts, "IDLE_SECONDS", 0.0)
    own, sandbox = get_own_accounts(people), people.provider.accounts[OWN_KEY]
    client = await people.connect("cara", key=OWN_KEY)
    await sandbox.switch("next_run", hold=True)
    with anyio.move_on_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, TOOL, {"prompt": "a held lake"})
            await wait_until(lambda: any(one.provider_run_id for one in list_live(people)))
            await own.close_idle()
            is_open = bool(own._entries)
            await sandbox.http.post(f"/_sandbox/runs/{list_live(people)[0].provider_run_id}", json={"release": True})
    await wait_until(lambda: not list_live(people))
    await own.close_idle()
    is_closed = not own._entries
    again = get_facts(await client.call_tool(TOOL, {"prompt": "another lake"}))

    assert (is_open, is_closed) == (True, True)
    assert again["state"] == "succeeded"
    assert len(own._entries) == 1


def list_live(people: Tenancy) -> list[Any]:
    """Return the runs that are followed and not over."""
    live = people.assembly.workspace.waiter.live_runs._entries.values()
    return [entry.run for entry in live if not entry.is_settled]


async def test_a_run_of_a_key_that_comes_back_after_a_restart_is_taken_up_again(
    provider: tuple[KeyedProvider, str], tmp_path: Path
) -> None:
    """It was paid for; without its key nothing can follow it, and no other key may."""
    sandbox = provider[0].accounts[OWN_KEY]
    async with open_people(provider, tmp_path / "server", wait_seconds=0.5) as people:
        await sandbox.switch("next_run", hold=True)
        client = await people.connect("cara", key=OWN_KEY)
        run_id = get_facts(await client.call_tool(TOOL, {"prompt": "a long lake"}))["run_id"]
        # The call may end before the provider has answered.
        await wait_until(lambda: any(one.provider_run_id for one in list_live(people)))
        started = list_live(people)[0]

    async with open_people(provider, tmp_path / "server") as people:
        without = get_facts(
            await (await people.connect("cara")).call_tool("get_run", {"run_id": run_id, "wait": False})
        )
        requests = dict(people.provider.seen)
        released = await sandbox.http.post(f"/_sandbox/runs/{started.provider_run_id}", json={"release": True})
        client = await people.connect("cara", key=OWN_KEY)
        found = get_facts(await client.call_tool("get_run", {"run_id": run_id}))

    assert released.is_success
    assert OWN_KEY not in requests
    assert "A request with it lets the run be followed again." in str(without)
    assert (found["state"], found["run_id"]) == ("succeeded", run_id)


async def test_the_number_of_own_accounts_is_limited_and_idle_ones_make_room(
    people: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each open account holds connections and asks its provider for its apps."""
    own, tenants = get_own_accounts(people), people.assembly.tenants
    own._max_open = 1
    first = await tenants.open_own_account("magnific", OWN_KEY, "anna")
    with pytest.raises(ConfigurationError) as refused:
        await tenants.open_own_account("magnific", OTHER_KEY, "anna")
    again = await tenants.open_own_account("magnific", OWN_KEY, "anna")
    monkeypatch.setattr(own_accounts, "LEAST_IDLE_SECONDS", 0.0)
    second = await tenants.open_own_account("magnific", OTHER_KEY, "anna")

    problem = "cannot be used just now, because 1 other keys are in use. Try again in a few minutes."
    assert str(refused.value) == f"X-Magnific-Api-Key {problem}"
    assert first == again != second
    assert list(own._entries) == [second]


async def test_one_person_holds_a_part_of_the_own_accounts(people: Tenancy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anyone can make up keys, and each holds its place for minutes, known to the provider or not."""
    own, tenants = get_own_accounts(people), people.assembly.tenants
    own._max_of_owner = 2
    keys = [f"{OTHER_KEY[:-1]}{letter}" for letter in "abcdefgh"]
    outcomes: list[object] = []

    async def open_one(key: str) -> None:
        """Open an account of a key."""
        try:
            outcomes.append(await tenants.open_own_account("magnific", key, "anna"))
        except ConfigurationError as exc:
            outcomes.append(exc.problem)

    async with anyio.create_task_group() as tasks:
        for key in keys:
            tasks.start_soon(open_one, key)
    other = await tenants.open_own_account("magnific", OWN_KEY, "cara")
    monkeypatch.setattr(own_accounts, "LEAST_IDLE_SECONDS", 0.0)
    await tenants.open_own_account("magnific", keys[-1], "anna")

    problem = "cannot be used just now, because 2 other keys of yours are in use"
    assert outcomes.count(problem) == len(keys) - 2
    assert other in own._entries
    assert [entry.owner for entry in own._entries.values()].count("anna") == 2


async def test_requests_that_come_together_open_one_account(people: Tenancy) -> None:
    """Two accounts of one key would have two limiters."""
    opened: list[str] = []

    async def open_one() -> None:
        """Open the account as a request does."""
        opened.append(await people.assembly.tenants.open_own_account("magnific", OWN_KEY, "anna"))

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(open_one)

    assert len(opened) == 20
    assert len(set(opened)) == 1
    assert len(get_own_accounts(people)._entries) == 1


async def test_a_key_that_the_provider_refuses_is_named_by_no_answer(people: Tenancy) -> None:
    """The person has to learn that their key is wrong, and the key must not be shown."""
    wrong = "own-key-without-an-account-77aa"
    client = await people.connect("cara", key=wrong)
    listed = (await client.list_tools()).tools
    facts = get_facts(await client.call_tool("find_apps", {}))

    assert TOOL not in {tool.name for tool in listed}
    assert "could_not_be_refreshed_because" in facts["catalogues"][0]
    assert wrong not in str(facts)
    assert isinstance(listed[0], t.Tool)


async def test_a_server_without_any_key_of_its_own_serves_people_who_bring_theirs(
    provider: tuple[KeyedProvider, str], tmp_path: Path
) -> None:
    """The settings of a provider count for own keys also where the server itself has no account there."""
    keyed, address = provider
    keyed.seen.clear()
    files = ",".join(account.addresses.files_url for account in keyed.accounts.values())
    environment = {
        "MAGNIFIC_BASE_URL": address,
        "MAGNIFIC_FILE_ORIGINS": files,
        "FLOWPORT_OWN_KEYS": "true",
        "FLOWPORT_REQUESTS_PER_MINUTE": "0",
    }
    token, _ = await add_token(tmp_path / "f/home", "cara")
    with open_child(tmp_path / "f", "--http", "127.0.0.1:0", environment=environment) as child:
        assert child.process.stdout is not None
        line = (await anyio.to_thread.run_sync(child.process.stdout.readline)).decode()
        url = re.findall(r"http://\S+", line)[0]
        headers = {**show_token(token), KEY_HEADER: OWN_KEY}
        async with (
            httpx2.AsyncClient(trust_env=False, timeout=60, headers=headers) as http,
            Client(streamable_http_client(url, http_client=http)) as client,
        ):
            facts = get_facts(await client.call_tool(TOOL, {"prompt": "a lake"}))

    assert facts["state"] == "succeeded"
    assert set(keyed.seen) == {OWN_KEY}
    assert OWN_KEY not in (tmp_path / "f/stderr.txt").read_text()
    files_left = [path for path in (tmp_path / "f").rglob("*") if path.is_file()]
    assert [path for path in files_left if OWN_KEY.encode() in path.read_bytes()] == []
