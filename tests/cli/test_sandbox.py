"""The sandbox as a process."""

import json
import signal
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from flowport.cli.sandbox import build_options, build_parser
from tests.support.children import open_child


def test_it_says_how_to_reach_it_and_answers_there(tmp_path: Path) -> None:
    """Somebody who starts it wants to copy two lines, for either provider."""
    with open_child(tmp_path, "--key", "abc", command="sandbox") as child:
        assert child.process.stdout is not None
        lines = [child.process.stdout.readline().decode().strip() for _ in range(8)]
        url = lines[1].removeprefix("MAGNIFIC_BASE_URL=")
        request = urllib.request.Request(f"{url}/v1/ai/flows", headers={"x-magnific-api-key": "abc"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            apps = json.load(answer)["data"]
        magica = urllib.request.Request(f"{url}/magica/v1/workflows", headers={"authorization": "Bearer gx_abc"})
        with urllib.request.urlopen(magica, timeout=60) as answer:
            workflows, remaining = json.load(answer)["items"], answer.headers["x-ratelimit-remaining"]

    assert lines[2] == "MAGNIFIC_API_KEY=abc"
    files_url = lines[3].removeprefix("MAGNIFIC_FILE_ORIGINS=")
    assert lines[5:] == [f"MAGICA_BASE_URL={url}/magica", "MAGICA_API_KEY=gx_abc", f"MAGICA_FILE_ORIGINS={files_url}"]
    assert len(apps) > 0
    assert (len(workflows) > 0, remaining) == (True, "59")


def test_ctrl_c_ends_it_quietly(tmp_path: Path) -> None:
    """A traceback at the end looks like a fault."""
    with open_child(tmp_path, command="sandbox") as child:
        assert child.process.stdout is not None
        child.process.stdout.readline()
        child.process.send_signal(signal.SIGINT)
        code = child.wait()

    assert (code, (tmp_path / "stderr.txt").read_text()) == (0, "")


def test_a_child_takes_its_key_from_its_input_and_ends_with_it(tmp_path: Path) -> None:
    """Arguments and environments are seen by others, and no child may outlive its parent."""
    with open_child(tmp_path, "--child", command="sandbox") as child:
        assert child.process.stdin is not None
        child.process.stdin.write(b"secret\n")
        child.process.stdin.flush()
        about = child.read()
        child.close_input()
        code = child.wait()

    assert set(about) == {"api_url", "files_url", "former_files_urls", "lease_port", "problem"}
    assert code == 0


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    """Two sandboxes on one port is an everyday mistake."""
    with open_child(tmp_path / "one", command="sandbox") as first:
        assert first.process.stdout is not None
        port = [first.process.stdout.readline().decode() for _ in range(2)][1].rpartition(":")[2].strip()
        with open_child(tmp_path / "two", "--port", port, command="sandbox") as second:
            code = second.process.wait(timeout=60)

    assert (code, (tmp_path / "two/stderr.txt").read_text()) == (
        2,
        "The sandbox cannot listen there: Address already in use.\n",
    )


def test_the_limit_is_the_real_one_unless_said() -> None:
    """What works in the sandbox must work at the provider."""
    assert build_parser().parse_args([]).requests_per_minute == 50


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--port", "x"], "argument --port: 'x' is no whole number"),
        (["--port", "99999"], "argument --port: 99999 is not from 0 to 65535"),
        (["--files-port", "-1"], "argument --files-port: -1 is not from 0 to 65535"),
        (["--speed", "-1"], "argument --speed: -1 is not from 0 to 1000"),
        (["--speed", "nan"], "argument --speed: nan is not from 0 to 1000"),
        (["--minute-seconds", "0"], "argument --minute-seconds: 0 is not above 0 and up to 60"),
        (["--minute-seconds", "nan"], "argument --minute-seconds: nan is not above 0 and up to 60"),
        (["--speed", "x"], "argument --speed: 'x' is no number"),
        (["--minute-seconds", ""], "argument --minute-seconds: '' is no number"),
        (["--port", "1.5"], "argument --port: '1.5' is no whole number"),
        (["--requests-per-minute", "many"], "argument --requests-per-minute: 'many' is no whole number"),
        (["--requests-per-minute", "-5"], "argument --requests-per-minute: -5 is below 0"),
    ],
)
def test_a_flag_that_cannot_be_used_is_refused(
    capsys: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    """A traceback tells nobody what to type instead."""
    with pytest.raises(SystemExit, match="2"):
        build_parser().parse_args(flags)
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "limits"),
    [
        ([], (60, 1000)),
        (["--requests-per-minute", "0"], (0, 0)),
        (["--requests-per-minute", "0", "--magica-requests-per-day", "9"], (0, 9)),
        (["--magica-requests-per-minute", "0", "--magica-requests-per-day", "0"], (0, 0)),
    ],
)
def test_magica_s_limits_are_the_real_ones_unless_said(flags: list[str], limits: tuple[int, int]) -> None:
    """Whoever lifts the one face's limit wants none at all."""
    options = build_options(build_parser().parse_args(flags), "abc")
    assert (options.magica_requests_per_minute, options.magica_requests_per_day) == limits


def test_flags_at_their_bounds_are_taken() -> None:
    """Zero means something for each of them."""
    found = build_parser().parse_args(["--port", "65535", "--speed", "0", "--requests-per-minute", "0"])
    assert (found.port, found.speed, found.requests_per_minute) == (65535, 0.0, 0)


def test_a_shorter_minute_is_chosen_by_a_flag() -> None:
    """It is a minute unless said."""
    given = [build_options(build_parser().parse_args(flags), "abc") for flags in ([], ["--minute-seconds", "2.5"])]
    assert [options.minute_seconds for options in given] == [60.0, 2.5]


def test_the_paths_that_exist_are_chosen_by_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    """Both unless said: a client of either time can be tried."""
    assert build_parser().parse_args([]).style == "both"
    assert build_parser().parse_args(["--style", "apps"]).style == "apps"
    with pytest.raises(SystemExit):
        build_parser().parse_args(["--style", "spaces"])
    assert "invalid choice: 'spaces' (choose from" in capsys.readouterr().err


def test_a_sandbox_of_the_older_paths_answers_on_them_alone(tmp_path: Path) -> None:
    """As a real process."""
    with open_child(tmp_path, "--key", "abc", "--style", "apps", command="sandbox") as child:
        assert child.process.stdout is not None
        url = [child.process.stdout.readline().decode().strip() for _ in range(2)][1].partition("=")[2]
        statuses = [get_status(f"{url}/v1/ai/{family}") for family in ("flows", "apps")]

    assert statuses == [404, 200]


def get_status(url: str) -> int:
    """Ask with the key and return the status."""
    request = urllib.request.Request(url, headers={"x-freepik-api-key": "abc"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code
