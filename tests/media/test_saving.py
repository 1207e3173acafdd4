"""Names and safe writing of saved outputs."""

import errno
import json
import os
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowport.media.saving import (
    MAX_NAME_CHARACTERS,
    Published,
    build_batch_path,
    build_output_path,
    open_partial,
)
from tests.support.rights import obey_modes

LARGE = bytes(range(256)) * 9000
"""More than is compared at once."""

RECORD_TEXT = '{\n  "app": "Sketch"\n}\n'


def save(path: Path, content: bytes) -> Path:
    """Write a file and return where it went."""
    with open_partial(path) as partial:
        partial.file.write(content)
        return partial.publish()


def publish(folder: Path, content: bytes) -> Published:
    """Write a result with its record and return where they went."""
    with open_partial(folder / "cat.part") as partial:
        partial.file.write(content)
        return partial.publish_with_sidecar(folder / "cat.png", {"app": "Sketch"})


def get_names(folder: Path) -> list[str]:
    """Return what lies in a folder, hidden files included."""
    return sorted(path.name for path in folder.iterdir())


def identify(path: Path) -> tuple[int, int, int, int, int]:
    """Return what changes when a file is replaced or written; that it is read, which its access time reports, is allowed."""
    found = path.stat()
    return (found.st_dev, found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns)


def refuse_links(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Behave like a file system without hard links."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", fail)


def test_an_output_is_named_for_its_day_tool_place_and_run() -> None:
    """A person finds it next week, and its run from it."""
    path = build_output_path(
        Path("out"), date="2026-11-22", tool_name="sketch_to_realism", n=2, run_id="run_a1b2c3d4e5", extension="png"
    )
    assert path == Path("out/2026-11-22/sketch_to_realism-2-a1b2c3d4e5.png")


@pytest.mark.parametrize(
    ("tool", "run", "extension", "name"),
    [
        ("../../etc", "../x", "png/../sh", "etc-1-x.png_sh"),
        (".hidden", ".", ".PNG", "hidden-1-run.png"),
        ("con", "nul", "aux", "con-1-nul.aux"),
        ("", "", "", "output-1-run.bin"),
        ("Größe", "run_1", "jpg", "gr_e-1-run_1.jpg"),
        ("a\0b\n", "c:d", "e\u202ef", "a_b-1-c_d.e_f"),
        ("-rf", "-x", "-y", "rf-1-x.y"),
    ],
)
def test_hostile_parts_make_a_harmless_name(tool: str, run: str, extension: str, name: str) -> None:
    """Names of apps and types of files are untrusted words."""
    path = build_output_path(Path("out"), date="../..", tool_name=tool, n=1, run_id=run, extension=extension)
    assert path == Path("out/undated") / name


@pytest.mark.parametrize(
    ("app", "stem"),
    [
        ("Создать постер", "создать_постер"),
        ("日本語 のアプリ!", "日本語_のアプリ"),
        ("Größe / ../Maß", "größe_maß"),
        ("e\u0301te\u0301", "été"),
        ("पोस्टर", "पोस्टर"),
        ("Плакат" * 40, "плакат" * 10),
        ("Sketch to Realism", "sketch_to_realism_2"),
        ("", "sketch_to_realism_2"),
        ("\U0001f680", "sketch_to_realism_2"),
        ("\u0301\u0301é", "é"),
        ("pile" + "\u0301" * 9, "pilé"),
    ],
)
def test_an_app_in_another_script_names_its_files(app: str, stem: str) -> None:
    """People look for them by the letters that they know; a long name must still fit into a folder."""
    path = build_output_path(
        Path("out"), date="x", tool_name="sketch_to_realism_2", n=1, run_id="run_ab2", extension="png", app_name=app
    )
    batch = build_batch_path(Path("out"), date="x", tool_name="sketch_to_realism_2", batch_id="batch_ab2", app_name=app)
    assert (path.name, batch.name) == (f"{stem}-1-run_ab2.png", f"{stem}-batch-batch_ab2.csv")
    assert len(path.name.encode()) < 200


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80))
def test_a_file_of_any_app_can_be_made(app: str) -> None:
    """Names of apps are untrusted words."""
    path = build_output_path(
        Path("out"), date="x", tool_name="tool", n=1, run_id="run_ab2", extension="png", app_name=app
    )
    assert len(path.name.encode()) < 200
    assert path.name[0].isalnum()
    assert not set('/\\:\0*?"<>| \n') & set(path.name)


@settings(max_examples=200, deadline=None)
@given(st.text(), st.text(max_size=200), st.integers(1, 10**6), st.text(), st.text())
def test_a_name_never_leaves_its_folder(date: str, tool: str, n: int, run: str, extension: str) -> None:
    """Two levels below the folder, short, plain letters, not hidden."""
    path = build_output_path(Path("out"), date=date, tool_name=tool, n=n, run_id=run, extension=extension)
    assert path.parts[0] == "out"
    assert len(path.parts) == 3
    assert len(path.name) <= MAX_NAME_CHARACTERS
    assert path.name.isascii()
    assert not path.name.startswith((".", "-"))
    assert not {"/", "\\", ":", "\0"} & set(path.name + path.parts[1])


def test_a_file_gets_its_name_when_it_is_whole(tmp_path: Path) -> None:
    """Someone who watches the folder never sees half a picture."""
    final = tmp_path / "new" / "cat.png"
    with open_partial(final) as partial:
        partial.file.write(b"cat")
        (name,) = get_names(final.parent)
        assert name.startswith(".cat.png.")
        assert name.endswith(".part")
        assert partial.publish() == final
    assert (get_names(final.parent), final.read_bytes()) == (["cat.png"], b"cat")
    assert stat.S_IMODE(final.stat().st_mode) == 0o600


def test_a_file_may_be_named_when_its_type_has_shown(tmp_path: Path) -> None:
    """The type is read from bytes that are already being written."""
    with open_partial(tmp_path / "cat.bin") as partial:
        partial.file.write(b"cat")
        assert partial.publish(tmp_path / "cat.webp") == tmp_path / "cat.webp"
    assert get_names(tmp_path) == ["cat.webp"]


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    """Not even an empty one, nor a link that leads nowhere."""
    (tmp_path / "cat.png").write_bytes(b"old")
    (tmp_path / "cat-2.png").touch()
    (tmp_path / "cat-3.png").symlink_to(tmp_path / "missing")
    assert save(tmp_path / "cat.png", b"new") == tmp_path / "cat-4.png"
    assert (tmp_path / "cat.png").read_bytes() == b"old"
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("has_links", [True, False])
def test_writers_of_one_name_all_keep_their_files(
    has_links: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two processes may save the outputs of one run at the same time."""
    if not has_links:
        refuse_links(monkeypatch, errno.EPERM)
    start = threading.Barrier(8)
    paths: list[Path] = []

    def write(n: int) -> None:
        with open_partial(tmp_path / "cat.png") as partial:
            partial.file.write(b"%d" % n)
            start.wait()
            paths.append(partial.publish())

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.read_bytes() for path in paths) == [b"%d" % n for n in range(8)]
    assert get_names(tmp_path) == sorted(path.name for path in set(paths))


@pytest.mark.parametrize("problem", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_writer_leaves_nothing(problem: type[BaseException], tmp_path: Path) -> None:
    """Half an output is worse than none: it looks like one."""

    def write_half() -> None:
        with open_partial(tmp_path / "cat.png") as partial:
            partial.file.write(b"half")
            raise problem

    with pytest.raises(problem):
        write_half()
    assert get_names(tmp_path) == []


def test_a_block_that_publishes_nothing_leaves_nothing(tmp_path: Path) -> None:
    """A caller may decide against the file."""
    with open_partial(tmp_path / "cat.png") as partial:
        partial.file.write(b"unwanted")
    assert get_names(tmp_path) == []


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """Closing flushes once more and fails once more, and the file must go all the same."""
    with Path("/dev/full").open("wb") as full, open_partial(tmp_path / "cat.png") as partial:
        os.dup2(full.fileno(), partial.file.fileno())
        partial.file.write(b"cat")
        with pytest.raises(OSError, match="No space left"):
            partial.publish()
    assert get_names(tmp_path) == []


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_links_overwrites_nothing_either(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory cards and network shares have none."""
    refuse_links(monkeypatch, code)
    assert save(tmp_path / "cat.png", b"one") == tmp_path / "cat.png"
    assert save(tmp_path / "cat.png", b"two") == tmp_path / "cat-2.png"
    assert [(tmp_path / name).read_bytes() for name in get_names(tmp_path)] == [b"two", b"one"]


def test_a_claimed_name_is_given_back_when_the_move_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty file under an output's name would pass for the output."""
    refuse_links(monkeypatch, errno.EPERM)
    with open_partial(tmp_path / "cat.png") as partial:
        for path in tmp_path.iterdir():
            path.unlink()
        with pytest.raises(FileNotFoundError):
            partial.publish()
    assert get_names(tmp_path) == []


def test_a_link_that_fails_for_another_reason_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is not a file system without links."""
    refuse_links(monkeypatch, errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path / "cat.png", b"cat")
    assert get_names(tmp_path) == []


def test_a_name_that_is_always_taken_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that answers wrongly must not hold a writer forever."""
    refuse_links(monkeypatch, errno.EEXIST)
    with pytest.raises(FileExistsError):
        save(tmp_path / "cat.png", b"cat")
    assert get_names(tmp_path) == []


def test_a_sidecar_stands_beside_its_file(tmp_path: Path) -> None:
    """It reports a person where the picture came from."""
    record = {"app": "Größe", "cost": 5, "arguments": {"image": None}}
    with open_partial(tmp_path / "cat.part") as partial:
        published = partial.publish_with_sidecar(tmp_path / "cat.png", record)
    assert published == Published(tmp_path / "cat.png", tmp_path / "cat.png.json")
    assert json.loads((tmp_path / "cat.png.json").read_text("utf-8")) == record


@pytest.mark.parametrize("has_links", [True, False])
@pytest.mark.parametrize("has_record", [True, False])
def test_a_file_that_was_published_before_is_taken_up(
    has_record: bool, has_links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its Flowport was killed before it could note that; a second copy would be of no use, a missing record is written."""
    if not has_links:
        refuse_links(monkeypatch, errno.EPERM)
    (tmp_path / "cat.png").write_bytes(LARGE)
    if has_record:
        (tmp_path / "cat.png.json").write_text("old")
    before = identify(tmp_path / "cat.png")
    assert publish(tmp_path, LARGE) == Published(tmp_path / "cat.png", tmp_path / "cat.png.json")
    assert get_names(tmp_path) == ["cat.png", "cat.png.json"]
    assert identify(tmp_path / "cat.png") == before
    assert (tmp_path / "cat.png.json").read_text() == ("old" if has_record else RECORD_TEXT)


def test_a_numbered_file_that_was_published_before_is_taken_up(tmp_path: Path) -> None:
    """The first name may have been taken by something else."""
    (tmp_path / "cat.png").write_bytes(b"other")
    (tmp_path / "cat-2.png").write_bytes(LARGE)
    assert publish(tmp_path, LARGE) == Published(tmp_path / "cat-2.png", tmp_path / "cat-2.png.json")
    assert get_names(tmp_path) == ["cat-2.png", "cat-2.png.json", "cat.png"]


@pytest.mark.parametrize("other", [LARGE[:-1], LARGE + b"x", LARGE[:-1] + b"x", b"x" + LARGE[1:], b""], ids=range(5))
def test_a_file_that_differs_is_left_alone(tmp_path: Path, other: bytes) -> None:
    """It is the person's by now: retouched, cut, or another one."""
    (tmp_path / "cat.png").write_bytes(other)
    assert publish(tmp_path, LARGE).path == tmp_path / "cat-2.png"
    assert ((tmp_path / "cat.png").read_bytes(), (tmp_path / "cat-2.png").read_bytes()) == (other, LARGE)


def make_link(path: Path) -> None:
    """Let a link stand there that leads to the very bytes."""
    target = path.with_name("target")
    target.write_bytes(LARGE)
    path.symlink_to(target)


def make_closed(path: Path) -> None:
    """Let a file stand there that must not be read."""
    path.write_bytes(LARGE)
    path.chmod(0)


def make_pipe(path: Path) -> None:
    """Let a pipe stand there."""
    if sys.platform == "win32":
        pytest.skip("there a pipe has no name among the files")
    os.mkfifo(path)


@pytest.mark.parametrize("make", [make_link, Path.mkdir, make_pipe, make_closed])
def test_what_is_not_a_file_that_can_be_read_is_not_taken_up(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A link may lead anywhere, and a pipe would be waited for without end."""
    make(tmp_path / "cat.png")
    with obey_modes():
        assert publish(tmp_path, LARGE).path == tmp_path / "cat-2.png"


@pytest.mark.parametrize("make", [make_link, Path.mkdir])
def test_what_is_not_a_file_is_not_a_record(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """The file that is taken up has none then."""
    (tmp_path / "cat.png").write_bytes(LARGE)
    make(tmp_path / "cat.png.json")
    assert publish(tmp_path, LARGE) == Published(tmp_path / "cat.png", tmp_path / "cat.png-2.json")
    assert (tmp_path / "cat.png-2.json").read_text() == RECORD_TEXT


def test_a_record_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    """It is built before anything is published, so a bad one costs no file."""
    with open_partial(tmp_path / "cat.png") as partial, pytest.raises(TypeError):
        partial.publish_with_sidecar(tmp_path / "cat.png", {"app": object()})
    assert get_names(tmp_path) == []
