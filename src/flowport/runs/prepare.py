"""Turn a call's arguments into what the provider will be sent, before anything is accepted or spent."""

import json
import logging
import re
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias, assert_never

import anyio
import anyio.to_thread

from flowport.catalog.arguments import (
    build_canonical_digest,
    build_provider_inputs,
    build_raw_digest,
    name_arguments,
    parse_arguments,
)
from flowport.catalog.listing import Listing
from flowport.catalog.values import get_default
from flowport.domain.call_errors import build_refusal
from flowport.domain.errors import ArgumentsInvalid, ProviderError
from flowport.domain.models import App, Input, InputKind, JsonValue, Run, RunState
from flowport.domain.text import clean_line
from flowport.media.input_files import FileMedia, Media, MediaRules, UrlMedia, examine, resolve_media, unwrap
from flowport.media.source_kinds import SourceKind, correct_address, get_source_kind, iterate_unwrapped
from flowport.media.sources import HeldSource
from flowport.network.account import OpenAccount
from flowport.network.ratelimit.limiter import Priority
from flowport.runs.received_files import ReceivedFiles
from flowport.runs.references import CreationMedia, InputMedia, OutputFinder, OutputMedia
from flowport.runs.submit import RunRequest
from flowport.runtime.clock import Clock
from flowport.store.interface import Workers

MAX_SHOWN_VALUE: Final = 300
"""Characters of one text argument that the store keeps for a person to read again."""

MAX_SHOWN_STRUCTURE: Final = 6000
"""Characters of a list or object that the store keeps as such; a longer one becomes the beginning of its text."""

MAX_CALL_BYTES: Final = 30_000_000
"""All files that the text of one call holds; they lie in memory until it is started."""

MAX_READINGS: Final = 2
"""Files that are checked side by side: a picture may take much memory to be decoded."""

KnownFiles: TypeAlias = dict[tuple[str, str], Media]
"""What arguments were found to name, by the argument's name and its text."""

_DATA_URI: Final = re.compile(r"\s*data:[\w.+/-]*\s*(;[^,]*)?,", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """A call that can be accepted: every argument and every file was checked."""

    app: App
    app_name: str
    """Cleaned, one line."""
    tool_name: str
    account_id: str
    inputs: Mapping[str, JsonValue] = field(repr=False)
    """By run key, as the provider is sent them, but for the files."""
    arguments_json: str
    raw_digest: str
    canonical_digest: str
    media: tuple["MediaInput", ...] = ()
    """The files, which are brought to the provider once the run is accepted."""
    whole_arguments: Mapping[str, JsonValue] = field(default_factory=dict, repr=False, compare=False)
    """From these another process prepares exactly the same call."""
    names: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """The argument's name by each of the provider's names for its input."""


@dataclass(frozen=True, slots=True)
class MediaInput:
    """One input that takes files, and what it was given."""

    run_key: str
    argument: str
    """Its name in the tool."""
    kind: InputKind
    is_list: bool
    media: tuple[InputMedia, ...]
    """One, unless the input takes several."""


class CallPreparer:
    """Prepares calls; reads files on threads of its own, so that slow disks never delay the protocol."""

    def __init__(
        self,
        rules: MediaRules,
        threads: anyio.CapacityLimiter,
        finder: OutputFinder,
        received: ReceivedFiles | None = None,
    ) -> None:
        """Prepare; `received` has the files that people uploaded, None for none."""
        self._received = received
        self._rules = rules
        self.finder = finder
        self._readings = anyio.CapacityLimiter(MAX_READINGS)
        self._threads = threads

    async def prepare(
        self,
        account: OpenAccount,
        listing: Listing,
        arguments: Mapping[str, JsonValue] | None,
        call: RunRequest,
        *,
        known: KnownFiles | None = None,
    ) -> PreparedCall:
        """Return the call ready to be accepted. Nothing is sent and nothing is written.

        Args:
            call: Who asks, and over which connection: earlier results are the owner's own.
            known: Files that were read for the calls before this one, when many are prepared together; they are not read
                again, and those that are read now are added.

        Raises:
            ArgumentsInvalid: An argument does not fit, or a file may not or cannot be read.
            StoreError: The store cannot be read.
        """
        app = listing.app
        named = name_arguments(app, listing.property_names, arguments or {})
        values = parse_arguments(app, listing.property_names, named)
        media = await self._resolve_all(account, listing, values, call, {} if known is None else known)
        digests = {input_id: ",".join(map(_get_identity, found.media)) for input_id, found in media.items()}
        inputs = {input_id: value for input_id, value in values.items() if input_id not in media}
        shown = {
            listing.property_names.get(key, key): _show_media(value, media[key])
            if key in media
            else _shorten_whole(value)
            for key, value in values.items()
        }
        return PreparedCall(
            app=app,
            app_name=clean_line(app.name) or listing.tool_name,
            tool_name=listing.tool_name,
            account_id=account.account.id,
            inputs=build_provider_inputs(app, inputs),
            arguments_json=json.dumps(shown, ensure_ascii=False),
            raw_digest=build_raw_digest(_name_outputs(named, media)),
            canonical_digest=build_canonical_digest(app, values, digests),
            media=tuple(media.values()),
            whole_arguments={**named, **{one.argument: _name_meant(values[key], one) for key, one in media.items()}},
            names={
                key: listing.property_names[item.id]
                for item in app.inputs or ()
                for key in (item.run_key, item.id, item.name)
                if key and item.id in listing.property_names
            },
        )

    async def _resolve_all(
        self,
        account: OpenAccount,
        listing: Listing,
        values: Mapping[str, JsonValue],
        call: RunRequest,
        known: KnownFiles,
    ) -> dict[str, MediaInput]:
        rules = replace(await build_rules(account, self._rules.roots), is_local=call.is_local)
        found: dict[str, MediaInput] = {}
        held_bytes = 0
        for item in _get_media_inputs(listing.app, values):
            argument = listing.property_names[item.id]
            media: list[InputMedia] = []
            for given in _get_texts(values[item.id]):
                text = correct_address(await self._unwrap(given, rules))
                one: InputMedia | None = await self._find(text, item, argument, account, call)
                if one is None:
                    read = known.get((argument, text)) or await self._read(
                        text, item, argument, account, rules, call=call
                    )
                    one = known[argument, text] = read
                held_bytes += _count_held(one)
                _check_sum(held_bytes, argument)
                media.append(one)
            found[item.id] = MediaInput(item.run_key, argument, item.kind, item.is_list, tuple(media))
        return found

    async def _find(
        self, text: str, item: Input, argument: str, account: OpenAccount, call: RunRequest
    ) -> OutputMedia | CreationMedia | None:
        """Return the earlier output, or the file at the provider, that the text names; None for what is to be read here."""
        output = await self.finder.find(text, argument=argument, kind=item.kind, call=call)
        if output is None and (moved := await account.localize(text)) != text:
            output = await self.finder.find(moved, argument=argument, kind=item.kind, call=call)
        is_output_id = account.provider.capabilities.is_output_id
        if output is None and is_output_id is not None and is_output_id(text.strip()):
            return CreationMedia(text.strip())
        return output

    async def _unwrap(self, text: str, rules: MediaRules) -> str:
        """Return what is named inside quotes, a link or whatever a program put round it."""
        if get_source_kind(text) is not SourceKind.RELATIVE or not any(iterate_unwrapped(text)):
            return text
        return await anyio.to_thread.run_sync(unwrap, text, rules, limiter=self._threads)

    async def _read(
        self, text: str, item: Input, argument: str, account: OpenAccount, rules: MediaRules, *, call: RunRequest
    ) -> Media:
        text = await account.localize(text)
        resolve: Callable[[], Media] = partial(resolve_media, text, argument=argument, kind=item.kind, rules=rules)
        uploaded = (
            await self._received.find_source(text, argument=argument, owner=call.owner) if self._received else None
        )
        if uploaded is not None:
            resolve = partial(examine, uploaded, argument=argument, kind=item.kind, rules=rules)
        async with self._readings:
            if not account.is_sandbox:
                return await anyio.to_thread.run_sync(resolve, limiter=self._threads)
            is_url = uploaded is None and get_source_kind(text) is SourceKind.URL
            if is_url and not _is_of(text, rules.trusted_origins):
                raise build_refusal(argument, *_NO_WEB)
            try:
                return await anyio.to_thread.run_sync(resolve, limiter=self._threads)
            except ArgumentsInvalid as exc:
                raise _drop_web_hints(exc) from exc


def _is_of(url: str, origins: Collection[str]) -> bool:
    return any(url.strip().startswith(f"{origin}/") for origin in origins)


_NO_WEB: Final = (
    "is a web address, and the sandbox takes files of this computer alone",
    "Give the full path of a file, a data URI, or an earlier result (run:ID#1 or last).",
)
_WEB_HINT: Final = re.compile(r",? or an https URL(?: of (?:it|them))?")


def _drop_web_hints(error: ArgumentsInvalid) -> ArgumentsInvalid:
    """Return the error without the advice to give a web address, which would be refused too."""
    problems = (replace(one, expected=_WEB_HINT.sub("", one.expected)) for one in error.problems)
    return ArgumentsInvalid(tuple(problems), is_for_run=error.is_for_run)


async def build_rules(account: OpenAccount, roots: tuple[Path, ...]) -> MediaRules:
    """Return what media arguments may name for an account."""
    inline, upload = account.provider.capabilities.inline, account.provider.capabilities.upload
    max_inline_bytes = inline.max_bytes if inline else upload.max_bytes if upload else 0
    return MediaRules(
        roots=roots,
        trusted_origins=await account.fetch_file_origins(),
        max_inline_bytes=max_inline_bytes,
        upload_types=upload.types if upload else frozenset(),
        max_upload_bytes=upload.max_bytes if upload else 0,
    )


def _count_held(media: InputMedia) -> int:
    is_held = isinstance(media, FileMedia) and isinstance(media.source, HeldSource)
    return media.fingerprint.size_bytes if isinstance(media, FileMedia) and is_held else 0


def _check_sum(size_bytes: int, argument: str) -> None:
    if size_bytes > MAX_CALL_BYTES:
        problem = f"brings the data of this call to more than {MAX_CALL_BYTES // 1_000_000} MB"
        raise build_refusal(argument, problem, "Give paths or https URLs of the files instead.")


def _get_media_inputs(app: App, values: Mapping[str, JsonValue]) -> list[Input]:
    """Return the inputs for which a file was named. A default is the provider's own id of a file and goes back as it is."""
    return [
        item
        for item in app.inputs or ()
        if item.kind.is_media and item.id in values and values[item.id] != get_default(item)
    ]


def _get_texts(value: JsonValue) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]


def _get_identity(media: InputMedia) -> str:
    match media:
        case UrlMedia():
            return media.url
        case FileMedia():
            return f"sha256:{media.fingerprint.sha256}"
        case OutputMedia():
            return media.uri
        case CreationMedia():
            return f"creation:{media.id}"
        case _:
            assert_never(media)


def _name_outputs(arguments: Mapping[str, JsonValue], media: Mapping[str, MediaInput]) -> Mapping[str, JsonValue]:
    """Return the arguments with the outputs that they mean: "last" is another one each time."""
    outputs = [one.uri for item in media.values() for one in item.media if isinstance(one, OutputMedia)]
    return {**arguments, "": list(outputs)} if outputs else arguments


def _show_media(value: JsonValue, item: MediaInput) -> JsonValue:
    """Return a media argument without bytes, and with the output that was meant."""
    return _name_meant(value, item, _shorten_media)


def _name_meant(value: JsonValue, item: MediaInput, show: Callable[[str], JsonValue] = str) -> JsonValue:
    """Return a media argument with the output that was meant: "last" is another one each time."""
    pairs = zip(_get_texts(value), item.media, strict=True)
    meant: list[JsonValue] = [one.uri if isinstance(one, OutputMedia) else show(text) for text, one in pairs]
    return meant if isinstance(value, list) else meant[0]


def _shorten_media(text: str) -> JsonValue:
    is_data = get_source_kind(text) in {SourceKind.BASE64, SourceKind.DATA_URI} and not _DATA_URI.match(text)
    return f"base64… ({len(text)} characters)" if is_data else _shorten(text)


def _shorten_whole(value: JsonValue) -> JsonValue:
    short = _shorten(value)
    text = json.dumps(short, ensure_ascii=False)
    return short if len(text) <= MAX_SHOWN_STRUCTURE else clean_line(text, limit=MAX_SHOWN_VALUE)


def _shorten(value: JsonValue) -> JsonValue:
    """Return an argument as a person would want to read it again: no inlined file, no endless text."""
    if isinstance(value, list):
        return [_shorten(one) for one in value]
    if isinstance(value, dict):
        # A default is untrusted text, too.
        return {clean_line(key): _shorten(one) for key, one in value.items()}
    if not isinstance(value, str):
        return value
    if _DATA_URI.match(value):
        return f"{clean_line(value.partition(',')[0], limit=60)},… ({len(value)} characters)"
    return clean_line(value, limit=MAX_SHOWN_VALUE)


logger = logging.getLogger(__name__)

PRICING_SECONDS: Final = 10.0
"""How long an estimate may take before the price counts as unknown: the person waits meanwhile."""


async def price_call(call: PreparedCall, account: OpenAccount) -> PreparedCall:
    """Return the call at the price of this moment; one whose estimate fails has an unknown price.

    The price in the list may be a day old, and a workflow is changed in a minute.
    """
    estimate = account.provider.capabilities.price
    if estimate is None:
        return call
    price: float | None = None
    with anyio.move_on_after(PRICING_SECONDS):
        try:
            price = await account.converse(estimate(call.app), Priority.START)
        except ProviderError as exc:
            logger.info("the price of %s could not be estimated: %s", call.tool_name, exc)
    return replace(call, app=replace(call.app, price_credits=price))


_ID_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without the letters and digits that people mistake for one another."""

_ID_LENGTH: Final = 10


def build_run(call: PreparedCall, owner: str, clock: Clock, process: Workers) -> Run:
    """Return the run that is to be accepted for a call, with an id of its own and its price held back."""
    price, boot = call.app.price_credits, clock.boot_time()
    return Run(
        id=draw_id("run_"),
        account_id=call.account_id,
        owner=owner,
        provider=call.app.provider,
        app_id=call.app.id,
        app_name=call.app_name,
        tool_name=call.tool_name,
        arguments_json=call.arguments_json,
        raw_digest=call.raw_digest,
        canonical_digest=call.canonical_digest,
        state=RunState.ACCEPTED,
        accepted_at=clock.now(),
        process_id=process.process_id,
        price_credits=price,
        reserved_credits=price or 0.0,
        boot_id=boot.boot_id if boot else "",
        accepted_boot_seconds=boot.seconds if boot else None,
    )


def draw_id(prefix: str) -> str:
    """Return a new id of a run or a batch."""
    # One number is drawn and written in the alphabet: a draw for each letter is a system call each.
    base = len(_ID_ALPHABET)
    number = secrets.randbelow(base**_ID_LENGTH)
    return prefix + "".join(_ID_ALPHABET[number // base**place % base] for place in range(_ID_LENGTH))
