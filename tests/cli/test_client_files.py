"""Configuration files as people have them: what is around our entry stays byte by byte, or the file stays as it is."""

import os
import re
import stat
import sys
from pathlib import Path, PurePath
from typing import Any

import pytest

from flowport.cli import client_files
from flowport.cli.client_files import (
    EntryNotOurs,
    FileNotEdited,
    Plan,
    carry_out,
    choose_path,
    plan_install,
    plan_uninstall,
)
from flowport.cli.clients import Client, Launch, build_entry, find_paths, get_clients, is_ours
from tests.cli.client_corpus import FORMATS, Sample, build_samples
from tests.support.rights import obey_modes

COMMAND = "/opt/flowport/bin/flowport"
SAMPLES = [(client, sample) for client in FORMATS for sample in build_samples(client, COMMAND)]
CHANGED = [one for one in SAMPLES if one[1].outcome in {"added", "updated"}]
KEPT = [one for one in SAMPLES if one not in CHANGED]


def try_each(samples: list[tuple[str, Sample]]) -> pytest.MarkDecorator:
    """Run a test on samples, each named by its client and itself."""
    return pytest.mark.parametrize(("name", "sample"), samples, ids=[f"{name}: {one.name}" for name, one in samples])


def make_file(folder: Path, sample: Sample) -> Path:
    """Write a sample, and return its path as the client knows it."""
    path = folder / "config"
    if sample.content is not None:
        target = folder / "dotfiles" / "real" if sample.is_link else path
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(sample.content)
        target.chmod(0o400 if sample.is_read_only else 0o640)
        if sample.is_link:
            path.symlink_to(Path("dotfiles/real"))
    return path


def plan(client: Client, path: Path, *, should_force: bool = False) -> Plan:
    """Plan an installation."""
    return plan_install(client, path, "flowport", build_entry(client, Launch(COMMAND)), should_force=should_force)


def parse(client: Client, data: bytes) -> dict[str, Any]:
    """Return what a file contains."""
    return client_files._parse(client, client_files._decode(data))


def count_common(one: bytes, other: bytes) -> int:
    """Return how many bytes two files have in common at their begin."""
    return next((index for index, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), len(one))


def find_inserted(before: bytes, after: bytes) -> bytes:
    """Return what was inserted in one place, besides a comma before it.

    Raises:
        AssertionError: Any other byte differs.
    """
    start = count_common(before, after)
    if after[start : start + 1] == b"," and not after.endswith(before[start:]):
        after = after[:start] + after[start + 1 :]
        start = count_common(before, after)
    end = len(after) - (len(before) - start)
    assert after == before[:start] + after[start:end] + before[start:]
    return after[start:end]


def list_others(path: Path) -> list[str]:
    """Return the files beside a file and its target."""
    return sorted(one.name for one in path.parent.rglob("*") if one.is_file() and one.name not in {"config", "real"})


def test_enough_files_are_tried() -> None:
    """At least a dozen for each format, and each outcome in each of them."""
    for name in FORMATS:
        samples = [sample for client, sample in SAMPLES if client == name]
        assert len(samples) > 24
        assert {sample.outcome for sample in samples} == {"added", "updated", "unchanged", "foreign", "refused"}


@try_each(CHANGED)
def test_nothing_is_lost(name: str, sample: Sample, tmp_path: Path) -> None:
    """Installed, our entry is there and all else is the same byte by byte; uninstalled, it is gone and all else is there."""
    client, path = get_clients()[name], make_file(tmp_path, sample)
    before = sample.content or b""
    installed = plan(client, path)
    backup = carry_out(installed)
    after = path.read_bytes()

    assert installed.action == ("add" if sample.outcome == "added" else "update")
    assert parse(client, after)[client.section]["flowport"]["command"] == COMMAND
    if sample.outcome == "added":
        inserted = find_inserted(before, after)
        assert COMMAND.encode() in inserted
        assert inserted.count(b"flowport") < 7
        first_line = before.partition(b"\n")[0] if b"\n" in before else b""
        assert (b"\r\n" in inserted) == (first_line.endswith(b"\r") and b"\n" in inserted)
    assert backup is None if not before else backup is not None and backup.read_bytes() == before
    if before:
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert path.is_symlink() == sample.is_link

    again = plan(client, path)
    assert (again.action, again.after, again.lines) == ("none", after, [])

    removed = plan_uninstall(client, path, "flowport")
    carry_out(removed)
    left = path.read_bytes()
    assert removed.action == "remove"
    had = parse(client, before)
    had.get(client.section, {}).pop("flowport", None)
    if client.format == "json":
        had.setdefault(client.section, {})
    assert parse(client, left) == had or (client.format == "toml" and not had.get(client.section))
    if sample.outcome == "added" and parse(client, before).get(client.section):
        assert left.removesuffix(b"\n") == before.removesuffix(b"\n")


@try_each(KEPT)
def test_what_is_refused_stays_as_it_is(name: str, sample: Sample, tmp_path: Path) -> None:
    """A file that is not certain, read-only or has a foreign entry is neither repaired nor copied."""
    client, path = get_clients()[name], make_file(tmp_path, sample)
    changed_at = path.stat().st_mtime_ns
    if sample.outcome == "unchanged":
        assert plan(client, path).action == "none"
        assert plan(client, path).after == sample.content
    else:
        with pytest.raises(EntryNotOurs if sample.outcome == "foreign" else FileNotEdited, match=re.escape(str(path))):
            plan(client, path)

    assert path.read_bytes() == sample.content
    assert path.stat().st_mtime_ns == changed_at
    assert list_others(path) == []


@pytest.mark.parametrize("name", FORMATS)
def test_an_older_entry_keeps_what_its_user_added(name: str, tmp_path: Path) -> None:
    """Only what starts Flowport follows the installation; keys are neither lost nor shown."""
    client = get_clients()[name]
    sample = next(one for one in build_samples(name, COMMAND) if one.outcome == "updated")
    path = make_file(tmp_path, sample)
    known = parse(client, sample.content or b"")[client.section]["flowport"]
    planned = plan(client, path)

    entry = parse(client, planned.after)[client.section]["flowport"]
    assert entry == {**build_entry(client, Launch(COMMAND)), **known, "command": COMMAND, "args": ["serve"]}
    assert entry["env"] == {"MAGNIFIC_API_KEY": "mk-secret"}
    assert "mk-secret" not in "\n".join(planned.lines)
    assert f"{COMMAND}" in "\n".join(planned.lines)


@pytest.mark.parametrize("name", FORMATS)
def test_a_foreign_entry_is_replaced_by_force_alone(name: str, tmp_path: Path) -> None:
    """Everything else stays; the entry itself is in the copy. Removal has the same rule."""
    client = get_clients()[name]
    sample = next(one for one in build_samples(name, COMMAND) if one.outcome == "foreign")
    path = make_file(tmp_path, sample)
    before = parse(client, sample.content or b"")
    with pytest.raises(EntryNotOurs, match='"flowport"'):
        plan_uninstall(client, path, "flowport")

    planned = plan(client, path, should_force=True)
    assert planned.action == "replace"
    before[client.section]["flowport"] = build_entry(client, Launch(COMMAND))
    assert parse(client, planned.after) == before
    removed = plan_uninstall(client, path, "flowport", should_force=True)
    assert "flowport" not in parse(client, removed.after).get(client.section, {})


def test_secrets_of_other_servers_are_not_shown(tmp_path: Path) -> None:
    """The lines that are shown are those of our entry, also where everything is on one line."""
    for name, sample in SAMPLES:
        if sample.outcome == "added":
            lines = "\n".join(plan(get_clients()[name], make_file(tmp_path, sample)).lines)
            assert "secret" not in lines
            assert COMMAND in lines
            (tmp_path / "config").unlink(missing_ok=True)


def test_keys_and_escapes_of_a_replaced_entry_are_not_shown(tmp_path: Path) -> None:
    """A foreign entry may contain anything."""
    path = tmp_path / "config"
    path.write_text(
        '{"mcpServers": {"flowport": {"command": "x\u202e", "env": {"API_KEY": "mk-\\"1", "T": "$TOKEN"}}}}'
    )
    lines = "\n".join(plan(get_clients()["cursor"], path, should_force=True).lines)

    assert '"API_KEY": "…"' in lines
    assert "mk-" not in lines
    assert "\u202e" not in lines


@pytest.mark.parametrize(
    ("entry", "is_it"),
    [
        ({"command": "/home/me/.local/bin/flowport", "args": ["serve"]}, True),
        ({"command": r"C:\tools\Flowport.EXE"}, True),
        ({"command": "uvx", "args": ["--from", "/src/flowport", "flowport"]}, True),
        ({"command": "/usr/bin/pipx", "args": ["run", "flowport"]}, True),
        ({"command": "/venv/bin/python3.12", "args": ["-m", "flowport"]}, True),
        ({"command": "python.exe", "args": ["-m", "flowport", "serve"]}, True),
        ({"command": "node", "args": ["flowport"]}, False),
        ({"command": "python", "args": ["server.py"]}, False),
        ({"command": "flowport-proxy"}, False),
        ({"url": "http://127.0.0.1:8765/mcp"}, False),
        ({"command": ["flowport"]}, False),
        ({"command": "flowport", "args": "serve"}, True),
        ("flowport", False),
        (None, False),
    ],
)
def test_our_entry_is_known_by_what_it_starts(entry: object, is_it: bool) -> None:
    """Its name alone proves nothing: another program may have taken it."""
    assert is_ours(entry) is is_it


def test_the_packaged_claude_desktop_is_preferred(tmp_path: Path) -> None:
    """Its folder is used where it exists, whatever its publisher's number; otherwise the usual one."""
    packages, usual = tmp_path / "Packages", tmp_path / "Roaming/Claude/config.json"
    places: list[PurePath] = [packages / "Claude_*/LocalCache/Claude/config.json", usual]
    assert choose_path(places) == usual

    usual.parent.mkdir(parents=True)
    (packages / "Claude_abc").mkdir(parents=True)
    assert choose_path(places) == usual

    (packages / "Claude_abc/LocalCache/Claude").mkdir(parents=True)
    assert choose_path(places) == packages / "Claude_abc/LocalCache/Claude/config.json"

    (packages / "Claude_xyz/LocalCache/Claude").mkdir(parents=True)
    with pytest.raises(FileNotEdited, match="--file"):
        choose_path(places)
    (packages / "Claude_xyz/LocalCache/Claude/config.json").write_text("{}")
    assert choose_path(places) == packages / "Claude_xyz/LocalCache/Claude/config.json"


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    """A client that was never started has no folder yet; the new file is private."""
    path = tmp_path / "a/b/config.json"
    assert carry_out(plan(get_clients()["cursor"], path)) is None

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_new_file_of_a_project_is_for_everyone(tmp_path: Path) -> None:
    """A container or a colleague reads the project as another user."""
    path = tmp_path / ".vscode/mcp.json"
    carry_out(plan(get_clients()["vscode"], path), is_shared=True)

    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_user_without_a_home_folder_gets_no_folder_of_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` would be a folder of the working directory."""
    client = get_clients()["cursor"]
    monkeypatch.delenv("HOME", raising=False)
    (place,) = find_paths(client, "user", system="linux", environment={}, folder=PurePath())
    assert choose_path([place]).is_absolute()

    with pytest.raises(FileNotEdited, match="HOME"):
        choose_path([PurePath("~no-such-user-of-this-machine/.cursor/mcp.json")])


def test_a_file_that_changed_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    """A client that runs writes its file too."""
    path = tmp_path / "config.json"
    path.write_text("{}")
    planned = plan(get_clients()["cursor"], path)
    path.write_text('{"new": 1}')

    with pytest.raises(FileNotEdited, match="meanwhile"):
        carry_out(planned)
    assert path.read_text() == '{"new": 1}'


def test_copies_never_overwrite_each_other(tmp_path: Path) -> None:
    """The first copy is the file as the user wrote it."""
    path = tmp_path / "config.json"
    copies = set()
    for content in ("{}", '{"a": 1}', '{"b": 2}'):
        path.write_text(content)
        backup = carry_out(plan(get_clients()["cursor"], path))
        assert backup is not None
        assert backup.read_text() == content
        copies.add(backup)

    assert len(copies) == 3


@pytest.mark.parametrize("kind", ["folder", "loop", "link to nothing", "file for a folder"])
def test_what_is_not_a_file_is_refused(kind: str, tmp_path: Path) -> None:
    """Only a link to a file that does not exist yet is followed."""
    path = tmp_path / "config.json"
    match kind:
        case "folder":
            path.mkdir()
        case "loop":
            path.symlink_to(path)
        case "file for a folder":
            path.write_text("x")
            path = path / "config.json"
        case _:
            path.symlink_to(tmp_path / "later/real.json")
            carry_out(plan(get_clients()["cursor"], path))
            assert path.is_symlink()
            assert (tmp_path / "later/real.json").is_file()
            return
    with pytest.raises(FileNotEdited):
        plan(get_clients()["cursor"], path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_a_folder_without_rights_is_reported(tmp_path: Path) -> None:
    """The file can be written, but not at once; it stays as it is."""
    folder = tmp_path / "locked"
    folder.mkdir()
    path = folder / "config.json"
    path.write_text("{}")
    planned = plan(get_clients()["cursor"], path)
    folder.chmod(0o500)
    with obey_modes(), pytest.raises(FileNotEdited, match="Permission denied"):
        carry_out(planned)
    folder.chmod(0o700)

    assert path.read_text() == "{}"
    assert list(folder.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only the superuser gives files away")
def test_the_owner_stays(tmp_path: Path) -> None:
    """After `sudo flowport install` the client can still write its own file."""
    path = tmp_path / "config.json"
    path.write_text("{}")
    if sys.platform != "win32":
        os.chown(path, 12345, 12345)
    backup = carry_out(plan(get_clients()["cursor"], path))

    assert backup is not None
    assert [(one.stat().st_uid, one.stat().st_gid) for one in (path, backup)] == [(12345, 12345)] * 2
