"""Which earlier result an argument means, and which owners may use it."""

from dataclasses import replace
from typing import Any

import pytest

from flowport.domain.errors import ArgumentsInvalid
from flowport.domain.models import InputKind, Output, OutputKind, Run, RunState
from flowport.domain.run_events import Delivered
from flowport.runs.delivery import MAX_CONNECTIONS, MAX_DELIVERED, DeliveredRuns
from flowport.runs.references import OutputFinder, OutputMedia
from flowport.runs.submit import RunRequest
from tests.runs.samples import NOW, RUN
from tests.support.scripted import FaultyStore

PICTURE = Output(1, OutputKind.IMAGE, "https://cdn.example/1.png?token=t")
CLIP = Output(2, OutputKind.VIDEO, "https://cdn.example/2.mp4?token=t")
WORDS = Output(3, OutputKind.TEXT, None, text="hello")
CALLER = RunRequest("local", "one")


def build_run(name: str, *outputs: Output, **changes: Any) -> Run:
    """Return a run that is over."""
    values = {"id": f"run_{name}", "state": RunState.SUCCEEDED, "outputs": outputs, **changes}
    return replace(RUN, **values)


MIXED = build_run("mixed", PICTURE, CLIP, WORDS)


async def find(
    store: FaultyStore,
    value: str,
    *,
    kind: InputKind = InputKind.IMAGE,
    call: RunRequest = CALLER,
    seen: DeliveredRuns | None = None,
) -> OutputMedia | None:
    """Find the result that an argument called photo means."""
    return await OutputFinder(store, seen or DeliveredRuns()).find(value, argument="photo", kind=kind, call=call)


async def refuse(store: FaultyStore, value: str, **options: Any) -> str:
    """Return the one problem of a refused argument."""
    with pytest.raises(ArgumentsInvalid) as caught:
        await find(store, value, **options)
    (problem,) = caught.value.problems
    assert problem.argument == "photo"
    return str(problem)


@pytest.mark.parametrize(
    ("value", "kind", "output"),
    [
        ("run:run_mixed", InputKind.IMAGE, PICTURE),
        ("run:run_mixed", InputKind.VIDEO, CLIP),
        ("run:run_mixed", InputKind.MEDIA, PICTURE),
        ("run:mixed#2", InputKind.VIDEO, CLIP),
        ("run_mixed2", InputKind.IMAGE, None),
        ("flowport://runs/run_mixed/outputs/2", InputKind.MEDIA, CLIP),
        ("https://cdn.example/1.png?token=t", InputKind.IMAGE, PICTURE),
        (" https://cdn.example/2.mp4?token=t ", InputKind.VIDEO, CLIP),
        ("https://cdn.example/1.png?token=old", InputKind.IMAGE, PICTURE),
    ],
)
async def test_a_result_is_found_by_its_name(
    store: FaultyStore, value: str, kind: InputKind, output: Output | None
) -> None:
    """Without a number it is the first output of the right kind."""
    await store.accept(MIXED)
    await store.accept(build_run("mixed2", replace(CLIP, url="https://cdn.example/other.mp4")))
    if output is None:
        assert "this result is a video" in await refuse(store, value, kind=kind)
    else:
        assert await find(store, value, kind=kind) == OutputMedia(MIXED, output)


@pytest.mark.parametrize(
    "value", ["/tmp/a.png", "https://cdn.example/other.png", "https://[bad/", "image.png", "", "data:,x"]
)
async def test_other_values_are_not_results(store: FaultyStore, value: str) -> None:
    """They are treated as files."""
    await store.accept(MIXED)
    assert await find(store, value) is None


@pytest.mark.parametrize(
    ("value", "kind", "problem"),
    [
        ("run:run_mixed#2", InputKind.IMAGE, "photo takes an image, and this result is a video. Give an image."),
        ("run:run_mixed#3", InputKind.MEDIA, "photo takes an image, a video or a sound, and this result is a text"),
        ("run:run_mixed", InputKind.AUDIO, "photo takes a sound, and this result is an image"),
        ("run:run_mixed#9", InputKind.IMAGE, "photo names output 9 of run_mixed, which has 3. Give #1 to #3."),
        ("run:run_none", InputKind.IMAGE, "photo names a run that is not there (run_none)"),
        ("run:run_theirs", InputKind.IMAGE, "photo names a run that is not there (run_theirs)"),
        ("run:run_going", InputKind.IMAGE, "photo names run_going, which is not finished. get_run with run_id"),
        ("run:run_failed#1", InputKind.IMAGE, "photo names run_failed, which made nothing (failed)"),
        ("last#0", InputKind.IMAGE, "photo does not name a result of a run as Flowport does. Write run:ID#1"),
        ("flowport://apps/sketch", InputKind.IMAGE, "photo does not name a result"),
        ("run:../../etc", InputKind.IMAGE, "photo does not name a result"),
        ("last", InputKind.IMAGE, 'photo is "last", and no result has been seen yet'),
        ("https://cdn.example/2.mp4?token=t", InputKind.IMAGE, "photo takes an image, and this result is a video"),
    ],
)
async def test_an_unusable_result_is_refused_before_anything_is_spent(
    store: FaultyStore, value: str, kind: InputKind, problem: str
) -> None:
    """Another owner's run is reported like one that does not exist."""
    await store.accept(MIXED)
    await store.accept(build_run("theirs", PICTURE, owner="another owner"))
    await store.accept(build_run("going", state=RunState.RUNNING))
    await store.accept(build_run("failed", state=RunState.FAILED))
    await store.record("run_theirs", Delivered(NOW))
    assert (await refuse(store, value, kind=kind)).startswith(problem)


async def test_the_link_of_another_owner_s_result_is_not_resolved(store: FaultyStore) -> None:
    """It is then a link like any other, and reveals nothing."""
    await store.accept(build_run("theirs", PICTURE, owner="another owner"))
    assert await find(store, PICTURE.url or "") is None


async def test_last_is_the_last_delivery_over_this_connection(store: FaultyStore) -> None:
    """Otherwise the owner's last delivery; erased runs and runs without outputs are skipped."""
    seen = DeliveredRuns()
    for n, name in enumerate(("one", "two", "three")):
        await store.accept(build_run(name, PICTURE))
        await store.record(f"run_{name}", Delivered(NOW + n))
    other = RunRequest("local", "other")

    async def get_last(call: RunRequest = CALLER) -> str:
        """Return the run that `last` means."""
        found = await find(store, "last", call=call, seen=seen)
        assert found is not None
        return found.run.id

    assert await get_last() == "run_three"
    seen.note("run_two", owner="local", connection="one")
    seen.note("run_one", owner="local", connection="one")
    assert (await get_last(), await get_last(other)) == ("run_one", "run_three")
    await store.erase_run("run_one", owner="local")
    assert await get_last() == "run_two"
    await store.accept(build_run("empty", state=RunState.FAILED))
    seen.note("run_empty", owner="local", connection="one")
    seen.note("run_three", owner="another owner", connection="one")
    assert await get_last() == "run_two"
    await store.erase_run("run_two", owner="local")
    assert await get_last() == "run_three"


def test_the_memory_of_connections_is_limited() -> None:
    """Over HTTP clients connect and disconnect for weeks."""
    seen = DeliveredRuns()
    for n in range(MAX_DELIVERED + 5):
        seen.note(f"run_{n}", owner="local", connection="c0")
    seen.note("run_9", owner="local", connection="c0")
    assert seen.get(owner="local", connection="c0")[:2] == ("run_9", f"run_{MAX_DELIVERED + 4}")
    assert len(seen.get(owner="local", connection="c0")) == MAX_DELIVERED
    for n in range(1, MAX_CONNECTIONS + 1):
        seen.note("run_1", owner="local", connection=f"c{n}")
    assert seen.get(owner="local", connection="c0") == ()
    assert seen.get(owner="local", connection="c1") == ("run_1",)
