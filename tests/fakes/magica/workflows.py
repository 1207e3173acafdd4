"""The apps as workflows: a request node with fields, processing nodes, a response node.

The account's own apps are its workflows, with an id; the other published ones are system workflows, with a slug.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, assert_never

from flowport.sandbox.apps import APPS, AppInput, InputType, SandboxApp
from tests.fakes.magnific.generated import draw_anything

_ID_LETTERS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_ID_LENGTH: Final = 23
_FIRST_NODE_MILLISECONDS: Final = 1_777_671_164_161
_GAP_MILLISECONDS: Final = 40
_FIRST_NAMES: Final = {app.id: app.name for app in APPS}
REQUEST: Final = "request"
RESPONSE: Final = "response"

PROCESSING: Final = {
    "upscale": ("image_upscaler",),
    "sketch": ("pencil_sketch",),
    "poster": ("retro_poster",),
    "picture": ("text_to_image",),
    "variations": ("text_to_image",),
    "cinema": ("text_to_image",),
    "product": ("product_shot", "relight"),
    "clip": ("image_to_video", "music"),
    "breakdown": ("image_upscaler",),
    "storyboard": ("gpt_5", "storyboard"),
    draw_anything: ("text_to_image",),
}
"""The types of a workflow's processing nodes: those that its files and its failures name, and one that writes."""

WRITER: Final = "gpt_5"
"""The node type whose output is a text."""


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a workflow."""

    id: str
    type: str


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a request node."""

    id: str
    name: str
    type: str
    default: Any
    """None: nothing is saved."""
    entry: AppInput | None
    """The app's own input; None for a field that is only there for its type."""
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class Workflow:
    """One app as Magica has it."""

    app: SandboxApp
    id: str
    """What a run names it by: an id, or the slug of a system workflow."""
    is_system: bool
    nodes: tuple[Node, ...]
    """The request node first, the response node last."""
    fields: tuple[Field, ...]

    @property
    def request(self) -> Node:
        """The node whose fields a run fills in."""
        return self.nodes[0]

    @property
    def processing(self) -> tuple[Node, ...]:
        """The nodes that cost something."""
        return self.nodes[1:-1]


_EVERY_TYPE: Final = (
    Field("extra_text", "Caption", "text", "a caption", None),
    Field("extra_number", "Amount", "number", 2, None),
    Field("extra_boolean", "Draft only", "boolean", default=False, entry=None),
    Field("extra_select", "Mood", "select", "calm", None),
    Field("extra_image", "Second picture", "image", None, None),
    Field("extra_images", "More pictures", "image", [], None),
    Field("extra_video", "Film", "video", None, None),
    Field("extra_audio", "Sound", "audio", None, None),
    Field("extra_avmedia", "Film or sound", "avmedia", None, None),
    Field("extra_media", "Anything seen or heard", "media", None, None),
    Field("extra_file", "Paper", "file", None, None),
    Field("extra_any", "Whatever", "any", None, None),
)
"""A field of every type that is documented or was inferred. No recipe reads them."""

EXTRA_OPTIONS: Final = (("calm", "Calm"), ("wild", "Wild & loud"))
"""Value and label of each choice of the extra select."""


def build_workflow(app: SandboxApp, *, has_all_types: bool = False) -> Workflow:
    """Describe an app as a workflow; always with the same ids."""
    types = (REQUEST, *PROCESSING[app.recipe], RESPONSE)
    first = _FIRST_NODE_MILLISECONDS + int(_hash(app.id, "node"), 16) % 1_000_000_000
    nodes = tuple(Node(f"node_{first + number * _GAP_MILLISECONDS}_{kind}", kind) for number, kind in enumerate(types))
    fields = tuple(_build_field(entry) for entry in app.inputs)
    extra = _EVERY_TYPE if has_all_types else ()
    return Workflow(app, build_name(app), not app.is_own, nodes, (*fields, *extra))


def find_workflow(apps: Iterable[SandboxApp], name: str, *, has_all_types: bool = False) -> Workflow | None:
    """Return the workflow with this id or slug, or None."""
    found = next((app for app in apps if build_name(app) == name), None)
    return None if found is None else build_workflow(found, has_all_types=has_all_types)


def build_name(app: SandboxApp) -> str:
    """Build the id of the account's own workflow, or the slug of a system one."""
    return _build_id(app.id) if app.is_own else _build_slug(app.id)


def _build_field(entry: AppInput) -> Field:
    return Field(entry.key, entry.label, _get_type(entry), entry.default, entry, entry.is_required)


def _get_type(entry: AppInput) -> str:
    match entry.type:
        case InputType.CREATION:
            return entry.media_type
        case InputType.LIST:
            # The documentation has no type for several texts.
            return "any"
        case InputType.TEXT | InputType.NUMBER | InputType.SELECT:
            return str(entry.type)
        case _:
            assert_never(entry.type)


@cache
def _build_id(app_id: str) -> str:
    """Build an id that looks like those that were seen: `cm`, then letters and digits."""
    number, letters = int(_hash(app_id, "workflow"), 16), []
    for _ in range(_ID_LENGTH):
        number, digit = divmod(number, len(_ID_LETTERS))
        letters.append(_ID_LETTERS[digit])
    return "cm" + "".join(letters)


@cache
def _build_slug(app_id: str) -> str:
    # From the name at first: a workflow that is renamed keeps its slug, and others give one name twice.
    words = re.sub(r"[^a-z0-9]+", "-", _FIRST_NAMES.get(app_id, "").lower()).strip("-")
    return words or f"workflow-{app_id.lower()}"


def _hash(app_id: str, purpose: str) -> str:
    return hashlib.sha256(f"magica {purpose}: {app_id}".encode()).hexdigest()
