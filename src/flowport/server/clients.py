"""The clients of both eras: identify them, report progress, and ask the person there.

Older clients are asked in the middle of a call. Since 2026-07-28 the call is answered with the question, and the client
repeats it with the person's answer; the question is included and sealed, so that consent to one does not answer another,
and the seal names the owner, so that it is worthless to every other one.
"""

import hashlib
import json
import logging
import secrets
import time
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

import anyio
import mcp.types as t
from mcp.server import ServerRequestContext
from mcp.server.context import CallNext, HandlerResult
from mcp.shared.exceptions import MCPError
from mcp.shared.jsonrpc_dispatcher import progress_token_from_params

from flowport.domain.call_errors import ConfirmationNeeded
from flowport.domain.principal import LOCAL, Principal
from flowport.domain.spending import Consent
from flowport.domain.text import clean_line
from flowport.runtime.exchange import Exchange

if TYPE_CHECKING:
    # The first list of a person's server comes before what the store loads.
    from flowport.store.cluster import UsedMarks

logger = logging.getLogger(__name__)

REPORT_TIMEOUT_SECONDS: Final = 1.0
"""How long a client that has stopped reading may hold up a progress notification."""

MODERN_ERA: Final = "2026-07-28"
SESSION_HEADER: Final = "mcp-session-id"
STDIO: Final = "stdio"
"""The connection of a client that is alone with this process."""

Context: TypeAlias = ServerRequestContext[Any, Any]

MAX_USED: Final = 4096
"""Answers of persons that are remembered; the seal on a question is valid for ten minutes."""

QUESTION_SECONDS: Final = 600.0
"""How long the seal on a question is valid."""

_KEY: Final = "confirm"
_MARK: Final = "#"
_NOTHING_TO_FILL_IN: Final[dict[str, Any]] = {"type": "object", "properties": {}}

EXCHANGE_KEY: Final = "flowport.runs.delivery"
"""Where the scope of a request over HTTP keeps its exchange."""


PRINCIPAL_KEY: Final = "flowport.principal"
"""Where the scope of an authenticated request over HTTP keeps its principal."""


async def provide_exchange(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Make an exchange for a request whose transport has made none: a middleware.

    Without a transport that reports writes, the content of the answer counts as undelivered.
    """
    found = find_exchange(ctx)
    if found is not None and found.request_id is None:
        found.request_id = ctx.request_id
        found.is_progress_wanted = progress_token_from_params(ctx.params) is not None
    if ctx.request_id is None or found is not None:
        return await call_next(ctx)
    exchange = Exchange(ctx.request_id)
    if ctx.request is None:
        ctx = replace(ctx, request=exchange)
    else:
        ctx.request.scope[EXCHANGE_KEY] = exchange
    try:
        return await call_next(ctx)
    finally:
        exchange.note_disconnected()


async def read_argument_text(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Read the arguments of a call that come as JSON text: a middleware, because the library's refusal names nothing.

    Raises:
        MCPError: They are no object.
    """
    if ctx.method != "tools/call" or ctx.params is None or "arguments" not in ctx.params:
        return await call_next(ctx)
    arguments = parse_argument_text(ctx.params["arguments"])
    return await call_next(replace(ctx, params={**ctx.params, "arguments": arguments}))


def parse_argument_text(value: Any) -> dict[str, Any] | None:
    """Return the arguments of a call; an object may come as JSON text, and nothing as blank text.

    Raises:
        MCPError: They are no object.
    """
    if value is None or isinstance(value, dict):
        return value
    if not isinstance(value, str):
        raise _refuse_arguments("is not an object")
    try:
        found = json.loads(value, parse_constant=_refuse_constant) if value.strip() else {}
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError as exc:
        raise _refuse_arguments("holds half of a character (a lone surrogate)") from exc
    except (ValueError, RecursionError) as exc:
        raise _refuse_arguments("is text that is not a JSON object") from exc
    if found is None or isinstance(found, dict):
        return found
    raise _refuse_arguments("is text that is not a JSON object")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _refuse_arguments(problem: str) -> MCPError:
    words = 'Nothing was started and nothing is charged. Give an object, such as {"prompt": "a lake"}.'
    return MCPError(t.INVALID_PARAMS, f"arguments {problem}. {words}")


def find_exchange(context: Context) -> Exchange | None:
    """Return the exchange of a request; None for a notification."""
    request = context.request
    found = request if request is None or isinstance(request, Exchange) else request.scope.get(EXCHANGE_KEY)
    return found if isinstance(found, Exchange) else None


def get_principal(context: Context) -> Principal:
    """Return who sends a request; the person at this computer where no authentication says otherwise."""
    request = context.request
    found = None if request is None or isinstance(request, Exchange) else request.scope.get(PRINCIPAL_KEY)
    return found if isinstance(found, Principal) else LOCAL


def is_stateless(context: Context) -> bool:
    """Return whether the client has no session, so that request ids may repeat."""
    request = context.request
    return request is not None and not isinstance(request, Exchange) and not request.headers.get(SESSION_HEADER)


def get_connection_key(context: Context) -> str:
    """Return a key that all requests of one client share, as far as they can be recognised, and none of another owner."""
    request = context.request
    if request is None or isinstance(request, Exchange):
        return STDIO
    # Owners behind one proxy have the same address, and their programs the same name.
    owner = json.dumps(get_principal(context).owner)
    if session_id := request.headers.get(SESSION_HEADER):
        return f"{owner} session {session_id}"
    # Since 2026-07-28 each request over HTTP stands alone: the same program on the same machine is the same client.
    client = context.session.client_params
    return f"{owner} {request.client.host if request.client else ''} {clean_line(client.client_info.name) if client else ''}"


def build_seal(context: Context) -> str:
    """Return what the seal on a question names: who was asked, and whose accounts would pay."""
    principal = get_principal(context)
    accounts = None if principal.account_ids is None else sorted(principal.account_ids)
    return json.dumps([principal.owner, accounts])


class UsedConfirmations:
    """Remembers which answers of persons were used, so that one yes counts once."""

    def __init__(self, marks: "UsedMarks | None" = None) -> None:
        """Begin with none used; replicas of a team share the marks, because any of them may get the answer."""
        self._marks = marks
        self._used: OrderedDict[str, None] = OrderedDict()

    async def use(self, state: str, now: float) -> bool:
        """Return whether the answer that goes with this state is used for the first time.

        Raises:
            StoreError: The shared marks cannot be read.
        """
        if self._marks is not None:
            mark = f"answer:{hashlib.sha256(state.encode()).hexdigest()}"
            return await self._marks.use(mark, expires_at=now + QUESTION_SECONDS, now=now)
        if state in self._used:
            return False
        self._used[state] = None
        while len(self._used) > MAX_USED:
            self._used.popitem(last=False)
        return True


class McpCaller:
    """A client that sends a request."""

    def __init__(
        self,
        context: Context,
        arrived_at_seconds: float,
        params: t.CallToolRequestParams | None = None,
        used: UsedConfirmations | None = None,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            params: Those of a tool call, in which the person can be asked; None for another request.
            used: The answers of persons that were used before.
        """
        exchange, client = find_exchange(context), context.session.client_params
        if exchange is None:
            raise RuntimeError("a request has no exchange")
        self.arrived_at_seconds = arrived_at_seconds
        self.principal = get_principal(context)
        self.owner = self.principal.owner
        self.connection = get_connection_key(context)
        self.client = clean_line(client.client_info.name) if client else ""
        self.exchange = exchange
        self._context = context
        self._params = params
        self._used = used or UsedConfirmations()
        self._last_progress = -1.0

    @property
    def is_progress_wanted(self) -> bool:
        """Whether the request has a progress token."""
        return self.exchange.is_progress_wanted

    async def report(self, elapsed_seconds: float, message: str) -> None:
        """Send progress: always more than before, and never for long."""
        self._last_progress = max(elapsed_seconds, self._last_progress + 0.001)
        with anyio.move_on_after(REPORT_TIMEOUT_SECONDS):
            await self._context.session.report_progress(self._last_progress, None, message)

    async def confirm(self, question: str, patience_seconds: float) -> Consent:
        """Return the person's answer; silence for so long is a no.

        Raises:
            ConfirmationNeeded: The client asks when the call is answered with `build_question`.
        """
        capabilities = self._context.session.client_capabilities
        if capabilities is None or capabilities.elicitation is None:
            return Consent.CANNOT_ASK
        if self._context.protocol_version == MODERN_ERA:
            return await self._read_answer(question)
        with anyio.move_on_after(patience_seconds):
            try:
                result = await self._context.session.elicit_form(
                    question, _NOTHING_TO_FILL_IN, self._context.request_id
                )
            except MCPError as exc:
                logger.warning("the client cannot ask the person: %s", exc)
                return Consent.CANNOT_ASK
            return Consent.GIVEN if result.action == "accept" else Consent.REFUSED
        return Consent.REFUSED

    async def _read_answer(self, question: str) -> Consent:
        given = self._params.input_responses if self._params else None
        state = (self._params.request_state if self._params else None) or ""
        answer = (given or {}).get(_KEY)
        is_for_this = state.partition(_MARK)[0] == _digest(question)
        if answer is None or not is_for_this or not await self._used.use(state, time.time()):
            raise ConfirmationNeeded(question)
        return Consent.GIVEN if getattr(answer, "action", "") == "accept" else Consent.REFUSED


def build_question(error: ConfirmationNeeded) -> t.InputRequiredResult:
    """Return the answer that makes the client ask."""
    params = t.ElicitRequestFormParams(message=error.question, requested_schema=_NOTHING_TO_FILL_IN)
    # The random part makes each question different: without it one answer could be used again and again.
    state = f"{_digest(error.question)}{_MARK}{secrets.token_hex(8)}"
    return t.InputRequiredResult(input_requests={_KEY: t.ElicitRequest(params=params)}, request_state=state)


def _digest(question: str) -> str:
    return hashlib.sha256(question.encode()).hexdigest()
