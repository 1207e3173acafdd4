"""The cover picture that a movie may carry."""

import io

import pytest

from flowport.media.measure import Measures, measure_movie
from flowport.media.previews import MAX_COVER_BYTES, read_cover
from tests.media.containers import box, cover, movie_header, mp4, track

HEADER = movie_header(scale=600, ticks=600)
PICTURE = b"\x89PNG\r\n\x1a\n and so on"


@pytest.mark.parametrize("is_quicktime", [True, False])
def test_a_cover_is_found_in_either_dialect(is_quicktime: bool) -> None:
    """QuickTime's metadata box has no version, that of MP4 has one."""
    movie = mp4(HEADER, track(64, 48), cover(PICTURE, is_quicktime=is_quicktime))

    assert read_cover(io.BytesIO(movie)) == PICTURE
    assert measure_movie(io.BytesIO(movie)) == Measures(64, 48, 1.0)


@pytest.mark.parametrize(
    "movie",
    [
        mp4(HEADER),
        mp4(HEADER, box(b"udta", box(b"meta"))),
        mp4(HEADER, cover(b"")),
        mp4(HEADER, cover(bytes(MAX_COVER_BYTES + 1))),
        b"",
        b"no movie at all",
    ],
    ids=["none", "no metadata", "empty", "too large", "no file", "no movie"],
)
def test_without_a_usable_cover_nothing_is_returned(movie: bytes) -> None:
    """Most movies that apps make have no cover."""
    assert read_cover(io.BytesIO(movie)) == b""


def test_a_cover_that_claims_more_than_the_file_holds_ends_with_it() -> None:
    """Lengths are untrusted words; what is there is still a beginning that the decoder refuses by itself."""
    movie = mp4(HEADER, cover(PICTURE))
    data = movie.index(b"data") - 4

    assert read_cover(io.BytesIO(movie[:data] + b"\0\xff\xff\xff" + movie[data + 4 :])) == PICTURE
