"""The table of a batch as a file; that it is written whole, or its trouble told, is tried in `tests/batches/test_tables.py`."""

import json
from dataclasses import replace

from flowport.runner.papers import build_table, get_row_state
from tests.test_batch_answers import build_output, build_row, build_unbegun


def test_the_saved_table_has_a_line_for_each_row() -> None:
    """Inputs under their names, and ours apart where a stranger's input is called like a column of ours."""
    rows = [
        build_row(1, outputs=(build_output(1), build_output(2, text="hello")), spent_credits=2.5),
        build_unbegun(2, is_dropped=True),
        build_unbegun(3, is_begun=True),
        build_unbegun(4),
    ]
    strange = replace(rows[0].row, shown_json=json.dumps({"state": "=1", "scenes": ["a", 1], "none": None}))
    lines = build_table([replace(rows[0], row=strange), *rows[1:]]).decode("utf-8-sig").replace("\r\n", "\n")
    assert lines == (
        "row,variation,state (input),scenes,none,run_id,state,credits,urls,saved_paths,text,error\n"
        f'1,1,\'=1,"[""a"", 1]",,run_1,succeeded,2.5,"{build_output(1).url}\n{build_output(2).url}",'
        '"/pictures/1.png\n/pictures/2.png",hello,\n'
        "2,1,,,,,not started,0,,,,\n3,1,,,,,erased,0,,,,\n4,1,,,,,waiting,0,,,,\n"
    )
    assert [get_row_state(row) for row in rows] == ["succeeded", "not started", "erased", "waiting"]
