"""The tool list of an earlier process, saved whole: a start answers with it before it loads what runs apps.

It is used only for the settings, the catalogues and the version of Flowport that it was made from. Catalogues that have more
apps than places in the list have none saved: which apps are listed then also depends on the runs of the last month.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from flowport import __version__
from flowport.runtime.file_systems import get_stamp, write_whole
from flowport.settings.settings import Settings

logger = logging.getLogger(__name__)

_CODE: Final = Path(__file__).parents[1] / "actions"
"""Where the built-in tools are declared: in a checkout they change within a version."""


class SavedList:
    """The saved tool list of one home under one set of settings."""

    def __init__(self, settings: Settings) -> None:
        providers = sorted((one.provider, one.base_url, one.fingerprint) for one in settings.providers)
        made_for = (providers, settings.apps, settings.max_tools, settings.source)
        digest = hashlib.sha256(repr(made_for).encode()).hexdigest()
        self._path = settings.home / "catalogue" / f"tools-{digest[:16]}.json"
        self._record: object = None

    def load(self) -> list[dict[str, Any]] | None:
        """Return the list; None if it is missing or was made from something else."""
        try:
            record = json.loads(self._path.read_bytes())
            stamps: dict[str, int] = record["stamps"]
            if record["version"] != _get_version() or any(get_stamp(Path(path)) != stamps[path] for path in stamps):
                return None
            tools: list[dict[str, Any]] = record["tools"]
            if not all(tool["name"] for tool in tools):
                return None
            self._record = record
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        return tools

    def save(self, tools: Sequence[Mapping[str, Any]], stamps: Mapping[Path, int]) -> None:
        """Save the list with the stamps of the files that it was made from; 0 stands for one that is not on disk."""
        if not all(stamps.values()):
            return
        try:
            kept = {str(path): stamp for path, stamp in stamps.items()}
            record = {"version": _get_version(), "stamps": kept, "tools": tools}
            if record != self._record:
                self._record = record
                write_whole(self._path, json.dumps(record, separators=(",", ":")))
        except OSError as exc:
            logger.info("the tool list could not be saved for the next start: %s", exc.strerror)


def _get_version() -> str:
    with os.scandir(_CODE) as files:
        return f"{__version__} {max(file.stat().st_mtime_ns for file in files if file.is_file())}"
