"""Judge the state of a team's database: returns lines. Pure."""

from collections.abc import Iterator
from typing import Any, Final

from flowport.cli.doctor.findings import Finding, Public, fault, ok, warn
from flowport.store.maintenance import DatabaseHealth

LEAST_VERSION: Final = 140_000
MAX_SKEW_SECONDS: Final = 5.0
"""Caps, waits and reminders are reckoned by the clocks of replicas; the request limit and the queue by the database's."""

CONNECTIONS_PER_PROCESS: Final = 12
"""The most of a replica: ten of its pool, and those for request limits and news."""

CONNECTIONS_PER_WORKER: Final = 5
"""What a worker has besides, for its queue."""

STUCK_SECONDS: Final = 30.0
_NAME: Final = "database"


def check_database(health: DatabaseHealth, database: str) -> Iterator[Finding]:
    """Yield whether a team can work on its database.

    Args:
        database: Its host and name, for the terminal.
    """
    if health.problem is not None:
        values = {"problem": Public(health.problem.problem), "remedy": Public(health.problem.remedy)}
        template = "{database} cannot be used: {problem} ({reason})." if health.reason else "{database}: {problem}."
        yield fault(_NAME, template, "{remedy}", database=database, reason=health.reason, **values)
        return
    version = Public(f"{health.version // 10_000}.{health.version % 10_000}")
    if health.version < LEAST_VERSION:
        yield fault(_NAME, "{database} runs on PostgreSQL {version}, which is too old.", "Use version 14 or newer.",
                    database=database, version=version)  # fmt: skip
    else:
        yield ok(_NAME, "{database} answers, on PostgreSQL {version}.", database=database, version=version)
    yield from _check_tables(health)
    yield from _check_surroundings(health)
    if health.runs is not None:
        yield from _check_team(health, health.runs)


def _check_tables(health: DatabaseHealth) -> Iterator[Finding]:
    """Yield whether the tables are there, up to date and ours to use."""
    name = "tables of the database"
    if health.is_read_only:
        yield fault(name, "The database can only be read.", "Use the address of the primary server.")
    if health.newer:
        template = "A newer Flowport has migrated them ({count} migrations). This version works on beside it."
        yield warn(name, template, "Upgrade this installation.", count=health.newer)
    if health.pending and not health.can_create:
        template = "{count} migrations are missing, and the user of the database may not create tables."
        fix = "GRANT CREATE on the schema to this user, or make it the owner of the database."
        yield fault(name, template, fix, count=health.pending)
    elif health.pending:
        yield warn(name, "{count} migrations are missing. The next start makes them.", count=health.pending)
    elif health.forbidden:
        template = "The user of the database may not read or write {count} of them."
        fix = "GRANT SELECT, INSERT, UPDATE, DELETE on all tables of the schema to this user."
        yield fault(name, template, fix, count=health.forbidden)
    elif not health.newer:
        yield ok(name, "They are up to date, and can be read and written.")


def _check_surroundings(health: DatabaseHealth) -> Iterator[Finding]:
    """Yield the clock, and whether the connections suffice."""
    seconds = round(abs(health.ahead_seconds), 1)
    if seconds > MAX_SKEW_SECONDS:
        way = Public("ahead of" if health.ahead_seconds > 0 else "behind")
        template = "This computer's clock is {seconds} s {way} that of the database."
        yield warn(
            "clock of the database", template, "Let both set their clocks from the network.", seconds=seconds, way=way
        )
    else:
        yield ok(
            "clock of the database", "It agrees with this computer's within {seconds} s.", seconds=MAX_SKEW_SECONDS
        )
    needed = max(1, health.processes) * CONNECTIONS_PER_PROCESS + health.workers * CONNECTIONS_PER_WORKER
    values: dict[str, Any] = {
        "needed": needed,
        "most": health.max_connections,
        "open": health.connections,
        "processes": health.processes,
    }
    if needed > health.max_connections:
        template = "{processes} processes may need {needed} connections, and the database allows {most}."
        yield warn("connections", template, "Raise max_connections, or run fewer processes.", **values)
    else:
        yield ok("connections", "{open} of {most} are open; {processes} processes may need {needed}.", **values)


def _check_team(health: DatabaseHealth, runs: int) -> Iterator[Finding]:
    """Yield the runs, the workers and the queue."""
    yield ok("record of runs", "It has {runs} runs, {live} of them not over.", runs=runs, live=health.live)
    if health.unknown:
        template = "Runs whose start has an unknown outcome, so they may have been charged: {count}."
        fix = "Look for them on the provider's website; `flowport runs` lists them."
        yield warn("record of runs", template, fix, count=health.unknown)
    values: dict[str, Any] = {"workers": health.workers, "processes": health.processes}
    if health.workers:
        yield ok("workers", "{workers} workers are alive, of {processes} processes.", **values)
    else:
        fix = "Start `flowport worker`, or a replica with --worker."
        yield warn("workers", "No worker is alive, so runs are accepted and not started.", fix, **values)
    if health.homes > 1:
        template = "Processes use {count} different folders, so uploads and results of one are missing at another."
        fix = "Give all processes the same FLOWPORT_HOME and FLOWPORT_OUTPUT_DIR, at the same paths."
        yield fault("folders of the team", template, fix, count=health.homes)
    elif not health.is_home_known:
        template = "The processes that run use other folders than the settings here name."
        fix = "Give this command their FLOWPORT_HOME and FLOWPORT_OUTPUT_DIR, at the same paths."
        yield warn("folders of the team", template, fix)
    elif health.homes:
        yield ok("folders of the team", "All processes use the same folders.")
    seconds = round(health.oldest_seconds)
    if health.waiting and health.oldest_seconds > STUCK_SECONDS:
        template = "{count} jobs are due, the oldest for {seconds} s."
        fix = "Start more workers, or look into the log of those that run."
        yield warn("queue", template, fix, count=health.waiting, seconds=seconds)
    else:
        yield ok("queue", "{count} jobs are due, none for longer than {seconds} s.", count=health.waiting,
                 seconds=round(STUCK_SECONDS))  # fmt: skip
