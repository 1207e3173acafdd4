"""Check what the documents claim against the program."""

import importlib
import json
import pkgutil
import re
import subprocess
import sys
import tomllib
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
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
TEXTS = {".md", ".py", ".toml", ".example", ".json", ".sh", ".html"}
PAGES = sorted((ROOT / "docs").rglob("*.md"))
COMMAND = re.compile(r"(?:\.venv/bin/)?flowport (?P<name>[a-z]+)\b(?P<rest>.*)")
DOCUMENTS = [*ROOT.glob("*.md"), *PAGES]


def read_page(name: str) -> str:
    """Return the text of a page of the documentation."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_the_generated_pages_are_up_to_date() -> None:
    """`make docs` changes nothing, so settings, tools, commands and messages are those of the program."""
    check = [sys.executable, str(ROOT / "scripts/write_docs.py"), "--check"]

    assert subprocess.run(check, check=False).returncode == 0


@pytest.mark.parametrize(("document", "most"), [("README.md", 150), ("ARCHITECTURE.md", 200)])
def test_the_first_documents_stay_short(document: str, most: int) -> None:
    """Details belong into docs/, where they are found by topic."""
    lines = (ROOT / document).read_text(encoding="utf-8").splitlines()

    assert len(lines) <= most
    assert max(map(len, lines)) < 400


def test_every_setting_is_in_the_reference() -> None:
    """Each setting has a row in docs/settings.md, and no page names a variable that does not exist."""
    known = {variable.name for variable in get_variables()}
    named = {
        name
        for path in [*PAGES, ROOT / "README.md"]
        if path.stem != "commands"
        for name in find_variables(path.read_text(encoding="utf-8"))
    }

    assert [name for name in sorted(known) if f"| `{name}` |" not in read_page("settings.md")] == []
    assert named - known <= {"FLOWPORT_COLOUR"} | find_variables(read_page("errors.md").replace("\\_", "_"))


def find_variables(text: str) -> set[str]:
    """Return the names of Flowport's variables in a text."""
    return set(re.findall(r"\b(?:FLOWPORT|MAGNIFIC|MAGICA)_[A-Z_]+[A-Z]\b", text))


def test_every_built_in_tool_with_its_arguments_is_in_the_reference() -> None:
    """People look there for what an assistant may do."""
    text = read_page("tools.md")
    sections = {section.partition("`")[0]: section for section in text.split("\n## `")[1:]}

    assert set(BUILT_IN_TOOLS) <= set(sections)
    for name, tool in BUILT_IN_TOOLS.items():
        assert [item.id for item in tool.inputs if f"| `{item.id}` |" not in sections[name]] == []


def test_every_command_is_in_the_reference() -> None:
    """Each command has its section with the help that it prints."""
    text = read_page("commands.md")

    assert [name for name in COMMANDS if f"## `flowport {name}`" not in text] == []
    assert [name for name in COMMANDS if f"usage: flowport {name}" not in text.lower()] == []


def test_every_entry_point_is_documented() -> None:
    """Each script, and each plug-in by which Flowport finds a provider, is named in the documentation."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"scripts": project.get("scripts", {}), **project.get("entry-points", {})}
    pages = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)

    for group, points in groups.items():
        assert group == "scripts" or group in pages
        assert [name for name in points if not re.search(rf"\b{re.escape(name)}\b", pages, re.IGNORECASE)] == []


@pytest.mark.parametrize("extra", ["heic", "team"])
def test_every_extra_is_documented(extra: str) -> None:
    """An optional dependency is useless to users who do not know it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert set(project["optional-dependencies"]) == {"heic", "team"}
    assert f".[{extra}]" in read_page("getting-started.md")


def test_every_page_is_linked_from_the_readme() -> None:
    """A page that nothing links to is not read."""
    pages = [path.name for path in PAGES if path.parent.name == "docs"]

    assert [name for name in pages if f"(docs/{name}" not in README] == []


def test_every_picture_is_small() -> None:
    """Pictures are part of each clone, and each is shown somewhere."""
    pictures = list((ROOT / "docs/pictures").iterdir())
    shown = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)

    assert [path.name for path in pictures if path.stat().st_size > 150_000] == []
    assert [path.name for path in pictures if f"pictures/{path.name})" not in shown] == []


def test_the_recording_needs_nothing_from_elsewhere() -> None:
    """A web page shows it as an image: without scripts, fonts, addresses or paths of the computer that made it."""
    recording = (ROOT / "docs/pictures/terminal.svg").read_text(encoding="utf-8")
    namespace = 'xmlns="http://www.w3.org/2000/svg"'

    assert recording.count("//") == recording.count(namespace) == 1
    assert not re.search(r"<script|@import|@font-face|url\(|href|/tmp|/root", recording)
    assert [name for name in ("apps", "show", "run", "runs", "doctor") if f"flowport {name}" not in recording] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_a_document_names_exists(document: Path) -> None:
    """Commands are copied from the documents: each exists, with the flags that stand behind it."""
    helps: dict[str, str] = {}
    for section in read_page("commands.md").split("\n## `flowport ")[1:]:
        name = section.partition("`")[0].partition(" ")[0]
        helps[name] = helps.get(name, "") + section
    text = document.read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line.partition(" #")[0] for block in blocks for line in block.splitlines()]
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    named = [match for line in [*lines, *spans] if (match := COMMAND.match(line))]

    assert [match.group() for match in named if match["name"] not in COMMANDS] == []
    for match in named:
        flags = re.findall(r"(?<=\s)--[a-z-]+", match["rest"])
        assert [flag for flag in flags if flag not in helps[match["name"]] and flag != "--help"] == [], match.group()


def find_errors(base: type[FlowportError]) -> set[str]:
    """Return the names of all error classes below one."""
    ours = [kind for kind in base.__subclasses__() if kind.__module__.startswith("flowport.")]
    return {kind.__name__ for kind in ours}.union(*map(find_errors, ours))


def test_every_error_has_an_example_with_its_sentence() -> None:
    """Each class of error, each cause of a network failure and each answer of SQLite is in docs/errors.md."""
    for module in pkgutil.walk_packages(flowport.__path__, "flowport."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    text = read_page("errors.md")
    classes = set(re.findall(r"\| `(\w+)` \|$", text, re.MULTILINE))

    assert classes == find_errors(FlowportError)
    assert all(sentence.replace("\\_", "_") in text.replace("\\_", "_") for sentence, _ in SENTENCES.values())
    assert all(str(breakage) in text for breakage in Breakage if breakage is not Breakage.UNUSABLE_SETTING)


def test_every_sentence_has_an_example_of_what_it_answers() -> None:
    """Each row has the input, or the event, that leads to its message."""
    examples, _, others = read_page("errors.md").partition("## All other messages")

    for text, columns, fewest in ((examples, 3, 150), (others, 2, 150)):
        rows = [
            line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ") and "---" not in line
        ]
        assert len(rows) > fewest
        assert [row for row in rows if len(row) != columns or not all(cell.strip() for cell in row)] == []


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
"""An instruction to install Flowport by its name. It is on no index, so a package of that name would be a different one."""


def test_no_text_installs_flowport_by_its_name() -> None:
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


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    """Relative links and their anchors resolve as on the repository's web page."""
    links = re.findall(r"\]\((?!https?://)([^)#]*)(?:#([^)]+))?\)", strip_code(document.read_text(encoding="utf-8")))
    for name, anchor in links:
        target = (document.parent / name) if name else document
        assert target.exists(), name
        assert not anchor or anchor in find_anchors(target.read_text(encoding="utf-8")), f"{name}#{anchor}"


def strip_code(text: str) -> str:
    """Return a page without its code blocks and code spans."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def find_anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_every_package_is_in_the_architecture() -> None:
    """ARCHITECTURE.md is where a newcomer looks for the place of a change."""
    entries = [
        path for path in (ROOT / "src/flowport").iterdir() if not path.name.startswith("__") and path.name != "py.typed"
    ]

    assert [one.name for one in entries if not re.search(rf"`{re.escape(one.name)}/?`", ARCHITECTURE)] == []


def test_every_file_that_the_architecture_names_exists() -> None:
    """A map of places that are gone misleads."""
    names = set(re.findall(r"`((?:\w+/)*\w+\.(?:py|toml|md|sh)|(?:tests|scripts|docs|\.ci)/[\w/.]*)`", ARCHITECTURE))
    roots = (ROOT, ROOT / "src/flowport", *(path for path in (ROOT / "src/flowport").iterdir() if path.is_dir()))

    assert names
    assert [name for name in sorted(names) if not any((root / name).exists() for root in roots)] == []


def test_every_make_target_that_the_documents_name_exists() -> None:
    """A command that does not exist is the worst first impression."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        name
        for path in DOCUMENTS
        for name in re.findall(r"(?:`|^)make ([a-z-]+)", path.read_text("utf-8"), re.MULTILINE)
    }

    assert named <= targets


def test_the_version_is_the_one_that_the_command_prints() -> None:
    """Bug reports begin with it."""
    done = subprocess.run([sys.executable, "-m", "flowport", "--version"], check=True, capture_output=True, text=True)

    assert done.stdout.strip() == f"flowport {__version__}"
