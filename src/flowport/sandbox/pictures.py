"""Photographs in, pictures out: decoding what strangers send, and the filters of the photo apps."""

import io
import struct
import zlib
from collections.abc import Mapping
from itertools import pairwise
from typing import Final, TypeAlias

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageMath, ImageOps

Colour: TypeAlias = tuple[int, int, int]

MAX_PIXELS: Final = 40_000_000  # largest picture taken in or given out

MAX_WORKING_EDGE: Final = 2048  # the filters work on a copy whose longer edge is at most this

# Pillow can hand files to other programs for some formats (PostScript); these are decoded by itself.
_FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")

POSTER_SIZE: Final = (900, 1200)

PALETTES: Final[Mapping[str, tuple[Colour, ...]]] = {
    "sunset": ((43, 16, 62), (150, 33, 84), (240, 98, 70), (252, 176, 92), (255, 236, 190)),
    "harbour": ((10, 25, 52), (22, 68, 108), (52, 132, 152), (150, 200, 190), (244, 238, 214)),
    "forest": ((18, 34, 30), (34, 82, 62), (104, 138, 74), (206, 186, 106), (248, 238, 208)),
    "berry": ((38, 12, 40), (104, 22, 76), (190, 58, 106), (240, 142, 150), (255, 230, 214)),
}
"""Shadow to light, five tones each; the lightest is the paper."""


class UndecodableError(Exception):
    """The bytes are not a picture that the sandbox takes; str() ends a sentence that begins with its name."""


def decode_photo(data: bytes) -> Image.Image:
    """Decode a picture completely, upright, on white where it was transparent.

    Raises:
        UndecodableError: Not a picture, a broken one, or one of more than `MAX_PIXELS`.
    """
    # What decoders raise on broken files is no closed set; these are what Pillow's own plug-ins are known to raise.
    broken = (OSError, ValueError, TypeError, SyntaxError, IndexError, KeyError, EOFError, struct.error, zlib.error)
    try:
        photo = Image.open(io.BytesIO(data), formats=_FORMATS)
        if photo.width * photo.height > MAX_PIXELS:
            raise UndecodableError("has more than 40 megapixels")
        upright = ImageOps.exif_transpose(photo).convert("RGBA")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise UndecodableError("has more than 40 megapixels") from exc
    except broken as exc:
        raise UndecodableError("is not a picture that can be decoded") from exc
    report = Image.new("RGBA", upright.size, "white")
    return Image.alpha_composite(report, upright).convert("RGB")


def encode_png(picture: Image.Image) -> bytes:
    """Write a picture without loss."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def encode_jpeg(picture: Image.Image) -> bytes:
    """Write a photograph at a quality at which nobody sees the loss."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def upscale(photo: Image.Image, factor: int, sharpness: float) -> Image.Image:
    """Enlarge with Lanczos and sharpen; a sharpness of 1 is strong, 0 none."""
    size = (photo.width * factor, photo.height * factor)
    large = photo.resize(size, Image.Resampling.LANCZOS)
    return large.filter(ImageFilter.UnsharpMask(radius=1.2 * factor, percent=round(160 * sharpness), threshold=2))


def sketch(photo: Image.Image, line_strength: float) -> Image.Image:
    """Draw the photo in pencil, by the darkroom's dodge and burn; 1 is a normal line strength."""
    grey = ImageOps.autocontrast(_fit(photo).convert("L"), cutoff=1)
    # Dodging divides by darkness, which would blow up the noise of black areas: lift them first.
    lifted = grey.filter(ImageFilter.MedianFilter(3)).point(lambda level: 80 + level * 175 // 255)
    radius = max(grey.size) / 90
    negative = ImageOps.invert(lifted).filter(ImageFilter.GaussianBlur(radius))
    lines = ImageMath.lambda_eval(
        lambda args: args["convert"](args["min"](args["grey"] * 255 / (256 - args["negative"]), 255), "L"),
        grey=lifted,
        negative=negative,
    )
    burnt = lines.point(lambda level: round(255 * (level / 255) ** (0.4 + 3.6 * line_strength)))
    # A little of the photo's own light, so that dark areas are shaded and not only outlined.
    shade = grey.filter(ImageFilter.GaussianBlur(radius / 4)).point(lambda level: 200 + level * 55 // 255)
    drawn = ImageChops.multiply(burnt, shade).point(lambda level: min(255, max(0, (level - 45) * 130 // 100)))
    return ImageOps.colorize(drawn, black=(34, 34, 42), white=(252, 249, 240))


def poster(photo: Image.Image, title: str, palette: str) -> Image.Image:
    """Print the photo in five flat tones on a tall sheet, with the title large below it."""
    tones = PALETTES[palette]
    width, height = POSTER_SIZE
    margin, picture_height = 48, 860
    grey = ImageOps.fit(photo.convert("L"), (width - 2 * margin, picture_height), Image.Resampling.LANCZOS)
    # The median leaves flat shapes with clean edges, as cut stencils have.
    calm = ImageOps.equalize(grey).filter(ImageFilter.MedianFilter(7))
    smooth = Image.blend(calm, ImageOps.autocontrast(grey.filter(ImageFilter.MedianFilter(5))), 0.55)
    sheet = Image.new("RGB", POSTER_SIZE, tones[-1])
    sheet.paste(_print_in(smooth, tones), (margin, margin))
    draw = ImageDraw.Draw(sheet)
    stripe = picture_height + margin
    for row, tone in enumerate(tones[1:4]):
        draw.rectangle((margin, stripe + 12 * row, width - margin - 1, stripe + 12 * row + 11), fill=tone)
    area = (margin, stripe + 50, width - margin, height - margin // 2)
    draw_title(sheet, title.upper(), area, tones[0])
    return sheet


def product_shot(photo: Image.Image) -> Image.Image:
    """Put the photo as a card with a soft shadow before a studio backdrop in its own colours."""
    edge, card_edge = 1000, 640
    card = ImageOps.fit(photo, (card_edge, card_edge), Image.Resampling.LANCZOS)
    average = card.resize((1, 1), Image.Resampling.BOX).resize((edge, edge))
    light = (
        Image.radial_gradient("L")
        .resize((edge * 2, edge * 2))
        .crop((edge // 2, edge // 3, edge * 3 // 2, edge * 4 // 3))
    )
    pale = Image.blend(average, Image.new("RGB", (edge, edge), "white"), 0.8)
    backdrop = Image.composite(Image.blend(average, pale, 0.35), pale, light)
    mask = Image.new("L", (card_edge * 2, card_edge * 2))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, card_edge * 2 - 1, card_edge * 2 - 1), 72, fill=255)
    corner = (edge - card_edge) // 2
    shadow = Image.new("L", (edge, edge))
    shadow.paste(110, (corner + 14, corner + 30, corner + card_edge - 14, corner + card_edge + 34))
    backdrop.paste((20, 18, 26), mask=shadow.filter(ImageFilter.GaussianBlur(26)))
    backdrop.paste(card, (corner, corner - 10), mask.resize((card_edge, card_edge), Image.Resampling.LANCZOS))
    return backdrop


def draw_title(picture: Image.Image, title: str, area: tuple[int, int, int, int], colour: Colour) -> None:
    """Draw a title in the largest letters with which it fits the area, on one or two lines, centred."""
    left, top, right, bottom = area
    words = " ".join(title.split())[:120]
    draw = ImageDraw.Draw(picture)
    for size in range(bottom - top, 11, -4):
        font = ImageFont.load_default(size)
        text = _wrap(words, font, right - left)
        box = draw.multiline_textbbox((0, 0), text, font=font, align="center", spacing=size / 6)
        if box[2] - box[0] <= right - left and box[3] - box[1] <= bottom - top:
            break
    centre = ((left + right) / 2 - (box[0] + box[2]) / 2, (top + bottom) / 2 - (box[1] + box[3]) / 2)
    draw.multiline_text(centre, text, fill=colour, font=font, align="center", spacing=size / 6)


def _wrap(words: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Break at the space nearest the middle when one line is too long."""
    spaces = [index for index, letter in enumerate(words) if letter == " "]
    if font.getlength(words) <= width or not spaces:
        return words
    middle = min(spaces, key=lambda index: abs(index - len(words) / 2))
    return f"{words[:middle]}\n{words[middle + 1 :]}"


def _fit(photo: Image.Image) -> Image.Image:
    """Copy the photo, smaller where its longer edge is beyond `MAX_WORKING_EDGE`."""
    copy = photo.copy()
    copy.thumbnail((MAX_WORKING_EDGE, MAX_WORKING_EDGE))
    return copy


def _print_in(grey: Image.Image, tones: tuple[Colour, ...]) -> Image.Image:
    """Replace each fifth of the grey scale by one tone, with a narrow ramp between two so that edges are not jagged."""
    tables = [_ramp([tone[channel] for tone in tones]) for channel in range(3)]
    return Image.merge("RGB", [grey.point(table) for table in tables])


def _ramp(levels: list[int]) -> list[int]:
    half_ramp = 5
    table = [levels[min(grey * len(levels) // 256, len(levels) - 1)] for grey in range(256)]
    for index, (dark, light) in enumerate(pairwise(levels), start=1):
        edge = index * 256 // len(levels)
        for grey in range(edge - half_ramp, edge + half_ramp):
            table[grey] = round(dark + (light - dark) * (grey - edge + half_ramp) / (2 * half_ramp))
    return table
