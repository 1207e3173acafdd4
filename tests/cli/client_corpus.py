"""Configuration files of clients as people have them, for each format that the installer edits."""

import json
from dataclasses import dataclass
from typing import Final, Literal

BOM: Final = b"\xef\xbb\xbf"
FORMATS: Final = ("claude-desktop", "vscode", "codex")
"""A client for each format: JSON with `mcpServers`, JSON with `servers`, TOML."""

Outcome = Literal["added", "updated", "unchanged", "foreign", "refused"]


@dataclass(frozen=True, slots=True)
class Sample:
    """A file, and what `flowport install` does with it."""

    name: str
    content: bytes | None
    """None if there is no file."""
    outcome: Outcome = "added"
    is_read_only: bool = False
    is_link: bool = False


def build_samples(client: str, command: str) -> list[Sample]:
    """Return the files of a client's format; `command` starts Flowport."""
    return (
        _build_toml(command)
        if client == "codex"
        else _build_json("servers" if client == "vscode" else "mcpServers", command)
    )


def _build_json(section: str, command: str) -> list[Sample]:
    two = {
        "filesystem": {"command": "npx", "args": ["-y", "server-filesystem", "/home/me"]},
        "github": {"command": "docker", "env": {"GITHUB_TOKEN": "ghp_secret"}},
    }
    plain = json.dumps({"globalShortcut": "", section: two, "scale": 1.50}, indent=2)
    commented = f"""\
// Managed by hand. Ask before you change it: "{section}" {{ }}
{{
  /* servers
     of the team */
  "{section}": {{
    // "old": {{ "command": "x" }},
    "github": {{
      "command": "docker", // not podman
      "args": ["run", "-i"], /* "flowport": {{}} */
    }}, // last one
  }},
  "theme": "dark", // https://example.com/a?b={{c}}
}}
"""
    odd = f'{{\n"{section}":\n      {{ "a" : {{"command":"x" ,"args":[ ]}}\n   ,  "b":{{"url":"http:\\/\\/x"}}\n }}\n ,"z":1e3}}'
    ours = {"command": "/old/place/flowport", "args": [], "env": {"MAGNIFIC_API_KEY": "mk-secret"}, "disabled": True}
    return [
        Sample("missing", None),
        Sample("empty", b""),
        Sample("blank", b" \n\n"),
        Sample("empty object", b"{}"),
        Sample("other keys only", b'{\n  "preferences": {\n    "menuBarEnabled": false\n  }\n}\n'),
        Sample("empty section", f'{{\n    "{section}": {{}},\n    "x": null\n}}'.encode()),
        Sample("two servers", plain.encode()),
        Sample("comments and trailing commas", commented.encode()),
        Sample("odd indentation", odd.encode()),
        Sample("tabs", json.dumps({section: two}, indent="\t").encode()),
        Sample("CRLF", plain.replace("\n", "\r\n").encode()),
        Sample("mixed line ends", commented.replace(",\n", ",\r\n").encode()),
        Sample("BOM", BOM + plain.encode()),
        Sample("BOM alone", BOM),
        Sample("one line", json.dumps({section: two, "é": "\U0001f3a8"}, ensure_ascii=False).encode()),
        Sample("symbolic link", plain.encode(), is_link=True),
        Sample("ours, up to date", _render_current(section, command).encode(), "unchanged"),
        Sample(
            "ours, from an older installation",
            json.dumps({section: {"flowport": ours, **two}}, indent=4).encode(),
            "updated",
        ),
        Sample(
            "foreign entry",
            json.dumps({section: {"flowport": {"command": "node", "args": ["x.js"]}}}).encode(),
            "foreign",
        ),
        Sample("read-only", plain.encode(), "refused", is_read_only=True),
        Sample("broken", plain.encode()[:-20], "refused"),
        Sample("two values", plain.encode() + b"{}", "refused"),
        Sample("section twice", f'{{"{section}": {{"a": {{}}}}, "{section}": {{}}}}'.encode(), "refused"),
        Sample("section of another type", f'{{"{section}": [1]}}'.encode(), "refused"),
        Sample("UTF-16", plain.encode("utf-16"), "refused"),
        Sample("single quotes", b"{'a': 1}", "refused"),
    ]


def _render_current(section: str, command: str) -> str:
    typed = '"type": "stdio", ' if section == "servers" else ""
    return f'{{"{section}": {{ "flowport": {{ {typed}"args": ["serve"], "command": {json.dumps(command)} }} }} }}'


def _build_toml(command: str) -> list[Sample]:
    plain = """\
model = "gpt-5"

[mcp_servers.docs]
command = "npx"
args = ["-y", "docs-server"]

[mcp_servers.docs.env]
TOKEN = "secret"

[profiles.fast]
model = "mini"
"""
    commented = """\
# Managed by hand.   [mcp_servers.flowport]
model   =   "gpt-5"        # the large one
notify = [
    "python3",  # not 2
    "[mcp_servers.flowport]",
]
instructions = '''
[mcp_servers.flowport]
command = "not a table"
'''

# servers
  [ mcp_servers . "docs" ]
  command = 'C:\\npx.cmd'
  args = [ ]
  # end of servers

[[hooks]]
run = "x"
"""
    ours = f"""\
{plain}
# made by hand
[mcp_servers.flowport]
enabled = false # for now
command = "/old/place/flowport"

[mcp_servers.flowport.env]
MAGNIFIC_API_KEY = "mk-secret"

# the end
[tui]
theme = "dark"
"""
    current = f"""\
[mcp_servers.flowport]
args = ["serve"]
tool_timeout_sec = 120
command = {json.dumps(command)}
env = {{ FLOWPORT_WAIT_SECONDS = "100" }}
"""
    return [
        Sample("missing", None),
        Sample("empty", b""),
        Sample("blank", b"\n  \n"),
        Sample("comments only", b"# nothing yet"),
        Sample("other keys only", b'model = "x"\n'),
        Sample("empty section", b"[mcp_servers]\n\n[tui]\nx = 1\n"),
        Sample(
            "two servers", (plain + plain.replace("docs", "more").split("\n\n", 1)[1].split("[profiles")[0]).encode()
        ),
        Sample("comments and arrays", commented.encode()),
        Sample("odd indentation", plain.replace("\n", "\n      ").encode()),
        Sample("tabs", plain.replace(" = ", "\t=\t").replace("\n[", "\n\t[").encode()),
        Sample("CRLF", plain.replace("\n", "\r\n").encode()),
        Sample("mixed line ends", commented.replace("]\n", "]\r\n").encode()),
        Sample("BOM", BOM + plain.encode()),
        Sample("no last line end", plain.rstrip().encode()),
        Sample("servers inside their section", b"[mcp_servers]\ndocs = { command = 'npx' }\n"),
        Sample("dotted keys in the section", b"[mcp_servers]\ndocs.command = 'npx'\ndocs.args = []\n"),
        Sample("symbolic link", plain.encode(), is_link=True),
        Sample("ours, up to date", current.encode(), "unchanged"),
        Sample("ours, from an older installation", ours.encode(), "updated"),
        Sample(
            "foreign entry", (plain + "[mcp_servers.flowport]\nurl = 'http://127.0.0.1:1/mcp'\n").encode(), "foreign"
        ),
        Sample("read-only", plain.encode(), "refused", is_read_only=True),
        Sample("broken", plain.replace('"mini"', '"mini').encode(), "refused"),
        Sample("key twice", plain.encode() + b'model = "b"\n', "refused"),
        Sample("section on one line", b"mcp_servers = { docs = { command = 'npx' } }\n", "refused"),
        Sample("section of another type", b"mcp_servers = 1\n", "refused"),
        Sample("ours in another form", b"[mcp_servers]\nflowport = { command = 'flowport', args = [] }\n", "refused"),
        Sample("UTF-16", plain.encode("utf-16"), "refused"),
    ]
