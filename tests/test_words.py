"""Hold the vocabulary: each word below has a standard term, and its uses may only become fewer.

Numbers are counts of all words in the texts of a folder: code, docstrings, comments, messages and pages. When a folder has
fewer, lower its number; at 0 remove its line.
"""

import re
from pathlib import Path
from typing import Final

import pytest

ROOT = Path(__file__).resolve().parent.parent

TERMS: Final = {
    r"anew": "again",
    r"mend(?:s|ed|ing)?": "repair, correct",
    r"bears?|bearing": "have (a name)",
    r"for ever": "forever, without limit",
    r"in vain": "without result",
    r"nobody|somebody|anybody|whoever": "name the actor",
    r"strangers?": "untrusted",
    r"wish(?:es|ed)?": "request",
    r"(?-i:is none)": "does not exist, is not a …",
    r"(?<!there )(?<!There )is no (?!longer)": "is not a …",
    r"be had": "be available",
    r"tells?|told|telling": "report, say, return",
    r"doubts?|doubted": "uncertain, stale",
    r"hears?|heard": "receive, listen",
    r"rouses?|roused": "wake",
    r"seats?": "slot",
    r"desks?": "workspace",
    r"purses?": "spending limits",
    r"papers?": "report",
    r"ledgers?(?!\.sqlite3)": "store",
    r"thereby|nought|hitherto|lest|whence|whither": "plain English",
}
"""Each banned form, as an expression, with the term to use instead."""

ARCHAIC: Final = r"\b(anew|mends?|in vain|for ever|thereby|nought|nobody|somebody|whoever|strangers?|wish(?:es)?|be had|purses?|ledgers?)\b"
"""The forms that no message of the program contains any more."""

BANNED: Final = re.compile(rf"\b(?:{'|'.join(TERMS)})\b", re.IGNORECASE)

RATCHET: Final = {
    "docs": 7,
    "src/actions": 22,
    "src/cli": 3,
    "src/media": 6,
    "src/providers": 2,
    "src/sandbox": 1,
    "src/server": 8,
    "tests/actions": 6,
    "tests/cli": 11,
    "tests/fakes": 3,
    "tests/media": 7,
    "tests/providers": 1,
    "tests/runs": 3,
    "tests/sandbox": 1,
    "tests/server": 4,
}
"""How often each folder may still use them."""

TEXTS: Final = {".py", ".md", ".toml", ".yml", ".sh"}


def get_place(path: Path) -> str:
    """Return the name under which a file is counted: its package, its folder of tests, or the file itself."""
    parts = path.relative_to(ROOT).parts
    match parts:
        case ("src", "flowport", package, *_):
            return f"src/{package}"
        case ("tests", folder, _, *_):
            return f"tests/{folder}"
        case ("docs", "errors.md"):
            return "docs/errors.md"
        case (folder, _, *_):
            return folder
        case _:
            return parts[0]


def find_words(text: str) -> list[str]:
    """Return all banned words of a text; parts of identifiers count as words."""
    return [match.group() for match in BANNED.finditer(text.replace("_", " "))]


def find_texts() -> list[Path]:
    """Return every file of the project that people read, but this one."""
    folders = ("src/flowport", "tests", "docs", "scripts", ".ci")
    # Two lists hold words that people search for.
    skipped = {"node_modules", "__pycache__", "converters", "search_words.toml", "search_queries.toml"}
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if not skipped & set(path.parts)]
    return [path for path in (*files, *ROOT.glob("*.md")) if path.suffix in TEXTS and path != Path(__file__)]


def test_banned_words_become_fewer() -> None:
    """One word for one idea, the one that the field uses."""
    counts: dict[str, int] = {}
    examples: dict[str, set[str]] = {}
    for path in find_texts():
        words = find_words(path.read_text(encoding="utf-8"))
        if words:
            place = get_place(path)
            counts[place] = counts.get(place, 0) + len(words)
            examples.setdefault(place, set()).update(f"{path.name}: {word}" for word in words)

    above = {place: count for place, count in counts.items() if count > RATCHET.get(place, 0)}
    assert above == {}, {place: sorted(examples[place])[:10] for place in above}
    assert [place for place in RATCHET if place not in counts] == [], "remove these lines"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The tool is made anew.", ["anew"]),
        ("def tell_all(wishes):", ["tell", "wishes"]),
        ("It is no picture.", ["is no "]),
        ("There is no app of this name, and it is no longer listed.", []),
        ("Nobody hears of it for ever.", ["Nobody", "hears", "for ever"]),
        ("recommended, amended, newspaper, intelligent", []),
    ],
)
def test_banned_words_are_found_as_whole_words(text: str, words: list[str]) -> None:
    """Words inside longer ones are not meant."""
    assert find_words(text) == words


def test_every_banned_word_has_its_term() -> None:
    """The table is also the glossary of what to write instead."""
    assert all(term for term in TERMS.values())
