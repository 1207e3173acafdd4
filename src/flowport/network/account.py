"""Open accounts: the provider, the API client, and the origins whose files may be fetched."""

import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

import anyio

from flowport.domain.errors import (
    Breakage,
    FlowportError,
    Operation,
    ProviderBroken,
    ProviderError,
    ProviderRejected,
    ProviderUnreachable,
)
from flowport.domain.models import Account
from flowport.network.api_client import Api, Location, Permit, count_answer, report_limits
from flowport.network.provider_mcp import call_tool
from flowport.network.ratelimit.limiter import Priority, RateLimiter
from flowport.providers.interface import (
    ApiAnswer,
    ApiRequest,
    Conversation,
    Provider,
    ProviderRequest,
    ToolRequest,
)
from flowport.providers.parsing import parse_json

logger = logging.getLogger(__name__)

_NOT_FOUND: Final = frozenset({404, 405, 410, 421})
_SERVER_ERROR: Final = 500
_GATEWAY_ERRORS: Final = frozenset({501, 502, 504, 511})
"""Sent by a gateway on its own: there is no server behind it, or a login comes first."""
_NO_HTTP: Final = frozenset({Breakage.GARBLED, Breakage.BROKEN_OFF, Breakage.NO_ANSWER})
"""How a port ends a conversation behind which is another service."""

_LOOPBACK_ORIGIN: Final = re.compile(r"http://(127\.0\.0\.1|localhost|\[::1\]):[0-9]{1,5}")
SANDBOX_UPLOADS: Final = ApiRequest(Operation.REQUEST_UPLOAD, "GET", "/v1/ai/uploads")
T = TypeVar("T")


class OpenAccount:
    """One account with its provider and its API client.

    The API's address may not be known yet when the account is opened: the built-in sandbox is still starting. So it is
    looked up at the first request.
    """

    def __init__(
        self,
        account: Account,
        provider: Provider,
        limiter: RateLimiter,
        locate: Callable[[], Awaitable[Location]],
        *,
        is_sandbox: bool = False,
    ) -> None:
        self.account = account
        self.provider = provider
        self.limiter = limiter
        self.is_sandbox = is_sandbox
        self._locate = locate
        self._lock = anyio.Lock()
        self._api: Api | None = None
        self._location: Location | None = None

    def use_path_family(self, style: str) -> None:
        """Use another of the provider's path families from now on, also for runs that were started before."""
        families = (self.provider, *self.provider.alternatives)
        self.provider = next((one for one in families if one.style == style), self.provider)

    async def send(self, request: ProviderRequest, priority: Priority) -> ApiAnswer:
        """Send a request when the budget allows it.

        Raises:
            ProviderUnreachable: No answer came.
            DayUsedUp: Nothing was sent.
        """
        await self.wait_for_turn(priority, request.operation)
        if isinstance(request, ToolRequest):
            return await self.call_tool_now(request, priority)
        return await self.send_now(request)

    async def converse(self, conversation: Conversation[T], priority: Priority) -> T:
        """Send what a conversation asks for, one request after the other, and return what came of it.

        Raises:
            FlowportError: What the conversation raises.
        """
        try:
            request = next(conversation)
            while True:
                try:
                    answer = await self.send(request, priority)
                except ProviderError as exc:
                    request = conversation.throw(exc)
                else:
                    request = conversation.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    async def wait_for_turn(self, priority: Priority, operation: Operation = Operation.START_RUN) -> None:
        """Wait until the budget allows a request and the API's place is known; `send_now` follows.

        Raises:
            DayUsedUp: No request is allowed any more today; looks at runs wait instead.
        """
        await self._get_api()
        await self.limiter.take(priority, operation)

    async def send_now(self, request: ApiRequest, permit: Permit | None = None) -> ApiAnswer:
        """Send a request for which `wait_for_turn` was awaited; a start only where the permit does not raise.

        Raises:
            ProviderUnreachable: No answer came.
        """
        return await (await self._get_api()).send(request, permit)

    async def call_tool_now(self, request: ToolRequest, priority: Priority) -> ApiAnswer:
        """Call a tool of the provider's own MCP server; its first request was taken from the budget, it takes the others.

        Raises:
            ProviderUnreachable: No answer came.
        """
        await self._get_api()
        if self._location is None:
            raise AssertionError("the API's place is known once there is a way to it")
        take = partial(self.limiter.take, priority, request.operation)
        answer = await call_tool(request, self._location, self.provider.title, take=take)
        count_answer(self.limiter, request.operation, answer.status)
        report_limits(self.limiter, answer)
        return answer

    def explain(self, error: FlowportError) -> str:
        """Return an error's sentence, with the address that a person has set where it looks as if no API were there."""
        if self._location is None or not self._location.setting or not _looks_elsewhere(error):
            return str(error)
        return f"{error} {self._location.setting} is {self._location.base_url}: check that it is the address of {self.provider.title}'s API."

    async def fetch_file_origins(self) -> frozenset[str]:
        """Return the origins on this machine or network whose files may be fetched; none while they are not known."""
        try:
            await self._get_api()
        except ProviderError as exc:
            logger.info("where the sandbox keeps its files is not known yet: %s", exc)
            return frozenset()
        return frozenset() if self._location is None else self._location.file_origins

    async def localize(self, url: str) -> str:
        """Return a link as it leads to its file now: that of a built-in sandbox may name an earlier process's port."""
        link = url.strip()
        found = _LOOPBACK_ORIGIN.match(link) if self.is_sandbox else None
        if found is None:
            return url
        present = await self.fetch_file_origins()
        is_former = self._location is not None and found[0] in self._location.former_file_origins
        return next(iter(present)) + link[found.end() :] if is_former and len(present) == 1 else url

    async def has_upload(self, upload_id: str) -> bool:
        """Check whether the provider still has a file that was uploaded; only the built-in sandbox is asked.

        Raises:
            ProviderError: No answer came.
        """
        if not self.is_sandbox:
            return True
        answer = await self.send(SANDBOX_UPLOADS, Priority.START)
        try:
            return any(one["file_id"] == upload_id for one in parse_json(answer)["files"])
        except (ValueError, LookupError, TypeError):
            return False

    async def aclose(self) -> None:
        """Close every connection."""
        if self._api is not None:
            await self._api.aclose()

    async def forget_key(self) -> None:
        """Close every connection for good, and keep nothing that holds the key."""
        api, self._api, self._location = self._api, None, None
        self._locate = partial(_refuse_closed, self.provider.title)
        if api is not None:
            await api.aclose()

    async def _get_api(self) -> Api:
        location = await self._locate()
        # Each request asks twice, and as a rule nothing has moved.
        if self._api is not None and location is self._location:
            return self._api
        async with self._lock:
            if self._api is None or location != self._location:
                await self.aclose()
                self._api = Api(self.provider.title, location, self.limiter)
                self._location = location
            return self._api


async def _refuse_closed(title: str) -> Location:
    """Refuse to say where the API of an account is whose key is forgotten."""
    reason = "the key of this account is not in use here at the moment"
    raise ProviderUnreachable(title, Operation.READ_RUN, Breakage.UNUSABLE_SETTING, reason, "Send a request with it.")


def _looks_elsewhere(error: FlowportError) -> bool:
    """Check whether an answer, or the want of one, is that of an address without the API."""
    if isinstance(error, ProviderRejected):
        return error.status in _NOT_FOUND
    if isinstance(error, ProviderBroken):
        return error.status < _SERVER_ERROR or error.status in _GATEWAY_ERRORS
    return isinstance(error, ProviderUnreachable) and error.breakage in _NO_HTTP


@dataclass(frozen=True, slots=True)
class FixedLocation:
    """A place that is known from the start."""

    location: Location

    async def __call__(self) -> Location:
        """Return the place."""
        return self.location
