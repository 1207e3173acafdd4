"""The state of a team's database, as the doctor reads it: nothing is changed, created or locked, and no migration is made."""

import logging
import time
from typing import Any, Final

import psycopg
from psycopg.rows import TupleRow

from flowport.domain.models import RunState
from flowport.domain.text import clean_line
from flowport.store.maintenance import DatabaseHealth
from flowport.store.postgres.job_engine import QUEUES
from flowport.store.postgres.migrate import IS_FOREIGN, get_table_names, read_migrations
from flowport.store.postgres.problems import build_foreign_error, build_pooler_error, build_refusal
from flowport.store.postgres.reconcile import DEAD_SECONDS
from flowport.store.postgres.sessions import ASK_SESSION, ROUNDS, Session, are_shared

logger = logging.getLogger(__name__)

CONNECT_SECONDS: Final = 5

_NAME: Final = "flowport doctor"

_PATIENCE: Final = "SET statement_timeout = '5s'"
_SERVER: Final = """
    SELECT current_setting('server_version_num')::int,
        current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
        (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
        has_schema_privilege(current_schema(), 'CREATE'), to_regclass('migrations') IS NOT NULL,
        pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool,
        extract(epoch FROM clock_timestamp())::float8
"""
_RIGHTS: Final = """
    SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
        AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
            AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE'))
"""
_RUNS: Final = """
    SELECT count(*), count(*) FILTER (WHERE NOT state = ANY(%s)), count(*) FILTER (WHERE state = %s) FROM runs
"""
_HOMES: Final = """
    SELECT DISTINCT home_id FROM processes
    WHERE ended_at IS NULL AND beat_at > now() - make_interval(secs => %s) AND home_id <> ''
"""
_TEAM: Final = """
    SELECT (SELECT count(*) FROM processes WHERE ended_at IS NULL AND beat_at > now() - make_interval(secs => %(dead)s)),
        (SELECT count(*) FROM procrastinate_workers WHERE last_heartbeat > now() - make_interval(secs => %(dead)s)),
        count(*) FILTER (WHERE status = 'todo' AND coalesce(scheduled_at <= now(), true)),
        coalesce(extract(epoch FROM now()) - min((args ->> 'due_at')::float8)
            FILTER (WHERE status = 'todo' AND coalesce(scheduled_at <= now(), true)), 0)::float8
    FROM procrastinate_jobs WHERE queue_name = ANY(%(queues)s) AND status IN ('todo', 'doing')
"""


def inspect_database(url: str, home_id: str = "") -> DatabaseHealth:
    """Return the state of a database. Nothing is raised.

    Args:
        home_id: The folders that this computer's settings name; empty where no process has used them.
    """
    try:
        with psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=CONNECT_SECONDS,
            application_name=_NAME,
        ) as connection:
            connection.execute(_PATIENCE)
            if _is_pooled(connection, url):
                return DatabaseHealth(problem=build_pooler_error())
            return _inspect(connection, home_id)
    except psycopg.Error as exc:
        reason = clean_line(str(exc).strip().partition("\n")[0], limit=200)
        return DatabaseHealth(problem=build_refusal(exc), reason=reason)


def _is_pooled(connection: psycopg.Connection[TupleRow], url: str) -> bool:
    """Return whether a pooler certainly gives sessions to transactions; see `sessions`."""
    options: dict[str, Any] = {"autocommit": True, "connect_timeout": CONNECT_SECONDS, "application_name": _NAME}
    first, second = set[Session](), set[Session]()
    try:
        with psycopg.connect(url, **options) as other:
            other.execute(_PATIENCE)
            for _ in range(ROUNDS):
                first.update(connection.execute(ASK_SESSION))
                second.update(other.execute(ASK_SESSION))
                if are_shared(first, second):
                    return True
            with other.transaction():
                second.update(other.execute(ASK_SESSION))
                first.update(connection.execute(ASK_SESSION))
    except psycopg.OperationalError as exc:
        logger.debug("the sessions of connections were not compared: %s", type(exc).__name__)
    return are_shared(first, second)


def _inspect(connection: psycopg.Connection[TupleRow], home_id: str) -> DatabaseHealth:
    began = time.time()
    row = connection.execute(_SERVER).fetchone()
    ended = time.time()
    assert row is not None  # noqa: S101 - it has no condition
    version, max_connections, connections, can_create, has_tables, is_read_only, now = row
    health = DatabaseHealth(
        version=version,
        max_connections=max_connections,
        connections=connections,
        is_read_only=is_read_only,
        can_create=can_create,
        # By the middle of the exchange, as far as that is known.
        ahead_seconds=max(0.0, began - now) + min(0.0, ended - now),
    )
    foreign = connection.execute(IS_FOREIGN, (get_table_names(),)).fetchone()
    if foreign is not None and foreign[0]:
        return health.add(problem=build_foreign_error())
    known = {name for name, _ in read_migrations()}
    if not has_tables:
        return health.add(pending=len(known))
    applied = {str(one[0]) for one in connection.execute("SELECT name FROM migrations").fetchall()}
    health = health.add(pending=len(known - applied), newer=len(applied - known))
    if health.pending:
        return health
    forbidden = connection.execute(_RIGHTS).fetchone()
    health = health.add(forbidden=forbidden[0] if forbidden else 0)
    if health.forbidden:
        return health
    final = [state.value for state in RunState if state.is_final]
    runs = connection.execute(_RUNS, (final, RunState.UNKNOWN.value)).fetchone()
    team = connection.execute(_TEAM, {"queues": list(QUEUES), "dead": DEAD_SECONDS}).fetchone()
    homes = {row[0] for row in connection.execute(_HOMES, (DEAD_SECONDS,)).fetchall()}
    assert runs is not None  # noqa: S101 - both count
    assert team is not None  # noqa: S101
    return health.add(
        runs=runs[0],
        live=runs[1],
        unknown=runs[2],
        processes=team[0],
        workers=team[1],
        waiting=team[2],
        oldest_seconds=team[3],
        homes=len(homes),
        is_home_known=not homes or home_id in homes,
    )
