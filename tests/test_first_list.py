"""Check which modules the first tool list needs, because each import delays every start."""

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
