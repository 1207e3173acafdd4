"""Bring the tables of a database up to date: numbered files, each once, under a lock.

A file only adds. Replicas of the version before go on beside newer ones.
"""

import logging
from importlib import resources
from typing import Final

from procrastinate.schema import SchemaManager

from flowport.store.postgres.transaction import Connection

logger = logging.getLogger(__name__)

LOCK: Final = 0x466C6F77_0001
"""The number of the advisory lock under which one process migrates."""


async def migrate(connection: Connection) -> None:
    """Apply the files that were not applied yet, each in a transaction."""
    await connection.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
    try:
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        cursor = await connection.execute("SELECT name FROM migrations")
        applied = {row[0] for row in await cursor.fetchall()}
        for name, text in read_migrations():
            if name in applied:
                continue
            async with connection.transaction():
                await connection.execute(text)
                await connection.execute("INSERT INTO migrations (name) VALUES (%s)", (name,))
            logger.info("the database was migrated: %s", name)
    finally:
        await connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))


def read_migrations() -> list[tuple[str, str]]:
    """Return the names and statements of all migrations, in their order."""
    folder = resources.files("flowport.store.postgres") / "migrations"
    files = sorted((one for one in folder.iterdir() if one.name.endswith(".sql")), key=lambda one: one.name)
    ours = [(one.name, one.read_text(encoding="utf-8")) for one in files]
    return [*ours[:1], ("procrastinate 3.10", SchemaManager.get_schema()), *ours[1:]]
