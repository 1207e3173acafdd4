"""Ask a provider how a run is doing, once."""

from flowport.accounts import OpenAccount
from flowport.budget import Priority
from flowport.clock import Clock
from flowport.errors import ProviderError, ProviderRejected
from flowport.model import Run
from flowport.providers.interface import RunLook


async def fetch_look(run: Run, account: OpenAccount, clock: Clock) -> RunLook:
    """Return how a run is doing by its provider's word.

    Raises:
        ProviderError: No answer came, or it is a refusal.
    """
    provider = account.provider
    answer = await account.send(provider.build_look_request(run.provider_run_id), Priority.LOOK)
    return provider.parse_look(answer, now=clock.now())


def is_unknown_there(error: ProviderError) -> bool:
    """Tell whether the provider says that there is no such run."""
    return isinstance(error, ProviderRejected) and error.status == 404  # noqa: PLR2004
