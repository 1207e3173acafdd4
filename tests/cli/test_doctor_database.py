"""What the doctor says of a team's database, without changing it."""

import json
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from flowport.cli.doctor.database import check_database
from flowport.cli.doctor.findings import Finding
from flowport.cli.main import main
from flowport.domain.errors import StoreError
from flowport.store.maintenance import DatabaseHealth
from flowport.store.opening import inspect_team_store
from tests.support.postgres import PostgresServer

PASSWORD = "hunter2hunter2"
WELL = DatabaseHealth(
    version=150_004, max_connections=97, connections=9, runs=3, live=1, processes=3, workers=1, waiting=2
)


def check(url: str) -> dict[str, Finding]:
    """Return the worst line of each part."""
    found: dict[str, Finding] = {}
    for one in check_database(inspect_team_store(url), "db.example/flowport"):
        found[one.name] = max(found.get(one.name, one), one, key=lambda each: list("owf").index(each.level[0]))
    return found


def test_a_database_in_order_lacks_only_workers(database_url: str) -> None:
    """No team runs on it yet."""
    found = check(database_url)
    assert {name: one.level.value for name, one in found.items()} == {
        "database": "ok",
        "tables of the database": "ok",
        "clock of the database": "ok",
        "connections": "ok",
        "record of runs": "ok",
        "workers": "warning",
        "queue": "ok",
    }


def test_an_empty_database_is_not_migrated_by_the_doctor(postgres: PostgresServer) -> None:
    """The first start does it."""
    url = postgres.create_database()
    found = check(url)
    assert found["tables of the database"].level == "warning"
    assert "The next start makes them" in found["tables of the database"].sentence
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert row == (0,)


def test_a_user_without_rights_is_a_fault(database_url: str, postgres: PostgresServer) -> None:
    """The message of the database names a table, and here is what to grant."""
    name = str(conninfo_to_dict(database_url)["dbname"])
    postgres.execute(f"CREATE ROLE reader_{name} LOGIN", name)
    postgres.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader_{name}", name)
    url = database_url.replace("flowport@", f"reader_{name}@")
    found = check(url)["tables of the database"]
    assert found.level == "fault"
    assert "GRANT" in found.fix
    empty = postgres.create_database().replace("flowport@", f"reader_{name}@")
    assert check(empty)["tables of the database"].level in {"fault", "warning"}


def test_what_a_newer_flowport_has_added_is_a_warning(database_url: str, postgres: PostgresServer) -> None:
    """Migrations only add, so this version works on."""
    name = str(conninfo_to_dict(database_url)["dbname"])
    postgres.execute("INSERT INTO migrations (name) VALUES ('0099_more.sql')", name)
    found = check(database_url)["tables of the database"]
    assert (found.level.value, "newer Flowport" in found.sentence) == ("warning", True)


@pytest.mark.parametrize(
    ("health", "name", "level", "words"),
    [
        (replace(WELL, version=130_011), "database", "fault", "13.11, which is too old"),
        (replace(WELL, is_read_only=True), "tables of the database", "fault", "only be read"),
        (replace(WELL, pending=2, can_create=False, runs=None), "tables of the database", "fault", "may not create"),
        (replace(WELL, ahead_seconds=7.25), "clock of the database", "warning", "7.2 s ahead of"),
        (replace(WELL, ahead_seconds=-70.0), "clock of the database", "warning", "70.0 s behind"),
        (replace(WELL, max_connections=17), "connections", "warning", "the database allows 17"),
        (replace(WELL, unknown=2), "record of runs", "warning", "may have been charged: 2"),
        (replace(WELL, workers=0), "workers", "warning", "No worker is alive"),
        (replace(WELL, homes=2), "folders of the team", "fault", "2 different folders"),
        (
            replace(WELL, homes=1, is_home_known=False),
            "folders of the team",
            "warning",
            "other folders than the settings",
        ),
        (replace(WELL, oldest_seconds=95.4), "queue", "warning", "the oldest for 95 s"),
    ],
)
def test_each_fault_is_named_with_what_corrects_it(health: DatabaseHealth, name: str, level: str, words: str) -> None:
    """And it is the only one."""
    wrong = [one for one in check_database(health, "db.example/flowport") if one.level != "ok"]
    assert [(one.name, one.level.value, words in one.sentence, bool(one.fix)) for one in wrong] == [
        (name, level, True, True)
    ]


def test_a_shared_line_names_neither_the_server_nor_a_user() -> None:
    """What the driver says names both."""
    health = DatabaseHealth(
        problem=StoreError("the database cannot be reached", "Look."), reason='connection to "db.example", user "anna"'
    )
    for state in (health, WELL, replace(WELL, version=120_000)):
        for one in check_database(state, "db.example/flowport"):
            assert "db.example" not in one.shared
            assert "anna" not in one.shared
    assert "db.example" in next(check_database(health, "db.example/flowport")).sentence


def test_the_command_examines_the_database_and_hides_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the terminal, in JSON and in the report."""
    monkeypatch.setenv("FLOWPORT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FLOWPORT_DATABASE_URL", f"postgresql://anna:{PASSWORD}@127.0.0.1:9/flowport")
    report = tmp_path / "report.txt"
    assert main(["doctor", "--json", "--report", str(report)]) == 1
    printed = capsys.readouterr()
    found = {one["name"]: one for one in json.loads(printed.out)["findings"]}
    assert found["database"]["level"] == "fault"
    assert found["database"]["sentence"].startswith("127.0.0.1/flowport cannot be used: the database cannot be reached")
    assert "record of runs" not in found
    assert PASSWORD not in printed.out + printed.err + report.read_text(encoding="utf-8")
    assert "127.0.0.1" not in report.read_text(encoding="utf-8")
