"""Field types for strangers' JSON: a value of another type reads as absent, so that one odd extra costs no record."""

from typing import Annotated, Any, Final, TypeAlias, TypeGuard

from pydantic import BeforeValidator

MAX_NUMBER: Final = 1e9
"""No price, size or duration reaches it."""


def is_number(value: Any) -> TypeGuard[float]:
    """Tell whether this is a number that can be a price, a size or a duration."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_NUMBER


def _drop_unless(*types: type) -> BeforeValidator:
    return BeforeValidator(lambda value: value if isinstance(value, types) and not isinstance(value, bool) else None)


LenientText: TypeAlias = Annotated[str | None, _drop_unless(str)]
LenientNumber: TypeAlias = Annotated[float | None, BeforeValidator(lambda value: value if is_number(value) else None)]
LenientMapping: TypeAlias = Annotated[dict[str, Any] | None, _drop_unless(dict)]
LenientList: TypeAlias = Annotated[list[Any] | None, _drop_unless(list)]


def read_run_id(*values: object) -> str:
    """Return the first id that an answer names for its run, as text; empty when it names none.

    Anything that is there counts, also what is no id: it is not the id of the run that was asked for.
    """
    texts = (str(value).strip() for value in values if value is not None)
    return next(filter(None, texts), "")
