"""`flowport run` and `flowport batch`, as people and scripts use them, with a provider as a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.support.children import open_child
from tests.support.person import Person
from tests.support.provider_process import ProviderProcess, open_provider


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderProcess]:
    """Run a provider whose runs take no time."""
    with open_provider(tmp_path_factory.mktemp("quick")) as provider:
        yield provider


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderProcess]:
    """Run a provider whose slow app takes some seconds."""
    with open_provider(tmp_path_factory.mktemp("slow"), speed=0.1) as provider:
        yield provider


@pytest.fixture
def person(tmp_path: Path, quick: ProviderProcess) -> Person:
    """Return a person whose runs take no time."""
    return Person(tmp_path, quick.environment)


def list_runs(person: Person, *flags: str) -> list[dict[str, object]]:
    """Return the runs on record."""
    found: list[dict[str, object]] = json.loads(person.run("runs", "--json", *flags).stdout)["runs"]
    return found


def save_picture(path: Path) -> None:
    """Write a small picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64), "green").save(path)


def test_standard_output_holds_the_files_alone(person: Person) -> None:
    """The price comes first and the progress after it, both on standard error; the result is delivered."""
    done = person.run("run", "text_to_picture", "prompt=a lake")

    assert done.returncode == 0, done.stderr
    (file,) = done.stdout.splitlines()
    assert Path(file).is_file()
    assert done.stderr.startswith("Text to Picture: one run for 2 credits.\n")
    assert '"Text to Picture" succeeded' in done.stderr
    assert "\x1b" not in done.stderr + done.stdout
    assert [run["is_seen"] for run in list_runs(person)] == [True]


CODES = [
    (("always_fails", "note=x"), {}, 1, "failed"),
    (("text_to_picture", "promt=a lake"), {}, 2, "Did you mean prompt?"),
    (("text_to_picture", "a lake"), {}, 2, "INPUT is 'a lake', which names no input"),
    (("text_to_picture", "prompt=a", "--input-json", "[1]"), {}, 2, "--input-json is not an object"),
    (("text_to_picture", "prompt=@nothing"), {}, 2, "Write @@ for a text that begins with @."),
    (("text_to_picture", "prompt=a lake"), {"FLOWPORT_WAIT_SECONDS": "soon"}, 2, "It takes a number"),
    (("text_to_picture", "prompt=a lake", "--yes"), {"FLOWPORT_MAX_CREDITS_PER_RUN": "1"}, 3, "--max-credits 1"),
    (("text_to_picture", "prompt=a lake"), {"FLOWPORT_CONFIRM_ABOVE_CREDITS": "1"}, 3, "Add --yes"),
    (("text_to_pictures", "prompt=a lake"), {}, 4, "Did you mean text_to_picture?"),
]


@pytest.mark.parametrize(("words", "variables", "code", "sentence"), CODES, ids=[f"{row[2]}-{row[3]}" for row in CODES])
def test_each_end_has_its_exit_code(
    person: Person, words: tuple[str, ...], variables: dict[str, str], code: int, sentence: str
) -> None:
    """Scripts decide by the code; people read a sentence that names commands and no tool of an assistant."""
    done = person.run("run", *words, environment=variables)
    shown = person.run("run", *words, "--json", environment=variables)

    assert (done.returncode, shown.returncode) == (code, code)
    assert done.stdout == ""
    assert sentence in done.stderr
    document = json.loads(shown.stdout)
    assert code == 1 or sentence in document["error"]["message"]
    for word in ("find_apps", "get_run", "run_app", "list_runs", "new_run"):
        assert word not in done.stderr + shown.stdout


def test_an_unreachable_provider_has_its_exit_code(tmp_path: Path) -> None:
    """The network is not the fault of the command."""
    gone = Person(tmp_path, {"MAGNIFIC_API_KEY": "k", "MAGNIFIC_BASE_URL": "http://127.0.0.1:9"})

    assert gone.run("apps").returncode == 5
    assert gone.run("apps", "--json").returncode == 5


def test_a_usage_error_is_json_too(person: Person) -> None:
    """A script that reads JSON gets nothing else."""
    done = person.run("run", "--json")

    assert done.returncode == 2
    assert json.loads(done.stdout)["error"] == {"kind": "UsageError", "message": "Missing argument 'APP'."}


def test_yes_agrees_to_the_price(person: Person) -> None:
    """A script cannot be asked."""
    done = person.run(
        "run", "text_to_picture", "prompt=x", "--yes", environment={"FLOWPORT_CONFIRM_ABOVE_CREDITS": "1"}
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("answer", "code", "runs"), [("y\r", 0, 1), ("n\r", 3, 0), ("\r", 3, 0), ("\x03", 130, 0)])
def test_a_person_is_asked_about_the_price(person: Person, answer: str, code: int, runs: int) -> None:
    """Only a plain yes spends credits; the question names the price."""
    with person.open_terminal(
        "run", "text_to_picture", "prompt=x", environment={"FLOWPORT_CONFIRM_ABOVE_CREDITS": "1"}
    ) as terminal:
        terminal.read_until('Run "Text to Picture" for 2 credits? [y/N]:')
        terminal.type(answer)
        assert terminal.wait() == code

    assert len(list_runs(person)) == runs


def test_progress_is_shown_and_removed(tmp_path: Path, slow: ProviderProcess) -> None:
    """The line of progress is replaced by the result, and nothing is wider than the terminal."""
    person = Person(tmp_path, slow.environment)
    with person.open_terminal("run", "slow_cinema_still", "prompt=x", columns=40) as terminal:
        terminal.read_until("running")
        assert terminal.wait() == 0

    assert terminal.plain.index("one run for 12 credits") < terminal.plain.index("running")
    assert terminal.plain.rstrip().endswith(".png")


def test_no_color_means_no_escape_sequence_of_colour(person: Person) -> None:
    """https://no-color.org; what moves the cursor stays."""
    with person.open_terminal("run", "text_to_picture", "prompt=x", environment={"NO_COLOR": "1"}) as terminal:
        assert terminal.wait() == 0

    assert not [one for one in terminal.text.split("\x1b[")[1:] if one.lstrip("0123456789;").startswith("m")]


def test_ctrl_c_leaves_the_run_going(tmp_path: Path, slow: ProviderProcess) -> None:
    """It is paid for: the answer says how to get it, and that brings the same run."""
    person = Person(tmp_path, slow.environment)
    with person.open_terminal("run", "slow_cinema_still", "prompt=x") as terminal:
        terminal.read_until("running")
        terminal.type("\x03")
        assert terminal.wait() == 130
    (run,) = list_runs(person, "--live")
    assert f"flowport show {run['run_id']} --wait" in terminal.plain

    done = person.run("show", str(run["run_id"]), "--wait")

    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.splitlines()[-1]).is_file()
    assert [(one["run_id"], one["is_seen"]) for one in list_runs(person)] == [(run["run_id"], True)]


def test_an_equal_command_joins_the_run_that_was_left(tmp_path: Path, slow: ProviderProcess) -> None:
    """Typing it again after Ctrl-C pays once; --new pays again."""
    person = Person(tmp_path, slow.environment)
    with person.open_terminal("run", "slow_cinema_still", "prompt=twice") as terminal:
        terminal.read_until("running")
        terminal.type("\x03")
        terminal.wait()
    again = person.run("run", "slow_cinema_still", "prompt=twice")
    (run,) = list_runs(person)
    another = person.run("run", "slow_cinema_still", "prompt=twice", "--new")

    assert (again.returncode, another.returncode) == (0, 0)
    assert f"Joined {run['run_id']}" in again.stderr
    assert len(list_runs(person)) == 2


def test_it_works_beside_a_serving_flowport(tmp_path: Path, slow: ProviderProcess) -> None:
    """An assistant's run and the same one in a terminal are one run, and the assistant sees what was started here."""
    folder = tmp_path / "f"
    person = Person(tmp_path, {**slow.environment, "FLOWPORT_HOME": str(folder / "home")})
    with open_child(folder, environment=slow.environment) as child:
        child.greet()
        child.ask("tools/list")
        number = child.send(
            "tools/call", {"name": "slow_cinema_still", "arguments": {"prompt": "x"}, "_meta": {"progressToken": 1}}
        )
        while child.read().get("method") != "notifications/progress":
            pass
        done = person.run("run", "slow_cinema_still", "prompt=x")
        while (message := child.read()).get("id") != number:
            pass
        second = person.run("run", "text_to_picture", "prompt=y")
        listed = child.call("list_runs")["runs"]

    assert (done.returncode, second.returncode) == (0, 0), done.stderr
    assert message["result"]["structuredContent"]["run_id"] in done.stderr
    assert [run["tool"] for run in listed] == ["text_to_picture", "slow_cinema_still"]
    assert all(run["is_seen"] for run in listed)


@pytest.mark.parametrize("target", ["a closed pipe", "/dev/full"])
def test_output_that_was_not_written_does_not_count_as_delivered(person: Person, target: str) -> None:
    """What reads the pipe has gone, or the disk is full; the result is kept as not seen."""
    if target == "a closed pipe":
        reading, writing = os.pipe()
        os.close(reading)
    else:
        writing = os.open(target, os.O_WRONLY)
    done = run_into(person, writing, "run", "text_to_picture", "prompt=x")
    listing = run_into(person, writing, "runs")
    os.close(writing)
    (run,) = list_runs(person, "--unseen")

    assert (done.returncode, listing.returncode) == (1, 1)
    assert f"`flowport show {run['run_id']}` prints it again." in done.stderr
    assert "Traceback" not in done.stderr
    assert listing.stderr == "" or target == "/dev/full"


def run_into(person: Person, writing: int, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run a command whose standard output is a descriptor."""
    return subprocess.run(
        [sys.executable, "-m", "flowport", *words],
        env=person.environment,
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
        text=True,
    )


def test_files_are_named_from_the_current_folder(person: Person, tmp_path: Path) -> None:
    """A person at a terminal has chosen the file: FLOWPORT_FILE_ROOTS, which binds assistants, is not asked."""
    save_picture(tmp_path / "work/cup.png")
    elsewhere = {"FLOWPORT_FILE_ROOTS": str(tmp_path / "outputs")}
    for word in ("photo=@cup.png", "photo=cup.png", f"photo=@{tmp_path}/work/cup.png", "photo=@../work/cup.png"):
        done = person.run("run", "photo_to_pencil_sketch", word, "--new", cwd=tmp_path / "work", environment=elsewhere)
        assert done.returncode == 0, done.stderr


def test_texts_come_from_files_and_standard_input(person: Person, tmp_path: Path) -> None:
    """Long prompts are not typed; a text that begins with @ is written with two."""
    (tmp_path / "prompt.txt").write_text("from a file\n", encoding="utf-8")
    words = [("prompt=@prompt.txt", b""), ("prompt=@-", b"from stdin\n"), ("prompt=@@home", b"")]
    for word, stdin in words:
        assert person.run("run", "text_to_picture", word, stdin=stdin).returncode == 0
    as_json = ("--input-json", '{"prompt": "from json", "shape": "wide"}')
    assert person.run("run", "text_to_picture", "prompt=from words", *as_json).returncode == 0
    shown = [json.loads(person.run("show", str(run["run_id"]), "--json").stdout) for run in list_runs(person)]

    assert [one["arguments"]["prompt"] for one in shown] == ["from words", "@home", "from stdin", "from a file"]
    assert shown[0]["arguments"]["shape"] == "wide"


def test_a_picture_comes_from_standard_input(person: Person, tmp_path: Path) -> None:
    """A picture that another program writes needs no file."""
    save_picture(tmp_path / "cup.png")
    done = person.run("run", "photo_to_pencil_sketch", "photo=@-", stdin=(tmp_path / "cup.png").read_bytes())

    assert done.returncode == 0, done.stderr


def test_a_table_runs_each_row_once(person: Person, tmp_path: Path) -> None:
    """Pictures are named from the folder of the table; the files come last."""
    for name in ("one", "two"):
        save_picture(tmp_path / f"table/{name}.png")
    (tmp_path / "table/rows.csv").write_text("photo\none.png\ntwo.png\n", encoding="utf-8")
    done = person.run("batch", "photo_to_pencil_sketch", "table/rows.csv")

    assert done.returncode == 0, done.stderr
    assert "2 runs for 6 credits together" in done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert all(Path(line).is_file() for line in done.stdout.splitlines())


def test_a_table_with_a_wrong_row_starts_nothing(person: Person, tmp_path: Path) -> None:
    """All rows are checked before the first is paid."""
    (tmp_path / "rows.csv").write_text("photo\nnone.png\n", encoding="utf-8")
    done = person.run("batch", "photo_to_pencil_sketch", "rows.csv")

    assert (done.returncode, done.stdout) == (2, "")
    assert list_runs(person) == []


def test_failed_rows_are_named(person: Person, tmp_path: Path) -> None:
    """The others are paid for and kept; the code says that not all is well."""
    (tmp_path / "rows.csv").write_text("note\nx\ny\n", encoding="utf-8")
    done = person.run("batch", "always_fails", "rows.csv")
    (batch,) = list_runs(person)
    shown = person.run("show", str(batch["run_id"]))

    assert (done.returncode, done.stdout, shown.returncode) == (1, "", 1)
    for text in (done.stderr, shown.stderr):
        assert "row 1: failed." in text
        assert "row 2: failed." in text


def test_variations_are_a_batch(person: Person) -> None:
    """Each is paid for, and the price is that of all."""
    done = person.run("run", "text_to_picture", "prompt=x", "--variations", "3")

    assert done.returncode == 0, done.stderr
    assert "3 runs for 6 credits together" in done.stderr
    assert len(set(done.stdout.splitlines())) == 3


def test_open_shows_the_files(person: Person, tmp_path: Path) -> None:
    """The computer's own program is given the saved file."""
    opener = tmp_path / "bin/xdg-open"
    opener.parent.mkdir()
    opener.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path}/opened.txt\n', encoding="utf-8")
    opener.chmod(0o755)
    path = {"PATH": f"{opener.parent}:{os.environ['PATH']}"}
    done = person.run("run", "text_to_picture", "prompt=x", "--open", environment=path)
    again = person.run("open", environment=path)

    assert (done.returncode, again.returncode) == (0, 0), again.stderr
    assert (tmp_path / "opened.txt").read_text(encoding="utf-8") == done.stdout * 2


def test_the_demo_takes_its_tools_without_their_prefix(tmp_path: Path) -> None:
    """The examples of the help are written so; an assistant gets the whole names."""
    person = Person(tmp_path)
    shown = person.run("show", "retro_poster", "--json")
    table = tmp_path / "rows.csv"
    table.write_text("prompt\na lake\n")
    ran = person.run("run", "text_to_picture", "prompt=a lake")
    batch = person.run("batch", "text_to_picture", str(table), "--new")
    unknown = person.run("show", "retro_posters")

    assert json.loads(shown.stdout)["tool"] == "sandbox_retro_poster"
    assert (ran.returncode, batch.returncode, unknown.returncode) == (0, 0, 4), ran.stderr + batch.stderr


def test_a_missing_table_is_named_by_its_path(person: Person) -> None:
    """`csv` is the argument of an assistant's tool, and no word of the command."""
    done = person.run("batch", "text_to_picture", "nofile.csv")

    assert done.returncode == 2
    assert done.stderr.startswith("Nothing was started. nofile.csv ")


def test_a_negative_price_is_refused(person: Person) -> None:
    """No app costs so little, so every app would be listed as the nearest."""
    done = person.run("apps", "--max-credits", "-1")

    assert (done.returncode, done.stdout) == (2, "")
    assert "--max-credits" in done.stderr
