"""What a provider declares of itself, and the registry of all declarations.

An installed package adds a provider with an entry point in the group `flowport.providers` that names a `ProviderPlugin`.
The packages inside `flowport.providers` are found without an entry point too, so that a source tree works uninstalled.
A plug-in that cannot be used is logged and skipped: the other providers keep working.
"""

import hashlib
import logging
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import flowport.providers
from flowport.domain.errors import ConfigurationError
from flowport.domain.models import SANDBOX_HOST, Account
from flowport.domain.text import clean_line
from flowport.providers.interface import Provider
from flowport.settings.values import LOOPBACK_HOSTS, Variable

if TYPE_CHECKING:
    from flowport.providers.contract import DocumentedAnswers

logger = logging.getLogger(__name__)

GROUP: Final = "flowport.providers"
ATTRIBUTE: Final = "PLUGIN"
"""What the packages inside `flowport.providers` call their declaration."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """One provider that is turned on."""

    provider: str
    """In lower case."""
    base_url: str
    """Without a slash at the end."""
    api_key: str = field(repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The values of its other settings, by their names without the provider's prefix, in lower case."""

    @property
    def file_origins(self) -> frozenset[str]:
        """The origins on this machine or network whose files may be fetched."""
        origins: frozenset[str] = self.options.get("file_origins", frozenset())
        return origins

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """What signs its webhooks, each enough; empty when an unguessable address alone shows who sends them."""
        secrets: tuple[str, ...] = self.options.get("webhook_secret", ())
        return secrets

    @property
    def host(self) -> str:
        """The host of its API."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def is_loopback(self) -> bool:
        """Whether its API is on this machine."""
        return self.host in LOOPBACK_HOSTS

    @property
    def base_url_setting(self) -> str:
        """The variable that names the address; empty for the provider's own."""
        row = get_plugin(self.provider).find_row("base_url")
        return "" if row is None or row.usual == self.base_url else row.name

    @property
    def account(self) -> Account:
        """The account that its key opens."""
        return Account(self.provider, urlsplit(self.base_url).netloc, self.fingerprint)

    @property
    def fingerprint(self) -> str:
        """A digest of the key, short enough to show and long enough to distinguish keys."""
        return hashlib.sha256(self.api_key.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class ProviderPlugin:
    """What a provider declares. Cheap to import: `build` loads the rest when the provider is turned on."""

    name: str
    """In lower case; the names of its settings begin with it. The store writes it, so it never changes."""
    title: str
    """As people write it."""
    settings: tuple[Variable, ...]
    """Its rows of the settings table; `NAME_API_KEY` turns it on, and `NAME_BASE_URL` says where its API is."""
    build: Callable[[ProviderSettings], Provider]
    key_source: str = ""
    """Where a person gets a key, as the object of "from"."""
    key_prefix: str = ""
    """What its keys begin with and no other provider's do; empty when nothing is known of them."""
    tables: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    """Its arrays of tables in the configuration file: how each is parsed, by its name."""
    order: int = 100
    """Its place among the providers, smallest first; equal ones by their names."""
    build_demo: Callable[[], Provider] | None = None
    """Builds the provider for the built-in sandbox; None when the sandbox does not imitate it."""
    load_documented: "Callable[[], DocumentedAnswers] | None" = None
    """Returns what its answers are documented to be, for `flowport doctor --contract`."""

    @property
    def prefix(self) -> str:
        """What the names of its settings begin with."""
        return f"{self.name.upper()}_"

    def find_row(self, option: str) -> Variable | None:
        """Return the row of an option, None when it has no such setting."""
        return next((row for row in self.settings if row.name == f"{self.prefix}{option.upper()}"), None)

    def build_settings(self, values: Mapping[str, Any]) -> ProviderSettings | None:
        """Return the settings of the provider when it is turned on: it has a key, or needs none and has an address.

        Args:
            values: What was read of all settings and tables, by name.
        """
        names = (*(row.name for row in self.settings), *self.tables)
        options = {name.lower().removeprefix(self.prefix.lower()): values.get(name) for name in names}
        key, url = options.pop("api_key", None), options.pop("base_url", None)
        is_on = bool(key) if self.find_row("api_key") else bool(url)
        return ProviderSettings(self.name, url or "", key or "", options) if is_on else None


def get_demo_plugin() -> ProviderPlugin:
    """Return the provider that the built-in sandbox imitates."""
    return next(plugin for plugin in get_plugins() if plugin.build_demo)


def build_demo_account(plugin: ProviderPlugin) -> Account:
    """Return the account of the built-in sandbox: always the same, although port and key change."""
    return Account(plugin.name, SANDBOX_HOST, "builtin")


@cache
def get_plugins() -> tuple[ProviderPlugin, ...]:
    """Return every provider that can be used, in order. They are looked for once in a process."""
    found: dict[str, ProviderPlugin] = {}
    for point in _find_entry_points():
        try:
            plugin = point.load()
            _check(plugin, found)
        except Exception as exc:  # noqa: BLE001 - another's code may raise anything
            logger.warning(
                "the provider plug-in %s (%s) is skipped: %s: %s",
                *(clean_line(text) for text in (point.name, point.value, type(exc).__name__, str(exc))),
            )
        else:
            found[plugin.name] = plugin
    return tuple(sorted(found.values(), key=lambda plugin: (plugin.order, plugin.name)))


def get_plugin(name: str) -> ProviderPlugin:
    """Return the provider of this name.

    Raises:
        ConfigurationError: It does not exist.
    """
    plugin = next((plugin for plugin in get_plugins() if plugin.name == name), None)
    if plugin is None:
        raise ConfigurationError(name, "is not the name of an installed provider", "Install its plug-in.")
    return plugin


def get_key_advice() -> str:
    """Return what to do about having no key, as a clause."""
    with_key = [plugin for plugin in get_plugins() if plugin.key_source]
    return "store a key with `flowport auth`, or set " + " or ".join(
        f"{plugin.prefix}API_KEY (from {plugin.key_source})" for plugin in with_key
    )


def _find_entry_points() -> Iterator[EntryPoint]:
    """Yield the built-in providers first, so that no other package can replace one."""
    built_in = [module.name for module in pkgutil.iter_modules(flowport.providers.__path__) if module.ispkg]
    for name in built_in:
        yield EntryPoint(name, f"{GROUP}.{name}:{ATTRIBUTE}", GROUP)
    for point in entry_points(group=GROUP):
        if not point.value.startswith(f"{GROUP}."):
            yield point


def _check(plugin: Any, found: Mapping[str, ProviderPlugin]) -> None:
    """Refuse a declaration that would break the settings of others.

    Raises:
        ValueError: It cannot be used.
    """
    if not isinstance(plugin, ProviderPlugin):
        raise TypeError("it is not a ProviderPlugin")
    names = [*(row.name for row in plugin.settings), *(table.upper() for table in plugin.tables)]
    if not _NAME.fullmatch(plugin.name) or plugin.prefix == "FLOWPORT_":
        raise ValueError(f"{plugin.name!r} is not a usable name")
    if not all(name.startswith(plugin.prefix) for name in names):
        raise ValueError(f"its settings do not all begin with {plugin.prefix}")
    if any(
        other.prefix.startswith(plugin.prefix) or plugin.prefix.startswith(other.prefix) for other in found.values()
    ):
        raise ValueError(f"another provider has the settings that begin with {plugin.prefix}")
