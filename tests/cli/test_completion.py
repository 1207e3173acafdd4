"""Completion in each shell, from the catalogue on disk."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.person import Person
from tests.support.provider_process import open_provider

BREAKS = " \t\n\"'@><=;|&(:"
"""Where bash breaks a line, unless a setting changes it."""

CASES = [
    ("flowport ru", ["run", "runs"]),
    ("flowport run text", ["text_to_picture"]),
    ("flowport show la", ["last"]),
    ("flowport run retro_poster pal", ["palette="]),
    ("flowport run retro_poster palette=s", ["palette=sunset"]),
    ("flowport run retro_poster title=x pa", ["palette="]),
    ("flowport run retro_poster photo=@a", ["photo=@a cup.png", "photo=@album/"]),
    ("flowport run retro_poster photo=@album/", ["photo=@album/one.png"]),
    ("flowport run retro_poster photo=", ["photo=@"]),
    ("flowport run retro_poster nothing=", []),
    ("flowport run --variations 2 slow", ["slow_cinema_still"]),
    ("flowport batch retro", ["retro_poster"]),
    ("flowport completion z", ["zsh"]),
]
FORMS = [row for row in CASES if len(row[1]) != 1 or "=" in row[1][0]]
"""Those of several words or none, with a value, a file or a space."""


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Person:
    """Return a person whose provider is down, and who has a catalogue and files."""
    folder = tmp_path_factory.mktemp("person")
    with open_provider(folder / "provider") as provider:
        person = Person(folder, provider.environment)
        assert person.run("apps").returncode == 0
    for name in ("a cup.png", "album/one.png", "other.txt"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    return person


def complete(person: Person, line: str, shell: str) -> list[str]:
    """Return the whole words that a shell is offered."""
    words = line.split()
    ends_in_space = line.endswith(" ")
    number = len(words) if ends_in_space else len(words) - 1
    environment = {"_FLOWPORT_COMPLETE": f"{shell}_complete", "COMP_WORDS": line, "COMP_CWORD": str(number)}
    if shell == "fish":
        environment["COMP_CWORD"] = "" if ends_in_space else words[-1]
    if shell == "bash":
        environment["COMP_BREAKS"] = ""
    done = person.run(environment=environment)
    lines = [one for one in done.stdout.splitlines() if one or shell == "zsh"]
    if shell == "zsh":
        return lines[1::3]
    if shell == "fish":
        return [one.partition(",")[2].partition("\t")[0] for one in lines]
    return [one.replace("\\", "") for one in lines]


@pytest.mark.parametrize(("line", "words"), CASES, ids=[row[0] for row in CASES])
def test_words_are_completed_without_the_network(person: Person, line: str, words: list[str]) -> None:
    """Apps, inputs, choices and files; the provider is down."""
    assert complete(person, line, "zsh") == words


@pytest.mark.parametrize("shell", ["bash", "fish"])
@pytest.mark.parametrize(("line", "words"), FORMS, ids=[row[0] for row in FORMS])
def test_each_shell_is_offered_the_same_words(person: Person, shell: str, line: str, words: list[str]) -> None:
    """They differ in how they ask, and in how they write spaces, files and several words."""
    assert complete(person, line, shell) == words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("flowport run retro_poster palette=", ["sunset", "harbour", "forest", "berry"]),
        ("flowport run retro_poster palette=s", ["sunset"]),
        ("flowport run retro_poster photo=@a", ["a\\ cup.png", "album/"]),
        ("flowport run retro_poster pal", ["palette="]),
    ],
)
def test_bash_is_offered_what_follows_its_last_break(person: Person, line: str, words: list[str]) -> None:
    """It breaks words at `=` and `@`, and replaces only the rest."""
    environment = {"_FLOWPORT_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_BREAKS": BREAKS}

    assert person.run(environment=environment).stdout.splitlines() == words


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_one_that_it_takes(person: Person, tmp_path: Path, shell: str) -> None:
    """`flowport completion SHELL` prints it."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    done = person.run("completion", shell)
    script = tmp_path / "script"
    script.write_text(done.stdout, encoding="utf-8")
    checked = subprocess.run([shell, "-n", str(script)], check=False, capture_output=True, text=True)

    assert (done.returncode, checked.returncode, checked.stderr) == (0, 0, "")


def test_a_wrong_setting_completes_nothing(person: Person) -> None:
    """A completion has no place for a sentence."""
    environment = {"_FLOWPORT_COMPLETE": "zsh_complete", "COMP_WORDS": "flowport run ", "COMP_CWORD": "2"}
    done = person.run(environment={**environment, "FLOWPORT_WAIT_SECONDS": "soon"})

    assert (done.stdout.strip(), done.stderr) == ("", "")
