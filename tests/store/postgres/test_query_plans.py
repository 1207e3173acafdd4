"""By which steps PostgreSQL answers: with 100,000 runs no question may cost more than with ten.

A fifth of them is enough for the same plans.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
import psycopg
import pytest

from flowport.domain.models import Output, OutputKind, RunState
from flowport.store.postgres.database import Database
from flowport.store.postgres.migrate import migrate
from flowport.store.postgres.store import PostgresStore
from flowport.store.postgres.transaction import Transaction, Values
from flowport.store.records import RunSearch
from flowport.store.rows import RUN_COLUMNS
from tests.store.samples import ACCOUNT, OUTPUT, OWNER, build_run
from tests.support.postgres import PostgresServer, create_migrated

S = RunState
RUNS = 20_000
OWNERS = 50
URL = "https://cdn.example/777.png?token=t"


@dataclass
class Recorder(Database):
    """A database that keeps the statements which were executed."""

    url: str
    statements: list[tuple[str, Values]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Prepare."""
        super().__init__(self.url, prepare=migrate)

    async def read(self, work: Any) -> Any:
        """Perform an operation on a snapshot."""
        return await super().read(lambda transaction: work(self.build_transaction(transaction)))

    async def look_up(self, work: Any, *, is_urgent: bool = False) -> Any:
        """Perform an operation of one statement."""
        return await super().look_up(lambda transaction: work(self.build_transaction(transaction)), is_urgent=is_urgent)

    def build_transaction(self, transaction: Transaction) -> Transaction:
        """Return a transaction whose statements are kept."""
        execute = transaction.execute

        async def execute_and_keep(statement: str, values: Values = ()) -> Any:
            """Keep it, then execute it."""
            self.statements.append((statement, values))
            return await execute(statement, values)

        transaction.execute = execute_and_keep  # type: ignore[method-assign]
        return transaction


@pytest.fixture(scope="module")
def full_url(postgres: PostgresServer) -> str:
    """Return the address of a database with many runs, of which few are live, unsaved, unknown or undelivered."""
    url = create_migrated(postgres)
    columns = ", ".join(RUN_COLUMNS)
    changes = {
        "id": "'run_' || n",
        "owner": f"CASE WHEN n % {OWNERS} = 0 THEN '{OWNER}' ELSE 'owner ' || n % {OWNERS} END",
        "account_id": f"CASE WHEN n % 10 = 0 THEN 'magnific:api.example:f0' ELSE '{ACCOUNT}' END",
        "app_id": "'app' || n % 20",
        "accepted_at": "n",
        "state": f"CASE WHEN n > {RUNS} - 200 THEN 'running' WHEN n % 1000 = 0 THEN 'unknown' ELSE 'succeeded' END",
        "unknown_at": "CASE WHEN n % 1000 = 0 THEN n END",
        "finished_at": f"CASE WHEN n <= {RUNS} - 200 THEN n + 5 END",
        "started_at": "n",
        "delivered_at": f"CASE WHEN n <= {RUNS} - 200 AND n % 500 <> 0 THEN n + 6 END",
        "provider_run_id": "'remote ' || n",
    }
    selected = ", ".join(changes.get(column, column) for column in RUN_COLUMNS)
    with psycopg.connect(url, autocommit=True) as connection:
        anyio.run(seed, url)
        connection.execute(
            f"INSERT INTO runs ({columns}, folded_app, folded_rest) SELECT {selected}, folded_app, folded_rest "
            f"FROM runs, generate_series(1, {RUNS}) AS n".encode()
        )
        output = "'image', 'https://cdn.example/' || n || '.png?token=t', '', '', 9, CASE WHEN n % 700 = 0 THEN '' ELSE '/a' END, '', ''"
        connection.execute(
            "INSERT INTO outputs (run_id, n, kind, url, provider_output_id, mime_type, size_bytes, saved_path, save_problem, text) "
            f"SELECT 'run_' || n, 1, {output} FROM generate_series(1, {RUNS}) AS n".encode()
        )
        connection.execute(
            "INSERT INTO batches (id, shared_json, variations, stop_after_failures) "
            "SELECT id, '', 1, 0 FROM runs WHERE accepted_at <= 50"
        )
        connection.execute(
            "INSERT INTO batch_rows (batch_id, n, table_row, variation, arguments_json, display_json, raw_digest, canonical_digest) "
            "SELECT id, n, n, 1, '', '', '', '' FROM batches, generate_series(1, 200) AS n"
        )
        connection.execute("VACUUM ANALYZE")
    return url


async def seed(url: str) -> None:
    """Write the run that the others are copies of."""
    store = PostgresStore(Database(url, prepare=migrate))
    await store.accept(
        build_run(
            "run_seed", S.SUCCEEDED, delivered_at=1.0, outputs=(OUTPUT, Output(2, OutputKind.TEXT, None, text="a"))
        )
    )
    await store.close()


@pytest.fixture
async def database(full_url: str) -> AsyncIterator[Recorder]:
    """Open the database with many runs."""
    opened = Recorder(full_url)
    yield opened
    await opened.close()


def explain(url: str, statement: str, values: Values) -> list[str]:
    """Return the steps for these values, and then those for any, which PostgreSQL takes for a statement that comes often."""
    places: list[str] = []

    def name(found: "re.Match[str]") -> str:
        """Return the place of a value."""
        key = found[1] or f"{len(places)}"
        if key not in places or not found[1]:
            places.append(key)
        return f"${places.index(key) + 1}"

    numbered = re.sub(r"%(?:\((\w+)\))?s", name, statement)
    nothing = ", ".join(["NULL"] * len(places))
    with psycopg.connect(url, autocommit=True) as connection:
        plans = connection.execute(f"EXPLAIN {statement}".encode(), values).fetchall()
        connection.execute("SET plan_cache_mode = force_generic_plan")
        connection.execute(f"PREPARE one AS {numbered}".encode())
        execute = f"EXECUTE one ({nothing})" if places else "EXECUTE one"
        plans += connection.execute(f"EXPLAIN {execute}".encode()).fetchall()
    return [row[0] for row in plans]


Ask = Callable[[PostgresStore], Awaitable[object]]


def ask_page(**changes: Any) -> Ask:
    """Return the question for a page of the owner's runs."""
    given = {"account_id": None, "owner": OWNER, "limit": 10, "undelivered_first": False, **changes}
    return lambda store: store.get_runs(**given)


QUESTIONS: dict[str, tuple[Ask, str]] = {
    "newest": (ask_page(), "runs_by_owner"),
    "newest of an account": (ask_page(account_id=ACCOUNT), "runs_by_owner"),
    "unseen first": (ask_page(undelivered_first=True), "runs_undelivered_by_owner"),
    "behind a run": (ask_page(before="run_10000"), "runs_by_owner"),
    "in a state": (ask_page(state=S.UNKNOWN), "runs_by_owner_and_state"),
    "of a search": (ask_page(search=RunSearch(("sketch",), "sketch", since=1.0, until=9e9)), "runs_by_owner"),
    "not over": (ask_page(search=RunSearch(is_live=True)), "runs_live_by_owner"),
    "a run": (lambda store: store.get_run("run_50", account_id=None, owner=OWNER), "runs_pkey"),
    "at the provider": (
        lambda store: store.find_run_at_provider("remote 77", account_id=ACCOUNT),
        "runs_by_provider_run",
    ),
    "by a replaced link": (
        lambda store: store.get_run_by_output_url("https://cdn.example/750.png?token=u", owner=OWNER),
        "outputs_by_place",
    ),
    "known links": (lambda store: store.get_known_urls([URL, "https://cdn.example/x.png?a"]), "outputs_by_place"),
    "unseen": (lambda store: store.count_undelivered(owner=OWNER), "runs_undelivered_by_owner"),
    "under way": (lambda store: store.get_runs_under_way(owner=OWNER, limit=6), "runs_live_by_owner"),
    "live": (lambda store: store.get_live_runs(account_id=ACCOUNT), "runs_live"),
    "unknown": (lambda store: store.get_unknown_runs(account_id=ACCOUNT, since=RUNS - 1000.0, limit=9), "runs_unknown"),
    "unsaved": (lambda store: store.get_unsaved_runs(account_id=ACCOUNT, now=0.0, since=0.0), "outputs_unsaved"),
    "stranded": (
        lambda store: store.get_stranded_runs(scope="magnific:api.example", account_id=ACCOUNT, limit=9),
        "runs_undelivered",
    ),
    "needed": (lambda store: store.get_needed_provider_ids(account_id=ACCOUNT), "runs_undelivered"),
    "last delivered": (lambda store: store.get_last_delivered(owner=OWNER), "runs_by_delivery"),
    "durations": (lambda store: store.get_durations(account_id=ACCOUNT, app_id="app1"), "runs_by_app"),
    "histories": (lambda store: store.get_histories(account_id=ACCOUNT, app_ids=("app1", "app2")), "runs_by_app"),
    "used apps": (lambda store: store.get_used_apps(account_id=ACCOUNT, since=RUNS - 100.0), "runs_by_use"),
    "history": (lambda store: store.get_history(owner=OWNER), "runs_by_owner"),
}
"""Questions about few runs among many, and the index that leads to those few."""


@pytest.mark.parametrize(("ask", "index"), QUESTIONS.values(), ids=QUESTIONS.keys())
async def test_no_question_walks_the_runs(database: Recorder, ask: Ask, index: str) -> None:
    """With a walk each answer would take longer the more runs there are."""
    await ask(PostgresStore(database))
    plans = [explain(database.url, statement, values) for statement, values in database.statements]
    walks = [step for plan in plans for step in plan if re.search(r"Seq Scan on (runs|batch_rows)", step)]

    assert (walks, index in str(plans)) == ([], True), "\n".join(step for plan in plans for step in plan)


@pytest.mark.parametrize("name", ["newest", "newest of an account", "behind a run", "in a state"])
async def test_a_page_is_read_in_its_order(database: Recorder, name: str) -> None:
    """To sort, all runs of the owner would be read to find the newest ten."""
    await QUESTIONS[name][0](PostgresStore(database))
    plans = [explain(database.url, statement, values) for statement, values in database.statements]

    assert [step for plan in plans for step in plan if "Sort Key: runs" in step] == []
