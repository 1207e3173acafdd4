"""Remove the half-written files that killed processes left in the folder for results. Blocks on the disk."""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

MAX_AGE_SECONDS: Final = 24 * 3600.0
"""How old a half-written file must be when nobody can tell whether its writer lives; a fetch has five minutes."""

_NAME: Final = re.compile(
    r"\.[a-z0-9_]+-\d+-[a-z0-9_]+(-\d+)?\.[a-z0-9_]+(\.json)?\.(?:(?P<writer>[0-9a-f]{16})\.)?[0-9a-f]{8}\.part"
)
"""The names that `media.saving` gives to partial files of outputs and their records, and nobody else."""


def sweep_partials(folder: Path, *, has_died: Callable[[str], bool], before: float) -> int:
    """Remove the partial files whose writer has died, or that are older than an instant; return how many.

    Args:
        has_died: Tells of a writer's process id whether it is known to have died. A writer of another home is not
            known, and may be alive.
        before: Seconds since the epoch; applies to files whose writer is not known to have died.
    """
    removed = 0
    for path in _find_partials(folder):
        found = _NAME.fullmatch(path.name)
        if found is None:
            continue
        try:
            if has_died(found["writer"] or "") or path.stat().st_mtime < before:
                path.unlink()
                removed += 1
        except OSError as exc:
            # It may have been published or removed just now; if it is stuck, the next start tries again.
            logger.info("a half-written file could not be removed: %s", exc.strerror)
    return removed


def _find_partials(folder: Path) -> list[Path]:
    try:
        return list(folder.glob("*/.*.part"))
    except OSError as exc:
        # Each answer tells that the folder cannot be used.
        logger.info("the folder for results cannot be looked through: %s", exc.strerror)
        return []
