"""What each app does with its values: pixels and text in, finished files out. Pure but for the bundled clip."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from importlib import resources
from typing import Any, Final, TypeAlias

# ruff: noqa: PLC0415 - Pillow is loaded when the first picture is handled, so that the sandbox starts quickly

CLIP_SIZE: Final = (640, 360)
CLIP_SECONDS: Final = 3.0


class ProductKind(StrEnum):
    """The list of a run's result that a product belongs to."""

    IMAGES = "images"
    VIDEOS = "videos"
    AUDIOS = "audios"


@dataclass(frozen=True, slots=True)
class Product:
    """One finished file."""

    kind: ProductKind
    tool: str  # the provider's word for what made it
    mime_type: str
    data: bytes = field(repr=False)
    width: int | None = None
    height: int | None = None  # in pixels; None for sound
    duration_seconds: float | None = None  # none for pictures


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run."""

    products: tuple[Product, ...]
    problem: str = ""  # what went wrong with the products that are missing; empty when all are there


@dataclass(frozen=True, slots=True)
class Values:
    """The checked inputs of a run, by type and key; defaults are filled in."""

    texts: Mapping[str, str] = field(default_factory=dict)  # texts and selects
    numbers: Mapping[str, float] = field(default_factory=dict)
    photos: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Encoded pictures that were decoded once already."""
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(eq=False)
class StepFailed(Exception):
    """A step of an app failed, and the run with it."""

    step: str
    reason: str

    def __str__(self) -> str:
        return f"Node '{self.step}' failed: {self.reason}"


Recipe: TypeAlias = Callable[[Values], Outcome]  # what an app does: a pure function, but for the bundled clip

_Frozen: TypeAlias = tuple[tuple[str, Any], ...]


def produce(recipe: Recipe, values: Values) -> Outcome:
    """Run an app. Takes processor time: call it in a worker thread.

    Raises:
        StepFailed: The app failed as a whole.
    """
    parts = (values.texts, values.numbers, values.photos, values.lists)
    return _produce_once(recipe, *(tuple(sorted(part.items())) for part in parts))


@lru_cache(maxsize=8)
def _produce_once(recipe: Recipe, texts: _Frozen, numbers: _Frozen, photos: _Frozen, lists: _Frozen) -> Outcome:
    # Hundreds of equal runs at once are a trial of the client and not of this machine.
    return recipe(Values(dict(texts), dict(numbers), dict(photos), dict(lists)))


def upscale(values: Values) -> Outcome:
    """Enlarge a photo."""
    from flowport.sandbox import pictures

    photo = pictures.decode_photo(values.photos["photo"])
    factor = int(values.texts["factor"])
    if photo.width * photo.height * factor**2 > pictures.MAX_PIXELS:
        raise StepFailed("image-upscaler", "the result would have more than 40 megapixels")
    return Outcome((build_photograph("image-upscaler", pictures.upscale(photo, factor, values.numbers["sharpness"])),))


def sketch(values: Values) -> Outcome:
    """Draw a photo in pencil."""
    from flowport.sandbox import pictures

    photo = pictures.decode_photo(values.photos["photo"])
    return Outcome((build_drawing("pencil-sketch", pictures.sketch(photo, values.numbers["line_strength"])),))


def poster(values: Values) -> Outcome:
    """Print a photo as a poster."""
    from flowport.sandbox import pictures

    photo = pictures.decode_photo(values.photos["photo"])
    sheet = pictures.poster(photo, values.texts["title"], values.texts["palette"])
    return Outcome((build_drawing("retro-poster", sheet),))


def picture(values: Values) -> Outcome:
    """Draw the landscape of a text."""
    from flowport.sandbox import scenery

    size = scenery.SHAPES[values.texts["shape"]]
    return Outcome((build_drawing("text-to-image", scenery.draw_landscape(values.texts["prompt"], size)),))


def variations(values: Values) -> Outcome:
    """Draw several landscapes of one text."""
    from flowport.sandbox import scenery

    prompt, size = values.texts["prompt"], scenery.SHAPES["square"]
    numbers = range(1, int(values.numbers["count"]) + 1)
    return Outcome(
        tuple(build_drawing("text-to-image", scenery.draw_landscape(f"{prompt} #{number}", size)) for number in numbers)
    )


def cinema(values: Values) -> Outcome:
    """Draw the landscape of a text on a wide screen."""
    from flowport.sandbox import scenery

    return Outcome((build_drawing("text-to-image", scenery.draw_cinema_still(values.texts["prompt"])),))


def product(values: Values) -> Outcome:
    """Put a photo before a studio backdrop; the second step fails."""
    from flowport.sandbox import pictures

    shot = pictures.product_shot(pictures.decode_photo(values.photos["photo"]))
    return Outcome((build_photograph("product-shot", shot),), "Node 'relight' failed: the lamp went out")


def clip(values: Values) -> Outcome:
    """Return the bundled clip and a tune made from a text."""
    from flowport.sandbox import sound

    data = resources.files("flowport.sandbox").joinpath("assets", "clip.mp4").read_bytes()
    clip = Product(ProductKind.VIDEOS, "image-to-video", "video/mp4", data, *CLIP_SIZE, CLIP_SECONDS)
    tune = sound.compose_tune(values.texts["mood"])
    jingle = Product(ProductKind.AUDIOS, "music", "audio/wav", tune, duration_seconds=sound.TUNE_SECONDS)
    return Outcome((clip, jingle))


def breakdown(_values: Values) -> Outcome:
    """Fail."""
    raise StepFailed("image-upscaler", "input image exceeds maximum resolution")


def storyboard(values: Values) -> Outcome:
    """Draw one frame for each scene."""
    from flowport.sandbox import scenery

    premise = values.texts["premise"]
    scenes = values.lists.get("scenes") or (premise,)
    frames = [scenery.draw_storyboard_frame(premise, n, scene) for n, scene in enumerate(scenes, start=1)]
    return Outcome(tuple(build_drawing("storyboard", frame) for frame in frames))


def build_drawing(tool: str, picture: Any) -> Product:
    """Return a picture without loss."""
    from flowport.sandbox import pictures

    data = pictures.encode_png(picture)
    return Product(ProductKind.IMAGES, tool, "image/png", data, picture.width, picture.height)


def build_photograph(tool: str, picture: Any) -> Product:
    """Return a picture as a photograph."""
    from flowport.sandbox import pictures

    data = pictures.encode_jpeg(picture)
    return Product(ProductKind.IMAGES, tool, "image/jpeg", data, picture.width, picture.height)
