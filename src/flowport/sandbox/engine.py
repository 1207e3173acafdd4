"""What each app does with its values: pixels and text in, finished files out. It loads Pillow, so it is loaded late."""

import hashlib
import io
import math
import random
import struct
import wave
from functools import lru_cache
from importlib import resources
from typing import Any, Final

from flowport.sandbox import pictures
from flowport.sandbox.apps import Outcome, Product, ProductKind, Recipe, StepFailed, Values

CLIP_SIZE: Final = (640, 360)
CLIP_SECONDS: Final = 3.0


def produce(recipe: Recipe, values: Values) -> Outcome:
    """Run an app, in a worker thread since it takes processor time; raises `StepFailed`."""
    return _produce_once(recipe, tuple(sorted(values.items())))


@lru_cache(maxsize=8)
def _produce_once(recipe: Recipe, values: tuple[tuple[str, Any], ...]) -> Outcome:
    # Hundreds of equal runs at once are a trial of the client and not of this machine.
    work = globals()[recipe] if isinstance(recipe, str) else recipe
    outcome: Outcome = work(dict(values))
    return outcome


def upscale(values: Values) -> Outcome:
    """Enlarge a photo."""
    photo = pictures.decode_photo(values["photo"])
    factor = int(values["factor"])
    if photo.width * photo.height * factor**2 > pictures.MAX_PIXELS:
        raise StepFailed("image-upscaler", "the result would have more than 40 megapixels")
    return Outcome((build_photograph("image-upscaler", pictures.upscale(photo, factor, values["sharpness"])),))


def sketch(values: Values) -> Outcome:
    """Draw a photo in pencil."""
    photo = pictures.decode_photo(values["photo"])
    return Outcome((build_drawing("pencil-sketch", pictures.sketch(photo, values["line_strength"])),))


def poster(values: Values) -> Outcome:
    """Print a photo as a poster."""
    photo = pictures.decode_photo(values["photo"])
    sheet = pictures.poster(photo, values["title"], values["palette"])
    return Outcome((build_drawing("retro-poster", sheet),))


def picture(values: Values) -> Outcome:
    """Draw the landscape of a text."""
    size = pictures.SHAPES[values["shape"]]
    return Outcome((build_drawing("text-to-image", pictures.draw_landscape(values["prompt"], size)),))


def variations(values: Values) -> Outcome:
    """Draw several landscapes of one text."""
    prompt, size = values["prompt"], pictures.SHAPES["square"]
    numbers = range(1, int(values["count"]) + 1)
    return Outcome(
        tuple(
            build_drawing("text-to-image", pictures.draw_landscape(f"{prompt} #{number}", size)) for number in numbers
        )
    )


def cinema(values: Values) -> Outcome:
    """Draw the landscape of a text on a wide screen."""
    return Outcome((build_drawing("text-to-image", pictures.draw_cinema_still(values["prompt"])),))


def product(values: Values) -> Outcome:
    """Put a photo before a studio backdrop; the second step fails."""
    shot = pictures.product_shot(pictures.decode_photo(values["photo"]))
    return Outcome((build_photograph("product-shot", shot),), "Node 'relight' failed: the lamp went out")


def clip(values: Values) -> Outcome:
    """Return the bundled clip and a tune made from a text."""
    data = resources.files("flowport.sandbox").joinpath("assets", "clip.mp4").read_bytes()
    clip = Product(ProductKind.VIDEOS, "image-to-video", "video/mp4", data, *CLIP_SIZE, CLIP_SECONDS)
    tune = compose_tune(values["mood"])
    jingle = Product(ProductKind.AUDIOS, "music", "audio/wav", tune, duration_seconds=TUNE_SECONDS)
    return Outcome((clip, jingle))


def breakdown(_values: Values) -> Outcome:
    """Fail."""
    raise StepFailed("image-upscaler", "input image exceeds maximum resolution")


def storyboard(values: Values) -> Outcome:
    """Draw one frame for each scene."""
    premise = values["premise"]
    scenes = values.get("scenes") or (premise,)
    frames = [pictures.draw_storyboard_frame(premise, n, scene) for n, scene in enumerate(scenes, start=1)]
    return Outcome(tuple(build_drawing("storyboard", frame) for frame in frames))


def build_drawing(tool: str, picture: Any, kind: str = "png", **options: Any) -> Product:
    """Encode a picture, without loss by default."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return Product(ProductKind.IMAGES, tool, f"image/{kind}", buffer.getvalue(), *picture.size)


def build_photograph(tool: str, picture: Any) -> Product:
    """Encode a picture at a quality at which the loss cannot be seen."""
    return build_drawing(tool, picture, "jpeg", quality=92)


SAMPLE_RATE: Final = 16_000
TUNE_SECONDS: Final = 2.8

# Major and minor pentatonics, in semitones: no two of their notes clash, so any order of them sounds meant.
_SCALES: Final = ((0, 2, 4, 7, 9, 12), (0, 3, 5, 7, 10, 12))
_LOWEST_HERTZ: Final = 220.0
_NOTES: Final = 10
_OVERTONES: Final = ((1, 1.0), (2, 0.38), (3, 0.16), (4, 0.07))
"""Multiple of the pitch and loudness: roughly a plucked music box."""
_TABLE_SIZE: Final = 512
_NOTE_SECONDS: Final = 1.1
_DECAY_PER_SECOND: Final = 0.012  # what is left of a note's loudness after a second


def compose_tune(text: str) -> bytes:
    """Compose the tune that belongs to a text, as a mono WAV file of `TUNE_SECONDS`."""
    dice = random.Random(hashlib.sha256(text.encode()).digest())  # noqa: S311 - a tune, not a secret
    scale, root = dice.choice(_SCALES), _LOWEST_HERTZ * 2 ** (dice.randrange(12) / 12)
    samples = [0.0] * round(SAMPLE_RATE * TUNE_SECONDS)
    period, step = _build_period(), dice.randrange(len(scale))
    for beat in range(_NOTES):
        step = max(0, min(len(scale) - 1, step + dice.choice((-2, -1, -1, 1, 1, 2))))
        _pluck(samples, period, beat * 0.22, root * 2 ** (scale[step] / 12))
    _pluck(samples, period, (_NOTES - 1) * 0.22, root)
    return _encode_wav(samples)


def _build_period() -> list[float]:
    """Build one period of the tone, so that a note costs one look-up for each sample."""
    turns = [math.tau * index / _TABLE_SIZE for index in range(_TABLE_SIZE)]
    return [sum(loud * math.sin(times * turn) for times, loud in _OVERTONES) for turn in turns]


def _pluck(samples: list[float], period: list[float], start_seconds: float, hertz: float) -> None:
    """Add one dying note to what is there."""
    first = round(start_seconds * SAMPLE_RATE)
    last = min(len(samples), first + round(_NOTE_SECONDS * SAMPLE_RATE))
    step, decay = hertz * _TABLE_SIZE / SAMPLE_RATE, _DECAY_PER_SECOND ** (1 / SAMPLE_RATE)
    phase, loud = 0.0, 1.0
    for index in range(first, last):
        samples[index] += loud * period[int(phase) % _TABLE_SIZE]
        phase += step
        loud *= decay


def _encode_wav(samples: list[float]) -> bytes:
    loudest = max(abs(sample) for sample in samples)
    fade = round(SAMPLE_RATE * 0.15)
    count = len(samples)
    levels = [round(26_000 / loudest * s * min(1.0, (count - i) / fade)) for i, s in enumerate(samples)]
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as tune:
        tune.setnchannels(1)
        tune.setsampwidth(2)
        tune.setframerate(SAMPLE_RATE)
        tune.writeframes(struct.pack(f"<{count}h", *levels))
    return buffer.getvalue()
