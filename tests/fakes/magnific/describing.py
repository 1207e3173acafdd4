"""How an app is described in each form of the API: the demo's description, changed."""

from typing import Any

from flowport.sandbox import api
from flowport.sandbox.api import build_options, build_own_summary
from flowport.sandbox.apps import InputType, SandboxApp
from tests.fakes.magnific.dialect import PLAIN, Dialect, Family

__all__ = ["build_definition", "build_own_summary", "build_summary"]


def build_summary(app: SandboxApp, dialect: Dialect = PLAIN) -> dict[str, Any]:
    """Describe an app as the list of published ones does."""
    return _drop(api.build_summary(app), "tool_metadata", is_kept=dialect.has_tool_metadata)


def build_definition(app: SandboxApp, dialect: Dialect = PLAIN, family: Family = Family.FLOWS) -> dict[str, Any]:
    """Describe an app with its inputs; in the older family as get-app does."""
    found = _drop(api.build_definition(app), "tool_metadata", is_kept=dialect.has_tool_metadata)
    for entry, described in zip(app.inputs, found["inputs"], strict=True):
        _drop(described, "api_key", is_kept=dialect.shows_api_key(family))
        _drop(described, "key", is_kept=dialect.has_key)
        if entry.type is InputType.SELECT and dialect.option_shape:
            described["config"] = build_options(entry, dialect.option_shape)
        if entry.type is InputType.TEXT and family is Family.APPS:
            # The example of get-app has it so: a type must not be inferred from `config`.
            described["config"] = {"mediaType": "image"}
    return found


def _drop(members: dict[str, Any], name: str, *, is_kept: bool) -> dict[str, Any]:
    if not is_kept:
        del members[name]
    return members
