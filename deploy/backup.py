"""Write a backup of a running server's folder to standard output, as a tar archive: `python backup.py FOLDER > backup.tar.gz`.

Databases are copied with SQLite's own backup, which is consistent while Flowport writes. Lock files and parts of files are
left out. Restore it by unpacking it into an empty folder while Flowport does not run there. It needs Python alone.
"""

import contextlib
import io
import sqlite3
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

_DATABASE = ".sqlite3"
_LEFT_OUT = ("-wal", "-shm", "-journal", ".lock", ".part")


def list_entries(folder: Path) -> Iterator[Path]:
    """Yield every folder and file that belongs into a backup; a link is followed only inside the folder."""
    # Databases first: a result that is saved meanwhile is then only a file too many.
    for path in sorted(folder.rglob("*"), key=lambda one: (one.suffix != _DATABASE, one)):
        is_kept = path.is_dir() or (path.is_file() and not path.name.endswith(_LEFT_OUT))
        if is_kept and path.resolve().is_relative_to(folder):
            yield path


def copy_database(path: Path, target: Path) -> None:
    """Copy a database that another process may be writing to."""
    with (
        contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as source,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        source.backup(copy)


def main(folder: Path) -> None:
    """Write the archive."""
    folder = folder.resolve()
    with (
        tarfile.open(fileobj=sys.stdout.buffer, mode="w|gz") as archive,
        tempfile.TemporaryDirectory() as spare,
    ):
        # Folders too, for their modes: other users must not read the record after it is restored.
        for path in list_entries(folder):
            name = str(path.relative_to(folder))
            if path.suffix == _DATABASE:
                copy = Path(spare) / path.name
                copy_database(path, copy)
                info = archive.gettarinfo(str(path), name)
                content = copy.read_bytes()
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                # Removed since it was listed, such as a result that was erased.
                with contextlib.suppress(FileNotFoundError):
                    archive.add(path, name, recursive=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
