"""What a call becomes before anything is accepted or spent."""

import base64
import hashlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from flowport.catalog.listing import Listing
from flowport.domain.errors import AppUnsupported, ArgumentsInvalid
from flowport.domain.models import Input, InputKind
from flowport.media.formats import FORMATS
from flowport.media.input_files import FileMedia, MediaRules, UrlMedia
from flowport.media.sources import DiskSource, Fingerprint
from flowport.runs.delivery import DeliveredRuns
from flowport.runs.prepare import CallPreparer, MediaInput, PreparedCall
from flowport.runs.references import CreationMedia, OutputFinder
from flowport.runs.submit import RunRequest
from flowport.store.sqlite.store import open_sqlite_store
from tests.fakes.client import build_photo, write
from tests.runs.samples import APP, PROMPT
from tests.support.fake_clock import FakeClock
from tests.support.scripted import ACCOUNT, ScriptedAccount, in_turn

PHOTO = Input("in-2", "photo_key", InputKind.IMAGE, "Photo", is_required=True)
PHOTOS = Input("in-3", "photos_key", InputKind.IMAGE, "Photos", is_required=False, is_list=True)
COUNT = Input("in-4", "count_key", InputKind.NUMBER, "Count", is_required=False, default=2)
LISTING = Listing(
    replace(APP, name="Sketch\u200b to\nRealism", inputs=(PROMPT, PHOTO, PHOTOS, COUNT)),
    "sketch",
    {"in-1": "prompt", "in-2": "photo", "in-3": "photos", "in-4": "count"},
)
PNG = write(build_photo())
CALLER = RunRequest("local", "stdio")
URL = "https://cdn.example/a.png?token=t"


async def prepare(folder: Path, listing: Listing = LISTING, **arguments: Any) -> PreparedCall:
    """Prepare a call that may read files of a folder; sending anything is an error."""
    account = ScriptedAccount(in_turn(), FakeClock())
    account.origins = frozenset({"http://127.0.0.1:4567"})
    async with open_finder(folder) as finder:
        preparer = CallPreparer(MediaRules((folder,)), anyio.CapacityLimiter(2), finder)
        return await preparer.prepare(account, listing, arguments, CALLER)


@asynccontextmanager
async def open_finder(folder: Path) -> AsyncIterator[OutputFinder]:
    """Open a store to find results in; it has none."""
    store = open_sqlite_store(folder / "store.sqlite3")
    yield OutputFinder(store, DeliveredRuns())
    await store.close()


def write_file(folder: Path, name: str, data: bytes = PNG) -> str:
    """Write a file and return its path."""
    path = folder / name
    path.write_bytes(data)
    return str(path)


async def test_files_are_checked_and_urls_stay(tmp_path: Path) -> None:
    """The complete prepared call, from which the run is made."""
    path = write_file(tmp_path, "cat.png")
    call = await prepare(tmp_path, prompt="a lake", photo=path, photos=[URL, path])
    fingerprint = Fingerprint(hashlib.sha256(PNG).hexdigest(), len(PNG))
    file = FileMedia(DiskSource(Path(path), (tmp_path,)), FORMATS["png"], fingerprint)

    assert call == PreparedCall(
        app=LISTING.app,
        app_name="Sketch to Realism",
        tool_name="sketch",
        account_id=ACCOUNT.id,
        inputs={"prompt": "a lake", "count_key": 2},
        arguments_json=json.dumps({"prompt": "a lake", "photo": path, "photos": [URL, path], "count": 2}),
        raw_digest=call.raw_digest,
        canonical_digest=call.canonical_digest,
        media=(
            MediaInput("photo_key", "photo", InputKind.IMAGE, is_list=False, media=(file,)),
            MediaInput("photos_key", "photos", InputKind.IMAGE, is_list=True, media=(UrlMedia(URL), file)),
        ),
    )


async def test_an_object_is_kept_clean_and_short(tmp_path: Path) -> None:
    """A default object stays with the provider, which has it; the store keeps a shortened copy of a long value."""
    item = Input("in-1", "extra", InputKind.ANY, "Extra", is_required=False, default={"a\u200b": ["x\n" * 9, 1, None]})
    listing = replace(LISTING, app=replace(APP, inputs=(item,)), property_names={"in-1": "extra"})
    clean, long = await prepare(tmp_path, listing), await prepare(tmp_path, listing, extra=[["x" * 300]] * 30)

    assert json.loads(clean.arguments_json) == {}
    assert clean.inputs == {}
    assert json.loads(long.arguments_json) == {"extra": f'[["{"x" * 296}…'}


async def test_equal_files_at_different_paths_are_one_call(tmp_path: Path) -> None:
    """A client that writes its upload to a new path each time still repeats one call."""
    one, two = [await prepare(tmp_path, prompt="p", photo=write_file(tmp_path, name)) for name in ("a.png", "b.png")]
    uri = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    inline = await prepare(tmp_path, prompt="p", photo=uri)

    assert one.canonical_digest == two.canonical_digest == inline.canonical_digest
    assert len({one.raw_digest, two.raw_digest, inline.raw_digest}) == 3


async def test_a_changed_file_at_the_same_path_is_another_call(tmp_path: Path) -> None:
    """People overwrite their sketches."""
    before = await prepare(tmp_path, prompt="p", photo=write_file(tmp_path, "a.png"))
    after = await prepare(tmp_path, prompt="p", photo=write_file(tmp_path, "a.png", write(build_photo(40, 40))))
    assert before.raw_digest == after.raw_digest
    assert before.canonical_digest != after.canonical_digest


async def test_the_order_of_several_files_counts(tmp_path: Path) -> None:
    """First and last frame are different inputs."""
    other = write_file(tmp_path, "b.png", write(build_photo(40, 40)))
    photo = write_file(tmp_path, "a.png")
    one, two = [
        await prepare(tmp_path, prompt="p", photo=URL, photos=photos) for photos in ([photo, other], [other, photo])
    ]
    assert one.canonical_digest != two.canonical_digest


@pytest.mark.parametrize(
    "beginning",
    ["data:image/png;base64,", "  DATA:image/png;base64,", "Data:image/png;name=a b.png;base64,", "data:;base64,"],
)
async def test_inline_files_are_not_stored(tmp_path: Path, beginning: str) -> None:
    """The store must not hold pictures, however a client encodes them."""
    uri = beginning + base64.b64encode(write(build_photo(1, 1))).decode()
    call = await prepare(tmp_path, prompt="p", photo=uri, photos=[uri])
    shown = json.loads(call.arguments_json)

    expected = f"{beginning.strip()[:-1]},… ({len(uri)} characters)"
    assert (shown["photo"], shown["photos"]) == (expected, [expected])


async def test_a_long_text_is_stored_in_part_and_sent_completely(tmp_path: Path) -> None:
    """A list of runs needs only the beginning of a prompt of several pages."""
    call = await prepare(tmp_path, prompt="x" * 5000, photo=URL)
    assert json.loads(call.arguments_json)["prompt"] == "x" * 299 + "…"
    assert call.inputs["prompt"] == "x" * 5000


async def test_a_text_that_only_looks_like_a_data_uri_is_stored(tmp_path: Path) -> None:
    """People write prompts about data URIs, and want to read them again."""
    call = await prepare(tmp_path, prompt="data: a history, in pictures", photo=URL)
    assert json.loads(call.arguments_json)["prompt"] == "data: a history, in pictures"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"photo": URL}, "prompt is missing"),
        ({"prompt": "p", "photo": "cat.png"}, "photo is"),
        ({"prompt": "p", "photo": "/etc/passwd"}, "photo"),
        ({"prompt": "p", "photo": "http://127.0.0.1:4568/a.png"}, "photo is an address without encryption"),
        ({"prompt": "p", "photo": URL, "photos": [URL, "cat.png"]}, "photos is"),
        ({"prompt": "p", "photo": URL, "photo_": URL}, "photo was given 2 times, as photo and photo_"),
        ({"prompt": "p", "photo": URL, "phto": URL}, "phto is not an argument"),
    ],
)
async def test_invalid_arguments_are_refused_here(tmp_path: Path, arguments: dict[str, Any], problem: str) -> None:
    """A refusal is free now, but not after the run was accepted."""
    with pytest.raises(ArgumentsInvalid) as refused:
        await prepare(tmp_path, **arguments)
    assert str(refused.value).startswith(f"Nothing was started. {problem}")


async def test_a_trusted_origin_may_be_http(tmp_path: Path) -> None:
    """The sandbox's own results are inputs of its other apps."""
    url = "http://127.0.0.1:4567/files/a.png"
    assert (await prepare(tmp_path, prompt="p", photo=url)).media[0].media == (UrlMedia(url),)


async def test_a_file_above_the_limit_of_the_provider_is_refused(tmp_path: Path) -> None:
    """Hundreds of megabytes are sent by mistake, and no picture has that size."""
    path = write_file(tmp_path, "large.png")
    os.truncate(path, 100_000_001)
    with pytest.raises(ArgumentsInvalid, match="photo"):
        await prepare(tmp_path, prompt="p", photo=path)


async def test_an_app_without_a_usable_title_has_the_name_of_its_tool(tmp_path: Path) -> None:
    """A list of runs must show a readable name."""
    listing = Listing(replace(APP, name="\u200b"), "app_1a2b3c4d")
    assert (await prepare(tmp_path, listing)).app_name == "app_1a2b3c4d"


async def test_an_app_whose_definition_was_not_read_is_not_prepared(tmp_path: Path) -> None:
    """Without a definition nothing can be checked."""
    with pytest.raises(AppUnsupported):
        await prepare(tmp_path, Listing(replace(APP, inputs=None), "sketch"))


async def test_a_call_without_arguments_is_an_empty_one(tmp_path: Path) -> None:
    """Clients omit the arguments when there are none."""
    account = ScriptedAccount(in_turn(), FakeClock())
    async with open_finder(tmp_path) as finder:
        preparer = CallPreparer(MediaRules(()), anyio.CapacityLimiter(1), finder)
        bare = await preparer.prepare(account, Listing(APP, "sketch"), None, CALLER)
        assert (bare.inputs, bare.arguments_json) == ({}, "{}")
        assert bare == await preparer.prepare(account, Listing(APP, "sketch"), {}, CALLER)


async def test_the_inline_data_of_a_call_has_a_total_limit(tmp_path: Path) -> None:
    """Sixty-four inputs of ten megabytes would exhaust the machine's memory; files on the disk would not."""
    large = PNG + bytes(9_000_000)
    path, uri = (
        write_file(tmp_path, "large.png", large),
        f"data:,{base64.b64encode(large).decode()}".replace(",", ";base64,", 1),
    )

    assert len((await prepare(tmp_path, prompt="x", photo=path, photos=[path] * 5)).media) == 2
    assert len((await prepare(tmp_path, prompt="x", photo=uri, photos=[uri, uri])).media) == 2
    with pytest.raises(ArgumentsInvalid, match="photos brings the data of this call to more than 30 MB"):
        await prepare(tmp_path, prompt="x", photo=uri, photos=[uri] * 3)


async def test_plain_base64_is_not_stored(tmp_path: Path) -> None:
    """It is a picture without the prefix of a data URI."""
    text = base64.b64encode(PNG).decode()
    call = await prepare(tmp_path, prompt="p", photo=text)
    assert json.loads(call.arguments_json)["photo"] == f"base64… ({len(text)} characters)"


async def test_an_id_of_the_provider_is_sent_unchanged(tmp_path: Path) -> None:
    """The provider has the file; nothing is read here."""
    call = await prepare(tmp_path, prompt="p", photo=" uqzQLDr2Aw ")
    assert call.media[0].media == (CreationMedia("uqzQLDr2Aw"),)
    assert call.canonical_digest != (await prepare(tmp_path, prompt="p", photo="vCrK3Aa47y")).canonical_digest
