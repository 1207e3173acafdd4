"""Load settings from a test's own environment."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from flowport.domain.errors import ConfigurationError
from flowport.settings.settings import Settings, load_settings

KEY = "mk-0123456789abcdef"


def load(
    environ: Mapping[str, str] | None = None, flags: Mapping[str, str] | None = None, *, config: Path | None = None
) -> Settings:
    """Load settings from these variables instead of the process's environment."""
    return load_settings(flags or {}, environ or {}, config_path=config)


def refuse(environ: Mapping[str, str], *, config: Path | None = None) -> ConfigurationError:
    """Return the error that this configuration raises."""
    with pytest.raises(ConfigurationError) as caught:
        load(environ, config=config)
    return caught.value
