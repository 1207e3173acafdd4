"""The processes of a team and which of them live, by heartbeats in the database and its clock.

A process that is paused beats no longer and counts as dead; it is alive again when it beats again. After an outage of the
database every beat is old, so a process only judges others when its own beats were regular for as long as a beat lasts.
"""

import logging
import secrets
from typing import Final, NoReturn

import anyio
import psycopg

from flowport.domain.errors import StoreError
from flowport.store.postgres.database import Database
from flowport.store.postgres.reconcile import DEAD_SECONDS, Punctuality
from flowport.store.postgres.transaction import Transaction

logger = logging.getLogger(__name__)

BEAT_SECONDS: Final = 2.0
"""Between two beats."""

FORGET_SECONDS: Final = 3600.0
"""After how long the row of a process that has ended, or died, is removed."""

DIVIDED: Final = (
    "another process of the team has another FLOWPORT_HOME or FLOWPORT_OUTPUT_DIR: uploads and results of one are missing "
    "at the other. Give all processes the same folders, at the same paths."
)

RELEASE_SECONDS: Final = 2
"""How long the end of a process may take to say so."""

_BEAT: Final = """
WITH beat AS (
    INSERT INTO processes (id, kind, version, home_id) VALUES (%(id)s, %(kind)s, %(version)s, %(home_id)s)
    ON CONFLICT (id) DO UPDATE SET beat_at = now(), ended_at = NULL
), forgotten AS (
    DELETE FROM processes WHERE beat_at < now() - make_interval(secs => %(forget_seconds)s) AND id <> %(id)s
)
SELECT id, extract(epoch FROM beat_at)::float8, extract(epoch FROM now() - beat_at)::float8, ended_at IS NOT NULL,
    home_id NOT IN ('', %(home_id)s)
FROM processes WHERE beat_at >= now() - make_interval(secs => %(forget_seconds)s)
"""


class PostgresWorkers:
    """This process among those of its team. See `cluster.LivingWorkers`."""

    def __init__(
        self,
        database: Database,
        *,
        kind: str,
        version: str,
        home_id: str = "",
        beat_seconds: float = BEAT_SECONDS,
        dead_seconds: float = DEAD_SECONDS,
    ) -> None:
        """Prepare; the process is registered with its first beat.

        Args:
            kind: What the process does, such as "replica".
            version: Of Flowport.
            home_id: The folders that this process uses.
            dead_seconds: How old the beat of a dead process is.
        """
        self.process_id = secrets.token_hex(8)
        self._database = database
        self._kind = kind
        self._version = version
        self._home_id = home_id
        self.is_divided = False
        """Whether a living process uses other folders than this one."""
        self._beat_seconds = beat_seconds
        self._dead_seconds = dead_seconds
        # A beat may come late by the wait for the database, and none may be missing.
        self._punctuality = Punctuality(dead_seconds, dead_seconds / 2)
        self._begun = 0
        """How many looks at the others were begun."""
        self._seen = 0
        """The number of the last look that succeeded; 0 before the first."""
        self._alive: frozenset[str] = frozenset()
        self._dead: dict[str, float] = {}
        """The dead that did not release, with the instant of their last beat."""
        self._ended: frozenset[str] = frozenset()
        self._asked: dict[str, int] = {}
        """For ids that no look has found: how many looks were begun when they were asked for."""
        self._is_released = False

    def is_alive(self, process_id: str) -> bool:
        """Return whether a process is alive; an id that was not seen yet is, until a later look does not find it."""
        if process_id == self.process_id:
            return True
        if not process_id or process_id in self._dead or process_id in self._ended:
            return False
        if process_id in self._alive:
            return True
        return self._seen <= self._asked.setdefault(process_id, self._begun)

    def has_died(self, process_id: str) -> bool:
        """Return whether a process ended without releasing."""
        return process_id in self._dead

    async def beat(self) -> None:
        """Show that this process lives, and look which others do.

        Raises:
            StoreError: The database cannot be reached.
        """
        if self._is_released:
            return
        self._begun += 1
        number = self._begun
        values = {
            "id": self.process_id,
            "kind": self._kind,
            "version": self._version,
            "home_id": self._home_id,
            "forget_seconds": FORGET_SECONDS,
        }

        async def look(transaction: Transaction) -> list[tuple[str, float, float, bool, bool]]:
            return await (await transaction.execute(_BEAT, values)).fetchall()

        # However much there is to write: a process that is only busy is not to count as dead.
        rows = await self._database.look_up(look, is_urgent=True)
        self._punctuality.note()
        is_proven = self._punctuality.is_proven
        dead = {
            process_id: beat_at
            for process_id, beat_at, age_seconds, has_ended, _ in rows
            if not has_ended
            and process_id != self.process_id
            and age_seconds > self._dead_seconds
            and (is_proven or self._dead.get(process_id) == beat_at)
        }
        for process_id in dead.keys() - self._dead.keys():
            logger.info("the process %s has not been seen for %g s, and counts as dead", process_id, self._dead_seconds)
        self._dead = dead
        self._ended = frozenset(row[0] for row in rows if row[3])
        self._alive = frozenset(row[0] for row in rows if not row[3] and row[0] not in dead)
        self._note_homes(any(row[4] and row[0] in self._alive for row in rows))
        self._asked = {one: begun for one, begun in self._asked.items() if one not in self._alive}
        self._seen = number

    def _note_homes(self, is_divided: bool) -> None:  # noqa: FBT001 - what was just found
        if is_divided and not self.is_divided and self._home_id:
            logger.warning(DIVIDED)
        self.is_divided = is_divided and bool(self._home_id)

    async def keep_beating(self) -> NoReturn:
        """Show that this process lives, and look which others do."""
        problem = ""
        while True:
            try:
                await self.beat()
                problem = ""
            except StoreError as exc:
                if problem != (problem := str(exc)):
                    logger.warning("this process cannot show the others that it lives: %s", exc)
            await anyio.sleep(self._beat_seconds)

    def release(self) -> None:
        """Have this process count as ended; a second call does nothing."""
        if self._is_released:
            return
        self._is_released = True
        if not self._begun:
            return
        try:
            with psycopg.connect(self._database.url, autocommit=True, connect_timeout=RELEASE_SECONDS) as connection:
                connection.execute("UPDATE processes SET ended_at = now() WHERE id = %s", (self.process_id,))
        except psycopg.Error as exc:
            # The others find out when its beats are old.
            logger.info("the end of this process was not recorded (%s)", type(exc).__name__)
