"""Provider keys that people send with their requests: the header of each provider, and what a key opens."""

from dataclasses import replace
from typing import Final

from flowport.domain.errors import ConfigurationError
from flowport.providers.registry import ProviderSettings
from flowport.settings.settings import Settings

MIN_KEY_LENGTH: Final = 12
"""A key is removed from every log line, and a shorter text may stand in many of them by chance."""

MAX_KEY_LENGTH: Final = 512


def get_own_key_header(provider: str) -> str:
    """Return the header in which a person sends their own key of a provider."""
    return f"X-{provider.replace('_', '-').title()}-Api-Key"


def build_own_settings(settings: Settings, provider: str, key: str) -> ProviderSettings:
    """Return the settings of the account that a person's own key opens: those of the server, with another key.

    Raises:
        ConfigurationError: No key is so short or so long, or the server does not know where the provider's API is. The
            error never holds the key.
    """
    if not MIN_KEY_LENGTH <= len(key) <= MAX_KEY_LENGTH:
        raise ConfigurationError(
            get_own_key_header(provider), "does not have the length of a key", "Copy the whole key."
        )
    found = next((one for one in (*settings.providers, *settings.keyless) if one.provider == provider), None)
    if found is None:
        problem = "cannot be used, because the server does not know the address of this provider"
        raise ConfigurationError(get_own_key_header(provider), problem, "Ask the person who runs the server.")
    return replace(found, api_key=key)
