"""Magica's refusals: what is one, where its words stand, and what they mean. Pure.

The page "Errors" of magica.com/docs was not to be had whole. The order of the words was put together from clients, and so
was that 403 may mean too few credits as well as a key without the right.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from flowport.errors import Operation, ProviderBroken, ProviderError, ProviderRejected
from flowport.providers.interface import ApiAnswer, Refusal, build_refusal
from flowport.providers.json_bodies import parse_json
from flowport.providers.words import clean_detail

_FORBIDDEN: Final = 403
_PAYMENT_REQUIRED: Final = 402
_INVALID: Final = 400
_UNFIT_INPUTS: Final = 422
_MAX_FLAWS: Final = 5

_LACK: Final = r"(insufficient|not enough|too few|out of|ran out|run out|no more|exceed\w*|exhausted|depleted|low|need more|used up)"
_MONEY: Final = r"(credits?|balance|funds)"
_IS_ABOUT_MONEY: Final = re.compile(
    rf"\b{_LACK}\b.{{0,40}}\b{_MONEY}\b|\b{_MONEY}\b.{{0,40}}\b{_LACK}\b|\bpayment required\b", re.IGNORECASE
)


def parse_message(answer: ApiAnswer) -> str:
    """Return the provider's words: `message`, `error.message`, `error`, `code`, else the body; then what is wrong with a field."""
    try:
        body = parse_json(answer)
    except ValueError:
        text = answer.body[:2000].decode("utf-8", "replace")
        return "" if text.lstrip().startswith("<") else clean_detail(text)
    if not isinstance(body, Mapping):
        return clean_detail(body) if isinstance(body, str) else ""
    error = body.get("error")
    inner = error if isinstance(error, Mapping) else {}
    words = (body.get("message"), inner.get("message"), error, body.get("code"), inner.get("code"))
    message = next((word for word in words if isinstance(word, str) and word.strip()), "")
    return clean_detail(
        "; ".join([message, *_iterate_flaws(body, inner)]) if message else answer.body.decode(errors="replace")
    )


def _iterate_flaws(body: Mapping[str, Any], inner: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a validation says of single fields."""
    holders = (body, inner)
    lists = (holder.get(key) for holder in holders for key in ("details", "issues", "errors"))
    items = next((found for found in lists if isinstance(found, list)), [])
    for item in items[:_MAX_FLAWS]:
        message = item.get("message") if isinstance(item, Mapping) else item
        path = item.get("path") if isinstance(item, Mapping) else None
        place = ".".join(map(str, path)) if isinstance(path, list) else path if isinstance(path, str) else ""
        if isinstance(message, str) and message:
            yield f"{place}: {message}" if place else message


def parse_body(title: str, operation: Operation, answer: ApiAnswer) -> Any:
    """Return an answer's JSON.

    Raises:
        ProviderError: The answer is a refusal, or no JSON.
    """
    if not 200 <= answer.status < 300:  # noqa: PLR2004
        raise build_magica_refusal(title, operation, answer)
    try:
        return parse_json(answer)
    except ValueError as exc:
        problem = "its answer is not the JSON that it promises"
        raise ProviderBroken(title, operation, answer.status, problem) from exc


def build_magica_refusal(title: str, operation: Operation, answer: ApiAnswer) -> ProviderError:
    """Return the error for an answer that is not a success; too few credits are told apart from a key without the right."""
    detail, status = parse_message(answer), answer.status
    if status == _FORBIDDEN and _is_about_money(answer):
        status = _PAYMENT_REQUIRED
    if status == _INVALID and operation is Operation.START_RUN:
        # Its word for inputs that do not fit; the status that others have for it says that to everybody else here.
        return ProviderRejected(title, operation, _UNFIT_INPUTS, detail)
    return build_refusal(status, Refusal(title, operation, detail, answer.headers))


def _is_about_money(answer: ApiAnswer) -> bool:
    # Codes are written with underscores, and in the body they may stand beside any sentence.
    text = answer.body[:4000].decode("utf-8", "replace")
    return bool(_IS_ABOUT_MONEY.search(re.sub(r"[_\s-]+", " ", text)))
