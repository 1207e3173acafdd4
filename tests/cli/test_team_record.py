"""Commands on the record of a team, which is in its database."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flowport.cli.main import main

PASSWORD = "hunter2hunter2"


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_url: str) -> str:
    """Configure a home and the database of a team, and return the address."""
    monkeypatch.setenv("FLOWPORT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FLOWPORT_DATABASE_URL", database_url)
    return database_url


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run a command, and return its exit code and what it printed."""
    code = main(list(words))
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_tokens_are_made_listed_and_revoked_in_the_database(
    team: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every replica obeys them; the home keeps no record of its own."""
    code, token, _ = run(capsys, "token", "add", "anna")
    assert (code, bool(token.strip())) == (0, True)
    _, listed, _ = run(capsys, "token", "list", "--json")
    (found,) = json.loads(listed)["tokens"]
    assert found["name"] == "anna"
    assert run(capsys, "token", "revoke", "anna", "--json")[0] == 0
    assert not list((tmp_path / "home").glob("*.sqlite3"))


def test_runs_are_read_from_the_database(team: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty record is one too, unlike a home without a record."""
    code, printed, _ = run(capsys, "runs", "--json")
    assert (code, json.loads(printed)["runs"]) == (0, [])
    code, printed, _ = run(capsys, "history", "--json")
    assert (code, json.loads(printed)["runs"]) == (0, 0)
    code, _, errors = run(capsys, "erase", "run_0123456789", "--yes")
    assert code != 0
    assert "There is no run" in errors
    assert not list((tmp_path / "home").glob("*.sqlite3"))


@pytest.mark.parametrize(
    "words", [("runs",), ("token", "add", "anna"), ("show", "run_0123456789"), ("gallery", "--no-open")]
)
def test_a_database_that_cannot_be_reached_is_one_sentence(words: tuple[str, ...], tmp_path: Path) -> None:
    """It names neither the password nor the server, and no traceback follows."""
    done = subprocess.run(
        [sys.executable, "-m", "flowport", *words],
        capture_output=True,
        text=True,
        check=False,
        env={
            "FLOWPORT_HOME": str(tmp_path / "home"),
            "FLOWPORT_DATABASE_URL": f"postgresql://flowport:{PASSWORD}@127.0.0.1:9/flowport",
            "HOME": str(tmp_path),
            "PATH": "/usr/bin:/bin",
        },
    )
    assert done.returncode not in {0, 2}
    printed = done.stdout + done.stderr
    assert "the database cannot be reached" in printed
    assert PASSWORD not in printed
    assert "127.0.0.1" not in printed
    assert "Traceback" not in printed
    assert len(printed.splitlines()) <= 3


def test_an_address_of_another_kind_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slip must not look as if the record was empty."""
    monkeypatch.setenv("FLOWPORT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FLOWPORT_DATABASE_URL", f"mysql://flowport:{PASSWORD}@127.0.0.1/flowport")
    code, printed, errors = run(capsys, "runs")
    assert code != 0
    assert "FLOWPORT_DATABASE_URL" in printed + errors
    assert PASSWORD not in printed + errors


CODE = """
import sys
{before}
from flowport.cli.main import main
code = main(["runs"])
print(code, sorted({{name.partition(".")[0] for name in sys.modules}} & {{"psycopg", "psycopg_pool", "procrastinate"}}))
"""


def run_apart(before: str, home: Path, **more: str) -> str:
    """Return what a process prints that lists the runs, and which libraries of a team it has loaded."""
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(before=before)],
        capture_output=True,
        text=True,
        check=True,
        env={"FLOWPORT_HOME": str(home), "HOME": str(home), "PATH": "/usr/bin:/bin", **more},
    )
    return done.stdout + done.stderr


def test_a_home_loads_nothing_of_a_team(tmp_path: Path) -> None:
    """The driver takes longer to load than the command."""
    assert run_apart("", tmp_path).endswith("0 []\n")


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    """It is installed with the extra, and nothing else is wrong."""
    missing = "sys.modules['psycopg'] = None"
    printed = run_apart(missing, tmp_path, FLOWPORT_DATABASE_URL=f"postgresql://f:{PASSWORD}@127.0.0.1:9/f")
    assert "pip install '.[team]'" in printed
    assert PASSWORD not in printed
