"""The settings of `flowport serve --http`."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, TypeAlias

from flowport.domain.errors import ConfigurationError
from flowport.settings.values import Variable, parse_base_url, parse_choice, parse_list, parse_number, parse_switch

Network: TypeAlias = IPv4Network | IPv6Network

_parse_count: Final = parse_number(1, 1_000_000, is_whole=True)


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """How a server for several people behaves."""

    public_url: str = ""
    """The origin, and perhaps a path, under which clients and providers reach the server, without a slash at the end;
    empty for the address it listens at."""
    trusted_proxies: tuple[Network, ...] = ()
    """Whose X-Forwarded-For and X-Forwarded-Proto headers are believed; empty for none."""
    oauth_issuer: str = ""
    """Empty for no OAuth."""
    oauth_audience: str = ""
    """Empty for the address of the MCP endpoint."""
    oauth_scopes: tuple[str, ...] = ()
    """The scopes that each token must hold."""
    should_accept_own_keys: bool = False
    max_sessions: int = 1_000
    max_connections: int = 4_000
    requests_per_minute: int = 3_000
    """Of one person."""
    max_waiting_calls: int = 200
    """Of one person, side by side."""
    max_file_bytes: int = 2_000_000_000
    """Of one person's files: uploads and saved results."""
    link_hours: int = 168
    log_format: str = ""
    """`text` or `json`; empty for what suits the transport."""


def parse_networks(variable: Variable, text: str) -> tuple[Network, ...]:
    """Parse IP addresses or networks that are separated by commas."""
    try:
        return tuple(ip_network(part) for part in parse_list(variable, text))
    except ValueError:
        remedy = "It takes addresses or networks, such as 127.0.0.1, 10.0.0.0/8."
        raise ConfigurationError(variable.name, "holds something that is not an IP address", remedy) from None


_SCOPE: Final = re.compile(r"[!#-\[\]-~]+")


def parse_scopes(variable: Variable, text: str) -> tuple[str, ...]:
    """Parse scopes that are separated by commas or, as OAuth writes them, by spaces."""
    scopes = tuple(dict.fromkeys(one for part in parse_list(variable, text) for one in part.split()))
    if not all(map(_SCOPE.fullmatch, scopes)):
        remedy = "It takes names without quotation marks, such as flowport, runs:read."
        raise ConfigurationError(variable.name, "holds something that is not a scope", remedy)
    return scopes


HTTP_VARIABLES: Final = (
    Variable(
        "FLOWPORT_PUBLIC_URL",
        "The address under which clients and providers reach `serve --http`, such as `https://flowport.example.com`; "
        "with it providers report ended runs by webhook.",
        "the address it listens at",
        parse_base_url,
        "",
    ),
    Variable(
        "FLOWPORT_TRUSTED_PROXIES",
        "Reverse proxies whose `X-Forwarded-` headers are believed: IP addresses or networks, separated by commas.",
        "none",
        parse_networks,
        (),
    ),
    Variable(
        "FLOWPORT_OAUTH_ISSUER",
        "The OAuth 2.1 authorization server whose access tokens are accepted.",
        "none",
        parse_base_url,
        "",
    ),
    Variable(
        "FLOWPORT_OAUTH_AUDIENCE",
        "The audience that access tokens must name.",
        "the public address of the MCP endpoint",
        lambda _, text: text.strip(),
        "",
    ),
    Variable(
        "FLOWPORT_OAUTH_SCOPES",
        "The scopes that access tokens must hold, separated by commas.",
        "none",
        parse_scopes,
        (),
    ),
    Variable(
        "FLOWPORT_OWN_KEYS",
        "Whether people may send their own provider key in a header, for runs that their key pays.",
        "`false`",
        parse_switch,
        usual=False,
    ),
    Variable(
        "FLOWPORT_MAX_SESSIONS",
        "The most sessions of older clients at one process over HTTP; one person has a quarter of them at most.",
        "`1000`",
        _parse_count,
        1_000,
    ),
    Variable(
        "FLOWPORT_MAX_CONNECTIONS", "The most open connections to one process over HTTP.", "`4000`", _parse_count, 4_000
    ),
    Variable(
        "FLOWPORT_PERSON_REQUESTS_PER_MINUTE",
        "The most requests that one person sends to one process over HTTP in a minute.",
        "`3000`",
        _parse_count,
        3_000,
    ),
    Variable(
        "FLOWPORT_PERSON_MAX_WAITING_CALLS",
        "The most calls of one person that wait side by side at one process over HTTP.",
        "`200`",
        _parse_count,
        200,
    ),
    Variable(
        "FLOWPORT_PERSON_MAX_MEGABYTES",
        "The most that one person's uploads and saved results may occupy on a server, in megabytes.",
        "`2000`",
        _parse_count,
        2_000,
    ),
    Variable(
        "FLOWPORT_LINK_HOURS",
        "How long a server's links to results work, in hours.",
        "`168`",
        parse_number(1, 8_760, is_whole=True),
        168,
    ),
    Variable(
        "FLOWPORT_LOGS",
        "How the log on standard error is written: `text`, or `json` with one object a line.",
        "`json` with `--http`, else `text`",
        parse_choice("text", "json"),
        "",
    ),
)
