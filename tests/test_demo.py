"""Check the demo as `make demo` starts it: any picture, plain lines, and the command that opens the results."""

import importlib.util
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.fakes.client import build_photo, write

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "demo.py"
NAMES = [
    "a $HOME \"b\" 'c' `d` \\e.png",
    "-dash.png",
    "--image",
    "~tilde.png",
    "пляж 水墨画 ✨.png",
    " space .png ",
    "line\nfeed.png",
    "semi;colon & more | #%25?.png",
    "no ending",
]
ODD_FOLDERS = ["with:colon", "last", "data:image", "-folder"]


def load_demo() -> ModuleType:
    """Load the script as a module."""
    spec = importlib.util.spec_from_file_location("demo", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["demo"] = module
    spec.loader.exec_module(module)
    return module


demo = load_demo()


def run_demo(
    folder: Path, *arguments: str, command: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the demo in a folder and return what it printed."""
    return subprocess.run(
        [*(command or (sys.executable, str(SCRIPT))), "--output-dir", str(folder / "out"), *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def get_files(printed: str, folder: Path) -> list[Path]:
    """Return the files that the last line says to open."""
    last = printed.splitlines()[-1]
    words = shlex.split(last.partition("Open them with: ")[2].replace("; ", " "))
    return [folder / word for word in words if word != "xdg-open"]


@pytest.mark.skipif(sys.platform != "linux", reason="the last line names another program elsewhere")
def test_it_works_twice_in_a_folder_with_a_picture_of_any_name(tmp_path: Path) -> None:
    """It prints plain lines without links, and a last line that opens each result."""
    name = NAMES[0]
    (tmp_path / name).write_bytes(write(build_photo()))
    first = run_demo(tmp_path, IMAGE=name)
    second = run_demo(tmp_path, "--image", name)

    for done in (first, second):
        assert (done.returncode, done.stderr) == (0, "")
        assert all(path.read_bytes().startswith(b"\x89PNG") for path in get_files(done.stdout, tmp_path))
        assert len(get_files(done.stdout, tmp_path)) == 2
        assert "http" not in done.stdout
        assert not set("{}[]") & set(done.stdout)
    assert not set(get_files(first.stdout, tmp_path)) & set(get_files(second.stdout, tmp_path))
    assert len(list((tmp_path / "out").rglob("*.png"))) == 4


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("is_flag", [False, True])
def test_a_picture_may_have_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, *, is_flag: bool
) -> None:
    """Flag and variable accept any name; a picture whose name cannot be sent is copied."""
    (tmp_path / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    image = demo.find_image(demo.parse_flags(["--image", name]).image if is_flag else name)
    given = make_nameable(image, tmp_path)
    assert (demo.find_problem(image), given.read_bytes()) == ("", b"x")
    assert str(given).isprintable()
    assert str(given) == str(given).strip()


def make_nameable(image: Path, folder: Path) -> Path:
    """Return the path that the demo gives to Flowport for a picture."""
    (folder / "home").mkdir(exist_ok=True)
    found = demo.make_nameable(image, folder / "home")
    assert isinstance(found, Path)
    return found


@pytest.mark.parametrize("folder", ODD_FOLDERS)
def test_a_picture_may_be_in_any_folder(tmp_path: Path, folder: str) -> None:
    """`FLOWPORT_FILE_ROOTS` is separated by colons, which a folder's name may contain."""
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "me.png").write_bytes(b"x")
    given = make_nameable(tmp_path / folder / "me.png", tmp_path)
    assert (given.read_bytes(), os.pathsep in str(given.parent)) == (b"x", False)


@pytest.mark.skipif(sys.platform == "win32", reason="names are text there")
def test_a_file_with_an_undecodable_name_is_copied(tmp_path: Path) -> None:
    """Old archives contain such names."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    path.write_bytes(b"x")
    assert make_nameable(path, tmp_path).name == "picture.png"
    assert demo.printable(path.name) == "caf\\udce9.png"


WRONG = {
    "missing": ("nowhere.png", "There is no file"),
    "folder": ("folder", "is a folder"),
    "empty": ("empty.png", "is empty"),
    "below a file": ("empty.png/x", "cannot be read (Not a directory)"),
    "too long": ("x" * 5000, "cannot be read (File name too long)"),
    "no home": ("~no-such-user/x.png", "There is no file"),
}


@pytest.mark.parametrize(("name", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_picture_gets_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, words: str
) -> None:
    """The sentence says what to type, and the exit code is 1."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.png").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMAGE", name)
    assert demo.main([]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert words in line
    assert line.endswith("make demo IMAGE=path")


def test_a_file_of_another_kind_gets_the_sentence_of_the_tool(tmp_path: Path) -> None:
    """The demo prints the message that a client would receive."""
    (tmp_path / "notes.txt").write_text("no picture")
    done = run_demo(tmp_path, IMAGE="notes.txt")
    assert (done.returncode, done.stderr) == (1, "")
    assert "names something that is not an image, a video or a sound" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("platform", "line"),
    [
        ("linux", "xdg-open '/a b/1.png'; xdg-open /c/2.png"),
        ("darwin", "open '/a b/1.png' /c/2.png"),
        ("win32", 'start "" "/a b/1.png" & start "" "/c/2.png"'),
    ],
)
def test_the_last_line_fits_the_system(monkeypatch: pytest.MonkeyPatch, platform: str, line: str) -> None:
    """Each system has a program of its own to open files."""
    monkeypatch.setattr(sys, "platform", platform)
    assert demo.build_last_line([Path("/a b/1.png"), Path("/c/2.png")]) == f"Saved 2 files. Open them with: {line}"


def test_the_first_cause_is_printed() -> None:
    """Task groups wrap the original error."""
    assert demo.describe(ExceptionGroup("", [ExceptionGroup("", [OSError(5, "Sad")])])) == "OSError: [Errno 5] Sad"
