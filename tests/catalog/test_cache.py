"""The copy of a catalogue on disk."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings

from flowport.catalog.listing import Catalogue, Listing
from flowport.catalog.snapshots import (
    _format_listing,
    _parse_listing,
    build_cache_path,
    load_catalogue,
    rename_for_host,
    save_catalogue,
)
from flowport.domain.models import Account, App, Input, InputKind, Option, Source
from flowport.providers.interface import LeftOut
from tests.catalog.samples import build_listing
from tests.support.app_builders import APPS

FULL = Catalogue(
    listings=(
        Listing(
            App(
                provider="magnific",
                id="aB3",
                name="Café\u202e",
                is_own=True,
                price_credits=2.5,
                inputs=(
                    Input("in-1", "photo", InputKind.IMAGE, "Photo", is_required=True, is_list=True, name="old"),
                    Input(
                        "in-2",
                        "size",
                        InputKind.SELECT,
                        "Size",
                        is_required=False,
                        default=2,
                        options=(Option(2, "two"), Option("4", "4"), Option(value=True, label="yes")),
                    ),
                    Input(
                        "in-3",
                        "n",
                        InputKind.NUMBER,
                        "",
                        is_required=False,
                        minimum=0.0,
                        maximum=1.5,
                        description="How many",
                        placeholder="e.g. 1",
                    ),
                ),
                read_at=100.5,
            ),
            "cafe",
            {"in-1": "photo", "in-2": "size", "in-3": "n"},
            {"name": "cafe", "inputSchema": {"type": "object", "properties": {}}},
        ),
        build_listing("unread"),
        build_listing("odd", left_out="it has too many inputs"),
    ),
    left_out=(LeftOut("", "", "the provider's list names it without a usable id"),),
    listed_at=200.5,
    style="apps",
    source=Source.OWN,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a catalogue goes; its folder does not exist yet."""
    return tmp_path / "home" / "catalogue" / "one.json"


@pytest.mark.parametrize("catalogue", [FULL, Catalogue()], ids=["full", "empty"])
def test_what_was_saved_is_loaded_as_it_was(path: Path, catalogue: Catalogue) -> None:
    """The next start lists its tools from it, with the provider down."""
    save_catalogue(path, catalogue)
    assert load_catalogue(path) == catalogue
    assert [item.name for item in path.parent.iterdir()] == ["one.json"]


@given(app=APPS)
@settings(max_examples=100)
def test_every_app_comes_back_from_json_as_it_was(app: App) -> None:
    """Names and defaults are untrusted text; NaN alone is not equal to itself."""
    listing = Listing(app, "tool")
    parsed = _parse_listing(json.loads(json.dumps(_format_listing(listing))))
    assert repr(parsed) == repr(listing)


def test_a_later_catalogue_replaces_the_earlier(path: Path) -> None:
    """There is one file, whole at every moment."""
    save_catalogue(path, FULL)
    save_catalogue(path, Catalogue(listed_at=300.0))
    assert load_catalogue(path) == Catalogue(listed_at=300.0)


def test_a_catalogue_that_cannot_be_put_in_place_leaves_nothing_behind(path: Path) -> None:
    """A disk that stays full must not fill further with every try."""
    (path / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        save_catalogue(path, FULL)
    assert [item.name for item in path.parent.iterdir()] == ["one.json"]


def test_a_catalogue_is_on_the_disk_before_it_has_its_name(path: Path) -> None:
    """A power cut between the two would leave an empty file in the place of the last good one."""
    events: list[str] = []

    def watch(frame: FrameType, event: str, function: Any) -> None:
        """Note the calls into the system."""
        if event == "c_call" and any(function is one for one in (os.fsync, os.replace, os.rename)):
            events.append(function.__name__)

    sys.setprofile(watch)
    try:
        save_catalogue(path, FULL)
    finally:
        sys.setprofile(None)
    assert events in (["fsync", "replace"], ["fsync", "rename"])


def test_without_a_file_there_is_no_catalogue_and_no_complaint(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """That is simply the first start."""
    assert load_catalogue(path) is None
    assert caplog.records == []


def change(**fields: Any) -> bytes:
    """Return a file like that of a catalogue, with some things other than they should be."""
    listing = {**_format_listing(build_listing("aB3")), **fields}
    return json.dumps({"format": 2, "listed_at": None, "listings": [listing], "left_out": []}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"[]",
        b"7",
        b"null",
        b"[" * 200_000,
        b'{"format": 2}',
        b'{"format": 2, "listings": 7, "left_out": [], "listed_at": null}',
        b'{"format": 2, "listings": [7], "left_out": [], "listed_at": null}',
        b'{"format": 2, "listings": [], "left_out": [{"colour": "red"}], "listed_at": null}',
        b'{"format": 2, "listings": [], "left_out": [], "listed_at": null, "source": "theirs"}',
        change(inputs=[{"kind": "smell", "options": []}]),
        change(inputs=[{"kind": "text", "options": [], "newer": 1}]),
        change(inputs=[{"kind": "select", "options": [[1, 2, 3]]}]),
    ],
)
def test_a_damaged_file_counts_as_missing(path: Path, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """It is only a copy: a crash at every start would be the worse trouble."""
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert load_catalogue(path) is None
    assert "the cached catalogue cannot be read and is rebuilt" in caplog.text


def test_a_file_of_an_earlier_version_is_read(path: Path) -> None:
    """It names neither the path family nor the source, and its definitions cost requests."""
    path.parent.mkdir(parents=True)
    path.write_bytes(change())
    loaded = load_catalogue(path)
    assert loaded == Catalogue((build_listing("aB3"),), style="", source=Source.ALL)


def test_a_file_of_another_format_is_left_aside(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An older or newer Flowport wrote it; nothing is wrong."""
    save_catalogue(path, FULL)
    path.write_text(path.read_text().replace('"format":2', '"format":3'))
    assert load_catalogue(path) is None
    assert caplog.records == []


def test_a_folder_in_the_place_of_the_file_counts_as_missing(path: Path) -> None:
    """Flowport starts, whatever the file holds."""
    path.mkdir(parents=True)
    assert load_catalogue(path) is None


def test_a_file_that_cannot_be_written_is_an_error_of_the_disk(path: Path) -> None:
    """The caller decides that a catalogue without a copy still serves."""
    path.parent.parent.mkdir()
    path.parent.write_text("in the way")
    with pytest.raises(OSError, match="exists"):
        save_catalogue(path, FULL)


def test_the_file_is_named_for_the_account_without_odd_characters() -> None:
    """Hosts hold colons and brackets, which some file systems refuse."""
    account = Account("magnific", "[::1]:8080", "f1")
    assert build_cache_path(Path("/home"), account) == Path("/home/catalogue/magnific----1--8080-f1.json")


SAVE_OFTEN = """
import sys
from pathlib import Path
from flowport.catalog.snapshots import load_catalogue, save_catalogue
path = Path(sys.argv[1])
catalogue = load_catalogue(path)
for _ in range(200):
    save_catalogue(path, catalogue)
    assert load_catalogue(path) == catalogue
"""


def test_two_processes_that_save_at_once_leave_a_whole_file(path: Path) -> None:
    """Claude Desktop and Cursor each start a Flowport with one home."""
    save_catalogue(path, FULL)
    command = [sys.executable, "-c", SAVE_OFTEN, str(path)]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    complaints = [child.communicate(timeout=60)[1] for child in children]
    assert complaints == [b"", b""]
    assert load_catalogue(path) == FULL
    assert [item.name for item in path.parent.iterdir()] == ["one.json"]


def test_a_copy_is_found_for_the_same_account_at_another_host(tmp_path: Path) -> None:
    """A server that is tried sends its requests nowhere, and lists the apps all the same."""
    path = build_cache_path(tmp_path, Account("magnific", "api.magnific.com", "0a1b2c"))
    other = build_cache_path(tmp_path, Account("magnific", "127.0.0.1:9", "0a1b2c"))

    assert rename_for_host(path, "127.0.0.1:9") == other
    assert rename_for_host(tmp_path / "tool-order.json", "127.0.0.1:9") == tmp_path / "tool-order.json"
