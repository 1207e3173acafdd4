"""Tables as people and spreadsheets write them, hostile ones included."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowport.domain.errors import ArgumentsInvalid
from flowport.domain.models import JsonValue
from flowport.runs.batch.csv_tables import (
    MAX_COLUMNS,
    format_exact,
    format_table,
    neutralise,
    parse_exact,
    parse_table,
    restore_cell,
)

# The content of a cell: any text except NUL, which would indicate another encoding.
CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
NAMES = st.lists(
    st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=10),
    min_size=1,
    max_size=6,
    unique=True,
)


@st.composite
def draw_tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    """Draw the names of columns and rows of cells, none of which is blank as a whole."""
    names = draw(NAMES)
    rows = draw(st.lists(st.lists(CELLS, min_size=len(names), max_size=len(names)), max_size=8))
    return names, [row for row in rows if any(map(str.strip, row))]


@given(
    table=draw_tables(), delimiter=st.sampled_from(",;\t"), end=st.sampled_from(["\n", "\r\n"]), is_marked=st.booleans()
)
def test_any_table_is_read_as_written(
    table: tuple[list[str], list[list[str]]], delimiter: str, end: str, is_marked: bool
) -> None:
    """For any cell content: quotes, line breaks, formulas, other delimiters, letters of any script."""
    names, rows = table
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([names, *rows])
    # Without a delimiter in the header it cannot be detected; then there is one column, and none is needed.
    data = text.getvalue().encode("utf-8-sig" if is_marked else "utf-8")
    found = parse_table(data, argument="csv")
    assert found.columns == tuple(names)
    assert [row.cells for row in found.rows] == [
        {name: cell for name, cell in zip(names, row, strict=True) if cell.strip()} for row in rows
    ]


@given(table=draw_tables())
def test_a_written_table_is_read_back_except_for_formulas(table: tuple[list[str], list[list[str]]]) -> None:
    """The saved table of a batch can be the rows of the next one."""
    names, rows = table
    found = parse_table(format_table(names, rows), argument="csv")
    assert [row.cells for row in found.rows] == [
        {name: neutralise(cell) for name, cell in zip(names, row, strict=True) if neutralise(cell).strip()}
        for row in rows
    ]


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t'=1"),
        ("\r=1", "'\r'=1"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("\uff0b\uff11", "'\uff0b\uff11"),
        ("a;\uff20x", "a;'\uff20x"),
        ('a;=HYPERLINK("http://x","y");b', """a;'=HYPERLINK("http://x","y");b"""),
        ("a\n@SUM(A1)", "a\n'@SUM(A1)"),
        ("a; b = c", "a; b = c"),
        ("-0.5", "-0.5"),
        ("+3", "+3"),
        ("a=1", "a=1"),
        ("", ""),
    ],
)
def test_no_cell_begins_like_a_formula(cell: str, written: str) -> None:
    """A prompt is untrusted text, and a spreadsheet would execute it."""
    assert neutralise(cell) == written
    assert next(csv.reader(io.StringIO(format_table(["x"], [[cell]]).decode("utf-8-sig"), newline=""))) == ["x"]


@pytest.mark.parametrize(
    ("text", "columns", "rows"),
    [
        ("a;b\n1,5;2\n", ("a", "b"), [{"a": "1,5", "b": "2"}]),
        ('"a,x";b\n1;2\n', ("a,x", "b"), [{"a,x": "1", "b": "2"}]),
        ("sep=;\r\na;b\r\n1;2\r\n", ("a", "b"), [{"a": "1", "b": "2"}]),
        ("SEP=|\na|b\n1|2\n", ("a", "b"), [{"a": "1", "b": "2"}]),
        ("\n\na,b,,\n1,2,,\n , ,\n,3\n", ("a", "b"), [{"a": "1", "b": "2"}, {"b": "3"}]),
        ("a\n1\n2", ("a",), [{"a": "1"}, {"a": "2"}]),
        ("a,b\n1\n", ("a", "b"), [{"a": "1"}]),
        (" a , b \n 1 ,2\n", ("a", "b"), [{"a": " 1 ", "b": "2"}]),
    ],
)
def test_variants_of_spreadsheets_are_read(text: str, columns: tuple[str, ...], rows: list[dict[str, str]]) -> None:
    """Semicolons where the comma is decimal, a line that names the separator, empty rows and columns at the end."""
    table = parse_table(text.encode(), argument="csv")
    assert (table.columns, [row.cells for row in table.rows]) == (columns, rows)


@pytest.mark.parametrize(
    ("text", "columns", "rows"),
    [
        ('strength, motif\n0.4, "cup red"\n', ("strength", "motif"), [{"strength": "0.4", "motif": "cup red"}]),
        ('a,b\r\n  "x, y"   ,\t"z"\r\n', ("a", "b"), [{"a": "x, y", "b": "z"}]),
        ('a; b\n1;  "x; ""y"""  \n', ("a", "b"), [{"a": "1", "b": 'x; "y"'}]),
        ('a\tb\n1\t "x\ty" \n', ("a", "b"), [{"a": "1", "b": "x\ty"}]),
        ('sep=|\na|b\n1| "x|y"\n', ("a", "b"), [{"a": "1", "b": "x|y"}]),
        ('a, "b, or c"\n1, "two\nlines"\n', ("a", "b, or c"), [{"a": "1", "b, or c": "two\nlines"}]),
        ('"a" ;"b;c,d,e" ; "f"\n1;2;3\n', ("a", "b;c,d,e", "f"), [{"a": "1", "b;c,d,e": "2", "f": "3"}]),
        ('a,b\n1,\u00a0"x"\n', ("a", "b"), [{"a": "1", "b": "x"}]),
        ('a,b\n1,"  x "\n', ("a", "b"), [{"a": "1", "b": "  x "}]),
        ("a,b\n0.4,  cup\n", ("a", "b"), [{"a": "0.4", "b": "  cup"}]),
        ('a,b\n0.4, a 5" cup\n', ("a", "b"), [{"a": "0.4", "b": ' a 5" cup'}]),
        ('a 5",b\n1,the "red" cup\n', ('a 5"', "b"), [{'a 5"': "1", "b": 'the "red" cup'}]),
    ],
)
def test_spaces_around_quotes_are_not_part_of_a_cell(
    text: str, columns: tuple[str, ...], rows: list[dict[str, str]]
) -> None:
    """People put a space after each comma (python/cpython#117286); unquoted spaces and inner quotes are data."""
    table = parse_table(text.encode(), argument="csv")
    assert (table.columns, [row.cells for row in table.rows]) == (columns, rows)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("# spring\n#\na,b\n1,2\n", ("a", "b")),
        ("# spring\na;b\n1;2\n", ("a", "b")),
        ("#a,b\n1,2\n", ("#a", "b")),
    ],
)
def test_comments_before_the_header_are_ignored(text: str, columns: tuple[str, ...]) -> None:
    """A header may begin with the same mark."""
    table = parse_table(text.encode(), argument="csv")
    assert (table.columns, [list(row.cells.values()) for row in table.rows]) == (columns, [["1", "2"]])


def test_a_title_before_the_header_is_reported() -> None:
    """Advice on commas and quotes would not help."""
    with pytest.raises(ArgumentsInvalid) as caught:
        parse_table(b"Spring campaign\nmotif,strength\ncup,0.4\n", argument="csv")
    assert 'csv has the first row "Spring campaign" and 2 cells in each other row.' in str(caught.value)
    assert "take out a title" in str(caught.value)


@pytest.mark.parametrize("cell", ["=1+1", "-2+3", "a;=b", "a\n@SUM(A1)", "plain", "it's", "-0.5", "'quoted'"])
def test_an_escaped_formula_is_read_back(cell: str) -> None:
    """A saved table may be the rows of the next batch."""
    assert restore_cell(neutralise(cell)) == cell


def test_a_row_has_its_line_number() -> None:
    """Users look for the fault in that line."""
    table = parse_table(b'sep=,\r\na,b\r\n1,"x\r\ny"\r\n\r\n2,3\r\n', argument="csv")
    assert [row.line for row in table.rows] == [4, 6]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "csv names a file without a first row of names."),
        (b"\n;;\n", "csv names a file without a first row of names."),
        ("a,b\n1,2".encode("utf-16"), "csv names a file that is not UTF-8 text."),
        (b"a,b\n\x001,2", "csv names a file that is not UTF-8 text."),
        ("a\nb\ncafé".encode("latin-1"), "csv names a file that is not in UTF-8 from line 3 on."),
        (b"a,,b\n1,2,3\n", "csv has no name for column 2."),
        (b"a,a\n1,2\n", 'csv has two columns "a".'),
        (b'a,b\n1,"2\n3,4\n', "csv cannot be read as a table: line 2 has a quote that does not end."),
        (b'a,b\n1,2\n3,"4\n' + b"5,6\n" * 900, "csv cannot be read as a table: line 3 has a quote that does not end."),
        (b'a,b\r\n1,2\r\n3,"4\r\n' + b"5,6\r\n" * 900, "table: line 3 has a quote that does not end."),
        (b'sep=;\na;b\n1;2\n3;"4\n5;6\n', "table: line 4 has a quote that does not end."),
        (b'a,b\n"1\n2",x\n3,"4\n5,6\n', "table: line 4 has a quote that does not end."),
        (b'a,b\n"1\n2","4\n5,6\n', "table: line 3 has a quote that does not end."),
        (b'"a,b\n1,2\n', "table: line 1 has a quote that does not end."),
        (b'a,b\n1,"2""\n3,4\n', "table: line 2 has a quote that does not end."),
        (b'a,b\n"1"x,2\n', "csv cannot be read as a table: line 2 has text behind the end of a quote."),
        (b'a,b\n"1\n2\n3"x,2\n', "table: line 2 has a quote that ends on line 4 with text behind it."),
        (b'a,b\n1,"2\n3,4\n5,"6"\n', "table: line 2 has a quote that ends on line 4 with text behind it."),
        (b'a,b\n1, "x" y\n', "table: line 2 has a space before a quote, and text behind its end."),
        (
            b'a,b\n1, "x\n2"y,3\n',
            "line 2 has a space before a quote, and a quote that ends on line 3 with text behind it.",
        ),
        (b'a,b\n1, "x\n2,3\n', "table: line 2 has a space before a quote, and a quote that does not end."),
        (b'a,b\n1,a "b, c"\n', "names for 2. A cell with a comma in it must begin and end with a double quote."),
        (b"a;b\n1;2;3\n", "A cell with a semicolon in it must begin and end with a double quote."),
        (b"a\n" + b"x" * 200_000, "csv cannot be read as a table: line 2 has a cell that is too long."),
        (b"a\n1,2\n", "csv has 2 cells in the row that ends on line 2, and names for 1."),
        (",".join(f"c{n}" for n in range(MAX_COLUMNS + 1)).encode(), f"csv has {MAX_COLUMNS + 1} columns."),
    ],
)
def test_an_invalid_table_is_refused_with_the_line(data: bytes, words: str) -> None:
    """The message has no text of the file except the names of its columns."""
    with pytest.raises(ArgumentsInvalid) as caught:
        parse_table(data, argument="csv")
    assert words in str(caught.value)
    assert "latin" not in str(caught.value)


def test_a_few_of_many_overlong_rows_are_reported() -> None:
    """A wrongly detected delimiter makes every row too long."""
    with pytest.raises(ArgumentsInvalid) as caught:
        parse_table(b"a\n" + b"1,2\n" * 100, argument="csv")
    assert len(caught.value.problems) == 5


def test_lone_surrogates_can_be_written() -> None:
    """A result must not be lost over a character that no encoding has."""
    assert format_table(["x"], [["a\ud800b"]]).decode("utf-8-sig") == "x\r\na?b\r\n"


VALUES = st.recursive(
    st.one_of(
        st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from("=+-@;\t\r\n'\"\0 [{")), max_size=20),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.booleans(),
        st.sampled_from(["3", "true", '"3"', '""', '"\\"\\""', "x" * 32_767, "y" * 299 + "\u2026", "1e5"]),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


@given(value=VALUES, delimiter=st.sampled_from(",;\t"), is_changed=st.booleans())
def test_a_value_is_read_exactly_from_a_saved_table(value: JsonValue, delimiter: str, is_changed: bool) -> None:
    """A text is never read as a number, nor a number as a text, even if the line ends of the file are changed."""
    cell = format_exact(value, is_free=True)
    text = format_table(["row", "given"], [["1", cell]]).decode("utf-8-sig")
    changed = io.StringIO(newline="")
    csv.writer(changed, delimiter=delimiter).writerows(csv.reader(io.StringIO(text, newline="")))
    data = changed.getvalue().replace("\r\n", "\n")
    (row,) = parse_table((data.replace("\n", "\r\n") if is_changed else data).encode(), argument="csv").rows
    found = parse_exact(str(row.cells["given"]), is_free=True)
    expected = value if not isinstance(value, list | dict) else format_exact(value)
    assert (type(found), found) == (type(expected), expected)
    if isinstance(value, list | dict):
        assert json.loads(str(found)) == value
    if isinstance(value, str):
        assert parse_exact(restore := format_exact(value)) == value, restore


@pytest.mark.parametrize("text", ["a cup", "3", "true", "0.4", "it's", 'a 5" cup', '"cup"', "=1", "/a/b c.png"])
def test_a_plain_text_is_written_unchanged(text: str) -> None:
    """The table is read by people first."""
    assert format_exact(text) == text


def test_an_unnamed_empty_column_is_ignored() -> None:
    """Spreadsheets keep an empty column between two others."""
    assert parse_table(b"a,,b,\n1,,2,\n", argument="csv").columns == ("a", "b")
    with pytest.raises(ArgumentsInvalid, match="has no name for column 2"):
        parse_table(b"a,,b\n1,x,2\n", argument="csv")
    with pytest.raises(ArgumentsInvalid, match="has 3 cells in the row"):
        parse_table(b"a,,b\n1,,2,3\n", argument="csv")


@pytest.mark.parametrize("first", ['"sep=;"', "sep=;,", '"sep=;",,'])
def test_a_separator_line_saved_as_a_row_is_ignored(first: str) -> None:
    """It no longer names the separator."""
    assert parse_table(f"{first}\na,b\n1,2\n".encode(), argument="csv").columns == ("a", "b")
