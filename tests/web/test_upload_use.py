"""Uploaded files as inputs of runs: for their owner alone, by content, within a quota and for a week."""

import csv
import io
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flowport.runs import received_files
from flowport.runs.submit import RunRequest
from flowport.settings.http_settings import HttpSettings
from tests.support.harness import ScriptedCaller
from tests.support.people import Team, open_team
from tests.support.shifted_clock import ShiftedClock
from tests.support.uploading import PICTURE, find_uploads, request_link

TABLE = b"prompt\na lake\na hill\n"


@pytest.fixture
async def team(tmp_path: Path) -> AsyncIterator[Team]:
    """Serve a team."""
    async with open_team(tmp_path) as team:
        yield team


async def test_an_uploaded_file_is_used_by_its_name(team: Team) -> None:
    """The whole way: the assistant asks, the person uploads, the assistant runs the app."""
    link, name = await request_link(team, purpose="a photo of the cup")
    page = await team.http.get(link)
    sent = await team.http.post(link, files={"file": ("cup.png", PICTURE, "image/png")})
    answer = await team.ask("ann", "photo_to_pencil_sketch", photo=name)

    assert (page.status_code, "a photo of the cup" in page.text) == (200, True)
    assert (sent.status_code, name in sent.text, "<form" in sent.text) == (201, True, False)
    assert answer["state"] == "succeeded"


@pytest.mark.parametrize(
    "spelling", ["{}", "UPLOAD:{id}", "upload://{id}", "`{}`", '"{}"', " {} ", "<{}>", "[photo]({})", "{link}"]
)
async def test_a_name_may_be_wrapped_or_be_the_link(team: Team, spelling: str) -> None:
    """Models add quotes, and repeat the link where the name is meant."""
    link, name = await request_link(team)
    await team.http.put(link, content=PICTURE)
    text = (
        spelling.replace("{link}", team.origin + link).replace("{id}", name.removeprefix("upload:")).replace("{}", name)
    )
    answer = await team.ask("ann", "photo_to_pencil_sketch", photo=text)

    assert answer.get("state") == "succeeded", answer


async def test_equal_files_are_equal_inputs(team: Team) -> None:
    """The content decides, whichever link it came by."""
    first, second = await request_link(team), await request_link(team)
    for link, _ in (first, second):
        await team.http.put(link, content=PICTURE)
    store = team.harness.assembly.workspace.store
    runs = []
    for _, name in (first, second):
        made = await team.ask("ann", "photo_to_pencil_sketch", photo=name)
        runs.append(await store.get_run(made["run_id"], account_id=None, owner="ann"))

    assert runs[0].canonical_digest == runs[1].canonical_digest


async def test_another_owner_has_no_such_file(team: Team) -> None:
    """The refusal is that of a name which was never given out."""
    link, name = await request_link(team)
    await team.http.put(link, content=PICTURE)
    theirs = await team.ask("bob", "photo_to_pencil_sketch", photo=name)
    nothing = await team.ask("bob", "photo_to_pencil_sketch", photo="upload:abcdefghjkmn")

    assert theirs["error"] == "ArgumentsInvalid"
    assert theirs["message"].replace(name.removeprefix("upload:"), "abcdefghjkmn") == nothing["message"]


async def test_a_file_that_was_not_uploaded_yet_is_awaited(team: Team) -> None:
    """The assistant was too quick; nothing is paid for."""
    _, name = await request_link(team)
    answer = await team.ask("ann", "photo_to_pencil_sketch", photo=name)

    assert "Ask the person to open the link" in answer["message"]


async def test_files_that_fill_the_quota_are_refused_and_then_runs_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saved results count as well; what a person has is kept, and other people have their own room."""
    async with open_team(tmp_path) as team:
        received = team.harness.assembly.workspace.received
        monkeypatch.setattr(received, "_max_owner_bytes", len(PICTURE) + 5)
        first, second = await request_link(team), await request_link(team)
        assert (await team.http.put(first[0], content=PICTURE)).status_code == 201
        full = await team.http.put(second[0], content=PICTURE)
        assert (full.status_code, "no room" in full.text) == (507, True)
        assert len(find_uploads(team)) == 1
        made = await team.ask("ann", "photo_to_pencil_sketch", photo=first[1])
        assert made["state"] == "succeeded"
        assert "outputs" in made["outputs"][0]["url"]
        refused = await team.ask("ann", "request_upload")
        assert refused["error"] == "FilesFull"
        assert (await team.ask("bob", "request_upload"))["use_as"]


async def test_expired_files_are_swept(tmp_path: Path) -> None:
    """A week later; a name that is used then says so."""
    clock = ShiftedClock()
    async with open_team(tmp_path, clock=clock) as team:
        received = team.harness.assembly.workspace.received
        link, name = await request_link(team)
        await team.http.put(link, content=PICTURE)
        await received.sweep()
        assert len(find_uploads(team)) == 1
        clock.shift(received_files.KEPT_SECONDS + 1)
        used = await team.ask("ann", "photo_to_pencil_sketch", photo=name)
        await received.sweep()
        assert find_uploads(team) == []
        assert "uploads are removed after a week" in used["message"]
        assert (await team.ask("ann", "photo_to_pencil_sketch", photo=name))["message"] == used["message"]


async def test_files_without_a_record_are_swept_when_they_are_old(team: Team) -> None:
    """A process that dies between writing and recording leaves one."""
    folder = team.site.settings.home / "uploads" / "people" / "ann-1"
    folder.mkdir(parents=True)
    for name in ("abcdefghjkmn.png", ".abcdefghjkmn.part.0123456789abcdef.01234567.part", "notes.txt"):
        (folder / name).write_bytes(b"x")
    new = folder / "abcdefghjkm2.png"
    new.write_bytes(b"x")
    for path in folder.iterdir():
        if path != new:
            os.utime(path, (1, 1))
    await team.harness.assembly.workspace.received.sweep()

    assert find_uploads(team) == [new]


async def test_a_table_is_uploaded_and_run(team: Team) -> None:
    """Its cells may name uploads, and the name of a file on the server means nothing in it."""
    link, name = await request_link(team)
    sent = await team.http.put(link, content=TABLE)
    answer = await team.ask("ann", "run_batch", app="text_to_picture", csv=name)
    table = list(csv.DictReader(io.StringIO((await team.http.get(answer["csv"])).text)))

    assert (sent.status_code, sent.json()["mime_type"]) == (201, "text/csv")
    assert (answer["state"], answer["runs"]) == ("succeeded", 2)
    assert [row["prompt"] for row in table] == ["a lake", "a hill"]
    assert {row["saved_paths"] for row in table} == {""}


async def test_a_picture_in_an_uploaded_table_is_named_as_elsewhere(team: Team) -> None:
    """By upload:ID, not by a name beside the table."""
    picture, picture_name = await request_link(team)
    await team.http.put(picture, content=PICTURE)
    link, name = await request_link(team)
    await team.http.put(link, content=f"photo\n{picture_name}\n".encode())
    good = await team.ask("ann", "run_batch", app="photo_to_pencil_sketch", csv=name)
    link, name = await request_link(team)
    stem = picture_name.removeprefix("upload:")
    await team.http.put(link, content=f"photo\n{stem}.png\n".encode())
    bad = await team.ask("ann", "run_batch", app="photo_to_pencil_sketch", csv=name)

    assert good["state"] == "succeeded"
    assert bad["error"] == "ArgumentsInvalid"
    assert json.dumps(bad).count("means nothing outside the chat") == 1


async def test_a_picture_is_not_a_table_and_a_table_no_picture(team: Team) -> None:
    """Each is refused where the other is wanted."""
    names = []
    for content in (PICTURE, TABLE):
        link, name = await request_link(team)
        await team.http.put(link, content=content)
        names.append(name)
    first = await team.ask("ann", "run_batch", app="text_to_picture", csv=names[0])
    second = await team.ask("ann", "photo_to_pencil_sketch", photo=names[1])

    assert "names a file of another kind" in first["message"]
    assert "not an image" in second["message"]


async def test_a_person_at_this_computer_has_no_such_tool(team: Team) -> None:
    """They name the file itself."""
    result = await team.harness.client.list_tools()
    assert "request_upload" not in [tool.name for tool in result.tools]
    listed = await (await team.connect("ann")).list_tools()
    names = [tool.name for tool in listed.tools]
    assert names[:8] == [*[tool.name for tool in result.tools][:7], "request_upload"]


async def test_a_person_whose_files_fill_the_quota_starts_nothing_new(tmp_path: Path) -> None:
    """What was paid for is kept above it, and a call that is repeated still gets its result; others are not affected."""
    http = HttpSettings(max_file_bytes=1000)
    async with open_team(tmp_path, http=http) as team:
        first = await team.ask("ann", "text_to_picture", prompt="a lake")
        used = await team.harness.assembly.workspace.store.get_file_use(owner="ann")
        refused = await team.ask("ann", "text_to_picture", prompt="a hill")
        batch = await team.ask("ann", "run_batch", app="text_to_picture", rows=[{"prompt": "a"}])
        again = await team.ask("ann", "get_run", run_id=first["run_id"])
        theirs = await team.ask("bob", "text_to_picture", prompt="a hill")

    assert (first["state"], again["state"], theirs["state"]) == ("succeeded",) * 3
    assert used > 1000
    assert first["outputs"][0]["url"].startswith(team.origin)
    assert (refused["error"], batch["error"]) == ("FilesFull", "FilesFull")


async def test_a_repeated_call_joins_its_run_although_the_quota_is_full(tmp_path: Path) -> None:
    """A client that lost the answer calls again: it must not be refused the result that filled the quota."""
    http = HttpSettings(max_file_bytes=1000)
    async with open_team(tmp_path, http=http) as team:
        workspace = team.harness.assembly.workspace
        caller = ScriptedCaller(workspace.clock.monotonic())
        await workspace.wait_for_catalogues()
        home, listing = await workspace.fetch_app("text_to_picture", caller)
        submissions = []
        for _ in range(2):
            request = RunRequest("ann", is_local=False, max_file_bytes=1000)
            call = await workspace.preparer.prepare(home.account, listing, {"prompt": "a lake"}, request)
            submission = await workspace.runner.submit(call, request)
            view = await workspace.waiter.wait_for_run(submission.run, caller)
            request.exchange.note_disconnected()
            submissions.append(submission)
        used = await workspace.store.get_file_use(owner="ann")

    assert [one.is_joined for one in submissions] == [False, True]
    assert view.run.state.is_final
    assert used > 1000


async def test_links_work_below_a_public_path(tmp_path: Path) -> None:
    """A reverse proxy may serve Flowport below a path of a site, with encryption that Flowport does not see."""
    public = "https://studio.example/flowport"
    async with open_team(tmp_path, http=HttpSettings(public_url=public)) as team:
        asked = await team.ask("ann", "request_upload")
        place = asked["link"].removeprefix("https://studio.example")
        proxied = {"host": "studio.example", "origin": "https://studio.example"}
        page = await team.http.get(place, headers=proxied)
        sent = await team.http.post(place, files={"file": ("a.png", PICTURE)}, headers=proxied)
        made = await team.ask("ann", "photo_to_pencil_sketch", photo=asked["use_as"])
        again = await team.ask("ann", "photo_to_pencil_sketch", photo=asked["link"], new_run=True)
        link = made["outputs"][0]["url"]
        result = await team.http.get(link.removeprefix("https://studio.example"), headers={"host": "studio.example"})
        named = await team.ask("ann", "photo_to_pencil_sketch", photo=link)

    assert asked["link"].startswith(f"{public}/uploads/")
    assert link.startswith(f"{public}/outputs/")
    assert (page.status_code, sent.status_code, result.status_code) == (200, 201, 200)
    assert [one["state"] for one in (made, again, named)] == ["succeeded"] * 3
