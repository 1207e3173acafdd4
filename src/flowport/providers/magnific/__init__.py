"""Magnific: apps, inputs, outputs and uploads."""

from typing import TYPE_CHECKING, Final

from flowport.providers.interface import Provider
from flowport.providers.registry import ProviderPlugin, ProviderSettings
from flowport.settings.api_keys import parse_api_key
from flowport.settings.values import (
    FILE_ORIGINS_MEANING,
    WEBHOOK_SECRET_MEANING,
    Variable,
    parse_base_url,
    parse_choice,
    parse_origins,
    parse_webhook_secrets,
)

if TYPE_CHECKING:
    from flowport.providers.contract import DocumentedAnswers

STYLES: Final = ("flows", "apps")
"""The path families, the newer first; but for the run keys they are the same. Whether the older still answers is not
published."""


def _build(settings: ProviderSettings) -> Provider:
    from flowport.providers.magnific.api import Magnific  # noqa: PLC0415 - only a person who uses it pays for it

    style = settings.options.get("api_style", "auto")
    return Magnific(styles=STYLES if style == "auto" else (style,))


def _build_demo() -> Provider:
    from flowport.providers.magnific.api import Magnific  # noqa: PLC0415 - likewise

    return Magnific(title="The sandbox", styles=STYLES[:1])


def _load_documented() -> "DocumentedAnswers":
    from flowport.providers.magnific.contract import DOCUMENTED  # noqa: PLC0415 - for one command

    return DOCUMENTED


PLUGIN: Final = ProviderPlugin(
    name="magnific",
    title="Magnific",
    settings=(
        Variable(
            "MAGNIFIC_API_KEY",
            "The Magnific API key; it turns the provider on. Its documented limit is 50 requests a minute.",
            "none: without any key the sandbox runs",
            parse_api_key,
        ),
        Variable(
            "MAGNIFIC_BASE_URL",
            "Where Magnific's API is; https, or http on this machine.",
            "`https://api.magnific.com`",
            parse_base_url,
            "https://api.magnific.com",
        ),
        Variable("MAGNIFIC_FILE_ORIGINS", FILE_ORIGINS_MEANING, "none", parse_origins, frozenset()),
        Variable("MAGNIFIC_WEBHOOK_SECRET", WEBHOOK_SECRET_MEANING, "none", parse_webhook_secrets, ()),
        Variable(
            "MAGNIFIC_API_STYLE",
            "Which paths to use: `flows`, the older `apps`, or `auto` to find out once and remember.",
            "`auto`",
            parse_choice("auto", *STYLES),
            "auto",
        ),
    ),
    build=_build,
    load_documented=_load_documented,
    key_source="https://www.magnific.com/developers/dashboard",
    key_prefix="FPSX",
    order=1,
    build_demo=_build_demo,
)
