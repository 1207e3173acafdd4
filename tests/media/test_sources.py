"""Files that are read twice, and must be the same the second time."""

import hashlib
import io
from pathlib import Path

import pytest

from flowport.domain.errors import ArgumentsInvalid
from flowport.media.sources import DiskSource, Fingerprint, HeldSource, compute_fingerprint, open_source, open_unchanged

DATA = b"picture"
FINGERPRINT = Fingerprint(hashlib.sha256(DATA).hexdigest(), len(DATA))


def reopen(source: DiskSource | HeldSource) -> bytes:
    """Read a file as it is read when it is sent."""
    with open_unchanged(source, FINGERPRINT, argument="photo") as file:
        return file.read()


def test_a_file_that_is_the_same_is_read_again(tmp_path: Path) -> None:
    """The plain case, from the disk and from memory."""
    (tmp_path / "a").write_bytes(DATA)
    assert reopen(DiskSource(tmp_path / "a", (tmp_path,))) == reopen(HeldSource(DATA)) == DATA


@pytest.mark.parametrize("data", [b"PICTURE", b"pictur", b"pictures", b"x" * 3_000_000])
def test_a_file_that_has_changed_is_not_sent(tmp_path: Path, data: bytes) -> None:
    """The run that was accepted is about the file that was checked."""
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(ArgumentsInvalid, match="photo names a file that has changed since the call"):
        reopen(DiskSource(tmp_path / "a", (tmp_path,)))


def test_a_file_that_became_a_link_is_not_sent(tmp_path: Path) -> None:
    """All that was asked before is asked again."""
    (tmp_path / "private").write_bytes(DATA)
    (tmp_path / "a").symlink_to(tmp_path / "private")
    with pytest.raises(ArgumentsInvalid, match="symbolic link"):
        reopen(DiskSource(tmp_path / "a", (tmp_path,)))


def test_a_file_that_grows_while_it_is_read_is_held_to_the_limit() -> None:
    """Its size said something else a moment ago."""
    with pytest.raises(ArgumentsInvalid, match="at most 5 bytes can be sent"):
        compute_fingerprint(io.BytesIO(DATA), argument="photo", max_bytes=5)


def test_what_an_argument_holds_is_held_to_the_limit_too() -> None:
    """And nothing at all is not a file."""
    for data, problem in ((DATA, "at most 5 bytes"), (b"", "empty file")):
        with pytest.raises(ArgumentsInvalid, match=problem):
            open_source(HeldSource(data), argument="photo", max_bytes=5)


def test_a_disk_that_fails_is_reported() -> None:
    """A memory stick may be pulled out at any moment."""

    class Failing(io.BytesIO):
        """A file on a stick that is gone."""

        def read(self, size: int | None = -1, /) -> bytes:
            """Fail."""
            raise OSError(5, "Input/output error")

    with pytest.raises(ArgumentsInvalid, match="cannot be read \\(Input/output error\\)"):
        compute_fingerprint(Failing(), argument="photo", max_bytes=5)
