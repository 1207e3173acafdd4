"""A database that refuses: the sentence says what to correct, and nothing of another program is touched."""

from collections.abc import Iterator

import pytest
from psycopg.conninfo import conninfo_to_dict

from flowport.domain.errors import StoreError
from flowport.store.opening import find_store, inspect_team_store
from tests.support.postgres import PostgresServer

PASSWORD = "hunter2hunter2"
FOREIGN = (
    "CREATE TABLE runs (id int)",
    "CREATE TABLE procrastinate_jobs (id int)",
    "CREATE VIEW tokens AS SELECT 1 AS id",
    "CREATE TABLE migrations (id serial, migration text, batch int)",
    "CREATE TABLE migrations (id serial PRIMARY KEY, timestamp bigint NOT NULL, name text NOT NULL)",
    "CREATE TABLE migrations (name text)",
)


@pytest.fixture
def locked(postgres: PostgresServer) -> Iterator[str]:
    """Give the address of a database whose user needs a password and owns nothing, with the wrong password in it."""
    url = postgres.create_database()
    role = f"locked_{get_name(url)}"
    postgres.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    rules = postgres.folder / "data/pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"local all {role} scram-sha-256\n{before}")
    postgres.execute("SELECT pg_reload_conf()")
    yield url.replace("flowport@", f"{role}:wrong-{PASSWORD}@")
    rules.write_text(before)
    postgres.execute("SELECT pg_reload_conf()")


def get_name(url: str) -> str:
    """Return the name of a database."""
    return str(conninfo_to_dict(url)["dbname"])


async def find_problem(url: str) -> StoreError:
    """Return what the first operation on a database is refused with."""
    store = find_store(None, url)  # type: ignore[arg-type] # a database needs no home
    assert store is not None
    try:
        with pytest.raises(StoreError) as found:
            await store.get_tokens()
    finally:
        await store.close()
    return found.value


def list_tables(postgres: PostgresServer, url: str) -> set[object]:
    """Return the tables of a database."""
    found = postgres.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", get_name(url))
    return {name for (name,) in found}


@pytest.mark.parametrize("statement", FOREIGN)
async def test_a_database_of_another_program_is_refused_and_stays_as_it_is(
    postgres: PostgresServer, statement: str
) -> None:
    """Its tables have names of ours; not even an empty table is added beside them, and the doctor says the same."""
    url = postgres.create_database()
    postgres.execute(statement, get_name(url))
    before = list_tables(postgres, url)
    problem = await find_problem(url)

    assert "tables of another program" in str(problem)
    assert list_tables(postgres, url) == before
    found = inspect_team_store(url).problem
    assert str(found) == str(problem)


async def test_tables_beside_ours_are_left_alone(postgres: PostgresServer) -> None:
    """An extension has its own, such as spatial_ref_sys."""
    url = postgres.create_database()
    postgres.execute("CREATE TABLE spatial_ref_sys (id int)", get_name(url))
    store = find_store(None, url)  # type: ignore[arg-type] # a database needs no home
    assert store is not None
    assert await store.get_tokens() == ()
    await store.close()
    assert {"spatial_ref_sys", "runs", "migrations"} <= list_tables(postgres, url)


async def test_a_wrong_password_is_named_and_none_is_shown(locked: str) -> None:
    """Waiting does not help, as it does in an outage."""
    problem = await find_problem(locked)

    assert "refuses the user or the password" in str(problem)
    assert "FLOWPORT_DATABASE_URL" in str(problem)
    assert PASSWORD not in str(problem)
    assert str(inspect_team_store(locked).problem) == str(problem)


async def test_a_missing_password_is_named_too(locked: str) -> None:
    """The address has none."""
    problem = await find_problem(locked.replace(f":wrong-{PASSWORD}", ""))

    assert "refuses the user or the password" in str(problem)


async def test_a_user_that_does_not_exist_is_named(postgres: PostgresServer) -> None:
    """As a wrong password is."""
    problem = await find_problem(postgres.create_database().replace("flowport@", "no_such_user@"))

    assert "refuses the user or the password" in str(problem)


async def test_the_refusal_of_a_user_without_rights_says_whom_to_make_the_owner(locked: str) -> None:
    """The tables cannot be created."""
    problem = await find_problem(locked.replace("wrong-", ""))

    assert "may not create or use its tables" in str(problem)
    assert "owner" in str(problem)


async def test_a_database_that_does_not_exist_is_named(postgres: PostgresServer) -> None:
    """Its server answers."""
    problem = await find_problem(postgres.get_url("no_such_database"))

    assert "does not exist on its server" in str(problem)


async def test_a_server_that_is_away_is_said_to_be(postgres: PostgresServer) -> None:
    """No other cause is guessed, and no promise is made: the process ends."""
    problem = await find_problem(f"postgresql://flowport:{PASSWORD}@/flowport?host={postgres.folder}-missing")

    assert "cannot be reached" in str(problem)
    assert "tries again" not in str(problem)
    assert PASSWORD not in str(problem)
