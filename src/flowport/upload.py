"""The one way by which a file leaves: to the address that a provider named for it, and without our key.

The address is a stranger's, so it is checked like those of the fetcher: https, a usual port, a host all of whose
addresses are public, and the connection is made to the address that was checked. No redirect is followed. The sandbox
is exempt by its exact origin. The file is read as it is sent, and what was sent is compared with what was meant.
"""

import hashlib
import ssl
from collections.abc import AsyncIterator, Collection
from typing import TYPE_CHECKING, BinaryIO, Final

import anyio
import anyio.to_thread

from flowport.faultpoints import FaultPoint, reach
from flowport.fetch import Resolve, is_public_address, resolve_host
from flowport.labels import clean_line
from flowport.media.sources import CHUNK_BYTES, Fingerprint
from flowport.network.causes import get_breakage
from flowport.network.errors import UploadError
from flowport.providers.interface import UploadPlace

if TYPE_CHECKING:
    import httpx2

_STEP_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 10.0
_MAX_ADDRESSES: Final = 4
_PORTS: Final = frozenset({None, 443, 8443})


class Uploader:
    """Puts files where providers take them. The HTTP library is loaded by the first one."""

    def __init__(
        self,
        *,
        file_threads: anyio.CapacityLimiter,
        resolve: Resolve = resolve_host,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Prepare; nothing is opened yet. The arguments are those of the fetcher."""
        self._file_threads = file_threads
        self._resolve = resolve
        self._ssl_context = ssl_context

    async def put(
        self, place: UploadPlace, file: BinaryIO, expected: Fingerprint, *, trusted_origins: Collection[str]
    ) -> None:
        """Send the file, from its beginning, to its place.

        Raises:
            UploadError: It did not get there, or not as it was meant.
        """
        import httpx2  # noqa: PLC0415 - not before the first upload, for a quick start

        host = "an unreadable address"
        try:
            url = httpx2.URL(place.put_url)
            host = clean_line(url.host)
            with anyio.fail_after(place.put_seconds):
                addresses = await self._resolve_checked(url, trusted_origins)
                await self._send(url, addresses, place, file, expected)
        except TimeoutError as exc:
            raise UploadError(host, f"it took longer than {place.put_seconds:g} seconds") from exc
        # ValueError: the HTTP library lets it out for some malformed addresses.
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as exc:
            raise UploadError(host, str(get_breakage(exc))) from exc
        except OSError as exc:
            raise UploadError(host, f"the file cannot be read ({exc.strerror or type(exc).__name__})") from exc

    async def _resolve_checked(self, url: "httpx2.URL", trusted_origins: Collection[str]) -> list[str]:
        host = clean_line(url.host)
        is_trusted = f"{url.scheme}://{url.netloc.decode('ascii')}" in trusted_origins
        if not is_trusted and (url.scheme != "https" or url.port not in _PORTS or url.userinfo):
            raise UploadError(host, "its address is not one that files are sent to")
        try:
            addresses = await self._resolve(url.raw_host.decode("ascii"), url.port or 443)
        except (OSError, UnicodeError) as exc:
            raise UploadError(host, "its host is not known to the name service") from exc
        if not addresses or not (is_trusted or all(map(is_public_address, addresses))):
            raise UploadError(host, "its host is not on the public internet")
        return list(addresses[:_MAX_ADDRESSES])

    async def _send(
        self, url: "httpx2.URL", addresses: list[str], place: UploadPlace, file: BinaryIO, expected: Fingerprint
    ) -> None:
        import httpx2  # noqa: PLC0415 - loaded by now

        # The transport alone, for one file: no cookies, no redirects, no proxy, no line in the log.
        transport = httpx2.AsyncHTTPTransport(verify=self._ssl_context or True, trust_env=False)
        async with transport:
            for n, address in enumerate(addresses, 1):
                body = _Body(file, expected, self._file_threads)
                try:
                    response = await transport.handle_async_request(_build_request(url, address, place, body))
                except (httpx2.ConnectError, httpx2.ConnectTimeout):
                    if n == len(addresses):
                        raise
                    continue  # many hosts name an IPv6 address that this network cannot reach
                await response.aclose()
                break
        if not 200 <= response.status_code < 300:  # noqa: PLR2004
            raise UploadError(clean_line(url.host), f"its server answered HTTP {response.status_code}")
        if not body.is_as_expected:
            raise UploadError(clean_line(url.host), "the file changed while it was sent")


class _Body:
    """A file on its way, counted and digested as it goes."""

    def __init__(self, file: BinaryIO, expected: Fingerprint, threads: anyio.CapacityLimiter) -> None:
        self._file = file
        self._threads = threads
        self.expected = expected
        self._digest = hashlib.sha256()

    @property
    def is_as_expected(self) -> bool:
        """Whether what was sent is what was meant."""
        return self._digest.hexdigest() == self.expected.sha256

    async def iterate(self) -> AsyncIterator[bytes]:
        """Yield the file piece by piece, and never more of it than was announced."""
        remaining = self.expected.size_bytes
        await anyio.to_thread.run_sync(self._file.seek, 0, limiter=self._threads)
        while remaining > 0:
            chunk = await anyio.to_thread.run_sync(self._file.read, min(CHUNK_BYTES, remaining), limiter=self._threads)
            if not chunk:
                raise OSError("the file has become shorter")
            remaining -= len(chunk)
            self._digest.update(chunk)
            yield chunk
            reach(FaultPoint.DURING_UPLOAD)


def _build_request(url: "httpx2.URL", address: str, place: UploadPlace, body: _Body) -> "httpx2.Request":
    """Return a request that connects to the address and speaks to the host, with the provider's headers."""
    import httpx2  # noqa: PLC0415 - loaded by now

    return httpx2.Request(
        "PUT",
        url.copy_with(host=address),
        headers={
            **place.headers,
            "Host": url.netloc.decode("ascii"),
            "Content-Length": str(body.expected.size_bytes),
            "User-Agent": "flowport",
        },
        content=body.iterate(),
        extensions={
            "timeout": {"connect": _CONNECT_SECONDS, "read": 60.0, "write": _STEP_SECONDS, "pool": _STEP_SECONDS},
            "sni_hostname": url.raw_host.decode("ascii"),
        },
    )
