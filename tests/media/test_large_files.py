"""How large a file may be: by its kind, its type, and what the provider takes."""

import os
import tracemalloc
from pathlib import Path

import pytest

from flowport.domain.errors import ArgumentsInvalid
from flowport.domain.models import InputKind
from flowport.domain.text import format_size
from flowport.media.input_files import FileMedia, MediaRules, resolve_media
from flowport.providers.magnific.files import MAX_UPLOAD_BYTES, UPLOAD_TYPES
from tests.fakes.client import build_photo, write
from tests.media.containers import mp4, track

FILM = mp4(track(64, 48))
FLAC = b"fLaC" + bytes(100)
SOUND = (
    b"RIFF" + (40).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little") + bytes(16) + b"data\x04\0\0\0abcd"
)
PNG = write(build_photo())
INLINE_BYTES, PICTURE_BYTES, UPLOAD_BYTES = 100_000, 300_000, 500_000


def lay(folder: Path, data: bytes, size_bytes: int) -> Path:
    """Write a file of a size, most of which takes no room on the disk."""
    path = folder / "file"
    path.write_bytes(data)
    os.truncate(path, size_bytes)
    return path


def resolve(path: Path, types: frozenset[str] = UPLOAD_TYPES, upload_bytes: int = UPLOAD_BYTES) -> FileMedia:
    """Examine a file as a call does, with limits that need no large files."""
    rules = MediaRules(
        (path.parent,),
        max_inline_bytes=INLINE_BYTES,
        max_file_bytes=PICTURE_BYTES,
        upload_types=types,
        max_upload_bytes=upload_bytes,
    )
    media = resolve_media(str(path), argument="file", kind=InputKind.MEDIA, rules=rules)
    assert isinstance(media, FileMedia)
    return media


LIMITS = [
    (FILM, UPLOAD_TYPES, UPLOAD_BYTES, UPLOAD_BYTES),
    (SOUND, UPLOAD_TYPES, UPLOAD_BYTES, UPLOAD_BYTES),
    (PNG, UPLOAD_TYPES, UPLOAD_BYTES, PICTURE_BYTES),
    (FLAC, UPLOAD_TYPES, UPLOAD_BYTES, INLINE_BYTES),
    (FILM, frozenset[str](), UPLOAD_BYTES, INLINE_BYTES),
    (FILM, UPLOAD_TYPES, 50_000, INLINE_BYTES),
]


@pytest.mark.parametrize(("data", "types", "upload_bytes", "limit"), LIMITS)
def test_each_type_has_its_limit_and_the_refusal_says_it(
    tmp_path: Path, data: bytes, types: frozenset[str], upload_bytes: int, limit: int
) -> None:
    """What goes up may be as large as an upload, a picture as large as one may be, the rest as what goes inside."""
    assert resolve(lay(tmp_path, data, limit), types, upload_bytes).fingerprint.size_bytes == limit
    with pytest.raises(ArgumentsInvalid) as caught:
        resolve(lay(tmp_path, data, limit + 10_000), types, upload_bytes)
    (problem,) = caught.value.problems
    given, most = format_size(limit + 10_000), format_size(limit)
    assert problem.problem == f"names a file of {given}, and at most {most} can be sent"


def test_magnific_takes_uploads_of_a_gigabyte() -> None:
    """The end of the range that its places sign."""
    assert (MAX_UPLOAD_BYTES, len(UPLOAD_TYPES)) == (1024**3, 11)


def test_a_large_film_never_lies_in_memory(tmp_path: Path) -> None:
    """It is measured piece by piece."""
    path = lay(tmp_path, FILM, 120_000_000)
    tracemalloc.start()
    media = resolve(path, upload_bytes=MAX_UPLOAD_BYTES)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert media.fingerprint.size_bytes == 120_000_000
    assert peak < 16 * 1024**2
