"""One line of the doctor, for the person at the terminal and in a form that can be shared. Pure.

A sentence is a template and its values. In the shared form a value stands only if it is a number or `Public`; any other
is replaced by its name. So nothing of this computer, its user or a provider is in a report by accident.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Final

from flowport.domain.text import clean_line, redact

_LONGEST: Final = 300


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


class Public(str):
    """A value that may be shared: one of our own words, or a version."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One line."""

    level: Level
    name: str
    """What was checked; always public."""
    sentence: str
    fix: str
    """What corrects it: a command, a setting or an advice; empty when there is nothing to correct."""
    shared: str
    """The sentence with its fix, in the form that can be shared."""

    def build_facts(self) -> dict[str, str]:
        """Return the line as JSON."""
        return {"level": self.level.value, "name": self.name, "sentence": self.sentence, "fix": self.fix}


def build_finding(level: Level, name: str, template: str, fix: str = "", *, kind: str = "", **values: Any) -> Finding:
    """Return a line.

    Args:
        template: The sentence, with the names of its values between braces; `fix` likewise.
        kind: What a shared line says in place of an error's sentence.
        values: Texts are made one line without control characters.
    """
    shown = {key: clean_line(one, limit=_LONGEST) if isinstance(one, str) else one for key, one in values.items()}
    shared = {key: one if isinstance(one, int | float | Public) else f"[{key}]" for key, one in values.items()}
    both = " ".join(filter(None, (template, fix, kind and f"({kind})")))
    return Finding(level, name, template.format(**shown), fix.format(**shown), both.format(**shared))


ok = partial(build_finding, Level.OK)
warn = partial(build_finding, Level.WARNING)
fault = partial(build_finding, Level.FAULT)


def get_worst(findings: Iterable[Finding]) -> Level:
    """Return the worst level; `ok` without any finding."""
    order = tuple(Level)
    return max((one.level for one in findings), key=order.index, default=Level.OK)


def remove_private(text: str, private: Iterable[str]) -> str:
    """Return a shared text without what must never be in one, should a template have let it through.

    Args:
        private: Keys, the user's and the computer's name, the home folder.
    """
    for word in sorted({one for one in private if one}, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", "[private]", text, flags=re.IGNORECASE)
    return redact(text)
