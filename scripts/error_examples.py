"""Examples of errors, most of them made by running the program on the input.

`write_docs.py` writes them into `docs/errors.md`. A test requires an example of every class of error.
"""

import io
import json
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import anyio
from client_examples import iterate_client_files
from example_records import SHOWN_FOLDER, Example, Section, catch
from network_examples import iterate_network
from PIL import Image
from setting_examples import iterate_settings

from flowport.catalog.arguments import parse_arguments
from flowport.catalog.listing import Listing
from flowport.domain.call_errors import (
    AccountCapReached,
    AppAmbiguous,
    AppNotFound,
    CapPeriod,
    ConfirmationNeeded,
    DayCapReached,
    DefinitionNotRead,
    FilesFull,
    MonthCapReached,
    Namesake,
    NotConfirmed,
    PriceUnconfirmed,
    PriceUnknown,
    ResourceNotFound,
    RunCapReached,
    RunNotOver,
    ServerEnding,
    TooManyCalls,
    UncertainStart,
)
from flowport.domain.errors import (
    AppUnsupported,
    Breakage,
    DayUsedUp,
    Operation,
    ProviderError,
    ProviderUnreachable,
    RunNotFound,
    StoreError,
)
from flowport.domain.models import App, Input, InputKind, Option
from flowport.media.input_files import MediaRules, resolve_media
from flowport.network.causes import FetchError, UploadError
from flowport.network.issuer import IssuerFailed
from flowport.providers.interface import ApiAnswer, NotTaken, Uncertain
from flowport.providers.magica.api import Magica
from flowport.providers.magnific.api import Magnific
from flowport.providers.magnific.inputs import parse_inputs
from flowport.runs.batch.csv_tables import parse_table
from flowport.runs.batch.prepare import BatchRequest, InputRow, prepare_batch
from flowport.runs.submit import RunRequest
from flowport.store.sqlite import errors as faults
from flowport.store.sqlite.connection import build_file_error


def build_sections() -> list[Section]:
    """Return all examples, by their origin."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        return [
            Section(
                "Settings",
                "In every answer, and on standard error. For the person who installed Flowport.",
                tuple(iterate_settings(folder)),
            ),
            Section(
                "Arguments of a call",
                "In the answer. For the assistant, which corrects the call; nothing was sent.",
                (*_iterate_arguments(), *_iterate_media(folder), *_iterate_contents(folder)),
            ),
            Section(
                "Tables of a batch",
                "In the answer. For the assistant, or the author of the table; nothing was sent.",
                tuple(_iterate_tables()),
            ),
            Section(
                "Apps, runs and resources",
                "In the answer. For the assistant.",
                tuple(_iterate_names()),
            ),
            Section(
                "What runs cost",
                "In the answer. For the user, who set these limits.",
                tuple(_iterate_costs()),
            ),
            Section(
                "Providers and the network",
                "In the answer, as the failure or problem of a run, and in `find_apps`. The advice says who has to act.",
                (*_iterate_providers(), *iterate_network()),
            ),
            Section(
                "The record of runs",
                "In the answer, once on standard error, and in a terminal. For the person who installed Flowport.",
                tuple(_iterate_records()),
            ),
            Section(
                "Configuration files of clients",
                "In a terminal, by `flowport install` and `flowport uninstall`. For the user; the file stays as it is.",
                tuple(iterate_client_files(folder)),
            ),
        ]


_INPUTS: Final = (
    Input("i1", "photo", InputKind.IMAGE, "Photo", is_required=True),
    Input("i2", "prompt", InputKind.TEXT, "Prompt", is_required=True, max_length=20),
    Input("i3", "strength", InputKind.NUMBER, "Strength", is_required=False, minimum=0.0, maximum=1.0),
    Input("i4", "upscale", InputKind.BOOLEAN, "Upscale", is_required=False),
    Input(
        "i5",
        "style",
        InputKind.SELECT,
        "Style",
        is_required=False,
        options=(Option("warm", "Warm"), Option("cold", "Cold")),
    ),
    Input("i6", "scenes", InputKind.TEXT, "Scenes", is_required=False, is_list=True, max_items=2),
)
_APP: Final = App("magnific", "uqzQLDr2Aw", "Retro Poster", is_own=True, price_credits=2.0, inputs=_INPUTS)
_NAMES: Final = {item.id: item.run_key for item in _INPUTS}
_CALLS: Final[tuple[Mapping[str, Any], ...]] = (
    {},
    {"strength": "much"},
    {"strength": 7},
    {"upscale": "perhaps"},
    {"style": "hot"},
    {"prompt": ["a"]},
    {"prompt": "a" * 21},
    {"scenes": ["a", "b", "c"]},
    {"promt": "a lake"},
    {"colour": "red"},
    {"prompt": ""},
    {"prompt": {"text": "a lake"}},
    {"strength": "1,234"},
    {"strength": float("inf")},
    {"prompt": "\ud83d"},
)


def _iterate_arguments() -> Iterator[Example]:
    usual = {"photo": "/p.png", "prompt": "a lake"}
    for call in _CALLS:
        given = {**usual, **call} if call and "promt" not in call else call
        shown = json.dumps(call)
        yield catch(shown, lambda given=given: parse_arguments(_APP, _NAMES, given))  # type: ignore[misc]


_MEDIA: Final = (
    "",
    "image.png",
    "./cat.png",
    "the picture above",
    "sandbox:/mnt/data/cat.png",
    "ftp://example.com/cat.png",
    "http://example.com/cat.png",
    "https://me:secret@example.com/cat.png",
    "https://example.com:port/",
    "file://server/cat.png",
    "C:\\Users\\me\\cat.png",
    "~no-such-user/cat.png",
    "data:image/png;base64",
    "data:image/png;base64,",
    "data:image/png;base64,A*",
    "data:image/png;base64,AAAA",
    "run:x#y",
)


def _iterate_media(folder: Path) -> Iterator[Example]:
    root = folder / "Pictures"
    root.mkdir()
    (root / "notes.png").write_text("hello")
    (root / "empty.png").touch()
    (folder / "key.png").write_text("secret")
    rules = MediaRules((root,))
    paths = (
        str(root / "cat.png"),
        str(root / "notes.png"),
        str(root / "empty.png"),
        str(root),
        str(folder / "key.png"),
    )
    for text in (*_MEDIA, *paths):
        shown = f'photo: "{text.replace(str(folder), SHOWN_FOLDER)}"'
        work = lambda text=text: resolve_media(text, argument="photo", kind=InputKind.IMAGE, rules=rules)  # noqa: E731
        yield catch(shown, work, folder)


def _iterate_contents(folder: Path) -> Iterator[Example]:
    """Yield errors of files with good names and contents that cannot be sent."""
    root = folder / "Contents"
    root.mkdir()
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50.0).save(buffer, "PNG")
    picture = buffer.getvalue()
    contents = {
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        "cut.png": picture[: len(picture) // 2],
        "sound.png": b"RIFF" + (36).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little") + bytes(24),
        "report.png": b"%PDF-1.7\n",
    }
    for name, data in contents.items():
        path = root / name
        path.write_bytes(data)
        yield catch(
            f'photo: "{SHOWN_FOLDER}/Contents/{name}"',
            lambda path=path: resolve_media(  # type: ignore[misc]
                str(path), argument="photo", kind=InputKind.IMAGE, rules=MediaRules((root,))
            ),
            folder,
        )


_TABLES: Final = (
    b"",
    "prompt\ncaf\u00e9\n".encode("latin-1"),
    b"prompt,prompt\na,b\n",
    b"prompt,\na,b\n",
    b"prompt\na,b,c\n",
    b'prompt,style\n"a lake,warm\n',
    b'prompt,style\n"a lake" at dawn,warm\n',
    b"Summer pictures\nprompt,style\na lake,warm\n",
    b"prompt,,style\na lake,x,warm\n",
    b'[{"prompt": "a lake"}]',
    b"<html><table></table></html>",
    b"PK\x03\x04",
    "prompt\na lake\n".encode("utf-16"),
)


_NAMED_TABLES: Final = {b"PK": "an .xlsx file that was renamed to .csv", b"\xff\xfe": "a table in UTF-16"}
_ROW: Final = InputRow("row 1", {"prompt": "a lake"})
_BATCHES: Final = {
    'run_batch {"app": "retro_poster", "rows": []}': BatchRequest(()),
    'run_batch {"app": "retro_poster", "rows": 1,001 objects, "variations": 2}': BatchRequest(
        (_ROW,) * 1001, variations=2
    ),
    'run_batch {"app": "retro_poster", "rows": 64 objects, "arguments": {"photo": a data URI of 2 MB}}': BatchRequest(
        (_ROW,) * 64, {"photo": "data:image/png;base64," + "A" * 2_000_000}
    ),
}


def _iterate_tables() -> Iterator[Example]:
    for data in _TABLES:
        given = "csv: " + (
            _NAMED_TABLES.get(data[:2]) or data.decode("latin-1").replace("\n", " \u23ce ").strip() or "an empty file"
        )
        yield catch(given, lambda data=data: parse_table(data, argument="csv"))  # type: ignore[misc]
    for given, request in _BATCHES.items():
        yield catch(given, lambda request=request: anyio.run(_prepare, request))  # type: ignore[misc]


async def _prepare(request: BatchRequest) -> None:
    """Prepare a batch of a wrong size, which is refused before anything else is checked."""
    listing = Listing(_APP, "retro_poster", _NAMES)
    account: Any = None
    await prepare_batch(account, account, listing, request, RunRequest("me"), report=account)


def _iterate_names() -> Iterator[Example]:
    namesakes = (Namesake("sketch", "uqzQLDr2Aw", "Magnific"), Namesake("magica_sketch", "cmonfiheh", "Magica"))
    refused = ProviderUnreachable("Magnific", Operation.LIST_APPS, Breakage.NO_CONNECTION)
    yield Example("an app that does not exist", AppNotFound("skech", ("sketch",)))
    yield Example("an app, while the list cannot be read", AppNotFound("sketch", (), str(refused)))
    yield Example("a name that two apps have", AppAmbiguous("Sketch", namesakes))
    yield Example("an app whose definition is still being read", DefinitionNotRead("Sketch", "Magnific", 34))
    yield Example("the same, with no answer of the provider", DefinitionNotRead("Sketch", "Magnific", None))
    yield catch("an app with 65 inputs", lambda: parse_inputs("uqzQLDr2Aw", [{"id": str(n)} for n in range(65)]))
    yield Example("an app left out", AppUnsupported("uqzQLDr2Aw", "its definition names no inputs"))
    yield Example("a run id that is unknown", RunNotFound("run_ab2cd3ef4g"))
    yield Example("`flowport erase` of a run that goes on", RunNotOver("run_ab2cd3ef4g"))
    yield Example("flowport://runs/x", ResourceNotFound("flowport://runs/x"))


def _iterate_costs() -> Iterator[Example]:
    asked = PriceUnconfirmed("Retro Poster", 30.0, 20.0)
    uncertain = UncertainStart("Magnific", "run_ab2cd3ef4g", 1_795_000_000.0, "It is not known whether it was started.")
    yield Example("30 credits, FLOWPORT_MAX_CREDITS_PER_RUN=20", RunCapReached("Retro Poster", 30.0, 20.0))
    yield Example(
        "30 credits, FLOWPORT_MAX_CREDITS_PER_DAY=100",
        DayCapReached("Retro Poster", 30.0, 100.0, 80.0, 10.0, 0.0, 20.0),
    )
    yield Example(
        "30 credits, FLOWPORT_MAX_CREDITS_PER_MONTH=1000",
        MonthCapReached("Retro Poster", 30.0, 1000.0, 970.0, 0.0, 10.0, 20.0),
    )
    yield Example(
        "the same, and the limit is that of the caller's token",
        MonthCapReached("Retro Poster", 30.0, 100.0, 80.0, 0.0, 0.0, 20.0, is_own=True),
    )
    yield Example(
        "30 credits, FLOWPORT_ACCOUNT_MAX_CREDITS_PER_DAY=500",
        AccountCapReached("Retro Poster", 30.0, 500.0, 12.0, CapPeriod.DAY),
    )
    yield Example("no price, FLOWPORT_UNKNOWN_PRICE=refuse", PriceUnknown("Retro Poster"))
    yield Example("30 credits, FLOWPORT_CONFIRM_ABOVE_CREDITS=20, a client that cannot ask", asked)
    yield Example("the same, a client that asks", ConfirmationNeeded(asked.question))
    yield Example("the same, and the user declines", NotConfirmed(asked.question))
    full = "`FLOWPORT_PERSON_MAX_MEGABYTES=2000` on a server, and a call of a person whose files fill it"
    yield Example(full, FilesFull(2_000_400_000, 2_000_000_000))
    yield Example("a call equal to an `unknown` run", uncertain)
    yield Example("a person's 201st call that waits, over HTTP", TooManyCalls(200))
    yield Example("a call that prepares its picture when `serve --http` shuts down", ServerEnding())


_ANSWERS: Final[tuple[tuple[int, Any], ...]] = (
    (400, {"message": "Validation error", "invalid_params": [{"name": "inputs.photo", "reason": "is required"}]}),
    (401, {"message": "Invalid API key"}),
    (402, {"message": "Not enough credits"}),
    (403, {"message": "User is not authorized to access this resource"}),
    (404, {"message": "AI resource not found"}),
    (413, ""),
    (415, ""),
    (422, {"message": "photo is not usable"}),
    (429, ""),
    (302, ""),
    (500, {"message": "Internal Server Error"}),
    (202, {}),
)


def _iterate_providers() -> Iterator[Example]:
    provider = Magnific()
    for status, body in _ANSWERS:
        text = json.dumps(body) if body != "" else ""
        outcome = provider.parse_start(
            ApiAnswer(status, {"retry-after": "7"} if status in {429, 503} else {}, text.encode())
        )
        if not isinstance(outcome, NotTaken | Uncertain):
            raise TypeError(outcome)
        yield Example(f"a start answered {status} {text}".strip(), outcome.error)
    magica = Magica()
    lists = ApiAnswer(200, {}, b'{"data": {"id": "x"}}')
    yield catch(f"Magica's list of workflows: {lists.body.decode()}", lambda: magica.parse_list(lists, is_own=True))
    look = ApiAnswer(200, {}, b'{"data": [5]}')
    yield catch(f"Magica's answer to a poll: {look.body.decode()}", lambda: magica.parse_status(look, now=0.0))
    apps = ApiAnswer(200, {}, b'{"data": {"id": "x"}}')
    yield catch(f"Magnific's list of apps: {apps.body.decode()}", lambda: provider.parse_list(apps, is_own=True))
    yield catch("a list answered 503", lambda: provider.parse_list(ApiAnswer(503, {}, b""), is_own=True))
    yield catch("a list answered 200 <html>", lambda: provider.parse_list(ApiAnswer(200, {}, b"<html>"), is_own=True))
    for breakage in Breakage:
        yield Example(f"a poll: {breakage.name.lower()}", ProviderUnreachable("Magnific", Operation.READ_RUN, breakage))
    yield Example("the 1,000 requests of the day", DayUsedUp("Magica", Operation.START_RUN, 18_600.0))
    yield Example("FLOWPORT_REQUESTS_PER_DAY=5", DayUsedUp("Magica", Operation.START_RUN, 600.0, is_reported=False))
    yield Example("anything else of a provider", ProviderError("Magica", Operation.READ_BALANCE))
    yield Example("a result whose server fails", FetchError("cdn.example", "the server answered HTTP 500"))
    problem = "it answered with status 404"
    yield Example("FLOWPORT_OAUTH_ISSUER at another server", IssuerFailed("https://auth.example.com", problem, 404))
    yield Example("an upload that is refused", UploadError("storage.example", "its server answered HTTP 403"))


# By name, because other constants of the library have equal numbers.
_SQLITE_CODES: Final = tuple(
    f"SQLITE_{word}"
    for word in ("BUSY", "LOCKED", "PERM", "READONLY", "CANTOPEN", "FULL", "IOERR", "CORRUPT", "NOTADB", "CONSTRAINT")
)


def _iterate_records() -> Iterator[Example]:
    for name in _SQLITE_CODES:
        error = sqlite3.OperationalError("x")
        error.sqlite_errorcode = getattr(sqlite3, name)
        yield Example(name, faults.build_store_error(error))
    yield Example("another error of SQLite", faults.build_store_error(sqlite3.OperationalError("x")))
    yield Example("a file without rights", build_file_error(PermissionError(13, "Permission denied")))
    yield Example("a call while Flowport ends", faults.build_closed_error())
    problem = "its folder /home/me/flowport does not let programs lock files (No locks available)"
    yield Example("a home without locks", StoreError(problem, "Set FLOWPORT_HOME to a folder on a local disk."))
