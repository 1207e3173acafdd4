"""Ask the person behind a client, in the manner of either protocol era.

Older clients are asked in the middle of a call. Since 2026-07-28 the call is answered with the question, and the client
makes it again with the person's answer; what was asked travels with it, sealed, so that a yes to one question is none
to another.
"""

import hashlib
import logging
import secrets
from collections import OrderedDict
from typing import Any, Final

import anyio
import mcp.types as t
from mcp.shared.exceptions import MCPError

from flowport.domain.spending import ConfirmationNeeded, Consent
from flowport.server.clients import MODERN_ERA, Context

logger = logging.getLogger(__name__)

_KEY: Final = "confirm"
_MARK: Final = "#"
MAX_USED: Final = 4096
"""Answers that are remembered; the seal on a question is good for ten minutes."""
_NOTHING_TO_FILL_IN: Final[dict[str, Any]] = {"type": "object", "properties": {}}


class Answers:
    """Remembers which answers of persons were used, so that one yes is one yes."""

    def __init__(self) -> None:
        """Begin with none used."""
        self._used: OrderedDict[str, None] = OrderedDict()

    def use(self, state: str) -> bool:
        """Tell whether the answer that goes with this state is used for the first time."""
        if state in self._used:
            return False
        self._used[state] = None
        while len(self._used) > MAX_USED:
            self._used.popitem(last=False)
        return True


class Confirmer:
    """Asks on behalf of one call."""

    def __init__(self, context: Context, params: t.CallToolRequestParams, answers: Answers) -> None:
        self._context = context
        self._params = params
        self._answers = answers

    async def ask(self, question: str, patience_seconds: float) -> Consent:
        """Return the person's answer; silence for so long is a no.

        Raises:
            ConfirmationNeeded: The client asks when the call is answered with `build_question`.
        """
        capabilities = self._context.session.client_capabilities
        if capabilities is None or capabilities.elicitation is None:
            return Consent.CANNOT_ASK
        if self._context.protocol_version == MODERN_ERA:
            return self._read_answer(question)
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

    def _read_answer(self, question: str) -> Consent:
        answer = (self._params.input_responses or {}).get(_KEY)
        state = self._params.request_state or ""
        is_for_this = state.partition(_MARK)[0] == _digest(question)
        if answer is None or not is_for_this or not self._answers.use(state):
            raise ConfirmationNeeded(question)
        return Consent.GIVEN if getattr(answer, "action", "") == "accept" else Consent.REFUSED


def build_question(error: ConfirmationNeeded) -> t.InputRequiredResult:
    """Return the answer that makes the client ask."""
    params = t.ElicitRequestFormParams(message=error.question, requested_schema=_NOTHING_TO_FILL_IN)
    # The number tells this time from every other: without it one answer could be handed in again and again.
    state = f"{_digest(error.question)}{_MARK}{secrets.token_hex(8)}"
    return t.InputRequiredResult(input_requests={_KEY: t.ElicitRequest(params=params)}, request_state=state)


def _digest(question: str) -> str:
    return hashlib.sha256(question.encode()).hexdigest()
