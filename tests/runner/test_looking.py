"""One look at a run."""

import pytest

from flowport.budget import Priority
from flowport.errors import Breakage, Operation, ProviderBroken, ProviderError, ProviderRefused, ProviderRejected
from flowport.model import RunState
from flowport.runner.looking import fetch_look, is_unknown_there
from tests.fake_clock import FakeClock
from tests.runner.samples import RUN, build_look
from tests.scripted import ScriptedAccount, build_breakage, in_turn

READ = ("Magnific", Operation.READ_RUN)


async def test_a_look_asks_once_and_not_urgently(clock: FakeClock) -> None:
    """Starts go before it, since people wait for them."""
    account = ScriptedAccount(in_turn(build_look("running")), clock)

    assert (await fetch_look(RUN, account, clock)).state is RunState.RUNNING
    assert account.priorities == [Priority.LOOK]


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
def test_only_one_answer_says_that_there_is_no_such_run(error: ProviderError, *, is_unknown: bool) -> None:
    """Everything else is said of the network, the key or the provider itself."""
    assert is_unknown_there(error) is is_unknown
