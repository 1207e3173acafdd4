"""Examples of settings that cannot be used."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx2
from example_records import Example, catch

from flowport.network.connections import find_proxy
from flowport.settings.settings import load_settings
from flowport.web.listen_address import parse_address

_ENVIRONMENTS: Final = (
    {"FLOWPORT_MAX_TOOL": "5"},
    {"FLOWPORT_MAX_TOOLS": "many"},
    {"FLOWPORT_WAIT_SECONDS": "-1"},
    {"FLOWPORT_PREVIEWS": "perhaps"},
    {"FLOWPORT_SOURCE": "mine"},
    {"FLOWPORT_HOME": "results"},
    {"FLOWPORT_OUTPUT_DIR": "~no-such-user/x"},
    {"FLOWPORT_DATABASE_URL": "mysql://db.example.com/flowport"},
    {"FLOWPORT_DATABASE_URL": "postgresql://x"},
    {"FLOWPORT_REQUESTS_PER_MINUTE": "0", "FLOWPORT_REQUESTS_PER_DAY": "5"},
    {"MAGNIFIC_API_KEY": "${MAGNIFIC_API_KEY}"},
    {"MAGNIFIC_API_KEY": "gx_0123456789"},
    {"MAGICA_API_KEY": "FPSX0123456789"},
    {"MAGNIFIC_API_KEY": "Bearer mk-0123456789"},
    {"MAGNIFIC_API_KEY": "<mk-0123456789>"},
    {"MAGNIFIC_API_KEY": "mk-0123...6789"},
    {"MAGNIFIC_API_KEY": "mk 0123456789"},
    {"MAGNIFIC_API_KEY": "/home/me/key.txt"},
    {"MAGNIFIC_API_KEY": "mk-${KEY}-0123456789"},
    {"MAGNIFIC_BASE_URL": "http://api.magnific.com"},
    {"MAGNIFIC_BASE_URL": "api.magnific.com"},
    {"MAGNIFIC_BASE_URL": "https://["},
    {"MAGICA_CANCEL_PATH": "cancel"},
    {"MAGNIFIC_FILE_ORIGINS": "10.0.0.5:8188"},
    {"FLOWPORT_TRUSTED_PROXIES": "proxy.example.com"},
    {"FLOWPORT_OAUTH_SCOPES": "flowport"},
    {"FLOWPORT_OAUTH_SCOPES": "'flowport\"'"},
    {"MAGNIFIC_WEBHOOK_SECRET": "secret"},
)
_FILES: Final = (
    "wait_seconds = 4",
    "FLOWPORT_WAIT_SECONDS = 4",
    "[server]\nport = 1",
    "flowport_apps = [1]",
    "flowport_wait_seconds 4",
    "flowport_home = /data",
    'flowport_home = "C:\\Users"',
    "magica_workflows = 5",
    '[[magica_workflows]]\nname = "x"',
    '[[magica_workflows]]\nid = "x"\n[[magica_workflows]]\nid = "x"',
    '[[magica_workflows]]\nid = "x"\ninputs = 5',
    '[[magica_workflows]]\nid = "x"\n[[magica_workflows.inputs]]\nnode = "n"',
    '[[magica_workflows]]\nid = "x"\n[[magica_workflows.inputs]]\nnode = "n"\nfield = "f"\ntype = "picture"',
    '[[magica_workflows]]\nid = "x"\nflowport_max_tools = 5',
)


_ADDRESSES: Final = ("8765x", "example.com:8765")
_PROXIES: Final = ("ftp://proxy.example:21", "http://", "http://proxy.example:99999")


def iterate_settings(folder: Path) -> Iterator[Example]:
    """Yield settings that cannot be used, from the environment, the command line and the file."""
    for environ in _ENVIRONMENTS:
        # Real keys are never shown; these are invented.
        given = ", ".join(f"{name}={text}" for name, text in environ.items())
        yield catch(given, lambda environ=environ: load_settings({}, {"FLOWPORT_HOME": "/h", **environ}))  # type: ignore[misc]
    path = folder / "config.toml"
    for content in _FILES:
        path.write_text(content, encoding="utf-8")
        given = f"config.toml: {content}".replace("\n", " ⏎ ")
        yield catch(given, lambda: load_settings({}, {}, config_path=path), folder)
    path.write_bytes("# café".encode("latin-1"))
    yield catch("config.toml in Latin-1", lambda: load_settings({}, {}, config_path=path), folder)
    for address in _ADDRESSES:
        yield catch(f"--http {address}", lambda address=address: parse_address(address))  # type: ignore[misc]
    for proxy in _PROXIES:
        environ = {"HTTPS_PROXY": proxy}
        work = lambda environ=environ: find_proxy(httpx2.URL("https://api.magnific.com"), environ)  # noqa: E731
        yield catch(f"HTTPS_PROXY={proxy}", work)
    yield catch("--config of a file that is not there", lambda: load_settings({}, {}, config_path=folder / "x"), folder)
