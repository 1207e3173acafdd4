"""Examples of the errors about clients' configuration files, made by planning on real files."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from example_records import Example, catch

from flowport.cli.client_files import carry_out, choose_path, plan_install
from flowport.cli.clients import Client, Launch, build_entry, get_clients

_FILES: Final = (
    ("codex", "a `config.toml` in which `model` has no value", b"model =\n"),
    (
        "codex",
        "a `config.toml` with `mcp_servers = {docs = {command = 'npx'}}`",
        b"mcp_servers = {docs = {command = 'x'}}",
    ),
    (
        "codex",
        "a `config.toml` whose entry is `mcp_servers.flowport.args = []`",
        b"mcp_servers.flowport.command = 'flowport'",
    ),
    ("cursor", "an `mcp.json` that ends too soon", b'{\n  "mcpServers": {\n'),
    ("cursor", "an `mcp.json` with `[]`", b"[]"),
    ("cursor", "an `mcp.json` with a value of NaN", b'{"x": NaN}'),
    ("cursor", "an `mcp.json` of thousands of levels", b'{"x":' * 20_000),
    ("cursor", "an `mcp.json` in UTF-16", "{}".encode("utf-16")),
    ("cursor", '`"mcpServers": []`', b'{"mcpServers": []}'),
    ("cursor", "`mcpServers` twice", b'{"mcpServers": {}, "mcpServers": {}}'),
    (
        "cursor",
        "an entry of the same name that starts another program",
        b'{"mcpServers": {"flowport": {"command": "x"}}}',
    ),
)


def iterate_client_files(folder: Path) -> Iterator[Example]:
    """Yield an example of each reason for which a file stays as it is."""
    for name, given, content in _FILES:
        path = folder / ("config.toml" if name == "codex" else "mcp.json")
        path.write_bytes(content)
        yield catch(given, partial(_plan, get_clients()[name], path), folder)
    path.chmod(0o400)
    yield catch("a file that is read-only", partial(_plan, get_clients()["cursor"], path), folder)
    path.chmod(0o600)
    path.write_bytes(b"{}")
    plan = plan_install(
        get_clients()["cursor"], path, "flowport", build_entry(get_clients()["cursor"], Launch("flowport"))
    )
    path.write_bytes(b"{ }")
    yield catch("a file that its client writes at the same time", partial(carry_out, plan), folder)
    path.unlink()
    path.mkdir()
    yield catch("a folder in the place of the file", partial(_plan, get_clients()["cursor"], path), folder)
    path.rmdir()
    path.symlink_to(path)
    yield catch("a link that leads to itself", partial(_plan, get_clients()["cursor"], path), folder)
    path.unlink()
    for number in (1, 2):
        (folder / f"Claude_{number}" / "Claude").mkdir(parents=True)
    places = [folder / "Claude_*" / "Claude" / "claude_desktop_config.json"]
    yield catch(
        "a container's user without a home folder", partial(choose_path, [Path("~user-without-home/.cursor/mcp.json")])
    )
    yield catch("two installations of Claude Desktop", partial(choose_path, places), folder)


def _plan(client: Client, path: Path) -> None:
    plan_install(client, path, "flowport", build_entry(client, Launch("/usr/bin/flowport")))
