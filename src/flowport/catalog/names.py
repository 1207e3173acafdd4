"""Build the names of tools and arguments. Pure and deterministic.

A name that was assigned once is frozen by the caller; new names never replace one that is in use.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import count
from typing import Final

from flowport.domain.models import Input, InputKind
from flowport.domain.text import _MAX_SLUG_SOURCE, build_slug, clean_line

MAX_NAME_LENGTH: Final = 40
"""Characters of a tool name: clients put the server's name before it and cut the result at 60 or 64."""

MAX_PROPERTY_LENGTH: Final = 32
"""Characters of an argument's name."""

RESERVED_NAMES: Final = frozenset(
    {
        "cancel_run",
        "describe_app",
        "find_apps",
        "get_app",
        "get_balance",
        "get_batch",
        "get_run",
        "list_apps",
        "list_runs",
        "request_upload",
        "run_app",
        "run_batch",
        "show_gallery",
        "start_run",
        "upload_file",
        "wait_run",
    }
)
"""Names of Flowport's own tools, present and planned; no app may have one."""

_HASH_LENGTHS: Final = range(8, 33)

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:[-_]?[0-9a-f]{4}){3}[-_]?[0-9a-f]{12}")
_ONLY_DIGITS: Final = re.compile(r"[0-9_]+")
_LONG_HEX: Final = re.compile(r"(?=.*[0-9])[0-9a-f_]{8,}")
_NUMBERED: Final = re.compile(r"_[0-9]+$")

_KIND_NAMES: Final = {
    InputKind.ANY: "value",
    InputKind.AVMEDIA: "file",
    InputKind.MEDIA: "file",
    InputKind.SELECT: "choice",
}


def _build_readable_slug(text: str) -> str:
    """Return the slug of a name in any script: one that is mostly not Latin is transliterated, for a name is permanent."""
    cleaned = unicodedata.normalize("NFKC", clean_line(text, limit=_MAX_SLUG_SOURCE))
    letters = [character for character in cleaned if character.isalpha()]
    if sum(bool(build_slug(letter)) for letter in letters) * 2 > len(letters) or cleaned.isascii():
        return build_slug(cleaned)
    # Here, because few accounts need it and every start would pay for it.
    from anyascii import anyascii  # noqa: PLC0415

    # The library has words for signs and pictures, which are dropped; its apostrophe is a soft sign.
    spelled = (anyascii(c).replace("'", "") if unicodedata.category(c)[0] in "LMN" else c for c in cleaned)
    return build_slug("".join(spelled)) or build_slug(cleaned)


def build_tool_name(app_name: str, app_key: str, *, prefix: str = "", taken: Collection[str]) -> str:
    """Return a name for an app's tool that is neither taken nor reserved.

    Args:
        app_name: The builder's name, not cleaned.
        app_key: "<account scope>/<app id>"; its hash distinguishes apps of the same name.
        prefix: Put before every name of a provider; it counts towards the length.
        taken: Every name ever given to another app.
    """
    slug = _build_readable_slug(app_name)
    stem = prefix + slug if slug else f"{prefix}app"
    if not stem[0].isalpha():
        stem = f"app_{stem}"
    name = _cut_at_word(stem, MAX_NAME_LENGTH)
    if slug and name not in taken and name not in RESERVED_NAMES:
        return name
    suffixed = (_append(stem, suffix, MAX_NAME_LENGTH) for suffix in _build_suffixes(app_key))
    return next(name for name in suffixed if name not in taken)


def build_property_names(inputs: Sequence[Input], frozen: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the argument name of each input by its id, in the order of the inputs.

    Args:
        inputs: Of two with one id the first counts.
        frozen: Names given earlier, by input id, of removed inputs too: they stay as they are and are never assigned again.
    """
    kept = frozen or {}
    used = set(kept.values())
    names: dict[str, str] = {}
    for item in inputs:
        if item.id in names:
            continue
        names[item.id] = kept[item.id] if item.id in kept else _build_property_name(item, used)
        used.add(names[item.id])
    return names


def is_said_by(label: str, name: str) -> bool:
    """Return whether a name says all that the label says, apart from spelling and a distinguishing number."""
    slug = build_slug(label)
    return not label or slug in {name, _NUMBERED.sub("", name)}


def _build_property_name(item: Input, used: Collection[str]) -> str:
    keys = (item.run_key, item.name)
    readable = next((slug for key in keys if not _is_machine_made(key) and (slug := build_slug(key))), "")
    stem = readable or build_slug(item.label) or _KIND_NAMES.get(item.kind, item.kind.value)
    if not stem[0].isalpha():
        stem = f"input_{stem}"
    numbered = (_append(stem, f"_{n}", MAX_PROPERTY_LENGTH) for n in count(2))
    name = _cut_at_word(stem, MAX_PROPERTY_LENGTH)
    return name if name not in used else next(name for name in numbered if name not in used)


def _is_machine_made(run_key: str) -> bool:
    slug = build_slug(run_key)
    return bool(_UUID.search(slug) or _ONLY_DIGITS.fullmatch(slug) or _LONG_HEX.fullmatch(slug))


def _build_suffixes(app_key: str) -> Iterator[str]:
    digest = sha256(app_key.encode(errors="surrogatepass")).hexdigest()
    while True:
        yield from (f"_{digest[:length]}" for length in _HASH_LENGTHS)
        # Never needed in practice: it guarantees that a free name is found.
        digest = sha256(digest.encode()).hexdigest()


def _append(stem: str, suffix: str, limit: int) -> str:
    return _cut_at_word(stem, limit - len(suffix)) + suffix


def _cut_at_word(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    # One more than fits, so that a word which ends exactly at the limit is kept.
    boundary = text.rfind("_", 0, limit + 1)
    return text[: boundary if boundary * 2 >= limit else limit].rstrip("_")
