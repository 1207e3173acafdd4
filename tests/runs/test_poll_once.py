"""A single poll of a run."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from flowport.domain.errors import Breakage, Operation, ProviderBroken, ProviderError, ProviderRefused, ProviderRejected
from flowport.domain.models import RunState
from flowport.network.ratelimit.limiter import Priority
from flowport.providers.magica.api import Magica
from flowport.runs.poll import fetch_status, is_unknown_there
from tests.runs.samples import RUN, build_status
from tests.support.fake_clock import FakeClock
from tests.support.scripted import ScriptedAccount, build_answer, build_breakage, in_turn

RUN_AT_PROVIDER = replace(RUN, provider_run_id="remote-1")
READ = ("Magnific", Operation.READ_RUN)


async def test_a_poll_is_one_request_of_low_priority(clock: FakeClock) -> None:
    """Starts have priority, because callers wait for them."""
    account = ScriptedAccount(in_turn(build_status("running")), clock)

    assert (await fetch_status(RUN, account, clock)).state is RunState.RUNNING
    assert account.priorities == [Priority.POLL]


@pytest.mark.parametrize(
    ("error", "is_unknown"),
    [
        (ProviderRejected(*READ, 404), True),
        (ProviderRejected(*READ, 422), False),
        (ProviderRefused(*READ, 403), False),
        (ProviderBroken(*READ, 500, "odd"), False),
        (build_breakage(Breakage.NO_ANSWER), False),
    ],
)
def test_only_one_response_means_that_the_run_does_not_exist(error: ProviderError, *, is_unknown: bool) -> None:
    """All others concern the network, the key or the provider itself."""
    assert is_unknown_there(error) is is_unknown


OTHER_IDS = ["omps2OH829", "REMOTE-1", "remote-11", 5, True, ["remote-1"], {"id": "remote-1"}]


@pytest.mark.parametrize("reported", OTHER_IDS)
@pytest.mark.parametrize("name", ["run_id", "workflow_run_identifier"])
@pytest.mark.parametrize("status", ["completed", "failed", "running", "cancelled", "odd"])
async def test_the_status_of_another_run_is_an_invalid_response(
    clock: FakeClock, *, status: str, name: str, reported: object
) -> None:
    """Its end and its files belong to another run."""
    account = ScriptedAccount(in_turn(build_answer({"data": {"status": status, name: reported}})), clock)
    with pytest.raises(ProviderBroken, match="it described another run"):
        await fetch_status(RUN_AT_PROVIDER, account, clock)


@pytest.mark.parametrize(
    "reported", [{}, {"run_id": None}, {"run_id": ""}, {"run_id": " remote-1 "}, {"run_id": "remote-1"}]
)
async def test_a_status_with_this_id_or_none_is_accepted(clock: FakeClock, reported: dict[str, object]) -> None:
    """The documentation requires the id; a server that omits it is not refused for it."""
    account = ScriptedAccount(in_turn(build_answer({"data": {"status": "failed", **reported}})), clock)
    assert (await fetch_status(RUN_AT_PROVIDER, account, clock)).state is RunState.FAILED


@pytest.mark.parametrize("wrap", [lambda run: run, lambda run: {"run": run}, lambda run: {"data": run}])
@pytest.mark.parametrize("name", ["runId", "id"])
async def test_the_status_of_another_run_is_an_invalid_response_of_magica_too(
    clock: FakeClock, wrap: Callable[[object], object], name: str
) -> None:
    """In each format in which it describes a run."""
    other = build_answer(wrap({name: "other", "status": "COMPLETED", "response": "https://x.test/a.png"}))
    ours = build_answer(wrap({name: "remote-1", "status": "RUNNING"}))
    account = ScriptedAccount(in_turn(other, ours), clock, provider=Magica())
    with pytest.raises(ProviderBroken, match="it described another run"):
        await fetch_status(RUN_AT_PROVIDER, account, clock)
    assert (await fetch_status(RUN_AT_PROVIDER, account, clock)).state is RunState.RUNNING
