"""The table of settings, from which parsing, `--help`, the configuration file and docs/settings.md are made."""

from functools import cache
from typing import Final

from flowport.domain.models import Source
from flowport.domain.spending import UnknownPrice
from flowport.providers.registry import get_plugins
from flowport.settings.http_settings import HTTP_VARIABLES
from flowport.settings.values import (
    Variable,
    parse_choice,
    parse_database_url,
    parse_list,
    parse_number,
    parse_path,
    parse_roots,
    parse_switch,
)

MAX_LISTED_TOOLS: Final = 1000
"""The largest FLOWPORT_MAX_TOOLS; no known client handles more."""

DATABASE_URL: Final = "FLOWPORT_DATABASE_URL"

_parse_credits: Final = parse_number(0, 1_000_000_000)
_parse_requests: Final = parse_number(0, 100_000, is_whole=True)

_OWN: Final = (
    Variable(
        "FLOWPORT_HOME", "Folder of the store and the catalogue cache.", "the platform's user data folder", parse_path
    ),
    Variable(
        "FLOWPORT_APPS", "Apps to list first: names or ids with `*`, separated by commas.", "none", parse_list, ()
    ),
    Variable(
        "FLOWPORT_MAX_TOOLS",
        "How many apps become tools of their own, 0 to 1000.",
        "`40`",
        parse_number(0, MAX_LISTED_TOOLS, is_whole=True),
        40,
    ),
    Variable(
        "FLOWPORT_SOURCE",
        "Whose apps are read and shown: `own`, `published` or `all`.",
        "`all`",
        parse_choice(*Source),
        Source.ALL,
    ),
    Variable(
        "FLOWPORT_WAIT_SECONDS",
        "How long a call waits before it hands over a run id.",
        "`50`",
        parse_number(0, 86_400),
        50.0,
    ),
    Variable(
        "FLOWPORT_ON_CANCEL",
        "What a cancelled call does to its run: `keep` or `stop`.",
        "`keep`",
        parse_choice("keep", "stop"),
        "keep",
    ),
    Variable(
        "FLOWPORT_REATTACH_SECONDS",
        "How long a repeated call joins its earlier run; 0 for never.",
        "`3600`",
        parse_number(0, 86_400),
        3600.0,
    ),
    Variable(
        "FLOWPORT_KEEP_DAYS",
        "How long runs stay on record after they ended and were delivered, in days; 0 keeps them all.",
        "`90`",
        parse_number(0, 36_500, is_whole=True),
        90,
    ),
    Variable(
        "FLOWPORT_REQUESTS_PER_MINUTE",
        "The most requests that an account sends in a minute, for every program of this computer together; what is "
        "sent below that is learned. 0 for no limit.",
        "`500`; learning starts at the provider's documented limit",
        _parse_requests,
    ),
    Variable(
        "FLOWPORT_REQUESTS_PER_DAY",
        "The account's requests in 24 hours, for all together; 0 for no limit.",
        "the provider's documented limit",
        _parse_requests,
    ),
    Variable("FLOWPORT_MAX_CREDITS_PER_RUN", "No run above this price.", "none", _parse_credits),
    Variable(
        "FLOWPORT_MAX_CREDITS_PER_DAY",
        "No more than this in the last 24 hours, at one provider.",
        "none",
        _parse_credits,
    ),
    Variable(
        "FLOWPORT_MAX_CREDITS_PER_MONTH",
        "No more than this in the last 30 days, at one provider.",
        "none",
        _parse_credits,
    ),
    Variable(
        "FLOWPORT_ACCOUNT_MAX_CREDITS_PER_DAY",
        "No more than this in the last 24 hours by one account, for all people who use it.",
        "none",
        _parse_credits,
    ),
    Variable(
        "FLOWPORT_ACCOUNT_MAX_CREDITS_PER_MONTH",
        "No more than this in the last 30 days by one account, for all people who use it.",
        "none",
        _parse_credits,
    ),
    Variable(
        "FLOWPORT_CONFIRM_ABOVE_CREDITS", "Ask the person before each run above this price.", "none", _parse_credits
    ),
    Variable(
        "FLOWPORT_UNKNOWN_PRICE",
        "Runs of apps that do not state a price: `allow`, `confirm` (ask the person) or `refuse`.",
        "`allow`; `confirm` when one of the limits above is set",
        parse_choice(*UnknownPrice),
    ),
    Variable("FLOWPORT_FILE_ROOTS", "Folders that media arguments may be read from.", "see below", parse_roots),
    Variable("FLOWPORT_OUTPUT_DIR", "Where results are saved.", "`Flowport` in the pictures folder", parse_path),
    Variable(
        "FLOWPORT_SAVE_OUTPUTS",
        "Whether results are saved: `true` or `false`; `yes`, `on`, `1` and their opposites too.",
        "`true`",
        parse_switch,
        usual=True,
    ),
    Variable(
        "FLOWPORT_PREVIEWS",
        "Whether answers carry a small preview: `true` or `false`.",
        "`true`",
        parse_switch,
        usual=True,
    ),
    Variable(
        "FLOWPORT_LINKS",
        "Whether answers hold MCP resource links (`resource`) or addresses in their text alone (`text`), for clients "
        "that cannot take such links.",
        "`resource`",
        parse_choice("resource", "text"),
        "resource",
    ),
    *HTTP_VARIABLES,
    Variable(
        DATABASE_URL,
        "The PostgreSQL database that several replicas and workers share instead of a store of their own, such as "
        "`postgresql://flowport@db.example.com/flowport`; for `serve --http` and `worker`.",
        "SQLite in FLOWPORT_HOME",
        parse_database_url,
        "",
    ),
    Variable(
        "FLOWPORT_WORKER_RUNS",
        "The most runs that one worker carries out side by side.",
        "`500`",
        parse_number(1, 10_000, is_whole=True),
        500,
    ),
)


@cache
def get_variables() -> tuple[Variable, ...]:
    """Return every setting, those of the providers first, in the order of docs/settings.md."""
    return (*(row for plugin in get_plugins() for row in plugin.settings), *_OWN)


def get_secret_names() -> tuple[str, ...]:
    """Return the variables whose values are never shown: keys, what signs webhooks, and an address with a password."""
    endings = ("_API_KEY", "_WEBHOOK_SECRET", DATABASE_URL)
    return tuple(row.name for row in get_variables() if row.name.endswith(endings))


def get_key_names() -> tuple[str, ...]:
    """Return the variables that hold keys."""
    return tuple(row.name for row in get_variables() if row.name.endswith("_API_KEY"))
