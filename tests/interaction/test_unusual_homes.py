"""Real processes on homes whose file system has no permissions or no locks, and on homes that cannot be used."""

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.support.children import Child, open_child
from tests.support.odd_system import fail

TOOL = "sandbox_text_to_picture"
QUICK = {"FLOWPORT_PREVIEWS": "false", "FLOWPORT_SAVE_OUTPUTS": "false"}


def call(child: Child, name: str, **arguments: Any) -> str:
    """Return the text of an answer, which may be a refusal."""
    answer = child.ask("tools/call", {"name": name, "arguments": arguments})
    text: str = answer["content"][0]["text"]
    return text


def list_apps(child: Child) -> list[str]:
    """Return the names of the apps' tools."""
    return [tool["name"] for tool in child.ask("tools/list")["tools"] if tool["name"].startswith("sandbox_")]


def read_log(folder: Path) -> list[str]:
    """Return the lines of standard error."""
    return (folder / "stderr.txt").read_text().splitlines()


def test_a_store_on_a_disk_without_permissions_is_used_with_one_warning(tmp_path: Path) -> None:
    """Windows disks and shares show mode 0777 and refuse to change it (microsoft/WSL#41519)."""
    folder = tmp_path / "f"
    with open_child(folder, environment=QUICK) as child:
        child.greet()
        list_apps(child)
        child.close_input()
        child.wait()
    store = folder / "home" / "store.sqlite3"
    for path in (folder / "home").glob("*.sqlite3*"):
        path.chmod(0o777)
    with open_child(folder, environment={**QUICK, **fail(folder / "home", chmod=errno.EPERM)}) as child:
        child.greet()
        list_apps(child)
        facts = child.call(TOOL, prompt="a lake")
        child.close_input()
        child.wait()
    assert facts["state"] == "succeeded"
    assert stat.S_IMODE(store.stat().st_mode) == 0o777
    warnings = [line for line in read_log(folder) if str(store) in line]
    assert len(warnings) == 1
    assert (
        f"other users of this computer may read {store}, which keeps no rights (Operation not permitted)" in warnings[0]
    )


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM])
def test_a_home_without_locks_lists_apps_and_starts_nothing(tmp_path: Path, number: int) -> None:
    """Some network shares have no locks, so processes could not be distinguished (caracal-pipeline/caracal#1239)."""
    folder = tmp_path / "f"
    with open_child(folder, environment={**QUICK, **fail(folder / "home", flock=number)}) as child:
        child.greet()
        assert list_apps(child)
        refusal = call(child, TOOL, prompt="a lake")
        runs = call(child, "list_runs")
        found = call(child, "find_apps", query="poster")
        child.close_input()
        child.wait()
    sentence = (
        f"its folder {folder / 'home'} does not let programs lock files ({os.strerror(number)}). "
        "Set FLOWPORT_HOME to a folder on a local disk."
    )
    assert sentence in refusal
    assert sentence in runs
    assert "sandbox_retro_poster" in found
    assert [line for line in read_log(folder) if sentence not in line] == []
    assert len(read_log(folder)) == 1


def _make_file(home: Path) -> None:
    home.write_text("x")


def _make_loop(home: Path) -> None:
    home.symlink_to(home)


def _fill_processes(home: Path) -> None:
    home.mkdir()
    (home / "processes").write_text("x")


def _lie_below_a_file(home: Path) -> None:
    home.parent.joinpath("plain").write_text("x")
    home.symlink_to("plain/home")


@pytest.mark.parametrize("make", [_make_file, _make_loop, _fill_processes, _lie_below_a_file])
def test_an_unusable_home_lists_apps_and_refuses_starts_with_its_name(tmp_path: Path, make: Any) -> None:
    """The fault is named in the answers; on standard error it is one line."""
    folder = tmp_path / "f"
    folder.mkdir()
    make(folder / "home")
    with open_child(folder, environment=QUICK) as child:
        child.greet()
        names = list_apps(child)
        found = call(child, "find_apps")
        refusals = [
            call(child, TOOL, prompt="a lake"),
            call(child, "run_app", app=TOOL, arguments={"prompt": "x"}),
        ]
        call(child, "get_balance")
        child.close_input()
        child.wait()
    assert len(names) > 5
    assert "sandbox_retro_poster" in found
    for refusal in refusals:
        assert f"the folder {folder / 'home'} cannot be written to" in refusal
        assert "Set FLOWPORT_HOME to a folder that you may write to." in refusal
    assert len(read_log(folder)) == 1


def _make_folder(store: Path) -> None:
    store.mkdir()


def _make_text(store: Path) -> None:
    store.write_text("this is not a database" * 100)


def _fill_disk(store: Path) -> None:
    store.symlink_to("/dev/full")


@pytest.mark.parametrize("make", [_make_folder, _make_text, _fill_disk])
def test_an_unusable_store_is_one_log_line_and_refuses_starts_with_its_cause(tmp_path: Path, make: Any) -> None:
    """The home itself is in order; only the file that keeps names and runs is missing."""
    folder = tmp_path / "f"
    (folder / "home").mkdir(parents=True)
    make(folder / "home" / "store.sqlite3")
    with open_child(folder, environment=QUICK) as child:
        child.greet()
        list_apps(child)
        refusal = call(child, TOOL, prompt="a lake")
        child.close_input()
        assert child.wait() == 0
    assert "Flowport's record of runs cannot be used: " in refusal
    assert "FLOWPORT_HOME" in refusal
    assert len(read_log(folder)) == 1


def test_names_given_without_a_store_are_kept_later(tmp_path: Path) -> None:
    """A client that kept the names of the first list must not call another app with one of them."""
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "home").write_text("x")
    lists = []
    for _ in range(2):
        with open_child(folder, environment=QUICK) as child:
            child.greet()
            lists.append(list_apps(child))
            child.close_input()
            child.wait()
        if (folder / "home").is_file():
            (folder / "home").unlink()
    assert lists[0] == lists[1]


def test_an_unusable_output_folder_is_reported_before_payment_and_in_the_summary(tmp_path: Path) -> None:
    """The first answer, before the run is over, names the folder and its setting."""
    given = {"FLOWPORT_OUTPUT_DIR": "/proc/x", "FLOWPORT_PREVIEWS": "false", "FLOWPORT_WAIT_SECONDS": "0"}
    with open_child(tmp_path / "f", environment=given) as child:
        child.greet()
        list_apps(child)
        facts = child.call(TOOL, prompt="a lake")
        while facts.get("state") != "succeeded":
            facts = child.call("get_run", run_id=facts["run_id"])
        while "not saved" not in facts["summary"]:
            facts = child.call("get_run", run_id=facts["run_id"])
    warning = "the folder for results, /proc/x (FLOWPORT_OUTPUT_DIR), cannot take it (No such file or directory)"
    assert facts["notes"].startswith(f"Warning: {warning}. Links to the results are all that will be left.")
    assert facts["summary"].endswith(f"It was not saved: {warning}.")


def test_a_batch_warns_once_that_its_results_cannot_be_saved(tmp_path: Path) -> None:
    """One warning for the batch, which may have two thousand runs."""
    given = {"FLOWPORT_OUTPUT_DIR": "/proc/x", "FLOWPORT_PREVIEWS": "false"}
    with open_child(tmp_path / "f", environment=given) as child:
        child.greet()
        list_apps(child)
        rows = [{"prompt": "a lake"}, {"prompt": "a hill"}]
        facts = child.call("run_batch", app=TOOL, rows=rows)
    assert facts["notes"] == (
        "Warning: the folder for results, /proc/x (FLOWPORT_OUTPUT_DIR), cannot take it (No such file or directory). "
        "Links to the results are all that will be left."
    )


def test_unsaved_results_need_no_folder(tmp_path: Path) -> None:
    """There is no warning where saving is off."""
    given = {**QUICK, "FLOWPORT_OUTPUT_DIR": "/proc/x"}
    with open_child(tmp_path / "f", environment=given) as child:
        child.greet()
        list_apps(child)
        assert "Warning" not in child.call(TOOL, prompt="a lake").get("notes", "")


def test_a_home_on_a_limited_file_system_works_at_each_start(tmp_path: Path) -> None:
    """Its catalogue, the order of its tools and the sandbox's address are replaced at each start."""
    folder = tmp_path / "f"
    odd = fail(folder / "home", link=errno.EACCES, chmod=errno.EPERM, rename_over=errno.EACCES)
    lists = []
    for _ in range(2):
        with open_child(folder, environment={**QUICK, **odd}) as child:
            child.greet()
            lists.append(list_apps(child))
            assert child.call(TOOL, prompt=f"lake {len(lists)}")["state"] == "succeeded"
            child.close_input()
            child.wait()
        assert read_log(folder) == []
    assert lists[0] == lists[1]
    assert [path.name for path in (folder / "home/catalogue").iterdir() if path.name.startswith(".")] == []


def test_results_are_saved_on_a_limited_file_system(tmp_path: Path) -> None:
    """As on a phone's shared storage: no hard links, no permissions, no syncs, no renames over a file."""
    folder = tmp_path / "f"
    odd = fail(folder / "outputs", link=errno.EACCES, chmod=errno.EPERM, fsync=errno.EINVAL, rename_over=errno.EACCES)
    with open_child(folder, environment={"FLOWPORT_PREVIEWS": "false", **odd}) as child:
        child.greet()
        list_apps(child)
        facts = child.call(TOOL, prompt="a lake")
        child.close_input()
        child.wait()
    path = Path(facts["outputs"][0]["saved_path"])
    assert path.is_file()
    assert path.with_name(f"{path.name}.json").is_file()
    assert read_log(folder) == []
