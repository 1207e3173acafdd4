"""Third-party clients convert every tool, and accept the answers of calls.

The converters have an environment of their own, locked in `converters/requirements.lock`, which is created once in
`.converters` and again when the lock changes.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from flowport.catalog.names import build_property_names
from flowport.catalog.schema import build_tool
from flowport.domain.models import App, InputKind
from tests.support.app_builders import build_app, build_input, build_select
from tests.support.definitions import INVENTORIES, Definition
from tests.test_laws import Assigned, Tally, build_tools, name_all, read_inventory
from tests.verify.clones import build_environment
from tests.verify.converters.environment import provide_python

CONVERTERS = Path(__file__).parent / "converters"
GENERATED = 300
CONVERT_SECONDS = 300


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of the converters' environment."""
    return provide_python(tmp_path_factory)


def generate_tools() -> list[dict[str, Any]]:
    """Return the tools of random and hostile definitions, the same ones each time."""
    tools: list[dict[str, Any]] = []
    batch_progress = Tally()

    @given(inventory=INVENTORIES)
    @settings(
        max_examples=GENERATED,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    def gather(inventory: Sequence[Definition]) -> None:
        """Add the tools of one inventory until there are enough."""
        if len(tools) < GENERATED:
            named = name_all(Assigned(), read_inventory(inventory, batch_progress))
            tools.extend(dict(tool) for tool in build_tools(named, batch_progress, is_sandbox=False).values())

    gather()
    return tools[:GENERATED]


def build_odd_tools() -> list[dict[str, Any]]:
    """Return tools that converters have refused: each comes from a bug report."""
    selects = (
        build_select(2, 3, 5, default=3),
        build_select(*[True, False], labels=("On", "Off")),
        build_select(*[True, False], "auto", run_key="mixed"),
        build_select("", " ", "none", labels=("", "", "None")),
        build_select(":a", "b", labels=("Colon", "")),
        build_select(*range(300)),
        build_select("a", is_list=True),
    )
    apps = {
        "nothing": build_app(),
        "any": build_app(build_input(InputKind.ANY, default={"a": 1})),
        "lists": build_app(*(build_input(kind, kind.value, is_list=True, max_items=3) for kind in InputKind)),
        "kinds": build_app(*(build_input(kind, kind.value, label=": Label", is_required=True) for kind in InputKind)),
        **{f"select_{n}": build_app(item) for n, item in enumerate(selects)},
    }
    return [_build(name, app) for name, app in apps.items()]


def _build(name: str, app: App) -> dict[str, Any]:
    names = build_property_names(app.inputs or ())
    return build_tool(app, tool_name=name, property_names=names, provider_title="Magnific")


@pytest.fixture(scope="module")
def found(python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what the converters refuse of the listed and the generated tools, and the results of calls."""
    folder = tmp_path_factory.mktemp("converters")
    generated = folder / "tools.json"
    generated.write_text(json.dumps([*generate_tools(), *build_odd_tools()]), encoding="utf-8")
    env = build_environment(
        folder / "home",
        FLOWPORT_HOME=str(folder / "flowport"),
        FLOWPORT_OUTPUT_DIR=str(folder / "outputs"),
        OPENAI_AGENTS_DISABLE_TRACING="1",
    )
    command = [str(python), str(CONVERTERS / "convert.py"), str(generated), sys.executable, "-m", "flowport", "serve"]
    done = subprocess.run(
        command, env=env, cwd=folder, check=False, capture_output=True, text=True, timeout=CONVERT_SECONDS
    )
    assert done.returncode == 0, done.stderr[-4000:]
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def test_no_converter_refuses_a_tool(found: dict[str, Any], request: pytest.FixtureRequest) -> None:
    """A refused tool is missing in that client, or breaks its whole list."""
    lines = ["", f"{'converter':<24}{'listed':>8}{'refused':>9}{'generated':>11}{'refused':>9}"]
    for name, refused in found["listed"]["refused"].items():
        row = (found["listed"]["tools"], len(refused), found["generated"]["tools"])
        lines.append("{:<24}{:>8}{:>9}{:>11}{:>9}".format(name, *row, len(found["generated"]["refused"][name])))
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n".join(lines))  # noqa: T201 - the table is part of the report

    refused = {
        kind: {name: one for name, one in found[kind]["refused"].items() if one} for kind in ("listed", "generated")
    }
    assert refused == {"listed": {}, "generated": {}}
    # The seven built-in tools and the sandbox's apps; the requested number of definitions.
    assert found["listed"]["tools"] >= 17
    assert found["generated"]["tools"] >= GENERATED
    assert len(found["listed"]["refused"]) == 6


def test_every_client_accepts_the_answer_of_a_call_without_links(found: dict[str, Any]) -> None:
    """The run is paid for by then."""
    clients = ("anthropic", "langchain-mcp-adapters", "openai-agents", "pydantic-ai", "google-genai")
    assert found["calls"]["text"] == dict.fromkeys(clients, "")


def test_the_clients_that_the_readme_names_still_need_it(found: dict[str, Any]) -> None:
    """When one no longer does, the README must say so."""
    assert "resource_link" in found["calls"]["resource"]["anthropic"]
    assert "links" in found["calls"]["resource"]["langchain-mcp-adapters"]
