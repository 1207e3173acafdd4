"""Users without a home folder, as in containers and services, and abbreviated flags."""

from pathlib import Path

import pytest

from flowport.cli.main import main
from tests.support.children import open_child
from tests.support.odd_system import fail, run_flowport

HOMELESS = ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_PICTURES_DIR", "USERPROFILE")


def test_configured_folders_need_no_home_folder(tmp_path: Path) -> None:
    """A container's numeric user has no entry in the user database and no HOME; configured folders suffice."""
    given = {"FLOWPORT_HOME": str(tmp_path / "home"), "FLOWPORT_OUTPUT_DIR": str(tmp_path / "out")}
    with open_child(tmp_path / "f", environment={**fail(home=1), **given}, without=HOMELESS) as child:
        child.greet()
        assert "accounts" in child.call("get_balance")
        child.close_input()
        assert child.wait() == 0
    assert "Traceback" not in (tmp_path / "f/stderr.txt").read_text()


@pytest.mark.parametrize(
    "missing", [("FLOWPORT_HOME",), ("FLOWPORT_OUTPUT_DIR",), ("FLOWPORT_HOME", "FLOWPORT_OUTPUT_DIR")]
)
def test_every_call_names_the_variable_of_a_missing_default(tmp_path: Path, missing: tuple[str, ...]) -> None:
    """Each answer names the variable to set, because the client shows only answers."""
    with open_child(tmp_path / "f", environment=fail(home=1), without=(*HOMELESS, *missing)) as child:
        child.greet()
        assert child.ask("tools/list")["tools"]
        answer = child.ask("tools/call", {"name": "list_runs", "arguments": {}})
    assert answer["isError"]
    for name in missing:
        sentence = (
            f"{name} is not set, and this user has no home folder that it could be in. Set it to an absolute path."
        )
        assert sentence in answer["content"][0]["text"]


def test_unsaved_results_need_no_folder(tmp_path: Path) -> None:
    """Nothing would be written there."""
    environment = {**fail(home=1), "FLOWPORT_SAVE_OUTPUTS": "no"}
    without = (*HOMELESS, "FLOWPORT_OUTPUT_DIR")
    with open_child(tmp_path / "f", environment=environment, without=without) as child:
        child.greet()
        assert "accounts" in child.call("get_balance")


@pytest.mark.parametrize("command", [("--help",), ("serve", "--help"), ("history", "--help"), ("erase", "--help")])
def test_help_needs_no_home_folder(tmp_path: Path, command: tuple[str, ...]) -> None:
    """`--help` works without a home folder: it is the first thing to try when something fails."""
    done = run_flowport(*command, environment=fail(home=1), without=HOMELESS)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: flowport")


@pytest.mark.parametrize("command", [("history",), ("erase", "--all")])
def test_the_store_needs_only_its_own_folder(tmp_path: Path, command: tuple[str, ...]) -> None:
    """Commands that read the store do not need the folder for results."""
    environment = fail(home=1)
    without = (*HOMELESS, "FLOWPORT_HOME", "FLOWPORT_OUTPUT_DIR")
    done = run_flowport(*command, environment={**environment, "FLOWPORT_HOME": str(tmp_path)}, without=without)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"There is no record of runs in {tmp_path}.\n", "")
    done = run_flowport(*command, "--home", str(tmp_path), environment=environment, without=without)
    assert (done.returncode, done.stderr) == (0, "")
    done = run_flowport(*command, environment=environment, without=without)
    assert done.returncode == 2
    assert done.stderr.startswith("FLOWPORT_HOME is not set, and this user has no home folder")


def test_no_file_of_the_working_directory_is_read_for_a_missing_home(tmp_path: Path) -> None:
    """Without a home folder `~` stays as written, and a repository may contain a folder of that name."""
    folder = tmp_path / "~" / ".config" / "flowport"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("flowport_max_tools = 'many'")
    environment = {**fail(home=1), "FLOWPORT_HOME": str(tmp_path)}
    done = run_flowport("history", environment=environment, without=HOMELESS, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("serve", "--wait-second", "3"), "there is no flag --wait-second; did you mean --wait-seconds?"),
        (("serve", "--wait-second=3"), "there is no flag --wait-second; did you mean --wait-seconds?"),
        (("--max-tool", "3"), "there is no flag --max-tool; did you mean --max-tools?"),
        (("serve", "--wait_seconds", "3"), "there is no flag --wait_seconds; did you mean --wait-seconds?"),
        (("serve", "--conf", "x.toml"), "there is no flag --conf; did you mean --config?"),
        (("serve", "--htt", "127.0.0.1:1"), "there is no flag --htt; did you mean --http?"),
        (("serve", "--qqqqqqqq"), "there is no flag --qqqqqqqq"),
        (
            ("serve", "--wait-second", "3", "--max-tool", "5"),
            "--wait-seconds?, there is no flag --max-tool; did you mean",
        ),
        (("serve", "now"), "the argument 'now' is not expected"),
        (("history", "--hom", "/x"), "there is no flag --hom; did you mean --home?"),
        (("erase", "--al"), "there is no flag --al; did you mean --all?"),
        (("sandbox", "--spee", "0"), "there is no flag --spee; did you mean --speed?"),
        (("sandbox", "--chil"), "there is no flag --chil"),
        (("serve", "--waitSeconds", "3"), "there is no flag --waitSeconds; did you mean --wait-seconds?"),
        (("serve", "-wait-seconds", "3"), "there is no flag -wait-seconds; did you mean --wait-seconds?"),
        (("serve", "--flowport-home", "/x"), "there is no flag --flowport-home; did you mean --home?"),
        (("serve", "--FLOWPORT_MAX_TOOLS=3"), "there is no flag --FLOWPORT_MAX_TOOLS; did you mean --max-tools?"),
        (("serve", "--magnific-api-key", "k"), "so a key is given by the variable MAGNIFIC_API_KEY"),
        (("serve", "--magica_api_key=k"), "so a key is given by the variable MAGICA_API_KEY"),
        (("serve", "--api-key", "k"), "so a key is given by the variable MAGNIFIC_API_KEY or MAGICA_API_KEY"),
        (("histroy",), "did you mean history?"),
    ],
)
def test_an_abbreviated_flag_is_refused_with_the_nearest(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], sentence: str
) -> None:
    """Abbreviations are refused: in a later version the same letters may begin another flag."""
    assert main(words) == 2
    assert sentence in capsys.readouterr().err


def test_the_value_of_an_unknown_flag_is_not_repeated() -> None:
    """It may be a key, which has no flag because other users of the machine can see flags."""
    done = run_flowport("serve", "--magnific-api-key", "mk-0123456789abcdef", environment={})
    assert done.returncode == 2
    assert "mk-0123456789abcdef" not in done.stderr
    done = run_flowport("serve", "--api-key=mk-0123456789abcdef", environment={})
    assert "mk-0123456789abcdef" not in done.stderr
