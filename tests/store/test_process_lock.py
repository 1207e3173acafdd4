"""Whether another Flowport lives, by the locks of the operating system."""

import subprocess
import sys
from pathlib import Path

import pytest

from flowport.store.process_lock import FOLDER, LeaderLock, NoLock, ProcessLock
from tests.support.rights import obey_modes

HOLD = """
import sys
from pathlib import Path
from flowport.store.process_lock import ProcessLock
lock = ProcessLock(Path(sys.argv[1]))
print(lock.process_id, flush=True)
sys.stdin.read()
"""


def test_a_killed_process_is_dead_and_a_living_one_is_not(tmp_path: Path) -> None:
    """A kill leaves the file behind; only the lock shows it."""
    ours = ProcessLock(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        process_id = child.stdout.readline().decode().strip()
        before = ours.is_alive(process_id)
        child.kill()
        child.wait()
        after = ours.is_alive(process_id)
        has_died = ours.has_died(process_id)
    left = [path.name for path in (tmp_path / FOLDER).iterdir()]
    ours.release()

    assert (before, after, has_died) == (True, False, True)
    assert f"{process_id}.lock" in left


def test_letting_go_twice_closes_nothing_of_others(tmp_path: Path) -> None:
    """The system gives the number of a closed file to the next that is opened."""
    lock = ProcessLock(tmp_path)
    lock.release()
    with (tmp_path / "next").open("wb", buffering=0) as other:
        lock.release()
        assert other.write(b"x") == 1


def test_asking_does_not_take_a_lock_away(tmp_path: Path) -> None:
    """Each process asks about all others."""
    one, two = ProcessLock(tmp_path), ProcessLock(tmp_path)
    answers = [two.is_alive(one.process_id) for _ in range(3)]
    one.release()
    answers.append(two.is_alive(one.process_id))
    two.release()

    assert answers == [True, True, True, False]


@pytest.mark.parametrize("process_id", ["", "../x", "0123"])
def test_of_a_process_of_another_home_nothing_is_known(tmp_path: Path, process_id: str) -> None:
    """It may be writing into the same folder right now."""
    lock = ProcessLock(tmp_path)
    assert not lock.has_died(process_id)
    assert not lock.has_died(lock.process_id)
    lock.release()


def test_we_are_alive(tmp_path: Path) -> None:
    """Asking about ourselves must not let go of our own lock."""
    lock = ProcessLock(tmp_path)
    assert lock.is_alive(lock.process_id)
    lock.release()


@pytest.mark.parametrize("process_id", ["", "../x", "p1", "0123"])
def test_an_id_without_a_process_is_dead(tmp_path: Path, process_id: str) -> None:
    """Ids come from a file that others may have written."""
    lock = ProcessLock(tmp_path)
    assert not lock.is_alive(process_id)
    lock.release()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """Without the lock other processes cannot see that this one lives."""
    (tmp_path / FOLDER).touch()
    with pytest.raises(OSError, match="File exists"):
        ProcessLock(tmp_path)


def test_who_cannot_lock_takes_others_for_alive(tmp_path: Path) -> None:
    """What may be another's is not touched; a process that left no file has ended all the same."""
    other, bystander = ProcessLock(tmp_path), NoLock(tmp_path)
    with obey_modes():
        (tmp_path / FOLDER / f"{other.process_id}.lock").chmod(0o400)
        alive = [bystander.is_alive(each) for each in (other.process_id, bystander.process_id, "00")]
    bystander.release()
    other.release()

    assert alive == [True, True, False]


def test_a_turn_belongs_to_one_until_it_is_given_up(tmp_path: Path) -> None:
    """One process asks the provider for all of them."""
    ProcessLock(tmp_path).release()
    one, two = LeaderLock(tmp_path, "refresh-a"), LeaderLock(tmp_path, "refresh-a")
    taken = [one.take(), two.take(), one.take()]
    one.release()
    taken += [two.take(), one.take()]
    two.release()
    two.release()

    assert taken == [True, False, True, True, False]


def test_turns_of_different_names_do_not_touch(tmp_path: Path) -> None:
    """Each account has its own."""
    ProcessLock(tmp_path).release()
    one, two = LeaderLock(tmp_path, "refresh-a"), LeaderLock(tmp_path, "refresh-b")
    assert (one.take(), two.take()) == (True, True)
    one.release()
    two.release()
