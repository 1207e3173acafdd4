"""`flowport auth` as people use it: real processes, a provider over HTTP, a file of keys."""

import os
import pty
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.provider_process import ProviderProcess, open_provider
from tests.support.terminal import Terminal

GONE = "http://127.0.0.1:9"
"""The discard port: nothing listens there."""
CONTROLLING = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
"""Runs a program in a terminal that controls its session: only there does a key become a signal."""


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderProcess]:
    """Run both providers for the module."""
    with open_provider(tmp_path_factory.mktemp("provider")) as process:
        yield process


@pytest.fixture
def terminal(tmp_path: Path, provider: ProviderProcess) -> Terminal:
    """Return a user whose shell names the providers, and has no key."""
    names = ("MAGNIFIC_BASE_URL", "MAGICA_BASE_URL")
    return Terminal(tmp_path, {name: provider.variables[name] for name in names})


@pytest.fixture
def key(provider: ProviderProcess) -> str:
    """Return a key that Magnific accepts."""
    return provider.variables["MAGNIFIC_API_KEY"]


def get_keys(terminal: Terminal) -> Path:
    """Return the path of the key file."""
    return terminal.config_folder / "keys.toml"


def count_requests(provider: ProviderProcess) -> int:
    """Return how many requests the provider was sent so far."""
    return sum(each for each in provider.ask("counts").values() if isinstance(each, int))


def test_a_key_is_verified_and_stored_for_its_user_alone(terminal: Terminal, key: str) -> None:
    """No other user may read the file or its folder, and no output contains the key."""
    ran = terminal.run("auth", "magnific", "--stdin", text=f"{key}\n")

    assert (ran.code, ran.err) == (0, "")
    assert "Magnific accepts it." in ran.out
    assert key not in ran.out
    assert get_keys(terminal).stat().st_mode & 0o777 == 0o600
    assert get_keys(terminal).parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in get_keys(terminal).parent.iterdir()] == ["keys.toml"]


def test_a_stored_key_needs_no_other_configuration(terminal: Terminal, key: str) -> None:
    """Clients start Flowport without the key in their own files."""
    terminal.run("auth", "magnific", "--stdin", text=key)

    ran = terminal.run("auth", "--status", "--json")

    [magnific, magica] = ran.read_json()["keys"]
    assert ran.code == 0
    assert (magnific["accepted"], magnific["source"]) == (True, f"key file {get_keys(terminal)}")
    assert (magica["accepted"], magica["source"]) == (None, None)
    assert key not in ran.everything


def test_the_provider_follows_from_the_form_of_the_key(terminal: Terminal, provider: ProviderProcess) -> None:
    """Keys of Magica begin with gx_."""
    ran = terminal.run("auth", "--stdin", "--json", text=provider.variables["MAGICA_API_KEY"])

    assert (ran.code, ran.read_json()["provider"]) == (0, "magica")


def test_a_key_of_no_known_form_needs_a_provider(terminal: Terminal, key: str) -> None:
    """To try it at each would give one provider the key of another."""
    ran = terminal.run("auth", "--stdin", text=key)

    assert (ran.code, ran.out) == (2, "")
    assert "say magnific or magica" in ran.err
    assert not get_keys(terminal).exists()


def test_a_refused_key_is_not_stored(terminal: Terminal) -> None:
    """The provider's answer decides."""
    ran = terminal.run("auth", "magnific", "--stdin", text="FPSX00000000000000000000000000000000")

    assert (ran.code, ran.out) == (1, "")
    assert "The key was not stored: Magnific does not accept the API key." in ran.err
    assert ran.err.endswith(" Check the key.\n")
    assert "client's configuration" not in ran.err
    assert not get_keys(terminal).exists()


@pytest.mark.parametrize(
    ("provider_name", "text", "words"),
    [
        ("magnific", "your-api-key", "placeholder"),
        ("magnific", "${MAGNIFIC_API_KEY}", "placeholder"),
        ("magnific", "FPSX12345678...", "left out"),
        ("magnific", "gx_0123456789abcdef", "Run `flowport auth magica`"),
        ("magica", "FPSX0123456789abcdef", "Run `flowport auth magnific`"),
        ("magnific", "sk-ant-0123456789abcdef", "a key of Anthropic"),
        ("magnific", "export MAGNIFIC_API_KEY=abc", "begins with a name"),
        ("magnific", "one\ntwo", "a character that no key has"),
        ("magnific", "", "no key was given"),
        ("magnific", "'\"\"'", "no key was given"),
        ("magnific", "\N{ZERO WIDTH SPACE}\n", "no key was given"),
    ],
)
def test_other_texts_are_refused_before_a_request(
    terminal: Terminal, provider: ProviderProcess, provider_name: str, text: str, words: str
) -> None:
    """Its form says enough, and a foreign key must not reach this provider."""
    before = count_requests(provider)

    ran = terminal.run("auth", provider_name, "--stdin", text=text)

    assert (ran.code, ran.out) == (1, "")
    assert words in ran.err
    assert count_requests(provider) == before
    assert not get_keys(terminal).exists()


def test_a_key_is_not_stored_unverified_unless_asked_for(terminal: Terminal, key: str) -> None:
    """A network that is down says nothing of a key."""
    down = terminal.run("auth", "magnific", "--stdin", text=key, MAGNIFIC_BASE_URL=GONE)
    forced = terminal.run("auth", "magnific", "--stdin", "--no-verify", text=key, MAGNIFIC_BASE_URL=GONE)
    status = terminal.run("auth", "--status", MAGNIFIC_BASE_URL=GONE)

    assert (down.code, forced.code, status.code) == (5, 0, 5)
    assert "--no-verify" in down.err
    assert "could not be verified" in status.out
    assert get_keys(terminal).exists()


def test_the_environment_has_priority(terminal: Terminal, key: str) -> None:
    """The stored key is not used while the environment names another, and both commands say so."""
    stored = terminal.run("auth", "magnific", "--stdin", text=key, MAGNIFIC_API_KEY="FPSXother00000000000000000")
    status = terminal.run("auth", "magnific", "--status", MAGNIFIC_API_KEY="FPSXother00000000000000000")

    assert "is also set by the environment, which has priority" in stored.out
    assert status.code == 1
    assert "the key of the environment is refused" in status.out


def test_the_configuration_file_has_priority(terminal: Terminal, key: str) -> None:
    """A person wrote it by hand."""
    terminal.config_folder.mkdir(parents=True)
    (terminal.config_folder / "config.toml").write_text('magnific_api_key = "FPSXother00000000000000000"\n')
    terminal.run("auth", "magnific", "--stdin", text=key)

    ran = terminal.run("auth", "magnific", "--status", "--json")

    assert ran.read_json()["keys"][0]["source"] == "configuration file"


def test_one_key_is_removed_and_the_other_stays(terminal: Terminal, key: str, provider: ProviderProcess) -> None:
    """The last one takes the file with it."""
    terminal.run("auth", "magnific", "--stdin", text=key)
    terminal.run("auth", "magica", "--stdin", text=provider.variables["MAGICA_API_KEY"])

    both = terminal.run("auth", "--remove")
    first = terminal.run("auth", "magnific", "--remove", MAGNIFIC_API_KEY=key)
    kept = get_keys(terminal).read_text()
    again = terminal.run("auth", "magnific", "--remove")
    last = terminal.run("auth", "--remove")

    assert [each.code for each in (both, first, again, last)] == [2, 0, 4, 0]
    assert "still set by the environment" in first.out
    assert "magica_api_key" in kept
    assert "magnific" not in kept
    assert not get_keys(terminal).exists()


def test_a_damaged_file_of_keys_is_not_overwritten(terminal: Terminal, key: str) -> None:
    """It may hold another key."""
    terminal.config_folder.mkdir(parents=True)
    get_keys(terminal).write_text("magica_api_key = ")

    ran = terminal.run("auth", "magnific", "--stdin", text=key)

    assert (ran.code, get_keys(terminal).read_text()) == (1, "magica_api_key = ")
    assert f"{get_keys(terminal)} cannot be read" in ran.err


def test_a_folder_that_cannot_be_made_is_named(terminal: Terminal, key: str) -> None:
    """No traceback, and no key in the sentence."""
    terminal.config_folder.parent.mkdir()
    terminal.config_folder.write_text("a file in its place")

    ran = terminal.run("auth", "magnific", "--stdin", "--no-verify", "--json", text=key)

    assert ran.code == 1
    assert "cannot be" in ran.read_json()["error"]["message"]
    assert key not in ran.everything


def test_without_a_terminal_the_key_comes_by_a_flag(terminal: Terminal, key: str) -> None:
    """A pipe that was not announced may be an assistant's, and nothing may wait for it."""
    ran = terminal.run("auth", "magnific", text=key)

    assert (ran.code, ran.out) == (2, "")
    assert "--stdin" in ran.err


def test_a_typed_key_is_not_shown(terminal: Terminal, key: str) -> None:
    """The terminal shows the question, and nothing of the answer."""
    if sys.platform == "win32":
        raise NotImplementedError  # it has no pseudo-terminals
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "flowport", "auth", "magnific"],
        env=terminal.environment,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        shown = b""
        while b"not shown" not in shown:
            shown += os.read(ours, 1000)
        os.write(ours, f"{key}\n".encode())
        out = process.communicate(timeout=60)[0].decode()
        shown += os.read(ours, 10_000)
    os.close(ours)

    assert process.returncode == 0
    assert "Magnific accepts it." in out
    assert key.encode() not in shown


def test_an_interrupt_at_the_question_restores_the_terminal(terminal: Terminal) -> None:
    """Nothing is stored, and what is typed next is shown again."""
    if sys.platform == "win32":
        raise NotImplementedError  # it has no pseudo-terminals
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", CONTROLLING, sys.executable, "-m", "flowport", "auth", "magnific"],
        env=terminal.environment,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        shown = b""
        while b"not shown" not in shown:
            shown += os.read(ours, 1000)
        while termios.tcgetattr(theirs)[3] & termios.ECHO:
            os.sched_yield()
        os.write(ours, b"\x03")
        process.wait(timeout=60)
    is_shown = bool(termios.tcgetattr(theirs)[3] & termios.ECHO)
    os.close(theirs)
    os.close(ours)

    assert (process.returncode, is_shown) == (130, True)
    assert not get_keys(terminal).exists()


def test_a_key_file_that_cannot_be_read_is_not_called_empty(terminal: Terminal) -> None:
    """A key may be in it, and to store one would not help."""
    get_keys(terminal).parent.mkdir(parents=True)
    get_keys(terminal).write_text("magnific_api_key = FPSX")
    status = terminal.run("auth", "--status")
    doctor = terminal.run("doctor")

    assert status.code == 1
    assert "Magnific: whether there is a key is not known: the key file cannot be read." in status.out
    assert "Whether a key is set is not known: the key file cannot be read." in doctor.out
    for words in ("no key.", "No API key is set"):
        assert words not in status.out + doctor.out
