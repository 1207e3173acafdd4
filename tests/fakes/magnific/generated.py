"""Any number of apps like those that others build: names and inputs as various as theirs, always the same ones."""

import hashlib
from typing import Final

from flowport.sandbox import pictures
from flowport.sandbox.apps import AppInput, InputType, OptionShape, Outcome, SandboxApp, Values
from flowport.sandbox.engine import build_drawing

_SUBJECTS: Final = (
    "Product Photo",
    "Portrait",
    "Café Menu",
    "Sneaker",
    "Room Makeover",
    "Логотип",
    "Storyboard",
    "水墨画",
    "Kids' Book",
    "Real-Estate Listing",
    "UGC Ad",
    "Headshot",
)
_TREATMENTS: Final = (
    "Enhancer",
    "→ Video",
    "in 4 Styles",
    "Generator",
    "Relight & Retouch ✨",
    "(v2, FINAL)",
    "Upscaler 4x",
    "Background Swap",
    "to Line Art",
    "Mockup | Social Media Kit",
    "",
)
_INPUTS: Final = (
    AppInput("image", InputType.CREATION, "Image"),
    AppInput("text_prompt", InputType.TEXT, "Text #1", is_long=True),
    AppInput("input_1_your_photo", InputType.CREATION, "1. Your photo 📷"),
    AppInput(
        "style",
        InputType.SELECT,
        "Style",
        is_required=False,
        default="warm",
        options=(("warm", "Warm"), ("cold", "Cold & crisp"), ("noir", "Film noir")),
        option_shape=OptionShape.LABELLED,
    ),
    AppInput("strength", InputType.NUMBER, "Strength (0-100)", is_required=False, default=50, bounds=(0, 100)),
    AppInput("scenes_2", InputType.LIST, "Scenes", is_required=False),
    AppInput("character_1_2", InputType.CREATION, "Character", is_required=False),
    AppInput(
        "aspect_ratio",
        InputType.SELECT,
        "Aspect ratio",
        options=(("16:9", "16:9"), ("1:1", "1:1"), ("9:16", "9:16")),
    ),
    AppInput("negative", InputType.TEXT, "What should NOT be in the picture?", is_required=False, default=""),
    AppInput("reference_clip", InputType.CREATION, "Reference clip", is_required=False, media_type="video"),
    AppInput("voice", InputType.CREATION, "Voice-over", is_required=False, media_type="audio"),
    AppInput("mood", InputType.SELECT, "Mood", is_required=False, option_shape=OptionShape.NONE),
)
_OWN_EVERY: Final = 10
_DRAFT_EVERY: Final = 20


def find_texts(values: Values) -> list[str]:
    """Return every text among the inputs of a run."""
    found = [value for value in values.values() if isinstance(value, str)]
    return [*found, *(item for items in values.values() if isinstance(items, tuple) for item in items)]


def draw_anything(values: Values) -> Outcome:
    """Draw the landscape of whatever texts are given."""
    said = " ".join(find_texts(values))
    return Outcome((build_drawing("text-to-image", pictures.draw_landscape(said, pictures.SHAPES["square"])),))


def generate_app(number: int) -> SandboxApp:
    """Build the app with this number, from 0. Names repeat after 132 of them, as they do among others; ids never."""
    amount = 1 + number % 5
    inputs = [_INPUTS[(number * 5 + step * 7) % len(_INPUTS)] for step in range(amount)]
    subject, treatment = _SUBJECTS[number % len(_SUBJECTS)], _TREATMENTS[number % len(_TREATMENTS)]
    return SandboxApp(
        hashlib.sha256(f"generated {number}".encode()).hexdigest()[:10],
        f"{subject} {treatment}".strip(),
        1 + number * 7 % 60,
        draw_anything,
        tuple(inputs),
        is_published=number % _DRAFT_EVERY != _DRAFT_EVERY - 1,
        is_own=number % _OWN_EVERY == _OWN_EVERY - 1,
    )
