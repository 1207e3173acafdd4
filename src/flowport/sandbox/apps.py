"""The apps of the sandbox, and the check of their inputs (Magnific API 1.0.0, run-flow).

Each app shows something else that real ones do, from options in three shapes to total failure.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeAlias, assert_never
from uuid import NAMESPACE_URL, uuid5

from flowport.sandbox.web import Refused


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


@dataclass(eq=False)
class StepFailed(Exception):
    """A step of an app failed, and the run with it."""

    step: str
    reason: str

    def __str__(self) -> str:
        return f"Node '{self.step}' failed: {self.reason}"


Values: TypeAlias = Mapping[str, Any]
"""The checked inputs of a run by key: texts, numbers, tuples of texts, and encoded pictures that were decoded once."""
Recipe: TypeAlias = str | Callable[[Values], Outcome]  # a pure function, or the name of one in `engine`


class InputType(StrEnum):
    """The provider's word for what an input takes."""

    CREATION = "creation"
    TEXT = "text"
    NUMBER = "number"
    SELECT = "select"
    LIST = "list"  # several texts. Seen on the live service, absent from its documentation


class OptionShape(StrEnum):
    """How a select writes its options; the provider does not publish the shape, so clients must take all."""

    STRINGS = "strings"
    LABELLED = "labelled"
    CHOICES = "choices"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class AppInput:
    """One input of an app."""

    key: str  # the `api_key` of the run request
    type: InputType
    label: str
    is_required: bool = True
    default: str | float | None = None  # used when the input is left out; None: no default
    options: tuple[tuple[str, str], ...] = ()  # value and label of each choice of a select; empty for other types
    option_shape: OptionShape = OptionShape.STRINGS
    bounds: tuple[float, float] = (0, 0)
    """Lowest and highest number accepted. As with the real provider, no definition states them."""
    is_long: bool = False  # whether a text is shown as a text area
    media_type: str = "image"  # what a creation takes: `image`, `video` or `audio`

    @property
    def is_media(self) -> bool:
        """Whether it takes a file."""
        return self.type is InputType.CREATION


@dataclass(frozen=True, slots=True)
class SandboxApp:
    """One app of the sandbox."""

    id: str
    name: str
    cost_credits: int
    recipe: Recipe
    inputs: tuple[AppInput, ...]
    is_published: bool = True  # whether everybody's list has it
    is_own: bool = False  # whether the account's own list has it; a published app may be in both
    pending_seconds: float = 0.6
    running_seconds: float = 1.4  # how long a run takes at speed 1, the work itself not counted

    def build_node_id(self, entry: AppInput) -> str:
        """Build the id of the node that an input belongs to; always the same."""
        return str(uuid5(NAMESPACE_URL, f"sandbox:{self.id}/{entry.key}"))

    def build_input_id(self, entry: AppInput) -> str:
        """Build the input's id, the older key of a run request: `input-{nodeId}-1`."""
        return f"input-{self.build_node_id(entry)}-1"


def _number(key: str, label: str, default: float, bounds: tuple[float, float]) -> AppInput:
    return AppInput(key, InputType.NUMBER, label, is_required=False, default=default, bounds=bounds)


def _select(key: str, label: str, options: dict[str, str], default: str = "", **more: Any) -> AppInput:
    """Return a choice; without a default it is required."""
    choices = tuple(options.items())
    return AppInput(
        key, InputType.SELECT, label, is_required=not default, default=default or None, options=choices, **more
    )


_PHOTO = AppInput("photo", InputType.CREATION, "Your photo")
_PROMPT = AppInput("prompt", InputType.TEXT, "Prompt", is_long=True)
_FACTOR = _select("factor", "Factor", {"2": "2", "4": "4"})
_PALETTES = {"sunset": "Sunset", "harbour": "Harbour blue", "forest": "Forest", "berry": "Berry"}
_PALETTE = _select("palette", "Palette", _PALETTES, "sunset", option_shape=OptionShape.LABELLED)
_SHAPES = {"square": "square", "wide": "wide", "tall": "tall"}
_SHAPE = _select("shape", "Shape", _SHAPES, "square", option_shape=OptionShape.CHOICES)
_SHARPNESS = _number("sharpness", "Sharpness", 0.5, (0, 5))
_LINES = _number("line_strength", "Line strength", 1, (0, 5))
_COUNT = _number("count", "How many", 4, (1, 6))
_TITLE = AppInput("title", InputType.TEXT, "Title")
_MOOD = AppInput("mood", InputType.TEXT, "Mood")
_NOTE = AppInput("note", InputType.TEXT, "Note", is_required=False, default="")
_PREMISE = AppInput("premise", InputType.TEXT, "Premise", is_long=True)
_SCENES = AppInput("scenes", InputType.LIST, "Scenes", is_required=False)
_DRAFT: dict[str, Any] = {"is_published": False, "is_own": True}
APPS = (
    SandboxApp("Ux7vQm2LpA", "Upscale Photo", 5, "upscale", (_PHOTO, _FACTOR, _SHARPNESS)),
    SandboxApp("pK3sNc81Td", "Photo to Pencil Sketch", 3, "sketch", (_PHOTO, _LINES)),
    SandboxApp("rP9wE4hZbo", "Retro Poster", 4, "poster", (_PHOTO, _TITLE, _PALETTE)),
    SandboxApp("t2P6yGfJ0x", "Text to Picture", 2, "picture", (_PROMPT, _SHAPE), is_own=True),
    SandboxApp("vN5dRk7CuW", "Variations on a Theme", 8, "variations", (_PROMPT, _COUNT)),
    SandboxApp("sC1mB8aXqe", "Slow Cinema Still", 12, "cinema", (_PROMPT,), running_seconds=44.4),
    SandboxApp("hF4jLz6YvS", "Product Shots, Half of Them", 6, "product", (_PHOTO,)),
    SandboxApp("cJ0tWi3GnM", "Clip and Jingle", 10, "clip", (_MOOD,)),
    SandboxApp("aF8oHb5ErK", "Always Fails", 1, "breakdown", (_NOTE,), **_DRAFT),
    SandboxApp("mS6uVy2DlP", "My Storyboard", 7, "storyboard", (_PREMISE, _SCENES), **_DRAFT),
)
"""Every app, in the order of the lists."""


FindFile: TypeAlias = Callable[[str], Product | None]
MAX_MEDIA_BYTES: Final = 20_000_000  # largest picture after decoding its base64
MAX_TEXT_CHARACTERS: Final = 10_000
MAX_LIST_ITEMS: Final = 12
_MEDIA: Final = {"image": "an image", "video": "a video", "audio": "an audio"}
_KINDS: Final = {"image": ProductKind.IMAGES, "video": ProductKind.VIDEOS, "audio": ProductKind.AUDIOS}
_DATA_URI: Final = re.compile(r"data:[^,]*;base64,", re.IGNORECASE)


def parse_inputs(app: SandboxApp, inputs: Mapping[str, Any], find: FindFile, *, takes_keys: bool = True) -> Values:
    """Check a run's inputs and fill in defaults, in a worker thread since pictures are decoded; raises `Refused` with 422."""
    given = _name_inputs(app, inputs, takes_keys=takes_keys)
    present: list[tuple[AppInput, Any]] = []
    for entry in app.inputs:
        value = given.get(entry.key, entry.default)
        if value is None or (entry.is_required and value == ""):
            if entry.is_required or entry.key in given:
                what = "is required" if entry.is_required else "must not be null"
                raise Refused(422, f"Input '{entry.key}' {what}")
        else:
            present.append((entry, value))
    return {entry.key: _parse(entry, value, find) for entry, value in present}


def _parse(entry: AppInput, value: Any, find: FindFile) -> Any:
    match entry.type:
        case InputType.TEXT | InputType.SELECT:
            return _parse_text(entry, value)
        case InputType.NUMBER:
            return _parse_number(entry, value)
        case InputType.LIST:
            items = value if isinstance(value, list) else [value]
            if len(items) > MAX_LIST_ITEMS:
                raise Refused(422, f"Input '{entry.key}' takes at most {MAX_LIST_ITEMS} items")
            return tuple(_parse_text(entry, item) for item in items)
        case InputType.CREATION:
            return _parse_photo(entry, value, find)
        case _:
            assert_never(entry.type)


def _name_inputs(app: SandboxApp, inputs: Mapping[str, Any], *, takes_keys: bool) -> dict[str, Any]:
    """Rename inputs to their `api_key`."""
    keys = {entry.key: entry.key for entry in app.inputs} if takes_keys else {}
    keys |= {app.build_input_id(entry): entry.key for entry in app.inputs}
    for name in inputs:
        if name not in keys:
            raise Refused(422, f"There is no input {name[:80]!a}")
    return {keys[name]: value for name, value in inputs.items()}


def _parse_text(entry: AppInput, value: Any) -> str:
    if not isinstance(value, str):
        raise Refused(422, f"Input '{entry.key}' must be a text")
    if len(value) > MAX_TEXT_CHARACTERS:
        raise Refused(422, f"Input '{entry.key}' must have at most {MAX_TEXT_CHARACTERS} characters")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise Refused(422, f"Input '{entry.key}' holds half of a character")
    choices = [choice for choice, _ in entry.options]
    if choices and value not in choices:
        raise Refused(422, f"Input '{entry.key}' must be one of: {', '.join(choices)}")
    return value


def _parse_number(entry: AppInput, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused(422, f"Input '{entry.key}' must be a number")
    low, high = entry.bounds
    # Written so that NaN, which compares as false with everything, is refused too.
    if not low <= value <= high:
        raise Refused(422, f"Input '{entry.key}' must be between {low:g} and {high:g}")
    return float(value)


def _parse_photo(entry: AppInput, value: Any, find: FindFile) -> bytes:
    if not isinstance(value, str):
        raise Refused(422, f"Input '{entry.key}' must be a URL, base64 or the id of a creation")
    creation = find(value.strip())
    if creation is not None and creation.kind is not _KINDS[entry.media_type]:
        raise Refused(422, f"Input '{entry.key}' must be {_MEDIA[entry.media_type]}")
    data = _decode_base64(entry, value.strip()) if creation is None else creation.data
    if entry.media_type != "image":
        return data  # no recipe looks into it
    from flowport.sandbox.pictures import UndecodableError, decode_photo  # noqa: PLC0415 - loads Pillow

    try:
        decode_photo(data)
    except UndecodableError as exc:
        raise Refused(422, f"Input '{entry.key}' {exc}") from exc
    return data


def _decode_base64(entry: AppInput, value: str) -> bytes:
    text = _DATA_URI.sub("", value, count=1) if value[:5].lower() == "data:" else value
    # Four characters stand for three bytes: too long a text is refused before it is decoded.
    if len(text) * 3 // 4 > MAX_MEDIA_BYTES + 2:
        raise Refused(422, f"Input '{entry.key}' is larger than 20 MB")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise Refused(422, f"Input '{entry.key}' is not valid base64") from exc
