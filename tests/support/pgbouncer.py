"""A real PgBouncer in front of a PostgreSQL of a test, reached by a socket."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg
import pytest

from tests.support.postgres import PostgresServer, get_user

PATH: Final = "/usr/bin:/usr/sbin:/usr/local/sbin"
CONFIGURATION: Final = """
[databases]
* = host={server} user=flowport
[pgbouncer]
unix_socket_dir = {folder}
listen_addr =
listen_port = 5432
auth_type = any
pool_mode = {pool_mode}
{more}
"""


@contextmanager
def open_pgbouncer(server: PostgresServer, url: str, pool_mode: str, *more: str) -> Iterator[str]:
    """Run a pooler, and give the address of a database behind it; the test is skipped where it is not installed.

    Args:
        url: The address of the database itself.
        more: Further lines of its configuration.
    """
    program = shutil.which("pgbouncer", path=PATH)
    if program is None:
        pytest.skip("PgBouncer is not installed: `apt-get install pgbouncer` provides it")
    with tempfile.TemporaryDirectory(prefix="flowport-pool-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        file, log, user = folder / "pgbouncer.ini", folder / "log.txt", get_user()
        file.write_text(
            CONFIGURATION.format(server=server.folder, folder=folder, pool_mode=pool_mode, more="\n".join(more))
        )
        if user is not None:
            shutil.chown(folder, user)
        with log.open("wb") as output, subprocess.Popen([program, file], stdout=output, stderr=output, user=user) as it:
            try:
                pooled = url.replace(str(server.folder), name)
                while True:
                    assert it.poll() is None, log.read_text()
                    try:
                        psycopg.connect(pooled).close()
                    except psycopg.OperationalError:
                        continue
                    break
                yield pooled
            finally:
                it.kill()
