"""Turn errors of the database into sentences. Its own words may hold values, names and addresses, and are not repeated."""

import logging
import re
from typing import Final

import psycopg

from flowport.domain.errors import StoreError

logger = logging.getLogger(__name__)

_USER: Final = "the database refuses the user or the password"
_CHECK: Final = "Correct the address in FLOWPORT_DATABASE_URL."

_REFUSALS: Final = (
    (r"password|authentication failed|role .* does not exist", _USER, _CHECK),
    (
        r"database .* does not exist",
        "the database does not exist on its server",
        "Create it with the user of Flowport as its owner, or correct the address in FLOWPORT_DATABASE_URL.",
    ),
    (
        r"too many (clients|connections)|connection slots",
        "the database has no connection left",
        "Raise max_connections, or run fewer processes.",
    ),
    (
        r"pg_hba\.conf|permission denied for database|SSL",
        "the database refuses connections of this user from this computer",
        "Look into its pg_hba.conf and its log.",
    ),
)
"""What a server says that refuses a connection: it gives no code before the connection exists."""

_TABLES: Final = "Make the user of FLOWPORT_DATABASE_URL the owner of the database."


def build_unreachable_error() -> StoreError:
    """Return the sentence for a database that does not answer."""
    return StoreError(
        "the database cannot be reached",
        "Flowport tries again by itself; ask again in a moment, or check the database.",
    )


def build_refusal(error: psycopg.Error) -> StoreError:
    """Return the sentence for a connection that could not be made; for an operation, see `build_error`."""
    if error.sqlstate is not None:
        return build_error(error)
    text = str(error)
    for pattern, problem, remedy in _REFUSALS:
        if re.search(pattern, text, re.IGNORECASE):
            return StoreError(problem, remedy)
    # A server of another language.
    if error.pgconn is not None and error.pgconn.needs_password:
        return StoreError(_USER, _CHECK)
    return StoreError("the database cannot be reached", "Check that it runs, and its address in FLOWPORT_DATABASE_URL.")


def build_error(error: psycopg.Error) -> StoreError:
    """Return the sentence for an error of the database; its text may hold values and is left to the log."""
    if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
        return build_unreachable_error()
    if isinstance(error, psycopg.IntegrityError):
        return StoreError(
            "a new record contradicts an earlier one",
            "Try again; if it happens again, report it as a fault of Flowport.",
        )
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return StoreError("the user of the database may not create or use its tables", _TABLES)
    if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        return StoreError("the database can only be read", "Use the address of the primary server.")
    logger.warning("the database has refused an operation (%s): %s", error.sqlstate, type(error).__name__)
    code = f"{type(error).__name__}, {error.sqlstate}" if error.sqlstate else type(error).__name__
    return StoreError(f"the database has refused an operation ({code})", "Its log has the details.")


def build_encoding_error() -> StoreError:
    """Return the sentence for a database that keeps some characters only: a result with another one would be lost."""
    return StoreError(
        "the database does not keep all characters", "Create it with ENCODING 'UTF8' and TEMPLATE template0."
    )


def build_foreign_error() -> StoreError:
    """Return the sentence for a database that another program uses."""
    return StoreError(
        "the database holds tables of another program under the names of ours",
        "Create a database for Flowport alone, with its user as the owner, and name it in FLOWPORT_DATABASE_URL.",
    )


def build_pooler_error() -> StoreError:
    """Return the sentence for a connection pooler behind which neither locks nor notifications work."""
    return StoreError(
        "a connection pooler gives each transaction another session of the database",
        "Set its pool_mode to session, or name the database itself in FLOWPORT_DATABASE_URL.",
    )


def build_closed_error() -> StoreError:
    """Return the sentence for an operation after the end."""
    return StoreError("it was closed because Flowport is stopping", "Start Flowport again.")
