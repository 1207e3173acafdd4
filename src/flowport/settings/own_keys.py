"""Provider keys that people send with their requests: the header of each provider, and what a key opens."""

from dataclasses import replace

from flowport.domain.errors import ConfigurationError
from flowport.providers.registry import ProviderSettings
from flowport.settings.settings import Settings


def get_own_key_header(provider: str) -> str:
    """Return the header in which a person sends their own key of a provider."""
    return f"X-{provider.replace('_', '-').title()}-Api-Key"


def build_own_settings(settings: Settings, provider: str, key: str) -> ProviderSettings:
    """Return the settings of the account that a person's own key opens: those of the server, with another key.

    Raises:
        ConfigurationError: The server does not know where the provider's API is. The error never holds the key.
    """
    found = next((one for one in (*settings.providers, *settings.keyless) if one.provider == provider), None)
    if found is None:
        problem = "cannot be used, because the server does not know the address of this provider"
        raise ConfigurationError(get_own_key_header(provider), problem, "Ask the person who runs the server.")
    return replace(found, api_key=key)
