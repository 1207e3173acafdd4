"""Reading files of this computer: real files, links, pipes, sockets and devices."""

import contextlib
import os
import socket
import sys
import threading
from pathlib import Path

import pytest

from flowport.domain.errors import ArgumentsInvalid
from flowport.media.sources import (
    _get_real_path,
    _locate_by_fcntl,
    _locate_by_identity,
    _locate_by_procfs,
    is_under_roots,
    open_local_file,
)

OUTSIDE = "names no file in the folders"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give a test a folder that may be read, beside one that may not."""
    return build_tree(tmp_path)


def build_tree(tmp_path: Path) -> Path:
    """Make a folder that may be read, beside one that may not, with something of every sort in both."""
    root, outside = tmp_path / "Pictures", tmp_path / "private"
    (root / "folder").mkdir(parents=True)
    (root / ".ssh").mkdir()
    (tmp_path / "Pictures-not").mkdir()
    outside.mkdir()
    (root / "cat.png").write_bytes(b"cat")
    (root / "folder" / "dog.png").write_bytes(b"dog")
    (root / "empty.png").touch()
    (root / "large.png").write_bytes(bytes(101))
    (tmp_path / "Pictures-not" / "cat.png").write_bytes(b"cat")
    (outside / "id_rsa").write_bytes(b"secret")
    if sys.platform == "win32":
        pytest.skip("there a pipe has no name among the files")
    os.mkfifo(root / "pipe")
    os.mkfifo(outside / "pipe")
    (root / "link-inside").symlink_to(root / "cat.png")
    (root / "link-outside").symlink_to(outside / "id_rsa")
    (root / "link-nowhere").symlink_to(root / "missing")
    (root / "link-loop").symlink_to(root / "link-loop")
    (root / "folder-inside").symlink_to(root / "folder")
    (root / "folder-outside").symlink_to(outside)
    (root / "folder-device").symlink_to("/dev")
    (outside / "way-in").symlink_to(root)
    return root


def read(path: Path, *roots: Path) -> bytes:
    """Read a file with a limit of 100 bytes."""
    with open_local_file(path, argument="image", roots=roots, max_bytes=100) as file:
        return file.read()


def refuse(path: Path, *roots: Path) -> str:
    """Return the sentence of a refusal."""
    with pytest.raises(ArgumentsInvalid) as caught:
        read(path, *roots)
    assert "secret" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cat.png", b"cat"),
        ("folder/dog.png", b"dog"),
        ("folder/../cat.png", b"cat"),
        ("folder-inside/dog.png", b"dog"),
        ("../private/way-in/cat.png", b"cat"),
        ("../private/../Pictures/cat.png", b"cat"),
    ],
)
def test_a_file_that_really_lies_under_a_root_is_read(root: Path, name: str, content: bytes) -> None:
    """Where a path leads counts, and not how it is written."""
    assert read(root / name, root) == content


def test_a_root_that_is_itself_a_link_counts_for_where_it_leads(root: Path) -> None:
    """Home folders are often linked to another disk."""
    linked = root.parent / "linked"
    linked.symlink_to(root)
    assert read(linked / "cat.png", linked) == read(root / "cat.png", linked) == b"cat"


HOSTILE = [
    "../private/id_rsa",
    "../private/missing",
    "../private",
    "../private/pipe",
    "../private/id_rsa/below",
    "../Pictures-not/cat.png",
    "../missing/missing",
    "folder/../../private/id_rsa",
    "folder-outside/id_rsa",
    "folder-outside/missing",
    "folder-outside/../private/id_rsa",
    "folder-device/null",
    "/etc/passwd",
    "/etc/shadow",
    "/etc",
    "/etc/hostname-that-is-not-there",
    "/dev/zero",
    "/dev/null",
    "/dev/random",
    "/dev/tty",
    "/dev/stdin",
    "/dev/fd/0",
    "/proc/self/environ",
    "/proc/self/mem",
    "/proc/self/fd/0",
    "/proc/self/cmdline",
    "/proc/1/root/etc/passwd",
    "/proc/self/cwd/pyproject.toml",
    "/sys/kernel/version",
    "/",
    "..",
    "/" + "a" * 300,
    "/" + "a/" * 3000,
]


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: name[:40])
def test_anything_outside_the_roots_gets_one_answer(root: Path, name: str) -> None:
    """Whether a file is there, and of what sort, is not an one's business."""
    assert refuse(root / name, root) == (
        f"Nothing was started. image {OUTSIDE} that Flowport may read. "
        f"Put the file into one of them ({root}), or add its folder to FLOWPORT_FILE_ROOTS."
    )


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("missing.png", "does not exist"),
        ("cat.png/below", "does not exist"),
        ("link-inside", "symbolic link"),
        ("link-outside", "symbolic link"),
        ("link-nowhere", "symbolic link"),
        ("link-loop", "symbolic link"),
        ("folder-outside", "symbolic link"),
        ("folder", "names a folder"),
        (".", "names a folder"),
        ("pipe", "not a regular file"),
        ("empty.png", "empty file"),
        ("large.png", "names a file of 101 bytes, and at most 100 bytes"),
        ("a" * 300, "cannot be opened"),
    ],
)
def test_what_cannot_be_sent_from_a_root_is_reported(root: Path, name: str, problem: str) -> None:
    """Inside the allowed folders the person is helped."""
    assert problem in refuse(root / name, root)


def test_a_socket_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening one fails, which must not look like a missing file."""
    if sys.platform == "win32":
        pytest.skip("there a socket has no name among the files")
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        assert "not a regular file" in refuse(root / "socket", root)


def test_the_system_folders_are_closed_even_under_a_root() -> None:
    """Someone may allow everything by naming `/`, and does not mean memory and devices."""
    assert OUTSIDE in refuse(Path("/proc/self/environ"), Path("/"))
    assert OUTSIDE in refuse(Path("/dev/zero"), Path("/"))


def test_without_roots_nothing_is_read(root: Path) -> None:
    """The sentence then says that no folder is allowed."""
    assert "(none so far)" in refuse(root / "cat.png")


def test_a_file_that_reports_no_size_is_empty(root: Path) -> None:
    """The measured size and the read one are held to the same rule."""
    (root / "cat.png").write_bytes(b"")
    assert "empty file" in refuse(root / "cat.png", root)


@pytest.mark.parametrize(
    ("path", "expected"),
    [("cat.png", True), ("missing/below", True), ("link-outside", True), ("../private/x", False), ("..", False)],
)
def test_a_path_need_not_exist_to_be_judged(root: Path, path: str, expected: bool) -> None:
    """A missing file is reported from a forbidden one by where its folder is."""
    assert is_under_roots(root / path, [root]) is expected


def test_every_way_to_find_an_open_file_agrees(root: Path) -> None:
    """Linux, macOS and the rest each have their own; the one for macOS must fail cleanly elsewhere."""
    path = root / "folder-inside" / "dog.png"
    with path.open() as file:
        real = os.path.realpath(path)
        assert _get_real_path(file.fileno(), path) == real
        assert _get_real_path(file.fileno(), path, [_locate_by_fcntl, _locate_by_identity]) == real
        assert _get_real_path(file.fileno(), path, [_locate_by_procfs, _locate_by_identity]) == real


def test_a_file_that_was_exchanged_is_found_nowhere(root: Path) -> None:
    """What is read is the open file, so its path must be the open file's too."""
    path = root / "cat.png"
    with path.open() as file:
        path.unlink()
        path.write_bytes(b"other")
        assert _get_real_path(file.fileno(), path, [_locate_by_identity]) == ""


def test_a_folder_that_is_exchanged_all_the_time_never_lets_a_file_out(root: Path) -> None:
    """Between the check and the opening a link may come to lead elsewhere; the open file is asked again."""
    (root.parent / "private" / "dog.png").write_bytes(b"secret")
    swap, is_over = root / "swap", threading.Event()

    def exchange() -> None:
        """Lead inside and outside by turns."""
        while not is_over.is_set():
            for target in (root / "folder", root.parent / "private"):
                (root / "next").symlink_to(target)
                (root / "next").replace(swap)

    swap.symlink_to(root / "folder")
    thread = threading.Thread(target=exchange)
    thread.start()
    found: list[bytes] = []
    try:
        for _ in range(500):
            with contextlib.suppress(ArgumentsInvalid):
                found.append(read(swap / "dog.png", root))
    finally:
        is_over.set()
        thread.join()
    assert set(found) <= {b"dog"}


OPENED: list[str] = []
"""Paths that this process opened since a test emptied the list."""


def _note_opening(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open":
        OPENED.append(str(arguments[0]))


@pytest.fixture(scope="module", autouse=True)
def _watch_openings() -> None:
    sys.addaudithook(_note_opening)


@pytest.mark.parametrize("name", ["private/pipe", "private/id_rsa", "Pictures/folder-outside/pipe"])
def test_what_lies_outside_is_never_even_opened(root: Path, name: str) -> None:
    """Opening a pipe wakes its writer, and opening a device may do anything."""
    OPENED.clear()
    assert OUTSIDE in refuse(root.parent / name, root)
    assert [path for path in OPENED if path.endswith(("pipe", "id_rsa"))] == []


def test_what_lies_inside_is_opened_once(root: Path) -> None:
    """The watch of the test above works."""
    OPENED.clear()
    read(root / "cat.png", root)
    assert [path for path in OPENED if path.endswith("cat.png")] == [str(root / "cat.png")]
