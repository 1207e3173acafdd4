"""What a URI gives, beyond what a client sees on a good day."""

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
    """Stand for an account whose files may be fetched from these origins."""
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
    """Give a test what reads resources."""
    return Resources(flowport.assembly.workspace, anyio.CapacityLimiter(2))


async def keep(flowport: Harness, output: Output, **changes: Any) -> Run:
    """Lay a run with one output into the store."""
    run: Run = replace(build_run("run_kept"), owner=LOCAL_OWNER, outputs=(output,), delivered_at=None, **changes)
    await flowport.assembly.workspace.store.accept(run)
    return run


async def test_an_output_that_was_not_saved_is_fetched(flowport: Harness, resources: Resources) -> None:
    """A link in an answer must be readable whether or not the person wants files."""
    facts = await flowport.ask("text_to_picture", prompt="a lake")

    content = await resources.read(facts["outputs"][0]["resource"], READER)

    assert content.mime_type == "image/png"
    assert (content.data or b"").startswith(b"\x89PNG")


async def test_a_saved_copy_is_served_when_the_link_is_dead(
    flowport: Harness, resources: Resources, tmp_path: Path
) -> None:
    """That is what saving is for."""
    path = tmp_path / "a.png"
    await anyio.Path(path).write_bytes(PNG)
    await keep(flowport, Output(1, OutputKind.IMAGE, "https://127.0.0.1/gone.png", saved_path=str(path)))

    assert await resources.read("https://127.0.0.1/gone.png", READER) == Content("image/png", data=PNG)


async def test_a_file_that_came_inside_an_answer_is_read(flowport: Harness, resources: Resources) -> None:
    """It lies nowhere else until it is saved, and its data stands in no answer."""
    data = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    await keep(flowport, Output(1, OutputKind.IMAGE, data, text="a cup"), finished_at=1.0)

    assert await resources.read(format_output_uri("run_kept", 1), READER) == Content("image/png", data=PNG)
    for answer in (await flowport.ask("get_run", run_id="run_kept"), await flowport.ask("list_runs")):
        assert "base64" not in json.dumps(answer)
        assert format_output_uri("run_kept", 1) in json.dumps(answer)


async def test_a_broken_file_inside_an_answer_is_told_without_its_data(flowport: Harness, resources: Resources) -> None:
    """Megabytes of letters help no one."""
    await keep(flowport, Output(1, OutputKind.IMAGE, "data:image/png;base64,A"))

    content = await resources.read(format_output_uri("run_kept", 1), READER)

    told = "This output could not be fetched: its data stood in the provider's answer, and is broken or too large."
    assert content == Content("text/plain", told)


async def test_an_output_that_is_nowhere_is_told_with_its_link(flowport: Harness, resources: Resources) -> None:
    """An empty answer would look like an empty picture."""
    await keep(flowport, Output(1, OutputKind.IMAGE, "https://127.0.0.1/a.png", expires_at=0.0, saved_path="/nowhere"))

    content = await resources.read(format_output_uri("run_kept", 1), READER)

    assert content.data is None
    assert "could not be fetched" in content.text
    assert "https://127.0.0.1/a.png, until 1970-01-01T00:00:00Z" in content.text


@pytest.mark.parametrize("head", [MP4, PNG], ids=["a video", "a picture that cannot be decoded"])
async def test_a_file_too_large_to_hand_over_is_told_with_its_path(
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
    """Return a picture that is too large to be handed over as it is."""
    buffer = io.BytesIO()
    Image.effect_noise((3000, 3000), 100).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


async def test_a_larger_picture_is_handed_over_smaller_and_that_is_said(
    flowport: Harness, resources: Resources, tmp_path: Path
) -> None:
    """Somebody who wants to see it can, and somebody who wants all of it learns where it is."""
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


async def test_a_larger_picture_that_was_not_saved_is_fetched_and_made_smaller(
    flowport: Harness, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link in an answer must show something, whether or not the person wants files."""
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


async def test_a_saved_file_of_an_unknown_kind_is_told_with_its_path(
    flowport: Harness, resources: Resources, tmp_path: Path
) -> None:
    """It lies there; asking the provider for it again would change nothing."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"<html><script>alert(1)</script>")
    await keep(flowport, Output(1, OutputKind.FILE, "https://cdn.example/a", saved_path=str(path)))

    content = await resources.read(format_output_uri("run_kept", 1), READER)

    assert content.text.startswith(f"This output is of a kind that is not shown. It is saved as {path}.")


@pytest.mark.parametrize("mime_type", ["text/html", "image/svg+xml"])
async def test_what_carries_programs_is_not_handed_over(
    flowport: Harness, resources: Resources, tmp_path: Path, mime_type: str
) -> None:
    """A client that shows it would run a stranger's program."""
    path = tmp_path / "a.html"
    await anyio.Path(path).write_text("<script>alert(1)</script>")
    await keep(flowport, Output(1, OutputKind.FILE, None, mime_type=mime_type, saved_path=str(path)))

    content = await resources.read(format_output_uri("run_kept", 1), READER)

    assert (content.mime_type, content.text.startswith("This output is of a kind that is not shown.")) == (
        "text/plain",
        True,
    )


async def test_a_text_output_is_its_text(flowport: Harness, resources: Resources) -> None:
    """Some apps write rather than draw."""
    await keep(flowport, Output(1, OutputKind.TEXT, None, text="A poem."))

    assert await resources.read(format_output_uri("run_kept", 1), READER) == Content("text/plain", "A poem.")


async def test_reading_an_output_counts_as_seeing_it(flowport: Harness, resources: Resources) -> None:
    """Otherwise it would be announced for ever."""
    await keep(flowport, Output(1, OutputKind.TEXT, None, text="A poem."), state=RunState.SUCCEEDED)
    store, exchange = flowport.assembly.workspace.store, Exchange()
    await resources.read(format_output_uri("run_kept", 1), replace(READER, exchange=exchange))
    assert await store.count_unseen(owner=LOCAL_OWNER) == 1

    exchange.note_written()
    await wait_until(lambda: not flowport.assembly.workspace.deliveries.pending_runs)
    assert await store.count_unseen(owner=LOCAL_OWNER) == 0


async def test_a_sentence_in_the_place_of_an_output_is_no_delivery(flowport: Harness, resources: Resources) -> None:
    """What could not be fetched may be there the next time."""
    await keep(flowport, Output(1, OutputKind.IMAGE, "https://127.0.0.1:9/a.png"), state=RunState.SUCCEEDED)
    exchange = Exchange()
    content = await resources.read(format_output_uri("run_kept", 1), replace(READER, exchange=exchange))
    assert "could not be fetched" in content.text
    assert exchange.listener is None


@pytest.mark.parametrize("uri", [format_run_uri("run_kept"), format_output_uri("run_kept", 1)])
async def test_another_owner_finds_nothing(flowport: Harness, resources: Resources, uri: str) -> None:
    """Results belong to whoever asked for them."""
    await keep(flowport, Output(1, OutputKind.TEXT, None, text="A poem."))

    with pytest.raises(ResourceNotFound):
        await resources.read(uri, replace(READER, owner="somebody else"))


async def test_an_output_number_that_does_not_exist_is_not_found(flowport: Harness, resources: Resources) -> None:
    """Models count from zero, or too far."""
    await keep(flowport, Output(1, OutputKind.TEXT, None, text="A poem."))

    with pytest.raises(ResourceNotFound):
        await resources.read(format_output_uri("run_kept", 2), READER)


async def test_bytes_in_hand_are_delivered_although_that_cannot_be_noted(
    flowport: Harness, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk must not hide a result that lies there."""
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
    """A client keeps the link of this morning; the fresh one is written down for all who come later."""
    facts = await flowport.ask("text_to_picture", prompt="a lake")
    old = await expire(flowport, facts)
    looks = await flowport.count("status")

    uri = facts["outputs"][0]["resource"] if is_ours else old
    contents = [await resources.read(uri, READER) for _ in range(2)]

    kept = await flowport.assembly.workspace.store.get_run(facts["run_id"], account_id=None, owner=LOCAL_OWNER)
    assert {content.mime_type for content in contents} == {"image/png"}
    assert kept.outputs[0].url not in {None, old}
    assert await flowport.count("status") == looks + 1


async def test_an_old_link_of_somebody_else_finds_nothing(flowport: Harness, resources: Resources) -> None:
    """Without its token a link is only a name, so it is worth nothing to others."""
    facts = await flowport.ask("text_to_picture", prompt="a lake")
    with pytest.raises(ResourceNotFound):
        await resources.read(await expire(flowport, facts), replace(READER, owner="somebody else"))


async def test_what_the_provider_no_longer_has_is_gone(flowport: Harness, resources: Resources) -> None:
    """An empty picture would look like a fault of the client's."""
    facts = await flowport.ask("text_to_picture", prompt="a lake")
    await flowport.sandbox.switch("reset")

    content = await resources.read(facts["outputs"][0]["resource"], READER)
    again = await flowport.ask("get_run", run_id=facts["run_id"])

    assert content.text == "This output is gone: its link has expired, and there is no fresh one."
    assert "It is gone" in again["outputs"][0]["save_problem"]


async def test_a_provider_that_cannot_say_is_no_proof_that_a_result_is_gone(
    flowport: Harness, resources: Resources
) -> None:
    """Tomorrow it may be had again."""
    facts = await flowport.ask("text_to_picture", prompt="a lake")
    await expire(flowport, facts)
    await flowport.sandbox.switch("faults", operation="status", fault="status", status=500)

    content = await resources.read(facts["outputs"][0]["resource"], READER)

    assert "its link has expired. " in content.text
    assert "gone" not in content.text


async def test_a_fresh_link_that_fails_is_told(
    flowport: Harness, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason is that of the fresh one, and so is the link."""
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


async def test_an_output_whose_server_is_down_is_told_with_its_link(flowport: Harness, resources: Resources) -> None:
    """It may work in a minute, so the run is not read again for another link."""
    await keep(flowport, Output(1, OutputKind.IMAGE, "https://127.0.0.1/a.png"))

    content = await resources.read(format_output_uri("run_kept", 1), READER)

    assert "could not be fetched" in content.text
    assert "Its link is https://127.0.0.1/a.png" in content.text


async def test_a_link_to_what_is_no_media_is_not_handed_over(
    flowport: Harness, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page under a picture's name could carry a stranger's program."""
    async with serving(build_reply(b"<!doctype html>")) as server:
        account = flowport.assembly.workspace.catalogs[0].account
        monkeypatch.setattr(account, "fetch_file_origins", partial(get_origins, server.origin))
        await keep(flowport, Output(1, OutputKind.IMAGE, f"{server.origin}/a.png"), account_id=account.account.id)
        content = await resources.read(format_output_uri("run_kept", 1), READER)

    assert content.text.startswith("This output is of a kind that is not shown.")


async def test_a_run_with_very_many_outputs_is_read_in_pages(flowport: Harness, resources: Resources) -> None:
    """All of them can be found, and no page floods a client."""
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
