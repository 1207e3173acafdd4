"""Check the check of commit messages, on messages and on a repository of its own."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


def load_script() -> Any:
    """Return the script, which is in no package."""
    spec = importlib.util.spec_from_file_location("check_commits", ROOT / "scripts/check_commits.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


SCRIPT = load_script()


@pytest.mark.parametrize(
    "message",
    ["Reject ambiguous app names in run_app", "Pass the owner on", "Bring inputs later\n\nBecause uploads are slow.\n"],
)
def test_an_imperative_subject_is_accepted(message: str) -> None:
    """Words that only look like another form are imperatives too."""
    assert SCRIPT.find_problems(message, 10) == []


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ("Fixed the limit", 'begins with "Fixed"'),
        ("Fixing the limit", 'begins with "Fixing"'),
        ("Adds a limit", 'begins with "Adds"'),
        ("The limit", 'begins with "The"'),
        ("raise the limit", "capital letter"),
        ("Raise the limit.", "full stop"),
        ("Raise " + "x" * 100, "106 characters"),
        ("Raise the limit\nbecause", "second line"),
    ],
)
def test_another_subject_is_refused_with_its_reason(message: str, problem: str) -> None:
    """The author reads what to change."""
    problems = SCRIPT.find_problems(message, 10)

    assert len(problems) == 1
    assert problem in problems[0]


@pytest.mark.parametrize(
    ("body", "lines", "is_accepted"),
    [
        ("", 50, True),
        ("", 51, False),
        ("\n\nSigned-off-by: A <a@example.com>", 51, False),
        ("\n\nThe old limit was a guess.", 500, True),
    ],
)
def test_a_large_change_needs_a_body(body: str, lines: int, is_accepted: bool) -> None:
    """The reason for 50 lines is rarely visible in them; a trailer is not a reason."""
    assert (SCRIPT.find_problems(f"Raise the limit{body}", lines) == []) is is_accepted


def test_moved_and_generated_files_do_not_count(tmp_path: Path) -> None:
    """Only lines that the author wrote ask for a reason."""

    def git(*arguments: str) -> None:
        names = ["-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(tmp_path), *names, *arguments], check=True, capture_output=True)

    def commit(message: str, **files: str) -> None:
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        git("add", "--all")
        git("commit", "--quiet", "--message", message)

    git("init", "--quiet")
    commit("Add a file", first="".join(f"{number}\n" for number in range(100)))
    (tmp_path / "first").rename(tmp_path / "second")
    commit("Move the file")
    commit("Write the messages", **{"docs__errors.md": "x\n" * 100})
    commit("Add many lines", third="x\n" * 100)

    assert [problem.split(" ", 1)[1] for problem in SCRIPT.check(tmp_path, "HEAD~3..HEAD")] == [
        "Add many lines: 100 lines change, and no body says why."
    ]
