"""The addresses on which HTTP may listen."""

import asyncio
import socket

import pytest

from flowport.domain.errors import ConfigurationError
from flowport.web.listen_address import Address, format_host, is_private, listen, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8765", Address("127.0.0.1", 8765)),
        ("localhost:0", Address("127.0.0.1", 0)),
        ("[::1]:65535", Address("::1", 65535)),
        (" 127.9.9.9:1 ", Address("127.9.9.9", 1)),
        ("8765", Address("127.0.0.1", 8765)),
    ],
)
def test_an_address_of_this_computer_is_accepted(text: str, address: Address) -> None:
    """Each way of writing the loopback address is in use."""
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("example.com:8765", "names a host instead of an IP address"),
        ("127.0.0.1", "is not an address with a port"),
        (":8765", "is not an address with a port"),
        ("65536", "is not an address with a port"),
        ("87651234", "is not an address with a port"),
        ("127.0.0.1:65536", "is not an address with a port"),
        ("http://127.0.0.1:8765", "is not an address with a port"),
        ("[::1:8765", "is not an address with a port"),
    ],
)
def test_every_other_address_is_refused(text: str, words: str) -> None:
    """A server that listens elsewhere than its operator believes is found by others first."""
    with pytest.raises(ConfigurationError, match=words):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "is_loopback"),
    [("127.9.9.9:1", True), ("[::1]:1", True), ("0.0.0.0:1", False), ("[::]:1", False), ("192.168.1.5:1", False)],
)
def test_an_address_says_whether_other_computers_can_reach_it(text: str, is_loopback: bool) -> None:
    """Such a server never starts without authentication, and a public address makes any server one."""
    address = parse_address(text)
    assert address.is_loopback is is_loopback
    assert is_private(address, "") is is_loopback
    assert not is_private(address, "https://flowport.example.com")


def test_a_busy_port_is_reported() -> None:
    """A second start is the usual reason, and the user has to end the first."""
    with listen(Address("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"names port {port}, where another program listens"):
            listen(Address("127.0.0.1", port))


def test_an_unavailable_address_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ports below 1024 are reserved for the administrator on most systems."""

    def refuse(*args: object, **kwargs: object) -> socket.socket:
        """Fail as the system does."""
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(ConfigurationError, match="cannot be listened at: Permission denied"):
        listen(Address("127.0.0.1", 80))


@pytest.mark.parametrize(("host", "written"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_hosts_are_written_as_urls_write_them(host: str, written: str) -> None:
    """Host headers have the brackets."""
    assert format_host(host) == written
    assert Address(host, 1).origin == f"http://{written}:1"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_small_answers_do_not_wait_for_more(host: str) -> None:
    """As in Kludex/uvicorn#3149: without TCP_NODELAY each answer on a kept connection takes 40 ms."""
    is_quick = list[int]()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Record how a connection is set up, and close it."""
        connection = writer.get_extra_info("socket")
        is_quick.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    with listen(Address(host, 0)) as listener:
        async with await asyncio.start_server(accept, sock=listener):
            reader, writer = await asyncio.open_connection(*listener.getsockname()[:2])
            assert await reader.read() == b""
            writer.close()
    assert is_quick[0] != 0
