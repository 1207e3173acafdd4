"""Drop root's right to ignore file modes, so that tests about modes work for every user."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

_VERSION: Final = 0x20080522
_IGNORING: Final = (1 << 1) | (1 << 2)
"""capabilities(7): CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextmanager
def obey_modes() -> Iterator[None]:
    """Apply file modes to this thread and those that it starts; skip the test if the system cannot."""
    if sys.platform != "linux":
        pytest.skip("only Linux lets root give up single rights")
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = _Header(_VERSION, 0), (_Sets * 2)()
    if libc.capget(ctypes.byref(header), sets) != 0:
        pytest.skip("the system does not report its capabilities")
    kept = sets[0].effective
    sets[0].effective = kept & ~_IGNORING
    if libc.capset(ctypes.byref(header), sets) != 0:
        pytest.skip("the system does not let root give up single rights")
    try:
        yield
    finally:
        sets[0].effective = kept
        assert libc.capset(ctypes.byref(header), sets) == 0
