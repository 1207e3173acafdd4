"""Magica: workflows, inputs, outputs, prices and bulk status."""

import re
from typing import TYPE_CHECKING, Any, Final

from flowport.domain.errors import ConfigurationError
from flowport.providers.interface import Provider
from flowport.providers.registry import ProviderPlugin, ProviderSettings
from flowport.settings.api_keys import parse_api_key
from flowport.settings.values import (
    FILE_ORIGINS_MEANING,
    WEBHOOK_SECRET_MEANING,
    Variable,
    parse_base_url,
    parse_origins,
    parse_webhook_secrets,
)

if TYPE_CHECKING:
    from flowport.providers.contract import DocumentedAnswers

_CANCEL_PATH: Final = re.compile(r"(/[A-Za-z0-9_-]+)*/\{run_id\}(/[A-Za-z0-9_-]+)*")


def _build(settings: ProviderSettings) -> Provider:
    from flowport.providers.magica.api import Magica  # noqa: PLC0415 - only a person who uses it pays for it

    options = settings.options
    return Magica(cancel_path=options.get("cancel_path") or "", declared=options.get("workflows") or ())


def _parse_cancel_path(variable: Variable, text: str) -> str:
    path = text.strip()
    if path and not _CANCEL_PATH.fullmatch(path):
        raise ConfigurationError(variable.name, f"is {path!r}", "It looks like /v1/runs/{run_id}/cancel.")
    return path


def _parse_workflows(found: Any) -> Any:
    from flowport.providers.magica.declared import parse_declarations  # noqa: PLC0415 - likewise

    return parse_declarations(found)


def _load_documented() -> "DocumentedAnswers":
    from flowport.providers.magica.contract import DOCUMENTED  # noqa: PLC0415 - for one command

    return DOCUMENTED


PLUGIN: Final = ProviderPlugin(
    name="magica",
    title="Magica",
    settings=(
        Variable(
            "MAGICA_API_KEY",
            "The Magica API key; it turns the provider on. Its documented limits are 60 requests a minute and 1,000 a day.",
            "none",
            parse_api_key,
        ),
        Variable(
            "MAGICA_BASE_URL",
            "Where Magica's API is; https, or http on this machine.",
            "`https://api.magica.com/api`",
            parse_base_url,
            "https://api.magica.com/api",
        ),
        Variable("MAGICA_FILE_ORIGINS", FILE_ORIGINS_MEANING, "none", parse_origins, frozenset()),
        Variable("MAGICA_WEBHOOK_SECRET", WEBHOOK_SECRET_MEANING, "none", parse_webhook_secrets, ()),
        Variable(
            "MAGICA_CANCEL_PATH",
            "The path of its API that cancels a run, with `{run_id}` in it; none is documented.",
            "none: its MCP server cancels",
            _parse_cancel_path,
            "",
        ),
    ),
    build=_build,
    load_documented=_load_documented,
    key_source="the API keys page of your account at https://magica.com",
    key_prefix="gx_",
    tables={"magica_workflows": _parse_workflows},
    order=2,
)
