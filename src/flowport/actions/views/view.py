"""The answer to an action as plain facts, which a protocol, a terminal or a page shows in its own way. Pure.

Some clients show their model only the structured content of a result, others only its text. So both are made from one
mapping of facts and say the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, Final, TypeAlias

from flowport.domain.models import Output, OutputKind, Run
from flowport.domain.text import clean_text, count_bytes
from flowport.domain.uris import format_output_uri
from flowport.media.previews import Preview

Facts: TypeAlias = dict[str, Any]

MAX_ANSWER_BYTES: Final = 20_000
"""Of an answer on the wire, previews aside: clients cut longer ones, and what is cut off is lost."""

MAX_RUN_BYTES: Final = MAX_ANSWER_BYTES - 3_000
"""What is left for the run when other runs are mentioned, and the client's library has wrapped the answer."""

UNKNOWN_COST: Final = "unknown"
"""In the place of a number of credits that is not known: a 0 would read as free."""


_LINK_FRAME_BYTES: Final = 126
"""What the names of a link's fields take, those without a value among them."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link to an output."""

    uri: str
    name: str
    title: str
    mime_type: str
    """Empty when it is not known."""
    size_bytes: int | None

    def count_bytes(self) -> int:
        """Return about how long it is on the wire."""
        return count_bytes([self.uri, self.name, self.title, self.mime_type, self.size_bytes]) + _LINK_FRAME_BYTES


_MAX_TEXT: Final = 200
_MAX_BRIEF_PROBLEM: Final = 80


@dataclass(frozen=True, slots=True)
class View:
    """The answer to an action."""

    facts: Facts
    links: tuple[Link, ...] = ()
    previews: tuple[Preview, ...] = ()
    is_error: bool = False

    def add(self, name: str, sentence: str) -> "View":
        """Return the view with one more fact; nothing is added when the sentence is empty."""
        return replace(self, facts={**self.facts, name: sentence}) if sentence else self


@dataclass(frozen=True, slots=True)
class Form:
    """An output or a row in one of the forms in which an answer may show it."""

    facts: Facts
    links: tuple[Link, ...] = ()
    is_whole: bool = True
    """Whether no fact is missing."""

    def count_bytes(self) -> int:
        """Return what it takes of an answer: as structured content, as a line of the text, and as links."""
        return count_twice(self.facts) + sum(link.count_bytes() for link in self.links) + 2


def build_link(run: Run, output: Output, uri: str) -> Link:
    """Return the link of an answer to an output."""
    name = make_sendable(PurePath(output.saved_path).name) or f"{run.tool_name}-{output.n}"
    return Link(uri, name, f"{run.app_name} {output.n}", output.mime_type, output.size_bytes)


def build_brief_output(run: Run, output: Output) -> Facts:
    """Return where an output is, and the beginning of its text."""
    return drop_empty(
        {
            "kind": output.kind.value,
            "text": clean_text(output.text, limit=_MAX_TEXT),
            "url": output.link,
            "saved_path": make_sendable(output.saved_path),
            "save_problem": clean_text(output.save_problem, limit=_MAX_BRIEF_PROBLEM),
            "resource": format_output_uri(run.id, output.n),
        }
    )


def name_output(run: Run, output: Output) -> str:
    """Return a text result, or where an output is: on this computer, else at the provider, else here."""
    short = clean_text(output.text, limit=_MAX_TEXT) if output.kind is OutputKind.TEXT else ""
    return short or make_sendable(output.saved_path) or output.link or format_output_uri(run.id, output.n)


def drop_empty(facts: Facts) -> Facts:
    """Return the facts that say something; that nothing was charged says something."""
    return {
        key: value
        for key, value in facts.items()
        if value not in ("", None, [], 0) or (key == "credits" and value is not None)
    }


def count_twice(facts: Facts) -> int:
    """Return the bytes of facts in an answer, which holds them as structured content and as text."""
    return count_bytes(facts) + count_bytes(format_facts(facts))


def format_instant(at: float | None) -> str:
    """Return an instant in ISO 8601, in UTC; empty for None."""
    return "" if at is None else datetime.fromtimestamp(at, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def plain(number: float | None) -> float | int | None:
    """Return a whole number without its point."""
    return int(number) if number is not None and number == int(number) else number


def make_sendable(path: str) -> str:
    """Return a path as text that can be sent: the name of a folder may hold bytes that are not text."""
    return path.encode(errors="replace").decode()


def format_facts(facts: Mapping[str, Any]) -> str:
    """Return facts as lines of `name: value`, lists indented under their name. Every fact is in it."""
    lines: list[str] = []
    for key, value in facts.items():
        if isinstance(value, list | tuple):
            lines.append(f"{key}:" if value else f"{key}: none")
            lines += [f"- {_format_item(item)}" for item in value]
        else:
            lines.append(f"{key}: {_format_item(value)}")
    return "\n".join(lines)


def _format_item(value: Any) -> str:
    # Text first: it is the most frequent, and the checks for `Mapping` and `Sequence` are slow.
    if isinstance(value, str):
        # No line of a text may be mistaken for a line of ours.
        return value.replace("\n", "\n    ")
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_format_item(part)}" for key, part in value.items())
    if isinstance(value, Sequence):
        return "[" + ", ".join(_format_item(part) for part in value) + "]"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
