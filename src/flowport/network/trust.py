"""The one trust store: which authorities prove who a server is, for every connection alike."""

import logging
import os
import re
import ssl
import stat
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final

import httpx2

from flowport.domain.errors import ConfigurationError
from flowport.domain.text import clean_line

logger = logging.getLogger(__name__)

CERT_FILE: Final = "SSL_CERT_FILE"
CERT_DIR: Final = "SSL_CERT_DIR"

_HASHED: Final = re.compile(r"[0-9a-f]{8}\.\d+")
"""The name under which OpenSSL looks for a certificate in a folder."""
_MAX_FILES: Final = 1000
_REMEDY: Final = "Correct or remove it where Flowport's environment is set."


def get_ssl_context() -> ssl.SSLContext:
    """Return how servers are verified: by SSL_CERT_FILE and SSL_CERT_DIR where they are set, else by the system's authorities.

    Raises:
        ConfigurationError: A variable names no certificates.
    """
    return _build_context(os.environ.get(CERT_FILE, ""), os.environ.get(CERT_DIR, ""))


def get_trust_settings() -> str:
    """Return the variables that decide whom to trust, as a subject of a sentence; empty when the system does."""
    return " and ".join(name for name in (CERT_FILE, CERT_DIR) if os.environ.get(name))


def build_plain_context() -> ssl.SSLContext:
    """Return a context for a client that opens no secure connection: the library wants one all the same."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@lru_cache(maxsize=4)
def _build_context(cert_file: str, cert_dir: str) -> ssl.SSLContext:
    if not cert_file and not cert_dir:
        return httpx2.create_ssl_context(trust_env=False)
    # Not `create_default_context`, which is stricter from Python 3.13 on than many a company's authority.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if cert_file:
        _load_file(context, cert_file)
    if cert_dir:
        _load_folders(context, cert_dir)
    _log_keys(context)
    return context


def _load_file(context: ssl.SSLContext, name: str) -> None:
    try:
        if not stat.S_ISREG(Path(name).stat().st_mode):
            # A pipe would hold up everything.
            kind = "a folder" if Path(name).is_dir() else "not a file"
            hint = f"{CERT_DIR} is the variable for folders." if kind == "a folder" else _REMEDY
            raise ConfigurationError(CERT_FILE, f"names {_show(name)}, which is {kind}", hint)
        context.load_verify_locations(cafile=name)
    except ssl.SSLError as exc:
        problem = f"names {_show(name)}, which holds no certificate in PEM form"
        raise ConfigurationError(CERT_FILE, problem, _REMEDY) from exc
    except (OSError, ValueError) as exc:
        raise ConfigurationError(CERT_FILE, f"names {_show(name)}, which {_describe(exc)}", _REMEDY) from exc


def _load_folders(context: ssl.SSLContext, names: str) -> None:
    """Load each folder of a list; a folder without OpenSSL's hashed names is read file by file."""
    has_any = False
    problem = f"names {_show(names)}, which holds no certificate in PEM form"
    for name in filter(None, names.split(os.pathsep)):
        try:
            entries = sorted(os.listdir(name))  # noqa: PTH208 - names alone
        except (OSError, ValueError) as exc:
            problem = f"names {_show(name)}, which {_describe(exc)}"
            continue
        if any(map(_HASHED.fullmatch, entries)):
            context.load_verify_locations(capath=name)
            has_any = True
            continue
        for path in _find_files(Path(name), entries):
            try:
                context.load_verify_locations(cafile=path)
            except (OSError, ValueError):
                continue  # a key, a list of revocations, a text
            has_any = True
    if not has_any:
        raise ConfigurationError(CERT_DIR, problem, _REMEDY)


def _find_files(folder: Path, entries: list[str]) -> Iterator[Path]:
    for entry in entries[:_MAX_FILES]:
        path = folder / entry
        if path.is_file():
            yield path


def _show(name: str) -> str:
    return clean_line(name, limit=200)


def _describe(exc: OSError | ValueError) -> str:
    if isinstance(exc, FileNotFoundError):
        return "does not exist"
    reason = exc.strerror if isinstance(exc, OSError) else None
    return f"cannot be read ({reason or type(exc).__name__})"


def _log_keys(context: ssl.SSLContext) -> None:
    """Honour the variable that debuggers of connections set; a file that cannot be written is no reason to stop."""
    if name := os.environ.get("SSLKEYLOGFILE"):
        try:
            context.keylog_filename = name
        except OSError as exc:
            logger.warning("SSLKEYLOGFILE names a file that cannot be written (%s); it is ignored", exc.strerror)
