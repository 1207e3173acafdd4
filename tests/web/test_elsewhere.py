"""What people at other computers read: nothing of this computer's paths, and never whether a file is here."""

import base64
import json
import os
import re
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flowport.domain.models import LOCAL_OWNER, RunState
from flowport.providers.registry import get_key_advice
from flowport.web.elsewhere import HIDDEN, ElsewhereWords
from tests.store.samples import build_run
from tests.support.harness import MODES, Mode, build_settings
from tests.support.people import Team, open_team
from tests.support.uploading import PICTURE, request_link
from tests.web.test_gallery_sessions import open_server

SNAPSHOTS = Path(__file__).parent.parent / "snapshots" / "elsewhere"
ERRORS = Path(__file__).parent.parent.parent / "docs" / "errors.md"
PATH_WORDS = re.compile(
    r"on this computer|full path|where (?:they are|it is) saved|\bits path\b|\bpaths? (?:or|of)\b", re.IGNORECASE
)


@pytest.fixture
async def team(tmp_path: Path) -> AsyncIterator[Team]:
    """Serve a team."""
    async with open_team(tmp_path) as team:
        yield team


async def test_every_tool_is_as_it_was_reviewed_for_people_elsewhere(team: Team) -> None:
    """`ACCEPT_SNAPSHOTS=1 pytest tests/web/test_elsewhere.py` accepts a difference, which then shows in review."""
    client = await team.connect("ann")
    tools = [
        tool.model_dump(by_alias=True, exclude_none=True, mode="json") for tool in (await client.list_tools()).tools
    ]
    local = [
        tool.model_dump(by_alias=True, exclude_none=True, mode="json")
        for tool in (await team.harness.client.list_tools()).tools
    ]
    shown = {
        f"{tool['name']}.json": json.dumps(tool, indent=2, ensure_ascii=False) + "\n"
        for tool in tools
        if tool not in local
    }
    texts = {"instructions.txt": f"{client.instructions}\n", **shown}
    if os.environ.get("ACCEPT_SNAPSHOTS"):
        SNAPSHOTS.mkdir(exist_ok=True)
        for path in SNAPSHOTS.iterdir():
            path.unlink()
        for name, text in texts.items():
            (SNAPSHOTS / name).write_text(text, encoding="utf-8")

    assert {path.name: path.read_text(encoding="utf-8") for path in SNAPSHOTS.iterdir()} == texts


@pytest.mark.parametrize("mode", MODES)
async def test_nothing_that_is_listed_speaks_of_paths(team: Team, mode: Mode) -> None:
    """Instructions, tools and prompts, in both eras."""
    client = await team.connect("ann", mode)
    made = await team.ask("ann", "text_to_picture", prompt="a lake")
    texts = [client.instructions or "", (await client.list_tools()).model_dump_json()]
    for name, arguments in (
        ("run_app", {"app": "text_to_picture"}),
        ("show_recent_results", {}),
        ("show_run", {"run_id": made["run_id"]}),
    ):
        texts.append((await client.get_prompt(name, arguments)).model_dump_json())

    assert [found[0] for text in texts for found in PATH_WORDS.finditer(text)] == []
    assert "upload:ID" in texts[0]
    assert "upload:ID" in texts[1]


async def test_a_person_at_this_computer_reads_what_they_always_did(team: Team) -> None:
    """The same server serves both."""
    assert "by its full path on this computer" in (team.harness.client.instructions or "")


PATHS = [
    "/etc/passwd",
    "/etc/there-is-no-such-file.png",
    "~/cat.png",
    "~root/cat.png",
    "~there-is-no-such-user/cat.png",
    "file:///etc/passwd",
    "file:///etc/there-is-no-such-file.png",
    "C:\\Users\\me\\cat.png",
    "C:/Users/me/cat.png",
    "\\\\server\\share\\cat.png",
    "//server/share/cat.png",
    "\\\\wsl.localhost\\Ubuntu\\etc\\passwd",
    '"/etc/passwd"',
    "@/etc/passwd",
    "$HOME/cat.png",
    "/proc/self/environ",
    "vscode://file/etc/passwd",
]


@pytest.mark.parametrize("path", PATHS)
async def test_a_path_is_refused_without_a_look_at_the_disk(team: Team, path: str) -> None:
    """The sentence is the same whether or not there is such a file or user, and says what to do instead."""
    roots = team.site.settings.file_roots
    answer = await team.ask("ann", "photo_to_pencil_sketch", photo=path)
    reference = await team.ask("ann", "photo_to_pencil_sketch", photo="/nowhere/at-all.png")

    assert answer["error"] == "ArgumentsInvalid"
    assert answer == reference
    assert "request_upload" in answer["message"]
    assert not any(str(root) in answer["message"] for root in roots)


@pytest.mark.parametrize(
    "name", ["cat.png", "folder/cat.png", "../cat.png", "./cat.png", "/mnt/data/cat.png", "attachment://cat.png"]
)
async def test_a_name_of_the_chat_is_refused_with_the_same_advice(team: Team, name: str) -> None:
    """Models make such names up."""
    answer = await team.ask("ann", "photo_to_pencil_sketch", photo=name)

    assert "request_upload" in answer["message"]
    assert PATH_WORDS.search(answer["message"]) is None


async def test_a_file_that_is_readable_here_is_refused_everywhere(team: Team, tmp_path: Path) -> None:
    """As a picture, in a list of rows, in a table, as the table itself, and by an owner called local."""
    picture = tmp_path / "server" / "cat.png"
    picture.write_bytes(PICTURE)
    table = tmp_path / "server" / "rows.csv"
    table.write_text(f"photo\n{picture}\n")
    app = "photo_to_pencil_sketch"
    link, name = await request_link(team)
    await team.http.put(link, content=table.read_bytes())
    link, theirs = await request_link(team, LOCAL_OWNER)
    await team.http.put(link, content=table.read_bytes())
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("ann", app, {"photo": str(picture)}),
        (LOCAL_OWNER, app, {"photo": str(picture)}),
        ("ann", "run_app", {"app": app, "arguments": {"photo": str(picture)}}),
        ("ann", "run_app", {"app": app, "arguments": {"photo": picture.as_uri()}, "variations": 2}),
        ("ann", "run_batch", {"app": app, "rows": [{"photo": str(picture)}]}),
        ("ann", "run_batch", {"app": app, "csv": str(table)}),
        ("ann", "run_batch", {"app": app, "csv": table.as_uri()}),
        ("ann", "run_batch", {"app": app, "csv": name}),
        (LOCAL_OWNER, "run_batch", {"app": app, "csv": theirs}),
        ("ann", "run_batch", {"app": app, "csv": f"photo\n{picture}\n"}),
    ]
    for owner, tool, arguments in calls:
        answer = await team.ask(owner, tool, **arguments)
        assert answer.get("error") == "ArgumentsInvalid", (tool, arguments)
        assert "request_upload" in answer["message"]
        assert str(tmp_path) not in json.dumps(answer).replace(json.dumps(arguments), "")


async def test_addresses_and_data_work_as_ever(team: Team) -> None:
    """A data URI is a picture wherever its sender is, and so is a table as text."""
    uri = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"
    sketch = await team.ask("ann", "photo_to_pencil_sketch", photo=uri)
    batch = await team.ask("ann", "run_batch", app="text_to_picture", csv="prompt\na lake\na hill\n")

    assert (sketch["state"], batch["state"], batch["runs"]) == ("succeeded", "succeeded", 2)


async def test_a_folder_that_cannot_take_results_is_not_named(tmp_path: Path) -> None:
    """The note before the run and the reason after it name a folder of the server."""
    async with open_team(tmp_path, output_dir=Path("/proc/flowport")) as team:
        answer = await team.ask("ann", "text_to_picture", prompt="a lake")
        listed = await team.ask("ann", "list_runs")
        resource = await (await team.connect("ann")).read_resource(answer["resource"])

    assert answer["state"] == "succeeded"
    assert HIDDEN in answer["notes"]
    for text in (json.dumps(answer), json.dumps(listed), resource.model_dump_json()):
        assert "/proc/flowport" not in text


async def test_the_gallery_names_no_folder_of_the_server_either(tmp_path: Path) -> None:
    """Notes and reasons are sentences with folders in them; what a person gave stays as it is."""
    async with open_server(tmp_path / "home") as server:
        await server.keep_runs()
        notes = f"Warning: the folder for results, {server.harness.outputs} (FLOWPORT_OUTPUT_DIR), cannot take it."
        run = build_run("run_noted", RunState.FAILED, notes=notes, failure=f"No room in {tmp_path}/home/home.")
        await server.harness.assembly.workspace.store.accept(replace(run, owner="anna"))
        async with server.sign_in("anna") as browser:
            texts = [(await browser.get(f"/gallery/api/runs{path}")).text for path in ("", "/run_noted")]

    assert all(HIDDEN in text for text in texts)
    assert not any(str(tmp_path) in text for text in texts)


def list_sentences() -> list[str]:
    """Return every message of the program, as docs/errors.md has them."""
    return [line for line in ERRORS.read_text(encoding="utf-8").splitlines() if line.startswith("|")]


def test_no_advice_about_media_speaks_of_paths_to_people_elsewhere(tmp_path: Path) -> None:
    """A new sentence needs a row in the table of words."""
    words = ElsewhereWords(build_settings(tmp_path / "x", "http://127.0.0.1:1"))
    advice = re.compile(r"Give [^.|]*(?:full path|paths|path of|on this computer)[^.|]*", re.IGNORECASE)
    left = {found[0] for line in list_sentences() for found in advice.finditer(words.word(line))}

    assert left == {"Give the path of a TOML file"}  # of a start that fails


@pytest.mark.parametrize("end", [".", ", in the client's configuration."])
def test_people_elsewhere_are_not_asked_for_a_key(tmp_path: Path, end: str) -> None:
    """They can neither set a variable of the server nor type a command there."""
    words = ElsewhereWords(build_settings(tmp_path / "x", "http://127.0.0.1:1"))

    assert words.word(f"For your own apps: {get_key_advice()}{end}") == (
        "For your own apps: the operator of this server stores the key of a provider."
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("in {home}.", "in [a folder of the server]."),
        ("in {home}/store.sqlite3, said", "in [a folder of the server], said"),
        ('"{outputs}/2026-11-30/a.png"', '"[a folder of the server]"'),
        ("https://x.example{home}/a", "https://x.example{home}/a"),
        ("{home}x/a", "{home}x/a"),
        ("a lake", "a lake"),
    ],
)
def test_folders_of_the_server_are_taken_out_of_sentences(tmp_path: Path, text: str, shown: str) -> None:
    """Whole paths and nothing else: an address that ends the same is left."""
    folders: dict[str, Any] = {"home": Path("/srv/flowport/home"), "output_dir": Path("/srv/results")}
    settings = build_settings(tmp_path / "x", "http://127.0.0.1:1", file_roots=(), **folders)
    places = {"home": str(settings.home), "outputs": str(settings.output_dir)}

    assert ElsewhereWords(settings).word(text.format(**places)) == shown.format(**places)


def test_the_folder_behind_a_link_is_taken_out_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages of the system name the place where a file is, not the one that a setting names."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "other"))
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    settings = build_settings(tmp_path / "x", "http://127.0.0.1:1", file_roots=(), home=tmp_path / "link")

    assert ElsewhereWords(settings).word(f"in {tmp_path / 'real' / 'store.sqlite3'}") == f"in {HIDDEN}"
