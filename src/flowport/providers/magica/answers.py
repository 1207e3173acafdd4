"""Magica's answers: refusals, and lists in every shape that was seen or documented. Pure.

The page "Errors" of magica.com/docs could not be read whole. The order of the words was put together from clients, and so
was that 403 may mean too few credits as well as a key without the right. The quickstart takes `items` out of a list; the MCP
pages give lists a cursor or a page. The names of the paging fields were inferred from clients.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from flowport.domain.errors import InputFlaw, Operation, ProviderBroken, ProviderError, ProviderRejected
from flowport.providers.answers import Refusal, build_refusal
from flowport.providers.input_errors import format_flaws, parse_flaws
from flowport.providers.interface import ApiAnswer
from flowport.providers.parsing import parse_json

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
    """Return the provider's words, with what is wrong with single fields."""
    return format_flaws(*parse_words(answer))


def parse_words(answer: ApiAnswer) -> tuple[str, tuple[InputFlaw, ...]]:
    """Return the provider's words: `message`, `error.message`, `error`, `code`, else the body; and those about single fields."""
    try:
        body = parse_json(answer)
    except ValueError:
        text = answer.body[:2000].decode("utf-8", "replace")
        return "" if text.lstrip().startswith("<") else text, ()
    if not isinstance(body, Mapping):
        return body if isinstance(body, str) else "", ()
    error = body.get("error")
    inner = error if isinstance(error, Mapping) else {}
    words = (body.get("message"), inner.get("message"), error, body.get("code"), inner.get("code"))
    message = next((word for word in words if isinstance(word, str) and word.strip()), "")
    flaws = _parse_flaws(body, inner)
    return (message, flaws) if message else (answer.body.decode(errors="replace"), ())


def _parse_flaws(body: Mapping[str, Any], inner: Mapping[str, Any]) -> tuple[InputFlaw, ...]:
    """Return what a validation says of single fields."""
    found = (holder.get(key) for holder in (body, inner) for key in ("details", "issues", "errors", "invalid_params"))
    items = next((one for one in found if isinstance(one, list | Mapping)), [])
    if isinstance(items, list):
        items = [{"message": item} if isinstance(item, str) else item for item in items]
    return parse_flaws(items)[:_MAX_FLAWS]


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
    opening, flaws = parse_words(answer)
    detail, status = format_flaws(opening, flaws), answer.status
    if status == _FORBIDDEN and _is_about_money(answer):
        status = _PAYMENT_REQUIRED
    if status == _INVALID and operation is Operation.START_RUN:
        # Its word for inputs that do not fit; the status that others have for it says that to everybody else here.
        return ProviderRejected(title, operation, _UNFIT_INPUTS, detail, flaws=flaws, opening=opening if flaws else "")
    return build_refusal(status, Refusal(title, operation, detail, answer.headers, flaws, opening))


def _is_about_money(answer: ApiAnswer) -> bool:
    # Codes are written with underscores, and in the body they may stand beside any sentence.
    text = answer.body[:4000].decode("utf-8", "replace")
    return bool(_IS_ABOUT_MONEY.search(re.sub(r"[_\s-]+", " ", text)))


_ITEM_KEYS: Final = ("items", "workflows", "systemWorkflows", "results", "data")
_HOLDERS: Final = ("pagination", "pageInfo", "meta", "data")
_CURSOR_KEYS: Final = ("nextCursor", "next_cursor")
_MORE_KEYS: Final = ("hasMore", "has_more", "hasNextPage")
_MAX_CURSOR_LENGTH: Final = 1000


def find_items(body: Any) -> list[Any] | None:
    """Return the items of a list; None when the body is none."""
    if isinstance(body, list):
        return body
    if not isinstance(body, Mapping):
        return None
    found = next((body[key] for key in _ITEM_KEYS if isinstance(body.get(key), list)), None)
    return find_items(body.get("data")) if found is None and isinstance(body.get("data"), Mapping) else found


def find_next_query(body: Any) -> str:
    """Return the query that asks for what follows; empty when nothing does, or nobody could tell how to ask."""
    if not isinstance(body, Mapping):
        return ""
    holders = [body, *(inner for key in _HOLDERS if isinstance(inner := body.get(key), Mapping))]
    is_more = _get(holders, _MORE_KEYS)
    cursor = _get(holders, _CURSOR_KEYS if is_more is not True else (*_CURSOR_KEYS, "cursor"))
    if isinstance(cursor, str) and 0 < len(cursor) <= _MAX_CURSOR_LENGTH and is_more is not False:
        return f"cursor={quote(cursor, safe='')}"
    page, size = _get(holders, ("page",)), _get(holders, ("pageSize", "page_size", "limit"))
    if is_more is not True or not _is_count(page):
        return ""
    return f"page={page + 1}" + (f"&pageSize={size}" if _is_count(size) else "")


def _get(holders: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> Any:
    return next((value for one in holders for key in keys if (value := one.get(key)) is not None), None)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1_000_000  # noqa: PLR2004
