"""Small copies of pictures, whatever the file holds."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from flowport.media.decode import MAX_PREVIEW_MEMORY_BYTES
from flowport.media.previews import (
    MAX_EDGE,
    MAX_PREVIEW_BYTES,
    NoPreview,
    Preview,
    _find_problem,
    build_preview,
)

MEMORY_PROGRAM = """
import resource, sys
from pathlib import Path
from PIL import AvifImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from flowport.media.previews import build_preview
small, large = map(Path, sys.argv[1:])
build_preview(small)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
made = build_preview(large)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, type(made).__name__)
"""


def build_picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Return a picture with something on it."""
    return Image.radial_gradient("L").resize((width, height)).convert(mode)


def build_deep_ramp(width: int, height: int) -> Image.Image:
    """Return grey of sixteen bits from black to white."""
    line = b"".join(struct.pack("<H", x * 65535 // (width - 1)) for x in range(width))
    return Image.frombytes("I;16", (width, height), line * height)


def build_noise(width: int, height: int) -> Image.Image:
    """Return a picture that no format makes small."""
    return Image.effect_noise((width, height), 100).convert("RGB")


def save(picture: Image.Image, path: Path, **options: Any) -> Path:
    """Save a picture and return where."""
    picture.save(path, **options)
    return path


def read(preview: Preview | NoPreview) -> Image.Image:
    """Decode a preview."""
    assert isinstance(preview, Preview)
    return Image.open(io.BytesIO(preview.data))


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "gif", "avif", "bmp"])
def test_a_picture_of_any_common_format_becomes_a_small_jpeg(extension: str, tmp_path: Path) -> None:
    """Every client can show a JPEG."""
    path = save(build_picture(1500, 1000), tmp_path / f"a.{extension}")

    made = build_preview(path)

    assert read(made).format == "JPEG"
    assert read(made).size == (750, 500)
    assert max(read(made).size) <= MAX_EDGE


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK"])
def test_pictures_of_other_colour_models_are_shown_too(mode: str, tmp_path: Path) -> None:
    """Greys, palettes and print colours come out of apps as well."""
    extension = "jpg" if mode == "CMYK" else "png"

    assert read(build_preview(save(build_picture(900, 900, mode), tmp_path / f"a.{extension}"))).mode == "RGB"


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_can_be_seen_through_stays_so(mode: str, tmp_path: Path) -> None:
    """A cut-out on black looks like a failure."""
    picture = build_picture(900, 600, mode)
    hole = Image.new("L", picture.size, 255)
    hole.paste(0, (0, 0, 450, 600))
    picture.putalpha(hole)

    made = build_preview(save(picture, tmp_path / "a.png"))

    assert isinstance(made, Preview)
    assert made.mime_type == "image/png"
    alpha = read(made).convert("RGBA").getchannel("A")
    assert [alpha.getpixel(place) for place in ((100, 200), (400, 200))] in ([0, 254], [0, 255])


def test_a_transparent_colour_of_a_palette_counts(tmp_path: Path) -> None:
    """A GIF has no alpha, and yet holes."""
    picture = Image.new("P", (90, 60), 1)
    picture.putpalette([0, 0, 0, 200, 40, 40])
    picture.paste(0, (0, 0, 45, 60))

    made = build_preview(save(picture, tmp_path / "a.gif", transparency=0))

    assert isinstance(made, Preview)
    assert made.mime_type == "image/png"


def test_an_alpha_that_hides_nothing_costs_nothing(tmp_path: Path) -> None:
    """Many apps write an alpha channel that is full everywhere; a PNG would be ten times as large."""
    made = build_preview(save(build_picture(900, 600, "RGBA"), tmp_path / "a.png"))

    assert isinstance(made, Preview)
    assert made.mime_type == "image/jpeg"


def test_a_photograph_that_lies_on_its_side_is_put_upright(tmp_path: Path) -> None:
    """The preview has no EXIF that would report a client to turn it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(build_picture(600, 300), tmp_path / "a.jpg", exif=exif)

    assert read(build_preview(path)).size == (300, 600)


def test_a_small_picture_is_not_made_larger(tmp_path: Path) -> None:
    """Invented pixels show nothing."""
    assert read(build_preview(save(build_picture(40, 30), tmp_path / "a.png"))).size == (40, 30)


@pytest.mark.parametrize(("mode", "limit"), [("RGB", MAX_PREVIEW_BYTES), ("RGB", 24_000), ("RGBA", 24_000)])
def test_a_picture_that_packs_badly_is_made_smaller_until_it_fits(mode: str, limit: int, tmp_path: Path) -> None:
    """Clients cut or refuse long answers."""
    picture = build_noise(1600, 1600).convert(mode)
    if mode == "RGBA":
        picture.putalpha(Image.effect_noise(picture.size, 100))

    made = build_preview(save(picture, tmp_path / "a.png"), max_bytes=limit)

    assert isinstance(made, Preview)
    assert len(made.data) <= limit


@pytest.mark.parametrize("extension", ["png", "jpg"])
def test_a_picture_that_is_small_already_goes_as_it_is(extension: str, tmp_path: Path) -> None:
    """Decoding is most of what a preview costs."""
    path = save(build_picture(700, 500), tmp_path / f"a.{extension}")

    made = build_preview(path)

    assert isinstance(made, Preview)
    assert made.data == path.read_bytes()
    assert made.mime_type == {"png": "image/png", "jpg": "image/jpeg"}[extension]


def test_a_picture_may_be_given_as_its_bytes_or_as_an_open_file(tmp_path: Path) -> None:
    """The cover of a video has no file of its own, and a file that was fetched has no name."""
    path = save(build_picture(1500, 1000), tmp_path / "a.png")
    small = save(build_picture(40, 30), tmp_path / "b.png")

    for one in (path, small):
        with one.open("rb") as file:
            made = [build_preview(one), build_preview(one.read_bytes()), build_preview(file)]
            assert not file.closed
        assert isinstance(made[0], Preview)
        assert made == [made[0]] * 3


def test_a_larger_edge_is_reckoned_with(tmp_path: Path) -> None:
    """A copy of 2,048 pixels takes more to decode than one of 768."""
    path = save(build_picture(5200, 5200), tmp_path / "a.jpg")

    made = build_preview(path, max_edge=2048)

    assert read(made).size == (1300, 1300)
    assert build_preview(path, max_edge=5200) == NoPreview("it would take too much memory")


def test_a_small_picture_that_is_damaged_is_not_handed_on(tmp_path: Path) -> None:
    """Its checksums are checked although its pixels are not read."""
    path = save(build_picture(70, 50), tmp_path / "a.png")
    data = path.read_bytes()
    path.write_bytes(data[:60] + bytes([data[60] ^ 1]) + data[61:])

    assert isinstance(build_preview(path), NoPreview)


def test_a_limit_below_any_picture_is_said(tmp_path: Path) -> None:
    """It must end."""
    path = save(build_noise(300, 300), tmp_path / "a.png")

    assert build_preview(path, max_bytes=10) == NoPreview("it cannot be made small enough")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<!doctype html><script>alert(1)</script>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
    ],
)
def test_what_is_not_a_picture_or_could_run_is_not_decoded(content: bytes, tmp_path: Path) -> None:
    """SVG, HTML and PostScript are programs."""
    path = tmp_path / "a.png"
    path.write_bytes(content)

    assert isinstance(build_preview(path), NoPreview)


def test_a_file_that_is_gone_has_no_preview(tmp_path: Path) -> None:
    """People tidy their folders."""
    assert build_preview(tmp_path / "gone.png") == NoPreview("its file was removed from its folder")


def test_a_file_that_cannot_be_opened_has_no_preview(tmp_path: Path) -> None:
    """The system's reason helps; a name from the program does not."""
    made = build_preview(tmp_path)
    assert isinstance(made, NoPreview)
    assert made.reason.startswith("its file cannot be read (")
    assert "Error" not in made.reason


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff\xe0"])
def test_what_cannot_be_decoded_is_reported_without_a_name_from_the_program(content: bytes) -> None:
    """A person knows no exceptions of a library."""
    assert build_preview(content) == NoPreview("it cannot be decoded")


@pytest.mark.parametrize("extension", ["tif", "jp2", "ico", "heic", "ppm"])
def test_a_format_that_is_not_shown_is_named(extension: str, tmp_path: Path) -> None:
    """The file is as good as ever; a person who is reported that it cannot be decoded thinks otherwise."""
    pillow_heif.register_heif_opener()
    made = build_preview(save(build_picture(64, 48), tmp_path / f"a.{extension}"))

    assert isinstance(made, NoPreview)
    assert made.reason.startswith("none is made of its format (image/")


def test_deep_grey_is_shown_from_black_to_white(tmp_path: Path) -> None:
    """Cut off instead of scaled, a depth map is white all over (python-pillow/Pillow#1099)."""
    path = save(build_deep_ramp(256, 8), tmp_path / "a.png")

    made = read(build_preview(path)).convert("L")

    line = made.tobytes()[4 * made.width :]
    assert [round(line[x] / 8) for x in (0, 64, 128, 192, 255)] == [0, 8, 16, 24, 32]


def test_a_depth_without_black_and_white_has_a_word_instead() -> None:
    """Numbers of 32 bits may mean anything."""
    image = Image.new("F", (30, 30))
    assert _find_problem(image, 100, 768) == "it has more than eight bits a colour"


def test_a_jpeg_with_more_pictures_inside_is_shown_like_any_other(tmp_path: Path) -> None:
    """Cameras, drones and phones write them (wagtail/wagtail#729)."""
    path = tmp_path / "a.jpg"
    build_picture(1500, 1000).save(path, "MPO", save_all=True, append_images=[build_picture(32, 32)])

    assert read(build_preview(path)).size == (750, 500)


def test_a_jpeg_without_its_end_mark_is_shown(tmp_path: Path) -> None:
    """As every viewer shows it; one that was cut off is not."""
    path = save(build_picture(1500, 1000), tmp_path / "a.jpg")
    data = path.read_bytes()

    path.write_bytes(data[:-2])
    assert read(build_preview(path)).size == (750, 500)
    path.write_bytes(data[: len(data) // 2])
    assert isinstance(build_preview(path), NoPreview)


def test_a_thin_picture_is_shown(tmp_path: Path) -> None:
    """A side must not come to nothing on the way."""
    assert read(build_preview(save(build_picture(4000, 3), tmp_path / "a.jpg"))).size == (667, 1)


def test_a_png_with_a_large_profile_or_much_text_is_shown(tmp_path: Path) -> None:
    """Programs put their workflows into it (Comfy-Org/ComfyUI#3316)."""
    text = PngImagePlugin.PngInfo()
    text.add_text("workflow", "x" * 6_000_000)
    text.add_text("prompt", "y" * 3_000_000, zip=True)
    path = save(build_picture(1500, 1000), tmp_path / "a.png", icc_profile=bytes(1_100_000), pnginfo=text)

    assert read(build_preview(path)).size == (750, 500)


def test_a_photograph_of_a_hundred_megapixels_is_shown(tmp_path: Path) -> None:
    """Phones take them (TransparentLC/realesrgan-gui#34), and the decoder makes them smaller as it reads."""
    path = save(Image.new("L", (12000, 9000)), tmp_path / "a.jpg")

    assert read(build_preview(path)).size == (750, 563)


@given(st.integers(0, 4000), st.binary(min_size=1, max_size=8), st.sampled_from(["jpg", "png", "webp", "gif", "avif"]))
@settings(max_examples=150)
def test_a_damaged_picture_never_raises(
    tmp_path_factory: pytest.TempPathFactory, place: int, junk: bytes, extension: str
) -> None:
    """Decoders raise what they like; an answer must not fail over a courtesy."""
    path = tmp_path_factory.mktemp("damaged") / f"a.{extension}"
    save(build_picture(60, 40), path)
    data = path.read_bytes()
    place %= len(data)
    path.write_bytes(data[:place] + junk + data[place + len(junk) :])

    assert isinstance(build_preview(path), Preview | NoPreview)


def build_png_header(width: int, height: int) -> bytes:
    """Return the beginning of a PNG that claims to be of a size."""
    header = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    size, check = (13).to_bytes(4, "big"), zlib.crc32(header).to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n" + size + header + check + b"\0\0\0\0IDAT\x35\xaf\x06\x1e"


@pytest.mark.parametrize(
    ("width", "height", "reason"),
    [
        (9000, 9000, "it has too many pixels"),
        (8000, 8000, "it would take too much memory"),
        (100_000, 100_000, "it cannot be decoded"),
    ],
)
def test_a_bomb_is_refused_by_its_header(width: int, height: int, reason: str, tmp_path: Path) -> None:
    """A few bytes may claim gigabytes."""
    path = tmp_path / "bomb.png"
    path.write_bytes(build_png_header(width, height))

    assert build_preview(path) == NoPreview(reason)


@pytest.mark.parametrize("options", [{"progressive": True}, {}])
def test_a_large_jpeg_is_shown_when_it_can_be_reduced_as_it_is_read(options: dict[str, bool], tmp_path: Path) -> None:
    """The coefficients of a progressive one must all be kept before a pixel is known."""
    path = save(build_picture(5000, 5000), tmp_path / "a.jpg", **options)

    assert isinstance(build_preview(path), NoPreview if options else Preview)


def test_components_that_come_apart_count_as_kept_without_being_called_progressive(tmp_path: Path) -> None:
    """A hostile file need not say that its decoder must keep everything; the header of its first scan reports."""
    path = save(build_picture(5000, 5000), tmp_path / "a.jpg")
    data = path.read_bytes()
    scan = data.index(b"\xff\xda")
    path.write_bytes(data[: scan + 2] + b"\x00\x08\x01\x01\x00\x00\x3f\x00" + data[scan + 14 :])

    assert build_preview(path) == NoPreview("it would take too much memory")


@pytest.mark.parametrize(
    ("name", "edge", "options"),
    [
        ("a.jpg", 8000, {}),
        ("a.jpg", 3900, {"progressive": True, "subsampling": 0}),
        ("a.png", 4900, {"compress_level": 1}),
        ("a.webp", 2200, {"method": 0}),
    ],
)
def test_no_picture_takes_more_memory_than_promised(
    name: str, edge: int, options: dict[str, Any], tmp_path: Path
) -> None:
    """Eight decoders side by side would end a small machine; so one at a time, and each within its bound."""
    large = save(build_picture(edge, edge), tmp_path / name, **options)
    small = save(build_picture(20, 20), tmp_path / "small.jpg")
    program = [sys.executable, "-c", MEMORY_PROGRAM, str(small), str(large)]

    kilobytes, kind = subprocess.run(program, check=True, capture_output=True, text=True).stdout.split()

    assert kind == "Preview"
    assert int(kilobytes) * 1024 < min(MAX_PREVIEW_MEMORY_BYTES * 1.1, 120 * 1024**2)
