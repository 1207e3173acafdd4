"""Landscapes drawn from nothing but a text: the same text gives the same picture, another text another one.

The text's hash picks the colours, where the sun stands, how the hills run and what is in front of them.
"""

import hashlib
import math
import random
from dataclasses import dataclass
from typing import Final, TypeAlias

from PIL import Image, ImageDraw, ImageFilter, ImageOps

from flowport.sandbox.pictures import Colour, draw_title

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
