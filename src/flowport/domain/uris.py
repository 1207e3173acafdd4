"""The `flowport://` grammar: names of runs, batches, outputs and apps in links and arguments. Pure.

`flowport://runs/ID`, `flowport://batches/ID` (both with `?from=N` for a later page), `flowport://runs/ID/outputs/N` and
`flowport://apps/TOOL`. Arguments may name the same things less strictly: `run:ID#1`, `last`, an id inside a sentence. A file
that a person has uploaded is `upload:ID`.
"""

import re
from dataclasses import dataclass
from typing import Final

from flowport.domain.models import BATCH_PREFIX

_ID: Final = "[a-z0-9_]+"
_NUMBER: Final = "[1-9][0-9]{0,5}"
_EXACT: Final = re.compile(
    rf"flowport://(?:(?P<kind>runs|batches)/(?P<id>{_ID})(?:\?from=(?P<start>{_NUMBER}))?"
    rf"|runs/(?P<run>{_ID})/outputs/(?P<n>{_NUMBER})|apps/(?P<app>[A-Za-z0-9_-]+))"
)
_RESULT: Final = re.compile(r"(?:flowport|run):|last(?:#.*)?$|run_[a-z0-9]{6,}(?:#.*)?$", re.IGNORECASE)
# The prefix of an id is optional where the context marks it as one.
_RESULT_NAME: Final = re.compile(
    r"(?:last|(?:(?:flowport://runs/|run:)(?:run_)?|run_)(?P<id>[a-z0-9]{1,40}))(?:(?:#|/outputs/)(?P<n>[0-9]{1,6}))?",
    re.IGNORECASE,
)
_UPLOAD: Final = re.compile(r"(?:flowport://uploads/|uploads?:\s?/{0,2})([a-z0-9]{8,20})", re.IGNORECASE)
_QUOTES: Final = " \t\r\n\"'`<>()[]{}*.,;\u201c\u201d\u2018\u2019\u201e\u201a\u00ab\u00bb"
_BARE_ID: Final = re.compile(r"[a-z0-9_]{1,60}")
_PREFIXED_ID: Final = re.compile(
    r"(?:(?P<run>flowport://runs/|run:)(?:run_)?|(?P<batch>flowport://batches/|batch:)(?:batch_)?)(?P<id>[a-z0-9]{1,40})",
    re.IGNORECASE,
)
_ID_INSIDE: Final = re.compile(r"(?<![a-z0-9])(?:run|batch)_[a-z0-9]{6,40}(?![a-z0-9_])", re.IGNORECASE)
_LAST_OUTPUT: Final = re.compile(r"last#[0-9]{1,6}", re.IGNORECASE)
_MAX_CHARACTERS: Final = 4_000
_MAX_IDS: Final = 5


@dataclass(frozen=True, slots=True)
class Uri:
    """What a `flowport://` URI names: a run or batch, an output of a run, or an app."""

    run_id: str = ""
    is_batch: bool = False
    """Whether the URI is that of a batch."""
    start: int = 1
    """The first output or row of the page."""
    n: int | None = None
    """The output's number in its run; None for the run itself."""
    tool_name: str = ""
    """The app; empty for the others."""


def format_run_uri(run_id: str, *, start: int = 1) -> str:
    """Return the URI of a run or a batch, or of its page that begins at an output or row."""
    page = f"?from={start}" if start > 1 else ""
    return f"flowport://{'batches' if run_id.startswith(BATCH_PREFIX) else 'runs'}/{run_id}{page}"


def format_output_uri(run_id: str, n: int | str) -> str:
    """Return the URI of an output."""
    return f"flowport://runs/{run_id}/outputs/{n}"


def format_app_uri(tool_name: str) -> str:
    """Return the URI of an app."""
    return f"flowport://apps/{tool_name}"


def parse_uri(text: str) -> Uri | None:
    """Return what a URI names; None when it does not follow the grammar."""
    found = _EXACT.fullmatch(text)
    if found is None:
        return None
    n = int(found["n"]) if found["n"] else None
    is_batch = found["kind"] == "batches"
    return Uri(found["id"] or found["run"] or "", is_batch, int(found["start"] or 1), n, found["app"] or "")


@dataclass(frozen=True, slots=True)
class ResultName:
    """A result of an earlier run, as an argument names it."""

    run_id: str
    """Empty for the newest delivered result."""
    n: int | None
    """The output's number in its run, from 1; None for the first one that fits."""


def is_result_name(text: str) -> bool:
    """Return whether a text is meant to name a result of an earlier run, well-formed or not."""
    return _RESULT.match(text) is not None


def parse_result_name(text: str) -> ResultName | None:
    """Return the result that the text names; None if it names none or is malformed."""
    found = _RESULT_NAME.fullmatch(text.strip())
    if found is None or found["n"] == "0":
        return None
    return ResultName(f"run_{found['id'].lower()}" if found["id"] else "", int(found["n"]) if found["n"] else None)


def format_upload_name(file_id: str) -> str:
    """Return the name by which an argument means a file that a person has uploaded."""
    return f"upload:{file_id}"


def parse_upload_name(text: str) -> str:
    """Return the id of the uploaded file that a text names; empty for any other text."""
    found = _UPLOAD.fullmatch(text.strip())
    return found[1].lower() if found else ""


def strip_quotes(text: str) -> str:
    """Return the beginning of a text without the quotes and marks around it."""
    return text[:_MAX_CHARACTERS].strip().strip(_QUOTES)


def names_last(text: str) -> bool:
    """Return whether a text means the newest delivered result instead of naming a run."""
    written = strip_quotes(text)
    return written.casefold() == "last" or _LAST_OUTPUT.fullmatch(written) is not None


def parse_run_ids(text: str) -> tuple[str, ...]:
    """Return the ids that a text may mean: itself if it is one, otherwise those inside it.

    An id may come with quotes, in the URI of its run, batch or output, with `#1` behind it, or in a sentence.
    """
    written = strip_quotes(text)
    if _BARE_ID.fullmatch(written):
        return (written,)
    named = _PREFIXED_ID.match(written)
    inner = [] if named is None else [f"{'batch' if named['batch'] else 'run'}_{named['id'].lower()}"]
    inner += [found.lower() for found in _ID_INSIDE.findall(written)]
    return tuple(dict.fromkeys(inner))[:_MAX_IDS]
