"""Which command runs."""

import pytest

from flowport.cli import COMMANDS, build_parser, main, split_command


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
    assert f"  {command} " in build_parser().format_help()


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A typing error must not start a server that waits for ever."""
    with pytest.raises(SystemExit, match="2"):
        main(["paint"])

    assert "invalid choice: 'paint'" in capsys.readouterr().err
