"""Every setting that a person can make by a variable, as docs/settings.md and `--help` show it. Pure."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Variable:
    """One setting that a person can make."""

    name: str
    meaning: str
    """One sentence for docs/settings.md and `--help`."""
    default: str
    """As docs/settings.md shows it."""
    is_built: bool = True
    """Whether this version obeys it. A variable that it would not obey is refused, never ignored: a cap that does not
    hold is worse than none."""


VARIABLES: Final = (
    Variable("MAGNIFIC_API_KEY", "The Magnific API key; it turns the provider on.", "none: the sandbox runs instead"),
    Variable(
        "MAGNIFIC_BASE_URL", "Where Magnific's API is; https, or http on this machine.", "`https://api.magnific.com`"
    ),
    Variable(
        "MAGNIFIC_API_STYLE",
        "Which paths to use: `flows`, the older `apps`, or `auto` to find out once and remember.",
        "`auto`",
    ),
    Variable(
        "MAGNIFIC_FILE_ORIGINS",
        "Origins on this machine or network that Magnific's files may be fetched from and sent to, separated by commas.",
        "none: only public https addresses",
    ),
    Variable("MAGICA_API_KEY", "The Magica API key; it turns the provider on.", "none"),
    Variable(
        "MAGICA_BASE_URL", "Where Magica's API is; https, or http on this machine.", "`https://api.magica.com/api`"
    ),
    Variable(
        "MAGICA_CANCEL_PATH",
        "The path of its API that cancels a run, with `{run_id}` in it; none is documented.",
        "none: its MCP server cancels",
    ),
    Variable(
        "MAGICA_FILE_ORIGINS",
        "Origins on this machine or network that Magica's files may be fetched from and sent to, separated by commas.",
        "none: only public https addresses",
    ),
    Variable("FLOWPORT_HOME", "Folder of the store and the catalogue cache.", "the platform's user data folder"),
    Variable("FLOWPORT_APPS", "Apps to list first: names or ids with `*`, separated by commas.", "none"),
    Variable("FLOWPORT_MAX_TOOLS", "How many apps become tools of their own, 0 to 1000.", "`40`"),
    Variable("FLOWPORT_SOURCE", "Whose apps are read and shown: `own`, `published` or `all`.", "`all`"),
    Variable("FLOWPORT_WAIT_SECONDS", "How long a call waits before it hands over a run id.", "`50`"),
    Variable("FLOWPORT_ON_CANCEL", "What a cancelled call does to its run: `keep` or `stop`.", "`keep`"),
    Variable("FLOWPORT_REATTACH_SECONDS", "How long a repeated call joins its earlier run; 0 for never.", "`3600`"),
    Variable("FLOWPORT_KEEP_DAYS", "How long runs that are over and seen stay on record, in days; 0 for ever.", "`90`"),
    Variable(
        "FLOWPORT_REQUESTS_PER_MINUTE",
        "The most requests that an account sends in a minute, for every program of this computer together; what is "
        "sent below that is learned. 0 for no limit.",
        "`500`; learning starts at Magnific 50, Magica 60",
    ),
    Variable(
        "FLOWPORT_REQUESTS_PER_DAY",
        "The account's requests in 24 hours, for all together; 0 for no limit.",
        "the provider's: Magnific none, Magica 1,000",
    ),
    Variable("FLOWPORT_MAX_CREDITS_PER_RUN", "No run above this price.", "none"),
    Variable("FLOWPORT_MAX_CREDITS_PER_DAY", "No more than this in the last 24 hours, at one provider.", "none"),
    Variable("FLOWPORT_CONFIRM_ABOVE_CREDITS", "Ask the person before each run above this price.", "none"),
    Variable(
        "FLOWPORT_UNKNOWN_PRICE",
        "Runs of apps that do not tell their price: `allow`, `confirm` (ask the person) or `refuse`.",
        "`allow`; `confirm` when one of the three above is set",
    ),
    Variable("FLOWPORT_FILE_ROOTS", "Folders that media arguments may be read from.", "see below"),
    Variable("FLOWPORT_OUTPUT_DIR", "Where results are saved.", "`Flowport` in the pictures folder"),
    Variable(
        "FLOWPORT_SAVE_OUTPUTS",
        "Whether results are saved: `true` or `false`; `yes`, `on`, `1` and their opposites too.",
        "`true`",
    ),
    Variable("FLOWPORT_PREVIEWS", "Whether answers carry a small preview: `true` or `false`.", "`true`"),
    Variable(
        "FLOWPORT_LINKS",
        "Whether answers hold MCP resource links (`resource`) or addresses in their text alone (`text`), for clients "
        "that cannot take such links.",
        "`resource`",
    ),
    Variable("FLOWPORT_DATABASE_URL", "A PostgreSQL store.", "SQLite in FLOWPORT_HOME", is_built=False),
)
"""Every variable, in the order of docs/settings.md."""
