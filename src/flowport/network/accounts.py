"""Open the accounts that the settings name, or the sandbox's when they name none, and those of people's own keys."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

from flowport.domain.models import Account
from flowport.network.account import FixedLocation, OpenAccount
from flowport.network.api_client import Location
from flowport.network.ratelimit.learned_limit import DEFAULT_CEILING
from flowport.network.ratelimit.limiter import RateLimiter
from flowport.network.ratelimit.state import SharedFile, SharedState
from flowport.network.sandbox_process import FOLDER_NAME, BuiltInSandbox, SandboxAccount
from flowport.providers.interface import Provider
from flowport.providers.registry import ProviderSettings, build_demo_account, get_demo_plugin, get_plugin
from flowport.runtime.clock import Clock
from flowport.settings.settings import Settings


@dataclass(frozen=True, slots=True)
class AccountOpener:
    """Opens accounts, each with its own rate limiter."""

    settings: Settings
    clock: Clock
    windows: SharedFile
    """The requests of all processes of the home."""
    process_id: str

    def open(self, configured: ProviderSettings) -> OpenAccount:
        """Return the account of a key."""
        provider = get_plugin(configured.provider).build(configured)
        account = configured.account
        location = Location(
            configured.base_url,
            provider.build_headers(configured.api_key, configured.host),
            configured.api_key,
            is_loopback=configured.is_loopback,
            setting=configured.base_url_setting,
            file_origins=configured.file_origins,
        )
        return OpenAccount(account, provider, self.build_limiter(account, provider), FixedLocation(location))

    def build_limiter(self, account: Account, provider: Provider, *, is_limited: bool = True) -> RateLimiter:
        """Build the rate limiter of an account. The setting is a ceiling: the limit below it starts at the documented one."""
        per_minute, per_day = self.settings.requests_per_minute, self.settings.requests_per_day
        documented = provider.requests_per_minute if is_limited else 0
        ceiling = (max(documented, DEFAULT_CEILING) if documented else 0) if per_minute is None else per_minute
        return RateLimiter(
            min(documented or ceiling, ceiling),
            self.clock,
            ceiling=ceiling,
            title=provider.title,
            per_day=(provider.requests_per_day if is_limited else 0) if per_day is None else per_day,
            window=SharedState(self.windows, account.id, self.clock),
            process_id=self.process_id,
        )


def open_accounts(opener: AccountOpener, *, is_home_usable: bool, stack: AsyncExitStack) -> list[OpenAccount]:
    """Return the open accounts of the settings; what they hold is closed by the stack.

    Args:
        is_home_usable: Whether the sandbox may keep its results.
    """
    settings = opener.settings
    if settings.providers:
        return [opener.open(configured) for configured in settings.providers]
    plugin = get_demo_plugin()
    assert plugin.build_demo is not None  # noqa: S101 - that is what it was chosen by
    provider = plugin.build_demo()
    sandbox = BuiltInSandbox(provider, settings.home / FOLDER_NAME if is_home_usable else None)
    stack.push_async_callback(sandbox.aclose)
    account = build_demo_account(plugin)
    return [SandboxAccount(account, provider, opener.build_limiter(account, provider, is_limited=False), sandbox)]
