"""Read answers: as JSON, as the outcome of a start, or as the error that they are. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from flowport.domain.errors import (
    InputFlaw,
    Operation,
    ProviderBroken,
    ProviderBusy,
    ProviderError,
    ProviderRefused,
    ProviderRejected,
)
from flowport.providers.input_errors import format_flaws
from flowport.providers.interface import ApiAnswer, NotTaken, Started, StartOutcome, Uncertain
from flowport.providers.parsing import clean_answer, describe_body, parse_json
from flowport.providers.rate_limit_headers import parse_retry_after

NOT_TAKEN_STATUSES: Final = frozenset({400, 401, 402, 403, 404, 405, 413, 415, 422, 429})
"""Answers to a start request that prove that no run was started. So does every 3xx."""

Words: TypeAlias = tuple[str, tuple[InputFlaw, ...]]
"""What a refusal says of the whole request, and of single inputs."""


@dataclass(frozen=True, slots=True)
class AnswerReader:
    """Reads the answers of one provider."""

    title: str
    parse_words: Callable[[ApiAnswer], Words]
    """Finds the provider's words in a refusal."""
    choose_status: Callable[[ApiAnswer, Operation], int] = lambda answer, _: answer.status
    """Returns the status by which other providers refuse for the same reason."""

    def build_refusal(self, answer: ApiAnswer, operation: Operation) -> ProviderError:
        """Return the error for an answer whose status is not a success."""
        status = self.choose_status(answer, operation)
        opening, flaws = self.parse_words(answer)
        detail = format_flaws(opening, flaws)
        if status in {401, 402, 403}:
            return ProviderRefused(self.title, operation, status, detail)
        if status in {429, 503}:
            return ProviderBusy(self.title, operation, status, parse_retry_after(answer.headers))
        if 400 <= status < 500:  # noqa: PLR2004
            opening = opening if flaws else ""
            return ProviderRejected(self.title, operation, status, detail, flaws=flaws, opening=opening)
        kind = "with a redirect (HTTP {})" if 300 <= status < 400 else "HTTP {}"  # noqa: PLR2004
        return self.build_broken(answer, operation, f"it answered {kind.format(status)}")

    def build_broken(self, answer: ApiAnswer, operation: Operation, problem: str) -> ProviderBroken:
        """Return the error for an answer that breaks the contract."""
        return ProviderBroken(self.title, operation, answer.status, problem)

    def parse_body(self, answer: ApiAnswer, operation: Operation) -> Any:
        """Return the JSON of a success.

        Raises:
            ProviderError: The answer is a refusal, or not JSON.
        """
        if not 200 <= answer.status < 300:  # noqa: PLR2004
            raise self.build_refusal(answer, operation)
        try:
            return parse_json(answer)
        except ValueError as exc:
            raise self.build_broken(answer, operation, "its answer is not the JSON that it promises") from exc

    def parse_start(self, answer: ApiAnswer, parse_run: Callable[[Any], Started | None]) -> StartOutcome:
        """Return what the answer to a start request proves.

        Args:
            parse_run: Returns the run that the JSON of a success names; None, or ValueError, when it names none.
        """
        operation = Operation.START_RUN
        if is_not_taken(answer.status):
            return NotTaken(self.build_refusal(answer, operation))
        try:
            body = self.parse_body(answer, operation)
            started = parse_run(body)
        except (ValueError, ProviderError) as exc:
            if isinstance(exc, ProviderError) and not 200 <= answer.status < 300:  # noqa: PLR2004
                return Uncertain(exc, clean_answer(answer))
            started = None
        if started is not None:
            return started
        problem = f"it answered that the run was started, but {describe_body(answer)}"
        return Uncertain(self.build_broken(answer, operation, problem), clean_answer(answer))


def is_not_taken(status: int) -> bool:
    """Check whether this status, answered to a start request, proves that no run was started."""
    return status in NOT_TAKEN_STATUSES or 300 <= status < 400  # noqa: PLR2004
