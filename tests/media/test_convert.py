"""Pictures of every format made into what a provider takes, and hostile ones refused."""

import io
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image, ImageCms

from flowport.domain.errors import ArgumentsInvalid
from flowport.media import convert as converting
from flowport.media.convert import Converted, Wanted, check_picture, convert_picture, is_odd_picture_url
from flowport.media.formats import sniff
from tests.fakes.client import build_photo
from tests.media.tiffs import SHORT, TiffPage, tiff

PHOTO = build_photo()
TAKES = Wanted(frozenset({"image/png", "image/jpeg"}), 10_000_000)


def write(kind: str, picture: Image.Image = PHOTO, **options: Any) -> bytes:
    """Encode a picture."""
    if kind == "HEIF":
        converting._load_heif("photo")
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def build_turned() -> bytes:
    """Return a JPEG that its camera says to turn by a quarter, so that it is 60 pixels wide when seen."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "secret place"
    return write("JPEG", exif=exif)


def build_ink(**options: Any) -> bytes:
    """Return a JPEG for printers."""
    return write("JPEG", PHOTO.convert("CMYK"), quality=95, **options)


def convert(data: bytes, wanted: Wanted = TAKES) -> Converted | None:
    """Check and convert a picture as a run does."""
    file, sniffed = io.BytesIO(data), sniff(data)
    assert sniffed is not None
    check_picture(file, sniffed, argument="photo")
    assert file.tell() == 0
    return convert_picture(file, sniffed, wanted, argument="photo")


def decode(converted: Converted | None) -> Image.Image:
    """Return the picture that came of it."""
    assert converted is not None
    found = sniff(converted.data)
    assert found is not None
    assert found.mime_type == converted.mime_type
    picture = Image.open(io.BytesIO(converted.data))
    picture.load()
    return picture


def is_alike(one: Image.Image, other: Image.Image) -> bool:
    """Check whether two pictures look the same, give or take what a JPEG loses."""
    pairs = zip(one.convert("RGB").resize((9, 6)).tobytes(), other.resize((9, 6)).tobytes(), strict=True)
    return max(abs(a - b) for a, b in pairs) < 40


@pytest.mark.parametrize(
    ("data", "mime_type", "note"),
    [
        (write("TIFF"), "image/png", "was converted from TIFF to PNG"),
        (write("BMP"), "image/png", "was converted from BMP to PNG"),
        (write("GIF"), "image/png", "was converted from GIF to PNG"),
        (write("WEBP"), "image/jpeg", "was converted from WebP to JPEG"),
        (write("AVIF"), "image/jpeg", "was converted from AVIF to JPEG"),
        (write("HEIF"), "image/jpeg", "was converted from HEIC to JPEG"),
        (build_ink(), "image/jpeg", ""),
        (build_ink(icc_profile=b"broken"), "image/jpeg", ""),
        (write("TIFF", PHOTO.convert("1")), "image/png", "was converted from TIFF to PNG"),
        (write("TIFF", PHOTO.convert("LAB")), "image/png", "was converted from TIFF to PNG"),
    ],
    ids=["tiff", "bmp", "gif", "webp", "avif", "heic", "ink", "ink with a bad profile", "two tones", "lab"],
)
def test_a_format_that_is_not_taken_is_converted(data: bytes, mime_type: str, note: str) -> None:
    """The person sees the same picture, and is reported when its format changed."""
    converted = convert(data)
    picture = decode(converted)
    assert converted is not None
    assert (converted.mime_type, converted.note, picture.size) == (mime_type, note, PHOTO.size)
    assert picture.mode in {"L", "RGB"}
    assert note == "" or "TIFF" in note or is_alike(picture, PHOTO)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_what_is_taken_goes_as_it_is(kind: str) -> None:
    """Each new encoding loses something."""
    assert convert(write(kind)) is None
    assert convert(write("WEBP"), Wanted(frozenset({"image/webp"}), 10_000_000)) is None


def test_a_picture_in_ink_with_a_profile_of_another_sort_is_converted_all_the_same() -> None:
    """The plain formula is near enough where its own profile does not fit."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = decode(convert(build_ink(icc_profile=profile)))
    assert picture.mode == "RGB"


def test_a_turned_picture_stands_upright_and_reports_no_place() -> None:
    """Apps ignore what a camera notes; and where a photograph was taken is not an one's business."""
    converted = convert(build_turned())
    assert decode(converted).size == (60, 90)
    assert converted is not None
    assert b"secret" not in converted.data
    assert converted.note == ""


@pytest.mark.parametrize("kind", ["WEBP", "TIFF", "AVIF"])
def test_what_can_be_seen_through_stays_so(kind: str) -> None:
    """A cut-out on white is another picture."""
    clear = PHOTO.convert("RGBA")
    clear.putalpha(100)
    picture = decode(convert(write(kind, clear)))
    assert picture.mode == "RGBA"
    assert picture.getchannel("A").getextrema() == (100, 100)


def test_of_a_moving_picture_the_first_one_goes_and_the_person_is_reported() -> None:
    """No app takes a GIF that moves as a picture."""
    data = write("GIF", save_all=True, append_images=[PHOTO.rotate(90)])
    converted = convert(data)
    assert converted is not None
    assert converted.note == "was converted from GIF to PNG and only its first picture was sent"


BLUE = TiffPage(160, 120, kind=1, colour=(10, 10, 200))
RED = TiffPage(400, 300, colour=(200, 40, 40))


@pytest.mark.parametrize(
    ("pages", "note"),
    [
        ((BLUE, RED), ""),
        ((replace(BLUE, kind=0), RED), ""),
        ((replace(BLUE, kind=0, tags=((255, SHORT, (2,)),)), RED), ""),
        ((RED, BLUE), ""),
        ((RED, replace(RED, width=200, height=150, kind=1), replace(RED, width=100, height=75, kind=1)), ""),
        ((replace(RED, inner=(BLUE,)),), ""),
        ((BLUE, replace(BLUE, width=40, height=30), RED), ""),
        ((replace(RED, kind=4, colour=(0, 0, 0)), RED), ""),
        ((RED, replace(BLUE, width=400, height=300, kind=2)), " and only its first picture was sent"),
        ((RED, replace(RED, width=401, height=301, kind=0)), " and only its first picture was sent"),
    ],
)
@pytest.mark.parametrize(("order", "version"), [("<", 42), (">", 42), ("<", 43)])
def test_of_a_tiff_with_small_copies_the_picture_goes(
    pages: tuple[TiffPage, ...], note: str, order: str, version: int
) -> None:
    """Scanners, pyramids and editors put thumbnails before or behind the picture (xyb3rt/sxiv#238)."""
    converted = convert(tiff(*pages, order=order, version=version))
    picture = decode(converted)
    assert (picture.size, picture.getpixel((0, 0))) == ((400, 300), (200, 40, 40))
    assert converted is not None
    assert converted.note == f"was converted from TIFF to PNG{note}"


@pytest.mark.parametrize(
    "pages",
    [(BLUE,), (replace(BLUE, inner=(RED,)),), (replace(BLUE, kind=0, inner=(RED,)),), (BLUE, replace(BLUE, width=90))],
)
def test_a_tiff_of_which_only_a_small_copy_can_be_read_is_refused(pages: tuple[TiffPage, ...]) -> None:
    """The copy would be paid for in the picture's place."""
    with pytest.raises(
        ArgumentsInvalid, match=r"only a smaller copy of its picture can be read\. Export the picture as JPEG"
    ):
        convert(tiff(*pages))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_a_picture_of_too_many_bytes_is_made_smaller_and_the_person_is_reported(kind: str) -> None:
    """Rather than refused: most apps work on smaller ones anyway."""
    noise = Image.effect_noise((900, 600), 90).convert("RGB")
    converted = convert(write(kind, noise), Wanted(frozenset({"image/png", "image/jpeg"}), 60_000))
    picture = decode(converted)
    assert converted is not None
    assert len(converted.data) <= 60_000
    assert picture.width / picture.height == pytest.approx(1.5, rel=0.02)
    size = f"{picture.width} x {picture.height}"
    assert converted.note.endswith(f"was made smaller, from 900 x 600 to {size} pixels (at most 58.6 KB)")


def test_a_picture_that_nothing_makes_small_enough_is_refused() -> None:
    """A limit of a few bytes is not one that can be met."""
    with pytest.raises(ArgumentsInvalid, match="cannot be made small enough"):
        convert(write("PNG"), Wanted(TAKES.types, 60))


def test_a_photograph_too_large_to_decode_whole_is_decoded_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder of a JPEG reduces as it reads; every other format is refused."""
    monkeypatch.setattr(converting, "MAX_CONVERSION_MEMORY_BYTES", 30_000)
    large = PHOTO.resize((200, 100))
    picture = decode(convert(build_ink_of(large)))
    assert picture.size == (50, 25)
    for kind in ("TIFF", "WEBP"):
        with pytest.raises(ArgumentsInvalid, match="too much memory"):
            convert(write(kind, large))


def build_ink_of(picture: Image.Image) -> bytes:
    """Return a JPEG for printers of a picture."""
    return write("JPEG", picture.convert("CMYK"))


def build_bomb(width: int, height: int) -> bytes:
    """Return a small PNG that says it has so many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def cut(data: bytes) -> bytes:
    """Return the first half of a file."""
    return data[: len(data) // 2]


BROKEN: list[tuple[str, bytes, str]] = [
    *((f"{kind} cut off", cut(write(kind)), "damaged, cut off") for kind in ("PNG", "JPEG", "WEBP", "AVIF", "HEIF")),
    *((f"{kind} cut off", cut(write(kind)), "damaged, cut off") for kind in ("TIFF", "BMP", "GIF")),
    *((f"{kind} of a few bytes", write(kind)[:40], "damaged, cut off") for kind in ("PNG", "JPEG", "TIFF", "BMP")),
    ("PNG without its end", write("PNG")[:-12], "damaged, cut off"),
    ("PNG with a wrong checksum", write("PNG").replace(b"IDAT", b"IDAT\0", 1), "damaged, cut off"),
    ("bomb", build_bomb(50_000, 50_000), "more than 80 million pixels"),
    ("bomb in one line", build_bomb(200_000_000, 1), "more than 80 million pixels"),
    ("small bomb", build_bomb(9_000, 9_000), "more than 80 million pixels"),
    ("medium bomb", build_bomb(10_000, 10_000), "more than 80 million pixels"),
    ("pixels without end", build_bomb(2**31 - 1, 2**31 - 1), "more than 80 million pixels"),
    ("no pixels", build_bomb(0, 0), "damaged, cut off"),
    ("icon", b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0" + bytes(60), "a format that is not sent (image/vnd"),
    ("big TIFF of nothing", b"II+\0" + bytes(100), "damaged, cut off"),
    ("TIFF that goes round", b"II*\0\x08\0\0\0\0\0\x08\0\0\0" + bytes(20), "damaged, cut off"),
    ("JPEG of noise", b"\xff\xd8\xff" + bytes(range(256)) * 4, "damaged, cut off"),
    ("WebP of noise", b"RIFF\xff\0\0\0WEBPVP8 " + bytes(range(256)), "damaged, cut off"),
    ("AVIF of noise", b"\0\0\0\x14ftypavif\0\0\0\0avif" + bytes(200), "damaged, cut off"),
    ("HEIC of noise", b"\0\0\0\x14ftypheic\0\0\0\0heic" + bytes(200), "damaged, cut off"),
]
"""A name, a file and the words that refuse it."""


@pytest.mark.parametrize(("data", "problem"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_a_hostile_picture_is_refused(data: bytes, problem: str) -> None:
    """Before anything is spent, and whatever its decoder raises."""
    with pytest.raises(ArgumentsInvalid) as caught:
        convert(data)
    assert problem in caught.value.problems[0].problem


def test_heic_without_its_reader_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra, because it brings a large library."""
    data = write("HEIF")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ArgumentsInvalid, match=r'pip install "\.\[heic\]"'):
        convert(data)


@pytest.mark.parametrize(
    ("url", "is_odd"),
    [
        ("https://a.example/x.tiff?token=1", True),
        ("https://a.example/x.HEIC", True),
        ("https://a.example/x.bmp#part", True),
        ("https://a.example/x.avif", True),
        ("https://a.example/x.png?name=x.tiff", False),
        ("https://a.example/x.webp", False),
        ("https://a.example/tiff", False),
    ],
)
def test_an_ending_reports_a_url_that_must_be_converted(url: str, is_odd: bool) -> None:
    """Any other is the provider's to fetch."""
    assert is_odd_picture_url(url) is is_odd


def test_a_progressive_photograph_is_reckoned_with_all_it_keeps() -> None:
    """Its decoder holds every coefficient until the last scan."""
    reckon: Callable[..., int] = converting._estimate
    with (
        Image.open(io.BytesIO(write("JPEG"))) as plain,
        Image.open(io.BytesIO(write("JPEG", progressive=True))) as slow,
    ):
        assert reckon(slow, 8) - reckon(plain, 8) == 90 * 60 * 6
