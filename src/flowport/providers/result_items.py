"""The items of a result, read in every shape in which services hand over files. Pure.

A result was paid for, so nothing in it is dropped without a word: an item becomes a file, a text, or an unread item. What an
item holds beside its file is shown and never fetched.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from flowport.domain.models import DATA_SCHEME, Output, OutputKind
from flowport.domain.text import clean_line
from flowport.providers.parsing import complete_url, guess_mime_type, is_number

MAX_TEXT: Final = 100_000
MAX_OUTPUTS: Final = 1000
MAX_KEPT: Final = 200
"""Characters of an unread item that are kept."""
_MAX_DEPTH: Final = 8
_MAX_SIZE: Final = 1e6
"""Pixels, or seconds."""
_MAX_FURTHER: Final = 5
_MAX_DATA: Final = 64_000_000
"""Characters of a file inside an answer."""

_KINDS: Final = {
    **dict.fromkeys(("image", "images", "pictures"), OutputKind.IMAGE),
    **dict.fromkeys(("video", "videos"), OutputKind.VIDEO),
    **dict.fromkeys(("audio", "audios"), OutputKind.AUDIO),
}
_TEXT_KEYS: Final = frozenset({"text", "texts", "caption", "captions", "transcript", "content", "answer"})
_FILE_KEYS: Final = frozenset(
    {"files", "file", "outputs", "output", "results", "result", "data", "items", "url", "urls"}
)
_SMALL_COPY: Final = re.compile(r"thumb|preview|poster|cover|icon|avatar|placeholder", re.IGNORECASE)
_DATA_URI: Final = re.compile(r"\s*data:(?P<kind>image|video|audio|)[^,]{0,200},\s*\S", re.IGNORECASE)
_BASE64_FILE: Final = re.compile(
    r"(?:iVBORw0KGgo|/9j/|UklGR|R0lGOD|SUkqA|TU0AK|AAAA.{4}ZnR5c|SUQz|T2dnU|GkXfo)[\w+/\-\s]{40,}=*\s*", re.ASCII
)
"""How pictures, films and sounds begin as base64 that is not called so."""
_ADDRESS: Final = re.compile(r"\s*(?:[a-z][a-z0-9+.-]{1,20}:|//)\S", re.IGNORECASE)
"""What is meant as an address, or as data, and not as a sentence."""


@dataclass(frozen=True, slots=True)
class FoundItem:
    """One item that was read."""

    kind: OutputKind
    url: str = field(default="", repr=False)
    """An address, or a data URI that holds the file itself; empty for a text."""
    text: str = ""
    """The result itself when it is text, else what the item says beside its file."""
    about: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What the item says about its file."""


@dataclass(frozen=True, slots=True)
class UnreadItem:
    """One item that could not be read."""

    kept: str
    """The beginning of its JSON, as it came."""


Item = FoundItem | UnreadItem


def iterate_items(result: Mapping[str, Any]) -> Iterator[Item]:
    """Yield what a result holds: pictures, videos and sounds, then what other keys hold."""
    seen: set[str] = set()
    for key in sorted(result, key=lambda key: list(_KINDS).index(key) if key in _KINDS else len(_KINDS)):
        value = result[key]
        if key in _KINDS:
            items = _iterate(value, _KINDS[key], 0)
        elif isinstance(value, list | dict) or key in _TEXT_KEYS | _FILE_KEYS or read_file(value, is_address=False):
            found = _iterate(value, OutputKind.FILE, 0)
            items = (item for item in found if _is_new(item, seen, is_expected=key in _TEXT_KEYS | _FILE_KEYS))
        else:
            continue
        for item in items:
            yield item
            seen.add(item.url if isinstance(item, FoundItem) else "")


def _is_new(item: Item, seen: set[str], *, is_expected: bool) -> bool:
    """Check whether something under a key that no page names is a result: a file that was not there before."""
    if isinstance(item, FoundItem) and item.url:
        return item.url not in seen
    # Settings and counts beside the results are not results.
    return is_expected


def read_file(text: Any, *, is_address: bool) -> str:
    """Return the address of a file, or a data URI that holds it; empty when a text is neither.

    Args:
        is_address: Whether it stands where nothing but an address does, so that it may hold spaces.
    """
    if not isinstance(text, str) or len(text) > _MAX_DATA:
        return ""
    if _DATA_URI.match(text):
        return DATA_SCHEME + text.strip()[len(DATA_SCHEME) :]
    if _BASE64_FILE.fullmatch(text):
        return f"{DATA_SCHEME};base64,{text.strip()}"
    text = text.strip()
    return complete_url(text) if is_address or not re.search(r"\s", text) else ""


def guess_kind(url: str, otherwise: OutputKind) -> OutputKind:
    """Return the kind of file that an address or data URI promises."""
    scheme = _DATA_URI.match(url)
    word = scheme["kind"].lower() if scheme else guess_mime_type(url).partition("/")[0]
    return OutputKind(word) if word in {"image", "video", "audio"} else otherwise


def _iterate(value: Any, kind: OutputKind, depth: int) -> Iterator[Item]:
    if _is_nothing(value):
        return
    if depth > _MAX_DEPTH:
        yield UnreadItem(keep_beginning(value))
    elif isinstance(value, list):
        for part in value:
            yield from _iterate(part, kind, depth + 1)
    elif isinstance(value, Mapping):
        yield from _iterate_mapping(value, kind, depth)
    else:
        yield _read_plain(value, kind)


def _is_nothing(value: Any) -> bool:
    return (
        value is None
        or (isinstance(value, str) and not value.strip())
        or (isinstance(value, list | dict) and not value)
    )


def _read_plain(value: Any, kind: OutputKind) -> Item:
    if url := read_file(value, is_address=False):
        return _build(url, kind)
    if not isinstance(value, str) or _ADDRESS.match(value):
        # A sentence may begin with a word and a colon; an address goes on without a space.
        return UnreadItem(keep_beginning(value))
    return FoundItem(OutputKind.TEXT, text=value.strip()[:MAX_TEXT])


def _iterate_mapping(item: Mapping[str, Any], kind: OutputKind, depth: int) -> Iterator[Item]:
    own = item.get("url")
    urls = [url for one in (own if isinstance(own, list) else [own]) if (url := read_file(one, is_address=True))]
    addresses = list(_find_addresses(item))
    below = [] if urls or len({url for _, url in addresses}) == 1 else list(_iterate_below(item, kind, depth))
    is_holder = sum(isinstance(one, FoundItem) and bool(one.url) for one in below) > 1
    texts = [text for key in _TEXT_KEYS if isinstance(text := item.get(key), str) and text.strip() not in {"", *urls}]
    if not is_holder and (urls := urls or _choose_only(addresses, kind)):
        texts = [text for text in texts if not read_file(text, is_address=False)]
        words = " ".join([*texts, *_format_further(addresses, urls)])
        for url in urls:
            yield _build(url, kind, words[:MAX_TEXT], item)
        return
    below += [one for text in texts if isinstance(one := _read_plain(text, kind), FoundItem) and not one.url]
    if any(isinstance(one, FoundItem) for one in below):
        yield from below
    elif addresses:
        # Any of them may be the result.
        yield FoundItem(OutputKind.TEXT, text=" ".join(_format_further(addresses, []))[:MAX_TEXT])
    else:
        yield UnreadItem(keep_beginning(item))


def _iterate_below(item: Mapping[str, Any], kind: OutputKind, depth: int) -> Iterator[Item]:
    for key, part in item.items():
        if isinstance(part, list | Mapping) and not _SMALL_COPY.search(key):
            is_expected = key in _TEXT_KEYS | _FILE_KEYS | _KINDS.keys()
            items = _iterate(part, _KINDS.get(key, kind), depth + 1)
            yield from (one for one in items if is_expected or (isinstance(one, FoundItem) and one.url))


def _format_further(addresses: list[tuple[str, str]], urls: list[str]) -> list[str]:
    further = [url for _, url in addresses if url not in urls and not url.startswith(DATA_SCHEME)]
    return [f"Further link: {url}" for url in dict.fromkeys(further)][:_MAX_FURTHER]


def _find_addresses(value: Any, key: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield the addresses in an item with their keys."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, str):
        if url := read_file(value, is_address=False):
            yield key, url
    elif isinstance(value, Mapping | list):
        pairs = value.items() if isinstance(value, Mapping) else ((key, part) for part in value)
        for name, part in pairs:
            # What lies below a small copy is a small copy.
            yield from _find_addresses(part, key if _SMALL_COPY.search(key) else str(name), depth + 1)


def _choose_only(addresses: list[tuple[str, str]], kind: OutputKind) -> list[str]:
    """Return the one address that can be meant; none when several can."""
    large = {url for key, url in addresses if not _SMALL_COPY.search(key)}
    fitting = {url for url in large if guess_kind(url, OutputKind.FILE) is kind}
    everything = {url for _, url in addresses}
    return next((list(urls) for urls in (everything, large, fitting) if len(urls) == 1), [])


def _build(url: str, kind: OutputKind, text: str = "", about: Mapping[str, Any] | None = None) -> FoundItem:
    return FoundItem(guess_kind(url, kind) if kind is OutputKind.FILE else kind, url, text, about or {})


def keep_beginning(value: Any) -> str:
    """Return the beginning of a value's JSON."""
    # Only that is written: the value may be megabytes, and as deep as its JSON was.
    pieces, length = list[str](), 0
    for piece in json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).iterencode(value):
        pieces.append(piece[:MAX_KEPT])
        length += len(piece)
        if length > MAX_KEPT:
            break
    return "".join(pieces)[:MAX_KEPT]


def build_output(n: int, item: FoundItem, *, expires_at: float) -> Output:
    """Return an item as the output of a run.

    Args:
        n: Its number in the run.
        expires_at: When its link stops working, if it has one.
    """
    if item.kind is OutputKind.TEXT:
        return Output(n, OutputKind.TEXT, None, mime_type="text/plain", text=item.text)
    about, is_link = item.about, not item.url.startswith(DATA_SCHEME)
    width, height, seconds = (_read_size(about.get(key)) for key in ("width", "height", "duration"))
    return Output(
        n=n,
        kind=item.kind,
        url=item.url,
        provider_output_id=clean_line(about["id"]) if isinstance(about.get("id"), str) else "",
        mime_type=guess_mime_type(item.url) if is_link else "",
        width=int(width) if width else None,
        height=int(height) if height else None,
        duration_seconds=seconds,
        expires_at=expires_at if is_link else None,
        text=item.text,
    )


def _read_size(value: Any) -> float | None:
    return float(value) if is_number(value) and 0 <= value < _MAX_SIZE else None
