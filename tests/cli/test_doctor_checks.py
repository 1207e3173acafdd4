"""The doctor's rules: facts in, lines out."""

from dataclasses import replace
from pathlib import Path

import pytest

from flowport.cli.doctor.checks import check_account, check_caps, check_folder, check_settings, check_store
from flowport.cli.doctor.facts import AccountFacts, Answered, Failed, FolderFacts
from flowport.cli.doctor.findings import Finding, Level, Public, fault, get_worst, ok, remove_private, warn
from flowport.domain.errors import DayUsedUp, Operation, ProviderBusy, ProviderRefused, StoreError
from flowport.domain.spending import SpendingLimits
from flowport.network.ratelimit.limiter import LimiterStatus
from flowport.settings.settings import explain_settings
from flowport.store.maintenance import StoreHealth
from flowport.store.records import History

LIMIT = LimiterStatus(3, 50, 500, is_learned=False, refused_above=0, paused_seconds=0.0, day_left=None, is_shared=True)
ACCOUNT = AccountFacts(
    "Magica", "magica", "api.magica.com", "MAGICA_API_KEY", "environment", Answered(2, "v1", 0.4), LIMIT
)
FOLDER = FolderFacts("results", "FLOWPORT_OUTPUT_DIR", Path("/home/me/Pictures"), free_bytes=10**12)
HISTORY = History(runs=5, live=1, unseen=0, unknown=0, oldest_at=1.0, saved_outputs=0, saved_bytes=0)


def get_lines(findings: list[Finding]) -> list[str]:
    """Return levels, sentences and fixes."""
    return [" | ".join(filter(None, (one.level, one.sentence, one.fix))) for one in findings]


def test_a_working_account_has_three_lines() -> None:
    """The key, the clock and the limit."""
    assert get_lines([*check_account(ACCOUNT)]) == [
        "ok | The key from the environment is accepted by Magica at api.magica.com (API v1, 2 apps of your own).",
        "ok | It agrees with that of Magica within 1 s.",
        "ok | Sent in the last minute: 3 of 50 (documented, or set), which may rise to 500.",
    ]


@pytest.mark.parametrize(
    ("seconds", "line"),
    [
        (None, None),
        (-59.0, "ok | It agrees with that of Magica within 59 s."),
        (-61.0, "warning | This computer's clock is 61 s behind that of Magica."),
        (3600.0, "warning | This computer's clock is 3600 s ahead of that of Magica."),
    ],
)
def test_the_clock_may_be_a_minute_wrong(seconds: float | None, line: str | None) -> None:
    """Links and uploads expire; the run itself needs no clock."""
    lines = get_lines([*check_account(replace(ACCOUNT, outcome=Answered(2, "v1", seconds), limit=None))])

    assert [one.partition(" | Let")[0] for one in lines[1:]] == ([] if line is None else [line])


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({"is_learned": True, "limit": 120}, ["Sent in the last minute: 3 of 120 (learned), which may rise to 500."]),
        (
            {"refused_above": 60},
            [
                (
                    "Sent in the last minute: 3 of 50 (documented, or set), which may rise to 500. "
                    "Refused once: the next after 60."
                )
            ],
        ),
        (
            {"paused_seconds": 12.4},
            [
                "Magica asks for a pause of 12 s, for all programs together.",
                "Sent in the last minute: 3 of 50 (documented, or set), which may rise to 500.",
            ],
        ),
        ({"limit": 0, "ceiling": 0}, ["There is no limit."]),
        (
            {"day_left": 0},
            [
                "Sent in the last minute: 3 of 50 (documented, or set), which may rise to 500.",
                "Left of the day: 0.",
            ],
        ),
    ],
)
def test_what_was_learned_of_the_limit_is_shown(changes: dict[str, int], lines: list[str]) -> None:
    """As all programs of this computer share it."""
    status = replace(LIMIT, **changes)  # type: ignore[arg-type]
    findings = [*check_account(replace(ACCOUNT, outcome=Answered(2, "v1", None), limit=status))][1:]

    assert [one.sentence for one in findings] == lines
    assert [one.level for one in findings if one.level is not Level.OK] == [Level.WARNING] * (
        "day_left" in changes or "paused_seconds" in changes
    )


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            ProviderRefused("Magica", Operation.LIST_APPS, 401),
            (
                "fault | The key from the environment is refused by Magica at api.magica.com (401). "
                "Magica does not accept the API key. | Correct MAGICA_API_KEY in the environment."
            ),
        ),
        (
            ProviderRefused("Magica", Operation.LIST_APPS, 403),
            (
                "fault | The key from the environment is refused by Magica at api.magica.com (403). "
                "Magica does not allow this key or plan to do that. | Check the plan and the rights of the key."
            ),
        ),
        (
            ProviderBusy("Magica", Operation.LIST_APPS, 429),
            "warning | Magica allows no more requests just now and did not list its apps. | Try again in about a minute.",
        ),
        (
            DayUsedUp("Magica", Operation.LIST_APPS, 120.0),
            (
                "warning | Magica allows this key no more requests today and was not asked to list its apps. "
                "| Requests are allowed again in about 2 min."
            ),
        ),
    ],
)
def test_each_refusal_has_its_level_and_remedy(error: ProviderRefused | ProviderBusy | DayUsedUp, line: str) -> None:
    """Only what the user has to change is a fault."""
    outcome = Failed(error, error.explanation, error.advice)

    assert get_lines([*check_account(replace(ACCOUNT, outcome=outcome, limit=None))]) == [line]


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        (FOLDER, "ok | /home/me/Pictures can be written to."),
        (
            replace(FOLDER, free_bytes=900_000_000),
            "warning | /home/me/Pictures can be written to, but only 900 MB are free on its disk. | Free some space.",
        ),
        (
            replace(FOLDER, free_bytes=0),
            "fault | /home/me/Pictures can be written to, but only 0 MB are free on its disk. | Free some space.",
        ),
        (
            replace(FOLDER, problem="read-only file system"),
            (
                "fault | Nothing can be written to /home/me/Pictures: read-only file system. "
                "| Make it writable, or set FLOWPORT_OUTPUT_DIR to another folder."
            ),
        ),
        (
            replace(FOLDER, problem="permission denied", is_needed=False, setting=""),
            "warning | Nothing can be written to /home/me/Pictures: permission denied. | Make it writable.",
        ),
    ],
)
def test_each_folder_has_one_line(facts: FolderFacts, line: str) -> None:
    """A folder that runs do not need is not a fault."""
    assert get_lines([check_folder(facts)]) == [line]


@pytest.mark.parametrize(
    ("health", "lines"),
    [
        (StoreHealth(), ["ok | It is empty: no run was started yet."]),
        (StoreHealth(9, history=HISTORY), ["ok | It is sound: 5 runs, 1 of them not over."]),
        (
            StoreHealth(9, is_writable=False, history=HISTORY),
            [
                (
                    "fault | It can only be read, so no run can be started. "
                    "| Make FLOWPORT_HOME and the files in it writable."
                ),
                "ok | It is sound: 5 runs, 1 of them not over.",
            ],
        ),
        (
            StoreHealth(problem=StoreError("its file is damaged", "Restore it.")),
            ["fault | It cannot be used: its file is damaged. | Restore it."],
        ),
    ],
)
def test_the_record_has_a_line_for_each_state(health: StoreHealth, lines: list[str]) -> None:
    """Also one that can only be read."""
    assert get_lines([*check_store(health)]) == lines


def test_the_caps_are_shown(tmp_path: Path) -> None:
    """Each in credits; without any, the setting that sets one."""
    report = explain_settings({"FLOWPORT_HOME": str(tmp_path)}, {})
    capped = replace(report.settings, spending_limits=SpendingLimits(5.0, 20.5, None))

    assert (
        check_caps(replace(report, settings=capped)).sentence == "At most, in credits: 5 for a run; 20.5 for 24 hours."
    )
    assert "FLOWPORT_MAX_CREDITS_PER_DAY" in check_caps(report).sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            'flowport_max_credits_per_day = "lots"',
            "They are not known: FLOWPORT_MAX_CREDITS_PER_DAY cannot be used.",
        ),
        (
            "flowport_max_credit_per_day = 5",
            "They are not known: flowport_max_credit_per_day in a.toml cannot be used.",
        ),
        ("flowport_max_credits_per_day =", "They are not known: the configuration file cannot be read."),
    ],
)
def test_caps_that_a_fault_hides_are_not_called_unset(tmp_path: Path, text: str, sentence: str) -> None:
    """A limit that a person has set must not seem never to have been set; nor a key."""
    path = tmp_path / "a.toml"
    path.write_text(text)
    report = explain_settings({"FLOWPORT_HOME": str(tmp_path)}, {}, config_path=path)
    keys = [one.sentence for one in check_settings(report) if one.name == "API keys"]

    assert check_caps(report).level is Level.WARNING
    assert check_caps(report).sentence == sentence
    assert keys == (
        ["Whether a key is set is not known: the configuration file cannot be read."]
        if report.unread
        else ["No API key is set, so only the demo apps are listed."]
    )


def test_a_shared_line_holds_only_public_values() -> None:
    """Whatever a value looks like: braces, quotes, controls, another template."""
    finding = ok("name", "{a} {b} {c}.", "{d}", a="{e}\x1b[31m", b=Public("ours"), c=5, d='it\'s "private"\n')

    assert finding.sentence == "{e}[31m ours 5."
    assert finding.shared == "[a] ours 5. [d]"


def test_a_shared_text_loses_what_is_known_to_be_private() -> None:
    """The second net, should a template let something through."""
    text = "ok /home/Jane Doe/x gx_0123456789abcdef JANE host-1 janet"

    shared = remove_private(text, {"/home/Jane Doe", "jane", "host-1"})

    assert shared == "ok [private]/x [hidden] [private] [private] janet"


def test_the_worst_level_counts() -> None:
    """A fault is worse than a warning."""
    assert get_worst([]) is Level.OK
    assert get_worst([ok("a", "b"), fault("a", "b"), warn("a", "b")]) is Level.FAULT
