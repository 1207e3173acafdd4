"""Where HTTP may listen: on this computer alone, since nobody has to prove who they are."""

import errno
import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Final

from flowport.errors import ConfigurationError

FLAG: Final = "--http"
_LOCALHOST: Final = "localhost"
_ADDRESS: Final = re.compile(r"(?:(?:\[(?P<six>[0-9A-Fa-f:]+)\]|(?P<name>[^\[\]:/@]+)):)?(?P<port>[0-9]{1,5})")
_REMEDY: Final = "It takes an address of this computer and a port: 127.0.0.1:8765."
_MAX_PORT: Final = 65_535
_BACKLOG: Final = 128


@dataclass(frozen=True, slots=True)
class Address:
    """A host of this computer and a port of it."""

    host: str
    """An IP address, without brackets."""
    port: int
    """0 for any free one."""

    @property
    def origin(self) -> str:
        """The address as clients write it."""
        return f"http://{format_host(self.host)}:{self.port}"


def format_host(host: str) -> str:
    """Return the host as URLs write it."""
    return f"[{host}]" if ":" in host else host


def parse_address(text: str) -> Address:
    """Return the address that `HOST:PORT` or a port alone names.

    Raises:
        ConfigurationError: It is none, or other computers can reach it.
    """
    found = _ADDRESS.fullmatch(text.strip())
    if found is None or int(found["port"]) > _MAX_PORT:
        raise ConfigurationError(FLAG, "is no address with a port", _REMEDY)
    host = found["six"] or found["name"] or _LOCALHOST
    host = "127.0.0.1" if host.casefold() == _LOCALHOST else host
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise ConfigurationError(FLAG, "names a host instead of an IP address", _REMEDY) from None
    if not is_loopback:
        raise ConfigurationError(
            FLAG, "names an address that other computers can reach, which is not built in this version", _REMEDY
        )
    return Address(host, int(found["port"]))


def listen(address: Address) -> socket.socket:
    """Return a socket that accepts connections at the address.

    Raises:
        ConfigurationError: Another program is there, or nobody may be.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        listener = socket.create_server((address.host, address.port), family=family, backlog=_BACKLOG)
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            remedy = "End that program or choose another port; port 0 takes any free one."
            raise ConfigurationError(FLAG, f"names port {address.port}, where another program listens", remedy) from exc
        raise ConfigurationError(FLAG, f"cannot be listened at: {exc.strerror}", _REMEDY) from exc
    # By name: only of such sockets the event loop knows that small parts need not wait for more (TCP_NODELAY). Without
    # it each answer on a kept connection takes 40 ms.
    return socket.socket(family, listener.type, socket.IPPROTO_TCP, fileno=listener.detach())
