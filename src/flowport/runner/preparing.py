"""Turn a call's arguments into what the provider will be sent, before anything is accepted or spent."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, assert_never

import anyio
import anyio.to_thread

from flowport.accounts import OpenAccount
from flowport.arguments import build_canonical_digest, build_provider_inputs, build_raw_digest, parse_arguments
from flowport.catalog.records import Listing
from flowport.coercion import get_default
from flowport.labels import clean_line
from flowport.media.arguments import FileMedia, Media, MediaRules, UrlMedia, resolve_media
from flowport.media.refusals import build_refusal
from flowport.model import App, Input, JsonValue
from flowport.providers.interface import build_inline_media

MAX_SHOWN_VALUE: Final = 300
"""Characters of one text argument that the ledger keeps for a person to read again."""

MAX_SHOWN_STRUCTURE: Final = 6000
"""Characters of a list or object that the ledger keeps as such; a longer one becomes the beginning of its text."""

MAX_CALL_BYTES: Final = 30_000_000
"""All files of one call; they lie in memory until it is started, as bytes and as base64."""

_DATA_URI: Final = re.compile(r"\s*data:[\w.+/-]*\s*(;[^,]*)?,", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """A call that can be accepted: every argument was checked, every file was read."""

    app: App
    app_name: str
    """Cleaned, one line."""
    tool_name: str
    account_id: str
    inputs: Mapping[str, JsonValue] = field(repr=False)
    """By run key, as the provider is sent them; files lie in it as base64."""
    arguments_json: str
    raw_digest: str
    canonical_digest: str


class CallPreparer:
    """Prepares calls; reads files on threads of its own, so that slow disks never delay the protocol."""

    def __init__(self, rules: MediaRules, threads: anyio.CapacityLimiter) -> None:
        self._rules = rules
        self._threads = threads

    async def prepare(
        self, account: OpenAccount, listing: Listing, arguments: Mapping[str, JsonValue] | None
    ) -> PreparedCall:
        """Return the call ready to be accepted. Nothing is sent and nothing is written.

        Raises:
            ArgumentsInvalid: An argument does not fit, or a file may not or cannot be read.
        """
        app = listing.app
        values = parse_arguments(app, listing.property_names, arguments)
        media = await self._resolve_all(account, listing, values)
        digests = {input_id: ",".join(_get_identity(one) for one in found) for input_id, found in media.items()}
        inputs = {**values, **{item.id: _encode(item, media[item.id]) for item in _get_media_inputs(app, values)}}
        shown = {listing.property_names.get(key, key): _shorten_whole(value) for key, value in values.items()}
        return PreparedCall(
            app=app,
            app_name=clean_line(app.name) or listing.tool_name,
            tool_name=listing.tool_name,
            account_id=account.account.id,
            inputs=build_provider_inputs(app, inputs),
            arguments_json=json.dumps(shown, ensure_ascii=False),
            raw_digest=build_raw_digest(arguments or {}),
            canonical_digest=build_canonical_digest(app, values, digests),
        )

    async def _resolve_all(
        self, account: OpenAccount, listing: Listing, values: Mapping[str, JsonValue]
    ) -> dict[str, list[Media]]:
        rules = MediaRules(
            roots=self._rules.roots,
            trusted_origins=await account.fetch_file_origins(),
            max_inline_bytes=account.provider.max_inline_bytes,
        )
        found: dict[str, list[Media]] = {}
        size_bytes = 0
        for item in _get_media_inputs(listing.app, values):
            argument = listing.property_names[item.id]
            resolve = partial(resolve_media, argument=argument, kind=item.kind, rules=rules)
            found[item.id] = []
            for text in _get_texts(values[item.id]):
                media = await anyio.to_thread.run_sync(resolve, text, limiter=self._threads)
                size_bytes += len(media.data) if isinstance(media, FileMedia) else 0
                _check_sum(size_bytes, argument)
                found[item.id].append(media)
        return found


def _check_sum(size_bytes: int, argument: str) -> None:
    if size_bytes > MAX_CALL_BYTES:
        problem = f"brings the files of this call to more than {MAX_CALL_BYTES // 1_000_000} MB"
        raise build_refusal(argument, problem, "Give fewer or smaller files, or https URLs of them.")


def _get_media_inputs(app: App, values: Mapping[str, JsonValue]) -> list[Input]:
    """Return the inputs for which a file was named. A default is the provider's own id of a file and goes back as it is."""
    return [
        item
        for item in app.inputs or ()
        if item.kind.is_media and item.id in values and values[item.id] != get_default(item)
    ]


def _get_texts(value: JsonValue) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]


def _get_identity(media: Media) -> str:
    match media:
        case UrlMedia():
            return media.url
        case FileMedia():
            return f"sha256:{media.sha256}"
        case _:
            assert_never(media)


def _encode(item: Input, media: list[Media]) -> JsonValue:
    encoded: list[JsonValue] = [one.url if isinstance(one, UrlMedia) else build_inline_media(one.data) for one in media]
    return encoded if item.is_list else encoded[0]


def _shorten_whole(value: JsonValue) -> JsonValue:
    short = _shorten(value)
    text = json.dumps(short, ensure_ascii=False)
    return short if len(text) <= MAX_SHOWN_STRUCTURE else clean_line(text, limit=MAX_SHOWN_VALUE)


def _shorten(value: JsonValue) -> JsonValue:
    """Return an argument as a person would want to read it again: no inlined file, no endless text."""
    if isinstance(value, list):
        return [_shorten(one) for one in value]
    if isinstance(value, dict):
        # A default is a stranger's too.
        return {clean_line(key): _shorten(one) for key, one in value.items()}
    if not isinstance(value, str):
        return value
    if _DATA_URI.match(value):
        return f"{clean_line(value.partition(',')[0], limit=60)},… ({len(value)} characters)"
    return clean_line(value, limit=MAX_SHOWN_VALUE)
