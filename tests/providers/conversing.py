"""Drive a provider's conversation with literals: each answer in turn, or an error in its place."""

from collections.abc import Iterator
from typing import TypeVar

from flowport.domain.errors import ProviderError
from flowport.providers.interface import ApiAnswer, ApiRequest, Conversation, ProviderRequest, ToolOffer, ToolRequest

T = TypeVar("T")


def converse(
    conversation: Conversation[T] | None,
    *answers: ApiAnswer | ProviderError,
    asked: list[ProviderRequest] | None = None,
) -> tuple[T, list[ProviderRequest]]:
    """Return what comes of a conversation that is given these answers, and what it asked for; all have to be used up."""
    assert conversation is not None
    asked = [] if asked is None else asked
    waiting: Iterator[ApiAnswer | ProviderError] = iter(answers)
    try:
        asked.append(next(conversation))
        while True:
            answer = next(waiting, None)
            assert answer is not None, f"nothing more was expected, but {asked[-1]} came"
            asked.append(conversation.throw(answer) if isinstance(answer, ProviderError) else conversation.send(answer))
    except StopIteration as end:
        assert next(waiting, None) is None, "an answer was left over"
        result: T = end.value
        return result, asked


def get_paths(asked: list[ProviderRequest]) -> list[str]:
    """Return the method and path of each request, or the tool that was called."""
    return [f"{one.method} {one.path}" if isinstance(one, ApiRequest) else f"tool {one.tool}" for one in asked]


def build_offer(name: str, description: str, *arguments: str) -> ToolOffer:
    """Return a tool as a server describes it."""
    return ToolOffer(name, description, frozenset(arguments))


def fill_in(request: ProviderRequest, offer: ToolOffer) -> object:
    """Return what a tool would be called with; None when it must not be."""
    assert isinstance(request, ToolRequest)
    return request.build_arguments(offer)
