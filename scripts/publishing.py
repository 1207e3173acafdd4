"""Build what clients install from: the MCP bundle, the registry's `server.json` and the install links.

`python scripts/publishing.py` writes the bundle and the links to `dist/`. `write_docs.py` writes `server.json`.
"""

import base64
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import tomlkit

from flowport import __version__
from flowport.cli.clients import SERVER_NAME, Launch, build_entry, get_clients

ROOT: Final = Path(__file__).resolve().parent.parent
DIST: Final = ROOT / "dist"
REGISTRY_NAME: Final = "io.github.flowport/flowport"
"""The name in the MCP registry; its first part must be the account that publishes it."""
PUBLISHED: Final = Launch("uvx", ("flowport", "serve"))
"""How a client starts the package once it is published."""
EARLIEST: Final = (1980, 1, 1, 0, 0, 0)
FILE_MODE: Final = 0o100644
ENTRY_POINT: Final = "server/main.py"
_MAIN: Final = '''"""Start Flowport."""

import sys

from flowport.cli.main import main

sys.exit(main(["serve"]))
'''
_KEYS: Final = {
    "MAGNIFIC_API_KEY": ("Magnific API key", "From Magnific's developer dashboard. Without any key the demo apps run."),
    "MAGICA_API_KEY": ("Magica API key", "Adds the workflows of Magica."),
}


def build_manifest() -> dict[str, Any]:
    """Return the manifest of the bundle. Its host runs it with uv, which fetches the locked dependencies at first."""
    project = load_project()["project"]
    options = {
        name.lower(): {
            "type": "string",
            "title": title,
            "description": description,
            "sensitive": True,
            "required": False,
            # Without a default the host would pass the placeholder itself.
            "default": "",
        }
        for name, (title, description) in _KEYS.items()
    }
    return {
        "manifest_version": "0.4",
        "name": SERVER_NAME,
        "display_name": "Flowport",
        "version": __version__,
        "description": project["description"],
        "author": {"name": project["authors"][0]["name"]},
        "license": project["license"],
        "keywords": project["keywords"],
        "server": {
            "type": "uv",
            "entry_point": ENTRY_POINT,
            "mcp_config": {
                "command": "uv",
                "args": ["run", "--quiet", "--directory", "${__dirname}", ENTRY_POINT],
                "env": {name: f"${{user_config.{name.lower()}}}" for name in _KEYS},
            },
        },
        "tools_generated": True,
        "compatibility": {
            "platforms": ["darwin", "win32", "linux"],
            "runtimes": {"python": project["requires-python"]},
        },
        "user_config": options,
    }


def build_project() -> str:
    """Return the bundle's pyproject.toml: the project's own, with every dependency held at its locked version."""
    full, locked = load_project(), list_locked()
    kept = {name: full[name] for name in ("build-system", "project")}
    kept["tool"] = {
        "hatch": full["tool"]["hatch"],
        "uv": {"constraint-dependencies": locked, "build-constraint-dependencies": locked},
    }
    return tomlkit.dumps(kept)


def list_locked() -> list[str]:
    """Return the locked versions with their markers, as requirements."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    # A constraint has no extras.
    kept = (line.removesuffix("\\").strip() for line in lines if line and not line.startswith((" ", "#")))
    return [re.sub(r"\[.*?\]", "", line) for line in kept]


def load_project() -> dict[str, Any]:
    """Return pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def build_files() -> Mapping[str, bytes]:
    """Return the files of the bundle by their path."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "src", "LICENSE", "README.md"],  # noqa: S607 - git is found by its name everywhere
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    tracked = {name: (ROOT / name).read_bytes() for name in listed.stdout.split("\0") if name}
    manifest = json.dumps(build_manifest(), indent=2, ensure_ascii=False) + "\n"
    made = {"manifest.json": manifest, "pyproject.toml": build_project(), ENTRY_POINT: _MAIN}
    return {**{name: text.encode() for name, text in made.items()}, **tracked}


def write_bundle(path: Path) -> None:
    """Write the bundle. Its bytes depend on the files alone: no time, no order, no version of a compressor."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(build_files().items()):
            entry = zipfile.ZipInfo(name, EARLIEST)
            entry.create_system = 3
            entry.external_attr = FILE_MODE << 16
            archive.writestr(entry, data)


def build_server_json() -> str:
    """Return the description of the published package for the MCP registry."""
    variables = [
        {"name": name, "description": description, "isRequired": False, "isSecret": True, "format": "string"}
        for name, (_, description) in _KEYS.items()
    ]
    server = {
        "$schema": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
        "name": REGISTRY_NAME,
        "title": "Flowport",
        "description": load_project()["project"]["description"],
        "version": __version__,
        "packages": [
            {
                "registryType": "pypi",
                "identifier": "flowport",
                "version": __version__,
                "runtimeHint": PUBLISHED.command,
                "transport": {"type": "stdio"},
                "packageArguments": [{"type": "positional", "value": "serve"}],
                "environmentVariables": variables,
            }
        ],
    }
    return json.dumps(server, indent=2, ensure_ascii=False) + "\n"


def build_links() -> Mapping[str, str]:
    """Return the link of each client that installs the published package by a click."""
    cursor = json.dumps(build_entry(get_clients()["cursor"], PUBLISHED), separators=(",", ":"))
    code = json.dumps({"name": SERVER_NAME, **build_entry(get_clients()["vscode"], PUBLISHED)}, separators=(",", ":"))
    encoded = quote(base64.b64encode(cursor.encode()).decode(), safe="")
    return {
        "cursor": f"cursor://anysphere.cursor-deeplink/mcp/install?name={SERVER_NAME}&config={encoded}",
        "vscode": f"vscode:mcp/install?{quote(code, safe='')}",
    }


def main() -> int:
    """Write the bundle and the links."""
    DIST.mkdir(exist_ok=True)
    bundle = DIST / f"flowport-{__version__}.mcpb"
    write_bundle(bundle)
    print(bundle.relative_to(ROOT))
    links = DIST / "install-links.txt"
    links.write_text("".join(f"{link}\n" for link in build_links().values()), encoding="utf-8")
    print(links.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
