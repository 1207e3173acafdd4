"""File systems that lack hard links, syncs or renames: results and catalogues are saved all the same, and never overwritten.

A library in front of the system's calls lets them fail in a child process, as phones, shares and cards do.
"""

import errno
import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from flowport.runtime.file_systems import MIN_FREE_BYTES, find_folder_problem, is_not_offered
from tests.support.odd_system import fail, run_python
from tests.support.rights import obey_modes

SAVE = """
import sys
from pathlib import Path
from flowport.media.saving import open_partial
folder = Path(sys.argv[1])
for text in sys.argv[2:]:
    with open_partial(folder / "day" / "app-1-x.png", "ab" * 8) as partial:
        partial.file.write(text.encode())
        print(partial.publish_with_sidecar(folder / "day" / "app-1-x.png", {"text": text}).path.name)
"""
TABLE = """
import sys
from pathlib import Path
from flowport.media.saving import open_partial
for text in sys.argv[2:]:
    with open_partial(Path(sys.argv[1]) / "day" / "app-batch-x.csv") as partial:
        partial.file.write(text.encode())
        print(partial.publish().name)
"""
CATALOGUE = """
import sys
from pathlib import Path
from flowport.catalog.snapshots import load_catalogue, save_catalogue
from flowport.catalog.listing import Catalogue
path = Path(sys.argv[1]) / "catalogue" / "magnific-x.json"
for at in (1.0, 2.0):
    save_catalogue(path, Catalogue(listed_at=at))
    assert load_catalogue(path).listed_at == at
print(*sorted(each.name for each in path.parent.iterdir()))
"""
LINKLESS = [
    errno.EACCES,
    errno.EPERM,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EINVAL,
    errno.EMLINK,
    errno.EXDEV,
    errno.ENOTTY,
]
LACKS: list[dict[str, int]] = [
    *({"link": number} for number in LINKLESS),
    *(
        dict.fromkeys(calls, number)
        for calls in (
            ("fsync",),
            ("rename",),
            ("rename_over",),
            ("chmod",),
            ("link", "rename_over"),
            ("link", "rename"),
        )
        for number in (errno.EACCES, errno.EINVAL, errno.EOPNOTSUPP)
    ),
    {"link": errno.EACCES, "rename": errno.EPERM, "fsync": errno.EINVAL, "chmod": errno.EPERM},
]


def _name(lacks: dict[str, int]) -> str:
    return "+".join(f"{call}-{errno.errorcode[number]}" for call, number in lacks.items())


@pytest.mark.parametrize("lacks", LACKS, ids=_name)
def test_a_result_and_its_record_are_saved_whole_and_nothing_is_overwritten(
    tmp_path: Path, lacks: dict[str, int]
) -> None:
    """Each result has its own name; of the same bytes one file is enough; nothing half-written is left."""
    folder = tmp_path / "out"
    texts = ["one", "two", "one", "three" * 5_000]
    done = run_python(SAVE, folder, *texts, environment=fail(folder, **lacks))
    assert done.stdout.split() == ["app-1-x.png", "app-1-x-2.png", "app-1-x.png", "app-1-x-3.png"]
    found = {path.name: path.read_text() for path in (folder / "day").iterdir()}
    assert {name: text for name, text in found.items() if name.endswith(".png")} == {
        "app-1-x.png": "one",
        "app-1-x-2.png": "two",
        "app-1-x-3.png": texts[3],
    }
    records = {name: json.loads(text)["text"] for name, text in found.items() if name.endswith(".json")}
    assert records == {"app-1-x.png.json": "one", "app-1-x-2.png.json": "two", "app-1-x-3.png.json": texts[3]}
    assert len(found) == 6


@pytest.mark.parametrize("lacks", LACKS, ids=_name)
def test_a_table_and_a_catalogue_are_saved(tmp_path: Path, lacks: dict[str, int]) -> None:
    """A catalogue is replaced again and again, and the next start lists its tools from it."""
    done = run_python(TABLE, tmp_path, "a", "b", environment=fail(tmp_path, **lacks))
    assert done.stdout.split() == ["app-batch-x.csv", "app-batch-x-2.csv"]
    assert (tmp_path / "day/app-batch-x-2.csv").read_text() == "b"
    done = run_python(CATALOGUE, tmp_path, environment=fail(tmp_path, **lacks))
    assert done.stdout.split() == ["magnific-x.json"]


@pytest.mark.parametrize("call", ["link", "fsync", "rename_over"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_or_broken_is_not_a_lack(tmp_path: Path, call: str, number: int) -> None:
    """A result that never reached the disk must not pass for saved, and its name stays free."""
    catching = f"import errno\ntry:\n{_indent(SAVE)}\nexcept OSError as exc:\n    print(errno.errorcode[exc.errno])\n"
    lacks = {call: number} if call != "rename_over" else {"link": errno.EPERM, call: number}
    done = run_python(catching, tmp_path, "one", environment=fail(tmp_path, **lacks))
    assert done.stdout.split() == [errno.errorcode[number]]
    assert [path.name for path in (tmp_path / "day").iterdir()] == []


MOVE = """
import resource, sys
from pathlib import Path
from flowport.runtime.file_systems import move_to_free_name, replace_file
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
move = {"replace": replace_file, "claim": move_to_free_name}[sys.argv[1]]
try:
    move(Path(sys.argv[2]), Path(sys.argv[3]))
except OSError as exc:
    print(exc.errno)
"""
MANY = b"new" * 100_000
"""More than `MOVE` may write."""


@pytest.mark.parametrize("how", ["replace", "claim"])
@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EEXIST, errno.EOPNOTSUPP])
def test_a_file_is_moved_without_a_copy_where_only_renames_over_a_file_are_refused(
    tmp_path: Path, how: str, number: int
) -> None:
    """A copy would take its room twice, and a crash meanwhile would leave half of it."""
    source, target = tmp_path / ".x.part", tmp_path / "x"
    source.write_bytes(MANY)
    if how == "replace":
        target.write_bytes(b"old")
    done = run_python(MOVE, how, source, target, environment=fail(tmp_path, link=errno.EPERM, rename_over=number))
    assert done.stdout == ""
    assert target.read_bytes() == MANY
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("lacks", [("rename_across",), ("rename_across", "rename_over")], ids="+".join)
@pytest.mark.parametrize("how", ["replace", "claim"])
def test_a_file_of_another_disk_is_copied_whole_before_it_has_the_name(
    tmp_path: Path, how: str, lacks: tuple[str, ...]
) -> None:
    """Whatever is opened under the name is one of the two files, never a part of one."""
    folder, source = tmp_path / "folder", tmp_path / "x.part"
    folder.mkdir()
    target = folder / "x"
    source.write_bytes(b"new")
    target.write_bytes(b"old")
    if how == "claim":
        target.unlink()
    environment = fail(folder, **dict.fromkeys(("link", *lacks), errno.EXDEV))
    with (target if how == "replace" else source).open("rb") as earlier:
        assert run_python(MOVE, how, source, target, environment=environment).stdout == ""
        assert earlier.read() == (b"old" if how == "replace" else b"new")
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert (list(folder.iterdir()), source.exists()) == ([target], False)


def test_a_copy_that_does_not_fit_leaves_the_older_file(tmp_path: Path) -> None:
    """The name changes hands when the bytes are there."""
    folder, source = tmp_path / "folder", tmp_path / "x.part"
    folder.mkdir()
    target = folder / "x"
    source.write_bytes(MANY)
    target.write_bytes(b"old")
    done = run_python(MOVE, "replace", source, target, environment=fail(folder, rename_across=errno.EXDEV))
    assert done.stdout == f"{errno.EFBIG}\n"
    assert (target.read_bytes(), source.read_bytes(), list(folder.iterdir())) == (b"old", MANY, [target])


@pytest.mark.parametrize("how", ["replace", "claim"])
def test_where_nothing_can_be_renamed_a_copy_that_does_not_fit_leaves_no_part_of_it(tmp_path: Path, how: str) -> None:
    """No file is better than half of one, and the whole one is still there under its first name."""
    source, target = tmp_path / ".x.part", tmp_path / "x"
    source.write_bytes(MANY)
    environment = fail(tmp_path, link=errno.EPERM, rename=errno.EPERM)
    assert run_python(MOVE, how, source, target, environment=environment).stdout == f"{errno.EFBIG}\n"
    assert (list(tmp_path.iterdir()), source.read_bytes()) == ([source], MANY)


def _indent(code: str) -> str:
    return "\n".join(f"    {line}" for line in code.splitlines())


def test_an_error_of_the_path_is_not_a_lack_either() -> None:
    """A folder that has gone, or a name that is too long, is reported as it is."""
    for number in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EISDIR):
        assert not is_not_offered(OSError(number, os.strerror(number)))


def test_a_folder_that_takes_files_has_no_problem_and_is_left_as_it_is(tmp_path: Path) -> None:
    """Looking leaves nothing behind but the folder itself."""
    folder = tmp_path / "a" / "b"
    assert find_folder_problem(folder) == ""
    assert list(folder.iterdir()) == []
    (tmp_path / "file").touch()
    assert find_folder_problem(tmp_path / "file") == "File exists"
    assert find_folder_problem(tmp_path / "file" / "x") == "Not a directory"
    assert find_folder_problem(Path("/proc/x")) == "No such file or directory"
    assert find_folder_problem(tmp_path / ("n" * 300)) == "File name too long"
    with obey_modes():
        folder.chmod(0o500)
        assert find_folder_problem(folder) == "Permission denied"


def test_a_disk_that_is_all_but_full_is_a_problem(tmp_path: Path) -> None:
    """The file system's own word on what is free decides."""
    is_full = shutil.disk_usage(tmp_path).free < MIN_FREE_BYTES
    assert bool(find_folder_problem(tmp_path)) is is_full
