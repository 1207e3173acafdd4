"""The gallery's web application over real HTTP, on a Flowport with runs of the sandbox."""

import json
import logging
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from flowport.actions.cancel_run import format_cancellation
from flowport.domain.models import OutputKind, Run, RunState
from flowport.runs.cancellation import CancelOutcome
from flowport.runtime.http_server import HttpServer
from flowport.web.gallery import build_gallery, word_for_page
from flowport.web.listen_address import Address, listen
from tests.fakes.client import open_sandbox
from tests.store.samples import OUTPUT, build_run
from tests.support.harness import Harness, open_harness

TOKEN = "a-token-of-the-test"


@dataclass
class Gallery:
    """A gallery that listens, and the Flowport behind it."""

    harness: Harness
    origin: str
    http: httpx2.AsyncClient

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        """Get a path below the token."""
        return await self.http.get(f"/{TOKEN}/{path}", headers=headers)

    async def list(self, query: str = "") -> list[str]:
        """Return the ids that a search finds."""
        return [run["run_id"] for run in (await self.get(f"api/runs?{query}")).json()["runs"]]

    async def keep(self, run: Run) -> None:
        """Put a run on record."""
        await self.harness.assembly.workspace.store.accept(replace(run, owner="local"))


@pytest.fixture
async def gallery(tmp_path: Path) -> AsyncIterator[Gallery]:
    """Serve a gallery."""
    async with open_sandbox() as sandbox, open_harness(sandbox, tmp_path / "person") as harness:
        listener = listen(Address("127.0.0.1", 0))
        address = Address(*listener.getsockname()[:2])
        app = build_gallery(harness.assembly.workspace, address, TOKEN)
        web = HttpServer(app, log_level=logging.WARNING, lifespan="off")
        async with (
            anyio.create_task_group() as tasks,
            httpx2.AsyncClient(base_url=address.origin, trust_env=False, timeout=60) as http,
        ):
            tasks.start_soon(web.serve, [listener])
            yield Gallery(harness, address.origin, http)
            web.should_exit = True


async def make_picture(gallery: Gallery, prompt: str = "a lake") -> dict[str, Any]:
    """Run an app and return the facts of its run."""
    return await gallery.harness.ask("text_to_picture", prompt=prompt)


async def test_the_page_runs_no_script_but_its_own(gallery: Gallery) -> None:
    """Its policy names the script and the style by their hashes, and allows no other source."""
    page = await gallery.get("")
    policy = page.headers["content-security-policy"]

    assert page.headers["content-type"].startswith("text/html")
    assert "script-src 'sha256-" in policy
    assert "style-src 'sha256-" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/", "/api/runs", "/wrong/api/runs", f"/{TOKEN[:-1]}/", f"/{TOKEN}x/", "//", "/é/"])
async def test_nothing_is_served_without_the_token(gallery: Gallery, path: str) -> None:
    """Other users and pages of this computer can reach the port, and do not know the token."""
    answer = await gallery.http.get(path)
    assert answer.status_code == 404
    assert TOKEN not in answer.text + str(answer.headers)


async def test_the_address_without_its_last_slash_leads_to_the_page(gallery: Gallery) -> None:
    """A person who copies the address may lose it."""
    answer = await gallery.http.get(f"/{TOKEN}")
    assert (answer.status_code, answer.headers["location"]) == (307, f"/{TOKEN}/")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1:1"}, 421),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
    ],
)
async def test_a_foreign_host_or_origin_is_refused(gallery: Gallery, headers: dict[str, str], status: int) -> None:
    """A name of a hostile page may lead to this computer."""
    assert (await gallery.get("api/runs", **headers)).status_code == status


@pytest.mark.parametrize("number", ["0", "01", "-1", "1.0", "x", "%D9%A1", "9" * 30, "9" * 5000])
@pytest.mark.parametrize("ending", ["", "/preview"])
async def test_a_place_that_names_no_result_is_not_found(gallery: Gallery, number: str, ending: str) -> None:
    """Python reads no number of more than some thousand digits."""
    picture = await make_picture(gallery, "a lake")
    answer = await gallery.get(f"files/{picture['run_id']}/{number}{ending}")

    assert (answer.status_code, answer.json()["error"]["kind"]) == (404, "RunNotFound")


async def test_the_list_shows_runs_with_what_they_were_made_of(gallery: Gallery) -> None:
    """The newest first, each with its app, price, date, arguments and results."""
    first = await make_picture(gallery, "a lake")
    second = await make_picture(gallery, "<img src=x onerror=alert(1)>")
    answer = await gallery.get("api/runs")
    runs = answer.json()["runs"]

    assert [run["run_id"] for run in runs] == [second["run_id"], first["run_id"]]
    assert runs[0]["arguments"]["prompt"] == "<img src=x onerror=alert(1)>"
    assert {"app", "state", "credits", "accepted_at", "finished_at", "provider"} <= set(runs[0])
    assert runs[0]["outputs"][0]["file"] == f"files/{second['run_id']}/1"
    assert answer.json()["next"] is None
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


async def test_looking_delivers_nothing(gallery: Gallery) -> None:
    """The assistant that asked for a run has not seen it when the person has."""
    run = build_run("run_seen", RunState.SUCCEEDED, outputs=(OUTPUT,), delivered_at=None)
    await gallery.keep(run)
    await gallery.get("api/runs")
    await gallery.get("api/runs/run_seen")

    assert await gallery.harness.assembly.workspace.store.count_undelivered(owner="local") == 1


async def test_a_search_finds_by_app_text_state_and_date(gallery: Gallery) -> None:
    """Each field narrows the list; what cannot be read counts as not given."""
    lake = build_run("run_lake", RunState.SUCCEEDED, accepted_at=100.0, arguments_json='{"prompt": "Größe am See"}')
    fox = build_run("run_fox", RunState.FAILED, accepted_at=200.0, app_name="Fox", tool_name="fox")
    live = build_run("run_live", RunState.UNKNOWN, accepted_at=300.0, tool_name="other")
    for run in (lake, fox, live):
        await gallery.keep(run)

    assert await gallery.list() == ["run_live", "run_fox", "run_lake"]
    assert await gallery.list("text=GRÖSSE") == ["run_lake"]
    assert await gallery.list("text=see+größe") == ["run_lake"]
    assert await gallery.list("text=%25") == []
    assert await gallery.list("app=FOX") == ["run_fox"]
    assert await gallery.list("state=failed") == ["run_fox"]
    assert await gallery.list("state=live") == []
    assert await gallery.list("state=nonsense&since=soon&limit=-3") == ["run_live"]
    assert await gallery.list("since=100&until=200") == ["run_lake"]
    assert await gallery.list("since=nan&until=1e99") == ["run_live", "run_fox", "run_lake"]
    assert await gallery.list("limit=2") == ["run_live", "run_fox"]
    assert await gallery.list("limit=2&before=run_fox") == ["run_lake"]


async def test_a_batch_is_shown_with_its_rows(gallery: Gallery) -> None:
    """Each row has its arguments, its state and its results."""
    batch = await gallery.harness.ask("run_batch", app="text_to_picture", rows=[{"prompt": "one"}, {"prompt": "two"}])
    (listed,) = (await gallery.get("api/runs")).json()["runs"]
    shown = (await gallery.get(f"api/runs/{batch['run_id']}")).json()

    assert (listed["runs"], listed["done"], len(listed["outputs"])) == (2, 2, 2)
    assert [row["arguments"]["prompt"] for row in shown["table"]] == ["one", "two"]
    assert all(row["outputs"][0]["file"].startswith("files/run_") for row in shown["table"])
    assert await gallery.list("text=two") == [batch["run_id"]]


async def test_a_saved_file_is_served_whole_and_in_parts(gallery: Gallery) -> None:
    """Players ask for parts of a video; a download has a name."""
    facts = await make_picture(gallery)
    saved = Path(facts["outputs"][0]["saved_path"])
    path = f"files/{facts['run_id']}/1"
    whole, part, last = [
        await gallery.get(path, **({"range": found} if found else {})) for found in ("", "bytes=2-5", "bytes=-3")
    ]
    wrong = await gallery.get(path, range="bytes=999999999-")
    download = await gallery.get(f"{path}?download")

    assert whole.content == saved.read_bytes()
    assert whole.headers["content-type"] == "image/png"
    assert whole.headers["content-disposition"].startswith("inline")
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in whole.headers["content-security-policy"]
    assert (part.status_code, part.content) == (206, whole.content[2:6])
    assert last.content == whole.content[-3:]
    assert wrong.status_code == 416
    assert download.headers["content-disposition"] == f'attachment; filename="{saved.name}"'
    assert download.headers["content-type"] == "application/octet-stream"


async def test_a_preview_is_small(gallery: Gallery) -> None:
    """A list of a thousand originals would take the memory of the browser."""
    facts = await make_picture(gallery)
    preview = await gallery.get(f"files/{facts['run_id']}/1/preview")

    assert preview.headers["content-type"] in {"image/png", "image/jpeg"}
    assert len(preview.content) <= 60_000


async def test_no_file_outside_the_outputs_folder_is_served(gallery: Gallery, tmp_path: Path) -> None:
    """Neither by a path on record, nor through a link, nor by the address."""
    outputs = gallery.harness.outputs
    outputs.mkdir(parents=True, exist_ok=True)
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"\x89PNG secret")
    (outputs / "link.png").symlink_to(secret)
    (outputs / "folder.png").mkdir()
    paths = [
        secret,
        outputs / "link.png",
        outputs / ".." / ".." / "secret.png",
        outputs / "gone.png",
        outputs / "folder.png",
    ]
    found = tuple(replace(OUTPUT, n=n, saved_path=str(path)) for n, path in enumerate(paths, 1))
    await gallery.keep(build_run("run_out", RunState.SUCCEEDED, outputs=found))
    wanted = [*(f"files/run_out/{n}" for n in range(1, 7)), "files/run_out/1/preview", "files/../../secret.png"]
    answers = [await gallery.get(path) for path in wanted]

    assert {answer.status_code for answer in answers} == {404}
    assert not any(b"secret" in answer.content for answer in answers)


@pytest.mark.parametrize(
    ("kind", "mime_type"),
    [
        (OutputKind.FILE, "text/html"),
        (OutputKind.IMAGE, "image/svg+xml"),
        (OutputKind.IMAGE, "text/html"),
        (OutputKind.VIDEO, ""),
    ],
)
async def test_a_file_that_carries_a_program_is_only_downloaded(
    gallery: Gallery, kind: OutputKind, mime_type: str
) -> None:
    """At the gallery's address it could read everything."""
    path = gallery.harness.outputs / "page"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("<script>alert(1)</script>")
    output = replace(OUTPUT, n=1, kind=kind, mime_type=mime_type, saved_path=str(path))
    await gallery.keep(build_run("run_page", RunState.SUCCEEDED, outputs=(output,)))
    answer = await gallery.get("files/run_page/1")

    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")


async def test_only_the_page_cancels_a_run(gallery: Gallery) -> None:
    """Nothing else changes anything, and a request without the page's origin is not the page's."""
    await gallery.keep(build_run("run_wait", RunState.ACCEPTED))
    path = f"/{TOKEN}/api/runs/run_wait/cancel"
    refused = [
        await gallery.http.post(path),
        await gallery.http.post(path, headers={"origin": "http://127.0.0.1:1"}),
        await gallery.http.post("/wrong/api/runs/run_wait/cancel", headers={"origin": gallery.origin}),
        await gallery.http.get(path, headers={"origin": gallery.origin}),
        await gallery.http.delete(f"/{TOKEN}/api/runs/run_wait", headers={"origin": gallery.origin}),
    ]
    done = await gallery.http.post(path, headers={"origin": gallery.origin})
    unknown = await gallery.http.post(f"/{TOKEN}/api/runs/run_none/cancel", headers={"origin": gallery.origin})

    assert [answer.status_code for answer in refused] == [403, 403, 404, 405, 405]
    assert (done.status_code, done.json()["state"]) == (200, "cancelled")
    assert unknown.status_code == 404
    assert json.loads(unknown.text)["error"]["kind"] == "RunNotFound"


@pytest.mark.parametrize("outcome", CancelOutcome)
@pytest.mark.parametrize("state", [RunState.SUCCEEDED, RunState.PARTIAL, RunState.FAILED, RunState.CANCELLED])
def test_the_answer_to_a_cancellation_speaks_to_a_person(outcome: CancelOutcome, state: RunState) -> None:
    """Tools of an assistant cannot be called from the page."""
    text = word_for_page(format_cancellation(outcome, replace(build_run("run_1"), state=state), None))

    assert not re.search("get_run|cancel_run|stop_following", text)
    assert text.endswith(".")
