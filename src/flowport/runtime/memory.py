"""Giving memory back to the system after a large picture or file, where the C library would keep it for next time."""

import sys
from functools import cache
from typing import Final

LARGE_BYTES: Final = 1024**2
"""Blocks from this size on are given back as soon as they are free."""

_M_MMAP_THRESHOLD: Final = -3  # mallopt(3)


@cache
def give_large_blocks_back() -> bool:
    """Have freed blocks of this process given back, from the first call on; tell whether the C library can be told so.

    The GNU library raises its limit for that with every large block that is freed, up to 32 MB: after the first picture
    the memory of the next ones stays with the process, and stands beside whatever is large next.
    """
    if sys.platform != "linux":
        return False
    import ctypes  # noqa: PLC0415 - it would take two milliseconds of every start

    tell = getattr(ctypes.CDLL(None), "mallopt", None)
    return tell is not None and tell(_M_MMAP_THRESHOLD, LARGE_BYTES) == 1
