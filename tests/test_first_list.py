"""Check which modules the first tool list needs, because each import delays every start."""

import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.support.children import open_child

HEAVY: Final = {
    "PIL",
    "pillow_heif",
    "numpy",
    "psycopg",
    "procrastinate",
    "sqlalchemy",
    "hypothesis",
    "rich",
    "tomlkit",
    "rapidfuzz",
}
"""Libraries that load later: for the first picture, another store, or a terminal."""
NOT_FOR_STDIO: Final = (
    "flowport.cli.console",
    "flowport.cli.session",
    "flowport.web.transport",
    "flowport.web.gallery",
    "flowport.actions.run_history",
    "flowport.sandbox",
)
"""Modules that only HTTP, the gallery or the child process of the sandbox needs."""
BEFORE_A_SAVED_LIST: Final = {
    *("cli", "domain", "runtime", "server", "settings"),
    # The table of providers, and the reader of the listen address.
    *("providers", "web"),
}
"""Packages of which a start that answers with a saved list loads anything."""
NOT_BEFORE_A_SAVED_LIST: Final = {
    "flowport.bootstrap",
    "flowport.providers.parsing",
    "flowport.server.handlers",
    "flowport.server.results",
    "flowport.web.transport",
}


def test_the_first_list_loads_neither_picture_nor_database_toolkits(tmp_path: Path) -> None:
    """Python reports every import of a server that answered `tools/list` while its provider is down."""
    environment = {
        "MAGNIFIC_API_KEY": "mk-0123456789abcdef",
        "MAGNIFIC_BASE_URL": "http://127.0.0.1:9",
        "PYTHONPROFILEIMPORTTIME": "1",
    }
    with open_child(tmp_path / "person", environment=environment) as child:
        child.greet()
        names = {tool["name"] for tool in child.ask("tools/list")["tools"]}
    lines = (tmp_path / "person" / "stderr.txt").read_text(encoding="utf-8").splitlines()
    loaded = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}

    assert "find_apps" in names
    assert {"mcp", "flowport.server"} <= loaded
    assert {name.partition(".")[0] for name in loaded} & HEAVY == set()
    assert {name for name in loaded if name.startswith(NOT_FOR_STDIO)} == set()


def test_a_saved_list_is_answered_before_what_runs_apps_is_loaded() -> None:
    """The command loads neither the catalogue, the store, the network, the media nor the runs until the list was written."""
    code = "import sys, flowport.cli.serve; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    )
    ours = {name for name in loaded if name.startswith("flowport.")}

    assert {name.split(".")[1] for name in ours} <= BEFORE_A_SAVED_LIST
    assert ours & NOT_BEFORE_A_SAVED_LIST == set()
    assert {name.partition(".")[0] for name in loaded} & {*HEAVY, "sqlite3"} == set()
