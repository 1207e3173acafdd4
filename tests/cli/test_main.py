"""Which command runs."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from flowport.cli.main import COMMANDS, build_parser, main, split_command


@pytest.fixture(autouse=True)
def _keep_our_signals() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("arguments", "command", "rest"),
    [
        ([], "serve", []),
        (["--wait-seconds", "5"], "serve", ["--wait-seconds", "5"]),
        (["serve", "--help"], "serve", ["--help"]),
        (["sandbox", "--port", "1"], "sandbox", ["--port", "1"]),
    ],
)
def test_serving_is_what_happens_unless_another_command_is_named(
    arguments: list[str], command: str, rest: list[str]
) -> None:
    """Clients' configurations name the program and perhaps a flag; each command knows its own flags."""
    assert split_command(arguments) == (command, rest)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_in_the_help(command: str) -> None:
    """Nobody reads source to find a command."""
    text = build_parser().format_help()

    assert f"  {command} " in text
    assert "COMMAND     what to do; serve unless given" in text


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A typing error must not start a server that waits for ever."""
    with pytest.raises(SystemExit, match="2"):
        main(["paint"])

    assert "invalid choice: 'paint'" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_anything_is_open_ends_it_quietly(number: signal.Signals) -> None:
    """Clients that change their mind at once must not be shown a crash."""
    # The command is named by something that is slow to import.
    program = (
        "import os, sys, types, flowport.cli.main as cli\n"
        f"cli.importlib.import_module = lambda _: types.SimpleNamespace(run=lambda _: os.kill(os.getpid(), {number}))\n"
        "sys.exit(cli.main(['serve']) or 7)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
