"""The media library, and what may be put into it."""

import pytest

from flowport.sandbox.apps import ProductKind
from flowport.sandbox.web import Refused
from tests.fakes.magica.library import Library

ORIGIN = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("data", "mime_type", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n...", "image/png", ProductKind.IMAGES),
        (b"\xff\xd8\xff\xe0", "image/jpeg", ProductKind.IMAGES),
        (b"RIFF....WEBPVP8 ", "image/webp", ProductKind.IMAGES),
        (b"RIFF....WAVEfmt ", "audio/wav", ProductKind.AUDIOS),
        (b"ID3.....", "audio/mpeg", ProductKind.AUDIOS),
        (b"....ftypisom", "video/mp4", ProductKind.VIDEOS),
        (b"%PDF-1.7", "application/octet-stream", ProductKind.IMAGES),
    ],
)
def test_types_are_reported_by_bytes(data: bytes, mime_type: str, kind: ProductKind) -> None:
    """An upload says nothing of its type."""
    library = Library(ORIGIN)
    found = library.open_url(library.add(data))
    assert found is not None
    assert (found.mime_type, found.kind, found.data) == (mime_type, kind, data)


def test_other_links_are_left_to_others_and_unknown_ones_refused() -> None:
    """A link of the library leads nowhere else."""
    library = Library(ORIGIN)
    assert library.open_url(f"{ORIGIN}/private/production/x") is None
    url = library.add(b"ID3")
    library.clear()
    with pytest.raises(Refused) as caught:
        library.open_url(url)
    assert caught.value.status == 404
