"""Folders: the ones that are set, those that stand without a word, and a working directory that decides nothing."""

from pathlib import Path

import pytest

from flowport.settings.settings import Settings
from tests.support.configuring import load, refuse


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with a place beside it to stand in."""
    folder = tmp_path / "me"
    folder.mkdir()
    (tmp_path / "project").mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(tmp_path / "project")
    return folder


def test_without_anything_the_defaults_stand(home: Path) -> None:
    """The first start needs no configuration: it runs the sandbox."""
    output_dir = home / "Pictures" / "Flowport"
    folders = (home / "Pictures", home / "Downloads", home / "Desktop", output_dir, home.parent / "project")
    assert load() == Settings((), load().home, output_dir, folders)
    assert load().home.name == "flowport"


def test_a_file_in_the_working_directory_is_never_read(home: Path) -> None:
    """A repository that is opened in an editor must not redirect the key."""
    for name in ("config.toml", "flowport.toml", ".flowport.toml", "flowport/config.toml"):
        path = Path.cwd() / name
        path.parent.mkdir(exist_ok=True)
        path.write_text('magnific_base_url = "https://evil.example"\nmagnific_api_key = "x"')
    assert load().providers == ()


@pytest.mark.parametrize("name", ["FLOWPORT_HOME", "FLOWPORT_OUTPUT_DIR", "FLOWPORT_FILE_ROOTS"])
@pytest.mark.parametrize("text", ["results", "./results", "~no-such-user/x"])
def test_a_path_that_depends_on_the_working_directory_is_refused(name: str, text: str) -> None:
    """Clients start us anywhere, so it would mean another folder each time."""
    error = refuse({name: text})
    assert (error.setting, error.problem) == (name, f"is {text!r}")


def test_a_path_may_begin_with_the_home_folder(home: Path) -> None:
    """That is how people write it; no shell expands it in a client's configuration."""
    loaded = load({"FLOWPORT_OUTPUT_DIR": "~/out", "FLOWPORT_FILE_ROOTS": "~/a:~"})
    assert loaded.output_dir == home / "out"
    assert loaded.file_roots == (home / "a", home)


@pytest.mark.parametrize("mark", [",", ", ", ";", "\n"])
def test_folders_may_be_parted_by_other_marks(home: Path, mark: str) -> None:
    """The system's own mark is known to few, and one folder of that name would silently be none."""
    (home / "a").mkdir()
    (home / "b").mkdir()
    assert load({"FLOWPORT_FILE_ROOTS": f"{home}/a{mark}{home}/b"}).file_roots == (home / "a", home / "b")
    (home / "a,b").mkdir()
    assert load({"FLOWPORT_FILE_ROOTS": f"{home}/a,b"}).file_roots == (home / "a,b",)
    odd = home / f"a{mark}" / "b"
    odd.mkdir(parents=True)
    assert load({"FLOWPORT_FILE_ROOTS": str(odd)}).file_roots == (odd,)


@pytest.mark.parametrize("place", ["/", ".", ".."])
def test_the_home_folder_and_what_holds_it_are_no_default_roots(
    home: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Desktop clients start us there, and an assistant could then read every key file."""
    monkeypatch.chdir(home / place)
    assert Path.cwd() not in load().file_roots


def test_a_home_folder_behind_a_link_is_not_a_default_root(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some systems keep home folders elsewhere; the working directory is given without links."""
    link = tmp_path / "link"
    link.symlink_to(home)
    monkeypatch.setenv("HOME", str(link))
    monkeypatch.chdir(home)
    roots = {root.resolve() for root in load().file_roots}
    assert home.resolve() not in roots
    assert (home / "Pictures").resolve() in roots


def test_a_pictures_folder_that_is_the_home_folder_is_not_a_default_root(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Desktops name the home folder where a person has turned the pictures folder off."""
    monkeypatch.setenv("XDG_PICTURES_DIR", str(home))
    (home.parent / "link").symlink_to(home)
    monkeypatch.setenv("XDG_DESKTOP_DIR", str(home.parent / "link"))
    loaded = load()
    assert home not in {root.resolve() for root in loaded.file_roots}
    assert loaded.output_dir == home / "Flowport"
    assert loaded.output_dir in loaded.file_roots


def test_a_working_directory_that_is_gone_is_not_a_root(home: Path) -> None:
    """A shell may stand in a folder that was removed; that must not stop the start."""
    gone = Path.cwd()
    gone.rmdir()
    assert gone not in load().file_roots
