"""Keep the source tree small at the top, in short files, with few tiny modules and few layers."""

import ast
import tomllib
from pathlib import Path
from typing import Final

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "flowport"
FILES = sorted(SOURCE.rglob("*.py"))

MOST_ENTRIES: Final = 17
MOST_LINES: Final = 400
MOST_LAYERS: Final = 11
MOST_TINY_MODULES: Final = 6
"""Modules of fewer than 60 lines with one importer. The aim is 6; the number may only fall."""
LONG_TESTS: Final[dict[str, int]] = {
    "interaction/test_hostile_outputs.py": 407,
    "network/test_unsent_starts.py": 538,
    "runs/test_batches.py": 410,
    "runs/test_downloads.py": 474,
    "runs/test_inputs.py": 447,
    "runs/test_poll.py": 456,
    "runs/test_start.py": 422,
    "server/test_resources.py": 410,
}
"""Test files above the limit, with their lines. The numbers may only fall."""


def get_module(path: Path) -> str:
    """Return the dotted name of a module of Flowport."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def find_imports(path: Path, modules: set[str]) -> set[str]:
    """Return the modules of Flowport that a file imports, `from package import module` included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=str(module), names=names, level=0):
                inner = {f"{module}.{alias.name}" for alias in names}
                found |= inner & modules or {module}
    return found & modules


def find_tiny_modules() -> list[str]:
    """Return the modules of fewer than 60 lines that one other module imports."""
    modules = {get_module(path) for path in FILES}
    importers: dict[str, set[str]] = {module: set() for module in modules}
    for path in FILES:
        for module in find_imports(path, modules):
            importers[module].add(get_module(path))
    short = [path for path in FILES if path.name not in {"__init__.py", "__main__.py"} and count_lines(path) < 60]
    return [get_module(path) for path in short if len(importers[get_module(path)]) == 1]


def find_long_tests() -> dict[str, int]:
    """Return the test files above the limit, with their lines."""
    files = [path for path in (ROOT / "tests").rglob("*.py") if "node_modules" not in path.parts]
    lines = {path.relative_to(ROOT / "tests").as_posix(): count_lines(path) for path in files}
    return {name: count for name, count in sorted(lines.items()) if count > MOST_LINES}


def count_lines(path: Path) -> int:
    """Return the number of lines of a file."""
    return len(path.read_text(encoding="utf-8").splitlines())


def test_few_entries_at_the_top() -> None:
    """A newcomer reads this list first."""
    entries = [path.name for path in SOURCE.iterdir() if path.name not in {"py.typed", "__pycache__"}]

    assert len(entries) <= MOST_ENTRIES, sorted(entries)


def test_no_long_source_file() -> None:
    """A longer file holds more than one idea."""
    assert {str(path): lines for path in FILES if (lines := count_lines(path)) > MOST_LINES} == {}


def test_no_long_test_file() -> None:
    """Tests have the same limit; longer ones are listed and may only shrink."""
    long = find_long_tests()

    assert {name: count for name, count in long.items() if count > LONG_TESTS.get(name, MOST_LINES)} == {}
    assert [name for name in LONG_TESTS if name not in long] == [], "remove these lines"


def test_few_tiny_modules_with_one_importer() -> None:
    """A small module with one user is an indirection: it belongs into the module that uses it."""
    tiny = find_tiny_modules()

    assert len(tiny) <= MOST_TINY_MODULES, tiny


def test_few_layers() -> None:
    """The layers of import-linter are the map of dependencies, and each package is in one of them."""
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = next(contract["layers"] for contract in linter["contracts"] if contract["type"] == "layers")
    packages = {get_module(path).split(".")[1] for path in FILES if get_module(path).count(".")}

    assert len(layers) <= MOST_LAYERS
    assert {name.strip() for layer in layers for name in layer.split(":")} == packages
