"""What clients install from: the bundle, the registry's description and the install links."""

import base64
import importlib.util
import json
import re
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from packaging.requirements import Requirement

from flowport import __version__
from flowport.cli.clients import Launch, build_entry, get_clients
from flowport.settings.variables import get_key_names

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = Launch("uvx", ("flowport", "serve"))


@pytest.fixture(scope="module")
def publishing() -> ModuleType:
    """Return the script as a module."""
    spec = importlib.util.spec_from_file_location("publishing", ROOT / "scripts" / "publishing.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bundle(publishing: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bundle."""
    path = tmp_path_factory.mktemp("bundle") / "flowport.mcpb"
    publishing.write_bundle(path)
    return path


def test_two_builds_have_the_same_bytes(publishing: ModuleType, bundle: Path, tmp_path: Path) -> None:
    """Everyone can check that a bundle was made from the source."""
    again = tmp_path / "elsewhere.mcpb"
    publishing.write_bundle(again)

    assert again.read_bytes() == bundle.read_bytes()
    with zipfile.ZipFile(bundle) as archive:
        entries = archive.infolist()
        assert {(entry.date_time, entry.compress_type, entry.external_attr >> 16) for entry in entries} == {
            ((1980, 1, 1, 0, 0, 0), zipfile.ZIP_STORED, 0o100644)
        }
        assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)


def test_the_bundle_contains_the_source(bundle: Path) -> None:
    """Every module and data file, the licence and the read-me; nothing that is built on this machine."""
    with zipfile.ZipFile(bundle) as archive:
        names = set(archive.namelist())
        main = archive.read("server/main.py").decode()

    assert {"manifest.json", "pyproject.toml", "LICENSE", "README.md", "src/flowport/cli/clients.toml"} <= names
    assert not [name for name in names if "__pycache__" in name or "tests" in name]
    compile(main, "main.py", "exec")


def test_the_bundle_holds_the_locked_versions(bundle: Path) -> None:
    """Each dependency has its locked version, also where it is needed only on another platform."""
    with zipfile.ZipFile(bundle) as archive:
        project = tomllib.loads(archive.read("pyproject.toml").decode())
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    held = [Requirement(line) for line in project["tool"]["uv"]["constraint-dependencies"]]
    locked = re.findall(r"^([\w.-]+)(?:\[.*?\])?==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)

    assert project["project"] == ours
    assert "dependency-groups" not in project
    assert {(one.name, str(one.specifier)) for one in held} == {(name, f"=={version}") for name, version in locked}
    assert {Requirement(line).name for line in ours["dependencies"]} <= {one.name for one in held}
    assert not [one for one in held if one.extras]


def test_keys_of_the_bundle_are_secret_and_optional(publishing: ModuleType) -> None:
    """The host asks for each key and keeps it; an empty one is the same as none."""
    manifest = publishing.build_manifest()
    env = manifest["server"]["mcp_config"]["env"]

    assert set(env) == set(get_key_names())
    for name, value in env.items():
        option = manifest["user_config"][value.removeprefix("${user_config.").removesuffix("}")]
        assert option["sensitive"] is True
        assert option["required"] is False
        assert option["default"] == ""
        assert value == f"${{user_config.{name.lower()}}}"
    assert manifest["version"] == __version__


def test_the_registry_gets_this_version(publishing: ModuleType) -> None:
    """`server.json` is what the script writes, and keeps the limits of its schema."""
    text = (ROOT / "server.json").read_text(encoding="utf-8")
    server = json.loads(text)
    (package,) = server["packages"]

    assert text == publishing.build_server_json()
    assert server["version"] == package["version"] == __version__
    assert (
        package["identifier"] == tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["name"]
    )
    assert re.fullmatch(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+", server["name"])
    assert 1 <= len(server["description"]) <= 100
    assert {one["name"] for one in package["environmentVariables"]} == set(get_key_names())
    assert all(one["isSecret"] for one in package["environmentVariables"])
    assert [one["value"] for one in package["packageArguments"]] == list(PUBLISHED.arguments[1:])


def test_the_link_of_cursor_installs_our_entry(publishing: ModuleType) -> None:
    """Its configuration is the entry that the installer writes, with the published command."""
    link = urlsplit(publishing.build_links()["cursor"])
    query = parse_qs(link.query, strict_parsing=True)

    assert (link.scheme, link.netloc, link.path) == ("cursor", "anysphere.cursor-deeplink", "/mcp/install")
    assert query["name"] == ["flowport"]
    assert json.loads(base64.b64decode(query["config"][0], validate=True)) == build_entry(
        get_clients()["cursor"], PUBLISHED
    )


def test_the_link_of_vs_code_installs_our_entry(publishing: ModuleType) -> None:
    """It is the JSON that `code --add-mcp` takes."""
    start, _, value = publishing.build_links()["vscode"].partition("?")

    assert start == "vscode:mcp/install"
    assert json.loads(unquote(value)) == {"name": "flowport", **build_entry(get_clients()["vscode"], PUBLISHED)}
    assert re.fullmatch(r"[\w.~%-]+", value)


def test_no_page_links_to_a_package_that_is_not_published(publishing: ModuleType) -> None:
    """A button that fails is worse than none."""
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        text = path.read_text(encoding="utf-8")
        assert "mcp/install?" not in text
        assert "uvx flowport" not in text


def test_make_bundle_writes_what_the_tests_read() -> None:
    """The target runs the script."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert "bundle: dev\n\t$(BIN)/python scripts/publishing.py\n" in makefile
