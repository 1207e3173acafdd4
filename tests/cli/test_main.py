"""Which command runs."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowport import __version__
from flowport.cli.main import COMMANDS, flowport, main


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
    arguments: list[str], command: str, rest: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients' configurations name the program and perhaps a flag; each command knows its own flags."""
    with Path(os.devnull).open(encoding="utf-8") as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        ctx = flowport.make_context("flowport", list(arguments))

    assert [*ctx._protected_args, *ctx.args] == [command, *rest]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_in_the_help_with_its_line(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Readers of the help need no source to find a command."""
    assert main(["--help"]) == 0

    assert f"  {command} " in capsys.readouterr().out


def test_help_imports_no_command() -> None:
    """It is the slowest part of a command."""
    program = (
        "import sys\nfrom flowport.cli.main import COMMANDS, main\nmain(['--help'])\n"
        "sys.exit(any(entry.module in sys.modules for entry in COMMANDS.values()))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)

    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_a_sentence_and_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An example is read first and copied."""
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out

    assert text.startswith(f"usage: flowport {command} ")
    assert "\nExamples:\n  flowport" in text
    assert "-h, --help" in text


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A typing error must not start a server that waits for input."""
    assert main(["paint"]) == 2

    assert "there is no command 'paint'" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_a_person_at_a_terminal_learns_what_to_type() -> None:
    """A server that waits for a protocol looks as if it had stopped."""
    if sys.platform == "win32":
        raise NotImplementedError  # it has no pseudo-terminals
    parent, terminal = os.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "flowport"], check=False, stdin=terminal, capture_output=True, text=True
    )
    os.close(terminal)
    os.close(parent)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Flowport {__version__} ")
    assert "flowport --help" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("command", "code"), [("serve", 0), ("sandbox", 0), ("apps", 130), ("run", 130)])
def test_a_signal_before_anything_is_open_ends_it_quietly(number: signal.Signals, command: str, code: int) -> None:
    """Clients that change their mind at once must not be shown a crash."""
    # While the command is imported, which is slow.
    program = (
        "import os, sys, flowport.cli.main as cli\n"
        f"cli.importlib.import_module = lambda _: os.kill(os.getpid(), {number})\n"
        f"sys.exit(cli.main([{command!r}]) or 7)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)

    assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")
