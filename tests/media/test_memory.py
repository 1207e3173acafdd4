"""Memory that goes back to the system."""

import subprocess
import sys

import pytest

from flowport.media import decode

PROGRAM = """
import re
from pathlib import Path
from flowport.media.decode import trim_after_large_image
def get_kilobytes():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
assert trim_after_large_image()
block = b"x" * 20_000_000
del block  # after this the library would keep blocks up to its size
before = get_kilobytes()
blocks = [b"x" * 10_000_000, b"x" * 10_000_000]
small = b"x" * 1000
del blocks[0]
print(get_kilobytes() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only there the C library can be asked")
def test_a_large_block_goes_back_when_it_is_free() -> None:
    """Otherwise the memory of one picture stands beside that of the next."""
    printed = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True).stdout

    assert int(printed) < 15_000


def test_a_system_whose_library_cannot_be_reported_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to do on macOS, on Windows, and with other C libraries."""
    decode.trim_after_large_image.cache_clear()
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    assert not decode.trim_after_large_image()
    decode.trim_after_large_image.cache_clear()
    monkeypatch.setattr("flowport.media.decode.sys.platform", "darwin")
    assert not decode.trim_after_large_image()
    decode.trim_after_large_image.cache_clear()
