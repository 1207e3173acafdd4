"""Tables as input, as rows or as a file, and the table of results; both protocol eras."""

import base64
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mcp.types as t
import pytest

from flowport.actions.views.view import format_facts
from flowport.runs.submit import RunRequest
from tests.fakes.client import Client as SandboxClient
from tests.fakes.client import build_photo
from tests.interaction.batches.requests import FAILING, TOOL, build_rows, read
from tests.support.harness import MODES, Harness, Mode, open_harness


def read_lines(facts: dict[str, Any]) -> list[dict[str, str]]:
    """Read the saved table."""
    with Path(facts["csv"]).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


async def test_a_table_of_rows_returns_a_table_of_results(flowport: Harness) -> None:
    """One call returns every result with its link and its file, and the same as a file for a spreadsheet."""
    result = await flowport.call("run_batch", app=TOOL, rows=build_rows(5), arguments={"shape": "wide"})
    facts = result.structured_content
    assert isinstance(facts, dict)
    assert (result.is_error, facts["state"], facts["runs"], facts["succeeded"], facts["credits"]) == (
        False,
        "succeeded",
        5,
        5,
        10,
    )
    assert [row["row"] for row in facts["table"]] == [1, 2, 3, 4, 5]
    assert all(Path(row["outputs"][0]["saved_path"]).is_file() for row in facts["table"])
    links = [block.uri for block in result.content if isinstance(block, t.ResourceLink)]
    assert links == [row["outputs"][0]["url"] for row in facts["table"]]
    assert isinstance(result.content[0], t.TextContent)
    assert result.content[0].text == format_facts(facts)
    assert await flowport.count("run") == 5
    lines = read_lines(facts)
    assert [(line["row"], line["prompt"], line["shape"], line["state"]) for line in lines] == [
        (str(n), f"lake {n}", "wide", "succeeded") for n in range(1, 6)
    ]
    assert [line["run_id"] for line in lines] == [row["run_id"] for row in facts["table"]]
    assert flowport.progress[-1][1].endswith("credits so far")


async def test_empty_cells_take_the_shared_value(flowport: Harness) -> None:
    """Null and an empty cell mean the shared value, at the check and at the start."""
    rows = [{"prompt": "x", "shape": None}, {"prompt": None}]
    facts = await flowport.ask("run_batch", app=TOOL, rows=rows, arguments={"prompt": "lake", "shape": "wide"})
    assert facts.get("succeeded") == 2, facts
    assert [(line["prompt"], line["shape"]) for line in read_lines(facts)] == [("x", "wide"), ("lake", "wide")]


async def test_a_table_is_read_from_a_file(flowport: Harness, tmp_path: Path) -> None:
    """As spreadsheets write it: with a byte order mark, semicolons, labels for names, and empty cells."""
    folder = tmp_path / "person"
    build_photo().save(folder / "cup.png")
    lines = [
        "Photo;TITLE;palette",
        f'{folder / "cup.png"};"Good; ""morning""";',
        "",
        f"{folder / 'cup.png'};=1+1;harbour",
    ]
    path = folder / "posters.csv"
    path.write_text("\r\n".join(lines), encoding="utf-8-sig")
    facts = await flowport.ask("run_batch", app="retro_poster", csv=str(path), arguments={"palette": "berry"})
    assert (facts.get("state"), facts.get("runs")) == ("succeeded", 2), facts
    page = await read(flowport, facts["resource"])
    given = [(row["arguments"]["title"], row["arguments"]["palette"]) for row in page["table"]]
    assert given == [('Good; "morning"', "berry"), ("=1+1", "harbour")]
    assert [line["title"] for line in read_lines(facts)] == ['Good; "morning"', "'=1+1"]


async def test_paths_may_be_relative_to_the_folder_of_the_table(flowport: Harness, tmp_path: Path) -> None:
    """People write such paths (fizyr/keras-retinanet#117); file roots still apply, and `rows` has no folder."""
    folder = tmp_path / "person"
    (folder / "in").mkdir()
    for name in ("cup.png", "in/tea pot.png"):
        build_photo().save(folder / name)
    path = folder / "posters.csv"
    path.write_text('photo,title\ncup.png,a\n./in/tea pot.png,b\nin\\tea pot.png,c\n"""cup.png""",d\n')
    facts = await flowport.ask("run_batch", app="retro_poster", csv=str(path))
    assert (facts.get("state"), facts.get("succeeded")) == ("succeeded", 4), facts
    path.write_text("photo,title\ngone.png,a\n")
    result = await flowport.call("run_batch", app="retro_poster", csv=str(path))
    assert "does not exist" in str(result.structured_content)
    path.write_text("photo,title\n../../etc/passwd.png,a\n")
    result = await flowport.call("run_batch", app="retro_poster", csv=str(path))
    assert result.is_error
    result = await flowport.call("run_batch", app="retro_poster", rows=[{"photo": "cup.png", "title": "a"}])
    assert "means nothing outside the chat" in str(result.structured_content)


@pytest.mark.parametrize("text", ["prompt,shape", "prompt,shape\\nx,wide", '[{"prompt": "x"}]', "prompt;shape"])
async def test_table_text_on_one_line_is_refused_as_such(flowport: Harness, text: str) -> None:
    """The refusal asks for a path or for rows."""
    refused = await flowport.ask("run_batch", app=TOOL, csv=text)
    assert (
        "csv is the text of a table or of rows in one line. Give the path of a .csv file, or rows."
        in refused["message"]
    )


async def test_table_text_in_a_code_fence_is_read(flowport: Harness) -> None:
    """Models show tables in code fences."""
    facts = await flowport.ask("run_batch", app=TOOL, csv="```csv\nprompt,shape\na lake,wide\n```")
    assert facts.get("succeeded") == 1, facts


async def test_the_saved_table_of_a_batch_makes_the_same_rows_again(flowport: Harness) -> None:
    """The saved table is valid input, as a file and as text."""
    facts = await flowport.ask("run_batch", app=TOOL, rows=build_rows(2))
    again = await flowport.ask("run_batch", app=TOOL, csv=facts["csv"], new_run=True)
    assert (again.get("state"), [row["state"] for row in again["table"]]) == ("succeeded", ["succeeded"] * 2), again
    assert [line["prompt"] for line in read_lines(again)] == [line["prompt"] for line in read_lines(facts)]
    text = await flowport.ask("run_batch", app=TOOL, csv="prompt\nlake 7\nlake 8\n")
    assert (text.get("state"), text.get("succeeded")) == ("succeeded", 2), text


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("rows.csv", "prompt,prompt\na,b\n", 'csv has two columns "prompt".'),
        ("rows.csv", "prompt,Prompt\na,b\n", 'two columns for the same argument, "prompt" and "Prompt".'),
        ("rows.csv", "prompt\n", "csv holds no row."),
        ("rows.csv", "prompt\n" + "x\n" * 2001, "csv asks for 2001 runs."),
        ("rows.csv", "prompt\n" + ("\\" * 60_000 + "\n") * 82, "csv holds more than 5 MB"),
        ("rows.csv", "prompt,shape\nx\n,wide\ny,round\n", "Row 3 (line 4): shape was given "),
        ("rows.csv", "prompt,shape\nx\n,wide\ny,round\n", "Row 2 (line 3): prompt is missing."),
        ("rows.csv", "colour\nred\nblue\n", "All 2 rows: colour is not an argument"),
        ("rows.csv", "prompt\nx,y\n", "csv has 2 cells in the row that ends on line 2"),
        ("id_rsa", "SECRET", "csv names a file of another kind."),
        ("rows.csv", "", "csv names an empty file."),
        ("rows.csv", "prompt|shape\nx|wide\n", 'csv parts its cells by vertical bars ("prompt|shape").'),
        ("rows.csv", "| prompt |\n| --- |\n| x |\n", 'csv parts its cells by vertical bars ("| prompt |").'),
        ("rows.csv", '[{"prompt": "x"}]', "csv holds JSON and no table. Give it as rows instead."),
        ("rows.csv", '{"prompt": "x"}\n{"prompt": "y"}\n', "csv holds JSON and no table."),
        ("rows.csv", "<!DOCTYPE html><p>", "csv holds a web page and no table."),
        ("rows.csv", "PK\x03\x04 workbook", "csv names a workbook and no table of text."),
    ],
)
async def test_an_invalid_table_is_refused(
    sandbox: SandboxClient, tmp_path: Path, name: str, content: str, words: str
) -> None:
    """The refusal names the line of the file at fault, where there is one."""
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        path = tmp_path / "person" / name
        path.write_text(content, encoding="utf-8")
        message = (await flowport.ask("run_batch", app=TOOL, csv=str(path)))["message"]
        assert await flowport.count("run") == 0
    assert words in message
    assert "SECRET" not in message


@pytest.mark.parametrize("place", ["/etc/passwd.csv", "rows.csv", "{folder}/none.csv", "https://example.com/rows.csv"])
async def test_only_files_in_the_allowed_folders_are_read(sandbox: SandboxClient, tmp_path: Path, place: str) -> None:
    """The rules for the paths of pictures apply to tables."""
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        facts = await flowport.ask("run_batch", app=TOOL, csv=place.format(folder=tmp_path / "person"))
    assert facts["error"] == "ArgumentsInvalid"
    assert facts["message"].startswith("Nothing was started. csv ")
    # The advice for pictures does not apply to tables.
    assert "URL" not in facts["message"]


async def test_a_table_of_results_is_valid_input_of_the_next_app(flowport: Harness) -> None:
    """`last` is resolved when the batch is accepted, however long its rows wait."""
    made = await flowport.ask("run_batch", app=TOOL, rows=build_rows(2))
    rows = [{"photo": f"run:{row['run_id']}#1"} for row in made["table"]]
    rows.append({"photo": "last"})
    facts = await flowport.ask("run_batch", app="photo_to_pencil_sketch", rows=rows)
    assert facts["succeeded"] == 3
    page = await read(flowport, facts["resource"])
    named = [row["arguments"]["photo"] for row in page["table"]]
    assert named == [f"flowport://runs/{made['table'][n]['run_id']}/outputs/1" for n in (0, 1, 1)]


async def test_a_row_whose_file_has_changed_meanwhile_is_not_sent(
    sandbox: SandboxClient, tmp_path: Path, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed file is not sent, because it is not what was confirmed; the other rows continue."""
    async with open_harness(
        sandbox, tmp_path / "person", mode=mode, requests_per_minute=0, wait_seconds=20.0
    ) as flowport:
        path = tmp_path / "person" / "cup.png"
        build_photo().save(path)
        rows = [{"photo": str(path), "title": "changed"}]
        workspace = flowport.assembly.workspace
        accept = workspace.store.accept_rows

        async def change(batch_id: str, runs: Any, lease: int) -> Any:
            """Replace the picture between the check and the start."""
            accepted = await accept(batch_id, runs, lease)
            build_photo().rotate(90, expand=True).save(path)
            return accepted

        workspace.batches._conductor._store = Proxy(workspace.store, accept_rows=change)
        facts = await flowport.ask("run_batch", app="retro_poster", rows=rows)
        assert await flowport.count("run") == 0
    assert (facts["state"], facts["credits"]) == ("cancelled", 0)
    assert "so the row was not sent" in facts["table"][0]["problem"]


class Proxy:
    """A part of Flowport with one operation replaced by a test."""

    def __init__(self, real: Any, **changed: Any) -> None:
        self._real, self._changed = real, changed

    def __getattr__(self, name: str) -> Any:
        """Return the replacement if there is one, else the real operation."""
        return self._changed.get(name) or getattr(self._real, name)


async def test_no_table_is_saved_where_saving_is_off(sandbox: SandboxClient, tmp_path: Path) -> None:
    """The table is saved beside the outputs, or not at all."""
    async with open_harness(sandbox, tmp_path / "person", should_save_outputs=False) as flowport:
        facts = await flowport.ask("run_batch", app=TOOL, rows=build_rows(2))
        assert not flowport.outputs.exists()
    assert (facts["succeeded"], "csv" in facts) == (2, False)


async def test_a_table_that_cannot_be_saved_is_reported(sandbox: SandboxClient, tmp_path: Path) -> None:
    """The results are returned without the table."""
    folder = tmp_path / "person"
    folder.mkdir()
    (folder / "outputs").write_text("in the way")
    async with open_harness(sandbox, folder) as flowport:
        facts = await flowport.ask("run_batch", app=FAILING, rows=[{"note": "x"}])
    assert facts["csv_problem"] in {"Not a directory", "File exists"}


async def test_a_shared_file_is_decoded_once_before_acceptance(flowport: Harness) -> None:
    """Two hundred prompts for one photograph must not decode it two hundred times."""
    path = flowport.outputs.parent / "cup.png"
    build_photo().save(path)
    rows = [{"title": f"Cup {n}"} for n in range(5)]
    seen: dict[Any, Any] = {}
    workspace = flowport.assembly.workspace
    await flowport.client.list_tools()
    home, listing = workspace.get_open_catalog("retro_poster")
    listing = await home.catalog.fetch_listing(listing.tool_name)
    origin = RunRequest("local")
    calls = [
        await workspace.preparer.prepare(home.account, listing, {**row, "photo": str(path)}, origin, known=seen)
        for row in rows
    ]
    assert len(seen) == 1
    assert all(call.media[0].media[0] is calls[0].media[0].media[0] for call in calls)
    facts = await flowport.ask("run_batch", app="retro_poster", rows=rows, arguments={"photo": str(path)})
    assert facts["succeeded"] == 5


ODD_TEXTS = (
    "lake " * 2_000 + "at dawn",
    "x" * 299 + "…",
    "=1+1",
    "'=1+1",
    'a;=b\n@c, "d"\n\n\n  e',
    "a;'=b",
    "first\r\nsecond",
    '"quoted"',
    '""',
    "  spaces  kept  ",
    "-5",
    "true",
    "x" * 32_767,
    "data:image/png;base64,… (9 characters)",
    "nul \0 inside",
    "\u200bzero\u00a0width\u2028",
)
"""Prompts that a table for display would truncate, clean or rewrite."""


async def get_given(flowport: Harness, facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the stored inputs of each row of a batch."""
    kept = await flowport.assembly.workspace.store.get_batch_arguments(facts["run_id"])
    return [{**json.loads(kept.shared_json), **json.loads(one)} for _, one in sorted(kept.own_json.items())]


def save_as_spreadsheet(path: str, columns: Callable[[list[str]], list[str]]) -> list[list[str]]:
    """Return the cells of a table with other columns, as a spreadsheet would save them."""
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    names = columns(list(rows[0]))
    return [names, *([row.get(name, "") for name in names] for row in rows)]


async def test_a_saved_table_holds_its_inputs_in_full(flowport: Harness) -> None:
    """Given back, the table sends exactly the same inputs, not shortened or cleaned ones."""
    rows = [{"prompt": text} for text in ODD_TEXTS]
    facts = await flowport.ask("run_batch", app=TOOL, rows=rows, arguments={"shape": "wide"})
    assert facts.get("runs") == len(rows), facts
    again = await flowport.ask("run_batch", app=TOOL, csv=facts["csv"], new_run=True)
    assert again.get("runs") == len(rows), again
    assert await get_given(flowport, again) == [{"prompt": text, "shape": "wide"} for text in ODD_TEXTS]
    third = await flowport.ask("run_batch", app=TOOL, csv=again["csv"], new_run=True)
    assert await get_given(flowport, third) == await get_given(flowport, again)


@pytest.mark.parametrize(("mode", "delimiter"), [(MODES[0], ","), (MODES[1], ";"), (MODES[0], "\t")], indirect=["mode"])
async def test_a_saved_table_may_pass_through_a_spreadsheet(flowport: Harness, delimiter: str) -> None:
    """Columns moved and removed, rows removed and added, line ends changed, empty columns and a sum appended."""
    texts = [text for text in ODD_TEXTS if "\0" not in text and len(text) != 32_767]
    facts = await flowport.ask("run_batch", app=TOOL, rows=[{"prompt": text} for text in texts])

    def choose(names: list[str]) -> list[str]:
        """Keep the state first and reverse the other columns."""
        return ["state", *(name for name in reversed(names) if name not in {"state", "urls", "text"})]

    table = save_as_spreadsheet(facts["csv"], choose)
    place, states = table[0].index("prompt"), table[0].index("state")
    added = [""] * len(table[0])
    added[place] = "a lake; and = a hill"
    total = [""] * len(table[0])
    total[table[0].index("credits")], total[table[0].index("row")] = "30", "Sum"
    changed = [table[0], *table[2:], added, total]
    changed = [[*line[:1], "", *line[1:], "", ""] for line in changed]
    assert changed[0][states] == "state"
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_MINIMAL).writerows(changed)
    path = Path(facts["csv"]).with_name("changed.csv")
    path.write_bytes(text.getvalue().replace("\n", "\r\n").encode("utf-8-sig"))
    again = await flowport.ask("run_batch", app=TOOL, csv=str(path))
    assert again.get("succeeded") == len(texts), again
    assert [one["prompt"] for one in await get_given(flowport, again)] == [*texts[1:], "a lake; and = a hill"]


async def test_files_and_addresses_in_a_saved_table_are_as_given(flowport: Harness, tmp_path: Path) -> None:
    """Paths, URLs and inline pictures are given back unchanged; the beginning of a data URI would name nothing."""
    path = tmp_path / "person" / "the cup.png"
    build_photo().save(path)
    data = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    made = await flowport.ask("run_batch", app=TOOL, rows=build_rows(1))
    photos = [str(path), path.as_uri(), f'"{path}"', data, "last", [str(path)], {"url": str(path)}]
    facts = await flowport.ask(
        "run_batch", app="retro_poster", rows=[{"photo": one, "title": f"cup {n}"} for n, one in enumerate(photos)]
    )
    assert facts.get("succeeded") == len(photos), facts
    again = await flowport.ask("run_batch", app="retro_poster", csv=facts["csv"], new_run=True)
    assert again.get("succeeded") == len(photos), again
    given = [one["photo"] for one in await get_given(flowport, again)]
    assert given[:4] == photos[:4]
    assert given[4] == f"flowport://runs/{made['table'][0]['run_id']}/outputs/1"
    assert [json.loads(one) for one in given[5:]] == photos[5:]


async def test_a_cell_truncated_by_a_spreadsheet_is_refused(flowport: Harness) -> None:
    """A spreadsheet silently keeps only 32,767 characters of a cell."""
    facts = await flowport.ask("run_batch", app=TOOL, rows=[{"prompt": "lake " * 8_000}])
    path = Path(facts["csv"])
    path.write_text(path.read_text(encoding="utf-8-sig").replace("lake " * 8_000, ("lake " * 8_000)[:32_767]))
    refused = await flowport.ask("run_batch", app=TOOL, csv=str(path))
    assert "has a prompt on line 2 that was cut" in refused["message"]


async def test_a_table_too_large_to_give_back_is_refused_as_such(flowport: Harness) -> None:
    """Shared values are repeated in each line, so a long shared prompt counts once per row."""
    shared = {"prompt": "lake " * 20_000}
    facts = await flowport.ask("run_batch", app=TOOL, rows=[{"shape": "wide"}] * 60, arguments=shared)
    assert facts.get("runs") == 60, facts
    assert all(line["prompt"] == shared["prompt"] for line in read_lines(facts))
    refused = await flowport.ask("run_batch", app=TOOL, csv=facts["csv"])
    assert "csv holds more than 5 MB, variations counted" in refused["message"]


async def test_a_table_path_that_only_looks_the_same_is_accepted_with_a_note(flowport: Harness, tmp_path: Path) -> None:
    """As for pictures: a model writes a plain space for another one (modelcontextprotocol/servers#1597)."""
    folder = tmp_path / "person"
    (folder / "Anna\u2019s cups 4.42\u202fPM.csv").write_text("prompt\na lake\n")
    asked = f"{folder}/Anna's cups 4.42 PM.csv"
    facts = await flowport.ask("run_batch", app=TOOL, csv=asked)
    assert facts.get("succeeded") == 1, facts
    assert facts["notes"] == (
        'csv was read from a file whose name only looks the same, "Anna\\u2019s cups 4.42\\u202fPM.csv".'
    )
    later = await flowport.ask("get_run", run_id=facts["run_id"])
    assert later["notes"] == facts["notes"]
    (folder / "Anna\u2019s cups 4.42\u00a0PM.csv").write_text("prompt\na hill\n")
    refused = await flowport.ask("run_batch", app=TOOL, csv=asked, new_run=True)
    assert "names a file that does not exist, and 2 look the same" in refused["message"]
    Path(asked).write_text("prompt\na hill\n")
    exact = await flowport.ask("run_batch", app=TOOL, csv=asked)
    assert "notes" not in exact, exact
