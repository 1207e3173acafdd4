"""Keep the source tree small at the top, in short files, with few tiny modules and few layers."""

import ast
import tomllib
from pathlib import Path
from typing import Final

import pytest

from tests.support.patience import PATIENCE_SECONDS

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


TEST_FILES = [path for path in (ROOT / "tests").rglob("*.py") if "node_modules" not in path.parts]
HTTP_CALLS: Final = {"get", "post", "put", "patch", "delete", "head", "request", "stream", "Client", "AsyncClient"}


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
    lines = {path.relative_to(ROOT / "tests").as_posix(): count_lines(path) for path in TEST_FILES}
    return {name: count for name, count in sorted(lines.items()) if count > MOST_LINES}


def is_short(limit: ast.expr | None) -> bool:
    """Return whether a limit of time is a number that a busy machine may exceed; zero does not wait."""
    value = limit.value if isinstance(limit, ast.Constant) else None
    return isinstance(value, int | float) and 0 < value < PATIENCE_SECONDS


def has_short_wait(node: ast.AST) -> bool:
    """Return whether a part of a test gives up sooner than `PATIENCE_SECONDS`."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="httpx2"), attr=attr), keywords=keywords) if (
            attr in HTTP_CALLS and not {keyword.arg for keyword in keywords} & {"timeout", "transport"}
        ):
            return True  # the library's own limit is 5 s
        case ast.Call(func=ast.Attribute(attr="fail_after" | "settimeout"), args=[limit]):
            return is_short(limit)
        case ast.Call(keywords=keywords):
            return any(keyword.arg == "timeout" and is_short(keyword.value) for keyword in keywords)
        case ast.BinOp(left=ast.Call(func=ast.Attribute(attr="monotonic" | "time")), op=ast.Add(), right=limit):
            return is_short(limit)
        case _:
            return False


def find_short_waits(source: str) -> list[int]:
    """Return the lines of a test file that give up sooner than `PATIENCE_SECONDS`."""
    return [node.lineno for node in ast.walk(ast.parse(source)) if has_short_wait(node) and isinstance(node, ast.expr)]


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


def test_no_test_gives_up_before_a_busy_machine_is_done() -> None:
    """A limit that only a broken program exceeds may be long; the default limit of an HTTP client is not."""
    found = {path.relative_to(ROOT).as_posix(): find_short_waits(path.read_text("utf-8")) for path in TEST_FILES}

    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("line", "is_found"),
    [
        ("httpx2.get(url)", True),
        ("httpx2.AsyncClient(trust_env=False)", True),
        ("httpx2.AsyncClient(timeout=5)", True),
        ("httpx2.AsyncClient(timeout=PATIENCE_SECONDS)", False),
        ("httpx2.AsyncClient(transport=httpx2.ASGITransport(app))", False),
        ("process.wait(timeout=0.5)", True),
        ("anyio.fail_after(5)", True),
        ("anyio.fail_after(0)", False),
        ("connection.settimeout(2)", True),
        ("give_up_at = time.monotonic() + 5", True),
        ("give_up_at = time.monotonic() + PATIENCE_SECONDS", False),
    ],
)
def test_a_short_limit_is_found(line: str, *, is_found: bool) -> None:
    """The rule sees each way in which tests wait."""
    assert bool(find_short_waits(line)) is is_found


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
