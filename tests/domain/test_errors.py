"""The one place where the errors' sentences are pinned: other tests look at fields."""

import re
from typing import Final

import pytest

from flowport.domain import call_errors, errors
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
    NEVER_CONNECTED,
    AppUnsupported,
    ArgumentProblem,
    ArgumentsInvalid,
    Breakage,
    ConfigurationError,
    DayUsedUp,
    FlowportError,
    Operation,
    ProviderBroken,
    ProviderBusy,
    ProviderError,
    ProviderRefused,
    ProviderRejected,
    ProviderUnreachable,
    RunNotFound,
    StoreError,
)
from flowport.network import causes as network_errors
from flowport.network.causes import FetchError, UploadError

START, READ, LIST, DESCRIBE = Operation.START_RUN, Operation.READ_RUN, Operation.LIST_APPS, Operation.DESCRIBE_APP

SENTENCES: Final = [
    (
        UncertainStart("Magnific", "run_x", 1_800_000_000.0, "It is not known whether it started."),
        "Nothing new was started: run_x, sent to Magnific at 2027-01-15 08:00 UTC, asked for the same. It is not known whether it started. If it is not there, run_app with new_run true starts another one, which is charged by itself.",
    ),
    (
        TooManyCalls(200),
        "Nothing was started: 200 of your calls are waiting already, which is the limit of this server. Wait for one of them, or use run_batch for many runs of one app.",
    ),
    (
        ServerEnding(),
        "Flowport is shutting down, and this call was not finished. Call again in a moment with the same arguments: a run that was started meanwhile is joined and not started again.",
    ),
    (
        RunCapReached("Sketch", 30.5, 20.0),
        (
            'Nothing was started: "Sketch" costs 30.5 credits, and FLOWPORT_MAX_CREDITS_PER_RUN allows 20 for one run. Only '
            "the person who runs Flowport can raise it, in its configuration; find_apps with max_credits 20 shows what is within it."
        ),
    ),
    (
        DayCapReached("Sketch", 1.0, 20.0, 12.0, 6.0, 8.0, 0.0),
        (
            'Nothing was started: "Sketch" costs 1 credit, and of the 20 that FLOWPORT_MAX_CREDITS_PER_DAY allows in 24 '
            "hours 12 are spent (of which 6 by unknown runs), 8 reserved for runs that go on, and 0 left. Wait until "
            "earlier runs are a day old; only the person who runs Flowport can raise the cap, in its configuration. get_balance shows "
            "what is left."
        ),
    ),
    (
        DayCapReached("Sketch", None, 20.0, 20.0, 0.0, 0.0, 0.0),
        (
            'Nothing was started: "Sketch" does not state its price, and of the 20 that FLOWPORT_MAX_CREDITS_PER_DAY allows '
            "in 24 hours 20 are spent, 0 reserved for runs that go on, and 0 left. Wait until earlier runs are a day old; "
            "only the person who runs Flowport can raise the cap, in its configuration. get_balance shows what is left."
        ),
    ),
    (
        MonthCapReached("Sketch", 1.0, 20.0, 12.0, 0.0, 8.0, 0.0),
        (
            'Nothing was started: "Sketch" costs 1 credit, and of the 20 that FLOWPORT_MAX_CREDITS_PER_MONTH allows in 30 '
            "days 12 are spent, 8 reserved for runs that go on, and 0 left. Wait until earlier runs are 30 days old; only "
            "the person who runs Flowport can raise the cap, in its configuration. get_balance shows what is left."
        ),
    ),
    (
        DayCapReached("Sketch", 1.0, 20.0, 20.0, 0.0, 0.0, 0.0, is_own=True),
        (
            'Nothing was started: "Sketch" costs 1 credit, and of the 20 that the limit of your own token allows in 24 '
            "hours 20 are spent, 0 reserved for runs that go on, and 0 left. Wait until earlier runs are a day old; only an "
            "administrator can raise the cap, by another token. get_balance shows what is left."
        ),
    ),
    (
        RunCapReached("Sketch", 30.5, 20.0, is_own=True),
        (
            'Nothing was started: "Sketch" costs 30.5 credits, and the limit of your own token allows 20 for one run. Only '
            "an administrator can raise it, by another token; find_apps with max_credits 20 shows what is within it."
        ),
    ),
    (
        AccountCapReached("Sketch", 5.0, 500.0, 2.5, CapPeriod.DAY),
        (
            'Nothing was started: "Sketch" costs 5 credits, and of the 500 that FLOWPORT_ACCOUNT_MAX_CREDITS_PER_DAY allows '
            "in 24 hours for all who use this account together 2.5 are left. Wait until earlier runs no longer count; only "
            "the person who runs Flowport can raise the cap, in its configuration. get_balance shows what is left."
        ),
    ),
    (
        AccountCapReached("Sketch", None, 500.0, 0.0, CapPeriod.MONTH, runs=3),
        (
            'Nothing was started: "Sketch" does not state its price, and this asks for 3 runs of it, and of the 500 that '
            "FLOWPORT_ACCOUNT_MAX_CREDITS_PER_MONTH allows in 30 days for all who use this account together 0 are left. "
            "Wait until earlier runs no longer count; only the person who runs Flowport can raise the cap, in its configuration. "
            "get_balance shows what is left."
        ),
    ),
    (
        PriceUnconfirmed("Sketch", 30.0, 1.0, is_own=True),
        (
            'Nothing was started: "Sketch" costs 30 credits. The person is to be asked about every run above 1 credit, and '
            "this client cannot ask. The person can have an administrator give them a token with a higher threshold, or call "
            "from a client that can ask."
        ),
    ),
    (
        PriceUnknown("Sketch"),
        (
            'Nothing was started: "Sketch" does not state its price, and FLOWPORT_UNKNOWN_PRICE is refuse. Only the person '
            "can set it to confirm or allow, in Flowport's configuration."
        ),
    ),
    (
        PriceUnconfirmed("Sketch", 30.0, 1.0),
        (
            'Nothing was started: "Sketch" costs 30 credits. The person is to be asked about every run above 1 credit, and '
            "this client cannot ask. The person can raise FLOWPORT_CONFIRM_ABOVE_CREDITS to 30 or more in Flowport's "
            "configuration, or call from a client that can ask."
        ),
    ),
    (
        PriceUnconfirmed("Sketch", None, None),
        (
            'Nothing was started: "Sketch" does not state its price. The person is to be asked about every run of an '
            "unknown price, and this client cannot ask. The person can set FLOWPORT_UNKNOWN_PRICE to allow in Flowport's "
            "configuration, or call from a client that can ask."
        ),
    ),
    (
        ConfirmationNeeded("Start another one?"),
        'Nothing was started yet: the person is asked first "Start another one?".',
    ),
    (
        FilesFull(2_000_400_000, 2_000_000_000),
        "Your uploads and saved results fill 2,000 MB of the 2,000 MB that they may occupy on this server, so nothing was started and nothing is charged. Results that you have are kept. Uploads leave after a week; ask the operator of the server to erase old runs with their files, or to raise FLOWPORT_PERSON_MAX_MEGABYTES.",
    ),
    (
        NotConfirmed("Start another one?"),
        'Nothing was started and nothing is charged: the person did not agree when asked "Start another one?".',
    ),
    (
        NotConfirmed(PriceUnconfirmed("Text to Picture", 2.0, 1.0).question),
        "Nothing was started and nothing is charged: the person did not agree when asked \"Run 'Text to Picture' for 2 credits?\".",
    ),
    (
        NotConfirmed(PriceUnconfirmed("Sketch", 6.0, 1.0, runs=3).question),
        "Nothing was started and nothing is charged: the person did not agree when asked \"Start 3 runs of 'Sketch' for 6 credits together?\".",
    ),
    (
        NotConfirmed(PriceUnconfirmed("Sketch", None, None).question),
        "Nothing was started and nothing is charged: the person did not agree when asked \"Run 'Sketch' without knowing the price?\".",
    ),
    (
        ConfigurationError("FLOWPORT_MAX_TOOLS", "is 'many'", "It takes a whole number from 0 to 1000."),
        "FLOWPORT_MAX_TOOLS is 'many'. It takes a whole number from 0 to 1000.",
    ),
    (ProviderError("Magnific", LIST), "Magnific did not list its apps."),
    (
        ProviderUnreachable("Magnific", START, Breakage.NO_CONNECTION),
        "Magnific could not start the run: no connection could be made. Check the network and try again.",
    ),
    (
        ProviderUnreachable(
            "Magnific",
            START,
            Breakage.UNUSABLE_SETTING,
            "SSL_CERT_FILE names /nope, which does not exist",
            "Correct or remove it.",
        ),
        ("Magnific could not start the run: SSL_CERT_FILE names /nope, which does not exist. Correct or remove it."),
    ),
    (
        ProviderRefused("Magnific", LIST, 401, "Invalid API key"),
        (
            "Magnific does not accept the API key. Check the key in the client's configuration. "
            'Magnific says: "Invalid API key"'
        ),
    ),
    (
        ProviderRefused("Magnific", START, 402),
        "Magnific says that the account does not have enough credits. Add credits there and try again.",
    ),
    (
        ProviderRefused("Magnific", READ, 403),
        "Magnific does not allow this key or plan to do that. Check the plan and the rights of the key.",
    ),
    (
        ProviderBusy("Magnific", START, 429, 12.4),
        "Magnific allows no more requests just now and did not start the run. Try again in 13 seconds.",
    ),
    (
        ProviderBusy("Magnific", DESCRIBE, 503),
        "Magnific is not available just now and did not describe the app. Try again in about a minute.",
    ),
    (
        DayUsedUp("Magica", START, 18_600.0),
        "Magica allows this key no more requests today and was not asked to start the run. Requests are allowed again in about 5 h 10 min.",
    ),
    (
        DayUsedUp("Magica", START, 86_400.0, is_reported=False),
        "The day's requests are used up, and Magica was not asked to start the run. Requests are allowed again in about 24 h.",
    ),
    (
        ProviderRejected("Magica", START, 404, problem="Magica's MCP server does not answer"),
        "Magica's MCP server does not answer.",
    ),
    (
        ProviderRejected("Magnific", START, 422, "image is required"),
        'Magnific does not accept these inputs. Magnific says: "image is required"',
    ),
    (ProviderRejected("Magnific", READ, 404), "Magnific knows no such run."),
    (ProviderRejected("Magnific", START, 404), "Magnific knows no such app."),
    (ProviderRejected("Magnific", START, 413), "Magnific finds the request too large."),
    (ProviderRejected("Magnific", START, 415), "Magnific does not take this kind of file."),
    (
        ProviderRejected("Magnific", READ, 418),
        "Magnific rejected the request to report the state of the run (HTTP 418).",
    ),
    (
        ProviderBroken("Magnific", READ, 200, "its answer is not the JSON that it promises"),
        (
            "Magnific could not report the state of the run: its answer is not the JSON that it promises. "
            "The fault is on its side; try again later."
        ),
    ),
    (
        AppUnsupported("uqzQLDr2Aw", "one of its inputs cannot be read"),
        "The app uqzQLDr2Aw is left out because one of its inputs cannot be read.",
    ),
    (
        AppNotFound("skech", ("sketch", "sketchy")),
        "There is no app 'skech'. Did you mean sketch or sketchy? find_apps lists what there is.",
    ),
    (
        AppNotFound("sketch", (), "Magnific could not list its apps."),
        "Magnific could not list its apps. There is no app 'sketch' among those that could be read.",
    ),
    (
        AppAmbiguous("Sketch", (Namesake("sketch", "a", "Magnific"), Namesake("sketch_2", 'b". Run', "Magica"))),
        (
            'Several apps are called "Sketch": sketch (id "a", Magnific) and sketch_2 (id "b\'. Run", Magica). Nothing was '
            "started; name one by its tool name."
        ),
    ),
    (
        AppAmbiguous("Sketch", tuple(Namesake(f"sketch_{n}", str(n), "Magnific") for n in range(7))),
        (
            'Several apps are called "Sketch": sketch_0 (id "0", Magnific), sketch_1 (id "1", Magnific), sketch_2 '
            '(id "2", Magnific), sketch_3 (id "3", Magnific), sketch_4 (id "4", Magnific) and 2 more, which find_apps '
            "lists. Nothing was started; name one by its tool name."
        ),
    ),
    (
        DefinitionNotRead("Sketch", "Magnific", None),
        (
            'Nothing was started and nothing is charged: the definition of "Sketch" could not be read in time, because '
            "Magnific has not answered yet. The reading goes on; call again in a moment."
        ),
    ),
    (
        DefinitionNotRead("Sketch", "Magnific", 34),
        (
            'Nothing was started and nothing is charged: the definition of "Sketch" could not be read in time, because the '
            "requests of this minute are used up. The reading goes on; call again in about 34 seconds."
        ),
    ),
    (AppNotFound("x\ny", ()), r"There is no app 'x\ny'. find_apps lists what there is."),
    (
        ArgumentsInvalid(
            (ArgumentProblem("image", "is missing"), ArgumentProblem("n", "is 'x'", "It takes a number."))
        ),
        "Nothing was started. image is missing. n is 'x'. It takes a number.",
    ),
    (ArgumentsInvalid((ArgumentProblem("limit", "is 99"),), is_for_run=False), "limit is 99."),
    (
        FetchError("cdn.example", "the server answered HTTP 500"),
        "The file at cdn.example could not be fetched: the server answered HTTP 500.",
    ),
    (
        UploadError("storage.example", "its server answered HTTP 403"),
        "The file could not be uploaded to storage.example: its server answered HTTP 403.",
    ),
    (
        StoreError("the disk is full", "Free some space."),
        "Flowport's record of runs cannot be used: the disk is full. Free some space.",
    ),
    (RunNotFound("x" * 61), f"There is no run '{'x' * 60}'. list_runs shows the runs that Flowport knows."),
    (RunNotFound("run_x"), "There is no run 'run_x'. list_runs shows the runs that Flowport knows."),
    (
        RunNotOver("run_x"),
        "The run 'run_x' is not over, and its result may still come: only what is over can be erased. Wait for its end, or cancel it if it was not sent yet.",
    ),
    (
        ResourceNotFound("flowport://runs/x"),
        "There is no such resource. list_runs shows the runs; each answer names the resources of its run.",
    ),
]


def find_classes(base: type[FlowportError]) -> set[type[FlowportError]]:
    """Return a class of the taxonomy and all below it."""
    ours = {errors.__name__, network_errors.__name__, call_errors.__name__}
    below = [kind for kind in base.__subclasses__() if kind.__module__ in ours]
    return {base}.union(*(find_classes(kind) for kind in below))


@pytest.mark.parametrize(("error", "sentence"), SENTENCES)
def test_an_error_is_the_sentence_that_a_reader_needs(error: FlowportError, sentence: str) -> None:
    """It says what is wrong and what to do."""
    assert str(error) == sentence


def test_no_class_is_without_a_sentence() -> None:
    """A class that is added must be pinned here too."""
    assert {type(error) for error, _ in SENTENCES} == find_classes(FlowportError) - {FlowportError}


def test_every_class_is_drawn_in_the_tree() -> None:
    """The module's docstring is the map of the taxonomy."""
    drawn = set(re.findall(r"[A-Z][a-z]+[A-Z]\w+", errors.__doc__ or "")) | {"FlowportError"}
    assert {kind.__name__ for kind in find_classes(FlowportError)} == drawn


def build_variants() -> list[FlowportError]:
    """Return the pinned errors and every status, operation and breakage that a sentence may speak of."""
    found = [error for error, _ in SENTENCES]
    for operation in Operation:
        found += [ProviderUnreachable("Magnific", operation, breakage) for breakage in Breakage]
        found += [ProviderBroken("Magnific", operation, status, "it answered HTTP 500") for status in (204, 302, 500)]
        found += [ProviderRejected("Magnific", operation, status) for status in range(400, 500)]
        found += [ProviderRefused("Magnific", operation, status) for status in (401, 402, 403)]
        found += [ProviderBusy("Magnific", operation, s, after) for s in (429, 503) for after in (None, 0.0, 300.0)]
        found += [DayUsedUp("Magica", operation, seconds) for seconds in (0.0, 59.0, 61.0, 3600.0, 86_400.0)]
    return found


def test_every_sentence_is_whole_and_speaks_no_python() -> None:
    """Models and people read it; a class name or a None is a case that was forgotten."""
    sentences = [str(error) for error in build_variants()]
    assert [text for text in sentences if not re.fullmatch(r"[A-Za-z][^\n]*[.\"]", text)] == []
    odd = re.compile(r"None|\w\(|<|Error|\.\.|  |Operation|Breakage")
    assert [text for text in sentences if odd.search(text)] == []


@pytest.mark.parametrize("breakage", Breakage)
def test_what_never_connected_was_not_sent(breakage: Breakage) -> None:
    """Only then may a start be sent again; everything else may have arrived."""
    arrived = {"BROKEN_OFF", "NO_ANSWER", "GARBLED"}
    error = ProviderUnreachable("Magnific", START, breakage)
    assert error.was_sent is (breakage.name in arrived)
    assert {kind.name for kind in Breakage if kind not in NEVER_CONNECTED} == arrived


def test_errors_are_distinguished_as_objects() -> None:
    """Two equal failures are two failures: a group that holds both must keep both, and sets must take them."""
    assert len({RunNotFound("x"), RunNotFound("x")}) == 2
