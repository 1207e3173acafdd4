"""Photographs in, pictures out: decoding, the filters of the photo apps, and landscapes drawn from the hash of a text."""

import hashlib
import io
import math
import random
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeAlias

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageMath, ImageOps

Colour: TypeAlias = tuple[int, int, int]
MAX_PIXELS: Final = 40_000_000  # largest picture taken in or given out
MAX_WORKING_EDGE: Final = 2048  # the sketch is drawn of a copy whose longer edge is at most this

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
    """Decode a picture completely, upright, on white where it was transparent; raises `UndecodableError`."""
    # What decoders raise on broken files is not a closed set; these are what Pillow's own plug-ins are known to raise.
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


def upscale(photo: Image.Image, factor: int, sharpness: float) -> Image.Image:
    """Enlarge with Lanczos and sharpen; a sharpness of 1 is strong, 0 none."""
    size = (photo.width * factor, photo.height * factor)
    large = photo.resize(size, Image.Resampling.LANCZOS)
    return large.filter(ImageFilter.UnsharpMask(radius=1.2 * factor, percent=round(160 * sharpness), threshold=2))


def sketch(photo: Image.Image, line_strength: float) -> Image.Image:
    """Draw the photo in pencil, by the darkroom's dodge and burn; 1 is a normal line strength."""
    copy = photo.copy()
    copy.thumbnail((MAX_WORKING_EDGE, MAX_WORKING_EDGE))
    grey = ImageOps.autocontrast(copy.convert("L"), cutoff=1)
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


Size: TypeAlias = tuple[int, int]
SHAPES: Final = {"square": (768, 768), "wide": (1024, 576), "tall": (576, 1024)}
"""Width and height of each shape, in pixels."""
CINEMA_SIZE: Final = (1280, 544)
STORYBOARD_SIZE: Final = (960, 640)
_OVERSAMPLING: Final = 2  # pictures are drawn this many times larger and reduced, which smooths every edge


@dataclass(frozen=True, slots=True)
class Mood:
    """The colours of one time of day."""

    sky: tuple[Colour, Colour, Colour]  # top, middle, horizon
    sun: Colour
    far: Colour  # the hills at the horizon; the nearer ones go from here to `near`
    near: Colour
    has_stars: bool = False


_MOODS: Final = (
    Mood(((58, 44, 110), (214, 96, 120), (255, 196, 130)), (255, 236, 190), (196, 110, 132), (46, 26, 66)),
    Mood(((88, 160, 214), (160, 206, 228), (250, 240, 214)), (255, 250, 222), (150, 186, 190), (34, 76, 72)),
    Mood(((12, 18, 52), (38, 54, 110), (108, 116, 166)), (244, 244, 226), (78, 92, 142), (10, 16, 40), has_stars=True),
    Mood(((246, 148, 98), (252, 190, 120), (255, 228, 180)), (255, 250, 230), (222, 136, 96), (92, 40, 44)),
    Mood(((48, 118, 128), (130, 190, 176), (240, 232, 190)), (255, 246, 214), (124, 172, 150), (22, 66, 62)),
    Mood(
        ((34, 26, 68), (110, 54, 120), (240, 130, 134)), (255, 214, 170), (134, 72, 128), (24, 16, 46), has_stars=True
    ),
    Mood(((236, 186, 196), (246, 214, 204), (255, 242, 224)), (255, 255, 248), (206, 162, 180), (96, 74, 112)),
    Mood(((14, 46, 62), (24, 98, 108), (122, 190, 160)), (238, 255, 232), (52, 124, 122), (8, 32, 42), has_stars=True),
)


def draw_landscape(text: str, size: Size) -> Image.Image:
    """Draw the landscape that belongs to a text."""
    seed = hashlib.sha256(text.encode()).digest()
    dice = random.Random(seed)  # noqa: S311 - a picture, not a secret
    mood = _tint(dice.choice(_MOODS), dice)
    large = (size[0] * _OVERSAMPLING, size[1] * _OVERSAMPLING)
    horizon = round(large[1] * dice.uniform(0.52, 0.66))
    picture = _draw_sky(large, horizon, mood)
    if mood.has_stars:
        _draw_stars(ImageDraw.Draw(picture), (large[0], horizon), dice)
    _draw_sun(picture, horizon, mood, dice)
    _draw_clouds(picture, horizon, mood, dice)
    if dice.random() < 0.4:  # noqa: PLR2004 - the lake in two of five
        _draw_lake(picture, horizon, mood, dice)
    else:
        _draw_hills(picture, horizon, mood, dice, layers=dice.randint(4, 6))
    _draw_trees(ImageDraw.Draw(picture), large, mood, dice)
    if not mood.has_stars:
        _draw_birds(ImageDraw.Draw(picture), (large[0], horizon), mood, dice)
    return picture.resize(size, Image.Resampling.LANCZOS)


def draw_cinema_still(text: str) -> Image.Image:
    """Draw the landscape of a text on a wide screen between black bars."""
    return ImageOps.expand(draw_landscape(text, CINEMA_SIZE), border=(0, 88), fill="black")


def draw_storyboard_frame(premise: str, number: int, scene: str) -> Image.Image:
    """Draw one scene of a story with its number and words on a strip below."""
    width, height = STORYBOARD_SIZE
    frame = Image.new("RGB", (width, height + 96), (248, 245, 236))
    frame.paste(draw_landscape(f"{premise}\n{scene}", STORYBOARD_SIZE))
    draw_title(frame, f"{number}. {scene[:90]}", (32, height + 22, width - 32, height + 74), (40, 36, 44))
    return frame


def _mix(first: Colour, second: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def _tint(mood: Mood, dice: random.Random) -> Mood:
    """Lean all colours a little towards one, so that two texts with the same mood still differ."""
    lean = (dice.randrange(256), dice.randrange(256), dice.randrange(256))
    top, middle, low = (_mix(colour, lean, 0.12) for colour in mood.sky)
    near, far = _mix(mood.near, lean, 0.08), _mix(mood.far, lean, 0.1)
    return Mood((top, middle, low), mood.sun, far, near, has_stars=mood.has_stars)


def _draw_sky(size: Size, horizon: int, mood: Mood) -> Image.Image:
    top, middle, low = mood.sky
    gradient = Image.linear_gradient("L").resize((size[0], horizon), Image.Resampling.BICUBIC)
    sky = Image.new("RGB", size, low)
    sky.paste(ImageOps.colorize(gradient, black=top, mid=middle, white=low, midpoint=140))
    return sky


def _draw_stars(draw: ImageDraw.ImageDraw, area: Size, dice: random.Random) -> None:
    for _ in range(170):
        x, y = dice.uniform(0, area[0]), area[1] * dice.random() ** 1.6
        radius = dice.uniform(0.7, 2.4)
        shade = dice.randint(170, 255)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(shade, shade, min(255, shade + 12)))


def _draw_sun(picture: Image.Image, horizon: int, mood: Mood, dice: random.Random) -> None:
    width = picture.width
    radius = min(picture.size) * dice.uniform(0.05, 0.105)
    x, y = width * dice.uniform(0.2, 0.8), horizon * dice.uniform(0.32, 0.86)
    glow = Image.new("L", (width // 8, picture.height // 8))
    for reach, light in ((5.0, 60), (2.6, 110), (1.5, 170)):
        span = radius * reach / 8
        ImageDraw.Draw(glow).ellipse((x / 8 - span, y / 8 - span, x / 8 + span, y / 8 + span), fill=light)
    soft = glow.filter(ImageFilter.GaussianBlur(radius / 9)).resize(picture.size, Image.Resampling.BICUBIC)
    picture.paste(mood.sun, mask=soft)
    ImageDraw.Draw(picture).ellipse((x - radius, y - radius, x + radius, y + radius), fill=mood.sun)


def _draw_clouds(picture: Image.Image, horizon: int, mood: Mood, dice: random.Random) -> None:
    veil = Image.new("L", (picture.width // 4, picture.height // 4))
    draw = ImageDraw.Draw(veil)
    for _ in range(dice.randint(2, 5)):
        x, y = veil.width * dice.uniform(0, 1), horizon / 4 * dice.uniform(0.12, 0.8)
        for _ in range(dice.randint(4, 8)):
            long, thick = veil.width * dice.uniform(0.05, 0.17), veil.height * dice.uniform(0.004, 0.012)
            across, down = x + dice.gauss(0, veil.width * 0.07), y + dice.gauss(0, veil.height * 0.008)
            draw.ellipse((across - long, down - thick, across + long, down + thick), fill=dice.randint(70, 150))
    soft = veil.filter(ImageFilter.GaussianBlur(veil.height / 170)).resize(picture.size, Image.Resampling.BICUBIC)
    picture.paste(_mix(mood.sky[2], (255, 255, 255), 0.35), mask=soft)


def _build_ridge(width: int, level: float, swing: float, dice: random.Random) -> list[tuple[float, float]]:
    """Build the outline of one range of hills as a sum of waves, from left to right."""
    waves = [(swing / 1.9**n, dice.uniform(0.6, 1.5) * 1.9**n, dice.uniform(0, math.tau)) for n in range(6)]
    return [
        (x, level + sum(high * math.sin(math.tau * turns * x / width + shift) for high, turns, shift in waves))
        for x in range(0, width + 8, 8)
    ]


def _draw_hills(picture: Image.Image, horizon: int, mood: Mood, dice: random.Random, layers: int) -> None:
    draw = ImageDraw.Draw(picture)
    width, height = picture.size
    for layer in range(layers):
        depth = layer / (layers - 1)
        level = horizon + (height - horizon) * depth * 0.72
        ridge = _build_ridge(width, level, height * dice.uniform(0.022, 0.05) * (1.3 - 0.5 * depth), dice)
        draw.polygon([*ridge, (width, height), (0, height)], fill=_mix(mood.far, mood.near, depth**0.85))


def _draw_lake(picture: Image.Image, horizon: int, mood: Mood, dice: random.Random) -> None:
    """Draw far hills, their mirror image in the water, and light on the waves."""
    width, height = picture.size
    draw = ImageDraw.Draw(picture)
    for layer in range(3):
        ridge = _build_ridge(width, horizon - height * (0.07 - 0.025 * layer), height * 0.03, dice)
        draw.polygon([*ridge, (width, horizon), (0, horizon)], fill=_mix(mood.far, mood.near, 0.08 + 0.24 * layer))
    depth = height - horizon
    mirror = ImageOps.flip(picture.crop((0, max(0, horizon - depth), width, horizon))).resize((width, depth))
    water = Image.blend(mirror, Image.new("RGB", (width, depth), _mix(mood.far, mood.near, 0.55)), 0.34)
    picture.paste(water, (0, horizon))
    glint = _mix(mood.sun, mood.sky[1], 0.35)
    for _ in range(90):
        near = dice.random()
        y, long = horizon + depth * near**1.3, width * (0.008 + 0.05 * near) * dice.random()
        x = dice.uniform(0, width)
        draw.line(
            (x - long, y, x + long, y), fill=_mix(glint, mood.far, 0.55 * dice.random()), width=2 + round(3 * near)
        )


def _draw_trees(draw: ImageDraw.ImageDraw, size: Size, mood: Mood, dice: random.Random) -> None:
    """Draw the nearest slope with firs on it, rising towards one side."""
    width, height = size
    left, right = dice.choice(((0.8, 1.02), (1.02, 0.8), (0.88, 0.9)))
    dark = _mix(mood.near, (0, 0, 0), 0.35)
    ground = _build_ridge(width, 0, height * 0.012, dice)
    slope = [(x, y + height * (left + (right - left) * x / width)) for x, y in ground]
    draw.polygon([*slope, (width, height), (0, height)], fill=dark)
    for x, y in dice.sample(slope, k=min(len(slope), dice.randint(9, 34))):
        _draw_fir(draw, x, y + height * 0.01, height * dice.uniform(0.05, 0.15), dark)


def _draw_fir(draw: ImageDraw.ImageDraw, x: float, ground: float, tall: float, colour: Colour) -> None:
    tiers = 4
    draw.rectangle((x - tall * 0.02, ground - tall * 0.3, x + tall * 0.02, ground), fill=colour)
    for tier in range(tiers):
        base = ground - tall * (0.1 + 0.2 * tier)
        half = tall * (0.21 - 0.04 * tier)
        draw.polygon([(x - half, base), (x + half, base), (x, base - tall * 0.34)], fill=colour)


def _draw_birds(draw: ImageDraw.ImageDraw, area: Size, mood: Mood, dice: random.Random) -> None:
    x, y = area[0] * dice.uniform(0.15, 0.75), area[1] * dice.uniform(0.2, 0.5)
    for _ in range(dice.randint(0, 7)):
        span = area[0] * dice.uniform(0.006, 0.014)
        across, down = x + dice.gauss(0, area[0] * 0.06), y + dice.gauss(0, area[1] * 0.05)
        wings = [(across - span, down - span * 0.5), (across, down), (across + span, down - span * 0.6)]
        draw.line(wings, fill=_mix(mood.near, mood.far, 0.25), width=4, joint="curve")
