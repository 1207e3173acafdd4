"""Refuse what a media argument names, with a sentence that says what to give instead. Nothing is opened."""

import re
from dataclasses import replace
from typing import Final

from flowport.domain.call_errors import build_refusal
from flowport.domain.errors import ArgumentsInvalid
from flowport.domain.text import format_address, format_name
from flowport.media.source_kinds import CHAT_FOLDERS, SourceKind, get_source_kind

GIVE: Final = "Give the full path of a file on this computer, or an https URL."
GIVE_ELSEWHERE: Final = (
    "Give an https URL, a data URI, an earlier result (run:ID#1 or last), or a file that the person uploads: "
    "request_upload gives the link for it."
)
"""To a caller at another computer, whose paths mean nothing here."""

_PATHS: Final = frozenset({SourceKind.PATH, SourceKind.FILE_URI, SourceKind.WINDOWS_PATH, SourceKind.NETWORK_PATH})

# An invented name has no folder; a relative path cannot be resolved, since clients start us anywhere.
_NEARLY_ADDRESS: Final = re.compile(
    r"(https?//?)|www\.[\w-]+\.\w|[a-z0-9][\w-]*\.(?:[\w-]+\.)*(?:com|net|org|io|ai|dev|app|co|cloud|de|fr|uk|eu)/.",
    re.IGNORECASE,
)
_PATH_MARK: Final = re.compile(r"[/\\]")

_REFUSALS: Final = {
    SourceKind.BLANK: ("is empty", GIVE),
    SourceKind.RESULT: ("names a result of a run, and no results are available here", GIVE),
    SourceKind.UPLOAD: ("names an uploaded file, and no uploads are available here", GIVE),
    SourceKind.GARBLED: ("holds control characters", GIVE),
    SourceKind.URL: ("is a web address", "Give the full path of a file on this computer."),
    SourceKind.NETWORK_PATH: ("names a network share", "Copy the file to this computer and give its full path."),
}


def refuse_kind(source_kind: SourceKind, value: str, argument: str) -> ArgumentsInvalid:
    """Return the refusal of a text that names no file which can be read."""
    if source_kind is SourceKind.OTHER_SCHEME:
        return build_refusal(argument, f"is an address of a kind that cannot be used ({format_address(value)})", GIVE)
    if source_kind in _REFUSALS:
        return build_refusal(argument, *_REFUSALS[source_kind])
    if source_kind is SourceKind.RELATIVE and (found := _NEARLY_ADDRESS.match(value)):
        lacks = "its colon" if found[1] else '"https://"'
        return build_refusal(argument, f"is not a complete web address: it lacks {lacks}", GIVE)
    if source_kind is SourceKind.RELATIVE and _PATH_MARK.search(value):
        return build_refusal(argument, f'is "{format_name(value)}", a path without its beginning', GIVE)
    return refuse_chat_name(value, argument)


def refuse_chat_name(value: str, argument: str) -> ArgumentsInvalid:
    """Return the refusal of a name that only the chat knows."""
    return build_refusal(
        argument,
        f'is "{format_name(value)}", which means nothing outside the chat',
        "Files attached to the chat cannot be seen from here. " + GIVE,
    )


def refuse_elsewhere(value: str, argument: str) -> ArgumentsInvalid:
    """Return the refusal of a text that a caller at another computer gave; the same whether or not this one has such a file."""
    source_kind = get_source_kind(value)
    if value.startswith(CHAT_FOLDERS):
        refusal = refuse_chat_name(value, argument)
    elif source_kind in _PATHS:
        problem = "is a path, and Flowport runs on another computer, where it reads no files for you"
        refusal = build_refusal(argument, problem, GIVE_ELSEWHERE)
    else:
        refusal = refuse_kind(source_kind, value, argument)
    problems = tuple(replace(one, expected=one.expected.replace(GIVE, GIVE_ELSEWHERE)) for one in refusal.problems)
    return replace(refusal, problems=problems)
