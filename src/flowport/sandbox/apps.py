"""The apps that the sandbox offers.

Each app shows the tools something else that real ones do: options in three shapes, defaults, optional inputs, an
input type outside the documented set, several outputs, long runs, partial and total failure.
"""

from dataclasses import dataclass
from enum import StrEnum
from uuid import NAMESPACE_URL, uuid5

from flowport.sandbox import engine


class InputType(StrEnum):
    """The provider's word for what an input takes."""

    CREATION = "creation"
    TEXT = "text"
    NUMBER = "number"
    SELECT = "select"
    LIST = "list"
    """Several texts. Seen on the live service, absent from its documentation."""


class OptionShape(StrEnum):
    """How a select writes its options; the provider does not publish the shape, so clients must take all."""

    STRINGS = "strings"
    LABELLED = "labelled"
    CHOICES = "choices"
    NONE = "none"


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
    media_type: str = "image"
    """What a creation takes: `image`, `video` or `audio`."""

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
    recipe: engine.Recipe
    inputs: tuple[AppInput, ...]
    is_published: bool = True
    """Whether everybody's list has it."""
    is_own: bool = False
    """Whether the account's own list has it; a published app may be in both."""
    pending_seconds: float = 0.6
    running_seconds: float = 1.4
    """How long a run takes at speed 1, the work itself not counted."""

    def build_node_id(self, entry: AppInput) -> str:
        """Build the id of the node that an input belongs to; always the same."""
        return str(uuid5(NAMESPACE_URL, f"sandbox:{self.id}/{entry.key}"))

    def build_input_id(self, entry: AppInput) -> str:
        """Build the input's id, the older key of a run request: `input-{nodeId}-1`."""
        return f"input-{self.build_node_id(entry)}-1"


_PHOTO = AppInput("photo", InputType.CREATION, "Your photo")
_PROMPT = AppInput("prompt", InputType.TEXT, "Prompt", is_long=True)

APPS = (
    SandboxApp(
        "Ux7vQm2LpA",
        "Upscale Photo",
        5,
        engine.upscale,
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
        engine.sketch,
        (
            _PHOTO,
            AppInput("line_strength", InputType.NUMBER, "Line strength", is_required=False, default=1, bounds=(0, 5)),
        ),
    ),
    SandboxApp(
        "rP9wE4hZbo",
        "Retro Poster",
        4,
        engine.poster,
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
        engine.picture,
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
        engine.variations,
        (_PROMPT, AppInput("count", InputType.NUMBER, "How many", is_required=False, default=4, bounds=(1, 6))),
    ),
    SandboxApp("sC1mB8aXqe", "Slow Cinema Still", 12, engine.cinema, (_PROMPT,), running_seconds=44.4),
    SandboxApp("hF4jLz6YvS", "Product Shots, Half of Them", 6, engine.product, (_PHOTO,)),
    SandboxApp("cJ0tWi3GnM", "Clip and Jingle", 10, engine.clip, (AppInput("mood", InputType.TEXT, "Mood"),)),
    SandboxApp(
        "aF8oHb5ErK",
        "Always Fails",
        1,
        engine.breakdown,
        (AppInput("note", InputType.TEXT, "Note", is_required=False, default=""),),
        is_published=False,
        is_own=True,
    ),
    SandboxApp(
        "mS6uVy2DlP",
        "My Storyboard",
        7,
        engine.storyboard,
        (
            AppInput("premise", InputType.TEXT, "Premise", is_long=True),
            AppInput("scenes", InputType.LIST, "Scenes", is_required=False),
        ),
        is_published=False,
        is_own=True,
    ),
)
"""Every app, in the order of the lists."""
