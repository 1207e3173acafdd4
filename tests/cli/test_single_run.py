"""The commands that look: apps, show, runs, open, cancel, balance and erase."""

import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowport.store.sqlite.connection import STORE_NAME
from tests.support.person import Person
from tests.support.provider_process import ProviderProcess, open_provider


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderProcess]:
    """Run a provider whose runs take no time."""
    with open_provider(tmp_path_factory.mktemp("quick")) as provider:
        yield provider


@pytest.fixture
def person(tmp_path: Path, quick: ProviderProcess) -> Person:
    """Return a person whose runs take no time."""
    return Person(tmp_path, quick.environment)


def read(person: Person, *words: str) -> Any:
    """Return what a command prints as JSON."""
    return json.loads(person.run(*words, "--json").stdout)


def change_catalogue(person: Person, **changes: Any) -> None:
    """Change an app of the catalogue on disk, as a provider might have named it."""
    (path,) = (person.folder / "home/catalogue").glob("*.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    next(one for one in record["listings"] if one["tool_name"] == "text_to_picture").update(changes)
    path.write_text(json.dumps(record), encoding="utf-8")


def test_apps_are_listed_from_disk_while_the_provider_is_down(tmp_path: Path) -> None:
    """People plan without a network; nothing is asked for what is known."""
    with open_provider(tmp_path / "provider") as provider:
        person = Person(tmp_path, provider.environment)
        first = person.run("apps")
        assert person.run("run", "text_to_picture", "prompt=x").returncode == 0
    again, shown = person.run("apps"), person.run("show", "text_to_picture")

    assert (first.returncode, again.returncode, shown.returncode) == (0, 0, 0), again.stderr
    assert again.stdout == first.stdout
    assert "text_to_picture\tText to Picture\tMagnific\t2\t\tprompt [shape]\n" in again.stdout
    assert "flowport run text_to_picture prompt=…" in shown.stderr


def test_words_and_a_price_narrow_the_list(person: Person) -> None:
    """The search is that of an assistant; where nothing fits, the nearest are shown and it is said."""
    found = person.run("apps", "sketch")
    cheap = person.run("apps", "--max-credits", "1")
    nothing = person.run("apps", "zebra crossing")

    assert [line.split("\t")[0] for line in found.stdout.splitlines()] == ["photo_to_pencil_sketch"]
    assert [line.split("\t")[3] for line in cheap.stdout.splitlines()] == ["1"]
    assert (nothing.returncode, "these are the nearest" in nothing.stderr) == (0, True)


def test_what_is_left_out_has_its_reason(person: Person) -> None:
    """An app that cannot be a tool is not silently missing."""
    person.run("apps")
    change_catalogue(person, left_out="it has no inputs", tool=None)
    done = person.run("apps", "--left-out")
    name, reason = done.stdout.strip().split("\t")

    assert reason == "it has no inputs"
    assert name not in person.run("apps").stdout
    assert "1 left out: `flowport apps --left-out`." in person.run("apps").stderr


HOSTILE = "[red]Lake[/] \x1b[2J\x1b]0;owned\x07 \u202eevil\u202c\u200b :smile: \r\nSecond"


@pytest.mark.parametrize("columns", [30, 40, 80, 200])
def test_hostile_names_are_shown_as_plain_text(person: Person, columns: int) -> None:
    """A name can neither move the cursor, nor turn text around, nor be read as a style."""
    person.run("apps")
    change_catalogue(person, name=HOSTILE)
    with person.open_terminal("apps", columns=columns) as terminal:
        assert terminal.wait() == 0

    assert "[red]Lake[/]" in terminal.plain or columns == 80
    assert ":smile:" in terminal.plain or columns != 40
    for mark in ("\x1b[2J", "\x1b]", "\x07", "\u202e", "\u200b"):
        assert mark not in terminal.text
    as_json = person.run("apps", "--json").stdout
    assert "\x1b" not in as_json
    assert "\u202e" not in as_json


def test_a_hostile_name_forges_no_line(person: Person) -> None:
    """The price is one line, whatever the app is called."""
    person.run("apps")
    change_catalogue(person, name=HOSTILE)
    done = person.run("run", "text_to_picture", "prompt=x")

    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0].endswith(": one run for 2 credits.")
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("columns", [40, 100])
def test_a_table_fits_the_terminal(person: Person, columns: int) -> None:
    """A narrow terminal gets one block for each app; a wide one a row."""
    with person.open_terminal("apps", columns=columns) as terminal:
        assert terminal.wait() == 0
    lines = [line for line in terminal.plain.splitlines() if "asking" not in line]

    assert ("  credits: 2" in lines) is (columns == 40)
    assert max(map(len, lines)) <= columns


def test_a_run_is_shown_with_its_arguments_and_files(person: Person) -> None:
    """The file is the last line, as after the run."""
    made = person.run("run", "text_to_picture", "prompt=a lake")
    done = person.run("show", "last")

    assert done.returncode == 0, done.stderr
    assert "prompt: a lake" in " ".join(done.stdout.split())
    assert done.stdout.splitlines()[-1:] == made.stdout.splitlines()


def test_a_run_of_another_person_is_shown_and_not_delivered(person: Person) -> None:
    """The operator of a server reads the receipt; the result still waits for the person who asked for it."""
    made = person.run("run", "text_to_picture", "prompt=a lake")
    (run,) = read(person, "runs")["runs"]
    with sqlite3.connect(person.folder / "home" / STORE_NAME) as connection:
        connection.execute("UPDATE runs SET owner = 'anna', delivered_at = NULL")
    connection.close()
    shown = read(person, "show", run["run_id"])

    assert (shown["owner"], shown["state"], shown["receipt"]["charged_credits"]) == ("anna", "succeeded", 2)
    assert shown["files"] == made.stdout.splitlines()
    assert [one["is_seen"] for one in read(person, "runs", "--owner", "anna")["runs"]] == [False]


def test_a_failed_run_is_shown_with_its_code(person: Person) -> None:
    """A script learns of a failure by the code of `show` too."""
    person.run("run", "always_fails", "note=x")
    (run,) = read(person, "runs", "--failed")["runs"]

    assert person.run("show", run["run_id"]).returncode == 1
    assert read(person, "runs", "--unseen")["runs"] == []


@pytest.mark.parametrize("command", ["show", "open", "cancel"])
def test_a_run_that_does_not_exist_is_not_found(person: Person, command: str) -> None:
    """The sentence names the command that lists runs."""
    done = person.run(command, "run_aaaaaaaaaa")

    assert (done.returncode, done.stdout) == (4, "")
    assert "flowport runs" in done.stderr


@pytest.mark.parametrize("command", ["show", "open"])
def test_without_a_delivered_result_there_is_no_last(person: Person, command: str) -> None:
    """Nothing was run yet."""
    done = person.run(command, "last")

    assert (done.returncode, done.stdout) == (4, "")
    assert "There is no run 'last'." in done.stderr


def test_runs_are_selected_by_flags(person: Person) -> None:
    """Newest first; several flags narrow each other."""
    person.run("run", "always_fails", "note=x")
    person.run("run", "text_to_picture", "prompt=x", "--variations", "2")
    states = [run["state"] for run in read(person, "runs")["runs"]]

    assert states == ["succeeded", "failed"]
    assert [run["state"] for run in read(person, "runs", "--failed")["runs"]] == ["failed"]
    assert read(person, "runs", "--failed", "--unseen")["runs"] == []
    assert read(person, "runs", "--live")["runs"] == []
    assert len(read(person, "runs", "--limit", "1")["runs"]) == 1


def test_a_run_that_goes_on_is_neither_opened_nor_cancelled(tmp_path: Path) -> None:
    """It has no files yet. What the provider cannot cancel is said, with the code of a failure."""
    with open_provider(tmp_path / "provider", speed=0.3) as provider:
        person = Person(tmp_path, provider.environment)
        with person.open_terminal("run", "slow_cinema_still", "prompt=x") as terminal:
            terminal.read_until("running")
            terminal.type("\x03")
            terminal.wait()
        (run,) = read(person, "runs", "--live")["runs"]
        opened = person.run("open", run["run_id"])
        done = person.run("cancel", run["run_id"])
        left = person.run("cancel", run["run_id"], "--stop-following")

    assert (done.returncode, left.returncode) == (1, 0), done.stderr
    assert "`flowport cancel --stop-following`" in done.stderr
    assert (opened.returncode, opened.stdout) == (1, "")
    assert f"{run['run_id']} is not over." in opened.stderr


def test_the_balance_is_shown(person: Person) -> None:
    """What was spent here is part of it."""
    person.run("run", "text_to_picture", "prompt=x")
    done = person.run("balance")

    assert done.returncode == 0, done.stderr
    assert "spent credits 24 hours:" in done.stdout
    assert read(person, "balance")["accounts"][0]["spent_credits_24_hours"] == 2


def test_erasing_says_first_what_goes(person: Person) -> None:
    """A dry run changes nothing; without a terminal nothing is erased unless --yes is given."""
    person.run("run", "text_to_picture", "prompt=x", "--variations", "2")
    dry = person.run("erase", "--all", "--dry-run")
    refused = person.run("erase", "--all")
    young = person.run("erase", "--older-than", "1d", "--yes")
    kept = len(read(person, "runs")["runs"])
    gone = person.run("erase", "--older-than", "0h", "--yes", "--files")

    assert dry.stdout == "3 runs with 2 saved files would be erased.\n"
    assert (refused.returncode, "add --yes" in refused.stderr, kept) == (3, True, 1)
    assert young.stdout == "0 runs erased.\n"
    assert gone.stdout.splitlines()[0] == "3 runs erased."
    assert read(person, "runs")["runs"] == []


@pytest.mark.parametrize(("answer", "code", "left"), [("n\r", 3, 1), ("y\r", 0, 0)])
def test_a_person_is_asked_before_runs_are_erased(person: Person, answer: str, code: int, left: int) -> None:
    """The question says how many, and how many of them were never seen."""
    person.run("run", "text_to_picture", "prompt=x")
    with person.open_terminal("erase", "--all") as terminal:
        terminal.read_until("Erase 1 run? [y/N]:")
        terminal.type(answer)
        assert terminal.wait() == code

    assert len(read(person, "runs")["runs"]) == left


@pytest.mark.parametrize("words", [("--older-than", "soon"), ("--all", "run_1"), ("--all", "--older-than", "3d")])
def test_erasing_takes_one_request(person: Person, words: tuple[str, ...]) -> None:
    """A slip erases nothing."""
    assert person.run("erase", *words, "--yes").returncode == 2


def test_an_old_list_says_its_age(person: Person) -> None:
    """It may lack apps; --refresh asks again."""
    person.run("apps")
    (path,) = (person.folder / "home/catalogue").glob("*.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(record | {"listed_at": time.time() - 3 * 86_400}), encoding="utf-8")
    old, fresh = person.run("apps"), person.run("apps", "--refresh")

    assert "--refresh asks again" in old.stderr
    assert "--refresh asks again" not in fresh.stderr


def test_a_run_that_goes_on_cannot_be_erased(tmp_path: Path) -> None:
    """Neither by a dry run nor with --yes: its result may still come."""
    with open_provider(tmp_path / "provider", speed=0.3) as provider:
        person = Person(tmp_path, provider.environment)
        with person.open_terminal("run", "slow_cinema_still", "prompt=x") as terminal:
            terminal.read_until("running")
            terminal.type("\x03")
            terminal.wait()
        (run,) = read(person, "runs", "--live")["runs"]
        refused = [person.run("erase", run["run_id"], flag).returncode for flag in ("--dry-run", "--yes")]

    assert refused == [3, 3]
