"""Magnific's `input-definition`s: what an app takes, read within bounds that no builder reaches by hand. Pure."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from flowport.domain.errors import AppUnsupported
from flowport.domain.models import Input, InputKind
from flowport.domain.text import clean_line
from flowport.providers.options import (
    MAX_TEXT_LENGTH,
    check_input_count,
    drop_long_default,
    find_options,
    parse_options,
)
from flowport.providers.parsing import LenientMapping, LenientText

MAX_ID_LENGTH: Final = 500

_INPUT_KINDS: Final = {
    "text": InputKind.TEXT,
    "number": InputKind.NUMBER,
    "select": InputKind.SELECT,
    # Outside the published enum; spelt so plainly that nothing else can be meant.
    "boolean": InputKind.BOOLEAN,
}
_MEDIA_KINDS: Final = {"image": InputKind.IMAGE, "video": InputKind.VIDEO, "audio": InputKind.AUDIO}


_Id = Annotated[str, Field(max_length=MAX_ID_LENGTH)]
_Key = Annotated[_Id | None, BeforeValidator(lambda value: value if isinstance(value, str) else None)]


class _InputDefinition(BaseModel):
    """`input-definition`. `api_key` is newer than `id`; `key` is deprecated and may be missing."""

    id: _Id
    api_key: _Key = None
    key: _Key = None
    type: LenientText = None
    label: LenientText = None
    config: LenientMapping = None
    # Its published members are `mode` and `type`; live clients read `placeholder` in it and `description` beside it.
    presentation: LenientMapping = None
    description: LenientText = None
    placeholder: LenientText = None
    default: Any = None
    # What is neither true nor false requires nothing; the provider will say if it minds.
    required: Any = None


def parse_inputs(app_id: str, items: Sequence[Any]) -> tuple[Input, ...]:
    """Return the inputs of an app in their order.

    Raises:
        AppUnsupported: One cannot be read, or they are more or longer than a tool can take.
    """
    check_input_count(app_id, len(items))
    return tuple(_parse_input(app_id, item) for item in items)


def _parse_input(app_id: str, item: Any) -> Input:
    try:
        definition = _InputDefinition.model_validate(item)
    except ValidationError as exc:
        raise AppUnsupported(clean_line(app_id), "one of its inputs cannot be read") from exc
    config = definition.config or {}
    kind = _parse_kind(definition.type or "", config)
    return Input(
        id=definition.id,
        # `id` is documented as still accepted where no `api_key` is given; `key` is documented nowhere as a run key.
        run_key=definition.api_key or definition.id,
        name=definition.key or "",
        kind=kind,
        label=(definition.label or "")[:MAX_TEXT_LENGTH],
        is_required=definition.required is True,
        default=drop_long_default(definition.default),
        # The shape of `config.options` is not published.
        options=parse_options(app_id, find_options(config)) if kind is InputKind.SELECT else (),
        is_list=definition.type == "list",
        description=_read_words(definition, "description"),
        placeholder=_read_words(definition, "placeholder"),
    )


def _read_words(definition: _InputDefinition, key: str) -> str:
    """Return the help text of an input, from any place of the definition."""
    holders = (definition.presentation, {key: getattr(definition, key)}, definition.config)
    found = (holder.get(key) for holder in holders if holder)
    return next((text[:MAX_TEXT_LENGTH] for text in found if isinstance(text, str) and text.strip()), "")


def _parse_kind(type_name: str, config: Mapping[str, Any]) -> InputKind:
    if type_name == "creation":
        # `config` names the kind of file for creations only: a text input has been seen with a mediaType too.
        return _MEDIA_KINDS.get(str(config.get("mediaType")), InputKind.MEDIA)
    return _INPUT_KINDS.get(type_name, InputKind.ANY)
