"""Every way that we know to talk an assistant into sending what it must not: tried at the seam of a call, and none gets through.

A case that is found later is added to the table.
"""

import base64
import os
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from flowport.domain.errors import ArgumentsInvalid
from flowport.domain.models import Output, OutputKind, RunState
from flowport.media.input_files import MediaRules
from flowport.runs.delivery import DeliveredRuns
from flowport.runs.prepare import CallPreparer
from flowport.runs.references import OutputFinder
from flowport.runs.submit import RunRequest
from flowport.store.sqlite.store import open_sqlite_store
from tests.media.bombs import PACKED, build_stuffed_png
from tests.media.containers import box
from tests.media.test_convert import BROKEN
from tests.media.test_identify import SAMPLES
from tests.media.test_local_files import HOSTILE, build_tree
from tests.media.tiffs import THUMBNAIL, TiffPage, build_dng, build_raw, tiff
from tests.runs.samples import RUN
from tests.runs.test_prepare import LISTING, PNG
from tests.support.fake_clock import FakeClock
from tests.support.scripted import ScriptedAccount, in_turn

SAMPLE_FILM, SAMPLE_VOICE, SAMPLE_MATROSKA, SAMPLE_OGG = (
    (SAMPLES / name).read_bytes() for name in ("film.mp4", "voice.m4a", "film.mkv", "voice.opus")
)

INSIDE = (
    "link-inside",
    "link-outside",
    "link-nowhere",
    "link-loop",
    "folder-outside",
    "folder",
    ".",
    "pipe",
    "empty.png",
    "hard-link.png",
    "folder-outside/hidden.png",
    "FOLDER-OUTSIDE/hidden.png",
    "cat.png/../../private/hidden.png",
    "./folder//..//../private/hidden.png",
)
"""Below the folder that may be read; what leads out of it leads to a good picture, so that only its place is wrong."""

SPELT = (
    "file://{outside}/hidden.png",
    "file://localhost{outside}/hidden.png",
    "file:{outside}/hidden.png",
    "FILE:///{outside}/hidden.png",
    "file://{root}/%2e%2e/private/hidden.png",
    "file://{root}/..%2fprivate%2fhidden.png",
    "file://other.example{root}/cat.png",
    "file://{root}/cat.png%00.txt",
    "{root}/cat.png\0.txt",
    "{outside}/hidden.png\n",
    " {outside}/hidden.png",
    "~/private/hidden.png",
    "~root/.ssh/id_rsa",
    "//localhost{outside}/hidden.png",
    "\\\\server\\share\\hidden.png",
    "C:\\Windows\\win.ini",
    "file:///C:/Windows/win.ini",
    "sandbox:{outside}/hidden.png",
    "vscode://file{outside}/hidden.png",
    "smb://server/share/hidden.png",
    "jar:file://{outside}/hidden.png!/",
    "php://filter/resource={outside}/hidden.png",
    "gopher://127.0.0.1:70/x",
    "ftp://127.0.0.1/hidden.png",
    "dict://127.0.0.1:11211/stat",
    "http://127.0.0.1/hidden.png",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::1]/hidden.png",
    "http://127.0.0.1:4567@evil.example/hidden.png",
    "https://user:word@storage.example/hidden.png",
    "https:///etc/passwd",
    "https://storage.example\\@evil.example/",
    "https://storage.example/a b",
    "javascript:alert(1)",
    "run:run_theirs#1",
    "flowport://runs/run_theirs/outputs/1",
    "flowport://runs/../../outputs/1",
    "run:run_theirs/outputs/1",
    "last",
    "flowport://config",
)
"""Other ways to write an argument; {outside} is the folder that may not be read."""

CONTENTS: dict[str, bytes] = {
    "a script": b"#!/bin/sh\nid",
    "a private key": b"-----BEGIN OPENSSH PRIVATE KEY-----\nsecret",
    "variables": b"AWS_SECRET_ACCESS_KEY=secret",
    "a page": b"<!doctype html><script>1</script>",
    "a drawing": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "a drawing with entities": b"<?xml version='1.0'?><!DOCTYPE svg [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><svg/>",
    "a drawing behind a mark": b"\xef\xbb\xbf <svg onload='x'/>",
    "a document": b"%PDF-1.7 secret",
    "an archive": b"PK\x03\x04secret",
    "a program": b"\x7fELF" + bytes(60),
    "a database": b"SQLite format 3\0" + bytes(90),
    "PostScript": b"%!PS-Adobe-3.0\n(secret) show",
    "a video": b"\0\0\0\x14ftypisom\0\0\0\0mp41" + bytes(100),
    "a sound": b"RIFF\x24\0\0\0WAVEfmt " + bytes(32),
    "a picture's beginning and a key": b"\x89PNG\r\n\x1a\n-----BEGIN PRIVATE KEY-----secret",
    "a photograph's beginning and text": b"\xff\xd8\xff\xe0secret",
    "a GIF's beginning and a script": b"GIF89a=1;alert('secret')",
    "nothing but zeros": bytes(1000),
    "a page in UTF-16": "<!doctype html><script>secret</script>".encode("utf-16"),
    "a password file": b"root:x:0:0:secret:/root:/bin/bash\n",
    "a Windows program": b"MZ\x90\0" + bytes(100),
    "a WMF with a program": b"\xd7\xcd\xc6\x9a" + bytes(100),
    "a raw photo": build_dng(),
    "a raw photo, big-endian": build_dng(">"),
    "a raw photo in a BigTIFF": build_dng(version=43),
    "a raw photo of Nikon": build_raw(b"NIKON CORPORATION", ">"),
    "a raw photo of Olympus": b"IIRO\x08\0\0\0" + bytes(100),
    "a raw photo of Panasonic": b"IIU\0\x18\0\0\0" + bytes(100),
    "a raw photo of Fuji": b"FUJIFILMCCD-RAW 0201" + bytes(100),
    "a raw photo of Canon": box(b"ftyp", b"crx ", bytes(4)) + box(b"moov", bytes(20)),
    "a small copy of a picture": tiff(THUMBNAIL),
    "a small copy above its picture": tiff(TiffPage(16, 12, 1, (), (TiffPage(80, 60),))),
    "pages that go round": tiff(TiffPage(8, 8)).replace(b"\0\0\0\0" * 8, b"\x08\0\0\0" * 8)[:40],
    "a film in a picture's brand": box(b"ftyp", b"hvc1", bytes(4)) + SAMPLE_FILM[32:],
    "a sound in a film's brand": SAMPLE_VOICE,
    "a film that is cut off": SAMPLE_FILM[: len(SAMPLE_FILM) // 2],
    "a picture in boxes that is cut off": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic\0\0\xff\xffmeta" + bytes(90),
    "a box that is larger than any disk": box(b"ftyp", b"isom") + b"\0\0\0\1mdat" + b"\xff" * 8,
    "a directory beyond the end": b"II*\0\xff\xff\xff\xff" + bytes(90),
    "a long directory beyond the end": b"II+\0\x08\0\0\0" + b"\xff" * 8 + bytes(90),
    "a PNG with a bomb of text": build_stuffed_png(name=b"zTXt", data=b"note\0\0" + PACKED),
    "a PNG with a bomb of text in letters": build_stuffed_png(name=b"iTXt", data=b"note\0\1\0\0\0" + PACKED),
    "a PNG with a bomb of colours": build_stuffed_png(name=b"iCCP", data=b"colours\0\0" + PACKED),
    "a Photoshop document": b"8BPS\0\1" + bytes(100),
    "a Matroska film": SAMPLE_MATROSKA,
    "an Ogg sound": SAMPLE_OGG,
}
"""Named like pictures, in the folder that may be read; the app takes an image."""

CASES = [
    *(("path", name) for name in HOSTILE),
    *(("inside", name) for name in INSIDE),
    *(("spelt", value) for value in SPELT),
    *(("content", name) for name in CONTENTS),
    *(("picture", name) for name, _, _ in BROKEN),
    *(("data", name) for name in CONTENTS),
]


def lay(tmp_path: Path) -> tuple[Path, Path]:
    """Make the folders and return the one that may be read and the one that may not."""
    root = build_tree(tmp_path)
    outside = tmp_path / "private"
    (outside / "hidden.png").write_bytes(PNG)
    (root / "hard-link.png").hardlink_to(outside / "id_rsa")
    return root, outside


def build_argument(sort: str, what: str, root: Path, outside: Path) -> str:
    """Return the argument of a case, its file having been laid."""
    if sort in {"path", "inside"}:
        return os.fspath(root / what) if not what.startswith(".") else f"{root}/{what}"
    if sort == "spelt":
        return what.format(root=root, outside=outside)
    data = CONTENTS.get(what) or next(data for name, data, _ in BROKEN if name == what)
    if sort == "data":
        return "data:image/png;base64," + base64.b64encode(data).decode()
    (root / "picture.png").write_bytes(data)
    return str(root / "picture.png")


@pytest.mark.parametrize(("sort", "what"), CASES, ids=lambda text: ascii(text)[:50])
async def test_nothing_hostile_gets_through(
    sort: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused before anything is accepted or sent, and nothing of it is repeated."""
    root, outside = lay(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    store = open_sqlite_store(tmp_path / "store.sqlite3")
    await store.accept(
        replace(
            RUN,
            id="run_theirs",
            owner="another owner",
            state=RunState.SUCCEEDED,
            delivered_at=1.0,
            outputs=(Output(1, OutputKind.IMAGE, "https://cdn.example/1.png"),),
        )
    )
    preparer = CallPreparer(MediaRules((root,)), anyio.CapacityLimiter(1), OutputFinder(store, DeliveredRuns()))
    account = ScriptedAccount(in_turn(), FakeClock())
    photo = build_argument(sort, what, root, outside)
    with pytest.raises(ArgumentsInvalid) as refused:
        await preparer.prepare(account, LISTING, {"prompt": "p", "photo": photo}, RunRequest("local", "one"))
    await store.close()

    (problem,) = refused.value.problems
    assert problem.argument == "photo"
    assert "secret" not in str(refused.value)
    assert account.asked == []


def test_the_table_is_long() -> None:
    """The promise is about all of it."""
    print(f"{len(CASES)} hostile paths, addresses and files tried")  # noqa: T201 - the figure
    assert len(set(CASES)) == len(CASES) >= 170
