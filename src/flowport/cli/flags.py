"""A flag parser that accepts no abbreviations: one could mean another flag in the next version."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from flowport.domain.text import get_nearest
from flowport.settings.values import get_default_config_path
from flowport.settings.variables import get_key_names


class FlagParser(argparse.ArgumentParser):
    """A parser without abbreviations that suggests the nearest flag."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def parse_flags(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Return the flags; an unknown one ends the program with a suggestion."""
        # Not the parent's check, which suggests no flag.
        flags, unknown = self.parse_known_args(arguments)
        if unknown:
            self._refuse(unknown)
        return flags

    def _refuse(self, unknown: Sequence[str]) -> NoReturn:
        known = [name for action in self._actions for name in action.option_strings if action.help != argparse.SUPPRESS]
        problems = []
        for word in unknown:
            name = word.partition("=")[0]
            if name.startswith("-"):
                problems.append(f"there is no flag {name}{_format_hint(name, known)}")
        # What follows an unknown flag is its value, and may be a key.
        self.error(", ".join(problems) or f"the argument {unknown[0]!r} is not expected")


def _format_hint(name: str, known: Sequence[str]) -> str:
    """Return a suggestion for a flag, which may be spelt like its variable; may be empty."""
    plain = "-".join(filter(None, name.replace("_", "-").lower().split("-")))
    variable = plain.upper().replace("-", "_")
    keys = get_key_names()
    if variable in keys or variable == "API_KEY":
        named = variable if variable in keys else " or ".join(keys)
        return f"; other users of the machine see flags, so a key is given by the variable {named}"
    nearest = get_nearest(f"--{plain.removeprefix('flowport-')}", known)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def add_config_flag(parser: argparse.ArgumentParser) -> None:
    """Add the flag that names the configuration file."""
    usual = get_default_config_path()
    instead = f" instead of {usual}".replace("%", "%%") if usual else ""
    parser.add_argument("--config", type=Path, help=f"a TOML file to read{instead}", metavar="FILE")
