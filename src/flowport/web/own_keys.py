"""A person's own provider keys, one header for each provider: parsed here, used for one request, never kept or logged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from flowport.actions.tenants import Tenants
from flowport.domain.errors import ConfigurationError
from flowport.domain.principal import Principal
from flowport.providers.registry import ProviderPlugin, get_plugins
from flowport.settings.api_keys import parse_api_key
from flowport.settings.own_keys import get_own_key_header


@dataclass(frozen=True, slots=True)
class OwnKeysRefused(Exception):
    """A request brought a key that is not used."""

    status: int
    sentence: str
    """Without the key."""

    def __str__(self) -> str:
        return self.sentence


@cache
def get_own_key_headers() -> Mapping[str, ProviderPlugin]:
    """Return the provider of each header, by the header's name as documents write it."""
    return {
        get_own_key_header(plugin.name): plugin for plugin in get_plugins() if plugin.find_row("api_key") is not None
    }


def parse_own_keys(headers: Sequence[tuple[bytes, bytes]], *, are_accepted: bool) -> Mapping[str, str]:
    """Return the keys in the headers of a request, by their providers' names.

    Raises:
        OwnKeysRefused: The server takes none, or a header holds no key.
    """
    found: dict[str, str] = {}
    for name, plugin in get_own_key_headers().items():
        values = [value for given, value in headers if given.lower() == name.lower().encode()]
        if not values:
            continue
        if not are_accepted:
            raise OwnKeysRefused(403, f"This server takes no keys of its users. Send the request without {name}.")
        if len(values) > 1:
            raise OwnKeysRefused(400, f"The request has several {name} headers. Send one.")
        found[plugin.name] = _parse(name, plugin, values[0].decode("latin-1"))
    return found


def _parse(name: str, plugin: ProviderPlugin, text: str) -> str:
    row = plugin.find_row("api_key")
    remedy = f"Send a key of {plugin.title}, or send the request without the header."
    if row is None:
        raise OwnKeysRefused(400, f"{name} is not used. {remedy}")
    try:
        key = parse_api_key(row, text)
    except ConfigurationError as exc:
        raise OwnKeysRefused(400, f"{name} {exc.problem}. {remedy}") from None
    if not key:
        raise OwnKeysRefused(400, f"{name} is empty. {remedy}")
    return key


async def resolve_accounts(principal: Principal, keys: Mapping[str, str], tenants: Tenants) -> Principal:
    """Return the principal with the ids of its accounts; own keys stand in the place of their providers' other accounts.

    Raises:
        FlowportError: An account cannot be opened.
    """
    if principal.account_ids is None and not keys:
        return principal
    kept = {one for one in tenants.account_ids if principal.may_use(one) and one.partition(":")[0] not in keys}
    own = {await tenants.open_own_account(provider, key, principal.owner) for provider, key in keys.items()}
    return replace(principal, account_ids=frozenset(kept | own))


def drop_headers(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers of a request without what only authentication may see."""
    secret = {b"authorization", *(name.lower().encode() for name in get_own_key_headers())}
    return [(name, value) for name, value in headers if name.lower() not in secret]
