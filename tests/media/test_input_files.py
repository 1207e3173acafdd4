"""What a media argument names, and the sentence when it names nothing usable."""

import base64
import hashlib
import io
import wave
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from flowport.domain.errors import ArgumentsInvalid
from flowport.domain.models import InputKind
from flowport.media.formats import FORMATS
from flowport.media.input_files import FileMedia, MediaRules, UrlMedia, resolve_media
from flowport.media.sources import DiskSource, Fingerprint, HeldSource
from tests.media.containers import mp4, track
from tests.media.test_identify import SAMPLES
from tests.media.tiffs import THUMBNAIL, TiffPage, build_dng, build_raw, tiff


def build_png() -> bytes:
    """Return a small picture."""
    written = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(written, "PNG")
    return written.getvalue()


def build_wave() -> bytes:
    """Return a short silence."""
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(200))
    return written.getvalue()


PNG = build_png()
SNIFFED = FORMATS["png"]
FINGERPRINT = Fingerprint(hashlib.sha256(PNG).hexdigest(), len(PNG))
VIDEO = mp4(track(64, 48))
TRUSTED = "http://127.0.0.1:4567"


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MediaRules:
    """Rules with one allowed folder in a home folder, filled with files of several sorts."""
    monkeypatch.setenv("HOME", str(tmp_path))
    root = tmp_path / "Pictures"
    root.mkdir()
    (root / "cat.png").write_bytes(PNG)
    (root / "my cat #1 ä?.png").write_bytes(PNG)
    (root / "named-like-a-picture.png").write_bytes(VIDEO)
    (root / "sound.wav").write_bytes(build_wave())
    (root / "notes.txt").write_text("secret")
    (root / "drawing.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (root / "paper.pdf").write_bytes(b"%PDF-1.7")
    (root / "noise").write_bytes(b"\x80\x81\x82")
    return MediaRules((root,), frozenset({TRUSTED, "http://sandbox.test"}), max_inline_bytes=4096)


def resolve(value: str, rules: MediaRules, kind: InputKind = InputKind.IMAGE) -> object:
    """Resolve an argument called photo."""
    return resolve_media(value, argument="photo", kind=kind, rules=rules)


def refuse(value: str, rules: MediaRules, kind: InputKind = InputKind.IMAGE) -> str:
    """Return the one problem of a refused argument."""
    with pytest.raises(ArgumentsInvalid) as caught:
        resolve(value, rules, kind)
    (problem,) = caught.value.problems
    assert problem.argument == "photo"
    assert "secret" not in str(problem)
    assert len(problem.problem) < 160
    return str(problem)


@pytest.mark.parametrize(
    "spelling", ["{path}", "~/Pictures/cat.png", "file://{path}", "file://localhost{path}", " {path}\n"]
)
def test_a_local_file_becomes_its_bytes(spelling: str, rules: MediaRules) -> None:
    """However the path is written, the provider is given the same file under the same digest."""
    value = spelling.format(path=rules.roots[0] / "cat.png")
    source = DiskSource(rules.roots[0] / "cat.png", rules.roots)
    assert resolve(value, rules) == FileMedia(source, SNIFFED, FINGERPRINT)


@pytest.mark.parametrize("encode", [quote, str])
def test_an_odd_file_name_may_be_escaped_or_not(encode: object, rules: MediaRules) -> None:
    """Assistants do both; a hash sign or question mark in a file URI belongs to the name."""
    assert callable(encode)
    uri = "file:" + encode(str(rules.roots[0] / "my cat #1 ä?.png"))
    assert isinstance(resolve(uri, rules), FileMedia)


@pytest.mark.parametrize("spelling", ["C:\\Pictures\\cat.png", "c:/Pictures/cat.png", "file:///C:/Pictures/cat.png"])
def test_a_windows_path_is_read_where_windows_runs_the_linux(spelling: str, rules: MediaRules, tmp_path: Path) -> None:
    """Its drives are folders there; and they are held to the same roots."""
    mounted = replace(rules, mounts=tmp_path / "mnt")
    (tmp_path / "mnt").mkdir()
    assert "is a Windows path" in refuse(spelling, mounted)
    (tmp_path / "mnt" / "c").symlink_to(tmp_path)
    assert isinstance(resolve(spelling, mounted), FileMedia)
    assert "no file in the folders" in refuse("C:\\Windows\\win.ini", mounted)


def test_bare_base64_becomes_its_bytes(rules: MediaRules) -> None:
    """Assistants leave the beginning of a data URI out, and nothing else can be meant."""
    assert resolve(base64.b64encode(PNG).decode(), rules) == FileMedia(HeldSource(PNG), SNIFFED, FINGERPRINT)


def test_a_data_uri_becomes_its_bytes(rules: MediaRules) -> None:
    """The type that it declares is not believed."""
    media = resolve("data:video/mp4;base64," + base64.b64encode(PNG).decode(), rules)
    assert isinstance(media, FileMedia)
    assert media == FileMedia(HeldSource(PNG), SNIFFED, FINGERPRINT)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/cat.png?token=exp_1~hmac_a%3D#part",
        "HTTPS://Example.com:8443/a b".replace(" ", "%20"),
        "https://[2606:2800::1]/cat.png",
        f"{TRUSTED}/outputs/1",
        "http://SANDBOX.test:80/outputs/1",
    ],
)
def test_a_url_is_handed_on_verbatim(url: str, rules: MediaRules) -> None:
    """The provider fetches it, and a changed letter breaks a signature."""
    assert resolve(url, rules) == UrlMedia(url)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (InputKind.VIDEO, "named-like-a-picture.png"),
        (InputKind.AUDIO, "sound.wav"),
        (InputKind.MEDIA, "cat.png"),
        (InputKind.MEDIA, "sound.wav"),
        (InputKind.MEDIA, "named-like-a-picture.png"),
    ],
)
def test_the_bytes_decide_what_a_file_is(kind: InputKind, name: str, rules: MediaRules) -> None:
    """Names lie, and an input of unknown kind takes any of the three."""
    assert isinstance(resolve(str(rules.roots[0] / name), rules, kind), FileMedia)


@pytest.mark.parametrize(
    ("kind", "name", "problem"),
    [
        (InputKind.IMAGE, "named-like-a-picture.png", "takes an image, and this file is a video (video/mp4)"),
        (InputKind.IMAGE, "sound.wav", "takes an image, and this file is a sound (audio/wav)"),
        (InputKind.VIDEO, "cat.png", "takes a video, and this file is an image (image/png)"),
        (InputKind.AUDIO, "cat.png", "takes a sound, and this file is an image (image/png)"),
        (InputKind.IMAGE, "drawing.svg", "is an SVG drawing"),
        (InputKind.MEDIA, "drawing.svg", "is an SVG drawing"),
        (InputKind.MEDIA, "notes.txt", "not an image, a video or a sound"),
        (InputKind.MEDIA, "paper.pdf", "not an image, a video or a sound"),
        (InputKind.MEDIA, "noise", "not an image, a video or a sound"),
        (InputKind.IMAGE, "missing.png", "does not exist"),
    ],
)
def test_a_file_of_the_wrong_kind_is_refused(kind: InputKind, name: str, problem: str, rules: MediaRules) -> None:
    """Before anything is spent, and with nothing of its content in the answer."""
    assert problem in refuse(str(rules.roots[0] / name), rules, kind)


@pytest.mark.parametrize(
    ("kind", "data", "problem"),
    [
        (InputKind.VIDEO, "voice.m4a", "takes a video, and this file is a sound (audio/mp4)"),
        (InputKind.VIDEO, "voice-fragments.mp4", "takes a video, and this file is a sound (audio/mp4)"),
        (InputKind.VIDEO, "voice.webm", "takes a video, and this file is a sound (audio/webm)"),
        (InputKind.VIDEO, "voice.mka", "takes a video, and this file is a sound (audio/x-matroska)"),
        (InputKind.VIDEO, "voice.avi", "takes a video, and this file is a sound (audio/x-msvideo)"),
        (InputKind.VIDEO, "voice.opus", "takes a video, and this file is a sound (audio/ogg)"),
        (InputKind.AUDIO, "film.mp4", "takes a sound, and this file is a video (video/mp4)"),
        (InputKind.AUDIO, "film-vp8.ogv", "takes a sound, and this file is a video (video/ogg)"),
        (InputKind.AUDIO, "voice.aiff", "is an AIFF sound, which cannot be sent. Give it as WAV, MP3 or M4A."),
        (
            InputKind.MEDIA,
            "film.m2ts",
            "is an MPEG transport stream (AVCHD, MTS or TS), which cannot be sent. Give it as",
        ),
        (InputKind.IMAGE, "picture.jxl", "is a JPEG XL picture, which cannot be sent. Give it as a PNG or JPEG file."),
        (InputKind.IMAGE, "voice.aiff", "takes an image, and this file is a sound (audio/aiff)"),
        (InputKind.IMAGE, build_dng(), "is a raw photo of a camera, which cannot be sent. Export it as JPEG"),
        (InputKind.MEDIA, build_raw(b"NIKON", ">"), "is a raw photo of a camera"),
        (InputKind.VIDEO, build_dng(), "takes a video, and this file is an image (image/x-adobe-dng)"),
        (InputKind.IMAGE, tiff(THUMBNAIL), "is a TIFF of which only a smaller copy of its picture can be read"),
        (InputKind.IMAGE, tiff(TiffPage(16, 12, 1, (), (TiffPage(80, 60),))), "only a smaller copy of its picture"),
        (InputKind.VIDEO, VIDEO[: len(VIDEO) // 2], "is a video that is cut off: it ends in the middle of a part"),
        (InputKind.AUDIO, VIDEO[:60], "is a video that is cut off"),
        (InputKind.IMAGE, VIDEO[:60], "takes an image, and this file is a video (video/mp4)"),
        (
            InputKind.MEDIA,
            VIDEO.partition(b"\0\0\0\xe4moov")[0][:532],
            "is a video that is cut off: its index is missing",
        ),
    ],
)
def test_what_would_be_paid_for_as_something_else_is_refused(
    kind: InputKind, data: str | bytes, problem: str, rules: MediaRules
) -> None:
    """Sound in a film's container, a small copy in a photo's place, a film without its end: all of them were sent."""
    path = rules.roots[0] / "given"
    path.write_bytes(data if isinstance(data, bytes) else (SAMPLES / data).read_bytes())
    large = replace(rules, max_inline_bytes=10_000_000)
    assert problem in refuse(str(path), large, kind)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (InputKind.AUDIO, "voice.m4a"),
        (InputKind.AUDIO, "voice-fragments.mp4"),
        (InputKind.AUDIO, "voice-recorded.webm"),
        (InputKind.AUDIO, "streamed.wav"),
        (InputKind.AUDIO, "voice.mov"),
        (InputKind.AVMEDIA, "voice.mka"),
        (InputKind.VIDEO, "recorded.webm"),
        (InputKind.VIDEO, "fragments.mp4"),
        (InputKind.MEDIA, "film.avi"),
    ],
)
def test_sound_and_films_as_programs_write_them_go_through(kind: InputKind, name: str, rules: MediaRules) -> None:
    """Sound in a container that can hold pictures is a sound (letsrevel/revel-backend#226)."""
    path = rules.roots[0] / "given"
    path.write_bytes((SAMPLES / name).read_bytes())
    assert isinstance(resolve(str(path), replace(rules, max_inline_bytes=10_000_000), kind), FileMedia)


CHAT = "means nothing outside the chat"
REFUSED = [
    ("", "is empty"),
    ("   ", "is empty"),
    ("image.png", f'is "image.png", which {CHAT}'),
    ("./cat.png", 'is "./cat.png", a path without its beginning. Give the full path'),
    ("../Pictures/cat.png", "a path without its beginning"),
    ("Pictures\\cat.png", "a path without its beginning"),
    ("the picture above", CHAT),
    ("/mnt/data/cat.png", f'is "/mnt/data/cat.png", which {CHAT}'),
    ("/mnt/user-data/uploads/cat.png", CHAT),
    ("sandbox:/mnt/data/cat.png?token=secret", CHAT),
    ("attachment://cat.png", CHAT),
    ("blob:https://chat.example/7f3a", CHAT),
    ("cid:image001@example.com", CHAT),
    ("http://example.com/cat.png?token=secret", "without encryption (http://example.com)"),
    ("http://127.0.0.1:4568/cat.png", "without encryption"),
    ("http://127.0.0.1:4567.example.com/cat.png", "not a complete web address"),
    ("http://127.0.0.1/cat.png", "without encryption"),
    ("https://user:secret@example.com/cat.png", "user name or password"),
    ("http://user@127.0.0.1:4567/cat.png", "user name or password"),
    ("https://", "not a complete web address"),
    ("https:cat.png", "not a complete web address"),
    ("https:///etc/passwd", "not a complete web address"),
    ("https://example.com:port/", "not a complete web address"),
    ("https://[bad/", "not a complete web address"),
    ("https://example.com/a b.png", "not a complete web address: it holds a space, which is written as %20"),
    ("https//example.com/a.png", "not a complete web address: it lacks its colon"),
    ("www.example.com/a.png", 'not a complete web address: it lacks "https://"'),
    ("https:/example.com/a.png", "not a complete web address: it lacks its two slashes"),
    ("https://example.com\\@evil.example/", "not a complete web address"),
    ("https://example.com/" + "a" * 9000, "not a complete web address: it has 9020 characters"),
    ("https://example.com/\x00", "control characters"),
    ("ftp://example.com/secret.png", "kind that cannot be used (ftp://example.com)"),
    ("javascript:secret", "kind that cannot be used"),
    ("gopher://127.0.0.1:70/x", "kind that cannot be used"),
    ("C:\\Users\\me\\cat.png", "Windows path"),
    ("\\\\server\\share\\cat.png", "network share"),
    ("//server/share/cat.png", "network share"),
    ("/home/me/cat\n.png", "control characters"),
    ("/home/me/cat.png\0.txt", "control characters"),
    ("iVBORw0KGgo" + "A" * 2000, "damaged, cut off"),
    ("/9j/4AAQSkZJRgABAQ" + "A" * 2000, "damaged, cut off"),
    ("A" * 2001, "base64 of a file, but is broken or cut off"),
    ("A" * 2000, "not an image, a video or a sound"),
    ("A" * 20_000, "holds more than 4 KB"),
    ("A" * 6_000, "holds more than 4 KB"),
    ("run:run_abcdef#1", "names a result of a run"),
    ("data:image/png;base64,", "without data"),
    ("data:text/plain,secret", "not an image, a video or a sound"),
    ("data:image/png;base64,PHN2Zz48L3N2Zz4=", "SVG drawing"),
    ("data:image/png;base64," + "A" * 20_000, "holds more than 4 KB"),
    ("file://server/share/cat.png", "another computer"),
    ("file://localhost", "without a usable full path"),
    ("file:cat.png", "without a usable full path"),
    ("file:~/cat.png", "without a usable full path"),
    ("file:///tmp/cat%00.png", "without a usable full path"),
    ("file:////server/share/cat.png", "without a usable full path"),
    ("file:///etc/passwd", "no file in the folders"),
    ("file:///%65tc/passwd", "no file in the folders"),
    ("/etc/passwd", "no file in the folders"),
    ("~/.ssh/id_rsa", "no file in the folders"),
    ("~", "no file in the folders"),
    ("~no-such-user-here/cat.png", "home folder that does not exist"),
    ("/dev/zero", "no file in the folders"),
    ("/proc/self/environ", "no file in the folders"),
]


@pytest.mark.parametrize(("value", "problem"), REFUSED, ids=lambda text: ascii(text)[:40])
def test_what_names_no_usable_file_is_refused(value: str, problem: str, rules: MediaRules) -> None:
    """The sentence says what is wrong, and then what to give instead."""
    assert problem in refuse(value, rules)


def test_a_folder_that_chats_use_may_be_allowed_here(rules: MediaRules, tmp_path: Path) -> None:
    """`/mnt/data` is a usual place for a second disk too."""
    wider = MediaRules((*rules.roots, Path("/mnt/data")))
    assert "does not exist" in refuse(f"/mnt/data/{tmp_path.name}.png", wider)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["", "/", "~", "file:///", "https://", "http://127.0.0.1:4567", "data:", "data:;base64,", "C:\\"]),
    st.text(max_size=60),
)
def test_any_text_is_resolved_or_refused(rules: MediaRules, prefix: str, text: str) -> None:
    """Models write anything, and nothing but the one error may come of it."""
    try:
        media = resolve(prefix + text, rules, InputKind.MEDIA)
    except ArgumentsInvalid:
        return
    assert isinstance(media, UrlMedia | FileMedia)
