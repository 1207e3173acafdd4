"""The steps of the guide of replicas and workers, done with real processes, a real PostgreSQL and a real proxy."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx2
import pytest
from mcp.types import CallToolResult
from psycopg.conninfo import conninfo_to_dict

from tests.support.children import ROOT
from tests.support.cluster import Member, Team, open_team
from tests.support.harness import Mode
from tests.support.postgres import PostgresServer
from tests.support.provider_process import ProviderProcess, open_provider

sys.path.insert(0, str(ROOT / "scripts"))
from loopback import FLOWPORT, add_token, build_environment, run_replica

TOOL: Final = "text_to_picture"
SLOW_TOOL: Final = "slow_cinema_still"
SPEED: Final = 0.08
"""The slow tool takes three to four seconds, the other one a fifth of a second."""
PATIENCE_SECONDS: Final = 60.0
SETTINGS: Final = {"FLOWPORT_REQUESTS_PER_MINUTE": "0", "FLOWPORT_PREVIEWS": "false"}
PASSWORD: Final = "hunter2hunter2"
LATER: Final = "ALTER TABLE runs ADD COLUMN colour text NOT NULL DEFAULT 'red'; CREATE TABLE later (id int);"


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderProcess]:
    """Run a provider whose runs take a moment."""
    with open_provider(tmp_path_factory.mktemp("provider"), speed=SPEED) as found:
        yield found


@pytest.fixture
def team(provider: ProviderProcess, postgres: PostgresServer, tmp_path: Path) -> Iterator[Team]:
    """Run what the compose file runs: two replicas, a worker and a proxy."""
    with open_team(tmp_path / "team", provider, replicas=2, workers=1, postgres=postgres, settings=SETTINGS) as found:
        yield found


async def call(team: Team, tool: str, /, mode: Mode = "auto", token: str = "", **arguments: Any) -> dict[str, Any]:
    """Call a tool through the proxy and return the facts of its answer."""
    async with team.connect(token or team.tokens["anna"], mode) as client:
        await client.list_tools()
        answer = await client.call_tool(tool, arguments)
    return get_facts(answer)


def get_facts(answer: CallToolResult) -> dict[str, Any]:
    """Return the facts of an answer without an error."""
    assert not answer.is_error, answer
    facts = answer.structured_content
    assert isinstance(facts, dict)
    return facts


async def list_ids(team: Team, token: str = "") -> list[str]:
    """Return the runs that a person sees."""
    return [one["run_id"] for one in (await call(team, "list_runs", token=token, limit=50))["runs"]]


def get(team: Team, link: str, token: str = "") -> int:
    """Return the status of a link or a path at the proxy."""
    url = link if link.startswith("http") else f"{team.url}{link}"
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx2.get(url, headers=headers, verify=team.build_context(), trust_env=False, timeout=60).status_code


def count_starts(provider: ProviderProcess, prompt: str) -> int:
    """Return how often the provider was asked to start a run of a prompt."""
    return Counter[str](provider.ask("runs")["prompts"])[prompt]


async def wait_until(is_true: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    with anyio.fail_after(PATIENCE_SECONDS):
        while not await anyio.to_thread.run_sync(is_true):  # noqa: ASYNC110 - other processes have no event
            await anyio.sleep(0.05)


def replace_members(team: Team, **changes: str) -> None:
    """Replace the processes in the order of the guide: the worker, the second replica, the first one."""
    for member in (*team.workers, *reversed(team.replicas)):
        member.replace(**changes)
    team.wait_for_workers(len(team.workers))


def read_logs(team: Team) -> dict[str, str]:
    """Return what each process has printed; none of it may be a traceback, or name the database."""
    logs = {one.name: one.log.read_text() for one in team.members}
    for text in logs.values():
        assert "Traceback" not in text, text
        assert str(team.postgres.folder) not in text, text
        assert PASSWORD not in text, text
    return logs


def find_troubles(text: str) -> list[str]:
    """Return the warnings and errors of a log."""
    return re.findall(r'"level": "(?:WARNING|ERROR|CRITICAL)".*', text)


async def test_a_team_starts_answers_and_ends_without_a_warning(team: Team) -> None:
    """The doctor finds no fault, both questions of monitoring are answered, and each log says what its process does."""
    token = team.add_token("bert", "--max-credits-per-day", "200", "--expires", "90d")
    modes: tuple[Mode, ...] = ("auto", "legacy")
    made = [await call(team, TOOL, mode, token, prompt=f"a lake, {mode}") for mode in modes]
    assert [one["state"] for one in made] == ["succeeded"] * 2
    assert set(await list_ids(team, token)) == {one["run_id"] for one in made}
    assert await list_ids(team) == []
    for replica in team.replicas:
        status, text = replica.ask("/readyz")
        assert (status, json.loads(text)) == (200, {"status": "ready"})
        metrics = replica.ask("/metrics")[1]
        assert re.search(r"^flowport_workers_alive 1(\.0)?$", metrics, re.MULTILINE)
        assert re.search(r'^flowport_queue_jobs\{state="stalled"\} 0(\.0)?$', metrics, re.MULTILINE)
    findings = json.loads(team.run_command("doctor", "--json"))["findings"]
    assert [one for one in findings if one["level"] == "fault"] == []
    named = {one["name"]: one["sentence"] for one in findings}
    assert named["folders of the team"] == "All processes use the same folders."
    assert "3 processes" in named["workers"]

    assert [one.stop() for one in team.members] == [0, 0, 0]
    logs = read_logs(team)
    assert [one for text in logs.values() for one in find_troubles(text)] == []
    assert "Flowport listens at" in logs["replica-1"]
    assert "Flowport carries out the runs of its team" in logs["worker-1"]


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """Return what a program prints that must succeed."""
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def back_up(team: Team, dump: Path, files: Path) -> None:
    """Write both parts of a backup while the team runs."""
    program = str(team.postgres.programs / "pg_dump")
    run([program, "--format=custom", f"--file={dump}", f"--dbname={team.database_url}"])
    with files.open("wb") as file:
        subprocess.run([sys.executable, ROOT / "deploy/backup.py", team.folder], check=True, stdout=file)


async def test_a_backup_is_restored_and_starts_nothing_that_was_cancelled(
    team: Team, provider: ProviderProcess, postgres: PostgresServer, tmp_path: Path
) -> None:
    """The database and the folder return to empty ones; replicas begin first, so that a person can look what was accepted."""
    token, name = team.tokens["anna"], str(conninfo_to_dict(team.database_url)["dbname"])
    made = await call(team, TOOL, prompt="before the backup")
    team.workers[0].stop()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(call, team, TOOL, prompt="started after the backup"))
        await wait_until(lambda: bool(team.find_prompts("accepted")))
        dump, files = tmp_path / "database.dump", tmp_path / "files.tar.gz"
        await anyio.to_thread.run_sync(back_up, team, dump, files)
        team.workers[0].start()
    assert count_starts(provider, "started after the backup") == 1

    for member in team.members:
        member.stop()
    for folder in (team.home, team.folder / "outputs"):
        shutil.rmtree(folder)
    postgres.execute(f"DROP DATABASE {name}")
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    restored = [str(postgres.programs / "pg_restore"), f"--dbname={team.database_url}", "--no-owner", str(dump)]
    await anyio.to_thread.run_sync(run, restored)
    with tarfile.open(files) as archive:
        kept = [one for one in archive.getmembers() if one.name.split("/")[0] in {"home", "outputs"}]
        archive.extractall(team.folder, kept, filter="data")
    for replica in team.replicas:
        replica.start()
        replica.wait_until_ready()
    assert "No worker is running" in team.replicas[0].ask("/readyz")[1]
    listed = (await call(team, "list_runs", limit=50))["runs"]
    waiting = next(one["run_id"] for one in listed if one["state"] == "accepted")
    await call(team, "cancel_run", run_id=waiting)
    assert get(team, made["outputs"][0]["url"]) == 200
    team.workers[0].start()
    team.wait_for_workers(1)
    again = await call(team, TOOL, token=token, prompt="after the restore")

    assert again["state"] == "succeeded"
    assert made["run_id"] in await list_ids(team)
    assert team.find_prompts("accepted") == []
    assert count_starts(provider, "started after the backup") == 1
    read_logs(team)


def copy_newer(folder: Path) -> Path:
    """Return a source tree of a newer version, which has one more migration."""
    shutil.copytree(ROOT / "src", folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "flowport/store/postgres/migrations/9999_later.sql").write_text(LATER)
    return folder


async def call_all_the_while(team: Team, name: str, is_over: anyio.Event, ends: "Counter[str]") -> None:
    """Call one after the other, as an assistant that is given a run id asks for its run."""
    number = 0
    while not is_over.is_set():
        number += 1
        facts = await call(team, TOOL, prompt=f"{name}, call {number}")
        while facts["state"] not in {"succeeded", "failed", "cancelled", "unknown"}:
            ends["handed over"] += 1
            facts = await call(team, "get_run", run_id=facts["run_id"], wait=True)
        ends[facts["state"]] += 1


def has_grown(ends: "Counter[str]", count: int) -> bool:
    """Return whether so many calls have succeeded."""
    return ends["succeeded"] >= count


async def test_an_upgrade_with_a_migration_interrupts_no_client(
    team: Team, provider: ProviderProcess, tmp_path: Path
) -> None:
    """While each process is replaced, clients call without an error; old replicas go on with the newer tables."""
    newer = copy_newer(tmp_path / "newer")
    is_over, ends = anyio.Event(), Counter[str]()
    changes = {"PYTHONPATH": f"{newer}{os.pathsep}{ROOT}"}
    async with anyio.create_task_group() as tasks:
        for n in range(3):
            tasks.start_soon(call_all_the_while, team, f"upgrade {n}", is_over, ends)
        for member in (*team.workers, *reversed(team.replicas)):
            await anyio.to_thread.run_sync(partial(member.replace, **changes))
            await wait_until(partial(has_grown, ends, ends["succeeded"] + 3))
        is_over.set()

    assert set(ends) <= {"succeeded", "handed over"}
    assert team.query("SELECT count(*) FROM migrations WHERE name = '9999_later.sql'") == [(1,)]
    starts = Counter[str](one for one in provider.ask("runs")["prompts"] if one.startswith("upgrade "))
    assert max(starts.values()) == 1
    logs = read_logs(team)
    assert "the database was migrated: 9999_later.sql" in logs["worker-1"]
    assert [one for text in logs.values() for one in find_troubles(text)] == []


async def test_keys_web_secrets_and_tokens_are_replaced_one_process_at_a_time(
    team: Team, provider: ProviderProcess
) -> None:
    """Runs and links of before stay, a token is revoked at every replica at once, and the old secret ends at the second step."""
    made = await call(team, TOOL, prompt="with the old key")
    old_link = made["outputs"][0]["url"]
    secrets = team.home / "web-secrets"
    secrets.write_text(f"{'f' * 64}\n{secrets.read_text()}")
    await anyio.to_thread.run_sync(
        partial(replace_members, team, MAGNIFIC_API_KEY=provider.environment["MAGNIFIC_API_KEY"])
    )
    assert get(team, old_link) == 200
    new_link = (await call(team, "get_run", run_id=made["run_id"]))["outputs"][0]["url"]
    secrets.write_text(f"{'f' * 64}\n")
    await anyio.to_thread.run_sync(partial(replace_members, team))
    assert [get(team, one) for one in (old_link, new_link)] == [404, 200]

    old, new = (team.add_token(name, "--owner", "anna") for name in ("anna-1", "anna-2"))
    team.run_command("token", "revoke", "anna-1")
    for replica in team.replicas:
        for token, status in ((old, 401), (new, 200)):
            headers = {"authorization": f"Bearer {token}"}
            answer = httpx2.get(f"{replica.url}/gallery/api/runs", headers=headers, trust_env=False, timeout=60)
            assert answer.status_code == status
    assert await list_ids(team, new) == [made["run_id"]]
    # A new key of the provider is another account here: the sandbox knows one key, so no run is made with it.
    await anyio.to_thread.run_sync(partial(replace_members, team, MAGNIFIC_API_KEY="another-key-of-the-provider"))
    shown = await call(team, "get_run", token=new, run_id=made["run_id"])
    assert (shown["state"], await list_ids(team, new)) == ("succeeded", [made["run_id"]])


async def test_the_password_of_the_database_is_replaced_without_an_interruption(
    provider: ProviderProcess, postgres: PostgresServer, tmp_path: Path
) -> None:
    """Connections that are open go on with the old one until each process has the new one."""
    url = postgres.create_database()
    name = str(conninfo_to_dict(url)["dbname"])
    rules = postgres.folder / "data/pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"local all owner_{name} scram-sha-256\n{before}")
    postgres.execute(f"CREATE ROLE owner_{name} LOGIN PASSWORD '{PASSWORD}'")
    postgres.execute(f"ALTER DATABASE {name} OWNER TO owner_{name}")
    postgres.execute(f"ALTER SCHEMA public OWNER TO owner_{name}", name)
    old = url.replace("flowport@", f"owner_{name}:{PASSWORD}@")
    new = url.replace("flowport@", f"owner_{name}:{PASSWORD}-2@")
    folder = tmp_path / "team"
    try:
        with open_team(
            folder, provider, replicas=2, workers=1, postgres=postgres, settings=SETTINGS, database_url=old
        ) as team:
            postgres.execute(f"ALTER ROLE owner_{name} PASSWORD '{PASSWORD}-2'")
            assert (await call(team, TOOL, prompt="with the old password"))["state"] == "succeeded"
            await anyio.to_thread.run_sync(partial(replace_members_without_waiting, team, new))
            assert (await call(team, TOOL, prompt="with the new password"))["state"] == "succeeded"
            read_logs(team)
    finally:
        rules.write_text(before)
        postgres.execute("SELECT pg_reload_conf()")


def replace_members_without_waiting(team: Team, url: str) -> None:
    """Replace the processes by those with another address of the database."""
    for member in (*team.workers, *reversed(team.replicas)):
        member.replace(FLOWPORT_DATABASE_URL=url)


async def test_a_home_of_one_process_is_moved_and_people_notice_nothing(
    provider: ProviderProcess, postgres: PostgresServer, tmp_path: Path
) -> None:
    """Token, runs, results and links are those of before."""
    folder, url = tmp_path / "team", postgres.create_database()
    home = folder / "home"
    home.mkdir(parents=True, mode=0o700)
    environment = build_environment(home, PYTHONUNBUFFERED="1", **provider.environment, **SETTINGS)
    token = add_token(home, "anna")
    with run_replica(environment, folder / "single.log") as (_, address):
        single = Team(folder, postgres, url, environment, provider, f"http://{address}", None)
        made = await call(single, TOOL, token=token, prompt="alone")
    command = [str(FLOWPORT), "move", "--json"]
    given = {**environment, "FLOWPORT_DATABASE_URL": url}
    moved = [await anyio.to_thread.run_sync(run, command, given) for _ in range(2)]
    counts = [{one["name"]: (one["moved"], one["present"]) for one in json.loads(text)["moved"]} for text in moved]
    assert counts[0]["runs"] == (1, 0)
    assert counts[1]["runs"] == (0, 1)

    with open_team(
        folder, provider, people=(), replicas=2, workers=1, postgres=postgres, settings=SETTINGS, database_url=url
    ) as team:
        link = urlsplit(made["outputs"][0]["url"])
        again = await call(team, TOOL, token=token, prompt="together")
        assert set(await list_ids(team, token)) == {made["run_id"], again["run_id"]}
        assert get(team, f"{link.path}?{link.query}") == 200
        assert count_starts(provider, "alone") == 1
        read_logs(team)


async def call_until_done(team: Team, prompt: str) -> dict[str, Any]:
    """Call, and repeat the call where its connection breaks or it is refused, as clients do."""
    end_at = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return await call(team, SLOW_TOOL, prompt=prompt)
        except Exception:
            # Whatever the library makes of a lost connection.
            if time.monotonic() >= end_at:
                raise
            await anyio.sleep(0.2)


@pytest.mark.parametrize("event", ["a replica", "the worker", "the database"])
async def test_what_is_killed_loses_no_run_and_starts_none_twice(
    team: Team, provider: ProviderProcess, event: str
) -> None:
    """A client whose call breaks repeats it; the run goes on, or is taken over, and is started once."""
    prompts, results = [f"{event} is killed, {n}" for n in range(6)], dict[str, dict[str, Any]]()

    async def finish(prompt: str) -> None:
        """Keep the result of one prompt."""
        results[prompt] = await call_until_done(team, prompt)

    async with anyio.create_task_group() as tasks:
        for prompt in prompts:
            tasks.start_soon(finish, prompt)
        await wait_until(lambda: set(prompts) <= set(team.find_prompts("running", "queued")))
        await anyio.to_thread.run_sync(partial(strike, team, event))
    assert {one["state"] for one in results.values()} == {"succeeded"}
    assert [count_starts(provider, prompt) for prompt in prompts] == [1] * len(prompts)
    assert len({one["run_id"] for one in results.values()}) == len(prompts)
    assert "All processes" in team.run_command("doctor")
    await wait_until(lambda: all(json.loads(one.ask("/readyz")[1]) == {"status": "ready"} for one in team.replicas))
    logs = read_logs(team)
    if event == "the database":
        assert "the database answers again" in logs["worker-1"]
        assert all("news of other processes are received" in text for text in logs.values())


def strike(team: Team, event: str) -> None:
    """Kill something, and have it started again, as its container is."""
    members: dict[str, Member] = {"a replica": team.replicas[0], "the worker": team.workers[0]}
    if event == "the database":
        team.postgres.restart(is_at_once=True)
    else:
        members[event].restart()
