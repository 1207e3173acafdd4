"""The configuration: from where, in which order, and what is refused with which words."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from flowport.domain.errors import ConfigurationError
from flowport.domain.models import Source
from flowport.domain.spending import SpendingLimits, UnknownPrice
from flowport.providers.magica.declared import DeclaredInput, DeclaredWorkflow
from flowport.providers.registry import ProviderSettings
from flowport.settings.http_settings import HttpSettings
from flowport.settings.settings import Settings, get_environment
from flowport.settings.variables import get_variables
from tests.support.configuring import KEY, load, refuse


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Where a test writes its configuration file."""
    return tmp_path / "flowport.toml"


def test_a_key_turns_its_provider_on_and_each_setting_is_obeyed(tmp_path: Path) -> None:
    """Every variable that this version has must change something."""
    environ = {
        "MAGNIFIC_API_KEY": f" {KEY} ",
        "MAGNIFIC_BASE_URL": "http://127.0.0.1:8080/magnific/",
        "MAGNIFIC_API_STYLE": "Apps",
        "MAGNIFIC_WEBHOOK_SECRET": " whsec_abcdefgh, another-one ,",
        "MAGNIFIC_FILE_ORIGINS": "http://10.0.0.5:8188, HTTPS://Files.example:443/,",
        "MAGICA_API_KEY": " gx_1 ",
        "MAGICA_BASE_URL": "http://127.0.0.1:8080/magica/",
        "MAGICA_CANCEL_PATH": "/v1/runs/{run_id}/cancel",
        "MAGICA_WEBHOOK_SECRET": "whsec_ijklmnop",
        "MAGICA_FILE_ORIGINS": "http://127.0.0.1:9",
        "FLOWPORT_HOME": str(tmp_path / "home"),
        "FLOWPORT_APPS": " sketch_*, ,Portrait ",
        "FLOWPORT_MAX_TOOLS": "7",
        "FLOWPORT_SOURCE": "Own",
        "FLOWPORT_WAIT_SECONDS": "1.5",
        "FLOWPORT_ON_CANCEL": "STOP",
        "FLOWPORT_REATTACH_SECONDS": "60",
        "FLOWPORT_KEEP_DAYS": "30",
        "FLOWPORT_REQUESTS_PER_MINUTE": "9",
        "FLOWPORT_REQUESTS_PER_DAY": "99",
        "FLOWPORT_MAX_CREDITS_PER_RUN": "20",
        "FLOWPORT_MAX_CREDITS_PER_DAY": "99.5",
        "FLOWPORT_MAX_CREDITS_PER_MONTH": "900",
        "FLOWPORT_ACCOUNT_MAX_CREDITS_PER_DAY": "500",
        "FLOWPORT_ACCOUNT_MAX_CREDITS_PER_MONTH": "5000",
        "FLOWPORT_CONFIRM_ABOVE_CREDITS": "0",
        "FLOWPORT_UNKNOWN_PRICE": "Refuse",
        "FLOWPORT_FILE_ROOTS": f"{tmp_path / 'a'}: {tmp_path / 'b'} :",
        "FLOWPORT_OUTPUT_DIR": str(tmp_path / "out"),
        "FLOWPORT_SAVE_OUTPUTS": "false",
        "FLOWPORT_PREVIEWS": "false",
        "FLOWPORT_LINKS": "Text",
        "FLOWPORT_PUBLIC_URL": "https://flowport.example/team/",
        "FLOWPORT_TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/8",
        "FLOWPORT_OAUTH_ISSUER": "https://login.example/realms/agency",
        "FLOWPORT_OAUTH_AUDIENCE": " flowport ",
        "FLOWPORT_OAUTH_SCOPES": "runs, files",
        "FLOWPORT_OWN_KEYS": "yes",
        "FLOWPORT_MAX_SESSIONS": "11",
        "FLOWPORT_MAX_CONNECTIONS": "12",
        "FLOWPORT_PERSON_REQUESTS_PER_MINUTE": "13",
        "FLOWPORT_PERSON_MAX_MEGABYTES": "14",
        "FLOWPORT_LINK_HOURS": "15",
        "FLOWPORT_LOGS": "JSON",
        "FLOWPORT_PERSON_MAX_WAITING_CALLS": "16",
        "FLOWPORT_DATABASE_URL": "postgresql://flowport@db.example/flowport",
        "FLOWPORT_WORKER_RUNS": "17",
    }
    assert set(environ) == {variable.name for variable in get_variables()}
    magnific = {
        "api_style": "apps",
        "file_origins": frozenset({"http://10.0.0.5:8188", "https://files.example"}),
        "webhook_secret": ("whsec_abcdefgh", "another-one"),
    }
    assert load(environ) == Settings(
        providers=(
            ProviderSettings("magnific", "http://127.0.0.1:8080/magnific", KEY, magnific),
            ProviderSettings(
                "magica",
                "http://127.0.0.1:8080/magica",
                "gx_1",
                {
                    "cancel_path": "/v1/runs/{run_id}/cancel",
                    "file_origins": frozenset({"http://127.0.0.1:9"}),
                    "webhook_secret": ("whsec_ijklmnop",),
                    "workflows": None,
                },
            ),
        ),
        home=tmp_path / "home",
        output_dir=tmp_path / "out",
        file_roots=(tmp_path / "a", tmp_path / "b"),
        apps=("sketch_*", "Portrait"),
        max_tools=7,
        source=Source.OWN,
        wait_seconds=1.5,
        should_stop_on_cancel=True,
        reattach_seconds=60.0,
        keep_days=30,
        requests_per_minute=9,
        requests_per_day=99,
        spending_limits=SpendingLimits(20.0, 99.5, 0.0, UnknownPrice.REFUSE, 900.0, 500.0, 5000.0),
        should_save_outputs=False,
        should_show_previews=False,
        should_send_links=False,
        database_url="postgresql://flowport@db.example/flowport",
        worker_runs=17,
        http=HttpSettings(
            public_url="https://flowport.example/team",
            trusted_proxies=(ip_network("127.0.0.1"), ip_network("10.0.0.0/8")),
            oauth_issuer="https://login.example/realms/agency",
            oauth_audience="flowport",
            oauth_scopes=("runs", "files"),
            should_accept_own_keys=True,
            max_sessions=11,
            max_connections=12,
            requests_per_minute=13,
            max_file_bytes=14_000_000,
            link_hours=15,
            log_format="json",
            max_waiting_calls=16,
        ),
    )


def test_a_limit_of_the_day_beside_none_of_the_minute_is_refused() -> None:
    """Without a limit nothing is counted, and a limit that does not hold is worse than none."""
    without = {"FLOWPORT_REQUESTS_PER_MINUTE": "0"}
    assert (load(without).requests_per_minute, load(without).requests_per_day) == (0, None)
    assert load({**without, "FLOWPORT_REQUESTS_PER_DAY": "0"}).requests_per_day == 0
    with pytest.raises(ConfigurationError, match="FLOWPORT_REQUESTS_PER_DAY cannot be combined with"):
        load({**without, "FLOWPORT_REQUESTS_PER_DAY": "5"})


def test_a_flag_beats_the_environment_which_beats_the_file(config: Path) -> None:
    """The nearest word counts; each source must be able to win."""
    name = "FLOWPORT_MAX_TOOLS"
    config.write_text("flowport_max_tools = 3")
    assert load().max_tools == 40
    assert load(config=config).max_tools == 3
    assert load({name: "2"}, config=config).max_tools == 2
    assert load({name: "2"}, {name: "1"}, config=config).max_tools == 1


def test_an_empty_variable_counts_as_not_set(config: Path) -> None:
    """Clients pass on empty fields of their forms; such a one must not shadow the file."""
    config.write_text("flowport_max_tools = 3")
    assert load({"FLOWPORT_MAX_TOOLS": " ", "FLOWPORT_NONSENSE": ""}, config=config).max_tools == 3


def test_a_file_holds_lists_numbers_and_truth_values(config: Path, tmp_path: Path) -> None:
    """People write TOML as TOML."""
    config.write_text(
        f'flowport_apps = ["a*", "b"]\nflowport_file_roots = ["{tmp_path}/x", "{tmp_path}/y"]\n'
        "flowport_wait_seconds = 2.5\nflowport_save_outputs = false\n"
    )
    loaded = load(config=config)
    assert loaded.apps == ("a*", "b")
    assert loaded.file_roots == (tmp_path / "x", tmp_path / "y")
    assert (loaded.wait_seconds, loaded.should_save_outputs) == (2.5, False)


def test_the_persons_own_file_is_read_and_may_be_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It lies where the platform keeps configurations."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert load().max_tools == 40
    folder = tmp_path / "flowport"
    folder.mkdir()
    (folder / "config.toml").write_text("flowport_max_tools = 5")
    assert load().max_tools == 5


@pytest.mark.parametrize(
    ("text", "setting", "problem"),
    [
        ("flowport_max_tool = 1", "flowport_max_tool in flowport.toml", "is not a variable that Flowport knows"),
        ("FLOWPORT_MAX_TOOLS = 1", "FLOWPORT_MAX_TOOLS in flowport.toml", "is not a variable that Flowport knows"),
        ("[flowport]", "flowport in flowport.toml", "is not a variable that Flowport knows"),
        ("flowport_apps = [1]", "flowport_apps in flowport.toml", "is neither text, a number nor a list of texts"),
        ("flowport_apps = {}", "flowport_apps in flowport.toml", "is neither text, a number nor a list of texts"),
        ("flowport_source = true", "FLOWPORT_SOURCE", "is 'true'"),
        (
            "flowport_database_url = true",
            "FLOWPORT_DATABASE_URL",
            "is not the address of a PostgreSQL database",
        ),
        ("flowport_max_tools = true", "FLOWPORT_MAX_TOOLS", "is 'true'"),
        ("flowport_previews = 2", "FLOWPORT_PREVIEWS", "is '2'"),
        ('flowport_home = ""', "FLOWPORT_HOME", "is ''"),
        ('flowport_home = "/a\\u0000b"', "FLOWPORT_HOME", "is '/a\\x00b'"),
    ],
)
def test_what_a_file_cannot_mean_is_refused(config: Path, text: str, setting: str, problem: str) -> None:
    """A line that is ignored would be a cap that does not hold."""
    config.write_text(text)
    error = refuse({}, config=config)
    assert (error.setting, error.problem) == (setting, problem)


def test_a_file_that_was_asked_for_must_exist(config: Path) -> None:
    """A misspelt --config must not pass for an empty one."""
    error = refuse({}, config=config)
    assert (error.setting, error.problem) == (str(config), "does not exist")


def test_all_that_is_wrong_is_reported_at_once(config: Path) -> None:
    """A person who corrects one value a start gives up before the last."""
    config.write_text('wait_seconds = 4\nflowport_apps = [1]\nflowport_max_tools = "many"\nflowport_keep_days = 7\n')
    environ = {
        "FLOWPORT_MAX_TOOL": "1",
        "FLOWPORT_PREVIEWS": "perhaps",
        "FLOWPORT_HOME": "here",
        "FLOWPORT_FILE_ROOTS": "there",
        "MAGNIFIC_API_KEY": "${MAGNIFIC_API_KEY}",
        "MAGICA_BASE_URL": "ftp://x",
    }
    error = refuse(environ, config=config)
    named = [error.setting, *(other.setting for other in error.others)]
    assert sorted(named) == sorted(
        [
            "wait_seconds in flowport.toml",
            "flowport_apps in flowport.toml",
            "FLOWPORT_MAX_TOOL",
            "FLOWPORT_MAX_TOOLS",
            "FLOWPORT_PREVIEWS",
            "FLOWPORT_HOME",
            "FLOWPORT_FILE_ROOTS",
            "MAGNIFIC_API_KEY",
            "MAGICA_BASE_URL",
        ]
    )
    assert str(error).splitlines()[0] == f"{error.setting} {error.problem}. {error.remedy}"
    assert len(str(error).splitlines()) == len(named)


def test_a_folder_for_a_file_is_refused(tmp_path: Path) -> None:
    """The other way to mistake a path."""
    assert refuse({}, config=tmp_path).problem == "cannot be read (Is a directory)"


@pytest.mark.parametrize("name", ["FLOWPORT_SAVE_OUTPUTS", "FLOWPORT_PREVIEWS"])
@pytest.mark.parametrize(
    ("text", "is_on"),
    [
        ("1", True),
        ("YES", True),
        ("On", True),
        ("true", True),
        ("0", False),
        ("No", False),
        ("OFF", False),
        ("False", False),
    ],
)
def test_a_switch_takes_the_usual_words(config: Path, name: str, text: str, is_on: bool) -> None:
    """From the environment, from a flag, and from the file as text, number or truth value."""
    found = [load({name: text}), load(flags={name: text})]
    for written in {f'"{text}"', text if text.isdigit() else text.lower()} & {f'"{text}"', "1", "0", "true", "false"}:
        config.write_text(f"{name.lower()} = {written}")
        found.append(load(config=config))
    assert {one.should_save_outputs if "SAVE" in name else one.should_show_previews for one in found} == {is_on}


def test_quotes_that_no_shell_took_off_are_no_part_of_a_value(tmp_path: Path) -> None:
    """`docker --env-file` hands them on."""
    loaded = load({"FLOWPORT_MAX_TOOLS": '"5"', "FLOWPORT_HOME": f"'{tmp_path}'", "FLOWPORT_APPS": '""'})
    assert (loaded.max_tools, loaded.home, loaded.apps) == (5, tmp_path, ())


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("FLOWPORT_MAX_TOOL", "Did you mean FLOWPORT_MAX_TOOLS?"),
        ("FLOWPORT_WAIT", "Did you mean FLOWPORT_WAIT_SECONDS?"),
        ("FLOWPORT_PORTABLE", "Did you mean FLOWPORT_SOURCE?"),
        ("FLOWPORT_ZZZZZZZZZZZZZZZZZZZZZZZZ", "See docs/settings.md for all variables."),
        ("FLOWPORT_PREVIEW", "Did you mean FLOWPORT_PREVIEWS?"),
    ],
)
def test_an_unknown_variable_is_named_with_the_nearest_one(name: str, remedy: str) -> None:
    """A misspelt cap that is ignored would not hold."""
    error = refuse({name: "1"})
    assert (error.setting, error.problem) == (name, "is not a variable that Flowport knows")
    assert error.remedy == remedy


@pytest.mark.parametrize("name", ["MAGNIFIC_API_KEYS", "MAGNIFIC_APIKEY", "MAGNIFIC_KEY", "MAGNIFIC_URL"])
def test_a_provider_variable_that_is_misspelt_is_refused(name: str) -> None:
    """A key that is not used would leave the user in the sandbox."""
    error = refuse({name: "x"})
    assert (error.setting, error.remedy[:23]) == (
        name,
        "Did you mean MAGNIFIC_A" if "KEY" in name else "Did you mean MAGNIFIC_B",
    )


def test_what_is_not_ours_is_ignored() -> None:
    """Kubernetes adds names beside a service called flowport, and other programs have their own."""
    injected = ("FLOWPORT_PORT", "FLOWPORT_PORT_80_TCP_ADDR", "FLOWPORT_SERVICE_HOST", "FLOWPORT_SERVICE_PORT_HTTP")
    others = ("PATH", "flowport_max_tools", "MAGNIFIC_THEME")
    assert load(dict.fromkeys((*injected, *others), "tcp://10.0.0.1:80")) == load()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("FLOWPORT_MAX_TOOLS", "many"),
        ("FLOWPORT_MAX_TOOLS", "1.5"),
        ("FLOWPORT_MAX_TOOLS", "-1"),
        ("FLOWPORT_MAX_TOOLS", "1001"),
        ("FLOWPORT_MAX_TOOLS", "9" * 400),
        ("FLOWPORT_MAX_TOOLS", "9" * 5000),
        ("FLOWPORT_WAIT_SECONDS", "nan"),
        ("FLOWPORT_WAIT_SECONDS", "inf"),
        ("FLOWPORT_WAIT_SECONDS", "50 s"),
        ("FLOWPORT_WAIT_SECONDS", "86401"),
        ("FLOWPORT_REQUESTS_PER_MINUTE", "-5"),
        ("FLOWPORT_REQUESTS_PER_MINUTE", "0.5"),
        ("FLOWPORT_ON_CANCEL", "kill"),
        ("FLOWPORT_SAVE_OUTPUTS", "maybe"),
        ("FLOWPORT_PREVIEWS", "2"),
        ("MAGNIFIC_API_STYLE", "spaces"),
        ("FLOWPORT_SOURCE", "mine"),
        ("FLOWPORT_MAX_CREDITS_PER_RUN", "-1"),
        ("FLOWPORT_MAX_CREDITS_PER_DAY", "nan"),
        ("FLOWPORT_CONFIRM_ABOVE_CREDITS", "20 credits"),
        ("FLOWPORT_UNKNOWN_PRICE", "ask"),
    ],
)
def test_a_malformed_value_is_refused_with_what_it_takes(name: str, text: str) -> None:
    """The sentence must let a user correct it without the manual."""
    error = refuse({name: text})
    assert (error.setting, error.problem) == (name, f"is {text!r}")
    assert error.remedy.startswith("It takes ")


@pytest.mark.parametrize(
    ("name", "usual"),
    [
        ("FLOWPORT_PREVIEWS", "allow"),
        ("FLOWPORT_MAX_CREDITS_PER_RUN", "confirm"),
        ("FLOWPORT_MAX_CREDITS_PER_DAY", "confirm"),
        ("FLOWPORT_CONFIRM_ABOVE_CREDITS", "confirm"),
    ],
)
def test_who_sets_a_limit_is_asked_about_unknown_prices(name: str, usual: str) -> None:
    """An unknown price may be above any limit; without limits it is as good as any other, and one word decides both."""
    text = "true" if name == "FLOWPORT_PREVIEWS" else "0"
    assert load({name: text}).spending_limits.unknown_price == usual
    assert load({name: text, "FLOWPORT_UNKNOWN_PRICE": "allow"}).spending_limits.unknown_price == "allow"


@pytest.mark.parametrize("text", ["0", "1000"])
def test_the_bounds_of_a_number_are_allowed(text: str) -> None:
    """No tools at all is a valid choice."""
    assert load({"FLOWPORT_MAX_TOOLS": text}).max_tools == int(text)


def test_the_environment_is_the_processs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line hands it in from here, so nothing else need read it."""
    monkeypatch.setenv("FLOWPORT_MAX_TOOLS", "9")
    assert load(get_environment()).max_tools == 9


def test_each_variable_is_described_once() -> None:
    """The README and the help are made of this table."""
    names = [variable.name for variable in get_variables()]
    assert len(names) == len(set(names))
    assert all(variable.meaning.endswith(".") and variable.default for variable in get_variables())


LOOPBACK = {"MAGNIFIC_API_KEY": KEY, "MAGNIFIC_BASE_URL": "http://127.0.0.1:9"}


def test_workflows_are_declared_in_the_file_alone(config: Path) -> None:
    """They are tables, which no variable could hold."""
    config.write_text(
        'magica_api_key = "gx_1"\n[[magica_workflows]]\nid = "wf"\n'
        '[[magica_workflows.inputs]]\nnode = "n"\nfield = "f"\ntype = "text"\n'
    )
    (provider,) = load(config=config).providers
    definition = {"required": False, "type": "text"}
    assert provider.options["workflows"] == (DeclaredWorkflow("wf", (DeclaredInput("n", "f", definition),)),)
    config.write_text('[[magica_workflows]]\nname = "wf"\n')
    assert "magica_workflows 1 has no id" in str(refuse({}, config=config))
