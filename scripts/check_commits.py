"""Check the messages of new commits: an imperative subject, and a body that says why when more than 50 lines change.

Without an argument it checks all commits after the one that `.ci/commits-checked-after` names; with one, a range of git.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
START: Final = ROOT / ".ci" / "commits-checked-after"

MOST_LINES_WITHOUT_BODY: Final = 50
LONGEST_SUBJECT: Final = 100
GENERATED: Final = (
    "*.lock",
    "tests/snapshots/*",
    "docs/errors.md",
    "docs/commands.md",
    "tests/conformance/package-lock.json",
    "gallery/package-lock.json",
    "src/flowport/actions/views/run.html",
)
"""Files whose lines do not count, because a program writes them."""

_NOT_IMPERATIVE: Final = re.compile(
    r"(?!(?:embed|exceed|feed|need|proceed|seed|shed|speed|bring|ping|ring|string)$)\w+(?:ed|ing)$"
    r"|(?!(?:\w*ss|focus|canvas|alias|bias)$)\w+s$"
    r"|(?:the|an?|this|it|no|some|all|every|each|more|new|wip|misc)$",
    re.IGNORECASE,
)
_TRAILER: Final = re.compile(r"^[A-Z][\w-]+-by: |^$")


def find_problems(message: str, changed_lines: int) -> list[str]:
    """Return what is wrong with a commit's message, as sentences."""
    subject, _, rest = message.strip().partition("\n")
    first = subject.split(" ", 1)[0]
    problems = []
    if len(subject) > LONGEST_SUBJECT:
        problems.append(f"The subject has {len(subject)} characters; the limit is {LONGEST_SUBJECT}.")
    if not first[:1].isupper():
        problems.append("The subject does not begin with a capital letter.")
    if subject.endswith("."):
        problems.append("The subject ends with a full stop.")
    if _NOT_IMPERATIVE.match(first):
        problems.append(f'The subject begins with "{first}"; begin with an imperative, such as Add, Fix or Remove.')
    if rest and not rest.startswith("\n"):
        problems.append("The second line is not blank.")
    has_body = any(not _TRAILER.match(line) for line in rest.splitlines())
    if changed_lines > MOST_LINES_WITHOUT_BODY and not has_body:
        problems.append(f"{changed_lines} lines change, and no body says why.")
    return problems


def count_changed_lines(repository: Path, commit: str) -> int:
    """Return how many lines a commit adds and removes, without moved files and what programs write."""
    excluded = [f":(exclude,glob){pattern}" for pattern in GENERATED]
    table = _run_git(repository, "show", "--numstat", "--find-renames", "--format=", commit, "--", ".", *excluded)
    counts = [line.split("\t")[:2] for line in table.splitlines() if line]
    return sum(int(count) for pair in counts for count in pair if count != "-")


def find_commits(repository: Path, span: str) -> list[str]:
    """Return the commits of a range without merges, oldest first."""
    return _run_git(repository, "rev-list", "--no-merges", "--reverse", span).split()


def check(repository: Path, span: str) -> list[str]:
    """Return the problems of all commits of a range, each with its commit."""
    found = []
    for commit in find_commits(repository, span):
        message = _run_git(repository, "show", "--no-patch", "--format=%B", commit)
        problems = find_problems(message, count_changed_lines(repository, commit))
        found += [f"{commit[:9]} {message.splitlines()[0]}: {problem}" for problem in problems]
    return found


def _run_git(repository: Path, *arguments: str) -> str:
    command = ["git", "-C", str(repository), *arguments]
    return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout


def main() -> int:
    """Print each problem; the exit code is 1 if there is one."""
    if len(sys.argv) > 1:
        span = sys.argv[1]
    else:
        start = START.read_text(encoding="utf-8").strip()
        try:
            _run_git(ROOT, "cat-file", "-e", start)
        except subprocess.CalledProcessError:
            print(f"The commit {start} is not in this clone, so no commit message is checked.")
            return 0
        span = f"{start}..HEAD"
    problems = check(ROOT, span)
    print("\n".join(problems) or "All commit messages are well formed.")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
