"""Half-written files that killed processes left."""

import os
from pathlib import Path

import pytest

from flowport.media.saving import build_output_path, open_partial, sweep_partials

DEAD, LIVING = "0123456789abcdef", "fedcba9876543210"
BEFORE = 1_000.0


def sweep(folder: Path) -> int:
    """Sweep with one process that is known to have died."""
    return sweep_partials(folder, has_died=lambda process_id: process_id == DEAD, before=BEFORE)


def leave(folder: Path, name: str, *, at: float = BEFORE + 1) -> Path:
    """Leave a file that was last written at an instant."""
    path = folder / "2026-11-22" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    os.utime(path, (at, at))
    return path


@pytest.mark.parametrize(
    ("name", "at", "is_removed"),
    [
        (f".sketch-1-one.part.{DEAD}.0a1b2c3d.part", BEFORE + 1, True),
        (f".sketch-1-one-2.png.json.{DEAD}.0a1b2c3d.part", BEFORE + 1, True),
        (f".sketch-1-one.part.{LIVING}.0a1b2c3d.part", BEFORE + 1, False),
        (f".sketch-1-one.part.{LIVING}.0a1b2c3d.part", BEFORE - 1, True),
        (".sketch-1-one.part.0a1b2c3d.part", BEFORE - 1, True),
        (".sketch-1-one.part.0a1b2c3d.part", BEFORE + 1, False),
        (f".sketch-1-one.png.{DEAD}.0a1b2c3d.part.part", BEFORE + 1, True),
        (f".sketch-batch-one.csv.{DEAD}.0a1b2c3d.part", BEFORE + 1, True),
        (f".\u0936\u0939\u0930_\u0915\u0940-1-one.png.{DEAD}.0a1b2c3d.part", BEFORE + 1, True),
        (f".\u0444\u043e\u0442\u043e-1-one.png.{LIVING}.0a1b2c3d.part", BEFORE + 1, False),
        ("sketch-1-one.png", BEFORE - 1, False),
        (".download.part", BEFORE - 1, False),
        (f".notes.{DEAD}.0a1b2c3d.part", BEFORE - 1, False),
    ],
)
def test_only_what_is_ours_and_left_behind_is_removed(
    tmp_path: Path, *, name: str, at: float, is_removed: bool
) -> None:
    """The folder is the person's own, and other programs write there as well."""
    path = leave(tmp_path, name, at=at)
    assert (sweep(tmp_path), path.exists()) == (int(is_removed), not is_removed)


def test_the_names_that_a_writer_gives_are_known(tmp_path: Path) -> None:
    """Otherwise nothing would ever be removed."""
    final = build_output_path(
        tmp_path, date="2026-11-22", tool_name="Sketch to ~Realism", n=12, run_id="run_abc", extension="part"
    )
    partials = [open_partial(path, DEAD) for path in (final, final.with_name(f"{final.name}.json"))]
    removed = sweep(tmp_path)
    for partial in partials:
        partial.discard()

    assert removed == 2


def test_a_folder_that_is_not_there_needs_no_sweeping(tmp_path: Path) -> None:
    """Most starts come before the first result."""
    assert sweep(tmp_path / "nowhere") == 0


@pytest.mark.parametrize("name", ["x" * 300, "file", "file/x", "loop", "loop/x"])
def test_a_folder_that_cannot_be_one_needs_no_sweeping(tmp_path: Path, name: str) -> None:
    """The setting may name anything, and the answers report that."""
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert sweep(tmp_path / name) == 0


def test_what_cannot_be_removed_is_left(tmp_path: Path) -> None:
    """A start must not fail of old rubbish."""
    leave(tmp_path, f".sketch-1-one.part.{DEAD}.0a1b2c3d.part/inside", at=BEFORE - 1)
    assert sweep(tmp_path) == 0
