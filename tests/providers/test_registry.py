"""Providers are found by entry points, and a plug-in that is broken stops no other."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from flowport.domain.errors import ConfigurationError
from flowport.providers.registry import GROUP, ProviderSettings, get_key_advice, get_plugin, get_plugins

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"

LIST = "from flowport.providers.registry import get_plugins; print(*(one.name for one in get_plugins()))"
TABLE = "from flowport.settings.variables import get_variables; print(*(one.name for one in get_variables()))"

GOOD = """
from flowport.providers.registry import ProviderPlugin
from flowport.settings.values import Variable, parse_base_url

PLUGIN = ProviderPlugin(
    "comfy", "Comfy", (Variable("COMFY_BASE_URL", "Where it is.", "none", parse_base_url),), build=lambda settings: None
)
"""


def install(folder: Path, name: str, source: str) -> None:
    """Put a package with an entry point into a folder, as an installer does."""
    (folder / f"{name}_plugin.py").write_text(source)
    record = folder / f"{name}_plugin-1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1.0\n")
    (record / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {name}_plugin:PLUGIN\n")


def run(code: str, folder: Path, *options: str) -> tuple[list[str], str]:
    """Run a line of Python with a folder on its path, and return the words that it prints and its errors."""
    command = [sys.executable, *options, "-c", f"import sys; sys.path[:0] = [{str(folder)!r}, {str(SOURCE)!r}]; {code}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.split(), done.stderr


def test_the_built_in_providers_are_declared_as_entry_points_too() -> None:
    """An author of a plug-in copies what is there, and a tool that lists entry points lists them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    points = project["entry-points"][GROUP]

    assert points == {plugin.name: f"{GROUP}.{plugin.name}:PLUGIN" for plugin in get_plugins()}


def test_a_plug_in_of_another_package_is_found_and_adds_its_settings(tmp_path: Path) -> None:
    """Nothing in Flowport names it."""
    install(tmp_path, "comfy", GOOD)

    assert run(LIST, tmp_path)[0] == ["magnific", "magica", "comfy"]
    assert "COMFY_BASE_URL" in run(TABLE, tmp_path)[0]


def test_the_built_in_providers_are_found_in_a_source_tree(tmp_path: Path) -> None:
    """Without site-packages there is no metadata of Flowport, as in a checkout that was never installed."""
    found = [path for path in sys.path if path.endswith("site-packages")]
    code = f"sys.path += {found!r}; import importlib.metadata as m; m.entry_points = lambda **_: (); {LIST}"

    assert run(code, tmp_path, "-S")[0] == ["magnific", "magica"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise RuntimeError('broken')", "RuntimeError: broken"),
        ("import module_that_is_missing", "No module named"),
        ("PLUGIN = 5", "it is not a ProviderPlugin"),
        ("", "has no attribute 'PLUGIN'"),
        (GOOD.replace('"COMFY_BASE_URL"', '"FLOWPORT_HOME"'), "its settings do not all begin with COMFY_"),
        (GOOD.replace('"comfy"', '"flowport"').replace("COMFY_", "FLOWPORT_"), "is not a usable name"),
        (GOOD.replace('"comfy"', '"Comfy UI"'), "is not a usable name"),
        (GOOD.replace('"comfy"', '"magnific"').replace("COMFY_", "MAGNIFIC_"), "another provider has the settings"),
    ],
)
def test_a_broken_plug_in_is_reported_and_skipped(tmp_path: Path, source: str, reason: str) -> None:
    """The providers that a person pays for keep working, and no plug-in takes their place."""
    install(tmp_path, "comfy", source)
    names, errors = run(LIST, tmp_path)

    assert names == ["magnific", "magica"]
    assert "the provider plug-in comfy (comfy_plugin:PLUGIN) is skipped" in errors
    assert reason in errors


@pytest.mark.parametrize("plugin", get_plugins(), ids=lambda plugin: plugin.name)
def test_each_provider_answers_to_its_own_name(plugin: object) -> None:
    """The settings, the store and the names all refer to a provider by it."""
    name = getattr(plugin, "name", "")
    built = get_plugin(name).build(ProviderSettings(name, "http://127.0.0.1:9", "key"))

    assert (built.name, built.title) == (name, get_plugin(name).title)


def test_a_provider_that_is_not_installed_is_named() -> None:
    """A plug-in may be removed while its settings stay."""
    with pytest.raises(ConfigurationError, match="nothing is not the name of an installed provider"):
        get_plugin("nothing")


def test_the_advice_for_a_person_without_a_key_names_every_provider() -> None:
    """It is made from the registry, so that a new provider is in it."""
    assert get_key_advice() == (
        "store a key with `flowport auth`, or set MAGNIFIC_API_KEY (from https://www.magnific.com/developers/dashboard) or MAGICA_API_KEY (from the API keys "
        "page of your account at https://magica.com)"
    )


def test_no_provider_is_named_outside_its_package() -> None:
    """A third provider is added without a change anywhere else."""
    names = re.compile("|".join(plugin.name for plugin in get_plugins()), re.IGNORECASE)
    own = [SOURCE / "flowport" / "providers" / plugin.name for plugin in get_plugins()]
    found = []
    for path in sorted((SOURCE / "flowport").rglob("*.py")):
        if SOURCE / "flowport" / "sandbox" in path.parents or path.name == "sandbox.py" or set(own) & set(path.parents):
            continue
        found += [
            f"{path.relative_to(SOURCE)}: {match[0]}" for match in names.finditer(path.read_text(encoding="utf-8"))
        ]

    assert found == []
