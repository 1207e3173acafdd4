"""Each owner's files are in a folder of their own."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowport.media.saving import build_output_path, build_owner_folder, open_partial, remove_of_owners, sweep_partials

HOSTILE = [
    "../x",
    "..",
    ".",
    "",
    "/etc",
    "a/b",
    "a\\b",
    "a\0b",
    "\ud800",
    "con",
    "A",
    "a",
    "oauth|x",
    "oauth x",
    "ä" * 500,
]


def test_the_person_at_this_computer_has_the_folder_itself() -> None:
    """Nothing moves for those who use Flowport alone."""
    assert build_owner_folder(Path("/out"), "local") == Path("/out")


@pytest.mark.parametrize("owner", HOSTILE)
def test_no_owner_leaves_the_folder_of_owners(owner: str) -> None:
    """A token's subject is untrusted text."""
    folder = build_owner_folder(Path("/out"), owner)

    assert folder.parent == Path("/out/people")
    assert folder.name.isascii()
    assert folder.name.strip(".") == folder.name
    assert len(folder.name) <= 61


def test_owners_that_look_alike_have_folders_of_their_own() -> None:
    """On a file system that ignores case as well."""
    assert len({str(build_owner_folder(Path("/out"), owner)).casefold() for owner in HOSTILE}) == len(HOSTILE)


@given(st.text(), st.text())
def test_two_owners_never_share_a_folder(one: str, other: str) -> None:
    """Their digests differ."""
    folders = {build_owner_folder(Path("/out"), owner) for owner in {one, other}}
    assert len(folders) == len({one, other})


def test_half_written_files_of_every_owner_are_swept(tmp_path: Path) -> None:
    """Those of a dead process lie in the folders of owners as well."""
    for owner in ("local", "ann"):
        folder = build_owner_folder(tmp_path, owner)
        path = build_output_path(folder, date="2026-11-30", tool_name="sketch", n=1, run_id="run_a", extension="png")
        open_partial(path, "0" * 16).file.close()

    assert sweep_partials(tmp_path, has_died=lambda _: True, before=0) == 2


def test_only_files_of_owners_leave_with_their_runs(tmp_path: Path) -> None:
    """The person at this computer keeps what is in the folder of results, and no path leads out of the folder of owners."""
    theirs = build_owner_folder(tmp_path / "out", "ann") / "2026-11-30" / "a.png"
    mine, other = tmp_path / "out" / "2026-11-30" / "a.png", tmp_path / "secret.png"
    for path in (theirs, mine, other):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        path.with_name("a.png.json").write_text("{}")
    hostile = tmp_path / "out" / "people" / ".." / ".." / "secret.png"
    remove_of_owners(tmp_path / "out", [str(path) for path in (theirs, mine, other, hostile, theirs)])

    assert [path.exists() for path in (theirs, theirs.with_name("a.png.json"), mine, other)] == [
        False,
        False,
        True,
        True,
    ]
