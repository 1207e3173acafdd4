"""Check that `bootstrap` builds a working Flowport from settings and closes it."""

import sqlite3
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest

from flowport.bootstrap import open_assembly
from flowport.domain.errors import StoreError
from flowport.domain.models import Account, RunState, Source
from flowport.providers.registry import ProviderSettings
from flowport.store.opening import find_store
from flowport.store.sqlite.store import open_sqlite_store
from tests.fakes.client import IDS, KEY, open_sandbox
from tests.store.samples import build_run
from tests.support.harness import QUICK, Harness, build_settings, open_harness
from tests.support.scripted import wait_until

DOWN = "http://127.0.0.1:9"


async def test_two_flowports_share_one_home(tmp_path: Path) -> None:
    """Each client starts a process of its own, so two open the same home at once."""
    settings = build_settings(tmp_path / "person", DOWN)
    async with open_assembly(settings) as one, open_assembly(settings) as two:
        assert one.workspace.store is not two.workspace.store
        assert await one.workspace.store.get_live_runs(account_id="x") == ()
        assert await two.workspace.store.get_live_runs(account_id="x") == ()


async def test_a_store_of_the_former_name_is_found_renamed_and_reported(tmp_path: Path) -> None:
    """`flowport runs` must report an older record too, instead of answering that nothing was recorded."""
    assert find_store(tmp_path) is None
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite3")) as connection:
        connection.execute("CREATE TABLE runs (id TEXT PRIMARY KEY)")
        connection.execute("PRAGMA application_id = 1181511543")
        connection.execute("PRAGMA user_version = 9")
    store = find_store(tmp_path)
    assert store is not None
    others = await store.take_reminder(owner="oauth|anna")
    reminder = await store.take_reminder(owner="local")
    await store.close()
    assert others is None
    assert reminder is not None
    assert "ledger.sqlite3.older-1" in reminder.notice
    assert {path.name for path in tmp_path.iterdir()} == {"store.sqlite3", "ledger.sqlite3.older-1"}


async def test_the_home_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    """The record of runs shows what the user makes."""
    settings = build_settings(tmp_path / "person", DOWN)
    async with open_assembly(settings):
        rights = [path.stat().st_mode & 0o777 for path in (settings.home, settings.home / "store.sqlite3")]

    assert rights == [0o700, 0o600]


async def test_everything_is_closed_at_the_end(tmp_path: Path) -> None:
    """An open store keeps its journal and its locks."""
    async with open_assembly(build_settings(tmp_path / "person", DOWN)) as assembly:
        pass

    with pytest.raises(StoreError):
        await assembly.workspace.store.get_live_runs(account_id="x")


async def test_the_setting_is_a_ceiling_and_learning_starts_at_the_documented_limit(tmp_path: Path) -> None:
    """Magnific documents 50 requests a minute; a company's key may have another limit."""
    limits = []
    for given in (None, 0, 7, 900):
        settings = build_settings(tmp_path / "person", DOWN, requests_per_minute=given)
        async with open_assembly(settings) as assembly:
            view = await assembly.workspace.catalogs[0].account.limiter.get_status()
            limits.append((view.limit, view.ceiling))

    assert limits == [(50, 500), (0, 0), (7, 7), (50, 900)]


@pytest.mark.parametrize(("style", "styles"), [("auto", ("flows", "apps")), ("flows", ("flows",)), ("apps", ("apps",))])
async def test_the_path_family_is_detected_unless_set(tmp_path: Path, style: str, styles: tuple[str, ...]) -> None:
    """A setting that names one family causes no request to the other."""
    providers = (ProviderSettings("magnific", DOWN, "key", {"api_style": style}),)
    async with open_assembly(build_settings(tmp_path / "person", DOWN, providers=providers)) as assembly:
        provider = assembly.workspace.catalogs[0].account.provider
        assert (provider.style, *(other.style for other in provider.alternatives)) == styles


async def test_the_sandbox_shows_its_apps_whatever_the_source(tmp_path: Path) -> None:
    """`FLOWPORT_SOURCE` is about a real account; the sandbox ignores it."""
    settings = build_settings(tmp_path / "person", DOWN, providers=(), source=Source.PUBLISHED)
    async with open_assembly(settings) as assembly:
        assert assembly.workspace.catalogs[0].catalog._source is Source.ALL


async def test_the_account_of_the_sandbox_outlives_port_and_key(tmp_path: Path) -> None:
    """Names and catalogue are kept from one start to the next."""
    async with open_assembly(build_settings(tmp_path / "person", DOWN, providers=())) as assembly:
        assert assembly.workspace.catalogs[0].account.account.id == "magnific:sandbox:builtin"


async def test_three_flowports_of_one_home_ask_the_provider_once(tmp_path: Path) -> None:
    """Several clients start Flowport at log-in, and all share the key's request limit."""
    async with open_sandbox() as sandbox:
        for _ in range(2):  # first without a cached catalogue, then with one
            await sandbox.switch("reset")
            async with AsyncExitStack() as stack:
                opened = [await stack.enter_async_context(open_harness(sandbox, tmp_path / "person")) for _ in range(3)]
                tools = [[tool.name for tool in (await one.client.list_tools()).tools] for one in opened]
                await opened[0].assembly.workspace.catalogs[0].catalog.wait_until_attempted(10)
                asked = await count_requests(opened[0])
            assert len({tuple(names) for names in tools}) == 1
            assert len(tools[0]) == 7 + len(IDS)
            assert asked <= 2 + len(IDS)


async def test_three_starts_on_a_warm_catalogue_of_69_apps_are_cheap(tmp_path: Path) -> None:
    """A start requests only the lists, so the minute's requests remain for runs."""
    async with open_sandbox() as sandbox:
        await sandbox.switch("catalogue", apps=69 - len(IDS))
        async with open_harness(sandbox, tmp_path / "person") as first:
            catalog = first.assembly.workspace.catalogs[0].catalog
            await first.client.list_tools()
            with anyio.fail_after(60):
                while any(listing.tool is None for listing in catalog.current.listings):
                    await anyio.lowlevel.checkpoint()
            await catalog.refresh()
            before = await count_requests(first)
        async with AsyncExitStack() as stack:
            opened = [await stack.enter_async_context(open_harness(sandbox, tmp_path / "person")) for _ in range(3)]
            listed = [len((await one.client.list_tools()).tools) for one in opened]
            await opened[0].assembly.workspace.catalogs[0].catalog.wait_until_attempted(10)
            asked = await count_requests(opened[0]) - before

    assert listed == [47, 47, 47]
    assert 2 <= asked <= 12


async def count_requests(flowport: Harness) -> int:
    """Return how many discovery requests the sandbox answered."""
    return sum([await flowport.count(operation) for operation in ("list", "list_own", "get")])


async def test_one_of_two_flowports_takes_over_an_orphaned_run(tmp_path: Path) -> None:
    """Both start at log-in and find the run of a dead process; one claims and saves it."""
    async with open_sandbox() as sandbox:
        settings = build_settings(
            tmp_path / "person", sandbox.addresses.api_url, file_origins=(sandbox.addresses.files_url,)
        )
        host = urlsplit(sandbox.addresses.api_url).netloc
        account = Account("magnific", host, settings.providers[0].fingerprint)
        remote = await sandbox.start("Text to Picture", prompt="a lake")
        orphan = build_run(
            "run_one", RunState.RUNNING, provider_run_id=remote, account_id=account.id, process_id="0123456789abcdef"
        )
        store = open_sqlite_store(settings.home / "store.sqlite3")
        await store.accept(orphan)
        read = partial(store.get_run, account_id=None, owner=orphan.owner)
        async with open_assembly(settings, pace=QUICK) as one, open_assembly(settings, pace=QUICK) as two:
            with anyio.fail_after(60):
                over = await read("run_one")
                while not over.outputs or not over.outputs[0].saved_path:
                    over = await read("run_one")
            names = sorted(path.name for path in settings.output_dir.glob("*/*"))
            for assembly in (one, two):
                await wait_until(lambda workspace=assembly.workspace: workspace.runner.get_entry("run_one") is None)  # type: ignore[misc]
        await store.close()
    assert over.state is RunState.SUCCEEDED
    assert names == ["sketch_to_realism-1-run_one.png", "sketch_to_realism-1-run_one.png.json"]


async def test_half_written_files_of_a_killed_process_are_removed_at_the_start(tmp_path: Path) -> None:
    """Hidden files of many megabytes would accumulate unnoticed."""
    settings = build_settings(tmp_path / "person", DOWN)
    half = settings.output_dir / "2026-11-22" / ".sketch-1-one.part.0123456789abcdef.0a1b2c3d.part"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    dead = settings.home / "processes" / "0123456789abcdef.lock"
    dead.parent.mkdir(parents=True)
    dead.touch()
    async with open_assembly(settings):
        await wait_until(lambda: not half.exists())


@pytest.mark.parametrize(
    ("keys", "takes_own_keys", "is_adopted"),
    [((KEY,), False, True), ((KEY, "another key"), False, False), ((KEY,), True, False)],
    ids=["one account", "two of a provider", "own keys"],
)
async def test_a_key_adopts_the_runs_of_another_one_only_where_it_is_its_successor(
    tmp_path: Path, keys: tuple[str, ...], *, takes_own_keys: bool, is_adopted: bool
) -> None:
    """A replaced key is followed by its successor; a run of another person's key would come into the wrong account."""
    async with open_sandbox() as sandbox:
        settings = build_settings(tmp_path / "person", sandbox.addresses.api_url)
        usual = settings.providers[0]
        settings = replace(settings, providers=tuple(replace(usual, api_key=key) for key in keys))
        former = replace(usual, api_key="a former key").account.id
        remote = await sandbox.start("Text to Picture", prompt="a lake")
        orphan = build_run("run_one", RunState.RUNNING, provider_run_id=remote, account_id=former)
        async with open_assembly(settings, pace=QUICK, accepts_own_keys=takes_own_keys) as assembly:
            workspace = assembly.workspace
            await workspace.store.accept(orphan)
            adopted = await workspace.recovery.adopt(orphan)

    assert (adopted.account_id == usual.account.id) == is_adopted
    assert (adopted.account_id == former) != is_adopted
