"""Which files say themselves that they are cut off, and which usual ones only look so."""

import io
from pathlib import Path

import pytest
from PIL import Image

from flowport.media.identify import find_fault, identify
from tests.media.containers import box, long_box, movie_header, mp4, track, wav
from tests.media.test_identify import SAMPLES

INDEX = box(b"moov", movie_header(scale=1, ticks=1), track(64, 48))
TYPE = box(b"ftyp", b"isom", bytes(4), b"isommp41")
BOXES = (
    "film.mp4",
    "both.mp4",
    "film.mov",
    "film.3gp",
    "fragments.mp4",
    "voice.m4a",
    "voice-fragments.mp4",
    "voice.mov",
)
REPORTED = (
    "film.mkv",
    "voice.mka",
    "film.webm",
    "voice.webm",
    "film.ogv",
    "voice.ogg",
    "voice.opus",
    "film.avi",
    "voice.wav",
)


def find(data: bytes) -> str:
    """Return what is wrong with a file."""
    file = io.BytesIO(data)
    sniffed = identify(file)
    assert sniffed is not None
    fault = find_fault(file, sniffed)
    assert file.tell() == 0
    return fault


def write_picture(kind: str) -> bytes:
    """Return a picture with something on it."""
    written = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").save(written, kind)
    return written.getvalue()


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.*[!hy]")), ids=lambda path: path.name)
def test_what_recorders_and_browsers_write_is_whole(path: Path) -> None:
    """Lengths that were not known yet when they were written are no fault."""
    assert find(path.read_bytes()) == ""


@pytest.mark.parametrize("name", [*BOXES, *REPORTED])
@pytest.mark.parametrize("share", [0.4, 0.6, 0.9])
def test_a_file_that_was_cut_off_says_so(name: str, share: float) -> None:
    """A part of a film would be paid for (biigle/core#983)."""
    data = (SAMPLES / name).read_bytes()
    assert find(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", ["HEIF", "AVIF", "WEBP"])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_picture_in_boxes_or_chunks_says_so_too(kind: str, share: float) -> None:
    """It need not be decoded for that."""
    import pillow_heif  # noqa: PLC0415 - registers the writer

    pillow_heif.register_heif_opener()
    data = write_picture(kind)
    assert find(data) == ""
    assert find(data[: int(len(data) * share)])


@pytest.mark.parametrize(
    "data",
    [
        TYPE + box(b"mdat", bytes(90)) + INDEX,
        TYPE + INDEX + box(b"mdat", bytes(90)),
        TYPE + INDEX + b"\0\0\0\0mdat" + bytes(90),
        TYPE + long_box(b"mdat", bytes(90)) + INDEX,
        TYPE + INDEX + box(b"mdat", bytes(90)) + box(b"free", bytes(9)) + box(b"uuid", bytes(30)),
        TYPE + INDEX + box(b"mdat", bytes(90)) + bytes(5),
        TYPE + INDEX + box(b"mdat", bytes(90)) + bytes(40),
        TYPE + box(b"mdat", bytes(90)) + INDEX + b"SEFH\x6a\0\0\0\1\0\0\0" + b"\xff" * 40 + b"SEFT",
        TYPE + box(b"mdat", bytes(90)) + INDEX + b"8db42d694ccc418790edff439fe026bf",
        box(b"wide") + box(b"mdat", bytes(90)) + INDEX,
    ],
)
def test_what_players_accept_is_whole(data: bytes) -> None:
    """Cameras and editors append notes of their own behind the last part."""
    assert find(data) == ""


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (TYPE + box(b"mdat", bytes(90)), "its index is missing"),
        (TYPE + b"\0\0\0\0mdat" + bytes(90), "its index is missing"),
        (TYPE + box(b"mdat", bytes(90)) + INDEX[:-1], "it ends in the middle of a part"),
        (TYPE + box(b"mdat", bytes(90)) + INDEX[:7], "its index is missing"),
        (TYPE + INDEX + box(b"mdat", bytes(90))[:-1], "it ends in the middle of a part"),
        (TYPE + INDEX + long_box(b"mdat", bytes(90))[:-1], "it ends in the middle of a part"),
        (TYPE + INDEX + b"\0\0\0\1mdat\xff\xff\xff\xff\xff\xff\xff\xff" + bytes(90), "it ends in the middle of a part"),
        (TYPE + INDEX, "what its index lists is missing"),
        (TYPE + INDEX + box(b"free", bytes(90)), "what its index lists is missing"),
        (box(b"styp", b"msdh") + box(b"moof", bytes(9)) + box(b"mdat", bytes(90)), ""),
        (box(b"wide") + box(b"mdat", bytes(90)), "its index is missing"),
    ],
)
def test_what_no_player_could_show_is_not(data: bytes, fault: str) -> None:
    """The index comes last in most films, so that any loss takes it."""
    if identify(io.BytesIO(data)) is not None:
        assert find(data) == fault


@pytest.mark.parametrize("reported", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x80000000, 16_010])
def test_a_wav_whose_length_was_not_known_is_whole(reported: int) -> None:
    """Recorders that were stopped, and programs that write into a pipe."""
    assert find(wav(seconds=1, reported=reported)) == ""


def test_a_wav_that_reports_more_than_it_has_is_cut_off() -> None:
    """So is one of which only the header came."""
    assert find(wav(seconds=1, reported=40_000))
    assert find(wav(seconds=1)[:30]) == "it holds no sound"


def test_only_the_end_of_a_streamed_file_cannot_be_seen() -> None:
    """It does not report its length, as browsers' recordings do not."""
    data = (SAMPLES / "recorded.webm").read_bytes()
    assert find(data[: len(data) // 2]) == ""


def test_more_parts_than_any_file_has_end_the_walk() -> None:
    """A recording of hours is in many fragments."""
    fragments = (box(b"moof", bytes(20)) + box(b"mdat", bytes(8))) * 3000
    assert find(TYPE + INDEX + fragments) == ""
    assert find(mp4(movie_header(scale=1, ticks=1))) == ""
