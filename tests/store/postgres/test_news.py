"""What one replica reports, every other one receives: at once, or after its connection was made again."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import psycopg
import pytest
from anyio.abc import TaskGroup

from flowport.domain.models import Run
from flowport.store.cluster import News, NewsKind
from flowport.store.postgres.database import Database
from flowport.store.postgres.news import MAX_CAUGHT_UP, PostgresMarks, PostgresNews, parse_news
from flowport.store.postgres.operations import insert_run, post_change
from flowport.store.postgres.transaction import MAX_NEWS_BYTES, Transaction, format_news
from tests.store.samples import RUN
from tests.support.postgres import PostgresServer

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 30.0
CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'flowport news'"


class Replica:
    """A replica that listens."""

    def __init__(self, url: str, group: TaskGroup) -> None:
        self.database = Database(url)
        self.feed = PostgresNews(self.database)
        self.received: list[News] = []
        self._group = group
        self._scope = anyio.CancelScope()
        self._bell = anyio.Event()
        self.feed.subscribe(self._take)

    def _take(self, news: News) -> None:
        self.received.append(news)
        self._bell.set()
        self._bell = anyio.Event()

    def start(self) -> None:
        """Listen."""
        self._group.start_soon(self._listen)

    async def _listen(self) -> None:
        with anyio.CancelScope() as self._scope:
            await self.feed.keep_listening()

    async def stop(self) -> None:
        """Listen no longer."""
        self._scope.cancel()
        await self.wait_until_connected(is_connected=False)

    async def receive(self, *wanted: News) -> None:
        """Wait until all of this was received."""
        with anyio.fail_after(PATIENCE_SECONDS):
            while not all(one in self.received for one in wanted):
                await self._bell.wait()

    async def wait_until_connected(self, *, is_connected: bool = True) -> None:
        """Wait until news arrive, or until they do not."""
        with anyio.fail_after(PATIENCE_SECONDS):
            while self.feed.is_connected is not is_connected:  # noqa: ASYNC110 - the port has no event
                await anyio.sleep(0.01)


@asynccontextmanager
async def open_replica(url: str) -> AsyncIterator[Replica]:
    """Listen until the context is left."""
    async with anyio.create_task_group() as group:
        replica = Replica(url, group)
        replica.start()
        await replica.wait_until_connected()
        yield replica
        group.cancel_scope.cancel()
    await replica.database.close()


def build_change(run: Run, kind: NewsKind = NewsKind.CHANGED, *, is_own: bool = False) -> News:
    """Return the news of a change."""
    return News(kind, run.id, run.owner, run.batch_id, run.account_id, is_own=is_own)


async def insert(database: Database, *runs: Run) -> None:
    """Add runs."""

    async def add(transaction: Transaction) -> None:
        """Add each run."""
        for run in runs:
            await insert_run(transaction, run, is_queued=False)

    await database.write(add)


async def change(database: Database, run: Run) -> None:
    """Change a run as a write of the store does."""

    async def update(transaction: Transaction) -> None:
        """Take a new number."""
        await transaction.execute("UPDATE runs SET changed_number = nextval('changes') WHERE id = %s", (run.id,))
        post_change(transaction, run, NewsKind.CHANGED)

    await database.write(update)


async def test_change_reaches_another_replica(database_url: str) -> None:
    """A write of one replica is news at all others, and its own news says so."""
    async with open_replica(database_url) as first, open_replica(database_url) as second:
        await insert(first.database, RUN)

        await second.receive(build_change(RUN, NewsKind.CREATED))
        await first.receive(build_change(RUN, NewsKind.CREATED, is_own=True))


async def test_posted_news_arrives(database_url: str) -> None:
    """What no write of the store sends reaches every process too, with all that it says."""
    news = News(NewsKind.TROUBLED, "run_1", "ann", "batch_1", "magnific:x:1", "Magnific does not answer.")
    async with open_replica(database_url) as first, open_replica(database_url) as second:
        await first.feed.post(news)

        await second.receive(news)
        await first.receive(replace(news, is_own=True))


async def test_work_that_is_undone_is_not_reported(database_url: str) -> None:
    """Only what was committed is reported."""

    async def post_and_fail(transaction: Transaction) -> None:
        """Report a change and raise."""
        post_change(transaction, RUN, NewsKind.CHANGED)
        raise ZeroDivisionError

    async with open_replica(database_url) as replica:
        with pytest.raises(ZeroDivisionError):
            await replica.database.write(post_and_fail)
        await insert(replica.database, RUN)
        await replica.receive(build_change(RUN, NewsKind.CREATED, is_own=True))

        assert len(replica.received) == 1


async def test_cut_connection_is_made_again(database_url: str) -> None:
    """What changes while the connection is gone is reported after it was made again."""
    writer = Database(database_url)
    await insert(writer, RUN)
    async with open_replica(database_url) as replica:
        with psycopg.connect(database_url, autocommit=True) as administrator:
            administrator.execute(CUT)
        await change(writer, RUN)

        await replica.receive(build_change(RUN))
        await replica.wait_until_connected()
        await replica.feed.post(News(NewsKind.LISTED, account_id="magnific:x:1"))
        await replica.receive(News(NewsKind.LISTED, account_id="magnific:x:1", is_own=True))
    await writer.close()


async def test_smaller_number_that_commits_later_is_caught_up(database_url: str) -> None:
    """A change whose number was taken before a newer one was seen, and that commits while nothing is received, is not lost."""
    writer = Database(database_url)
    other = replace(RUN, id="run_other", provider_run_id="remote2")
    await insert(writer, RUN, other)
    slow = await psycopg.AsyncConnection.connect(database_url)
    async with open_replica(database_url) as replica:
        await slow.execute("UPDATE runs SET changed_number = nextval('changes') WHERE id = %s", (RUN.id,))
        await change(writer, other)
        await replica.receive(build_change(other))
        await replica.stop()
        await slow.commit()
        replica.start()

        await replica.receive(build_change(RUN))
    await slow.close()
    await writer.close()


async def test_many_changes_are_one_piece_of_news(database_url: str) -> None:
    """More changes than can be reported one by one mean that everything may have changed."""
    writer = Database(database_url)
    runs = [replace(RUN, id=f"run_{number}", outputs=()) for number in range(MAX_CAUGHT_UP + 1)]
    async with open_replica(database_url) as replica:
        await replica.stop()
        await insert(writer, *runs)
        replica.start()

        await replica.receive(News(NewsKind.MISSED))
        assert len(replica.received) == 1
    await writer.close()


async def test_server_that_restarts_is_listened_to_again(database_url: str, postgres: PostgresServer) -> None:
    """A restart of the database costs the news of that time, which are caught up, and no later ones."""
    writer = Database(database_url)
    await insert(writer, RUN)
    async with open_replica(database_url) as replica:
        postgres.restart()
        await change(writer, RUN)

        await replica.receive(build_change(RUN))
        await replica.wait_until_connected()
    await writer.close()


def fail(news: News) -> None:
    """Raise."""
    raise ZeroDivisionError(news)


async def test_bug_of_a_listener_stops_no_news(database_url: str) -> None:
    """A listener that raises takes the news from no other, nor later news from itself."""
    async with open_replica(database_url) as replica:
        replica.feed.subscribe(fail)
        for number in range(2):
            await replica.feed.post(News(NewsKind.LISTED, account_id=str(number)))

        await replica.receive(*(News(NewsKind.LISTED, account_id=str(number), is_own=True) for number in range(2)))


@pytest.mark.parametrize("owner", ["o" * 500, "é" * 300, "\U0001f600" * 100], ids=["long", "accents", "faces"])
async def test_long_owner_is_named(database_url: str, owner: str) -> None:
    """The subject of a token may have hundreds of characters of any kind."""
    run = replace(RUN, owner=owner)
    async with open_replica(database_url) as replica:
        await insert(replica.database, run)

        await replica.receive(build_change(run, NewsKind.CREATED, is_own=True))


async def test_owner_that_is_too_long_is_left_out(database_url: str) -> None:
    """No owner is so long that the write of the run fails: the news then names the run alone."""
    run = replace(RUN, owner="\U0001f600" * 2_000)
    async with open_replica(database_url) as replica:
        await insert(replica.database, run)

        await replica.receive(replace(build_change(run, NewsKind.CREATED, is_own=True), owner=""))


@pytest.mark.parametrize("payload", ["", "{", "[]", "7", '{"kind": "later"}', '{"run_id": "run_1"}', '{"kind": []}'])
def test_unknown_news_is_ignored(payload: str) -> None:
    """A newer version beside this one may send what this one does not know."""
    assert parse_news(payload, "") is None


@pytest.mark.parametrize("text", ["t" * 20_000, "\U0001f600" * 900])
def test_news_fits_into_a_notification(text: str) -> None:
    """A text is left out before the owner is."""
    payload = format_news({"kind": "troubled", "run_id": "run_1", "owner": "ann", "text": text})

    assert len(payload.encode()) <= MAX_NEWS_BYTES
    assert json.loads(payload)["owner"] == "ann"


async def test_mark_counts_once(database_url: str) -> None:
    """Of all replicas that use a mark at the same time one is the first, and all know it as used from then on."""
    replicas = [Database(database_url) for _ in range(3)]
    marks = [PostgresMarks(one) for one in replicas]
    first_uses: list[bool] = []

    async def use(one: PostgresMarks) -> None:
        """Use the mark at one replica."""
        first_uses.append(await one.use("link:a", expires_at=20.0, now=10.0))

    async with anyio.create_task_group() as group:
        for one in marks * 5:
            group.start_soon(use, one)

    assert first_uses.count(True) == 1
    assert [await one.is_used("link:a") for one in marks] == [True] * 3
    assert not await marks[0].is_used("link:b")
    for database in replicas:
        await database.close()


async def test_expired_mark_is_forgotten(database_url: str) -> None:
    """What expired anyway occupies no room for good."""
    database = Database(database_url)
    marks = PostgresMarks(database)
    await marks.use("link:old", expires_at=20.0, now=10.0)
    await marks.use("link:new", expires_at=40.0, now=30.0)

    assert not await marks.is_used("link:old")
    assert await marks.is_used("link:new")
    await database.close()
