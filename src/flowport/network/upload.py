"""Upload a file to the address that a provider named for it, without our key.

The address is untrusted, so it is checked like those of downloads: https, a usual port, and a host that
`network.outlet` lets through. No redirect is followed. The sandbox is exempt by its exact origin. The file is read as it is sent, and what was sent is compared with what was meant.
"""

import hashlib
import ssl
from collections.abc import AsyncIterator, Callable, Collection
from typing import BinaryIO, Final

import anyio
import anyio.to_thread
import httpx2

from flowport.domain.text import clean_line
from flowport.media.local_files import CHUNK_BYTES, Fingerprint
from flowport.network.causes import UploadError, describe_file_failure
from flowport.network.file_route import PORTS, HostRefused, NotConnected, Outlet, Resolve, resolve_host
from flowport.providers.interface import UploadPlace
from flowport.runtime.failpoints import Failpoint, trigger

PASSING_STATUSES: Final = frozenset({408, 425, 429})
"""Of the statuses below 500, those after which the same request may succeed."""

_STEP_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 10.0

SLOWEST_BYTES_PER_SECOND: Final = 100_000
"""How slow a line may be: a place is good for a short time to begin with, and a gigabyte takes longer than that."""


class Uploader:
    """Puts files where providers take them."""

    def __init__(
        self,
        *,
        file_threads: anyio.CapacityLimiter,
        resolve: Resolve = resolve_host,
        ssl_context: ssl.SSLContext | None = None,
        outlet: Outlet | None = None,
    ) -> None:
        """Prepare; nothing is opened yet. The arguments are those of the fetcher, whose outlet may be shared."""
        self._file_threads = file_threads
        self._outlet = outlet or Outlet(resolve=resolve, ssl_context=ssl_context)

    async def put(
        self, place: UploadPlace, file: BinaryIO, expected: Fingerprint, *, trusted_origins: Collection[str]
    ) -> None:
        """Send the file, from its beginning, to its place.

        Raises:
            UploadError: It did not get there, or not as it was meant.
        """
        host, seconds = "an unreadable address", place.put_seconds
        try:
            url = httpx2.URL(place.put_url)
            host = clean_line(url.host)
            with anyio.fail_after(seconds) as scope:

                def begin() -> None:
                    """Give the file its time once there is a connection; the place's own is for reaching it."""
                    nonlocal seconds
                    seconds = count_put_seconds(place.put_seconds, expected.size_bytes)
                    scope.deadline = anyio.current_time() + seconds

                await self._send(url, place, _Body(file, expected, self._file_threads, begin), trusted_origins)
        except TimeoutError as exc:
            raise UploadError(host, f"it took longer than {seconds:g} seconds") from exc
        except (HostRefused, NotConnected) as exc:
            raise UploadError(host, str(exc)) from exc
        # ValueError: the HTTP library lets it out for some malformed addresses.
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as exc:
            raise UploadError(host, describe_file_failure(exc)) from exc
        except OSError as exc:
            raise UploadError(host, f"the file cannot be read ({exc.strerror or type(exc).__name__})") from exc

    async def _send(self, url: httpx2.URL, place: UploadPlace, body: "_Body", origins: Collection[str]) -> None:
        host = clean_line(url.host)
        is_trusted = f"{url.scheme}://{url.netloc.decode('ascii')}" in origins
        if not is_trusted and (url.scheme != "https" or url.port not in PORTS or url.userinfo):
            raise UploadError(host, "its address is not one that files are sent to", is_permanent=True)
        way = await self._outlet.find_way(url, is_trusted=is_trusted)
        response = await self._outlet.send(way, lambda connect_to: _build_request(url, connect_to, place, body))
        await response.aclose()
        if not 200 <= response.status_code < 300:  # noqa: PLR2004
            raise _build_refusal(host, response.status_code)
        if not body.is_as_expected:
            raise UploadError(host, "the file changed while it was sent", is_permanent=True)


def _build_refusal(host: str, status: int) -> UploadError:
    is_permanent = status < 500 and status not in PASSING_STATUSES  # noqa: PLR2004
    return UploadError(host, f"its server answered HTTP {status}", status=status, is_permanent=is_permanent)


def count_put_seconds(place_seconds: float, size_bytes: int) -> float:
    """Return how long sending a file may take at a place that is good for so long to begin with."""
    return place_seconds + size_bytes // SLOWEST_BYTES_PER_SECOND


class _Body:
    """A file on its way, counted and digested as it goes."""

    def __init__(
        self, file: BinaryIO, expected: Fingerprint, threads: anyio.CapacityLimiter, begin: Callable[[], None]
    ) -> None:
        self._file = file
        self._threads = threads
        self._begin = begin
        self.expected = expected
        self._digest = hashlib.sha256()

    @property
    def is_as_expected(self) -> bool:
        """Whether what was sent is what was meant."""
        return self._digest.hexdigest() == self.expected.sha256

    async def iterate(self) -> AsyncIterator[bytes]:
        """Yield the file piece by piece, from its beginning for each address that is tried, and no more than announced."""
        remaining = self.expected.size_bytes
        self._digest = hashlib.sha256()
        self._begin()
        await anyio.to_thread.run_sync(self._file.seek, 0, limiter=self._threads)
        while remaining > 0:
            chunk = await anyio.to_thread.run_sync(self._file.read, min(CHUNK_BYTES, remaining), limiter=self._threads)
            if not chunk:
                raise OSError("the file has become shorter")
            remaining -= len(chunk)
            self._digest.update(chunk)
            yield chunk
            trigger(Failpoint.DURING_UPLOAD)


def _build_request(url: httpx2.URL, address: str, place: UploadPlace, body: _Body) -> httpx2.Request:
    """Return a request to the address with the name as its host and the provider's headers."""
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
        },
    )
