"""The content of a resource URI, beyond the usual case."""

import base64
import io
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import mcp.types as t
import pytest
from PIL import Image

from flowport.domain.call_errors import ResourceNotFound
from flowport.domain.models import LOCAL_OWNER, Output, OutputKind, Run, RunState
from flowport.domain.run_events import OutputSaved
from flowport.domain.uris import format_output_uri, format_run_uri
from flowport.runs.delivery import Deliveries
from flowport.runtime.background import Supervisor
from flowport.runtime.exchange import Exchange
from flowport.server.resources import MAX_BYTES, MAX_PAGE_BYTES, Content, Resources
from tests.fakes.client import Client as SandboxClient
from tests.fakes.client import open_sandbox
from tests.store.samples import build_run
from tests.support.harness import READER, Harness, open_harness
from tests.support.raw_server import build_reply, serving
from tests.support.scripted import FaultyStore, wait_until

MP4 = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2" + bytes(64)
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100


async def get_origins(*origins: str) -> frozenset[str]:
    """Return the file origins of an account."""
    return frozenset(origins)


@pytest.fixture(scope="module")
async def sandbox() -> AsyncIterator[SandboxClient]:
    """Run one sandbox for the tests of this module."""
    async with open_sandbox() as client:
        yield client


@pytest.fixture
async def flowport(sandbox: SandboxClient, tmp_path: Path) -> AsyncIterator[Harness]:
    """Run Flowport, which saves nothing unless a test does."""
    async with open_harness(sandbox, tmp_path / "person", should_save_outputs=False) as harness:
        yield harness


@pytest.fixture
def resources(flowport: Harness) -> Resources:
    """Give a test the reader of resources."""
    return Resources(flowport.assembly.workspace, anyio.CapacityLimiter(2))


async def keep(flowport: Harness, output: Output, **changes: Any) -> Run:
    """Store a run with one output."""
    run: Run = replace(build_run("run_kept"), owner=LOCAL_OWNER, outputs=(output,), delivered_at=None, **changes)
    await flowport.assembly.workspace.store.accept(run)
    return run


async def test_an_output_that_was_not_saved_is_fetched(flowport: Harness, resources: Resources) -> None:
    """A link in an answer must be readable whether or not files are saved."""
    facts = await flowport.ask("text_to_picture", prompt="a lake")

    content = await resources.read(facts["outputs"][0]["resource"], READER)

    assert content.mime_type == "image/png"
    assert (content.data or b"").startswith(b"\x89PNG")


async def test_a_saved_copy_is_served_when_the_link_has_expired(
    flowport: Harness, resources: Resources, tmp_path: Path
) -> None:
    """Saving keeps a result beyond the provider's link."""
    path = tmp_path / "a.png"
    await anyio.Path(path).write_bytes(PNG)
    await keep(flowport, Output(1, OutputKind.IMAGE, "https://127.0.0.1/gone.png", saved_path=str(path)))

    assert await resources.read("https://127.0.0.1/gone.png", READER) == Content("image/png", data=PNG)


async def test_an_inline_file_of_a_provider_response_is_read(flowport: Harness, resources: Resources) -> None:
    """Until it is saved it exists only in the store, and answers do not contain its data."""
    data = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    await keep(flowport, Output(1, OutputKind.IMAGE, data, text="a cup"), finished_at=1.0)

    assert await resources.read(format_output_uri("run_kept", 1), READER) == Content("image/png", data=PNG)
    for answer in (await flowport.ask("get_run", run_id="run_kept"), await flowport.ask("list_runs")):
        assert "base64" not in json.dumps(answer)
        assert format_output_uri("run_kept", 1) in json.dumps(answer)


async def test_a_broken_inline_file_is_reported_without_its_data(flowport: Harness, resources: Resources) -> None:
    """Megabytes of base64 would not help."""
    await keep(flowport, Output(1, OutputKind.IMAGE, "data:image/png;base64,A"))

    content = await resources.read(format_output_uri("run_kept", 1), READER)

    message = "This output could not be fetched: its data stood in the provider's answer, and is broken or too large."
    assert content == Content("text/plain", message)


async def test_an_unavailable_output_is_reported_with_its_link(flowport: Harness, resources: Resources) -> None:
    """An empty answer would look like an empty picture."""
    await keep(flowport, Output(1, OutputKind.IMAGE, "https://127.0.0.1/a.png", expires_at=0.0, saved_path="/nowhere"))

    content = await resources.read(format_output_uri("run_kept", 1), READER)

    assert content.data is None
    assert "could not be fetched" in content.text
    assert "https://127.0.0.1/a.png, until 1970-01-01T00:00:00Z" in content.text


@pytest.mark.parametrize("head", [MP4, PNG], ids=["a video", "a picture that cannot be decoded"])
async def test_a_file_too_large_to_return_is_reported_with_its_path(
    flowport: Harness, resources: Resources, tmp_path: Path, head: bytes
) -> None:
    """A video of half a gigabyte must not go through a client's context."""
    path = tmp_path / "a.mp4"
    with path.open("wb") as file:
        file.write(head)
        file.truncate(MAX_BYTES + 1)
    await keep(flowport, Output(1, OutputKind.VIDEO, None, saved_path=str(path)))

    content = await resources.read(format_output_uri("run_kept", 1), READER)

    assert content == Content("text/plain", f"This output is too large for this answer. It is saved as {path}.")


def build_large_picture() -> bytes:
    """Return a picture that is too large to be returned unchanged."""
    buffer = io.BytesIO()
    Image.effect_noise((3000, 3000), 100).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


async def test_a_large_picture_is_scaled_down_and_says_so(
    flowport: Harness, resources: Resources, tmp_path: Path
) -> None:
    """The smaller copy can be viewed, and the text names where the original is."""
    path = tmp_path / "a.png"
    path.write_bytes(build_large_picture())
    await keep(flowport, Output(1, OutputKind.IMAGE, None, saved_path=str(path)))

    content = await resources.read(format_output_uri("run_kept", 1), READER)
    blob, note = (await flowport.client.read_resource(format_output_uri("run_kept", 1))).contents

    assert content.text == f"This output has 8.6 MB, so this is a smaller copy. It is saved as {path}."
    assert content.data is not None
    assert Image.open(io.BytesIO(content.data)).size == (1500, 1500)
    assert isinstance(blob, t.BlobResourceContents)
    assert isinstance(note, t.TextResourceContents)
    assert (base64.b64decode(blob.blob), note.text) == (content.data, content.text)


async def test_a_large_unsaved_picture_is_fetched_and_scaled_down(
    flowport: Harness, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link in an answer must show something, whether or not files are saved."""
    (one,) = flowport.assembly.workspace.catalogs
    account_id = one.account.account.id
    async with serving(build_reply(build_large_picture())) as server:
        monkeypatch.setattr(one.account, "fetch_file_origins", partial(get_origins, server.origin))
        output = Output(1, OutputKind.IMAGE, f"{server.origin}/a.png")
        run: Run = replace(build_run("run_kept"), account_id=account_id, owner=LOCAL_OWNER, outputs=(output,))
        await flowport.assembly.workspace.store.accept(run)
        content = await resources.read(format_output_uri("run_kept", 1), READER)

    assert content.mime_type == "image/jpeg"
    assert content.text.endswith(f"smaller copy. Its link is {output.url}.")
    assert len(content.data or b"") < MAX_BYTES


async def test_a_saved_file_of_an_unknown_kind_is_reported_with_its_path(
    flowport: Harness, resources: Resources, tmp_path: Path
) -> None:
    """The file exists; asking the provider again would change nothing."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"<html><script>alert(1)</script>")
    await keep(flowport, Output(1, OutputKind.FILE, "https://cdn.example/a", saved_path=str(path)))

    content = await resources.read(format_output_uri("run_kept", 1), READER)

    assert content.text.startswith(f"This output is of a kind that is not shown. It is saved as {path}.")


@pytest.mark.parametrize("mime_type", ["text/html", "image/svg+xml"])
async def test_files_that_can_carry_programs_are_not_returned(
    flowport: Harness, resources: Resources, tmp_path: Path, mime_type: str
) -> None:
    """A client that shows it would run an untrusted program."""
    path = tmp_path / "a.html"
    await anyio.Path(path).write_text("<script>alert(1)</script>")
    await keep(flowport, Output(1, OutputKind.FILE, None, mime_type=mime_type, saved_path=str(path)))

    content = await resources.read(format_output_uri("run_kept", 1), READER)

    assert (content.mime_type, content.text.startswith("This output is of a kind that is not shown.")) == (
        "text/plain",
        True,
    )


async def test_a_text_output_is_its_text(flowport: Harness, resources: Resources) -> None:
    """A text output is returned as text, because some apps write rather than draw."""
    await keep(flowport, Output(1, OutputKind.TEXT, None, text="A poem."))

    assert await resources.read(format_output_uri("run_kept", 1), READER) == Content("text/plain", "A poem.")


async def test_reading_an_output_marks_it_as_delivered(flowport: Harness, resources: Resources) -> None:
    """Otherwise it would be reported as undelivered in every later answer."""
    await keep(flowport, Output(1, OutputKind.TEXT, None, text="A poem."), state=RunState.SUCCEEDED)
    store, exchange = flowport.assembly.workspace.store, Exchange()
    await resources.read(format_output_uri("run_kept", 1), replace(READER, exchange=exchange))
    assert await store.count_undelivered(owner=LOCAL_OWNER) == 1

    exchange.note_written()
    await wait_until(lambda: not flowport.assembly.workspace.deliveries.pending_runs)
    assert await store.count_undelivered(owner=LOCAL_OWNER) == 0


async def test_a_message_in_place_of_an_output_is_not_a_delivery(flowport: Harness, resources: Resources) -> None:
    """An output that could not be fetched may be available next time."""
    await keep(flowport, Output(1, OutputKind.IMAGE, "https://127.0.0.1:9/a.png"), state=RunState.SUCCEEDED)
    exchange = Exchange()
    content = await resources.read(format_output_uri("run_kept", 1), replace(READER, exchange=exchange))
    assert "could not be fetched" in content.text
    assert exchange.listener is None


@pytest.mark.parametrize("uri", [format_run_uri("run_kept"), format_output_uri("run_kept", 1)])
async def test_another_owner_finds_nothing(flowport: Harness, resources: Resources, uri: str) -> None:
    """Results belong to the owner that requested them."""
    await keep(flowport, Output(1, OutputKind.TEXT, None, text="A poem."))

    with pytest.raises(ResourceNotFound):
        await resources.read(uri, replace(READER, owner="another owner"))


async def test_an_output_number_that_does_not_exist_is_not_found(flowport: Harness, resources: Resources) -> None:
    """Models count from zero, or too far."""
    await keep(flowport, Output(1, OutputKind.TEXT, None, text="A poem."))

    with pytest.raises(ResourceNotFound):
        await resources.read(format_output_uri("run_kept", 2), READER)


async def test_a_saved_output_is_returned_although_the_delivery_cannot_be_recorded(
    flowport: Harness, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk must not hide a saved result."""
    path = tmp_path / "kept.png"
    path.write_bytes(PNG)
    store = FaultyStore(tmp_path / "faulty.sqlite3")
    store.failing.add("record")
    output = Output(1, OutputKind.IMAGE, "https://cdn.example/a.png", saved_path=str(path))
    over = build_run("run_kept", RunState.SUCCEEDED)
    await store.accept(replace(over, owner=LOCAL_OWNER, outputs=(output,), delivered_at=None))
    workspace, exchange = flowport.assembly.workspace, Exchange()
    async with Supervisor() as supervisor:
        deliveries = Deliveries(store, workspace.clock, supervisor)
        workspace = replace(workspace, store=store, deliveries=deliveries)

        resources, reader = Resources(workspace, anyio.CapacityLimiter(2)), replace(READER, exchange=exchange)
        content = await resources.read(format_output_uri("run_kept", 1), reader)
        exchange.note_written()
        await wait_until(lambda: not deliveries.pending_runs)
    await store.close()

    assert content.data == PNG
    assert "that run run_kept was delivered could not be recorded" in caplog.text


async def expire(flowport: Harness, facts: dict[str, Any]) -> str:
    """Let the link of a run's only output expire at the provider, and return it."""
    run = await flowport.assembly.workspace.store.get_run(facts["run_id"], account_id=None, owner=LOCAL_OWNER)
    await flowport.sandbox.switch(f"runs/{run.provider_run_id}", expire_links=True)
    url: str = facts["outputs"][0]["url"]
    return url


@pytest.mark.parametrize("is_ours", [True, False], ids=["our-uri", "old-link"])
async def test_an_expired_link_is_served_by_a_fresh_one(
    flowport: Harness, resources: Resources, *, is_ours: bool
) -> None:
    """A client keeps this morning's link; the fresh one is stored for later readers."""
    facts = await flowport.ask("text_to_picture", prompt="a lake")
    old = await expire(flowport, facts)
    looks = await flowport.count("status")

    uri = facts["outputs"][0]["resource"] if is_ours else old
    contents = [await resources.read(uri, READER) for _ in range(2)]

    kept = await flowport.assembly.workspace.store.get_run(facts["run_id"], account_id=None, owner=LOCAL_OWNER)
    assert {content.mime_type for content in contents} == {"image/png"}
    assert kept.outputs[0].url not in {None, old}
    assert await flowport.count("status") == looks + 1


async def test_an_old_link_of_another_owner_finds_nothing(flowport: Harness, resources: Resources) -> None:
    """Without its token a link is only a name, so it must give other owners no access."""
    facts = await flowport.ask("text_to_picture", prompt="a lake")
    with pytest.raises(ResourceNotFound):
        await resources.read(await expire(flowport, facts), replace(READER, owner="another owner"))


async def test_an_output_that_the_provider_deleted_is_reported_as_gone(flowport: Harness, resources: Resources) -> None:
    """An empty picture would look like a fault of the client."""
    facts = await flowport.ask("text_to_picture", prompt="a lake")
    await flowport.sandbox.switch("reset")

    content = await resources.read(facts["outputs"][0]["resource"], READER)
    again = await flowport.ask("get_run", run_id=facts["run_id"])

    assert content.text == "This output is gone: its link has expired, and there is no fresh one."
    assert "It is gone" in again["outputs"][0]["save_problem"]


async def test_an_unavailable_provider_does_not_mean_a_deleted_result(flowport: Harness, resources: Resources) -> None:
    """It may be available again tomorrow."""
    facts = await flowport.ask("text_to_picture", prompt="a lake")
    await expire(flowport, facts)
    await flowport.sandbox.switch("faults", operation="status", fault="status", status=500)

    content = await resources.read(facts["outputs"][0]["resource"], READER)

    assert "its link has expired. " in content.text
    assert "gone" not in content.text


async def test_a_failing_fresh_link_is_reported(
    flowport: Harness, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason and the link in the message are those of the fresh link."""
    facts = await flowport.ask("text_to_picture", prompt="a lake")
    old = await expire(flowport, facts)
    account = flowport.assembly.workspace.catalogs[0].account
    monkeypatch.setattr(account, "fetch_file_origins", get_origins)
    output = Output(1, OutputKind.IMAGE, old, expires_at=1.0)
    run = await flowport.assembly.workspace.store.get_run(facts["run_id"], account_id=None, owner=LOCAL_OWNER)
    await flowport.assembly.workspace.store.record(
        run.id, OutputSaved(replace(run.outputs[0], expires_at=output.expires_at))
    )

    content = await resources.read(facts["outputs"][0]["resource"], READER)

    assert "could not be fetched: its address is not an https one" in content.text
    assert old not in content.text


async def test_an_output_with_an_unavailable_server_is_reported_with_its_link(
    flowport: Harness, resources: Resources
) -> None:
    """The link may work in a minute, so the run is not polled for another one."""
    await keep(flowport, Output(1, OutputKind.IMAGE, "https://127.0.0.1/a.png"))

    content = await resources.read(format_output_uri("run_kept", 1), READER)

    assert "could not be fetched" in content.text
    assert "Its link is https://127.0.0.1/a.png" in content.text


async def test_a_link_to_a_file_without_media_is_not_returned(
    flowport: Harness, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page under a picture's name could carry an untrusted program."""
    async with serving(build_reply(b"<!doctype html>")) as server:
        account = flowport.assembly.workspace.catalogs[0].account
        monkeypatch.setattr(account, "fetch_file_origins", partial(get_origins, server.origin))
        await keep(flowport, Output(1, OutputKind.IMAGE, f"{server.origin}/a.png"), account_id=account.account.id)
        content = await resources.read(format_output_uri("run_kept", 1), READER)

    assert content.text.startswith("This output is of a kind that is not shown.")


async def test_a_run_with_very_many_outputs_is_read_in_pages(flowport: Harness, resources: Resources) -> None:
    """All outputs can be found, and no page is too long for a client."""
    url = "https://cdn.example/" + "s" * 2000
    outputs = tuple(Output(n, OutputKind.IMAGE, url, text="x" * 5000) for n in range(1, 201))
    run: Run = replace(build_run("run_kept"), owner=LOCAL_OWNER, outputs=outputs)
    await flowport.assembly.workspace.store.accept(run)
    uri, found = format_run_uri("run_kept"), list[int]()
    sizes: list[int] = []

    while uri:
        content = await resources.read(uri, READER)
        facts = json.loads(content.text)
        found += [output["n"] for output in facts["outputs"]]
        assert facts.get("outputs_not_shown", 0) == 200 - found[-1]
        uri, sizes = facts.get("next_page", ""), [*sizes, len(content.text.encode())]

    assert found == list(range(1, 201))
    assert max(sizes) < MAX_PAGE_BYTES + 20_000


@pytest.mark.parametrize("start", ["2", "0", "x", "1&from=1"])
async def test_a_page_that_does_not_exist_is_not_found(flowport: Harness, resources: Resources, start: str) -> None:
    """An empty page would look like a run without outputs."""
    await keep(flowport, Output(1, OutputKind.TEXT, None, text="A poem."))

    with pytest.raises(ResourceNotFound):
        await resources.read(f"{format_run_uri('run_kept')}?from={start}", READER)
