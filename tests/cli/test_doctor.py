"""`flowport doctor` in broken situations: real processes, homes and providers."""

import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from flowport.cli.doctor import checks
from flowport.cli.doctor.collect import check_account, open_reading_accounts
from flowport.cli.doctor.command import examine
from flowport.cli.doctor.findings import Finding, Level
from flowport.settings.key_file import save_key_file
from flowport.settings.settings import explain_settings, get_environment
from flowport.store.sqlite.connection import STORE_NAME
from tests.cli.test_record import LIVE, save_runs
from tests.support.children import open_child
from tests.support.provider_process import ProviderProcess, open_provider
from tests.support.raw_server import Reply, build_reply, serving
from tests.support.rights import obey_modes
from tests.support.terminal import Ran, Terminal

GONE = "http://127.0.0.1:9"
"""The discard port: nothing listens there."""
KEY = {"MAGNIFIC_API_KEY": "FPSX0123456789abcdef"}
OFFLINE = {**KEY, "MAGNIFIC_BASE_URL": GONE}
"""With it a server lists its own tools at once."""


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderProcess]:
    """Run both providers for the module."""
    with open_provider(tmp_path_factory.mktemp("provider")) as process:
        yield process


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """Return a user without any configuration."""
    return Terminal(tmp_path, {})


@pytest.fixture
def home(terminal: Terminal) -> Path:
    """Return the folder of this user's record, which does not exist yet."""
    return terminal.folder / ".local" / "share" / "flowport"


def find_lines(ran: Ran, name: str = "") -> list[tuple[str, str, str]]:
    """Return level, sentence and fix of the lines with a name; without one, of those that are not ok."""
    assert "Traceback" not in ran.everything
    findings: list[dict[str, str]] = ran.read_json()["findings"]
    chosen = [one for one in findings if (one["name"] == name if name else one["level"] != "ok")]
    return [(one["level"], one["sentence"], one["fix"]) for one in chosen]


async def examine_here(monkeypatch: pytest.MonkeyPatch, terminal: Terminal, **variables: str) -> list[Finding]:
    """Return the lines for an environment, without those about servers: their processes take seconds."""
    for name, value in {**terminal.environment, **variables}.items():
        monkeypatch.setenv(name, value)
    report = explain_settings({}, get_environment())
    return await examine(report, own_command=())


def find(findings: list[Finding], name: str) -> list[Finding]:
    """Return the lines with a name."""
    return [one for one in findings if one.name == name]


def test_a_new_user_sees_what_to_do(terminal: Terminal) -> None:
    """Nothing is broken, and nothing is created."""
    ran = terminal.run("doctor", "--json")

    assert ran.code == 0
    assert find_lines(ran) == [("warning", "No API key is set, so only the demo apps are listed.", "flowport auth")]
    assert list(terminal.folder.iterdir()) == []


def test_the_lines_in_a_terminal_hold_the_same(terminal: Terminal) -> None:
    """Level, name and sentence, and what corrects it below."""
    ran = terminal.run("doctor")

    assert "ok       version: Flowport " in ran.out
    assert (
        "warning  API keys: No API key is set, so only the demo apps are listed.\n         -> flowport auth\n"
        in ran.out
    )


def test_a_working_installation_is_ok(terminal: Terminal, provider: ProviderProcess) -> None:
    """Keys, clock, limits and the tool list; nothing is started there."""
    ran = terminal.run("doctor", "--json", **provider.variables)

    assert find_lines(ran) == []
    [(_, accepted, _)] = find_lines(ran, "Magnific")
    assert "The key from the environment is accepted by Magnific" in accepted
    assert {level for level, *_ in find_lines(ran, "clock")} == {"ok"}
    assert provider.variables["MAGNIFIC_API_KEY"] not in ran.everything


def test_one_request_is_sent_for_each_key(terminal: Terminal, provider: ProviderProcess) -> None:
    """The servers that are tried send none: a key may have 1,000 a day."""
    provider.ask("reset", {})

    terminal.run("doctor", **provider.variables)

    counts = provider.ask("counts")
    assert {name: count for name, count in counts.items() if isinstance(count, int) and count} == {"list_own": 2}
    assert counts["families"] == {"flows": 1, "magica": 1}


def test_each_setting_is_shown_with_its_origin(terminal: Terminal) -> None:
    """Of a key only that it is set."""
    terminal.config_folder.mkdir(parents=True)
    (terminal.config_folder / "config.toml").write_text('flowport_wait_seconds = 7\nflowport_apps = ["a*", "b"]\n')
    (terminal.config_folder / "keys.toml").write_text('magica_api_key = "gx_0123456789abcdef"\n')

    ran = terminal.run(
        "doctor", "--json", "--home", str(terminal.folder / "h"), FLOWPORT_MAX_TOOLS="5", MAGICA_BASE_URL=GONE
    )

    shown = {
        name: find_lines(ran, name)[0][1] for name in ("FLOWPORT_WAIT_SECONDS", "FLOWPORT_APPS", "FLOWPORT_MAX_TOOLS")
    }
    assert shown == {
        "FLOWPORT_WAIT_SECONDS": "7, set by the configuration file.",
        "FLOWPORT_APPS": "a*,b, set by the configuration file.",
        "FLOWPORT_MAX_TOOLS": "5, set by the environment.",
    }
    assert find_lines(ran, "MAGICA_API_KEY")[0][1] == "Set by the key file."
    assert find_lines(ran, "FLOWPORT_HOME")[0][1].endswith("set by the flag.")
    assert "0123456789abcdef" not in ran.everything
    [(level, sentence, _)] = find_lines(ran, "key file")
    assert (level, "Other users of this computer may read" in sentence) == ("warning", True)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"FLOWPORT_WAIT_SECONDS": "soon"}, ("FLOWPORT_WAIT_SECONDS", "is 'soon'", "It takes a number")),
        ({"FLOWPORT_WAIT_SECOND": "5"}, ("configuration", "is not a variable", "FLOWPORT_WAIT_SECONDS")),
        ({"MAGNIFIC_API_KEY": "${KEY}"}, ("MAGNIFIC_API_KEY", "placeholder", "Get a key")),
        ({"HTTPS_PROXY": "ftp://proxy"}, ("way to files", "scheme 'ftp'", "It takes http")),
        ({"SSL_CERT_FILE": "/none/ca.pem"}, ("certificates", "does not exist", "Correct or remove it")),
        ({"FLOWPORT_OUTPUT_DIR": "/proc/x"}, ("folder of results", "Nothing can be written", "FLOWPORT_OUTPUT_DIR")),
        ({"FLOWPORT_HOME": "/dev/null/home"}, ("folder of the record of runs", "not a directory", "FLOWPORT_HOME")),
        ({"FLOWPORT_HOME": "/dev/null"}, ("folder of the record of runs", "not a directory", "FLOWPORT_HOME")),
        ({**KEY, "MAGNIFIC_BASE_URL": GONE}, ("Magnific", "connection refused", "")),
        ({**KEY, "MAGNIFIC_BASE_URL": "http://example.com"}, ("MAGNIFIC_BASE_URL", "is not https", "Only an address")),
    ],
)
async def test_what_is_broken_is_one_line_with_what_corrects_it(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: tuple[str, str, str]
) -> None:
    """Everything else is checked all the same."""
    name, words, fix = expected
    found = await examine_here(monkeypatch, terminal, **variables)

    [finding] = find(found, name)
    assert words in finding.sentence
    assert fix in finding.fix
    assert finding.level is Level.FAULT
    assert {"version", "spending limits", "certificates", "way to files"} <= {one.name for one in found}


@pytest.mark.anyio
async def test_an_unreadable_home_is_named_and_the_key_is_verified(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, home: Path, provider: ProviderProcess
) -> None:
    """Each check that needs the home says so in one line."""
    home.mkdir(parents=True)
    await anyio.to_thread.run_sync(save_runs, home, LIVE)
    home.chmod(0)
    with obey_modes():
        found = await examine_here(monkeypatch, terminal, **provider.environment)
    home.chmod(0o700)

    faults = {one.name: one.sentence for one in found if one.level is Level.FAULT}
    assert set(faults) == {"folder of the record of runs", "record of runs"}
    assert "Permission denied" in faults["record of runs"]
    assert find(found, "Magnific")[0].level is Level.OK


@pytest.mark.anyio
async def test_a_proxy_that_is_down_is_named(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its variable, and without its password."""
    proxy = {"HTTPS_PROXY": "http://me:SECRET@127.0.0.1:9", "NO_PROXY": ""}
    found = await examine_here(monkeypatch, terminal, **KEY, **proxy)

    assert find(found, "way to Magnific")[0].sentence == "By the proxy of HTTPS_PROXY (http://127.0.0.1:9)."
    assert find(found, "way to files")[0].level is Level.OK
    [finding] = find(found, "Magnific")
    assert (finding.level, "the proxy of HTTPS_PROXY" in finding.sentence) == (Level.FAULT, True)
    assert "SECRET" not in repr(found)


@pytest.mark.anyio
async def test_a_user_without_a_home_folder_gets_lines(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings that need one are named, and what needs none is checked."""
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pathlib.Path.expanduser", _refuse)

    found = await examine(explain_settings({}, {}), own_command=())

    assert {one.name for one in found if one.level is Level.FAULT} == {"FLOWPORT_HOME", "FLOWPORT_OUTPUT_DIR"}


def _refuse(path: Path) -> Path:
    raise RuntimeError(f"no home for {path}")


@pytest.mark.anyio
@pytest.mark.parametrize("content", [b"flowport_wait_seconds = \n", b"\xff\xfe\xfd", b"[[[[", b"a = 1\n" * 3])
async def test_a_broken_configuration_file_is_one_line(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """With its path, and the rest is checked."""
    terminal.config_folder.mkdir(parents=True)
    (terminal.config_folder / "config.toml").write_bytes(content)

    found = await examine_here(monkeypatch, terminal)

    [finding] = find(found, "configuration")
    assert (finding.level, "config.toml" in finding.sentence) == (Level.FAULT, True)


@pytest.mark.anyio
async def test_a_refused_key_names_the_place_to_correct(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, provider: ProviderProcess
) -> None:
    """In the environment it is the variable, in the key file the command."""
    given = await examine_here(monkeypatch, terminal, **{**provider.environment, **KEY})
    monkeypatch.delenv("MAGNIFIC_API_KEY")
    terminal.config_folder.mkdir(parents=True)
    save_key_file(terminal.config_folder / "keys.toml", KEY)
    stored = await examine_here(monkeypatch, terminal)

    assert "is refused by Magnific" in find(given, "Magnific")[0].sentence
    assert find(given, "Magnific")[0].fix == "Correct MAGNIFIC_API_KEY in the environment."
    assert find(stored, "Magnific")[0].fix == "flowport auth magnific"
    assert find(stored, "Magnific")[0].level is Level.FAULT


def test_a_server_of_the_same_home_is_not_disturbed(terminal: Terminal, home: Path, provider: ProviderProcess) -> None:
    """It keeps its locks, follows its runs and answers as before."""
    environment = {**provider.variables, "FLOWPORT_HOME": str(home), "HOME": str(terminal.folder)}
    with open_child(terminal.folder / "server", environment=environment) as child:
        child.greet()
        before = child.ask("tools/list")["tools"]
        locks = sorted(path.name for path in (home / "processes").iterdir())

        ran = terminal.run("doctor", "--json", **provider.variables)

        assert (ran.code, find_lines(ran)) == (0, [])
        assert sorted(path.name for path in (home / "processes").iterdir()) == locks
        assert child.ask("tools/list")["tools"] == before
        [(_, listed, _), _] = find_lines(ran, "tool list")
        assert listed.startswith(f"{len(before)} tools")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("reply", "level", "words"),
    [
        (build_reply(b"<html>", status=502), "fault", "MAGNIFIC_BASE_URL"),
        (build_reply(b"{}", status=429), "warning", "allows no more requests"),
        (build_reply(b'{"data": 5}'), "fault", "is not a list"),
        (build_reply(b"\x00\xff" * 1000, status=500), "fault", "could not list its apps"),
    ],
)
async def test_a_provider_that_answers_badly_is_one_line(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, reply: Reply, level: str, words: str
) -> None:
    """Whatever it sends."""
    async with serving(reply) as server:
        found = await examine_here(monkeypatch, terminal, **KEY, MAGNIFIC_BASE_URL=server.origin)

    [finding] = find(found, "Magnific")
    assert (finding.level, words in f"{finding.sentence} {finding.fix}") == (level, True), finding


@pytest.mark.anyio
async def test_a_wrong_clock_is_a_warning(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the date of the provider's answer."""
    async with serving(build_reply(b'{"data": []}', "Date: Mon, 01 Jan 2024 00:00:00 GMT")) as server:
        found = await examine_here(monkeypatch, terminal, **KEY, MAGNIFIC_BASE_URL=server.origin)

    [finding] = find(found, "clock")
    assert (finding.level, "ahead of that of Magnific" in finding.sentence) == (Level.WARNING, True)


@pytest.mark.anyio
async def test_a_provider_that_does_not_answer_is_given_up(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a bound, and the other checks have not waited for it."""
    async with serving(Reply()) as server, AsyncExitStack() as stack:
        environ = {**terminal.environment, **KEY, "MAGNIFIC_BASE_URL": server.origin}
        report = explain_settings({}, environ)
        [account] = await open_reading_accounts(report.settings, stack)
        facts = await check_account(account, report.origins, seconds=0.5)

    [finding, *_] = checks.check_account(facts)
    assert (finding.level, finding.sentence) == (Level.FAULT, "Magnific did not answer within 0.5 s.")


def test_a_server_for_the_doctor_takes_nothing_over(terminal: Terminal, home: Path, provider: ProviderProcess) -> None:
    """A run that a dead process had accepted is neither started nor touched."""
    home.mkdir(parents=True)
    save_runs(home, LIVE)
    before = (home / STORE_NAME).read_bytes()

    terminal.run("doctor", "--json", **provider.variables)

    assert (home / STORE_NAME).read_bytes() == before
    assert provider.ask("counts")["runs_accepted"] == 0


def test_a_report_holds_nothing_private(terminal: Terminal, home: Path, provider: ProviderProcess) -> None:
    """Neither keys, paths, names of files and users, nor what others have written."""
    private = ["SECRETNAME", "gx_0123456789abcdefSECRET", "SECRETPROMPT", "SECRETHOST", "SECRETFILE", "SECRETWORD"]
    terminal.config_folder.mkdir(parents=True)
    (terminal.config_folder / "config.toml").write_text('flowport_apps = ["SECRETPROMPT"]\nflowport_secretword = 4\n')
    entry = {"command": "/opt/SECRETFILE/bin", "args": ["SECRETWORD"]}
    (terminal.folder / ".cursor").mkdir()
    (terminal.folder / ".cursor" / "mcp.json").write_text(json.dumps({"mcpServers": {"flowport": entry}}))
    variables = {
        "USER": "SECRETNAME",
        "MAGICA_API_KEY": private[1],
        "MAGICA_BASE_URL": "https://SECRETHOST.example/api",
        "MAGNIFIC_API_KEY": provider.variables["MAGNIFIC_API_KEY"],
        "MAGNIFIC_BASE_URL": provider.variables["MAGNIFIC_BASE_URL"],
        "HTTPS_PROXY": "http://SECRETNAME:SECRETWORD@127.0.0.1:9",
        "FLOWPORT_OUTPUT_DIR": str(terminal.folder / "SECRETFILE dir"),
        "FLOWPORT_WAIT_SECONDS": "SECRETPROMPT 'with quotes\" and {braces}",
        "SSL_CERT_FILE": "/none/SECRETFILE.pem",
    }
    path = terminal.folder / "report.txt"

    ran = terminal.run("doctor", "--report", str(path), **variables)

    report = path.read_text()
    assert ran.code == 1
    assert "fault    FLOWPORT_WAIT_SECONDS" in report
    assert "ok       Magnific" in report
    hidden = [*private, provider.variables["MAGNIFIC_API_KEY"], str(terminal.folder), terminal.folder.name]
    assert [word for word in hidden if word.lower() in report.lower()] == []


def test_a_report_that_cannot_be_written_is_reported(terminal: Terminal) -> None:
    """The lines are printed all the same."""
    ran = terminal.run("doctor", "--report", "/dev/null/report.txt")

    assert (ran.code, ran.err) == (1, "The report cannot be written (Not a directory).\n")
    assert "version: Flowport" in ran.out
