"""Edits of TOML texts: what is around the entry's tables stays byte by byte."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowport.cli.jsonc import Unreadable, apply_edits
from flowport.cli.toml_entry import format_table, parse, put, remove

PLACE = ("mcp_servers", "flowport")
ENTRY: dict[str, Any] = {
    "command": 'C:\\a "b"\\flowport',
    "args": ["serve"],
    "tool_timeout_sec": 300,
    "env": {"A": "é"},
}


def set_entry(text: str) -> str:
    """Return the text with our entry."""
    return apply_edits(text, put(text, PLACE, ENTRY))


def test_a_table_is_written_as_people_write_it() -> None:
    """Quotes and backslashes are escaped, and a name that needs quotes gets them."""
    text = format_table(("mcp_servers", "my flows"), ENTRY)

    assert text.splitlines()[0] == '[mcp_servers."my flows"]'
    assert tomllib.loads(text) == {"mcp_servers": {"my flows": ENTRY}}


@pytest.mark.parametrize(
    ("before", "gap"),
    [("", ""), ("a = 1\n", "\n"), ("a = 1", "\n\n"), ("a = 1\r\n", "\r\n"), ("[mcp_servers.x]\ncommand = 'x'\n", "\n")],
)
def test_an_entry_is_added_at_the_end(before: str, gap: str) -> None:
    """After a blank line, with the line ends of the file."""
    newline = "\r\n" if "\r\n" in before else "\n"

    assert set_entry(before) == before + gap + format_table(PLACE, ENTRY).replace("\n", newline)


OURS = '[mcp_servers.flowport]\ncommand = "old" # mine\nargs = [\n  "serve", # last\n]\n# more\nx = 1\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (OURS, ""),
        (f"a = 1\n\n{OURS}", "a = 1\n"),
        (f"a = 1\n\n{OURS}\n# of b\n[b]\n", "a = 1\n\n# of b\n[b]\n"),
        (f"{OURS}# of b\n[b]\n", "# of b\n[b]\n"),
        (f"{OURS}\n[mcp_servers.flowport.env]\nA = '1'\n\n[b]\nc = 1\n", "\n[b]\nc = 1\n"),
        (f"{OURS}[mcp_servers . 'flowport' . \"tools\".x]\nA = '1'\n", ""),
        (f"a = '''\n{OURS}'''\n\n{OURS}", f"a = '''\n{OURS}'''\n"),
        (OURS.replace("\n", "\r\n") + "[b]\r\n", "[b]\r\n"),
        ("[mcp_servers.flowport2]\ncommand = 'x'\n", "[mcp_servers.flowport2]\ncommand = 'x'\n"),
        ("[[mcp_servers.flowport]]\ncommand = 'x'\n", "[[mcp_servers.flowport]]\ncommand = 'x'\n"),
    ],
)
def test_an_entry_is_removed_with_its_tables(before: str, after: str) -> None:
    """Comments of the next table, and tables inside texts, stay."""
    assert apply_edits(before, remove(before, PLACE)) == after
    parse(after)


def test_keys_of_an_entry_are_changed_in_its_table() -> None:
    """Comments stay; a new key goes to the end of the table, not behind the comment of the next one."""
    text = f"{OURS}# of b\n[b]\nc = '''\n[mcp_servers.flowport]\n'''\n".replace("\n", "\r\n")
    changed = apply_edits(text, put(text, (*PLACE, "command"), "new"))
    changed = apply_edits(changed, put(changed, (*PLACE, "tool_timeout_sec"), 300))

    assert changed == text.replace('"old"', '"new"').replace("x = 1\r\n", "x = 1\r\ntool_timeout_sec = 300\r\n")


@pytest.mark.parametrize(
    "text",
    ["a = ", "a = 1\na = 2\n", "[a\n", "x = '''\n", "a = 1\r b = 2", "x = " + "[" * 100_000],
)
def test_a_text_that_is_not_toml_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(Unreadable):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "[mcp_servers]\nflowport = { command = 'flowport' }\n",
        "mcp_servers.flowport.command = 'flowport'\n",
        "mcp_servers = { flowport = { command = 'flowport' } }\n",
    ],
)
def test_an_entry_in_another_form_is_not_changed(text: str) -> None:
    """Its lines cannot be separated from those of other entries."""
    with pytest.raises(Unreadable):
        put(text, (*PLACE, "command"), "new")
    assert remove(text, PLACE) == []


lines = st.sampled_from(
    [
        "",
        "# note",
        "key{0} = 1",
        "key{0} = '''\n[mcp_servers.flowport]\n# no comment\n'''",
        'key{0} = [\n  ["a"], # x\n  [\n    "b"\n  ],\n]',
        "[table{0}]",
        "[[tables]]",
        "  [mcp_servers.server{0}]\n  command = 'x' # flowport",
        "[mcp_servers.server{0}.env]",
    ]
)
texts = st.lists(lines, max_size=8).map(
    lambda parts: "".join(part.format(number) + "\n" for number, part in enumerate(parts))
)


@given(
    before=texts, after=st.lists(lines.filter(lambda line: not line.startswith("key")), max_size=4), crlf=st.booleans()
)
def test_an_entry_comes_and_goes_without_a_trace(before: str, after: list[str], crlf: bool) -> None:
    """Wherever the entry is, its removal leaves all other lines; added at the end and removed, the file is the same."""
    tail = "".join(part.format(number + 100) + "\n" for number, part in enumerate(after))
    head, middle, tail = (
        part.replace("\n", "\r\n") if crlf else part for part in (before, format_table(PLACE, ENTRY), tail)
    )

    added = set_entry(head)
    assert added.startswith(head)
    assert parse(added) == parse(head) | {"mcp_servers": parse(head).get("mcp_servers", {}) | {"flowport": ENTRY}}
    assert apply_edits(added, remove(added, PLACE)) == head

    text = head + middle + tail
    left = apply_edits(text, remove(text, PLACE))
    # A blank line before the entry may go with it.
    assert left in {head + tail, head.removesuffix("\r\n" if crlf else "\n") + tail}
