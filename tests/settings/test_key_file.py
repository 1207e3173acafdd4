"""The file of keys as a source of settings."""

import logging
from pathlib import Path

import pytest

from flowport.settings.key_file import get_key_file_path, is_exposed, load_key_file, save_key_file
from flowport.settings.settings import Origin, explain_settings
from tests.support.configuring import KEY, load, refuse

OTHER = "gx_0123456789abcdef"


@pytest.fixture
def path() -> Path:
    """Return the path of the key file in the test's own home."""
    path = get_key_file_path()
    assert path is not None
    path.parent.mkdir(parents=True)
    return path


def test_a_stored_key_turns_its_provider_on(path: Path) -> None:
    """Nothing else has to be set."""
    save_key_file(path, {"MAGNIFIC_API_KEY": KEY})

    assert [(one.provider, one.api_key) for one in load().providers] == [("magnific", KEY)]


def test_any_key_survives_the_file(path: Path) -> None:
    """Every character that a header can carry."""
    key = "k" + "".join(map(chr, range(0x21, 0x7F)))
    save_key_file(path, {"MAGNIFIC_API_KEY": key})

    assert load_key_file(path).values == {"MAGNIFIC_API_KEY": key}


def test_the_key_file_is_the_weakest_source(path: Path, tmp_path: Path) -> None:
    """Each setting knows where its value comes from."""
    save_key_file(path, {"MAGNIFIC_API_KEY": "stored-0123456789", "MAGICA_API_KEY": OTHER})
    config = tmp_path / "config.toml"
    config.write_text('magnific_api_key = "configured-0123456789"\nflowport_wait_seconds = 4\n')

    report = explain_settings(
        {"FLOWPORT_HOME": str(tmp_path)}, {"FLOWPORT_MAX_TOOLS": "5", "MAGNIFIC_API_KEY": KEY}, config_path=config
    )

    assert report.problems == ()
    assert [one.api_key for one in report.settings.providers] == [KEY, OTHER]
    assert report.origins == {
        "MAGNIFIC_API_KEY": Origin.ENVIRONMENT,
        "MAGICA_API_KEY": Origin.KEY_FILE,
        "FLOWPORT_WAIT_SECONDS": Origin.CONFIG_FILE,
        "FLOWPORT_MAX_TOOLS": Origin.ENVIRONMENT,
        "FLOWPORT_HOME": Origin.FLAG,
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("flowport_wait_seconds = 4\n", "is not an API key"),
        ('magnific_base_url = "http://127.0.0.1:1"\n', "is not an API key"),
        ("magnific_api_key = \n", "cannot be read: it is not TOML"),
        ('magnific_api_kee = "x"\n', "is not a variable that Flowport knows"),
        ('magnific_api_key = "your key"\n', "placeholder"),
        ("magnific_api_key = [1]\n", "is neither text"),
    ],
)
def test_anything_but_keys_is_a_problem_and_sets_nothing(path: Path, text: str, words: str) -> None:
    """The file holds keys alone; what could redirect a key belongs into the configuration file."""
    path.write_text(text)

    problem = refuse({})

    assert words in str(problem)


def test_unusable_settings_have_their_defaults_in_a_report(path: Path) -> None:
    """A doctor goes on with them."""
    path.write_text("magnific_api_key = ")

    report = explain_settings(
        {},
        {
            "FLOWPORT_WAIT_SECONDS": "soon",
            "FLOWPORT_REQUESTS_PER_MINUTE": "0",
            "FLOWPORT_REQUESTS_PER_DAY": "5",
            "FLOWPORT_HOME": "here",
        },
    )

    assert {problem.setting for problem in report.problems} == {
        str(path),
        "FLOWPORT_WAIT_SECONDS",
        "FLOWPORT_REQUESTS_PER_DAY",
        "FLOWPORT_HOME",
    }
    assert (report.settings.wait_seconds, report.settings.requests_per_day) == (50.0, None)


def test_a_user_without_a_home_folder_gets_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no default is a problem, and the rest can be used."""
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pathlib.Path.expanduser", _refuse)

    report = explain_settings({}, {"MAGNIFIC_API_KEY": KEY})

    assert {problem.setting for problem in report.problems} == {"FLOWPORT_HOME", "FLOWPORT_OUTPUT_DIR"}
    assert len(report.settings.providers) == 1


def _refuse(path: Path) -> Path:
    raise RuntimeError(f"no home for {path}")


def test_a_file_that_others_may_read_is_used_with_a_warning(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file system without rights must not stop everything."""
    save_key_file(path, {"MAGNIFIC_API_KEY": KEY})
    assert not is_exposed(path)
    path.chmod(0o640)

    with caplog.at_level(logging.WARNING):
        settings = load()

    assert len(settings.providers) == 1
    assert "other users of this computer may read the API keys" in caplog.text
    assert KEY not in caplog.text


def test_saving_takes_the_rights_of_others_away(path: Path) -> None:
    """Whatever the file was before."""
    path.write_text("")
    path.chmod(0o666)

    save_key_file(path, {"MAGNIFIC_API_KEY": KEY})

    assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_to_the_file_stays(path: Path, tmp_path: Path) -> None:
    """A person may keep the file on an encrypted disk."""
    target = tmp_path / "vault.toml"
    target.write_text("")
    path.symlink_to(target)

    save_key_file(path, {"MAGNIFIC_API_KEY": KEY})

    assert path.is_symlink()
    assert load_key_file(target).values == {"MAGNIFIC_API_KEY": KEY}


def test_a_failed_save_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is replaced as a whole, and nothing else is left in the folder."""
    save_key_file(path, {"MAGNIFIC_API_KEY": KEY})
    monkeypatch.setattr("os.fsync", _fail)

    with pytest.raises(OSError, match="full"):
        save_key_file(path, {"MAGNIFIC_API_KEY": "another-0123456789"})

    assert load_key_file(path).values == {"MAGNIFIC_API_KEY": KEY}
    assert [each.name for each in path.parent.iterdir()] == ["keys.toml"]


def _fail(_: int) -> None:
    raise OSError(28, "the disk is full")
