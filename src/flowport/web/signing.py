"""Sign addresses that need no other proof: links to results, upload pages, webhook paths.

The secrets are lines of one file in FLOWPORT_HOME that only its owner may read. The first line signs, every line verifies, so
a new secret can be put on top before the old one is removed.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final

from flowport.domain.errors import ConfigurationError
from flowport.runtime.file_systems import move_to_free_name

SECRETS_NAME: Final = "web-secrets"
_SIGNATURE_LENGTH: Final = 32
"""Characters of a signature: 128 bits as hexadecimal digits."""


class Purpose(StrEnum):
    """What a signature is for; one for another purpose never fits."""

    OUTPUT = "output"
    UPLOAD = "upload"
    WEBHOOK = "webhook"
    SESSION = "session"
    SIGN_IN = "sign-in"
    QUESTION = "question"


class Signer:
    """Signs texts for a purpose, and verifies signatures."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Use keys of at least 16 bytes; the first one signs."""
        self._keys = tuple(keys)

    def sign(self, purpose: Purpose, text: str) -> str:
        """Return the signature of a text, as lower-case hexadecimal digits."""
        return _sign(self._keys[0], purpose, text)

    def is_valid(self, purpose: Purpose, text: str, signature: str) -> bool:
        """Return whether one of the keys made the signature, in constant time for each key."""
        given = signature.encode(errors="replace")
        return any(hmac.compare_digest(_sign(key, purpose, text).encode(), given) for key in self._keys)

    def derive_keys(self, purpose: Purpose) -> list[bytes]:
        """Return a key for a purpose from each secret, for what signs or encrypts by itself."""
        return [hmac.new(key, f"key for {purpose}".encode(), hashlib.sha256).digest() for key in self._keys]


def _sign(key: bytes, purpose: Purpose, text: str) -> str:
    return hmac.new(key, f"{purpose}\n{text}".encode(errors="surrogatepass"), hashlib.sha256).hexdigest()[
        :_SIGNATURE_LENGTH
    ]


def _make_secret(path: Path) -> None:
    """Make the file with its first secret; of replicas that start at the same time one makes it, and none reads half of it."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with open(part, "x", encoding="ascii", opener=partial(os.open, mode=0o600)) as file:
            file.write(secrets.token_hex(32) + "\n")
        with suppress(FileExistsError):
            move_to_free_name(part, path)
    finally:
        part.unlink(missing_ok=True)


def load_signer(home: Path) -> Signer:
    """Return the signer of a home, whose secret is made at the first use.

    Raises:
        ConfigurationError: The file cannot be read or written, or holds no secret.
    """
    path = home / SECRETS_NAME
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _make_secret(path)
        keys = [line.encode() for line in path.read_text(encoding="ascii").split()]
    except (OSError, ValueError) as exc:
        problem = f"holds a file {SECRETS_NAME} that cannot be used ({type(exc).__name__})"
        raise ConfigurationError("FLOWPORT_HOME", problem, "Make the folder writable, or delete that file.") from exc
    if not keys or min(map(len, keys)) < _SIGNATURE_LENGTH:
        problem = f"holds a file {SECRETS_NAME} without a secret of 32 characters"
        raise ConfigurationError("FLOWPORT_HOME", problem, "Delete that file; a new one is made at the next start.")
    return Signer(keys)
