"""Pictures as cameras, phones and programs write them today: each goes through, or is refused with the true limit."""

import io
import struct
from typing import Any

import pytest
from PIL import Image, ImageCms, PngImagePlugin

from flowport.domain.errors import ArgumentsInvalid
from flowport.media import convert as converting
from flowport.media.convert import Converted, Wanted, check_picture, convert_picture
from flowport.media.formats import sniff
from tests.fakes.client import build_photo
from tests.media.test_convert import TAKES, build_bomb, decode, write
from tests.media.test_identify import SAMPLES
from tests.media.test_previews import build_deep_ramp
from tests.media.tiffs import SHORT, TiffPage, tiff

PHOTO = build_photo(320, 200)
NOISE = Image.effect_noise((320, 200), 80).convert("RGB")
TURNED = Image.Exif()
TURNED[0x0112] = 6
ONLY_JPEG = Wanted(frozenset({"image/jpeg"}), 10_000_000)


def convert(data: bytes, wanted: Wanted = TAKES) -> Converted | None:
    """Check a picture for a receiver, and convert it for it."""
    file, sniffed = io.BytesIO(data), sniff(data)
    assert sniffed is not None
    check_picture(file, sniffed, argument="photo", wanted=wanted)
    assert file.tell() == 0
    return convert_picture(file, sniffed, wanted, argument="photo")


def check(data: bytes, wanted: Wanted = TAKES) -> str:
    """Return why a picture is refused before a run; nothing when it is not."""
    file, sniffed = io.BytesIO(data), sniff(data)
    assert sniffed is not None
    try:
        check_picture(file, sniffed, argument="photo", wanted=wanted)
    except ArgumentsInvalid as exc:
        return str(exc.problems[0])
    return ""


def build_pair(**options: Any) -> bytes:
    """Return a JPEG with a second picture behind the first, which another list reports (MPF)."""
    buffer = io.BytesIO()
    PHOTO.save(buffer, "MPO", save_all=True, append_images=[Image.new("RGB", (32, 32))], **options)
    return buffer.getvalue()


def test_a_jpeg_with_two_pictures_goes_as_it_is() -> None:
    """The first one is the picture (ultralytics/yolov5#2615, jarun/imgp#21)."""
    assert convert(build_pair()) is None
    assert convert(build_pair(progressive=True)) is None


def test_what_holds_for_a_jpeg_holds_for_one_with_two_pictures() -> None:
    """It is turned, converted and made smaller, and nothing is reported the second."""
    turned = convert(build_pair(exif=TURNED))
    assert decode(turned).size == (200, 320)
    assert turned is not None
    assert turned.note == ""
    smaller = convert(build_pair(quality=100), Wanted(TAKES.types, 5_000))
    assert smaller is not None
    assert smaller.note.startswith("was made smaller, from 320 x 200")
    assert "damaged, cut off" in check(build_pair()[:3000])


@pytest.mark.parametrize("picture", [PHOTO, NOISE, PHOTO.convert("L"), NOISE.convert("CMYK")])
@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"quality": 95, "subsampling": 0}, {"restart_marker_blocks": 4}, {"exif": TURNED}],
)
@pytest.mark.parametrize("lost", [1, 2])
def test_a_jpeg_that_lacks_only_its_end_mark_is_ended(picture: Image.Image, options: dict[str, Any], lost: int) -> None:
    """Every viewer shows it (Comfy-Org/ComfyUI#2692); what is sent has its end mark again."""
    data = write("JPEG", picture, **options)
    converted = convert(data[:-lost])
    assert converted is not None
    assert decode(converted).size in {(320, 200), (200, 320)}
    assert converted.data == data or options.get("exif") or picture.mode == "CMYK"


@pytest.mark.parametrize("picture", [PHOTO, NOISE, NOISE.convert("L"), NOISE.convert("CMYK")])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"restart_marker_blocks": 4}, {"restart_marker_rows": 1}]
)
@pytest.mark.parametrize("kept", [0.3, 0.5, 0.8, 0.9, 0.97])
def test_a_jpeg_that_was_cut_off_stays_refused(picture: Image.Image, options: dict[str, Any], kept: float) -> None:
    """A part of the picture would be paid for, wherever it was cut."""
    data = write("JPEG", picture, **options)
    assert "damaged, cut off" in check(data[: int(len(data) * kept)])


def test_a_progressive_jpeg_without_its_last_scan_is_cut_off() -> None:
    """Its viewers show something, but not the whole."""
    data = write("JPEG", NOISE, progressive=True)
    assert "damaged, cut off" in check(data[: data.rfind(b"\xff\xda")])
    assert "damaged, cut off" in check(data[: data.rfind(b"\xff\xc4")])


@pytest.mark.parametrize("size", [(100, 7), (7, 100), (1, 1), (1, 3000), (3000, 2)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_thin_pictures_go_through(size: tuple[int, int], kind: str) -> None:
    """No side comes to nothing (python-pillow/Pillow#4414)."""
    data = write(kind, Image.new("RGB", size, "teal"))
    converted = convert(data)
    assert converted is None or decode(converted).size == size


@pytest.mark.parametrize(
    "extra",
    [
        {"icc_profile": bytes(1_100_000)},
        {"icc_profile": bytes(5_000_000)},
        {"text": ("workflow", "x" * 6_000_000, False)},
        {"text": ("workflow", "x" * 6_000_000, True)},
    ],
)
def test_a_png_that_carries_much_beside_its_picture_goes_through(extra: dict[str, Any]) -> None:
    """Programs put workflows and printers' profiles into it (python-pillow/Pillow#2445)."""
    options = {key: value for key, value in extra.items() if key != "text"}
    if "text" in extra:
        name, text, is_packed = extra["text"]
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_text(name, text, zip=is_packed)
    data = write("PNG", **options)
    assert convert(data) is None
    converted = convert(data, ONLY_JPEG)
    assert converted is not None
    turned = convert(write("PNG", exif=TURNED, **options))
    for made in (converted, turned):
        # As any program reads it, with Pillow's own limits.
        assert max(decode(made).size) == 90
        assert len(made.data if made else b"") < 100_000


def test_a_png_turned_by_a_note_is_turned() -> None:
    """What is left out of a PNG must not be its orientation."""
    text = PngImagePlugin.PngInfo()
    text.add_itxt(
        "XML:com.adobe.xmp",
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>',
    )
    text.add_text("more", "x" * 2_000_000)
    assert decode(convert(write("PNG", build_photo(90, 60), pnginfo=text))).size == (60, 90)


def test_colours_of_a_png_stay_what_they_were() -> None:
    """Transparent colours and small profiles belong to the picture."""
    picture = Image.new("P", (8, 4), 1)
    picture.putpalette([0, 0, 0, 200, 40, 40])
    made = decode(convert(write("PNG", picture, transparency=1, exif=TURNED)))
    assert (made.mode, made.size, made.getpixel((0, 0))) == ("RGBA", (4, 8), (200, 40, 40, 0))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    made = decode(convert(write("PNG", icc_profile=profile, exif=TURNED)))
    assert made.info["icc_profile"] == profile


@pytest.mark.parametrize(("bits", "order", "photometric"), [(16, "<", 1), (16, "<", 0), (16, ">", 1), (12, "<", 1)])
def test_deep_grey_is_scaled_and_black_stays_black(bits: int, order: str, photometric: int) -> None:
    """Cut off instead, all but the darkest would be white (python-pillow/Pillow#1099)."""
    top = (1 << bits) - 1
    values = [0, top // 4, top // 2, top]
    if bits == 12:
        packed = b"".join(((a << 12) | b).to_bytes(3, "big") for a, b in (values[:2], values[2:])) * 4
    else:
        packed = struct.pack(f"{order}4H", *values) * 4
    data = build_grey_tiff(packed, bits=bits, order=order, photometric=photometric)
    grey = decode(convert(data)).convert("L")
    shown = [grey.getpixel((x, 2)) for x in range(4)]
    assert shown == ([0, 63, 127, 255] if photometric else [255, 192, 128, 0])


def build_grey_tiff(packed: bytes, *, bits: int, order: str, photometric: int) -> bytes:
    """Return a TIFF of 4 x 4 pixels in one colour."""
    whole = tiff(
        TiffPage(
            4,
            4,
            tags=((258, SHORT, (bits,)), (262, SHORT, (photometric,)), (277, SHORT, (1,)), (279, 4, (len(packed),))),
        ),
        order=order,
    )
    place = whole.index(bytes((200, 40, 40)) * 16)
    return whole[:place] + packed.ljust(48, b"\0") + whole[place + 48 :]


@pytest.mark.parametrize("options", [{"exif": TURNED}, {}])
def test_a_deep_png_is_scaled_only_when_it_must_be_converted(options: dict[str, Any]) -> None:
    """As it stands it loses nothing; turned or made smaller it has no more white."""
    ramp = build_deep_ramp(256, 100)
    data = write("PNG", ramp, **options)
    wanted = TAKES if options else Wanted(TAKES.types, 300)
    made = decode(convert(data, wanted)).convert("L")
    levels = sorted({value // 64 for value in made.tobytes()})
    assert levels == [0, 1, 2, 3]
    assert options or convert(data) is None


@pytest.mark.parametrize("mode", ["F", "I"])
def test_a_depth_without_black_and_white_is_refused_before_the_run(mode: str) -> None:
    """With advice that helps; a PNG would hold the same numbers."""
    problem = check(write("TIFF", Image.new(mode, (8, 8))))
    assert "more than eight bits a colour" in problem
    assert problem.endswith("Save it with 8 bits a channel, as PNG or JPEG.")


@pytest.mark.parametrize(("width", "height"), [(12000, 9000), (16320, 12240)])
def test_jpegs_of_phones_go_as_they_stand_or_smaller(width: int, height: int) -> None:
    """Of 108 and of 200 million pixels; a turned one is made smaller, and reported why."""
    picture = Image.new("L", (width, height))
    assert convert(write("JPEG", picture)) is None
    assert convert(write("JPEG", picture, progressive=True)) is None
    turned = convert(write("JPEG", picture, exif=TURNED))
    assert turned is not None
    reduced = turned.note.removeprefix("was made smaller, ")
    size = f"{height // 2} x {width // 2}"
    assert reduced == f"from {width} x {height} to {size} pixels (more would take too much memory here)"


@pytest.mark.parametrize("name", ["phone.heic", "phone.avif", "phone.webp"])
def test_a_photo_of_todays_phones_goes_through_in_each_format(name: str) -> None:
    """48 million pixels, which is the iPhone's own setting (slopus/happy#1749, Expensify/App#94969)."""
    made = convert((SAMPLES / name).read_bytes())
    assert decode(made).size == (8064, 6048)
    assert made is not None
    assert "smaller" not in made.note


def test_what_is_taken_as_it_stands_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its header is enough, and that its end is there."""
    monkeypatch.setattr(converting, "MAX_CONVERSION_MEMORY_BYTES", 10_000)
    takes = Wanted(frozenset({"image/webp", "image/jpeg", "image/png"}), 10_000_000)
    for data in (
        write("WEBP", NOISE),
        write("JPEG", NOISE),
        write("JPEG", NOISE, progressive=True),
        write("PNG", NOISE),
    ):
        assert convert(data, takes) is None
    assert "damaged, cut off" in check(write("JPEG", NOISE, progressive=True)[:9000], takes)


@pytest.mark.parametrize("kind", ["WEBP", "HEIF", "AVIF", "TIFF"])
def test_what_takes_too_much_memory_is_refused_with_its_limit_in_pixels(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a run, and never only once it is one."""
    monkeypatch.setattr(converting, "MAX_CONVERSION_MEMORY_BYTES", 8_000_000)
    problem = check(write(kind, Image.new("RGB", (2000, 1000))))
    assert "is a picture of 2 million pixels, which takes too much memory to work on. Give it with at most " in problem
    assert "million pixels, or as a plain JPEG." in problem


def test_more_pixels_than_are_worked_on_are_refused_with_the_limit() -> None:
    """The remedy is one that helps."""
    problem = check(build_bomb(9000, 9000))
    assert "more than 80 million pixels" in problem
    assert problem.endswith("Give it with at most 80 million pixels, or as a JPEG with at most 256 million.")
