"""The sandbox as our child."""

import sys

import pytest

from flowport.builtin_sandbox import SANDBOX_ACCOUNT, BuiltInSandbox
from flowport.errors import ProviderUnreachable
from flowport.providers.magnific import Magnific

GONE = [sys.executable, "-c", "raise SystemExit(3)"]
TALKS_NONSENSE = [sys.executable, "-c", "print('[]')"]


@pytest.fixture
def provider() -> Magnific:
    """Speak to the sandbox."""
    return Magnific(title="The sandbox")


async def test_it_is_started_once_and_again_when_it_has_died(provider: Magnific) -> None:
    """A child that the system kills must not leave us without apps."""
    sandbox = BuiltInSandbox(provider)
    try:
        first, same = await sandbox.locate(), await sandbox.locate()
        assert sandbox._process is not None
        sandbox._process.kill()
        await sandbox._process.wait()
        second = await sandbox.locate()
    finally:
        await sandbox.aclose()

    assert first is same
    assert second.base_url != first.base_url or second.headers != first.headers
    assert first.is_loopback


@pytest.mark.parametrize("command", [GONE, TALKS_NONSENSE, ["/nowhere/python"]], ids=["gone", "nonsense", "missing"])
async def test_a_child_that_does_not_start_is_an_unreachable_provider(provider: Magnific, command: list[str]) -> None:
    """The list of tools then says why there are none."""
    sandbox = BuiltInSandbox(provider, command=command)

    with pytest.raises(ProviderUnreachable):
        await sandbox.locate()
    await sandbox.aclose()


def test_its_account_outlives_port_and_key() -> None:
    """Names and catalogue are kept from one start to the next."""
    assert SANDBOX_ACCOUNT.id == "magnific:sandbox:builtin"
