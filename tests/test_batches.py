"""Many runs by one call, as a client sees it; both eras."""

import csv
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import mcp.types as t
import pytest
from mcp.client.context import ClientRequestContext
from mcp.shared.exceptions import MCPError

from flowport.answers import MAX_ANSWER_BYTES, format_facts
from flowport.purse import PurseRules, UnknownPrice
from flowport.runner.batches import TRIAL_ROWS
from flowport.runner.batching import MAX_LIVE_ROWS
from flowport.runner.calling import RunCall
from flowport.tool_calls import ToolCalls
from flowport.waiting import KEY_GONE, Caller
from tests.harness import Harness, Mode, open_harness
from tests.ledger.test_batches import build_batch
from tests.sandbox.client import Client as SandboxClient
from tests.sandbox.client import build_photo
from tests.scripted import wait_until

TOOL = "text_to_picture"
FAILING = "always_fails"


@pytest.fixture
async def flowport(sandbox: SandboxClient, tmp_path: Path, mode: Mode) -> AsyncIterator[Harness]:
    """Run Flowport with a client of each era."""
    async with open_harness(sandbox, tmp_path / "person", mode=mode) as harness:
        yield harness


def build_rows(count: int, word: str = "lake") -> list[dict[str, Any]]:
    """Return rows of which no two are alike."""
    return [{"prompt": f"{word} {n}"} for n in range(1, count + 1)]


async def read(flowport: Harness, uri: str) -> dict[str, Any]:
    """Read a resource of JSON."""
    found = (await flowport.client.read_resource(uri)).contents[0]
    assert isinstance(found, t.TextResourceContents)
    facts: dict[str, Any] = json.loads(found.text)
    return facts


def read_lines(facts: dict[str, Any]) -> list[dict[str, str]]:
    """Read the table that was saved."""
    with Path(facts["csv"]).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


async def test_a_table_goes_in_and_a_table_comes_out(flowport: Harness) -> None:
    """One call, every result with its link and its file, and the same as a file for a spreadsheet."""
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


async def test_every_row_is_checked_before_anything_is_spent(flowport: Harness) -> None:
    """All that is wrong is told at once, with the rows that have it."""
    rows = [{"prompt": "a"}, {"shape": "round", "prompt": "b"}, {}, {"prompt": "c", "colour": "red"}, {}]
    facts = await flowport.ask("run_batch", app=TOOL, rows=rows)
    assert facts["error"] == "ArgumentsInvalid"
    assert facts["message"].startswith("Nothing was started. Row 2: shape was given ")
    assert "Row 3, row 5: prompt is missing." in facts["message"]
    assert "Row 4: colour is not an argument" in facts["message"]
    assert (await flowport.count("run"), (await flowport.ask("list_runs"))["runs"]) == (0, [])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "rows or csv is needed, and not both."),
        ({"rows": [{}], "csv": "/x.csv"}, "rows or csv is needed, and not both."),
        ({"rows": []}, "rows or csv is needed, and not both."),
        ({"rows": [1]}, "rows holds something else than an object as item 1."),
        ({"rows": [{}] * 3}, "All 3 rows: prompt is missing."),
        ({"rows": [{}]}, "Row 1: prompt is missing."),
        ({"rows": [{"prompt": "x"}] * 1001, "variations": 2}, "rows asks for 2002 runs."),
        ({"rows": [{"prompt": "x"}] * 99, "arguments": {"shape": "x" * 2_000_000}}, "arguments holds too much data"),
        ({"rows": [{"prompt": "x" * 60_000}] * 99}, "rows holds more than 5 MB"),
        ({"rows": [{"prompt": "x"}], "arguments": [1]}, "arguments is not an object."),
        ({"rows": [{"prompt": "x"}], "variations": 17}, "variations was given 17."),
        ({"rows": [{"prompt": "x"}], "variations": 1.5}, "variations was given a fraction."),
        ({"rows": [{f"odd{n}": 1} for n in range(20)]}, "The table has 9 more problems of other kinds."),
    ],
)
async def test_what_cannot_be_a_batch_is_refused_with_a_sentence(
    sandbox: SandboxClient, tmp_path: Path, arguments: dict[str, Any], words: str
) -> None:
    """And costs nothing."""
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        message = (await flowport.ask("run_batch", app=TOOL, **arguments))["message"]
        assert await flowport.count("run") == 0
    assert words in message
    assert message.startswith("Nothing was started. ")
    assert len(message) < 4000


async def test_what_a_row_leaves_empty_all_rows_share(flowport: Harness) -> None:
    """Models write null for it, as people leave a cell empty; and it is the same when the row is started."""
    rows = [{"prompt": "x", "shape": None}, {"prompt": None}]
    facts = await flowport.ask("run_batch", app=TOOL, rows=rows, arguments={"prompt": "lake", "shape": "wide"})
    assert facts.get("succeeded") == 2, facts
    assert [(line["prompt"], line["shape"]) for line in read_lines(facts)] == [("x", "wide"), ("lake", "wide")]


async def test_more_failures_than_rows_are_never_too_many(flowport: Harness) -> None:
    """A model that means "never" writes the largest number that it knows."""
    facts = await flowport.ask("run_batch", app=TOOL, rows=build_rows(2), stop_after_failures=10**30)
    assert facts.get("succeeded") == 2, facts


async def test_equal_rows_are_as_many_runs_and_an_equal_batch_is_one(flowport: Harness) -> None:
    """Whoever writes a row twice means it; whoever calls twice has lost the answer."""
    rows = [{"prompt": "same"}, {"prompt": "same"}]
    await flowport.sandbox.switch("next_run", hold=True)
    first = await flowport.ask("run_batch", app=TOOL, rows=rows, wait=False)
    again = await flowport.ask("run_batch", app=TOOL, rows=rows, wait=False)
    await wait_until_started(flowport, 2)
    assert again["run_id"] == first["run_id"]
    assert again["joined"].startswith("This call asked for the same as an earlier one")
    assert await flowport.count("run") == 2
    more = await flowport.ask("run_batch", app=TOOL, rows=rows, new_run=True)
    assert (more["succeeded"], await flowport.count("run")) == (2, 4)


async def wait_until_started(flowport: Harness, count: int) -> None:
    """Wait until the provider was asked for so many runs."""
    with anyio.fail_after(20):
        while await flowport.count("run") < count:
            await anyio.lowlevel.checkpoint()


async def test_a_single_call_joins_no_row_and_no_row_joins_a_single_call(flowport: Harness) -> None:
    """A row was asked for with its table."""
    await flowport.sandbox.switch("next_run", hold=True)
    batch = await flowport.ask("run_batch", app=TOOL, rows=[{"prompt": "same"}], wait=False)
    await wait_until_started(flowport, 1)
    run = await flowport.ask(TOOL, prompt="same")
    assert (run["state"], await flowport.count("run")) == ("succeeded", 2)
    assert "joined" not in run
    other = await flowport.ask("run_batch", app=TOOL, rows=[{"prompt": "same"}, {"prompt": "other"}])
    assert (other["succeeded"], await flowport.count("run")) == (2, 4)
    assert (await flowport.ask("get_run", run_id=batch["run_id"], wait=False))["state"] == "running"


async def test_variations_are_several_of_the_same_in_one_answer(flowport: Harness) -> None:
    """People ask for four of them."""
    result = await flowport.call("run_app", app=TOOL, arguments={"prompt": "a lake"}, variations=4)
    facts = result.structured_content
    assert isinstance(facts, dict)
    assert (facts["runs"], facts["succeeded"], facts["credits"], await flowport.count("run")) == (4, 4, 8, 4)
    assert [(row["row"], row["variation"]) for row in facts["table"]] == [(1, 1), (1, 2), (1, 3), (1, 4)]
    assert len([block for block in result.content if isinstance(block, t.ResourceLink)]) == 4
    assert len([block for block in result.content if isinstance(block, t.ImageContent)]) == 4


async def test_one_failed_row_does_not_stop_the_others(flowport: Harness) -> None:
    """What failed is told with its reason, first of all."""
    await flowport.sandbox.switch("next_run", status="failed", error_message="The lamp is broken")
    facts = await flowport.ask("run_batch", app=TOOL, rows=build_rows(4))
    assert (facts["state"], facts["failed"], facts["succeeded"]) == ("partial", 1, 3)
    (failed,) = [row for row in facts["table"] if row["state"] == "failed"]
    assert "The lamp is broken" in failed["problem"]


@pytest.mark.parametrize("count", [40, 200])
async def test_so_many_failures_stop_what_has_not_begun(flowport: Harness, count: int) -> None:
    """A table with a mistake in every row must not be paid for to its end, however short it is."""
    rows = [{"note": str(n)} for n in range(count)]
    result = await flowport.call("run_batch", app=FAILING, rows=rows, stop_after_failures=3)
    facts = result.structured_content
    assert isinstance(facts, dict)
    assert (bool(result.is_error), facts["state"]) == (True, "failed")
    # Of those that had begun some were not sent yet.
    assert facts["failed"] + facts["not_started"] + facts.get("cancelled", 0) == count
    # Two have failed, and so many are live, when the third fails.
    assert 3 <= facts["failed"] <= 2 + TRIAL_ROWS
    assert facts["credits"] == await flowport.count("run") == facts["failed"]
    assert "failed, so the rest was not started" in facts["stopped"]
    balance = (await flowport.ask("get_balance"))["accounts"][0]
    assert (balance["reserved_credits"], balance["spent_credits_24_hours"]) == (0, facts["failed"])


async def test_cancelling_starts_no_more_and_says_what_goes_on(
    sandbox: SandboxClient, tmp_path: Path, mode: Mode
) -> None:
    """What the provider has is paid for."""
    for _ in range(MAX_LIVE_ROWS):
        await sandbox.switch("next_run", hold=True)
    async with open_harness(sandbox, tmp_path / "person", mode=mode) as flowport:
        batch = await flowport.ask("run_batch", app=TOOL, rows=build_rows(100), wait=False)
        await wait_until_started(flowport, MAX_LIVE_ROWS)
        await wait_until_live(flowport, batch["run_id"])
        before = await flowport.ask("get_run", run_id=batch["run_id"], wait=False)
        cancelled = await flowport.ask("cancel_run", run_id=batch["run_id"])
        after = await flowport.ask("get_run", run_id=batch["run_id"], wait=False)
        balance = (await flowport.ask("get_balance"))["accounts"][0]
        assert await flowport.count("run") == MAX_LIVE_ROWS
    assert (before["live"], before["waiting"]) == (MAX_LIVE_ROWS, 100 - MAX_LIVE_ROWS)
    assert cancelled["summary"] == (
        "36 of 100 runs were not started and cost nothing; 64 that were started go on and are charged, and get_run fetches "
        "their results."
    )
    assert (after["state"], after["not_started"], after["live"]) == ("running", 36, MAX_LIVE_ROWS)
    assert balance["reserved_credits"] == 2 * MAX_LIVE_ROWS


async def wait_until_live(flowport: Harness, batch_id: str) -> None:
    """Wait until the provider has acknowledged all rows that are live."""
    with anyio.fail_after(20):
        while {run.state.value for run in await flowport.assembly.desk.ledger.get_live_rows(batch_id)} - {"running"}:
            await anyio.lowlevel.checkpoint()


async def test_a_batch_that_has_not_begun_can_be_cancelled_for_nothing(
    sandbox: SandboxClient, tmp_path: Path, mode: Mode
) -> None:
    """Rows that wait for the request budget were not sent either."""
    async with open_harness(sandbox, tmp_path / "person", mode=mode, requests_per_minute=6, max_tools=4) as flowport:
        await flowport.client.list_tools()
        batch = await flowport.ask("run_batch", app=TOOL, rows=build_rows(70), wait=False)
        cancelled = await flowport.ask("cancel_run", run_id=batch["run_id"])
        over = await flowport.ask("get_run", run_id=batch["run_id"])
        again = await flowport.ask("cancel_run", run_id=batch["run_id"])
        assert await flowport.count("run") == 0
    assert cancelled["summary"] == "70 of 70 runs were not started and cost nothing; none goes on."
    assert (over["state"], over["credits"]) == ("cancelled", 0)
    assert again["outcome"] == "already over"


async def test_a_batch_is_one_in_the_list_and_in_mentions(flowport: Harness) -> None:
    """Two hundred rows must not hide what else there is."""
    await flowport.sandbox.switch("next_run", hold=True)
    going = await flowport.ask("run_batch", app=TOOL, rows=build_rows(2, "hill"), wait=False)
    quick = await flowport.ask("run_batch", app=TOOL, rows=build_rows(3), wait=False)
    with anyio.fail_after(20):
        while (listed := await flowport.ask("list_runs"))["runs"][0]["state"] != "succeeded":
            await anyio.lowlevel.checkpoint()
    assert listed["summary"] == "2 runs. 1 finished run in all not seen yet."
    assert [row["run_id"] for row in listed["runs"]] == [quick["run_id"], going["run_id"]]
    assert listed["runs"][0]["batch"].startswith('3 runs of "Text to Picture": 3 succeeded (')
    with anyio.fail_after(20):
        # An answer of the last second has looked already.
        while "unseen" not in (told := await flowport.ask("get_balance")):
            await anyio.lowlevel.checkpoint()
    assert told["unseen"].startswith(f'1 finished run you have not seen: "Text to Picture" ({quick["run_id"]})')
    await flowport.ask("get_run", run_id=quick["run_id"])
    assert (await flowport.ask("list_runs"))["summary"] == "2 runs. 0 finished runs in all not seen yet."


async def test_a_batch_that_was_seen_is_not_joined_again(flowport: Harness) -> None:
    """Whoever asks for the same after having seen it wants it once more."""
    rows = build_rows(2)
    first = await flowport.ask("run_batch", app=TOOL, rows=rows)
    again = await flowport.ask("run_batch", app=TOOL, rows=rows)
    assert again["run_id"] != first["run_id"]
    assert await flowport.count("run") == 4


async def test_an_answer_that_did_not_arrive_makes_a_batch_unseen(flowport: Harness) -> None:
    """Its rows too, and the same call then joins it."""
    rows = build_rows(2)
    first = await flowport.ask("run_batch", app=TOOL, rows=rows)
    assert flowport.server.deliveries is not None
    connection, request_id, run_id = flowport.server.deliveries.get_last()
    assert run_id == first["run_id"]
    flowport.server.deliveries.lose(connection, request_id)
    with anyio.fail_after(20):
        while (await flowport.ask("list_runs"))["runs"][0]["is_seen"]:
            await anyio.lowlevel.checkpoint()
    row = await flowport.assembly.desk.ledger.get_run(first["table"][0]["run_id"], account_id=None, owner="local")
    assert row.seen_at is None
    again = await flowport.ask("run_batch", app=TOOL, rows=rows)
    assert (again["run_id"], await flowport.count("run")) == (first["run_id"], 2)


class Person:
    """Somebody who is asked and always says the same."""

    def __init__(self, action: Any) -> None:
        self.questions: list[str] = []
        self._action = action

    async def answer(self, context: ClientRequestContext, params: t.ElicitRequestParams) -> t.ElicitResult:
        """Note the question and answer it."""
        self.questions.append(params.message)
        return t.ElicitResult(action=self._action, content={} if self._action == "accept" else None)


@pytest.mark.parametrize(("action", "runs"), [("accept", 5), ("decline", 0)])
async def test_a_batch_is_confirmed_once_as_a_whole(
    sandbox: SandboxClient, tmp_path: Path, mode: Mode, action: str, runs: int
) -> None:
    """Each row is below the threshold, and all of them are above it."""
    person, purse = Person(action), PurseRules(confirm_above_credits=9.0)
    async with open_harness(sandbox, tmp_path / "person", mode=mode, ask_person=person.answer, purse=purse) as flowport:
        assert (await flowport.ask("run_batch", app=TOOL, rows=build_rows(4)))["succeeded"] == 4
        answer = await flowport.ask("run_batch", app=TOOL, rows=build_rows(5, "hill"))
        assert await flowport.count("run") == 4 + runs
    assert person.questions == ['5 runs of "Text to Picture" cost 10 credits together. Run all of them for 10 credits?']
    assert answer.get("error", "") == ("" if runs else "NotConfirmed")


async def test_an_unknown_price_is_asked_about_once(sandbox: SandboxClient, tmp_path: Path, mode: Mode) -> None:
    """Not for each row."""
    await sandbox.switch("dialect", tool_metadata=False)
    person, purse = Person("accept"), PurseRules(unknown_price=UnknownPrice.CONFIRM)
    async with open_harness(sandbox, tmp_path / "person", mode=mode, ask_person=person.answer, purse=purse) as flowport:
        answer = await flowport.ask("run_batch", app=TOOL, rows=build_rows(3))
    assert (answer["succeeded"], answer["credits"]) == (3, 0)
    assert person.questions == [
        '"Text to Picture" does not tell its price, and this asks for 3 runs of it. Run all of them all the same?'
    ]


@pytest.mark.parametrize(
    ("purse", "error"),
    [
        (PurseRules(max_credits_per_run=1.0), "RunCapReached"),
        (PurseRules(max_credits_per_day=5.0), "DayCapReached"),
        (PurseRules(confirm_above_credits=5.0), "PriceUnconfirmed"),
    ],
)
async def test_a_limit_refuses_a_batch_as_a_whole(
    sandbox: SandboxClient, tmp_path: Path, mode: Mode, purse: PurseRules, error: str
) -> None:
    """Two of three rows would be a table that nobody has asked for."""
    async with open_harness(sandbox, tmp_path / "person", mode=mode, purse=purse) as flowport:
        refused = await flowport.ask("run_batch", app=TOOL, rows=build_rows(3))
        assert (await flowport.count("run"), refused["error"]) == (0, error)
        assert (await flowport.ask("list_runs"))["runs"] == []


async def test_the_cap_of_a_day_counts_rows_that_have_not_begun(
    sandbox: SandboxClient, tmp_path: Path, mode: Mode
) -> None:
    """They will be paid; once they will not, there is room again."""
    purse = PurseRules(max_credits_per_day=200.0)
    for _ in range(MAX_LIVE_ROWS):
        await sandbox.switch("next_run", hold=True)
    async with open_harness(sandbox, tmp_path / "person", mode=mode, purse=purse, wait_seconds=0.0) as flowport:
        batch = await flowport.ask("run_batch", app=TOOL, rows=build_rows(99))
        refused = await flowport.ask("run_batch", app=TOOL, rows=build_rows(2, "hill"))
        await wait_until_started(flowport, MAX_LIVE_ROWS)
        assert (await flowport.ask("get_balance"))["accounts"][0]["reserved_credits"] == 198
        await flowport.ask("cancel_run", run_id=batch["run_id"])
        taken = await flowport.ask("run_batch", app=TOOL, rows=build_rows(2, "hill"))
    assert (refused["error"], taken["runs"]) == ("DayCapReached", 2)


async def test_many_batches_at_once_never_pass_the_cap(sandbox: SandboxClient, tmp_path: Path, mode: Mode) -> None:
    """Each sees what the others hold back."""
    purse, found = PurseRules(max_credits_per_day=25.0), []
    async with open_harness(sandbox, tmp_path / "person", mode=mode, purse=purse) as flowport:

        async def call(n: int) -> None:
            """Ask for six credits."""
            found.append(await flowport.ask("run_batch", app=TOOL, rows=build_rows(3, f"lake {n}")))

        async with anyio.create_task_group() as tasks:
            for n in range(8):
                tasks.start_soon(call, n)
        assert await flowport.count("run") == 12
    assert Counter(one.get("error", "") for one in found) == {"": 4, "DayCapReached": 4}


async def test_a_long_batch_is_told_in_a_short_answer_and_whole_in_its_resource(flowport: Harness) -> None:
    """A model's context is small, and nothing is lost all the same."""
    result = await flowport.call("run_batch", app=FAILING, rows=[{"note": f"lake {n}"} for n in range(1, 251)])
    facts = result.structured_content
    assert isinstance(facts, dict)
    size = sum(len(block.model_dump_json().encode()) for block in result.content if block.type != "image")
    assert size + len(json.dumps(facts).encode()) < MAX_ANSWER_BYTES
    assert (facts["runs"], facts["failed"]) == (250, 250)
    assert len(facts["table"]) + facts["rows_not_shown"] == 250
    rows, uri = [], facts["resource"]
    while uri:
        page = await read(flowport, uri)
        rows += page["table"]
        uri = page.get("next_page")
    assert [row["arguments"]["note"] for row in rows] == [f"lake {n}" for n in range(1, 251)]
    assert len({row["run_id"] for row in rows}) == 250


async def test_rows_follow_each_other_sixty_four_at_a_time(flowport: Harness) -> None:
    """The request budget of the account must be left to others too."""
    most = 0
    ledger = flowport.assembly.desk.ledger

    async def watch(batch_id: str) -> None:
        """Count what is live, all the time."""
        nonlocal most
        while not (tally := await ledger.get_tally(batch_id)).is_over:
            most = max(most, tally.live)

    batch = await flowport.ask("run_batch", app=FAILING, rows=[{"note": str(n)} for n in range(150)], wait=False)
    await watch(batch["run_id"])
    facts = await flowport.ask("get_run", run_id=batch["run_id"])
    assert (facts["failed"], most <= MAX_LIVE_ROWS) == (150, True)


async def test_a_table_is_read_from_a_file(flowport: Harness, tmp_path: Path) -> None:
    """As spreadsheets write it: with a mark, semicolons, labels for names, and cells that are left empty."""
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
    ],
)
async def test_a_table_that_does_not_fit_is_refused(
    sandbox: SandboxClient, tmp_path: Path, name: str, content: str, words: str
) -> None:
    """With the line of the file, where a line is to blame."""
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        path = tmp_path / "person" / name
        path.write_text(content, encoding="utf-8")
        message = (await flowport.ask("run_batch", app=TOOL, csv=str(path)))["message"]
        assert await flowport.count("run") == 0
    assert words in message
    assert "SECRET" not in message


@pytest.mark.parametrize("place", ["/etc/passwd.csv", "rows.csv", "{folder}/none.csv", "https://example.com/rows.csv"])
async def test_only_files_in_the_allowed_folders_are_read(sandbox: SandboxClient, tmp_path: Path, place: str) -> None:
    """A table is read under the rules for pictures."""
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        facts = await flowport.ask("run_batch", app=TOOL, csv=place.format(folder=tmp_path / "person"))
    assert facts["error"] == "ArgumentsInvalid"
    assert facts["message"].startswith("Nothing was started. csv ")
    # What is advised for pictures is no help here.
    assert "URL" not in facts["message"]


async def test_a_table_of_results_goes_into_the_next_app(flowport: Harness) -> None:
    """And "last" is what it was when the batch was asked for, however long its rows wait."""
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
    """Something else would be paid for; the other rows go on."""
    async with open_harness(
        sandbox, tmp_path / "person", mode=mode, requests_per_minute=0, wait_seconds=20.0
    ) as flowport:
        path = tmp_path / "person" / "cup.png"
        build_photo().save(path)
        rows = [{"photo": str(path), "title": "changed"}]
        desk = flowport.assembly.desk
        accept = desk.ledger.accept_rows

        async def change(batch_id: str, runs: Any) -> Any:
            """Exchange the picture between the check and the start."""
            accepted = await accept(batch_id, runs)
            build_photo().rotate(90, expand=True).save(path)
            return accepted

        desk.batches._ledger = Proxy(desk.ledger, accept_rows=change)
        facts = await flowport.ask("run_batch", app="retro_poster", rows=rows)
        assert await flowport.count("run") == 0
    assert (facts["state"], facts["credits"]) == ("cancelled", 0)
    assert "has changed. It was not sent" in facts["table"][0]["problem"]


class Proxy:
    """A part of Flowport, one of whose operations a test has taken over."""

    def __init__(self, real: Any, **changed: Any) -> None:
        self._real, self._changed = real, changed

    def __getattr__(self, name: str) -> Any:
        """Return what was put in the place of the real one, else that."""
        return self._changed.get(name) or getattr(self._real, name)


async def test_a_doubt_about_a_row_is_a_doubt_about_the_batch(flowport: Harness) -> None:
    """A run of unknown fate may have been paid for; nobody pays for it again without having been told."""
    await flowport.sandbox.switch("faults", operation="run", fault="drop")
    unknown = await flowport.ask(TOOL, prompt="lake 2")
    assert unknown["state"] == "unknown"
    refused = await flowport.ask("run_batch", app=TOOL, rows=build_rows(3))
    assert (refused["error"], await flowport.count("run")) == ("StartInDoubt", 1)
    assert unknown["run_id"] in refused["message"]
    assert "the same call with new_run true starts another one" in refused["message"]
    taken = await flowport.ask("run_batch", app=TOOL, rows=build_rows(3), new_run=True)
    assert (taken["succeeded"], await flowport.count("run")) == (3, 4)


async def test_a_row_of_unknown_fate_is_told_and_never_sent_again(flowport: Harness) -> None:
    """The rule of runs holds for each row."""
    await flowport.sandbox.switch("faults", operation="run", fault="drop")
    facts = await flowport.ask("run_batch", app=TOOL, rows=build_rows(3))
    assert (facts["state"], facts["of_unknown_fate"], facts["credits"]) == ("partial", 1, 6)
    assert await flowport.count("run") == 3
    prompt = next(
        row["arguments"] for row in (await read(flowport, facts["resource"]))["table"] if row["state"] == "unknown"
    )
    assert (await flowport.ask(TOOL, **prompt))["error"] == "StartInDoubt"


async def test_the_uri_of_a_batch_has_a_template_and_is_completed(flowport: Harness) -> None:
    """Clients show what can be read, and finish what is typed."""
    batch = await flowport.ask("run_batch", app=TOOL, rows=build_rows(1))
    await flowport.ask(TOOL, prompt="x")
    templates = (await flowport.client.list_resource_templates()).resource_templates
    template = next(one.uri_template for one in templates if one.name == "batch")
    assert template == "flowport://batches/{batch_id}"
    found = await flowport.client.complete(
        t.ResourceTemplateReference(uri=template), {"name": "batch_id", "value": "batch"}
    )
    assert found.completion.values == [batch["run_id"]]
    listed = {str(one.uri) for one in (await flowport.client.list_resources()).resources}
    assert f"flowport://batches/{batch['run_id']}" in listed
    for uri in (
        f"flowport://runs/{batch['run_id']}",
        f"flowport://batches/{batch['table'][0]['run_id']}",
        f"flowport://batches/{batch['run_id']}?from=2",
        "flowport://batches/batch_none",
    ):
        with pytest.raises(MCPError, match="There is no such resource"):
            await flowport.client.read_resource(uri)


async def test_a_batch_whose_caller_leaves_goes_on_unless_that_is_not_wanted(
    sandbox: SandboxClient, tmp_path: Path, mode: Mode
) -> None:
    """It is paid for row by row, so what has not begun can be saved."""
    for _ in range(MAX_LIVE_ROWS):
        await sandbox.switch("next_run", hold=True)
    async with open_harness(sandbox, tmp_path / "person", mode=mode, should_stop_on_cancel=True) as flowport:
        with anyio.CancelScope() as scope:

            async def watch(progress: float, total: float | None, message: str | None) -> None:
                """Give up once rows are under way."""
                if message and "of 80 done" in message:
                    scope.cancel()

            arguments = {"app": TOOL, "rows": build_rows(80)}
            await flowport.client.call_tool("run_batch", arguments, progress_callback=watch)
        row = (await flowport.ask("list_runs"))["runs"][0]
        with anyio.fail_after(20):
            while not (facts := await flowport.ask("get_run", run_id=row["run_id"], wait=False)).get("not_started"):
                await anyio.lowlevel.checkpoint()
    assert "Whoever asked for the batch has left" in facts["stopped"]


async def test_nothing_is_saved_where_nothing_is_to_be(sandbox: SandboxClient, tmp_path: Path) -> None:
    """The table is beside the outputs, or nowhere."""
    async with open_harness(sandbox, tmp_path / "person", should_save_outputs=False) as flowport:
        facts = await flowport.ask("run_batch", app=TOOL, rows=build_rows(2))
        assert not flowport.outputs.exists()
    assert (facts["succeeded"], "csv" in facts) == (2, False)


async def test_a_table_that_cannot_be_saved_is_told(sandbox: SandboxClient, tmp_path: Path) -> None:
    """The results are there all the same."""
    folder = tmp_path / "person"
    folder.mkdir()
    (folder / "outputs").write_text("in the way")
    async with open_harness(sandbox, folder) as flowport:
        facts = await flowport.ask("run_batch", app=FAILING, rows=[{"note": "x"}])
    assert facts["csv_problem"] in {"Not a directory", "File exists"}


async def test_a_batch_of_another_living_program_is_waited_for_and_stopped(
    sandbox: SandboxClient, tmp_path: Path, mode: Mode
) -> None:
    """It is asked for in the editor, while the desktop client carries it out."""
    for _ in range(MAX_LIVE_ROWS):
        await sandbox.switch("next_run", hold=True)
    async with (
        open_harness(sandbox, tmp_path / "person", mode=mode) as first,
        open_harness(sandbox, tmp_path / "person", mode=mode) as second,
    ):
        batch_id = (await first.ask("run_batch", app=FAILING, rows=[{"note": str(n)} for n in range(70)], wait=False))[
            "run_id"
        ]
        await wait_until_started(first, MAX_LIVE_ROWS)
        await wait_until_live(first, batch_id)
        stopped = await second.ask("cancel_run", run_id=batch_id)
        found: list[dict[str, Any]] = []

        async def wait() -> None:
            """Wait in the second program."""
            found.append(await second.ask("get_run", run_id=batch_id))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await wait_until(lambda: any("of 70 done" in message for _, message in second.progress))
            for run in await first.assembly.desk.ledger.get_live_rows(batch_id):
                await sandbox.switch(f"runs/{run.provider_run_id}", release=True)
        assert await first.count("run") == MAX_LIVE_ROWS
    assert stopped["summary"].startswith("6 of 70 runs were not started and cost nothing; 64 that were started go on")
    assert (found[0]["state"], found[0]["failed"], found[0]["not_started"]) == ("failed", MAX_LIVE_ROWS, 6)


async def test_a_batch_whose_key_is_gone_can_be_read_and_cancelled(flowport: Harness) -> None:
    """Nothing can be sent for it, so nothing is held back for ever either."""
    old = build_batch("batch_old", account_id="magnific:elsewhere:old", owner="local")
    await flowport.assembly.desk.ledger.accept_batch(old)
    facts = await flowport.ask("get_run", run_id="batch_old", wait=False)
    assert (facts["state"], facts["waiting"], facts["problem"]) == ("running", 3, KEY_GONE)
    cancelled = await flowport.ask("cancel_run", run_id="batch_old")
    assert cancelled["summary"] == "3 of 3 runs were not started and cost nothing; none goes on."
    assert (await flowport.ask("get_run", run_id="batch_old"))["state"] == "cancelled"
    assert await flowport.count("run") == 0


@pytest.mark.parametrize("should_stop", [True, False])
async def test_an_answer_for_nobody_is_not_seen(sandbox: SandboxClient, tmp_path: Path, should_stop: bool) -> None:
    """Over HTTP a client may be gone although its call goes on."""
    async with open_harness(sandbox, tmp_path / "person", should_stop_on_cancel=should_stop) as flowport:
        desk = flowport.assembly.desk

        async def report(_: float, __: str) -> None:
            """Tell nobody."""

        async def is_gone() -> bool:
            """Tell that the client has left."""
            return True

        caller = Caller(desk.clock.monotonic(), report, is_gone=is_gone)
        answer = await ToolCalls(desk).call("run_batch", {"app": FAILING, "rows": [{"note": "x"}]}, caller)
        assert isinstance(answer.structured_content, dict)
        run_id = answer.structured_content["run_id"]
        over = await flowport.ask("list_runs")
        assert over["runs"][0]["run_id"] == run_id
        assert not over["runs"][0]["is_seen"]


async def test_a_file_that_all_rows_share_is_looked_at_once_before_anything_is_accepted(flowport: Harness) -> None:
    """Two hundred prompts for one photograph must not decode it two hundred times."""
    path = flowport.outputs.parent / "cup.png"
    build_photo().save(path)
    rows = [{"title": f"Cup {n}"} for n in range(5)]
    seen: dict[Any, Any] = {}
    desk = flowport.assembly.desk
    await flowport.client.list_tools()
    home, listing = desk.get_open_catalog("retro_poster")
    listing = await home.catalog.fetch_listing(listing.tool_name)
    origin = RunCall("local")
    calls = [
        await desk.preparer.prepare(home.account, listing, {**row, "photo": str(path)}, origin, known=seen)
        for row in rows
    ]
    assert len(seen) == 1
    assert all(call.media[0].media[0] is calls[0].media[0].media[0] for call in calls)
    facts = await flowport.ask("run_batch", app="retro_poster", rows=rows, arguments={"photo": str(path)})
    assert facts["succeeded"] == 5
