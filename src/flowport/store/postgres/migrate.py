"""Bring the tables of a database up to date: numbered files, each once, under a lock.

A file only adds. Replicas of the version before go on beside newer ones.
"""

import logging
import re
from importlib import resources
from typing import Final

from procrastinate.schema import SchemaManager

from flowport.store.postgres.problems import build_encoding_error, build_foreign_error
from flowport.store.postgres.transaction import Connection

logger = logging.getLogger(__name__)
# An administrator reads in the log of a server when the tables were changed.
logger.setLevel(logging.INFO)

LOCK: Final = 0x466C6F77_0001
"""The number of the advisory lock under which one process migrates."""

IS_FOREIGN: Final = """
SELECT CASE WHEN to_regclass('migrations') IS NULL
    THEN EXISTS (SELECT FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relname = ANY(%s))
    ELSE (SELECT array_agg(attname::text ORDER BY attname) FROM pg_attribute
        WHERE attrelid = to_regclass('migrations') AND attnum > 0 AND NOT attisdropped) <> '{applied_at,name}' END
"""
"""Whether another program has tables under our names, by all of these: its rows must never be ours, nor ours its."""


async def migrate(connection: Connection) -> None:
    """Apply the files that were not applied yet, each in a transaction.

    Raises:
        StoreError: Another program has tables of these names, or the database keeps some characters only.
    """
    encoding = await (await connection.execute("SHOW server_encoding")).fetchone()
    if encoding is not None and encoding[0] not in {"UTF8", "SQL_ASCII"}:
        raise build_encoding_error()
    await connection.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
    try:
        cursor = await connection.execute(IS_FOREIGN, (get_table_names(),))
        if (await cursor.fetchone() or (False,))[0]:
            raise build_foreign_error()
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


def get_table_names() -> list[str]:
    """Return the names of all tables of ours."""
    texts = (text for _, text in read_migrations())
    return [name for text in texts for name in re.findall(r"(?m)^CREATE TABLE (\w+)", text)]
