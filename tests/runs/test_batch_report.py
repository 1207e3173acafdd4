"""The table of a batch as a file; `tests/interaction/batches/test_tables.py` tests that it is saved completely."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from flowport.domain.errors import ArgumentsInvalid
from flowport.runs.batch.csv_tables import MAX_TABLE_BYTES, Table, TableRow, parse_table
from flowport.runs.batch.report import BatchReport, build_table, get_row_state, restore_table
from flowport.runs.output_file import SavingRules
from flowport.store.records import BatchArguments
from tests.actions.test_batch_views import build_output, build_row, build_unbegun


def test_the_saved_table_has_a_line_for_each_row() -> None:
    """Inputs have their own names; our columns are renamed where an input of the app has the same name."""
    rows = [
        build_row(1, outputs=(build_output(1), build_output(2, text="hello")), spent_credits=2.5),
        build_unbegun(2, is_dropped=True),
        build_unbegun(3, is_begun=True),
        build_unbegun(4),
    ]
    strange = replace(rows[0].row, display_json=json.dumps({"state": "=1", "scenes": ["a", 1], "none": None}))
    lines = build_table([replace(rows[0], row=strange), *rows[1:]]).decode("utf-8-sig").replace("\r\n", "\n")
    assert lines == (
        "row,variation,state (input),scenes,none,run_id,state,credits,urls,saved_paths,text,error\n"
        f'1,1,\'=1,"[""a"", 1]",,run_1,succeeded,2.5,"{build_output(1).url}\n{build_output(2).url}",'
        '"/pictures/1.png\n/pictures/2.png",hello,\n'
        "2,1,,,,,not started,0,,,,\n3,1,,,,,erased,0,,,,\n4,1,,,,,waiting,0,,,,\n"
    )
    assert [get_row_state(row) for row in rows] == ["succeeded", "not started", "erased", "waiting"]


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago", "UTC"])
async def test_the_table_is_saved_beside_its_pictures(
    zone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is that of the last picture's local day (ep1cman/unifi-protect-backup#27)."""
    if sys.platform == "win32":
        pytest.skip("there the zone is not read from the environment")
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        view = build_row(1, outputs=(build_output(1),))
        assert view.run is not None
        accepted_at = 1_800_000_000.0
        row = replace(view, run=replace(view.run, accepted_at=accepted_at))
        report = BatchReport(SavingRules(tmp_path), anyio.CapacityLimiter(1))
        saved = await report.write(view.run, [row], at=accepted_at + 86_400)
        assert Path(saved.path).parent.name == time.strftime("%Y-%m-%d", time.localtime(accepted_at))
    finally:
        monkeypatch.undo()
        time.tzset()


def read_back(data: bytes) -> Table:
    """Read a table of an app with the inputs motif and state."""
    return restore_table(parse_table(data, argument="csv"), lambda column: column in {"motif", "state"})


def test_a_saved_table_is_read_as_its_input_rows() -> None:
    """Our columns are ignored, even if a user removed or moved some (solidusio-contrib/solidus_importer#54)."""
    row = build_row(1, outputs=(build_output(1),))
    data = build_table([replace(row, row=replace(row.row, display_json=json.dumps({"motif": "cup", "state": "=1"})))])
    assert [dict(one.cells) for one in read_back(data).rows] == [{"motif": "cup", "state": "=1"}]
    lines = data.decode("utf-8-sig").replace(",", ";").encode()
    assert [dict(one.cells) for one in read_back(lines).rows] == [{"motif": "cup", "state": "=1"}]
    few = b"error,motif,run_id\n,cup,run_ab\n"
    assert read_back(few) == Table(("motif",), (TableRow(2, {"motif": "cup"}),))
    assert read_back(b"run_id,motif\nrun_ab,cup\n").columns == ("motif",)


def test_another_table_is_unchanged() -> None:
    """An unknown column is reported to the user, and an input may have the name of a column of ours."""
    for data in (
        b"motif,credits\ncup,5\n",
        b"motif,state\ncup,'=1\n",
        b"run_id,motif\nmine,cup\n",
        b"motif,colour\ncup,red\n",
    ):
        assert read_back(data) == parse_table(data, argument="csv")
    assert read_back(b"row,variation,motif,colour\n1,1,cup,red\n").columns == ("motif", "colour")


def test_a_truncated_text_is_refused() -> None:
    """Half a prompt would be paid for."""
    data = ("row,run_id,motif\n1,run_ab," + "x" * 299 + "\u2026\n").encode()
    with pytest.raises(ArgumentsInvalid, match="has a motif on line 2 that was cut when the table was saved"):
        read_back(data)


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b"state,motif\nsucceeded,cup\nnot started,'=1\n", [{"motif": "cup"}, {"motif": "=1"}]),
        (b"motif,row\ncup,1\nbowl,\n", [{"motif": "cup"}, {"motif": "bowl"}]),
        (b"motif,urls\ncup,https://cdn.example/1.png\nbowl,\n", [{"motif": "cup"}, {"motif": "bowl"}]),
        (b"state (input),motif\n'=1,cup\n", [{"state": "=1", "motif": "cup"}]),
        (b"row,motif,run_id,credits\n1,cup,run_a,2\n2,,run_b,2\nSum,,,4\n", [{"motif": "cup"}, {}]),
    ],
)
def test_few_of_our_columns_identify_a_table(data: bytes, rows: list[dict[str, str]]) -> None:
    """One is enough if no input has its name and its content fits; a sum below the last line is not a row."""
    found = restore_table(
        parse_table(data, argument="csv"),
        lambda column: column == "motif" or (column == "state" and b"state (input)" in data),
    )
    assert [dict(one.cells) for one in found.rows] == rows


def test_one_ambiguous_column_is_not_ignored() -> None:
    """It may be an input under a wrong name, which would not be sent."""
    for data in (b"text,motif\nhello,cup\n", b"credits,motif\n5,cup\n", b"state,motif\nBavaria,cup\n"):
        assert restore_table(parse_table(data, argument="csv"), lambda column: column == "motif").columns[0] != "motif"


def test_a_table_keeps_values_typed_and_stays_small_enough() -> None:
    """The number 3 and the text "3" differ for an input that accepts both; results are dropped before inputs."""
    texts = ["lake " * 20_000] * 198
    rows = [build_row(n, outputs=(build_output(1, text="t" * 10_000),) * 12) for n in range(1, 201)]
    own = {
        1: '{"prompt": "3"}',
        2: '{"prompt": 3}',
        **{n: json.dumps({"prompt": one}) for n, one in enumerate(texts, 3)},
    }
    kept = BatchArguments('{"seed": 0.1}', own)
    small = build_table(rows[:2], kept, {"prompt"})
    found = restore_table(parse_table(small, argument="csv"), lambda _: False, lambda _: True)
    assert [dict(one.cells) for one in found.rows] == [{"prompt": "3", "seed": 0.1}, {"prompt": 3, "seed": 0.1}]
    assert b'"3"' not in build_table(rows[:1], kept, frozenset())
    data = build_table(rows, kept)
    assert len(data) < MAX_TABLE_BYTES
    with pytest.raises(ArgumentsInvalid, match="has a prompt on line"):
        restore_table(parse_table(data, argument="csv"), lambda _: False)


def test_erased_rows_are_not_in_the_table() -> None:
    """Nor are the values that they shared with the other rows."""
    erased = build_unbegun(1, is_begun=True)
    assert b"secret" not in build_table([erased], BatchArguments('{"prompt": "secret"}', {1: "{}"}))
