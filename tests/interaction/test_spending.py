"""The user's spending limits, as a client sees them; both protocol eras."""

from pathlib import Path
from typing import Any

import anyio
import mcp.types as t
import pytest
from mcp.client.context import ClientRequestContext
from mcp.client.session import ElicitationFnT
from mcp.shared.exceptions import MCPError

from flowport.domain.models import BootTime
from flowport.domain.spending import DAY_SECONDS, SpendingLimits, UnknownPrice
from flowport.runtime.clock import SystemClock
from tests.fakes.client import IDS
from tests.fakes.client import Client as SandboxClient
from tests.support.harness import MODES, Harness, Mode, open_harness
from tests.support.scripted import wait_until

TOOL, TITLE, PRICE = "text_to_picture", "Text to Picture", 2
PROMPT = {"prompt": "a lake"}
CHEAP = "always_fails"
"""An app of one credit, which is spent although the run fails."""


@pytest.fixture
async def priceless(sandbox: SandboxClient) -> SandboxClient:
    """Give a test a sandbox that returns no prices; some live lists have none."""
    await sandbox.switch("dialect", tool_metadata=False)
    return sandbox


class Person:
    """A user who is asked."""

    def __init__(self, *actions: Any) -> None:
        self.questions: list[str] = []
        self._actions = list(actions)

    async def answer(self, context: ClientRequestContext, params: t.ElicitRequestParams) -> t.ElicitResult:
        """Record the question and return the next answer."""
        self.questions.append(params.message)
        action = self._actions.pop(0)
        return t.ElicitResult(action=action, content={} if action == "accept" else None)


async def count_all(flowport: Harness) -> tuple[int, int]:
    """Return the number of runs at the provider and in the store."""
    history = await flowport.assembly.workspace.store.get_history(owner="local")
    return await flowport.count("run"), history.runs


async def wait_for_end(flowport: Harness, run_id: str) -> None:
    """Wait until this process has finished a run."""
    await wait_until(lambda: flowport.assembly.workspace.runner.get_entry(run_id) is None)


async def test_a_run_above_the_cap_per_run_is_refused(sandbox: SandboxClient, tmp_path: Path, mode: Mode) -> None:
    """No argument of the call lifts the cap, and runs below it are started."""
    spending_limits = SpendingLimits(max_credits_per_run=1.0)
    async with open_harness(sandbox, tmp_path / "person", mode=mode, spending_limits=spending_limits) as flowport:
        refusals = [
            await flowport.ask(TOOL, **PROMPT),
            await flowport.ask("run_app", app=TOOL, arguments=PROMPT, new_run=True),
        ]
        assert await count_all(flowport) == (0, 0)
        assert (await flowport.ask(CHEAP))["state"] == "failed"
    assert [one["error"] for one in refusals] == ["RunCapReached"] * 2
    assert refusals[0]["message"].startswith('Nothing was started: "Text to Picture" costs 2 credits')


async def test_the_daily_cap_is_enforced(sandbox: SandboxClient, tmp_path: Path, mode: Mode) -> None:
    """Failed runs count as spent and live ones as reserved; joining a run costs nothing, whatever the cap."""
    spending_limits = SpendingLimits(max_credits_per_day=3.0)
    async with open_harness(
        sandbox, tmp_path / "person", mode=mode, spending_limits=spending_limits, wait_seconds=0.0
    ) as flowport:
        await sandbox.switch("next_run", hold=True)
        going = await flowport.ask(TOOL, **PROMPT)
        again = await flowport.ask(TOOL, **PROMPT)
        refused = await flowport.ask(TOOL, prompt="a hill")
        balance = await flowport.ask("get_balance")
        await wait_for_end(flowport, (await flowport.ask(CHEAP))["run_id"])
        full = await flowport.ask("get_balance")
    assert again["run_id"] == going["run_id"]
    assert refused["error"] == "DayCapReached"
    assert "2 reserved for runs that go on, and 1 left" in refused["message"]
    names = ("spent_credits_24_hours", "reserved_credits", "max_credits_per_day", "left_credits_24_hours")
    assert [balance["accounts"][0][name] for name in names] == [0, 2, 3, 1]
    assert [full["accounts"][0][name] for name in names] == [1, 2, 3, 0]
    assert full["summary"] == (
        "1 credit spent through Flowport in the last 24 hours, 2 reserved for runs that go on; 0 left of the cap of 3."
    )


@pytest.mark.parametrize(("action", "runs"), [("accept", 1), ("decline", 0), ("cancel", 0)])
async def test_the_user_decides_about_a_price_above_the_threshold(
    sandbox: SandboxClient, tmp_path: Path, mode: Mode, action: str, runs: int
) -> None:
    """Nothing is stored or sent before the user answers."""
    person = Person(action)
    counts: list[tuple[int, int]] = []

    async def ask(context: ClientRequestContext, params: t.ElicitRequestParams) -> t.ElicitResult:
        """Record what exists while the user decides."""
        counts.append(await count_all(flowport))
        return await person.answer(context, params)

    spending_limits = SpendingLimits(confirm_above_credits=1.0)
    async with open_harness(
        sandbox, tmp_path / "person", mode=mode, ask_person=ask, spending_limits=spending_limits
    ) as flowport:
        answer = await flowport.ask(TOOL, **PROMPT)
        assert (await flowport.ask(CHEAP))["state"] == "failed"
        assert await flowport.count("run") == runs + 1
    assert counts == [(0, 0)]
    assert person.questions == ['Run "Text to Picture" for 2 credits?']
    assert answer.get("error", "") == ("" if runs else "NotConfirmed")
    assert answer.get("price_credits") == (PRICE if runs else None)


async def test_a_client_without_elicitation_gets_advice(sandbox: SandboxClient, tmp_path: Path, mode: Mode) -> None:
    """The refusal names the setting: the user can change the threshold, the model can't."""
    spending_limits = SpendingLimits(confirm_above_credits=1.0)
    async with open_harness(sandbox, tmp_path / "person", mode=mode, spending_limits=spending_limits) as flowport:
        refused = await flowport.ask(TOOL, **PROMPT)
        assert await count_all(flowport) == (0, 0)
    assert refused["error"] == "PriceUnconfirmed"
    assert "raise FLOWPORT_CONFIRM_ABOVE_CREDITS to 2 or more" in refused["message"]


async def test_the_confirmed_price_is_the_price_paid(sandbox: SandboxClient, tmp_path: Path, mode: Mode) -> None:
    """When it changes while the user decides, older clients' calls keep it, and newer ones ask again."""
    person = Person("accept", "accept")

    async def ask(context: ClientRequestContext, params: t.ElicitRequestParams) -> t.ElicitResult:
        """Raise the price meanwhile."""
        if not person.questions:
            await sandbox.switch("catalogue", prices={IDS[TITLE]: 9})
            await flowport.assembly.workspace.catalogs[0].catalog.refresh()
        return await person.answer(context, params)

    spending_limits = SpendingLimits(confirm_above_credits=1.0)
    async with open_harness(
        sandbox, tmp_path / "person", mode=mode, ask_person=ask, spending_limits=spending_limits
    ) as flowport:
        answer = await flowport.ask(TOOL, **PROMPT)
        assert await flowport.count("run") == 1
    prices = [2, 9] if mode == "auto" else [2]
    assert person.questions == [f'Run "{TITLE}" for {price} credits?' for price in prices]
    assert (answer["price_credits"], answer["credits"]) == (prices[-1], prices[-1])


async def test_only_an_answer_to_this_question_is_a_confirmation(sandbox: SandboxClient, tmp_path: Path) -> None:
    """An unrequested yes starts nothing, nor does one to the same price with other arguments."""
    yes: Any = {"confirm": t.ElicitResult(action="accept", content={})}
    spending_limits = SpendingLimits(confirm_above_credits=1.0)
    async with open_harness(
        sandbox, tmp_path / "person", ask_person=Person().answer, spending_limits=spending_limits
    ) as flowport:
        session = flowport.client.session
        forged = await session.call_tool(TOOL, PROMPT, input_responses=yes, allow_input_required=True)
        assert isinstance(forged, t.InputRequiredResult)
        with pytest.raises(MCPError, match="Invalid or expired requestState"):
            await session.call_tool(
                TOOL,
                {"prompt": "a hill"},
                input_responses=yes,
                request_state=forged.request_state,
                allow_input_required=True,
            )
        assert await count_all(flowport) == (0, 0)
        meant = await session.call_tool(
            TOOL, PROMPT, input_responses=yes, request_state=forged.request_state, allow_input_required=True
        )
        assert isinstance(meant, t.CallToolResult)
        assert await count_all(flowport) == (1, 1)


class SettableClock(SystemClock):
    """The machine's clock with a wall time that the test sets."""

    ahead_seconds = 0.0

    def now(self) -> float:
        """Return the set wall time."""
        return super().now() + self.ahead_seconds

    def boot_time(self) -> BootTime:
        """Return a monotonic time that no setting changes, on every system."""
        return BootTime("boot", self.monotonic())


@pytest.mark.parametrize("days", [2, -2])
async def test_setting_the_clock_forgets_no_spending(
    sandbox: SandboxClient, tmp_path: Path, mode: Mode, days: int
) -> None:
    """Neither the caps nor the balance trust the wall clock while the machine runs."""
    clock, spending_limits = SettableClock(), SpendingLimits(max_credits_per_day=3.0)
    async with open_harness(
        sandbox, tmp_path / "person", mode=mode, clock=clock, spending_limits=spending_limits
    ) as flowport:
        assert (await flowport.ask(TOOL, **PROMPT))["state"] == "succeeded"
        clock.ahead_seconds = days * DAY_SECONDS
        refused = await flowport.ask(TOOL, prompt="a hill")
        balance = (await flowport.ask("get_balance"))["accounts"][0]
    assert refused["error"] == "DayCapReached"
    assert (balance["spent_credits_24_hours"], balance["left_credits_24_hours"]) == (2, 1)


async def test_a_cap_reached_during_the_confirmation_holds(sandbox: SandboxClient, tmp_path: Path) -> None:
    """A confirmation accepts the price of one run, not more than the daily cap."""
    person = Person("accept", "accept")

    async def ask(context: ClientRequestContext, params: t.ElicitRequestParams) -> t.ElicitResult:
        """Let another process of the home spend meanwhile."""
        if not person.questions:
            async with open_harness(sandbox, tmp_path / "person") as other:
                await other.ask(TOOL, prompt="a hill")
        return await person.answer(context, params)

    spending_limits = SpendingLimits(max_credits_per_day=3.0, confirm_above_credits=1.0)
    async with open_harness(
        sandbox, tmp_path / "person", mode="legacy", ask_person=ask, spending_limits=spending_limits
    ) as flowport:
        answer = await flowport.ask(TOOL, **PROMPT)
        assert await flowport.count("run") == 1
    assert answer["error"] == "DayCapReached"


async def test_silence_is_a_refusal(sandbox: SandboxClient, tmp_path: Path) -> None:
    """A client whose user never answers gets a response within the wait budget."""
    spending_limits = SpendingLimits(confirm_above_credits=1.0)

    async def ask(context: ClientRequestContext, params: t.ElicitRequestParams) -> t.ElicitResult:
        """Do not answer."""
        await anyio.sleep_forever()
        raise AssertionError

    async with open_harness(
        sandbox, tmp_path / "person", mode="legacy", ask_person=ask, spending_limits=spending_limits, wait_seconds=0.0
    ) as flowport:
        assert (await flowport.ask(TOOL, **PROMPT))["error"] == "NotConfirmed"
        assert await count_all(flowport) == (0, 0)


@pytest.mark.parametrize("action", ["accept", "decline"])
async def test_an_uncertain_start_and_a_price_are_one_question(
    sandbox: SandboxClient, tmp_path: Path, mode: Mode, action: str
) -> None:
    """An uncertain earlier start and a high price are confirmed together, so the user is asked once per run."""
    person = Person("accept", action)
    spending_limits = SpendingLimits(confirm_above_credits=1.0)
    await sandbox.switch("faults", operation="run", fault="drop")
    async with open_harness(
        sandbox, tmp_path / "person", mode=mode, ask_person=person.answer, spending_limits=spending_limits
    ) as flowport:
        assert (await flowport.ask(TOOL, **PROMPT))["state"] == "unknown"
        answer = await flowport.ask("run_app", app=TOOL, arguments=PROMPT, new_run=True)
        assert await flowport.count("run") == (2 if action == "accept" else 1)
    assert len(person.questions) == 2
    assert person.questions[1].endswith(
        f'Start another one all the same? It is charged by itself. Run "{TITLE}" for 2 credits?'
    )
    assert answer.get("error", "") == ("" if action == "accept" else "NotConfirmed")


async def test_accepting_an_uncertain_start_does_not_confirm_a_price(
    sandbox: SandboxClient, tmp_path: Path, mode: Mode
) -> None:
    """Without elicitation the model may accept an uncertain start, but the price is the user's decision."""
    await sandbox.switch("faults", operation="run", fault="drop")
    async with open_harness(sandbox, tmp_path / "person", mode=mode) as flowport:
        assert (await flowport.ask(TOOL, **PROMPT))["state"] == "unknown"
    spending_limits = SpendingLimits(confirm_above_credits=1.0)
    async with open_harness(sandbox, tmp_path / "person", mode=mode, spending_limits=spending_limits) as flowport:
        answer = await flowport.ask("run_app", app=TOOL, arguments=PROMPT, new_run=True)
        assert await flowport.count("run") == 1
    assert answer["error"] == "PriceUnconfirmed"


UNKNOWN = 'Run "Text to Picture" without knowing the price?'


@pytest.mark.parametrize(
    ("rule", "can_ask", "outcome"),
    [
        (UnknownPrice.ALLOW, False, ("", 0)),
        (UnknownPrice.CONFIRM, True, ("", 1)),
        (UnknownPrice.CONFIRM, False, ("PriceUnconfirmed", 0)),
        (UnknownPrice.REFUSE, True, ("PriceUnknown", 0)),
    ],
)
async def test_an_app_without_a_known_price(
    priceless: SandboxClient, tmp_path: Path, rule: UnknownPrice, can_ask: bool, outcome: tuple[str, int]
) -> None:
    """The user's rule for unknown prices decides."""
    error, questions = outcome
    spending_limits = SpendingLimits(max_credits_per_run=1.0, unknown_price=rule)
    for mode in MODES:
        person = Person("accept")
        ask: ElicitationFnT | None = person.answer if can_ask else None
        async with open_harness(
            priceless, tmp_path / mode, mode=mode, ask_person=ask, spending_limits=spending_limits
        ) as flowport:
            before = await flowport.count("run")
            answer = await flowport.ask(TOOL, **PROMPT)
            assert await flowport.count("run") - before == (0 if error else 1)
            account = (await flowport.ask("get_balance"))["accounts"][0]
        assert (answer.get("error", ""), person.questions) == (error, [UNKNOWN] * questions)
        assert (account["max_credits_per_run"], account["max_credits_per_day"]) == (1, "no limit")
        assert (account["confirm_above_credits"], account["unknown_price"]) == ("no limit", rule)


async def test_open_questions_do_not_block_other_calls(sandbox: SandboxClient, tmp_path: Path) -> None:
    """Calls that need no confirmation are started, however many others wait for the user."""
    asked, decided = list[str](), anyio.Event()

    async def ask(context: ClientRequestContext, params: t.ElicitRequestParams) -> t.ElicitResult:
        """Answer after a while."""
        asked.append(params.message)
        await decided.wait()
        return t.ElicitResult(action="decline")

    spending_limits = SpendingLimits(confirm_above_credits=1.0)
    async with (
        open_harness(
            sandbox, tmp_path / "person", mode="legacy", ask_person=ask, spending_limits=spending_limits
        ) as flowport,
        anyio.create_task_group() as tasks,
    ):

        async def call(n: int) -> None:
            """Call an app above the threshold."""
            assert (await flowport.ask(TOOL, prompt=f"lake {n}"))["error"] == "NotConfirmed"

        for n in range(12):
            tasks.start_soon(call, n)
        await wait_until(lambda: len(asked) == 12)
        assert (await flowport.ask(CHEAP))["state"] == "failed"
        decided.set()


async def test_each_concurrent_call_sees_the_reservations_of_the_others(
    sandbox: SandboxClient, tmp_path: Path, mode: Mode
) -> None:
    """Concurrent calls of one process see each other's reservations as well."""
    spending_limits = SpendingLimits(max_credits_per_day=9.0)
    errors: list[str] = []
    async with open_harness(sandbox, tmp_path / "person", mode=mode, spending_limits=spending_limits) as flowport:

        async def call(n: int) -> None:
            """Make one of many calls."""
            errors.append((await flowport.ask(TOOL, prompt=f"lake {n}")).get("error", ""))

        async with anyio.create_task_group() as tasks:
            for n in range(12):
                tasks.start_soon(call, n)
        assert await flowport.count("run") == 4
    assert sorted(errors) == [""] * 4 + ["DayCapReached"] * 8
