"""Know whether processes of a team use the same folders: files of one are missing at another that has its own.

The home has a file with a random text. A process shows the others a digest of it and of the paths of its folders, since
the record holds the paths of files.
"""

import hashlib
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from flowport.domain.errors import StoreError
from flowport.runtime.file_systems import move_to_free_name

HOME_ID_NAME: Final = "home-id"


def load_home_id(home: Path, output_dir: Path) -> str:
    """Return what the folders of a process are known by; the file is made at the first use.

    Raises:
        StoreError: It cannot be written.
    """
    if found := find_home_id(home, output_dir):
        return found
    path = home / HOME_ID_NAME
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        part.write_text(secrets.token_hex(16) + "\n", encoding="ascii")
        # Of processes that start at the same time one makes it.
        with suppress(FileExistsError):
            move_to_free_name(part, path)
    except OSError as exc:
        reason = f"the file {path} cannot be written ({exc.strerror or type(exc).__name__})"
        raise StoreError(reason, "Set FLOWPORT_HOME to a folder that you may write to.") from exc
    finally:
        part.unlink(missing_ok=True)
    return find_home_id(home, output_dir)


def find_home_id(home: Path, output_dir: Path) -> str:
    """Return what the folders of a process are known by; empty, and nothing is made, where no process has used them."""
    try:
        text = (home / HOME_ID_NAME).read_bytes()
    except OSError:
        return ""
    parts = (text.strip(), str(home.absolute()).encode(), str(output_dir.absolute()).encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:32] if text.strip() else ""
