"""What a person is asked, and what was said."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from flowport.errors import FlowportError


class Consent(Enum):
    """What the person said."""

    GIVEN = "given"
    REFUSED = "refused"
    """Or did not say anything in time."""
    CANNOT_ASK = "cannot ask"
    """The client has no way to ask."""


@dataclass(eq=False)
class StartInDoubt(FlowportError):
    """An equal run was sent to the provider and nobody knows whether it was started; nothing new was started."""

    provider: str
    """As people write it."""
    run_id: str
    sent_at: float
    failure: str
    """Why its fate is unknown, as sentences."""
    is_for_batch: bool = False
    """Whether many runs were asked for, one of which is in doubt."""

    @property
    def question(self) -> str:
        """What a person is asked before another one is started."""
        another = "Start the whole batch" if self.is_for_batch else "Start another one"
        return f"{self._doubt} {another} all the same? It is charged by itself."

    @property
    def _doubt(self) -> str:
        sent = datetime.fromtimestamp(self.sent_at, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")
        return f"{self.run_id}, sent to {self.provider} at {sent}, asked for the same. {self.failure}"

    def __str__(self) -> str:
        return (
            f"Nothing new was started: {self._doubt} If it is not there, "
            f"{'the same call' if self.is_for_batch else 'run_app'} with new_run true starts another one, which is charged by "
            "itself."
        )


@dataclass(eq=False)
class ConfirmationNeeded(FlowportError):
    """The person must be asked first, and the client asks when the call is answered with the question."""

    question: str

    def __str__(self) -> str:
        return f"Nothing was started yet: the person is asked first {_quote(self.question)}."


@dataclass(eq=False)
class NotConfirmed(FlowportError):
    """The person was asked and did not agree; nothing was started."""

    question: str

    def __str__(self) -> str:
        return (
            f"Nothing was started and nothing is charged: the person did not agree when asked {_quote(self.question)}."
        )


def _quote(question: str) -> str:
    """Return a question between quotation marks, with other marks for the names inside it."""
    inner = question.replace('"', "'")
    return f'"{inner}"'
