"""How large a picture and how long a sound is, by what the file says of itself."""

import io
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from flowport.media.formats import FORMATS, MAX_HEAD_BYTES, sniff
from flowport.media.identify import identify
from flowport.media.measure import MAX_WHOLE_BYTES, NO_MEASURES, Measures, build_measures, measure
from flowport.sandbox.engine import TUNE_SECONDS, compose_tune
from tests.media.containers import (
    TURNED_MATRIX,
    box,
    cover,
    flac,
    long_box,
    movie_header,
    mp3,
    mp4,
    ogg,
    track,
    wav,
    webm,
)
from tests.media.test_identify import SAMPLES as FILES
from tests.media.tiffs import SHORT, TiffPage, build_dng, build_raw, tiff

HEADER = movie_header(scale=600, ticks=1500)
VORBIS = b"\x01vorbis" + bytes(5) + struct.pack("<I", 44_100) + bytes(14)
XING = b"Xing\0\0\0\1" + struct.pack(">I", 383)
TAG = b"ID3\x04\0\0\0\0\x01\x00" + bytes(128)
SAMPLES = {
    "mp4": (mp4(HEADER, track(0, 0), track(1280, 720)), Measures(1280, 720, 2.5)),
    "mp4-wide-numbers": (
        mp4(movie_header(scale=600, ticks=1500, version=1), track(64, 48, version=1)),
        Measures(64, 48, 2.5),
    ),
    "mp4-on-its-side": (mp4(HEADER, track(1280, 720, matrix=TURNED_MATRIX)), Measures(720, 1280, 2.5)),
    "mp4-fragments": (
        mp4(movie_header(scale=10, ticks=0), box(b"mvex", box(b"mehd", bytes(4), struct.pack(">I", 35)))),
        Measures(duration_seconds=3.5),
    ),
    "mp4-wide-fragments": (
        mp4(movie_header(scale=10, ticks=0), box(b"mvex", box(b"mehd", b"\1\0\0\0", struct.pack(">Q", 35)))),
        Measures(duration_seconds=3.5),
    ),
    "mp4-unknown-length": (mp4(movie_header(scale=10, ticks=0xFFFFFFFF), track(8, 8)), Measures(8, 8)),
    "mp4-no-scale": (mp4(movie_header(scale=0, ticks=10)), NO_MEASURES),
    "mp4-long-box": (
        box(b"ftyp", b"isom", bytes(4)) + long_box(b"mdat", bytes(90)) + box(b"moov", HEADER),
        Measures(duration_seconds=2.5),
    ),
    "mp4-to-the-end": (
        box(b"ftyp", b"isom", bytes(4)) + b"\0\0\0\0moov" + HEADER,
        Measures(duration_seconds=2.5),
    ),
    "mp4-box-of-no-length": (box(b"ftyp", b"isom", bytes(4)) + b"\0\0\0\2moov" + HEADER, NO_MEASURES),
    "webm": (webm(ticks=2500.0, width=640, height=360), NO_MEASURES),
    "wav": (wav(seconds=1.5), Measures(duration_seconds=1.5)),
    "wav-streamed": (wav(seconds=1.5, reported=0xFFFFFFFF), Measures(duration_seconds=1.5)),
    "wav-lying": (wav(seconds=1.5, reported=10**9), Measures(duration_seconds=1.5)),
    "wav-notes": (wav(seconds=1.5, between=b"LIST\3\0\0\0abc\0"), Measures(duration_seconds=1.5)),
    "wav-no-rate": (wav(seconds=1.0)[:28] + bytes(4) + wav(seconds=1.0)[32:], NO_MEASURES),
    "wav-no-data": (wav(seconds=0)[:36], NO_MEASURES),
    "mp3": (mp3(frames=100), Measures(duration_seconds=round((100 * 417 + 1) * 1152 / 417 / 44_100, 3))),
    "mp3-tag": (mp3(frames=100, tag=TAG), Measures(duration_seconds=round((100 * 417 + 1) * 1152 / 417 / 44_100, 3))),
    "mp3-xing": (mp3(frames=9, first=XING), Measures(duration_seconds=round(383 * 1152 / 44_100, 3))),
    "mp3-xing-uncounted": (
        mp3(frames=9, first=b"Info" + bytes(20)),
        Measures(duration_seconds=round((9 * 417 + 1) * 1152 / 417 / 44_100, 3)),
    ),
    "mp3-vbri": (
        mp3(frames=9, first=b"VBRI" + bytes(10) + struct.pack(">I", 383)),
        Measures(duration_seconds=round(383 * 1152 / 44_100, 3)),
    ),
    "mp3-tag-alone": (TAG, NO_MEASURES),
    "flac": (flac(hertz=48_000, samples=120_000), NO_MEASURES),
    "ogg": (ogg(VORBIS, instant=110_250), NO_MEASURES),
    "aac": (b"\xff\xf1\x50\x80\x01\x1f\xfc" + b"\0", NO_MEASURES),
    "html": (b"<!doctype html><title>no</title>", NO_MEASURES),
    "nothing": (b"", NO_MEASURES),
}


def measure_bytes(data: bytes) -> Measures:
    """Return the measures of a file with this content."""
    return measure(io.BytesIO(data), sniff(data[:MAX_HEAD_BYTES]))


@pytest.mark.parametrize(("data", "expected"), SAMPLES.values(), ids=SAMPLES)
def test_the_header_of_a_file_reports_its_extent(data: bytes, expected: Measures) -> None:
    """Providers often do not, and a person wants to know whether it is the short or the long one."""
    assert measure_bytes(data) == expected


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "gif", "avif", "bmp"])
def test_pictures_are_measured_without_their_pixels(extension: str, tmp_path: Path) -> None:
    """The last bytes of the file are cut off, so that it could not be decoded."""
    path = tmp_path / f"a.{extension}"
    Image.radial_gradient("L").resize((70, 50)).convert("RGB").save(path)
    data = path.read_bytes()
    cut = data if extension in {"webp", "avif"} else data[:-20]

    assert measure_bytes(cut) == Measures(70, 50)


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "avif", "tif"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_picture_is_measured_as_it_is_shown(extension: str, orientation: int, tmp_path: Path) -> None:
    """Turned onto its side it is as wide as it was high (lovell/sharp#1139)."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{extension}"
    Image.radial_gradient("L").resize((640, 480)).convert("RGB").save(path, exif=exif)

    assert measure_bytes(path.read_bytes()) == (Measures(480, 640) if orientation > 4 else Measures(640, 480))


@pytest.mark.parametrize(
    "extension",
    [*("mpo", "ico", "tif", "heic"), *("ppm", "sgi", "pcx", "dds", "jp2", "j2k")],
)
def test_every_picture_format_that_is_saved_is_measured(extension: str, tmp_path: Path) -> None:
    """The provider's word may be wrong, and it stands in for nothing that the file reports."""
    pillow_heif.register_heif_opener()
    path = tmp_path / f"a.{extension}"
    Image.radial_gradient("L").resize((64, 48)).convert("RGB").save(path)
    # An icon holds no size of its own but those of all icons.
    assert measure_bytes(path.read_bytes()) == (Measures(48, 36) if extension == "ico" else Measures(64, 48))


def heif(*properties: bytes, links: bytes, version: int = 0, flags: int = 0) -> bytes:
    """Return the boxes of a picture in boxes that report its extent; the item is 7."""
    item = b"\0\7" if version == 0 else b"\0\0\0\7"
    count = len(links) // (2 if flags else 1)
    link = box(b"ipma", bytes([version, 0, 0, flags]), b"\0\0\0\1", item, bytes([count]), links)
    first = box(b"pitm", bytes([version and 1, 0, 0, 0]), item)
    meta = box(b"meta", bytes(4), first, box(b"iprp", box(b"ipco", *properties), link))
    return box(b"ftyp", b"heic", bytes(4), b"mif1heic") + meta + box(b"mdat", bytes(9))


EXTENT = box(b"ispe", bytes(4), struct.pack(">II", 640, 480))
SMALL = box(b"ispe", bytes(4), struct.pack(">II", 64, 48))
QUARTER = box(b"irot", b"\1")
CLEAN = box(b"clap", struct.pack(">8I", 600, 1, 900, 2, 0, 1, 0, 1))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (heif(EXTENT, links=b"\1"), Measures(640, 480)),
        (heif(SMALL, EXTENT, links=b"\x82"), Measures(640, 480)),
        (heif(EXTENT, QUARTER, links=b"\1\x82"), Measures(480, 640)),
        (heif(EXTENT, box(b"irot", b"\2"), links=b"\1\x82"), Measures(640, 480)),
        (heif(EXTENT, QUARTER, links=b"\1"), Measures(640, 480)),
        (heif(EXTENT, CLEAN, QUARTER, links=b"\1\2\3"), Measures(450, 600)),
        (heif(EXTENT, QUARTER, links=b"\0\1\x80\2", version=1, flags=1), Measures(480, 640)),
        (heif(EXTENT, links=b"\5"), NO_MEASURES),
        (heif(EXTENT, links=b"\1")[:60], NO_MEASURES),
    ],
)
def test_a_picture_in_boxes_is_measured_with_its_turn(data: bytes, expected: Measures) -> None:
    """Phones store what their sensor saw, and how to turn it."""
    assert measure_bytes(data) == expected


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (build_dng(), (800, 600)),
        (build_raw(b"NIKON", ">"), (800, 600)),
        (tiff(TiffPage(160, 120, 1), TiffPage(400, 300)), (400, 300)),
        (tiff(TiffPage(400, 300, tags=((274, SHORT, (6,)),))), (300, 400)),
        (b"8BPS\0\1" + bytes(8) + struct.pack(">II", 48, 64) + bytes(20), (64, 48)),
        ((FILES / "picture.qoi").read_bytes(), (16, 12)),
        *(
            ((FILES / f"picture.{extension}").read_bytes(), (16, 12))
            for extension in ("jp2", "jxl", "exr", "dpx", "ras", "sgi", "tga", "pcx", "ppm")
        ),
        # One byte of flags: whole eighths of 2 x 8, as wide as it is high. Then the same with numbers of their own, turned.
        (b"\xff\x0a" + int("1" + "001" + "00001" + "1", 2).to_bytes(2, "little") + bytes(9), (16, 16)),
        (
            b"\xff\x0a"
            + int("101" + "1" + "0" + "000111111" + "00" + "000" + "000101111" + "00" + "0", 2).to_bytes(4, "little"),
            (48, 64),
        ),
        (b"XPDS" + bytes(768) + struct.pack("<2I", 64, 48) + bytes(9), (64, 48)),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 48 +X 64\n\2\2\0\x40", (64, 48)),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n+X 64 -Y 48\n\2\2\0\x40", (64, 48)),
        (b"gimp xcf v011\0" + struct.pack(">2I", 64, 48) + bytes(9), (64, 48)),
        (b"\x8bJNG\r\n\x1a\n\0\0\0\x10JHDR" + struct.pack(">2I", 64, 48) + bytes(9), (64, 48)),
        (b"FORM\0\0\0\x30ILBMBMHD\0\0\0\x14" + struct.pack(">2H", 64, 48) + bytes(9), (64, 48)),
        (
            b"SIMPLE  =                    T".ljust(80)
            + b"NAXIS1  =                   64".ljust(80)
            + b"NAXIS2  =   48",
            (64, 48),
        ),
        (b"P7\nWIDTH 64\nHEIGHT 48\nDEPTH 3\n", (64, 48)),
        (b"\0\0\2\0\1\0\x40\x30\0\0\0\0\0\0" + bytes(20), (64, 48)),
        ((FILES / "phone.avif").read_bytes(), (8064, 6048)),
        ((FILES / "phone.heic").read_bytes(), (8064, 6048)),
    ],
)
def test_formats_that_are_only_kept_are_measured_by_their_headers(data: bytes, size: tuple[int, int]) -> None:
    """Raw photos, documents and pictures in boxes; nothing of them is decoded."""
    file = io.BytesIO(data)
    assert measure(file, identify(file)) == Measures(*size)


@pytest.mark.parametrize("key", [key for key, one in FORMATS.items() if one.is_media])
@pytest.mark.parametrize("data", [b"", b"\0", b"P6 ", bytes(100), b"\xff" * 5000])
def test_a_header_that_ends_early_or_lies_has_no_measures(key: str, data: bytes) -> None:
    """The file is kept all the same."""
    measures = measure(io.BytesIO(data), FORMATS[key])
    assert (measures.width is None) == (measures.height is None)


def test_a_png_that_carries_much_is_measured() -> None:
    """Its size stands in its header, whatever follows."""
    written = io.BytesIO()
    Image.new("RGB", (640, 480)).save(written, "PNG", icc_profile=bytes(1_100_000))
    assert measure_bytes(written.getvalue()) == Measures(640, 480)


def test_sound_behind_a_tag_is_measured() -> None:
    """The tag is not a part of it."""
    file = io.BytesIO(TAG + wav(seconds=2.5))
    assert measure(file, identify(file)) == Measures(duration_seconds=2.5)


def test_real_files_are_measured(clip: bytes) -> None:
    """What the sandbox makes is written by others' programs and by Python's library."""
    found = measure_bytes(clip)

    assert found.width is not None
    assert found.duration_seconds is not None
    assert measure_bytes(compose_tune("jazz")).duration_seconds == TUNE_SECONDS


@pytest.fixture
def clip() -> bytes:
    """Return the sandbox's video."""
    return (Path(__file__).parents[2] / "src/flowport/sandbox/assets/clip.mp4").read_bytes()


def test_a_picture_whose_header_claims_too_much_has_no_measures(tmp_path: Path) -> None:
    """It is kept as it is; nothing is decoded for it."""
    header = b"IHDR" + struct.pack(">II", 100_000, 100_000) + b"\x08\x02\0\0\0"

    assert measure_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + header + bytes(4)) == NO_MEASURES


def test_a_large_file_of_a_format_that_is_read_whole_is_not_measured(tmp_path: Path) -> None:
    """Its size in memory would be that of the file."""
    path = tmp_path / "a.webp"
    Image.new("RGB", (70, 50)).save(path)
    with path.open("r+b") as file:
        head = file.read(MAX_HEAD_BYTES)
        file.truncate(MAX_WHOLE_BYTES + 1)
        assert measure(file, sniff(head)) == NO_MEASURES


class Counting(io.BytesIO):
    """A file that counts how often and how much is read of it."""

    reads = 0
    read_bytes = 0

    def read(self, size: int | None = -1) -> bytes:
        """Read and count."""
        data = super().read(size)
        self.reads += 1
        self.read_bytes += len(data)
        return data


@pytest.mark.parametrize(
    "build",
    [
        lambda many: mp4(*[box(b"free")] * many, HEADER),
        lambda many: mp4(HEADER, *[track(8, 8)] * many),
        lambda many: webm(ticks=1.0, width=8, height=8)[:60] + b"\xec\x80" * many,
        lambda many: wav(seconds=1, between=b"junk\0\0\0\0" * many),
        lambda many: mp4(b"\0\0\0\x08free" * many, cover(b"x")),
    ],
)
def test_a_file_of_very_many_parts_is_given_up(build: Callable[[int], bytes]) -> None:
    """A parser that looks at each of a hundred million boxes is as good as hanging."""
    data = build(100_000)
    file = Counting(data)

    measure(file, sniff(data[:MAX_HEAD_BYTES]))

    assert file.reads < 5000
    assert file.read_bytes < 500_000


@pytest.mark.parametrize(
    ("size", "seconds"), [((0, 5), 0.0), ((-1, 5), -1.0), ((1e7, 5), 1e9), ((float("nan"), 5), float("inf"))]
)
def test_what_cannot_be_is_not_believed(size: tuple[float, float], seconds: float) -> None:
    """A width of nothing, or a clip of thirty years."""
    assert build_measures(size=size, seconds=seconds) == NO_MEASURES


@given(st.sampled_from(sorted(SAMPLES)), st.integers(0, 2000), st.binary(min_size=1, max_size=12), st.booleans())
@settings(max_examples=600)
def test_a_damaged_file_never_raises(name: str, place: int, junk: bytes, is_cut: bool) -> None:
    """An output must not be lost because its header is odd."""
    data = SAMPLES[name][0]
    place %= len(data) + 1
    data = data[:place] + junk + (b"" if is_cut else data[place + len(junk) :])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert isinstance(measure_bytes(data), Measures)
