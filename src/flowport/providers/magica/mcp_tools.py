"""Magica's own MCP server: the arguments for its tools, by the tools' own descriptions. Pure.

Source: the pages `tools` and `runs` under "MCP server" of magica.com/docs. They name the tools and what they do, not every
argument; so an argument is called what the tool's schema calls it.
"""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from flowport.domain.errors import ProviderRejected
from flowport.domain.models import JsonValue
from flowport.providers.interface import ToolOffer
from flowport.providers.parsing import is_usable_url

_WORKFLOW_KEYS: Final = ("workflowId", "workflow_id", "workflow", "id")
_RUN_KEYS: Final = ("runId", "run_id", "id")
_DATA_URI_KEYS: Final = ("data_uri", "dataUri")
_BASE64_KEYS: Final = ("base64", "data", "content")
_TYPE_KEYS: Final = ("mime_type", "mimeType", "content_type", "contentType")
_ADDRESS_KEYS: Final = ("url", "fileUrl", "publicUrl", "permanentUrl", "assetUrl")
_STARTED_KEYS: Final = ("runId", "run_id")
_MISSING: Final = frozenset({404, 405})

_SENTENCE_END: Final = re.compile(r"[.;!?](?=\s|$)|\n\s*\n")
_GIVEN: Final = r"(?:pass|provid|giv|suppl|send|sent|specif|set|includ|fill)\w*"
_IF: Final = r"\b(?:if|when|whenever|where|as long as)\b"
_WITHOUT: Final = re.compile(
    r"\b(?:without|omit\w*|leav\w+ out|no|empty)\b[^.]{0,30}\bvalues\b|\bvalues\b[^.]{0,30}\b(?:omitted|empty|left out)\b"
    rf"|{_IF}[^.]{{0,30}}\bvalues\b[^.]{{0,15}}(?:\bmissing|\babsent|\bunset|\bunspecified|(?:\bnot|n't)(?: \w+)? {_GIVEN})\b"
    rf"|{_IF}[^.]{{0,30}}(?:\bnot|n't) {_GIVEN}[^.]{{0,20}}\bvalues\b|\bunless\b[^.]{{0,20}}\bvalues\b[^.]{{0,10}} {_GIVEN}\b"
)
_STARTS_NOTHING: Final = re.compile(
    r"(\b(not|never)|n't) (actually |even |yet )?(start|run|execut|launch|trigger)"
    r"(?!\w* (?:(?:a|an|any|the|yet) )*(?:second|another|further|duplicate|additional|other)\b)(?!.*\b(?:twice|again)\b)"
    r"|\bwithout (actually |even )?(start|runn|execut|launch|trigger)ing"
    r"|\bnothing (is |gets |will be )?(actually )?(start|run|execut|launch|trigger)"
    r"|\b(start|run|execute|launche|trigger)s (nothing|no\b)|\bno (new )?run (is|gets) (started|made|created|launched|triggered)"
    r"|\bdry[ -]run\b"
)
"""Each form says by itself that there is no start, so that "values not given start as saved" does not match."""

_INSTEAD: Final = re.compile(
    r"\b(?:instead of|rather than|in (?:place|lieu) of) (?:actually )?"
    r"(?:start|runn|execut|launch|trigger|creat|beginn|queu|submitt)\w*ing"
    r"(?: (?:(?:the|a|an|any|your|its|that|this|new|actual) )*(?:runs?|workflows?|it|anything|executions?|generations?|jobs?))?"
    r"(?= *(?:$|[,)]| (?:when|if|so)\b))"
)
"""The documented form: "returns the Request Node fields … instead of starting the run". Of something else that is not
started, such as a wizard, or of a run that is not started twice, it does not match."""
_RETURNS: Final = re.compile(
    r"\b(?:return|list|show|giv|tell|describ|respond|report|get|fetch|read|output)(?:s|es|ed|ing|e|n)?\b|\bshown\b"
)
_STARTS: Final = re.compile(
    r"\b(?:start|run|execute|launche?|trigger|create|queue|submit|begin|resume)s\b"
    r"|\b(?:started|executed|launched|triggered|queued|submitted|begun|resumed)\b"
    r"|\b(?:will|would|to|still|and|then|may|can|always) (?:start|run|execute|launch|trigger|queue|submit|begin|resume)\b"
)
_DENIES: Final = re.compile(r"\b(?:not|never|no longer|neither|nor)\b|n't\b")


def build_field_arguments(workflow_id: str, offer: ToolOffer) -> Mapping[str, JsonValue] | None:
    """Ask `start_run` which fields a workflow has, and only where it says itself that this starts nothing: no values."""
    key = pick_argument(offer, _WORKFLOW_KEYS)
    return {key: workflow_id} if key and starts_nothing_without_values(offer.description) else None


def starts_nothing_without_values(description: str) -> bool:
    """Check whether one sentence of a description says that a call without values starts nothing."""
    plain = description.lower().replace("`", "").replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    sentences = (" ".join(sentence.split()) for sentence in _SENTENCE_END.split(plain) if sentence)
    return any(_WITHOUT.search(one) and (_STARTS_NOTHING.search(one) or _returns_instead(one)) for one in sentences)


def _returns_instead(sentence: str) -> bool:
    """Check whether a sentence says that something is returned instead of a start, and nothing to the contrary."""
    found = _INSTEAD.search(sentence)
    if found is None:
        return False
    rest = _WITHOUT.sub(" ", f"{sentence[: found.start()]} {sentence[found.end() :]}")
    return bool(_RETURNS.search(rest)) and not _STARTS.search(rest) and not _DENIES.search(rest)


def build_cancel_arguments(run_id: str, offer: ToolOffer) -> Mapping[str, JsonValue] | None:
    """Name the run for `cancel_run`."""
    key = pick_argument(offer, _RUN_KEYS)
    return {key: run_id} if key else None


def build_upload_arguments(mime_type: str, data: bytes, offer: ToolOffer) -> Mapping[str, JsonValue] | None:
    """Give `upload_file` a file in the form that it takes."""
    text = base64.b64encode(data).decode("ascii")
    key = pick_argument(offer, _DATA_URI_KEYS)
    if key:
        return {key: f"data:{mime_type};base64,{text}"}
    key, type_key = pick_argument(offer, _BASE64_KEYS), pick_argument(offer, _TYPE_KEYS)
    about: dict[str, JsonValue] = {type_key: mime_type} if type_key else {}
    return {key: text, **about} if key else None


def describe_missing_tool(error: ProviderRejected, purpose: str) -> str:
    """Return what is missing at Magica that a tool was not called; empty when the tool was there and refused.

    Args:
        purpose: What the tool is for, as in "files are uploaded".
    """
    if error.status not in _MISSING:
        return ""
    # The server's own 404 has no message; that of a tool that is missing or unfit has ours.
    what = "has no tool for it that could be used" if error.detail else "does not answer"
    return f"Magica's MCP server, by which {purpose}, {what}"


def find_address(body: Any) -> str:
    """Return the address that `upload_file` gave; empty when it gave none that can be used."""
    texts = list(_iterate_texts(body))
    named = [text for key, text in texts if key in _ADDRESS_KEYS]
    return next((text for text in (*named, *(text for _, text in texts)) if is_usable_url(text)), "")


def has_started(body: Any) -> bool:
    """Check whether an answer names a run, so that something was started after all."""
    return any(key in _STARTED_KEYS and text for key, text in _iterate_texts(body))


def pick_argument(offer: ToolOffer, keys: Sequence[str]) -> str:
    """Return the first of these arguments that a tool takes; empty when it takes none of them."""
    return next((key for key in keys if key in offer.arguments), "")


def _iterate_texts(value: Any, key: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value.strip()
    elif isinstance(value, Mapping) and depth < 8:  # noqa: PLR2004
        for inner, part in value.items():
            yield from _iterate_texts(part, str(inner), depth + 1)
    elif isinstance(value, list) and depth < 8:  # noqa: PLR2004
        for part in value:
            yield from _iterate_texts(part, key, depth + 1)
