"""Ask a provider how a run is doing, once."""

from flowport.accounts import OpenAccount
from flowport.budget import Priority
from flowport.clock import Clock
from flowport.errors import Operation, ProviderBroken, ProviderError, ProviderRejected
from flowport.model import Run
from flowport.providers.interface import RunLook


async def fetch_look(run: Run, account: OpenAccount, clock: Clock) -> RunLook:
    """Return how a run is doing by its provider's word.

    Raises:
        ProviderError: No answer came, or it is a refusal.
    """
    await account.wait_for_turn(Priority.LOOK)
    return await look_now(run, account, clock)


async def look_now(run: Run, account: OpenAccount, clock: Clock) -> RunLook:
    """Return how a run is doing; the request was taken from the budget.

    Raises:
        ProviderError: No answer came, or it is a refusal.
    """
    provider = account.provider
    answer = await account.send_now(provider.build_look_request(run.provider_run_id))
    look = provider.parse_look(answer, now=clock.now())
    if look.told_run_id not in {"", run.provider_run_id.strip()}:
        # A mistaken cache or gateway: its state and its files belong to somebody else.
        raise ProviderBroken(provider.title, Operation.READ_RUN, answer.status, "it described another run")
    return look


def is_unknown_there(error: ProviderError) -> bool:
    """Tell whether the provider says that there is no such run."""
    return isinstance(error, ProviderRejected) and error.status == 404  # noqa: PLR2004
