"""Which hosts files may come from and go to. Pure, but for the name service that it is given."""

import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from functools import cache
from typing import Final, TypeAlias

import anyio

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""Find the addresses of a host, best first; OSError when there are none."""

PORTS: Final = frozenset({None, 443, 8443})
MAX_ADDRESSES: Final = 4

_PUBLIC_IPV6: Final = ipaddress.IPv6Network("2000::/3")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""Of a translator to IPv4, by which a network without it reaches the rest (RFC 6052); the last four bytes are the address."""
_PLACEHOLDERS: Final = ipaddress.IPv4Network("198.18.0.0/15")
"""For measurements (RFC 2544); some VPNs and proxies give an address of it to every name, and look it up again themselves."""

_LOCAL_ENDINGS: Final = frozenset(
    {"localhost", "local", "localdomain", "internal", "intranet", "private", "corp", "home", "lan", "arpa", "onion"}
)
"""The last labels of names that no public name service knows."""
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")


async def resolve_host(host: str, port: int) -> Sequence[str]:
    """Return the addresses that this computer's name service gives for a host, best first, each once."""
    with suppress(ValueError):
        # An address needs no name service, and a thread of it neither.
        return (str(ipaddress.ip_address(host)),)
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


def is_literal(host: str) -> bool:
    """Return whether a host is an address rather than a name, in any of the spellings that systems take for one."""
    last = host.rstrip(".").rpartition(".")[2]
    return ":" in host or not host.strip(".") or _NUMBER.fullmatch(last) is not None


def is_local_name(host: str) -> bool:
    """Return whether a name can only be one of the own network: a proxy would look it up there."""
    labels = host.rstrip(".").lower().split(".")
    return len(labels) < 2 or labels[-1] in _LOCAL_ENDINGS  # noqa: PLR2004 - a name and its domain


def is_public_address(address: str) -> bool:
    """Return whether an IP address, as the name service writes it, is one of the public internet.

    Of addresses that carry another one inside only those of NAT64 are judged, by what they carry; what the others lead to
    is for somebody else to say.
    """
    parsed = _parse(address)
    if parsed is None:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed in _NAT64:
        parsed = ipaddress.IPv4Address(parsed.packed[-4:])
    if any(parsed in network for network in _get_closed_networks() if network.version == parsed.version):
        return False
    # IANA has given out no other part of IPv6 for public use.
    is_assigned = isinstance(parsed, ipaddress.IPv4Address) or parsed in _PUBLIC_IPV6
    return is_assigned and parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


def is_placeholder(address: str) -> bool:
    """Return whether an address stands for whatever a VPN or a proxy of this computer makes of it."""
    parsed = _parse(address)
    return isinstance(parsed, ipaddress.IPv4Address) and parsed in _PLACEHOLDERS


async def are_placeholders_usual(api_hosts: Collection[str], resolve: Resolve) -> bool:
    """Return whether the name service of this computer gives placeholders for providers' own hosts too."""
    for host in sorted(api_hosts):
        with suppress(OSError, UnicodeError):
            if any(map(is_placeholder, await resolve(host, 443))):
                return True
    return False


def _parse(address: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None


@cache
def _get_closed_networks() -> tuple[IPNetwork, ...]:
    """Return what counts as closed besides what `ipaddress` itself says, which differs between Python versions."""
    return tuple(
        map(
            ipaddress.ip_network,
            (
                "100.64.0.0/10",  # carrier-grade NAT
                "168.63.129.16/32",  # the wire server of Azure's virtual machines
                "192.0.0.0/24",  # protocol assignments; a cloud's metadata service among them
                "192.88.99.0/24",  # 6to4 relays
                "198.18.0.0/15",  # benchmarking
                "2001::/23",  # protocol assignments; Teredo among them
                "2001:db8::/32",  # documentation
                "2002::/16",  # 6to4
                "3fff::/20",  # documentation
            ),
        )
    )
