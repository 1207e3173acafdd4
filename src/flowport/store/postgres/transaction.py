"""Transactions: statements, those of them that travel together, and the news of what they change."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeVar

import psycopg
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow
from psycopg.types.string import StrDumperUnknown

NEWS_CHANNEL: Final = "flowport_news"
"""Where transactions report what they changed, see `store.postgres.news`."""

MAX_NEWS_BYTES: Final = 7_900
"""Of one notification; PostgreSQL takes fewer than 8,000."""

# The last transaction of each connection of a process; see `database`.
MARK: Final = (
    "INSERT INTO commits (slot, number) VALUES (%s, %s) "
    "ON CONFLICT (slot) DO UPDATE SET number = excluded.number, changed_at = excluded.changed_at"
)
ASK_MARK: Final = (
    "INSERT INTO commits (slot, number) VALUES (%s, 0) ON CONFLICT (slot) DO UPDATE SET number = commits.number "
    "RETURNING number"
)
"""An insertion waits for a row that is being added, and a query does not find it."""
FORGET_MARKS: Final = "DELETE FROM commits WHERE changed_at < now() - interval '1 day'"

_IDLE_SECONDS: Final = 4
"""How long a transaction may wait for its next statement before the database ends it."""

ON_CONNECTING: Final = f"""
SELECT set_config('idle_in_transaction_session_timeout', '{_IDLE_SECONDS}s', false),
    set_config('plan_cache_mode', 'force_generic_plan', false),
    set_config('default_transaction_isolation', 'read committed', false),
    set_config('extra_float_digits', '1', false),
    set_config('synchronous_commit', CASE setting WHEN 'off' THEN 'local' ELSE setting END, false)
FROM (SELECT current_setting('synchronous_commit') AS setting) AS present
"""  # noqa: S608 - our own number
"""A process that was paused must not keep its locks; what was committed is on disk, whatever the server's default; and a
statement that comes often is planned once: the indexes are made so that no value needs a plan of its own. Who has waited for a
lock sees what was committed meanwhile, and instants come back as they were written, whatever the administrator has set."""

_OPTIONS: Final = {
    "connect_timeout": 5,
    "tcp_user_timeout": 6_000,
    "keepalives_idle": 3,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "client_encoding": "UTF8",
}
"""What an address does not say otherwise. A machine that is gone, or a router that has forgotten a connection, answers nothing
at all; by itself the system would go on for a quarter of an hour."""

T = TypeVar("T")
Connection: TypeAlias = psycopg.AsyncConnection[TupleRow]
Values: TypeAlias = Sequence[Any] | Mapping[str, Any]


def clean_text(text: str) -> str:
    """Return a text as the database keeps it: half of a surrogate pair and a zero character are replaced."""
    return _encode(text).decode()


def _encode(text: str) -> bytes:
    return text.replace("\0", "\ufffd").encode(errors="replace")


class _CleanText(StrDumperUnknown):
    """Any text is taken, and nothing is lost over what the database does not keep."""

    def dump(self, obj: str) -> bytes:
        return _encode(obj)


ADAPTERS: Final = AdaptersMap(psycopg.adapters)
ADAPTERS.register_dumper(str, _CleanText)
"""How values become parameters, and back."""


def build_options(url: str) -> dict[str, Any]:
    """Return the options with which a lost connection is noticed within seconds; those of the address itself count first."""
    given = conninfo_to_dict(url)
    return {name: value for name, value in _OPTIONS.items() if name not in given}


class Sent:
    """A statement that was sent."""

    def __init__(self, statement: str, values: Values) -> None:
        self.statement = statement
        self.values = values
        self.cursor: psycopg.AsyncCursor[TupleRow] | None = None
        """With its rows; None until the next statement is executed."""


class Transaction:
    """A transaction that writes, or what is read in one."""

    def __init__(self, connection: Connection, origin: str = "") -> None:
        self.connection = connection
        """For what only a connection can do; `flush` comes before its use."""
        self._queued: list[Sent] = []
        self._origin = origin
        self._news: list[str] = []

    def send(self, statement: str, values: Values = ()) -> Sent:
        """Have a statement executed before the next one that is executed, in the same round trip."""
        sent = Sent(statement, values)
        self._queued.append(sent)
        return sent

    async def execute(self, statement: str, values: Values = ()) -> psycopg.AsyncCursor[TupleRow]:
        """Execute one statement, made of our own words, after those that were sent, and return its cursor."""
        if not self._queued:
            return await self.connection.execute(statement, values)
        async with self.connection.pipeline():
            await self._execute_queued()
            cursor = await self.connection.execute(statement, values)
        return cursor  # noqa: RET504 - it has its rows once the block has ended

    async def fetch(self, sent: Sent) -> list[TupleRow]:
        """Return the rows of a statement that was sent."""
        if sent.cursor is None:
            await self.flush()
        return [] if sent.cursor is None else await sent.cursor.fetchall()

    async def flush(self) -> None:
        """Execute what was sent."""
        if len(self._queued) == 1:
            await self._execute_queued()
        elif self._queued:
            async with self.connection.pipeline():
                await self._execute_queued()

    async def _execute_queued(self) -> None:
        queued, self._queued = self._queued, []
        for sent in queued:
            sent.cursor = await self.connection.execute(sent.statement, sent.values)

    def post(self, news: Mapping[str, str]) -> None:
        """Report a change to every replica once this is committed."""
        self._news.append(self.format_news(news))

    def format_news(self, news: Mapping[str, str]) -> str:
        """Return news as the text of a notification, for a statement that sends it itself."""
        return format_news({**news, "from": self._origin})

    def send_news(self) -> None:
        """Send the news with the statements that wait."""
        if self._news:
            news, self._news = self._news, []
            self.send("SELECT pg_notify(%s, payload) FROM unnest(%s::text[]) AS payload", (NEWS_CHANNEL, news))


Work: TypeAlias = Callable[[Transaction], Awaitable[T]]
"""A whole operation. It may be performed more than once, and changes nothing but the database."""


def format_news(news: Mapping[str, str]) -> str:
    """Return news as the text of a notification; what makes it too long is left out, a text first and then the owner."""
    fields = {name: value for name, value in news.items() if value}
    text = json.dumps(fields)
    for name in ("text", "owner"):
        if len(text) > MAX_NEWS_BYTES and fields.pop(name, None) is not None:
            text = json.dumps(fields)
    return text
