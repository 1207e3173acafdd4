"""Saved results by signed links, over real HTTP: what a person elsewhere sees, and what no other request gets."""

import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from flowport.domain.models import Output, OutputKind, RunState
from flowport.media.saving import build_owner_folder
from flowport.web.signing import Purpose
from tests.runs.samples import RUN
from tests.support.people import Team, open_team

HOSTILE_PAGE = b"<html><script>alert(1)</script></html>"


@pytest.fixture
async def team(tmp_path: Path) -> AsyncIterator[Team]:
    """Serve a team."""
    async with open_team(tmp_path) as team:
        yield team


async def make_picture(team: Team, owner: str = "ann") -> dict[str, Any]:
    """Run an app as a person and return the facts of its one output."""
    answer = await team.ask(owner, "text_to_picture", prompt="a lake")
    (output,) = answer["outputs"]
    return {**output, "run_id": answer["run_id"], "answer": answer}


async def keep(team: Team, name: str, content: bytes, *, kind: OutputKind, mime_type: str, owner: str = "ann") -> str:
    """Put a run with a saved file on record and return the path of its link."""
    folder = build_owner_folder(team.harness.outputs, owner) / "2026-11-30"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content)
    output = Output(1, kind, "https://cdn.example/1", mime_type=mime_type, saved_path=str(path))
    run = replace(RUN, id=f"run_{abs(hash(name))}", owner=owner, state=RunState.SUCCEEDED, outputs=(output,))
    await team.harness.assembly.workspace.store.accept(run)
    return build_link(team, run.id)


def build_link(team: Team, run_id: str, n: int = 1) -> str:
    """Return the path and query of an output's link."""
    web = team.harness.assembly.workspace.file_links.web
    assert web is not None
    return web.build_output_link(run_id, n).url.removeprefix(team.origin)


async def test_a_person_elsewhere_gets_a_link_of_ours_and_no_path(team: Team, tmp_path: Path) -> None:
    """In the facts, the text and the resource link of the answer, in lists and in resources."""
    client = await team.connect("ann")
    result = await client.call_tool("text_to_picture", {"prompt": "a lake"})
    facts = result.structured_content
    assert isinstance(facts, dict)
    (output,) = facts["outputs"]
    listed = await client.call_tool("list_runs", {})
    again = await client.call_tool("get_run", {"run_id": facts["run_id"]})
    resource = await client.read_resource(facts["resource"])

    assert output["url"].startswith(f"{team.origin}/outputs/{facts['run_id']}/1?e=")
    assert [str(block.uri) for block in result.content if block.type == "resource_link"] == [output["url"]]
    for answer in (result, listed, again, resource):
        text = answer.model_dump_json()
        assert str(tmp_path) not in text
        assert output["url"] in text
    served = await team.http.get(output["url"])
    assert (served.status_code, served.headers["content-type"]) == (200, "image/png")
    assert served.content.startswith(b"\x89PNG")


async def test_a_link_of_ours_can_be_read_and_given_back(team: Team) -> None:
    """VS Code reads links as resources, and people paste them as inputs: neither fetches or uploads anything."""
    made = await make_picture(team)
    client = await team.connect("ann")
    (content,) = (await client.read_resource(made["url"])).contents
    named = await team.ask("ann", "get_run", run_id=made["url"])
    sketch = await team.ask("ann", "photo_to_pencil_sketch", photo=made["url"])
    run = await team.harness.assembly.workspace.store.get_run(sketch["run_id"], account_id=None, owner="ann")

    assert getattr(content, "mime_type", "") == "image/png"
    assert named["run_id"] == made["run_id"]
    assert json.loads(run.arguments_json)["photo"] == made["resource"]


async def test_the_link_of_another_owner_names_nothing_of_ours(team: Team) -> None:
    """It may be opened by those who have it, as any signed link, but that run is not theirs."""
    made = await make_picture(team)
    other = await team.connect("bob")
    result = await other.call_tool("get_run", {"run_id": made["url"]})
    missing = await other.call_tool("get_run", {"run_id": made["url"].replace(made["run_id"], "run_nothing22")})

    assert result.is_error
    assert str(result.structured_content).replace(made["run_id"], "run_nothing22") == str(missing.structured_content)


async def test_each_owner_has_a_folder_of_their_own(team: Team) -> None:
    """Whatever the owner is called; the person at this computer keeps the folder itself."""
    await make_picture(team, "ann")
    await make_picture(team, "../../ann")
    folders = {path.parent.parent for path in team.harness.outputs.rglob("*.png")}

    assert folders == {build_owner_folder(team.harness.outputs, owner) for owner in ("ann", "../../ann")}
    assert all(folder.parent == team.harness.outputs / "people" for folder in folders)


async def test_a_file_is_served_in_parts(team: Team) -> None:
    """Players seek in videos, and downloads are resumed."""
    link = await keep(team, "a.mp4", bytes(range(256)), kind=OutputKind.VIDEO, mime_type="video/mp4")
    part = await team.http.get(link, headers={"range": "bytes=10-19"})
    rest = await team.http.get(link, headers={"range": "bytes=250-"})
    beyond = await team.http.get(link, headers={"range": "bytes=900-"})
    head = await team.http.head(link)

    assert (part.status_code, part.content) == (206, bytes(range(10, 20)))
    assert part.headers["content-range"] == "bytes 10-19/256"
    assert rest.content == bytes(range(250, 256))
    assert beyond.status_code == 416
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "256", b"")
    assert head.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize(
    ("name", "content", "kind", "mime_type"),
    [
        ("a.svg", b"<svg onload='alert(1)'/>", OutputKind.IMAGE, "image/svg+xml"),
        ("a.bin", HOSTILE_PAGE, OutputKind.FILE, "text/html"),
        ("b.bin", HOSTILE_PAGE, OutputKind.IMAGE, "text/html"),
        ("c.bin", HOSTILE_PAGE, OutputKind.IMAGE, ""),
        ("a.pdf", b"%PDF-1.7", OutputKind.FILE, "application/pdf"),
    ],
)
async def test_what_could_run_is_only_downloaded(
    team: Team, name: str, content: bytes, kind: OutputKind, mime_type: str
) -> None:
    """A result comes from others; opened here it must not act on this origin."""
    answer = await team.http.get(await keep(team, name, content, kind=kind, mime_type=mime_type))

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")


async def test_every_answer_has_the_headers_of_untrusted_files(team: Team) -> None:
    """Refusals too."""
    link = await keep(team, "a.png", b"x", kind=OutputKind.IMAGE, mime_type="image/png")
    for path in (link, link[:-1], "/outputs/run_a/1"):
        answer = await team.http.get(path)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]
        assert "script-src" not in answer.headers["content-security-policy"]


async def test_a_page_of_any_origin_may_read_a_result_and_nothing_else(team: Team) -> None:
    """Chats in a browser fetch results; the signature is the proof, and no cookie is involved."""
    link = await keep(team, "a.png", b"x", kind=OutputKind.IMAGE, mime_type="image/png")
    foreign = {"origin": "https://chat.example"}
    result = await team.http.get(link, headers=foreign)
    unsigned = await team.http.get(link[:-1], headers=foreign)
    upload = await team.http.get("/uploads/x", headers=foreign)
    rebound = await team.http.get(link, headers={"host": "evil.example"})

    assert (result.status_code, result.headers["access-control-allow-origin"]) == (200, "*")
    assert (unsigned.status_code, "access-control-allow-origin" in unsigned.headers) == (404, False)
    assert (upload.status_code, rebound.status_code) == (403, 421)


async def test_a_changed_link_gets_nothing(team: Team) -> None:
    """Each part of it is signed, and a signature for another purpose never fits."""
    link = await keep(team, "a.png", b"x", kind=OutputKind.IMAGE, mime_type="image/png")
    other = await keep(team, "b.png", b"y", kind=OutputKind.IMAGE, mime_type="image/png", owner="bob")
    place, _, query = link.partition("?")
    expires, signature = query.removeprefix("e=").split("&s=")
    run_id = place.split("/")[2]
    foreign = team.site.signer.sign(Purpose.WEBHOOK, f"{run_id}\n1\n{expires}")
    changed = [
        place,
        f"{place}?e={expires}",
        f"{place}?s={signature}",
        f"{place}?e={expires}&s=",
        f"{place}?e={expires}&s={signature[:-1]}",
        f"{place}?e={expires}&s={signature}0",
        f"{place}?e={expires}&s={signature.upper()}x",
        f"{place}?e={int(expires) + 1}&s={signature}",
        f"{place}?e=0{expires}&s={signature}",
        f"{place}?e=+{expires}&s={signature}",
        f"{place}?e=-1&s={signature}",
        f"{place}?e=1e9&s={signature}",
        f"{place}?e={expires}&s=ä",
        f"{place}?e={expires}&s={foreign}",
        f"{place[:-1]}2?{query}",
        f"{place[:-1]}table?{query}",
        f"{place[:-1]}01?{query}",
        f"{other.partition('?')[0]}?{query}",
        f"/outputs/{run_id}%0A1/{expires}?{query}",
        f"/outputs/../outputs/{run_id}x/1?{query}",
    ]
    for path in changed:
        answer = await team.http.get(path)
        assert answer.status_code == 404, path
        assert "There is nothing at this address" in answer.text or "Not Found" in answer.text
    assert (await team.http.get(link)).content == b"x"
    assert (await team.http.post(link)).status_code == 405


async def test_an_expired_link_says_where_a_new_one_comes_from(team: Team) -> None:
    """It was valid, so its holder may know that."""
    await keep(team, "a.png", b"x", kind=OutputKind.IMAGE, mime_type="image/png")
    run_id, past = "run_old", int(time.time()) - 10
    signature = team.site.signer.sign(Purpose.OUTPUT, f"{run_id}\n1\n{past}")
    answer = await team.http.get(f"/outputs/{run_id}/1?e={past}&s={signature}")

    assert (answer.status_code, "get_run" in answer.text) == (410, True)


async def test_what_is_not_there_is_said_to_be_missing(team: Team) -> None:
    """An erased run, a result that is not saved yet, and a file that was removed."""
    link = await keep(team, "a.png", b"x", kind=OutputKind.IMAGE, mime_type="image/png")
    next(team.harness.outputs.rglob("a.png")).unlink()
    unsaved = Output(1, OutputKind.IMAGE, "https://cdn.example/1")
    await team.harness.assembly.workspace.store.accept(replace(RUN, id="run_unsaved", owner="ann", outputs=(unsaved,)))
    answers = [
        await team.http.get(path) for path in (link, build_link(team, "run_erased"), build_link(team, "run_unsaved"))
    ]

    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert ["no longer here" in answer.text for answer in answers] == [True, True, False]
    assert answers[2].headers["retry-after"] == "5"


async def test_no_file_outside_the_folder_for_results_is_served(team: Team, tmp_path: Path) -> None:
    """Whatever the record says, and wherever a link in that folder leads."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    inside = team.harness.outputs / "link.png"
    inside.parent.mkdir(parents=True, exist_ok=True)
    inside.symlink_to(secret)
    for n, path in enumerate((secret, inside, Path("/etc/passwd"), team.harness.outputs / "../secret.png")):
        output = Output(1, OutputKind.IMAGE, None, mime_type="image/png", saved_path=str(path))
        run = replace(RUN, id=f"run_{n}", owner="ann", state=RunState.SUCCEEDED, outputs=(output,))
        await team.harness.assembly.workspace.store.accept(run)
        assert (await team.http.get(build_link(team, run.id))).status_code == 404


async def test_the_table_of_a_batch_is_a_link_and_names_links(team: Team, tmp_path: Path) -> None:
    """It is a download, and holds no path of the server either."""
    answer = await team.ask("ann", "run_batch", app="text_to_picture", rows=[{"prompt": "a"}, {"prompt": "b"}])
    link = answer["csv"]
    served = await team.http.get(link)

    assert urlsplit(link).path == f"/outputs/{answer['run_id']}/table"
    assert served.headers["content-type"] == "text/csv; charset=utf-8"
    assert served.headers["content-disposition"].startswith("attachment")
    assert served.text.count(f"{team.origin}/outputs/run_") == 2
    assert str(tmp_path) not in served.text
    assert str(tmp_path) not in json.dumps(answer)
