"""Examples of what goes wrong, each with the error that the program answers: most are made by giving it the example.

`write_docs.py` writes them into `docs/errors.md`. A test demands an example of every class of error.
"""

import json
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flowport.arguments import parse_arguments
from flowport.call_errors import AppAmbiguous, AppNotFound, DefinitionNotRead, Namesake, ResourceNotFound, RunNotOver
from flowport.consent import ConfirmationNeeded, NotConfirmed, StartInDoubt
from flowport.errors import (
    AppUnsupported,
    Breakage,
    DayUsedUp,
    FlowportError,
    LedgerError,
    Operation,
    ProviderError,
    ProviderUnreachable,
    RunNotFound,
)
from flowport.ledger import faults
from flowport.ledger.opening import build_file_error
from flowport.media.arguments import MediaRules, resolve_media
from flowport.model import App, Input, InputKind, Option
from flowport.network.errors import FetchError, UploadError
from flowport.providers.interface import ApiAnswer, NotTaken, Uncertain
from flowport.providers.magnific import Magnific
from flowport.providers.magnific_inputs import parse_inputs
from flowport.purse_errors import DayCapReached, PriceUnconfirmed, PriceUnknown, RunCapReached
from flowport.settings import load_settings

SHOWN_FOLDER: Final = "/home/me"
"""Stands in the document for the folder in which the examples were made."""


@dataclass(frozen=True, slots=True)
class Example:
    """One thing that goes wrong."""

    given: str
    """What was given, or what happened."""
    error: FlowportError


@dataclass(frozen=True, slots=True)
class Section:
    """Examples of one kind."""

    title: str
    reader: str
    """Who reads these sentences, and who acts on them."""
    examples: tuple[Example, ...]


def build_sections() -> list[Section]:
    """Return all examples, by where they come from."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        return [
            Section(
                "Settings",
                "In every answer, and on standard error. For the person who set Flowport up.",
                tuple(_iterate_settings(folder)),
            ),
            Section(
                "Arguments of a call",
                "In the answer. For the assistant, which corrects the call; nothing was sent.",
                (*_iterate_arguments(), *_iterate_media(folder)),
            ),
            Section(
                "Apps, runs and resources",
                "In the answer. For the assistant.",
                tuple(_iterate_names()),
            ),
            Section(
                "What runs cost",
                "In the answer. For the person, whose limits these are.",
                tuple(_iterate_costs()),
            ),
            Section(
                "Providers and the network",
                "In the answer, as the failure or problem of a run, and in `find_apps`. For whoever the advice names.",
                tuple(_iterate_providers()),
            ),
            Section(
                "The record of runs",
                "In the answer, once on standard error, and in a terminal. For the person who set Flowport up.",
                tuple(_iterate_records()),
            ),
        ]


def format_sentence(error: FlowportError, folder: str = "") -> str:
    """Return an error's sentence on one line, with the folder of the examples called by its usual name."""
    text = str(error).replace(folder, SHOWN_FOLDER) if folder else str(error)
    return " ".join(text.split())


def _catch(given: str, work: Callable[[], object], folder: Path | None = None) -> Example:
    try:
        work()
    except FlowportError as exc:
        if folder is None:
            return Example(given, exc)
        sentence = format_sentence(exc, str(folder))
        return Example(given, _Told(type(exc), sentence))
    message = f"{given} is no error"
    raise AssertionError(message)


class _Told(FlowportError):
    """An error whose sentence was made with another folder's name."""

    def __init__(self, kind: type[FlowportError], sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


def get_class_name(error: FlowportError) -> str:
    """Return the name of an example's class."""
    return error.kind.__name__ if isinstance(error, _Told) else type(error).__name__


_ENVIRONMENTS: Final = (
    {"FLOWPORT_MAX_TOOL": "5"},
    {"FLOWPORT_MAX_TOOLS": "many"},
    {"FLOWPORT_WAIT_SECONDS": "-1"},
    {"FLOWPORT_PREVIEWS": "perhaps"},
    {"FLOWPORT_SOURCE": "mine"},
    {"FLOWPORT_HOME": "results"},
    {"FLOWPORT_OUTPUT_DIR": "~nobody-of-that-name/x"},
    {"FLOWPORT_DATABASE_URL": "postgresql://x"},
    {"FLOWPORT_REQUESTS_PER_MINUTE": "0", "FLOWPORT_REQUESTS_PER_DAY": "5"},
    {"MAGNIFIC_API_KEY": "${MAGNIFIC_API_KEY}"},
    {"MAGNIFIC_API_KEY": "gx_0123456789"},
    {"MAGICA_API_KEY": "FPSX0123456789"},
    {"MAGNIFIC_API_KEY": "Bearer mk-0123456789"},
    {"MAGNIFIC_API_KEY": "<mk-0123456789>"},
    {"MAGNIFIC_API_KEY": "mk-0123...6789"},
    {"MAGNIFIC_API_KEY": "mk 0123456789"},
    {"MAGNIFIC_BASE_URL": "http://api.magnific.com"},
    {"MAGNIFIC_BASE_URL": "api.magnific.com"},
    {"MAGICA_CANCEL_PATH": "cancel"},
    {"FLOWPORT_TEST_REHEARSAL": "x"},
)
_FILES: Final = (
    "wait_seconds = 4",
    "FLOWPORT_WAIT_SECONDS = 4",
    "[server]\nport = 1",
    "flowport_apps = [1]",
    "flowport_wait_seconds 4",
    "flowport_home = /data",
    'flowport_home = "C:\\Users"',
    '[[magica_workflows]]\nname = "x"',
    '[[magica_workflows]]\nid = "x"\nflowport_max_tools = 5',
)


def _iterate_settings(folder: Path) -> Iterator[Example]:
    for environ in _ENVIRONMENTS:
        # Keys are never shown as they stand; these are none.
        given = ", ".join(f"{name}={text}" for name, text in environ.items())
        yield _catch(given, lambda environ=environ: load_settings({}, {"FLOWPORT_HOME": "/h", **environ}))  # type: ignore[misc]
    path = folder / "config.toml"
    for content in _FILES:
        path.write_text(content, encoding="utf-8")
        given = f"config.toml: {content}".replace("\n", " ⏎ ")
        yield _catch(given, lambda: load_settings({}, {}, config_path=path), folder)
    path.write_bytes("# café".encode("latin-1"))
    yield _catch("config.toml in Latin-1", lambda: load_settings({}, {}, config_path=path), folder)
    yield _catch(
        "--config of a file that is not there", lambda: load_settings({}, {}, config_path=folder / "x"), folder
    )


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
)


def _iterate_arguments() -> Iterator[Example]:
    usual = {"photo": "/p.png", "prompt": "a lake"}
    for call in _CALLS:
        given = {**usual, **call} if call and "promt" not in call else call
        shown = json.dumps(call)
        yield _catch(shown, lambda given=given: parse_arguments(_APP, _NAMES, given))  # type: ignore[misc]


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
        yield _catch(shown, work, folder)


def _iterate_names() -> Iterator[Example]:
    namesakes = (Namesake("sketch", "uqzQLDr2Aw", "Magnific"), Namesake("magica_sketch", "cmonfiheh", "Magica"))
    refused = ProviderUnreachable("Magnific", Operation.LIST_APPS, Breakage.NO_CONNECTION)
    yield Example("an app that does not exist", AppNotFound("skech", ("sketch",)))
    yield Example("an app, while the list cannot be read", AppNotFound("sketch", (), str(refused)))
    yield Example("a name that two apps have", AppAmbiguous("Sketch", namesakes))
    yield Example("an app whose definition is still being read", DefinitionNotRead("Sketch", "Magnific", 34))
    yield Example("the same, with no answer of the provider", DefinitionNotRead("Sketch", "Magnific", None))
    yield _catch("an app with 65 inputs", lambda: parse_inputs("uqzQLDr2Aw", [{"id": str(n)} for n in range(65)]))
    yield Example("an app left out", AppUnsupported("uqzQLDr2Aw", "its definition names no inputs"))
    yield Example("a run id that is unknown", RunNotFound("run_ab2cd3ef4g"))
    yield Example("`flowport erase` of a run that goes on", RunNotOver("run_ab2cd3ef4g"))
    yield Example("flowport://runs/x", ResourceNotFound("flowport://runs/x"))


def _iterate_costs() -> Iterator[Example]:
    asked = PriceUnconfirmed("Retro Poster", 30.0, 20.0)
    doubt = StartInDoubt("Magnific", "run_ab2cd3ef4g", 1_795_000_000.0, "Nobody knows whether it was started.")
    yield Example("30 credits, FLOWPORT_MAX_CREDITS_PER_RUN=20", RunCapReached("Retro Poster", 30.0, 20.0))
    yield Example(
        "30 credits, FLOWPORT_MAX_CREDITS_PER_DAY=100",
        DayCapReached("Retro Poster", 30.0, 100.0, 80.0, 10.0, 0.0, 20.0),
    )
    yield Example("no price, FLOWPORT_UNKNOWN_PRICE=refuse", PriceUnknown("Retro Poster"))
    yield Example("30 credits, FLOWPORT_CONFIRM_ABOVE_CREDITS=20, a client that cannot ask", asked)
    yield Example("the same, a client that asks", ConfirmationNeeded(asked.question))
    yield Example("the same, and the person says no", NotConfirmed(asked.question))
    yield Example("a call equal to a run of unknown fate", doubt)


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
    yield _catch("a list answered 503", lambda: provider.parse_list(ApiAnswer(503, {}, b""), is_own=True))
    yield _catch("a list answered 200 <html>", lambda: provider.parse_list(ApiAnswer(200, {}, b"<html>"), is_own=True))
    for breakage in Breakage:
        yield Example(f"a look: {breakage.name.lower()}", ProviderUnreachable("Magnific", Operation.READ_RUN, breakage))
    yield Example("the 1,000 requests of the day", DayUsedUp("Magica", Operation.START_RUN, 18_600.0))
    yield Example("FLOWPORT_REQUESTS_PER_DAY=5", DayUsedUp("Magica", Operation.START_RUN, 600.0, is_told=False))
    yield Example("anything else of a provider", ProviderError("Magica", Operation.READ_BALANCE))
    yield Example("a result whose server fails", FetchError("cdn.example", "the server answered HTTP 500"))
    yield Example("an upload that is refused", UploadError("storage.example", "its server answered HTTP 403"))


# By name, because other constants of the library have the same numbers.
_SQLITE_CODES: Final = tuple(
    f"SQLITE_{word}"
    for word in ("BUSY", "LOCKED", "PERM", "READONLY", "CANTOPEN", "FULL", "IOERR", "CORRUPT", "NOTADB", "CONSTRAINT")
)


def _iterate_records() -> Iterator[Example]:
    for name in _SQLITE_CODES:
        error = sqlite3.OperationalError("x")
        error.sqlite_errorcode = getattr(sqlite3, name)
        yield Example(name, faults.build_ledger_error(error))
    yield Example("another error of SQLite", faults.build_ledger_error(sqlite3.OperationalError("x")))
    yield Example("a file without rights", build_file_error(PermissionError(13, "Permission denied")))
    yield Example("a call while Flowport ends", faults.build_closed_error())
    problem = "its folder /home/me/flowport does not let programs lock files (No locks available)"
    yield Example("a home without locks", LedgerError(problem, "Set FLOWPORT_HOME to a folder on a local disk."))
