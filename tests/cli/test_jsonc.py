"""Edits of JSON texts with comments: what is around the member stays byte by byte."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowport.cli.jsonc import Edit, Unreadable, apply_edits, parse, put, remove

PLACE = ("mcpServers", "flowport")
ENTRY: dict[str, Any] = {"command": "/opt/flowport", "args": ["serve"], "env": {"FLOWPORT_WAIT_SECONDS": "110"}}
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\r\n]*|/\*.*?\*/', re.DOTALL)


def set_entry(text: str) -> str:
    """Return the text with our entry."""
    return apply_edits(text, put(text, PLACE, ENTRY))


def find_comments(text: str) -> list[str]:
    """Return the comments of a text, in their order."""
    return [match.group() for match in TOKEN.finditer(text) if match.group().startswith("/")]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("{}", '{\n  "mcpServers": {\n    "flowport": ENTRY4\n  }\n}'),
        ("", '{\n  "mcpServers": {\n    "flowport": ENTRY4\n  }\n}\n'),
        ("\n", '\n{\n  "mcpServers": {\n    "flowport": ENTRY4\n  }\n}\n'),
        (
            '{\n  "mcpServers": {\n    "a": {} // mine\n  }\n}\n',
            '{\n  "mcpServers": {\n    "a": {}, // mine\n    "flowport": ENTRY4\n  }\n}\n',
        ),
        (
            '{\n  "mcpServers": {\n    "a": {}, // mine\n  },\n}\n',
            '{\n  "mcpServers": {\n    "a": {}, // mine\n    "flowport": ENTRY4,\n  },\n}\n',
        ),
        ('{"mcpServers": {"a": {}}}', '{"mcpServers": {"a": {}, "flowport": ENTRY}}'),
        ('{"mcpServers": {"a": {},}}', '{"mcpServers": {"a": {}, "flowport": ENTRY,}}'),
        (
            '{\n  "mcpServers": {\n    // none yet\n  }\n}',
            '{\n  "mcpServers": {\n    // none yet\n    "flowport": ENTRY4\n  }\n}',
        ),
        (
            '{\n  "theme": "dark" /* a\n  b */\n}',
            '{\n  "theme": "dark", /* a\n  b */\n}'.replace(", ", ', \n  "mcpServers": {\n    "flowport": ENTRY4\n  }'),
        ),
    ],
)
def test_an_entry_is_added_in_the_style_of_the_file(before: str, after: str) -> None:
    """Comments keep their line, trailing commas are continued, and one line stays one line."""
    rendered = {"ENTRY4": json.dumps(ENTRY, indent=2).replace("\n", "\n    "), "ENTRY": json.dumps(ENTRY)}
    expected = after.replace("ENTRY4", rendered["ENTRY4"]).replace("ENTRY", rendered["ENTRY"])

    assert set_entry(before) == expected


@pytest.mark.parametrize("unit", ["\t", "   ", "        "])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_indentation_and_line_ends_are_those_of_the_file(unit: str, newline: str) -> None:
    """What is added looks as if the file's own editor had written it."""
    value = {"theme": "dark", "mcpServers": {"other": {"command": "x"}}}
    text = json.dumps(value, indent=unit).replace("\n", newline)

    value["mcpServers"] = {"other": {"command": "x"}, "flowport": ENTRY}
    assert set_entry(text) == json.dumps(value, indent=unit).replace("\n", newline)


def test_a_member_of_an_entry_is_replaced_alone() -> None:
    """A comment inside the entry stays too."""
    text = '{"mcpServers": {"flowport": {"command": "old", /* mine */ "env": {"A": "1"}}}}'

    changed = apply_edits(text, put(text, (*PLACE, "command"), "new"))
    assert changed == text.replace("old", "new")
    assert apply_edits(text, put(text, (*PLACE, "timeout"), 5)) == text.replace('"1"}', '"1"}, "timeout": 5')


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"mcpServers": {"flowport": {}}}', '{"mcpServers": {}}'),
        ('{"mcpServers": {"a": {}, "flowport": {}}}', '{"mcpServers": {"a": {}}}'),
        ('{"mcpServers": {"flowport": {}, "a": {}}}', '{"mcpServers": { "a": {}}}'),
        ('{"mcpServers": {\n  "a": {}, // x\n  "flowport": {}\n}}', '{"mcpServers": {\n  "a": {} // x\n}}'),
        (
            '{"mcpServers": {\n  "a": {}, // x\n  "flowport": {}, // y\n}}',
            '{"mcpServers": {\n  "a": {}, // x\n   // y\n}}',
        ),
        ('{"mcpServers": {\n  // x\n  "flowport": {}, "a": {}\n}}', '{"mcpServers": {\n  // x\n   "a": {}\n}}'),
        ('{"mcpServers": {\n  // x\n  "flowport": {}}}', '{"mcpServers": {\n  // x\n  }}'),
        ('{"mcpServers": {\n  "flowport": {} /* x */,\n  "a": {}\n}}', '{"mcpServers": {\n   /* x */\n  "a": {}\n}}'),
        ('{"mcpServers": {\r\n  "a": {},\r\n  "flowport": {}\r\n}}', '{"mcpServers": {\r\n  "a": {}\r\n}}'),
        ('{"mcpServers": {"a": {}}}', '{"mcpServers": {"a": {}}}'),
    ],
)
def test_an_entry_is_removed_with_its_comma_alone(before: str, after: str) -> None:
    """Comments stay, and never swallow what follows them."""
    assert apply_edits(before, remove(before, PLACE)) == after
    parse(after)


@pytest.mark.parametrize(
    "text",
    [
        "{,}",
        '{"a": 1,,}',
        '{"a": , "b": 1}',
        '{"a": 1 "b": 2}',
        "{'a': 1}",
        "{a: 1}",
        '{"a": NaN}',
        '{"a": 01}',
        '{"a": "\n"}',
        '{"a": "\\x"}',
        "{} // x\n{}",
        "// only a comment",
        "/* open",
        '{"a": 1',
        "[]",
        '"text"',
        "[" * 100_000,
        '{"mcpServers": []}',
        '{"mcpServers": null}',
        '{"mcpServers": {}, "mcpServers": {}}',
        '{"mcpServers": {"flowport": {}, "flowport": {}}}',
        "{}\u00a0",
    ],
)
def test_a_text_that_is_not_certain_is_refused(text: str) -> None:
    """Programs that repair such a text would each read it in another way."""
    with pytest.raises(Unreadable):
        put(text, PLACE, ENTRY)


def test_a_refusal_names_the_place() -> None:
    """The line is the one that an editor shows, comments before it included."""
    with pytest.raises(Unreadable, match="line 4, column 3"):
        parse('{\n  /* two\n  lines */ "a": 1\n  "b": 2\n}')


trivia = st.lists(
    st.sampled_from([" ", "\n", "\t", "    ", "\r\n", "/* c */", '/* } , " \n */', "// line { ,\n", '// "x": 1,\r\n']),
    max_size=3,
).map("".join)
keys = st.sampled_from(["a", "b", "flow", "flowport2", "//", "/*", 'q"', "é", "{", ",", ""])
scalars = st.sampled_from(
    ["1", "-0.5e3", "true", "null", '"text"', '"// no comment"', '"/* nor this */"', '"},"', '"\\""']
)


@st.composite
def arrays(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    """Draw an array with comments, perhaps with a trailing comma."""
    items = [draw(trivia) + one + draw(trivia) for one in draw(st.lists(values, max_size=3))]
    last = draw(st.sampled_from(["", ","])) if items else ""
    return f"[{','.join(items)}{last}{draw(trivia)}]"


@st.composite
def objects(draw: st.DrawFn, values: st.SearchStrategy[str], named: dict[str, st.SearchStrategy[str]]) -> str:
    """Draw an object with comments, perhaps with a trailing comma, that has the named members in some order."""
    names = draw(st.permutations([*draw(st.lists(keys, max_size=3, unique=True)), *named]))
    parts = []
    for name in names:
        value = draw(named.get(name, values))
        parts.append(draw(trivia) + json.dumps(name) + draw(trivia) + ":" + draw(trivia) + value + draw(trivia))
    last = draw(st.sampled_from(["", ","])) if parts else ""
    return f"{{{','.join(parts)}{last}{draw(trivia)}}}"


values = st.recursive(scalars, lambda inner: arrays(inner) | objects(inner, {}), max_leaves=5)
ours = st.just(json.dumps(ENTRY)) | st.just(json.dumps(ENTRY, indent=3))
without_section = objects(values, {})
without_entry = objects(values, {"mcpServers": objects(values, {})})
with_entry = objects(values, {"mcpServers": objects(values, {"flowport": ours})})


@given(text=st.tuples(trivia, without_section | without_entry, trivia).map("".join))
def test_adding_an_entry_only_inserts(text: str) -> None:
    """Every byte stays, in its order; the entry is there, and nothing else changes its value."""
    before = parse(text)
    edits = put(text, PLACE, ENTRY)
    after = apply_edits(text, edits)

    assert all(edit.start == edit.end for edit in edits)
    assert parse(after) == before | {"mcpServers": before.get("mcpServers", {}) | {"flowport": ENTRY}}
    assert find_comments(after) == find_comments(text)
    assert put(after, PLACE, ENTRY) != []


@given(text=st.tuples(trivia, with_entry, trivia).map("".join))
def test_removing_an_entry_leaves_the_rest(text: str) -> None:
    """Besides the entry at most white space and one comma go; each comment stays, and no value changes."""
    before = parse(text)
    edits = remove(text, PLACE)
    after = apply_edits(text, edits)
    removed = "".join(text[edit.start : edit.end] for edit in sorted(edits))

    expected = before | {"mcpServers": {key: one for key, one in before["mcpServers"].items() if key != "flowport"}}
    assert parse(after) == expected
    start = text.index('"flowport"')
    inside = Edit(start, text.index('"FLOWPORT_WAIT_SECONDS"'), "")
    comments = find_comments(text[inside.start : inside.end])
    assert sorted(find_comments(after) + comments) == sorted(find_comments(text))
    outside = removed.replace(removed[removed.index('"flowport"') : removed.rindex("}") + 1], "")
    assert re.sub(r"\s", "", outside) in {"", ","}


@given(text=st.tuples(trivia, without_entry, trivia).map("".join))
def test_adding_and_removing_gives_the_same_value(text: str) -> None:
    """All that may differ is white space of an empty section."""
    after = set_entry(text)
    back = apply_edits(after, remove(after, PLACE))

    assert parse(back) == parse(text)
    assert find_comments(back) == find_comments(text)
    assert re.sub(r"\s", "", back) == re.sub(r"\s", "", text)


@given(text=with_entry, value=st.sampled_from(["new", ["a", "b"], {"x": 1}]))
def test_replacing_a_value_changes_its_span_alone(text: str, value: Any) -> None:
    """The bytes before and after the value are the same."""
    (edit,) = put(text, (*PLACE, "command"), value)

    assert text[edit.start : edit.end] == '"/opt/flowport"'
    assert parse(apply_edits(text, [edit]))["mcpServers"]["flowport"] == ENTRY | {"command": value}
