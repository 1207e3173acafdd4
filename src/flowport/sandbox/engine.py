"""What each app does with its values: pixels and text in, finished files out. Pure but for the bundled clip."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from flowport.sandbox import pictures, scenery, sound
from flowport.sandbox.apps import Recipe
from flowport.sandbox.storage import Blob

if TYPE_CHECKING:
    from PIL import Image

CLIP_WIDTH: Final = 640
CLIP_HEIGHT: Final = 360
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
    tool: str
    """The provider's word for what made it."""
    mime_type: str
    content: bytes | Blob = field(repr=False)
    """In memory, or where a sandbox with a folder keeps it."""
    width: int | None = None
    height: int | None = None
    """In pixels; None for sound."""
    duration_seconds: float | None = None
    """None for pictures."""

    @property
    def data(self) -> bytes:
        """The content; raises `OSError` when it is no longer kept."""
        return self.content if isinstance(self.content, bytes) else self.content.read()

    @property
    def size_bytes(self) -> int:
        """The length of the content."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.size_bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run."""

    products: tuple[Product, ...]
    problem: str = ""
    """What went wrong with the products that are missing; empty when all are there."""


@dataclass(frozen=True, slots=True)
class Values:
    """The checked inputs of a run, by type and key; defaults are filled in."""

    texts: Mapping[str, str] = field(default_factory=dict)
    """Texts and selects."""
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


def produce(recipe: Recipe, values: Values) -> Outcome:
    """Run an app. Takes processor time: call it in a worker thread.

    Raises:
        StepFailed: The app failed as a whole.
    """
    return _produce_once(
        recipe, *(_freeze(part) for part in (values.texts, values.numbers, values.photos, values.lists))
    )


_Frozen: TypeAlias = tuple[tuple[str, Any], ...]


def _freeze(part: Mapping[str, Any]) -> _Frozen:
    return tuple(sorted(part.items()))


@lru_cache(maxsize=8)
def _produce_once(recipe: Recipe, texts: _Frozen, numbers: _Frozen, photos: _Frozen, lists: _Frozen) -> Outcome:
    # Every recipe is pure. Hundreds of equal runs at once are a trial of the client and not of this machine.
    return _RECIPES[recipe](Values(dict(texts), dict(numbers), dict(photos), dict(lists)))


def _upscale(values: Values) -> Outcome:
    photo = pictures.decode_photo(values.photos["photo"])
    factor = int(values.texts["factor"])
    if photo.width * photo.height * factor**2 > pictures.MAX_PIXELS:
        raise StepFailed("image-upscaler", "the result would have more than 40 megapixels")
    return Outcome((_photograph("image-upscaler", pictures.upscale(photo, factor, values.numbers["sharpness"])),))


def _sketch(values: Values) -> Outcome:
    photo = pictures.decode_photo(values.photos["photo"])
    return Outcome((_drawing("pencil-sketch", pictures.sketch(photo, values.numbers["line_strength"])),))


def _poster(values: Values) -> Outcome:
    photo = pictures.decode_photo(values.photos["photo"])
    sheet = pictures.poster(photo, values.texts["title"], values.texts["palette"])
    return Outcome((_drawing("retro-poster", sheet),))


def _picture(values: Values) -> Outcome:
    size = scenery.SHAPES[values.texts["shape"]]
    return Outcome((_drawing("text-to-image", scenery.draw_landscape(values.texts["prompt"], size)),))


def _variations(values: Values) -> Outcome:
    prompt, size = values.texts["prompt"], scenery.SHAPES["square"]
    numbers = range(1, int(values.numbers["count"]) + 1)
    return Outcome(
        tuple(_drawing("text-to-image", scenery.draw_landscape(f"{prompt} #{number}", size)) for number in numbers)
    )


def _cinema(values: Values) -> Outcome:
    return Outcome((_drawing("text-to-image", scenery.draw_cinema_still(values.texts["prompt"])),))


def _product(values: Values) -> Outcome:
    shot = pictures.product_shot(pictures.decode_photo(values.photos["photo"]))
    return Outcome((_photograph("product-shot", shot),), "Node 'relight' failed: the lamp went out")


def _clip(values: Values) -> Outcome:
    data = resources.files("flowport.sandbox").joinpath("assets", "clip.mp4").read_bytes()
    clip = Product(ProductKind.VIDEOS, "image-to-video", "video/mp4", data, CLIP_WIDTH, CLIP_HEIGHT, CLIP_SECONDS)
    tune = sound.compose_tune(values.texts["mood"])
    jingle = Product(ProductKind.AUDIOS, "music", "audio/wav", tune, duration_seconds=sound.TUNE_SECONDS)
    return Outcome((clip, jingle))


def _breakdown(_values: Values) -> Outcome:
    raise StepFailed("image-upscaler", "input image exceeds maximum resolution")


def _storyboard(values: Values) -> Outcome:
    premise = values.texts["premise"]
    scenes = values.lists.get("scenes") or (premise,)
    frames = [scenery.draw_storyboard_frame(premise, n, scene) for n, scene in enumerate(scenes, start=1)]
    return Outcome(tuple(_drawing("storyboard", frame) for frame in frames))


def _anything(values: Values) -> Outcome:
    said = " ".join([*values.texts.values(), *(item for items in values.lists.values() for item in items)])
    return Outcome((_drawing("text-to-image", scenery.draw_landscape(said, scenery.SHAPES["square"])),))


def _drawing(tool: str, picture: "Image.Image") -> Product:
    data = pictures.encode_png(picture)
    return Product(ProductKind.IMAGES, tool, "image/png", data, picture.width, picture.height)


def _photograph(tool: str, picture: "Image.Image") -> Product:
    data = pictures.encode_jpeg(picture)
    return Product(ProductKind.IMAGES, tool, "image/jpeg", data, picture.width, picture.height)


_RECIPES: Final[Mapping[Recipe, Callable[[Values], Outcome]]] = {
    Recipe.UPSCALE: _upscale,
    Recipe.SKETCH: _sketch,
    Recipe.POSTER: _poster,
    Recipe.PICTURE: _picture,
    Recipe.VARIATIONS: _variations,
    Recipe.CINEMA: _cinema,
    Recipe.PRODUCT: _product,
    Recipe.CLIP: _clip,
    Recipe.BREAKDOWN: _breakdown,
    Recipe.STORYBOARD: _storyboard,
    Recipe.ANYTHING: _anything,
}
