"""Provider keys that people send with their requests: the header of each provider, and what the key opens."""

from dataclasses import replace
from typing import Final

from flowport.domain.errors import ConfigurationError
from flowport.providers.registry import ProviderPlugin, ProviderSettings, get_plugins
from flowport.settings.settings import Settings

MAX_KEY_LENGTH: Final = 512


def get_own_key_header(provider: str) -> str:
    """Return the header in which a person sends their own key of a provider."""
    return f"X-{provider.replace('_', '-').title()}-Api-Key"


def get_key_plugins() -> tuple[ProviderPlugin, ...]:
    """Return the providers that take a key."""
    return tuple(plugin for plugin in get_plugins() if plugin.find_row("api_key"))


def build_own_settings(settings: Settings, provider: str, key: str) -> ProviderSettings:
    """Return the settings of the account that a person's own key opens: those of the server, with another key.

    Raises:
        ConfigurationError: The text cannot be a key of this provider. The error names the header, and never holds the text.
    """
    header = get_own_key_header(provider)
    plugin = next((one for one in get_key_plugins() if one.name == provider), None)
    row = plugin.find_row("api_key") if plugin is not None else None
    if plugin is None or row is None or row.parse is None:
        raise ConfigurationError(header, "is not the header of an installed provider", "Send the request without it.")
    if len(key) > MAX_KEY_LENGTH:
        raise ConfigurationError(header, "is longer than any key", "Copy the key again.")
    try:
        parsed = row.parse(row, key)
    except ConfigurationError as exc:
        raise _name_headers(exc) from None
    if not parsed:
        raise ConfigurationError(header, "is empty", "Send a key, or leave the header out.")
    found = next((one for one in (*settings.providers, *settings.keyless) if one.provider == provider), None)
    if found is None:
        problem = f"cannot be used, because the address of {plugin.title} is not configured"
        raise ConfigurationError(header, problem, "Ask the person who runs this server.")
    return replace(found, api_key=parsed)


def _name_headers(error: ConfigurationError) -> ConfigurationError:
    """Return a refusal that names headers in the place of settings."""
    words = [error.setting, error.problem, error.remedy]
    for plugin in get_key_plugins():
        words = [one.replace(f"{plugin.prefix}API_KEY", get_own_key_header(plugin.name)) for one in words]
    setting, problem, remedy = (one.replace("remove the variable", "leave the header out") for one in words)
    return ConfigurationError(setting, problem, remedy.replace(" to it instead", " instead").replace("Set ", "Send "))
