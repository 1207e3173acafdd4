"""What is told of a provider's odd answers: its words, made safe to quote, or what came in the place of them. Pure."""

from typing import Final

from flowport.labels import clean_line
from flowport.providers.interface import ApiAnswer
from flowport.redaction import redact

MAX_DETAIL_LENGTH: Final = 300
MAX_ANSWER_KEPT: Final = 2000
"""Characters of an undecided start answer that the ledger keeps."""


def clean_detail(text: str) -> str:
    """Return a provider's words without secrets, and so that they cannot leave the quotation marks around them."""
    # Secrets go before the quotes change, and before the line is cut: half a secret is not recognised.
    whole = clean_line(text[: 10 * MAX_DETAIL_LENGTH], limit=10 * MAX_DETAIL_LENGTH)
    return clean_line(redact(whole), limit=MAX_DETAIL_LENGTH).replace('"', "'")


def clean_word(text: str) -> str:
    """Return a single word of a provider, such as a status, short and without secrets."""
    return clean_line(redact(clean_line(text[:200], limit=200)), limit=40)


def clean_answer(answer: ApiAnswer) -> str:
    """Return the beginning of an answer as one line, for a person to look into."""
    # Cut before it is cleaned, which takes seconds for megabytes.
    whole = clean_line(answer.body[: 4 * MAX_ANSWER_KEPT].decode("utf-8", "replace"), limit=4 * MAX_ANSWER_KEPT)
    return clean_line(redact(whole), limit=MAX_ANSWER_KEPT)


def tell_what_came(answer: ApiAnswer) -> str:
    """Return what a start answer held in the place of a run id, as a clause."""
    if not answer.is_complete:
        return "its answer broke off"
    if not answer.body.strip():
        return "its answer was empty"
    if answer.body.lstrip()[:1] == b"<":
        return "its answer was HTML without a run id"
    return "its answer gave no run id"
