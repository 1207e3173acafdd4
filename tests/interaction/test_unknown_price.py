"""Unknown prices: no number is shown anywhere, and nothing reads as free; a free app costs 0."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import mcp.types as t
import pytest

from flowport.domain.models import Run, RunState
from tests.fakes.client import IDS
from tests.fakes.client import Client as SandboxClient
from tests.fakes.magica.client import MagicaClient
from tests.store.samples import build_run
from tests.support.harness import MODES, Harness, Mode, open_harness
from tests.support.magica_face import MAGICA, PROMPT

APP = "text_to_picture"
ZERO = re.compile(r"(?<![\d.])0(\.0+)? credits?\b|\bcredits\S*: 0\b|\bfree\b", re.IGNORECASE)


@pytest.fixture
async def priceless(sandbox: SandboxClient) -> SandboxClient:
    """Give a test a sandbox that returns no prices; some live lists have none."""
    await sandbox.switch("dialect", tool_metadata=False)
    return sandbox


def find_numbers(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each number of credits in facts, with its name; limits are the user's own."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from find_numbers(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from find_numbers(item, key)
    elif "credits" in key and isinstance(value, int | float):
        yield key, value


def check(answer: t.CallToolResult) -> dict[str, Any]:
    """Return the facts of an answer after checking that neither they nor its text name a number of credits."""
    facts, text = answer.structured_content, answer.content[0]
    assert isinstance(facts, dict)
    assert isinstance(text, t.TextContent)
    assert [one for one in find_numbers(facts) if one[0] not in {"reserved_credits", "of_which_unknown_credits"}] == []
    assert ZERO.findall(text.text.replace("reserved_credits: 0", "").replace("of_which_unknown_credits: 0", "")) == []
    return facts


async def read(flowport: Harness, uri: str) -> Any:
    """Return a resource that is JSON."""
    (content,) = (await flowport.client.read_resource(uri)).contents
    assert isinstance(content, t.TextResourceContents)
    return json.loads(content.text)


@pytest.mark.parametrize("mode", MODES)
async def test_a_run_of_unknown_price_is_marked_everywhere(
    priceless: SandboxClient, tmp_path: Path, mode: Mode
) -> None:
    """In the answer, the list, the balance, the resources, the search, and the file beside the result."""
    async with open_harness(priceless, tmp_path / "person", mode=mode) as flowport:
        run = check(await flowport.call(APP, prompt="a lake"))
        listed = check(await flowport.call("list_runs"))
        balance = check(await flowport.call("get_balance"))
        found = check(await flowport.call("find_apps", query="text to picture"))
        again = check(await flowport.call("get_run", run_id=run["run_id"]))
        kept, app = await read(flowport, run["resource"]), await read(flowport, f"flowport://apps/{APP}")
        sidecars = [json.loads(path.read_text()) for path in flowport.outputs.rglob("*.json")]
    assert (run["state"], run["credits"], again["credits"]) == ("succeeded", "unknown", "unknown")
    assert [one["credits"] for one in listed["runs"]] == ["unknown"]
    account = balance["accounts"][0]
    assert (account["spent_credits_24_hours"], account["runs_of_unknown_cost_24_hours"]) == ("unknown", 1)
    assert "an unknown amount for 1 run of unknown price spent" in balance["summary"]
    assert [one["price_credits"] for one in found["apps"]] == ["unknown"]
    assert (kept["credits"], app["price_credits"]) == ("unknown", "unknown")
    assert [one["credits"] for one in sidecars] == [None]


@pytest.mark.parametrize("failing", [True, False])
async def test_a_batch_of_unknown_price_is_marked_everywhere(
    priceless: SandboxClient, tmp_path: Path, *, failing: bool
) -> None:
    """In its answer, its rows, its progress, its resource and its table; rows that failed there may have cost, too."""
    app, rows = ("always_fails", [{}, {}]) if failing else (APP, [{"prompt": "a"}, {"prompt": "b"}])
    async with open_harness(priceless, tmp_path / "person") as flowport:
        answer = await flowport.call("run_batch", app=app, rows=rows)
        facts = check(answer)
        listed = check(await flowport.call("list_runs"))
        kept = await read(flowport, facts["resource"])
        text = await anyio.Path(facts["csv"]).read_text(encoding="utf-8-sig")
    assert (facts["credits"], facts["runs_of_unknown_cost"]) == ("unknown", 2)
    assert [one["credits"] for one in listed["runs"]] == ["unknown"]
    assert [one["credits"] for one in kept["table"]] == ["unknown", "unknown"]
    assert [line["credits"] for line in csv.DictReader(text.splitlines())] == ["unknown", "unknown"]
    assert [message for _, message in flowport.progress if ZERO.search(message)] == []


async def test_a_free_app_costs_nothing(sandbox: SandboxClient, tmp_path: Path) -> None:
    """A price of 0 is a known price."""
    await sandbox.switch("catalogue", prices={IDS["Text to Picture"]: 0})
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        run = await flowport.ask(APP, prompt="a lake")
        batch = await flowport.ask("run_batch", app=APP, rows=[{"prompt": "a"}])
        balance = await flowport.ask("get_balance")
    assert (run["credits"], batch["credits"], batch.get("runs_of_unknown_cost")) == (0, 0, None)
    assert balance["accounts"][0]["spent_credits_24_hours"] == 0
    assert "0 credits spent" in balance["summary"]


async def test_a_reported_cost_of_0_is_known(face: MagicaClient, tmp_path: Path) -> None:
    """The price was unknown before the run; its final status reports that nothing was charged."""
    await face.switch(runs="detailed")
    await face.sandbox.switch("catalogue", prices={IDS["Text to Picture"]: 0})
    await face.sandbox.switch("faults", operation="estimate", fault="status", times=1000)
    async with MAGICA.open(face.sandbox, tmp_path / "person") as flowport:
        run = await flowport.ask(APP, **PROMPT)
        batch = await flowport.ask("run_batch", app=APP, rows=[PROMPT, PROMPT])
        listed = await flowport.ask("list_runs")
        balance = await flowport.ask("get_balance")
        kept = await read(flowport, run["resource"])
        sidecars = [json.loads(path.read_text())["credits"] for path in flowport.outputs.rglob("*.json")]
    assert (run["credits"], run.get("price_credits"), kept["credits"], sidecars[0]) == (0, None, 0, 0)
    assert (batch["credits"], batch.get("runs_of_unknown_cost")) == (0, None)
    assert [one["credits"] for one in listed["runs"]] == [0, 0]
    account = balance["accounts"][0]
    assert (account["spent_credits_24_hours"], account.get("runs_of_unknown_cost_24_hours", 0)) == (0, 0)


async def test_known_and_unknown_costs_are_summed_separately(sandbox: SandboxClient, tmp_path: Path) -> None:
    """A sum is reported as the known part, with the number of runs that it leaves out."""
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        await flowport.ask(APP, prompt="a lake")
    await sandbox.switch("dialect", tool_metadata=False)
    for path in (tmp_path / "person/home").rglob("catalogue/*.json"):
        path.unlink()
    async with open_harness(sandbox, tmp_path / "person") as flowport:
        await flowport.ask(APP, prompt="a hill")
        balance = await flowport.ask("get_balance")
    account = balance["accounts"][0]
    assert (account["spent_credits_24_hours"], account["runs_of_unknown_cost_24_hours"]) == (2, 1)
    assert "2 credits and an unknown amount for 1 run of unknown price spent" in balance["summary"]


SENT = replace(build_run("run_a"), price_credits=None, spent_credits=0.0, started_at=5.0)


@pytest.mark.parametrize(
    ("run", "cost"),
    [
        (replace(SENT, state=RunState.SUCCEEDED), None),
        (replace(SENT, state=RunState.FAILED), None),
        (replace(SENT, state=RunState.CANCELLED), None),
        (replace(SENT, state=RunState.UNKNOWN, started_at=None), None),
        (replace(SENT, state=RunState.FAILED, started_at=None), 0.0),
        (replace(SENT, state=RunState.CANCELLED, started_at=None), 0.0),
        (replace(SENT, state=RunState.SUCCEEDED, spent_credits=3.0), 3.0),
        (replace(SENT, state=RunState.SUCCEEDED, is_cost_reported=True), 0.0),
        (replace(SENT, state=RunState.CANCELLED, is_cost_reported=True), 0.0),
        (replace(SENT, state=RunState.SUCCEEDED, price_credits=0.0), 0.0),
        (replace(SENT, state=RunState.RUNNING, price_credits=5.0), None),
    ],
)
def test_a_cost_is_known_by_its_price_or_by_the_provider(run: Run, cost: float | None) -> None:
    """A run that was never sent cost nothing, whatever its price."""
    assert run.cost_credits == cost
