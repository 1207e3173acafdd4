"""Check every message of the program, found in its source, for completeness and form."""

import importlib.util
import re
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.test_words import ARCHAIC

ROOT = Path(__file__).resolve().parent.parent


def load_script() -> ModuleType:
    """Return the script, which is in no package."""
    spec = importlib.util.spec_from_file_location("error_templates", ROOT / "scripts/error_templates.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


SCRIPT: Any = load_script()
find_templates = cache(SCRIPT.find_templates)

ERRORS = """
class Problem:
    argument: str
    problem: str
    expected: str = ""

class Sharper(Problem):
    status: int

def build(argument, problem, expected=""):
    return Problem(argument, problem, expected)
"""


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        ('Problem(name, "is red", "Give blue.")', ["is red. Give blue."]),
        ('Problem(name, problem="is red")', ["is red."]),
        ('Sharper(name, f"is {name!r}", "Give blue.", 4)', ["is {…}. Give blue."]),
        ('build(name, "is red" if name else "is green")', ["is red.", "is green."]),
        ('problem = "is red"\n    build(name, problem)', ["is red."]),
        ('problem = "is old"\n    problem = "is red"\n    build(name, problem)', ["is red."]),
        ('build(name, _CONSTANT, "Give blue.")', ["is constant. Give blue."]),
        ("build(name, _TABLE[name])", ["is one.", "is two."]),
        ("build(name, _describe(name))", ["is described."]),
        (
            (
                'if name:\n        problem, hint = "is red", "Give blue."\n    else:\n        problem, hint = "is wet", '
                '"Dry it."\n    build(name, problem, hint)'
            ),
            ["is red. Give blue.", "is red. Dry it.", "is wet. Give blue.", "is wet. Dry it."],
        ),
        (
            'if name:\n        problem = "is red"\n        raise build(name, problem)\n    build(name, "is wet")',
            ["is red.", "is wet."],
        ),
        ('match name:\n        case 1:\n            build(name, "is red")', ["is red."]),
        ("build(name, str(name))", []),
        ('print("is red")', []),
    ],
)
def test_a_sentence_is_found_however_it_is_passed(tmp_path: Path, body: str, texts: list[str]) -> None:
    """A new message appears in the document without a list to maintain."""
    (tmp_path / "errors.py").write_text(ERRORS)
    (tmp_path / "calls.py").write_text(
        "from flowport.errors import Problem, Sharper, build\n"
        '_CONSTANT = "is constant"\n_TABLE = {1: "is one", 2: "is two"}\n'
        'def _describe(name):\n    return "is described"\n'
        f"def call(name):\n    {body}\n"
    )

    assert [one.text for one in SCRIPT.find_templates(tmp_path)] == texts


def test_every_sentence_of_the_program_is_in_the_document() -> None:
    """Each message is an example or in the table of other messages."""
    lines = (ROOT / "docs/errors.md").read_text(encoding="utf-8").replace("\\", "").splitlines()
    missing = [one for one in find_templates() if not any(one.text in line or one.matches(line) for line in lines)]

    assert len(find_templates()) > 250
    assert missing == []


@pytest.mark.parametrize("flaw", [r"(?<!\.)\.\.(?!\.)", r"\s{2}", r" [.,;:]( |$)", r"[^.?!}]$", ARCHAIC])
def test_every_sentence_is_well_formed(flaw: str) -> None:
    """It ends once, has no gap where nothing is filled in, and uses no archaic word."""
    assert [one for one in find_templates() if re.search(flaw, one.text, re.IGNORECASE)] == []
