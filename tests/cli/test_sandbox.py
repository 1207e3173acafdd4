"""The sandbox as a process."""

import json
import signal
import urllib.request
from pathlib import Path

import pytest

from flowport.cli.main import main
from flowport.cli.sandbox import command
from tests.support.children import open_child


def test_it_says_how_to_reach_it_and_answers_there(tmp_path: Path) -> None:
    """The output is three lines to copy."""
    with open_child(tmp_path, "--key", "abc", command="sandbox") as child:
        assert child.process.stdout is not None
        lines = [child.process.stdout.readline().decode().strip() for _ in range(5)]
        url = lines[1].removeprefix("MAGNIFIC_BASE_URL=")
        request = urllib.request.Request(f"{url}/v1/ai/flows", headers={"x-magnific-api-key": "abc"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            apps = json.load(answer)["data"]

    assert lines[2] == "MAGNIFIC_API_KEY=abc"
    assert lines[3].startswith("MAGNIFIC_FILE_ORIGINS=http://127.0.0.1:")
    assert lines[4] == "Ctrl-C ends it."
    assert len(apps) > 0


def test_it_says_so_as_json(tmp_path: Path) -> None:
    """A script sets the variables from one line."""
    with open_child(tmp_path, "--key", "abc", "--json", command="sandbox") as child:
        about = child.read()

    assert set(about) == {"MAGNIFIC_BASE_URL", "MAGNIFIC_API_KEY", "MAGNIFIC_FILE_ORIGINS"}
    assert about["MAGNIFIC_API_KEY"] == "abc"


def test_ctrl_c_ends_it_quietly(tmp_path: Path) -> None:
    """A traceback at the end looks like a fault."""
    with open_child(tmp_path, command="sandbox") as child:
        assert child.process.stdout is not None
        child.process.stdout.readline()
        child.process.send_signal(signal.SIGINT)
        code = child.wait()

    assert (code, (tmp_path / "stderr.txt").read_text()) == (0, "")


def test_a_child_takes_its_key_from_its_input_and_ends_with_it(tmp_path: Path) -> None:
    """Other users can see arguments and environments, and no child may outlive its parent."""
    with open_child(tmp_path, "--child", command="sandbox") as child:
        assert child.process.stdin is not None
        child.process.stdin.write(b"secret\n")
        child.process.stdin.flush()
        about = child.read()
        child.close_input()
        code = child.wait()

    assert set(about) == {"api_url", "files_url", "former_files_urls", "lease_port", "problem"}
    assert code == 0


def test_a_port_in_use_is_reported(tmp_path: Path) -> None:
    """Starting two sandboxes on one port is a common mistake."""
    with open_child(tmp_path / "one", command="sandbox") as first:
        assert first.process.stdout is not None
        port = [first.process.stdout.readline().decode() for _ in range(2)][1].rpartition(":")[2].strip()
        with open_child(tmp_path / "two", "--port", port, command="sandbox") as second:
            code = second.process.wait(timeout=60)

    assert (code, (tmp_path / "two/stderr.txt").read_text()) == (
        2,
        "The sandbox cannot listen there: Address already in use.\n",
    )


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--port", "x"], "Invalid value for '--port': 'x' is no whole number"),
        (["--port", "99999"], "Invalid value for '--port': 99999 is not from 0 to 65535"),
        (["--files-port", "-1"], "Invalid value for '--files-port': -1 is not from 0 to 65535"),
        (["--speed", "-1"], "Invalid value for '--speed': -1 is not from 0 to 1000"),
        (["--speed", "nan"], "Invalid value for '--speed': nan is not from 0 to 1000"),
        (["--speed", "x"], "Invalid value for '--speed': 'x' is no number"),
        (["--port", "1.5"], "Invalid value for '--port': '1.5' is no whole number"),
    ],
)
def test_an_invalid_flag_is_refused(capsys: pytest.CaptureFixture[str], flags: list[str], words: str) -> None:
    """The message names the valid values, which a traceback would not."""
    assert main(["sandbox", *flags]) == 2
    assert words in capsys.readouterr().err


def test_flags_at_their_bounds_are_accepted() -> None:
    """Zero has a meaning for each of them."""
    found = command.make_context("sandbox", ["--port", "65535", "--speed", "0"]).params
    assert (found["port"], found["speed"]) == (65535, 0.0)
