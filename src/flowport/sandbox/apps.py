"""The apps that the sandbox offers, and how the provider's JSON describes them.

Each app shows the tools something else that real ones do: options in three shapes, defaults, optional inputs, an
input type outside the documented set, several outputs, long runs, partial and total failure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, assert_never
from uuid import NAMESPACE_URL, uuid5


class InputType(StrEnum):
    """The provider's word for what an input takes."""

    CREATION = "creation"
    TEXT = "text"
    NUMBER = "number"
    SELECT = "select"
    LIST = "list"
    """Several texts. Seen on the live service, absent from its documentation."""


class Recipe(StrEnum):
    """What the engine does for an app."""

    UPSCALE = "upscale"
    SKETCH = "sketch"
    POSTER = "poster"
    PICTURE = "picture"
    VARIATIONS = "variations"
    CINEMA = "cinema"
    PRODUCT = "product"
    CLIP = "clip"
    BREAKDOWN = "breakdown"
    STORYBOARD = "storyboard"


class OptionShape(StrEnum):
    """How a select writes its options; the provider does not publish the shape, so clients must take all three."""

    STRINGS = "strings"
    LABELLED = "labelled"
    CHOICES = "choices"


@dataclass(frozen=True, slots=True)
class AppInput:
    """One input of an app."""

    key: str
    """The `api_key` of the run request."""
    type: InputType
    label: str
    is_required: bool = True
    default: str | float | None = None
    """Used when the input is left out; None: there is none."""
    options: tuple[tuple[str, str], ...] = ()
    """Value and label of each choice of a select; empty for other types."""
    option_shape: OptionShape = OptionShape.STRINGS
    bounds: tuple[float, float] = (0, 0)
    """Lowest and highest number accepted. As with the real provider, no definition tells them."""
    is_long: bool = False
    """Whether a text is shown as a text area."""


@dataclass(frozen=True, slots=True)
class SandboxApp:
    """One app of the sandbox."""

    id: str
    name: str
    cost_credits: int
    recipe: Recipe
    inputs: tuple[AppInput, ...]
    is_published: bool = True
    """Whether everybody's list has it."""
    is_own: bool = False
    """Whether the account's own list has it; a published app may be in both."""
    pending_seconds: float = 0.6
    running_seconds: float = 1.4
    """How long a run takes at speed 1, the work itself not counted."""


_PHOTO = AppInput("photo", InputType.CREATION, "Your photo")
_PROMPT = AppInput("prompt", InputType.TEXT, "Prompt", is_long=True)

APPS = (
    SandboxApp(
        "Ux7vQm2LpA",
        "Upscale Photo",
        5,
        Recipe.UPSCALE,
        (
            _PHOTO,
            AppInput("factor", InputType.SELECT, "Factor", options=(("2", "2"), ("4", "4"))),
            AppInput("sharpness", InputType.NUMBER, "Sharpness", is_required=False, default=0.5, bounds=(0, 5)),
        ),
    ),
    SandboxApp(
        "pK3sNc81Td",
        "Photo to Pencil Sketch",
        3,
        Recipe.SKETCH,
        (
            _PHOTO,
            AppInput("line_strength", InputType.NUMBER, "Line strength", is_required=False, default=1, bounds=(0, 5)),
        ),
    ),
    SandboxApp(
        "rP9wE4hZbo",
        "Retro Poster",
        4,
        Recipe.POSTER,
        (
            _PHOTO,
            AppInput("title", InputType.TEXT, "Title"),
            AppInput(
                "palette",
                InputType.SELECT,
                "Palette",
                is_required=False,
                default="sunset",
                options=(("sunset", "Sunset"), ("harbour", "Harbour blue"), ("forest", "Forest"), ("berry", "Berry")),
                option_shape=OptionShape.LABELLED,
            ),
        ),
    ),
    SandboxApp(
        "t2P6yGfJ0x",
        "Text to Picture",
        2,
        Recipe.PICTURE,
        (
            _PROMPT,
            AppInput(
                "shape",
                InputType.SELECT,
                "Shape",
                is_required=False,
                default="square",
                options=(("square", "square"), ("wide", "wide"), ("tall", "tall")),
                option_shape=OptionShape.CHOICES,
            ),
        ),
        is_own=True,
    ),
    SandboxApp(
        "vN5dRk7CuW",
        "Variations on a Theme",
        8,
        Recipe.VARIATIONS,
        (_PROMPT, AppInput("count", InputType.NUMBER, "How many", is_required=False, default=4, bounds=(1, 6))),
    ),
    SandboxApp("sC1mB8aXqe", "Slow Cinema Still", 12, Recipe.CINEMA, (_PROMPT,), running_seconds=44.4),
    SandboxApp("hF4jLz6YvS", "Product Shots, Half of Them", 6, Recipe.PRODUCT, (_PHOTO,)),
    SandboxApp("cJ0tWi3GnM", "Clip and Jingle", 10, Recipe.CLIP, (AppInput("mood", InputType.TEXT, "Mood"),)),
    SandboxApp(
        "aF8oHb5ErK",
        "Always Fails",
        1,
        Recipe.BREAKDOWN,
        (AppInput("note", InputType.TEXT, "Note", is_required=False, default=""),),
        is_published=False,
        is_own=True,
    ),
    SandboxApp(
        "mS6uVy2DlP",
        "My Storyboard",
        7,
        Recipe.STORYBOARD,
        (
            AppInput("premise", InputType.TEXT, "Premise", is_long=True),
            AppInput("scenes", InputType.LIST, "Scenes", is_required=False),
        ),
        is_published=False,
        is_own=True,
    ),
)
"""Every app, in the order of the lists."""

APPS_BY_ID: Mapping[str, SandboxApp] = {app.id: app for app in APPS}


def build_input_id(app: SandboxApp, entry: AppInput) -> str:
    """Build the input's id, the older key of a run request: `input-{nodeId}-1`."""
    return f"input-{_build_node_id(app, entry)}-1"


def build_summary(app: SandboxApp) -> dict[str, Any]:
    """Describe an app as the list of published ones does (Magnific API 1.0.0, list-flows)."""
    return {"sqid": app.id, "name": app.name, "tool_metadata": _build_metadata(app)}


def build_own_summary(app: SandboxApp) -> dict[str, Any]:
    """Describe an app as the account's own list does: without a price (Magnific API 1.0.0, list-my-flows)."""
    return {"sqid": app.id, "name": app.name}


def build_definition(app: SandboxApp) -> dict[str, Any]:
    """Describe an app with its inputs (Magnific API 1.0.0, get-flow)."""
    inputs = [_build_input(app, entry) for entry in app.inputs]
    return {"sqid": app.id, "name": app.name, "inputs": inputs, "tool_metadata": _build_metadata(app)}


def _build_input(app: SandboxApp, entry: AppInput) -> dict[str, Any]:
    mode = "textarea" if entry.is_long else "input"
    return {
        "id": build_input_id(app, entry),
        "api_key": entry.key,
        "key": entry.key,
        "type": entry.type,
        "label": entry.label,
        "config": _build_config(entry),
        "nodeId": _build_node_id(app, entry),
        "default": entry.default,
        "required": entry.is_required,
        "presentation": {"mode": mode, "type": "text"} if entry.type is InputType.TEXT else None,
    }


def _build_config(entry: AppInput) -> dict[str, Any] | None:
    match entry.type:
        case InputType.CREATION:
            return {"mediaType": "image"}
        case InputType.SELECT:
            return _build_options(entry)
        case InputType.TEXT | InputType.NUMBER | InputType.LIST:
            return None
        case _:
            assert_never(entry.type)


def _build_options(entry: AppInput) -> dict[str, Any]:
    match entry.option_shape:
        case OptionShape.STRINGS:
            return {"options": [value for value, _ in entry.options]}
        case OptionShape.LABELLED:
            return {"options": [{"value": value, "label": label} for value, label in entry.options]}
        case OptionShape.CHOICES:
            return {"choices": [value for value, _ in entry.options]}
        case _:
            assert_never(entry.option_shape)


def _build_metadata(app: SandboxApp) -> dict[str, Any]:
    return {
        "icon": "workflow",
        "description_key": None,
        "translation_key": None,
        "category": "general",
        "sort_order": 999,
        "total_cost": app.cost_credits,
    }


def _build_node_id(app: SandboxApp, entry: AppInput) -> str:
    return str(uuid5(NAMESPACE_URL, f"sandbox:{app.id}/{entry.key}"))
