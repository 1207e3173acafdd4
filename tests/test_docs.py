"""What the documents claim, held against the program."""

import importlib
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import flowport
from flowport import __version__
from flowport.actions.built_in_tools import BUILT_IN_TOOLS
from flowport.cli.main import COMMANDS
from flowport.domain.errors import Breakage, FlowportError
from flowport.settings.variables import get_variables
from flowport.store.sqlite.errors import SENTENCES

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TEXTS = {".md", ".py", ".toml", ".example", ".json", ".sh", ".html"}
DOCUMENTS = [path for path in ROOT.glob("*.md") if path.name != "LICENSE"]


def test_the_table_of_variables_is_up_to_date() -> None:
    """The program knows its variables; the README only shows them."""
    check = [sys.executable, str(ROOT / "scripts/write_docs.py"), "--check"]

    assert subprocess.run(check, check=False).returncode == 0


def find_errors(base: type[FlowportError]) -> set[str]:
    """Return the names of all classes of errors below one."""
    ours = [kind for kind in base.__subclasses__() if kind.__module__.startswith("flowport.")]
    return {kind.__name__ for kind in ours}.union(*map(find_errors, ours))


def test_every_error_has_an_example_with_its_sentence() -> None:
    """A sentence that is never read aloud stays as it was first written."""
    for module in pkgutil.walk_packages(flowport.__path__, "flowport."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    text = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    told = set(re.findall(r"\| `(\w+)` \|$", text, re.MULTILINE))

    assert told == find_errors(FlowportError)
    assert all(sentence.replace("\\_", "_") in text.replace("\\_", "_") for sentence, _ in SENTENCES.values())
    assert all(str(breakage) in text for breakage in Breakage if breakage is not Breakage.UNUSABLE_SETTING)


def test_every_sentence_has_an_example_of_what_it_answers() -> None:
    """Whoever meets one finds there what leads to it."""
    text = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ") and "---" not in line]

    assert len(rows) > 350
    assert [row for row in rows if len(row) != 3 or not all(cell.strip(" |") for cell in row)] == []


def test_every_variable_that_the_documents_name_exists() -> None:
    """A variable that nobody reads is worse than none."""
    named = set(re.findall(r"\b(?:FLOWPORT|MAGNIFIC|MAGICA)_[A-Z_]+[A-Z]\b", README))

    assert named == {variable.name for variable in get_variables()}


def test_every_standing_tool_is_in_the_readme() -> None:
    """People look there for what an assistant may do."""
    assert [name for name in BUILT_IN_TOOLS if f"| `{name}` |" not in README] == []


def test_the_example_configuration_is_the_one_in_the_readme() -> None:
    """People copy either of the two."""
    example = json.loads((ROOT / "mcp.json.example").read_text(encoding="utf-8"))
    block = next(block for block in re.findall(r"```json\n(.*?)```", README, re.DOTALL) if "mcpServers" in block)

    assert json.loads(block) == example
    assert example["mcpServers"]["flowport"]["command"].endswith("/.venv/bin/flowport")


BY_NAME = re.compile(
    r"""\b(?:pip3?|pipx|uv)\s+(?:(?:tool|pip|add)\s+)?(?:install|run|add|inject|upgrade)\b(?:\s+-\S+)*\s+["']?flowport\b
    | \buvx\s+["']?flowport\b
    | \bflowport\[\w+\]
    | "uvx",\s*"args":\s*\[\s*"flowport""",
    re.VERBOSE,
)
"""An instruction to install Flowport by its name, which is not on any index: whoever takes the name there may be somebody else."""


def test_no_text_tells_to_install_flowport_by_its_name() -> None:
    """Documents, messages and examples install it from its folder."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    texts = [ROOT / name for name in listed.split("\0") if Path(name).suffix in TEXTS and not name.startswith("tests/")]
    found = [f"{path.name}: {match.group()}" for path in texts for match in BY_NAME.finditer(path.read_text("utf-8"))]

    assert len(texts) > 100
    assert found == []


@pytest.mark.parametrize(
    ("text", "is_by_name"),
    [
        ('pip install "flowport[heic]"', True),
        ("pip install --upgrade flowport", True),
        ("pipx run flowport", True),
        ("uv tool install flowport", True),
        ("uvx flowport", True),
        ('"command": "uvx", "args": ["flowport"]', True),
        ("pipx install .", False),
        ('pip install -e ".[heic]"', False),
        ("uvx --from . flowport", False),
        ("docker build -t flowport .", False),
    ],
)
def test_an_instruction_to_install_by_name_is_known_by_its_form(text: str, is_by_name: bool) -> None:
    """The test above is only as good as its pattern."""
    assert bool(BY_NAME.search(text)) is is_by_name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    """A dead link in a map is a hole in the road."""
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text(encoding="utf-8"))

    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_module_is_on_the_map() -> None:
    """ARCHITECTURE.md is where a successor looks for the room for a change."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rooms = [
        path for path in (ROOT / "src/flowport").iterdir() if not path.name.startswith("__") and path.name != "py.typed"
    ]

    assert [path.name for path in rooms if f"`{path.name}`" not in text and f"`{path.name}/`" not in text] == []


def test_each_make_target_that_the_documents_name_exists() -> None:
    """A command that does not exist is the worst first impression."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {name for path in DOCUMENTS for name in re.findall(r"`?make ([a-z]+)", path.read_text(encoding="utf-8"))}

    assert named - {"it", "sure", "the", "a"} <= targets


def test_the_version_is_the_one_that_the_command_tells() -> None:
    """Bug reports begin with it."""
    told = subprocess.run([sys.executable, "-m", "flowport", "--version"], check=True, capture_output=True, text=True)

    assert told.stdout.strip() == f"flowport {__version__}"
    assert set(COMMANDS) == {"serve", "history", "erase", "sandbox"}
