"""How long a test waits for what must happen."""

import time
from collections.abc import Callable
from typing import Final

PATIENCE_SECONDS: Final = 60.0
"""After this time a test fails. Only a broken program needs so long, however busy the machine is.

`tests.test_structure` refuses shorter limits, except for those whose end is the promise under test.
"""

_PAUSE_SECONDS: Final = 0.02
"""Between two looks at another process, which needs the processor meanwhile."""


def poll_until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds that another process brings about; fail after `PATIENCE_SECONDS`."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < give_up_at, "what the test waits for does not happen"
        time.sleep(_PAUSE_SECONDS)
