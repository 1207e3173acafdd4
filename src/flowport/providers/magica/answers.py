"""Magica's answers: refusals, and lists in every shape that was seen or documented. Pure.

The page "Errors" of magica.com/docs could not be read whole. The order of the words was put together from clients, and so
was that 403 may mean too few credits as well as a key without the right. The quickstart takes `items` out of a list; the MCP
pages give lists a cursor or a page. The names of the paging fields were inferred from clients.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from flowport.domain.errors import InputFlaw, Operation
from flowport.providers.answers import AnswerReader, Words, parse_flaws
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


def parse_words(answer: ApiAnswer) -> Words:
    """Return the provider's message: `message`, `error.message`, `error`, `code`, else the body; and those about single fields."""
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


def choose_status(answer: ApiAnswer, operation: Operation) -> int:
    """Return the status of a refusal; too few credits are 402 here, a key without the right 403."""
    if answer.status == _FORBIDDEN and _is_about_money(answer):
        return _PAYMENT_REQUIRED
    # Magica refuses inputs that do not fit with 400; others have a status of its own for that.
    return _UNFIT_INPUTS if answer.status == _INVALID and operation is Operation.START_RUN else answer.status


def _is_about_money(answer: ApiAnswer) -> bool:
    # Codes are written with underscores, and in the body they may accompany any sentence.
    text = answer.body[:4000].decode("utf-8", "replace")
    return bool(_IS_ABOUT_MONEY.search(re.sub(r"[_\s-]+", " ", text)))


READER: Final = AnswerReader("Magica", parse_words, choose_status)

_ITEM_KEYS: Final = ("items", "workflows", "systemWorkflows", "results", "data")
_HOLDERS: Final = ("pagination", "pageInfo", "meta", "data")
_CURSOR_KEYS: Final = ("nextCursor", "next_cursor")
_MORE_KEYS: Final = ("hasMore", "has_more", "hasNextPage")
_MAX_CURSOR_LENGTH: Final = 1000


def find_items(body: Any) -> list[Any] | None:
    """Return the items of a list; None when the body is not a list."""
    if isinstance(body, list):
        return body
    if not isinstance(body, Mapping):
        return None
    found = next((body[key] for key in _ITEM_KEYS if isinstance(body.get(key), list)), None)
    return find_items(body.get("data")) if found is None and isinstance(body.get("data"), Mapping) else found


def find_next_query(body: Any) -> str:
    """Return the query that asks for what follows; empty when nothing does, or when the answer does not say how to request it."""
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
