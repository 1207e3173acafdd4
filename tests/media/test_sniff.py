"""What a file is, by its first bytes."""

import io
import math
import re
import struct
import wave

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from flowport.domain.models import OutputKind
from flowport.media.formats import FORMATS, MAX_HEAD_BYTES, sniff

MP3_FRAME = b"\xff\xfb\x90\x00" + bytes(413)
MP3_FRAME_22_KHZ = b"\xff\xf3\x80\x00" + bytes(204)
MP3_FRAME_11_KHZ = b"\xff\xe3\x40\x00" + bytes(204)
AAC_FRAME = b"\xff\xf1\x50\x80" + bytes([104 >> 3, (104 & 7) << 5 | 0x1F, 0xFC]) + bytes(97)


def build_ftyp(major: bytes, *others: bytes) -> bytes:
    """Return the first box of an MP4 family file, with a bit of the next one."""
    size = 16 + 4 * len(others)
    return struct.pack(">I", size) + b"ftyp" + major + bytes(4) + b"".join(others) + b"\0\0\0\x08free"


def build_wave() -> bytes:
    """Return a short sound."""
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(b"".join(struct.pack("<h", int(9000 * math.sin(n / 3))) for n in range(200)))
    return written.getvalue()


MEDIA = [
    (b"\x1aE\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm", "video/webm"),
    (b"\x1aE\xdf\xa3\xa3\x42\x86\x81\x01\x42\x82\x88matroska", "video/x-matroska"),
    (build_ftyp(b"isom", b"isom", b"mp41"), "video/mp4"),
    (build_ftyp(b"mp42"), "video/mp4"),
    (build_ftyp(b"XXXX", b"avc1"), "video/mp4"),
    (build_ftyp(b"qt  "), "video/quicktime"),
    (build_ftyp(b"M4V ", b"isom"), "video/x-m4v"),
    (build_ftyp(b"3gp5", b"isom"), "video/3gpp"),
    (build_ftyp(b"M4A ", b"isom"), "audio/mp4"),
    (build_ftyp(b"avif", b"mif1"), "image/avif"),
    (build_ftyp(b"mif1", b"miaf", b"avif"), "image/avif"),
    (build_ftyp(b"mif1", b"heic"), "image/heic"),
    (build_ftyp(b"heic", b"mif1"), "image/heic"),
    (b"\0\0\0\x6cmoov" + bytes(40), "video/quicktime"),
    (b"\0\0\0\x08wide" + bytes(40), "video/quicktime"),
    (b"RIFF\x24\0\0\0AVI LIST", "video/x-msvideo"),
    (b"OggS\0\x02" + bytes(22) + b"\x01\x1e\x01vorbis", "audio/ogg"),
    (b"OggS\0\x02" + bytes(22) + b"\x01\x2a\x80theora", "video/ogg"),
    (b"fLaC\0\0\0\x22" + bytes(34), "audio/flac"),
    (b"ID3\x04\0\0\0\0\x02\x01" + bytes(300), "audio/mpeg"),
    (MP3_FRAME * 2, "audio/mpeg"),
    (MP3_FRAME, "audio/mpeg"),
    (MP3_FRAME_22_KHZ * 2, "audio/mpeg"),
    (MP3_FRAME_11_KHZ * 2, "audio/mpeg"),
    (AAC_FRAME * 2, "audio/aac"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"II+\0\x08\0\0\0", "image/tiff"),
    (b"MM\0*\0\0\0\x08", "image/tiff"),
    (b"GIF87a", "image/gif"),
]
OTHERS = [
    (b"%PDF-1.7\n", "application/pdf", "pdf"),
    (b"glTF\x02\0\0\0\xff\0\0\0", "model/gltf-binary", "glb"),
    (b"PK\x03\x04\x14\0", "application/zip", "zip"),
    (b"PK\x05\x06" + bytes(18), "application/zip", "zip"),
    (b"<!DOCTYPE html><p>", "text/html", "html"),
    (b"\xef\xbb\xbf \n<HTML lang=en>", "text/html", "html"),
    (b"<!-- note --><script>alert(1)</script>", "text/html", "html"),
    (b"<html><svg></svg>", "text/html", "html"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml", "svg"),
    (b"<?xml version='1.0'?>\n<!-- x --><svg:svg>", "image/svg+xml", "svg"),
    (b"<svg><script>alert(1)</script></svg>", "image/svg+xml", "svg"),
    ("<svg width='1'>".encode("utf-16"), "image/svg+xml", "svg"),
    (b"<?xml version='1.0'?><feed/>", "text/xml", "xml"),
    ("<html><title>Gesperrt für Sie</title>".encode("latin-1"), "text/html", "html"),
    ("<html><title>期限切れ</title>".encode("shift-jis"), "text/html", "html"),
    ("<html><p>Истёк</p></html>".encode("cp1251"), "text/html", "html"),
    ("<html>expired</html>".encode("utf-16-le"), "text/html", "html"),
    (b"\n<!DOCTYPE html><p>\0\1expired", "text/html", "html"),
    ("<html>expired</html>".encode("utf-16-be"), "text/html", "html"),
    ("<?xml version='1.0' encoding='iso-8859-1'?><Error>ungültig</Error>".encode("latin-1"), "text/xml", "xml"),
]
TEXTS = [
    (b'{"a": 1}', "application/json", "json"),
    (b"[]", "application/json", "json"),
    (b"[link](https://example.com)", "text/plain", "txt"),
    (b"BMX bicycles and other words", "text/plain", "txt"),
    (b"ID3", "text/plain", "txt"),
    ('{"error": "ungültig, leider"}'.encode("latin-1"), "application/json", "json"),
    ("Der Verweis ist ungültig.".encode("latin-1"), "text/plain", "txt"),
    ("Ссылка устарела, получите новую. ".encode("koi8-r") * 4, "text/plain", "txt"),
    ("Grüße".encode()[:-1] + b"\xc3", "text/plain", "txt"),
    (b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaA", "text/plain", "txt"),
    (b"root:x:0:0:root:/root:/bin/bash\n", "text/plain", "txt"),
]
UNKNOWN = [
    b"",
    b"\0",
    bytes(100),
    b"\x7fELF\x02\x01\x01",
    b"SQLite format 3\0",
    b"\x1f\x8b\x08\0",
    b"RIFF\x24\0\0\0sfbk",
    b"\x1aE\xdf\xa3\x9f\x42\x82\x84other",
    build_ftyp(b"crx "),
    b"BM" + bytes(60),
    b"\0\0\x01\0\0\0\x10\x10\0\0",
    b"ID3\x04\0\0\xff\xff\xff\xff",
    b"\xff\xfb\x90\x00" + b"\x80" * 600,
    b"\xff\xfb\xf0\x00" * 200,
    b"\xff\xfb\x9c\x00" * 200,
    b"\xff\xeb\x90\x00" * 200,
    b"\xff\xf1\x50\x80\x00\x1f\xfc" + bytes(200),
    b"\xff\xfe\x00\xd8\xff",
    b"caf\xe9!",
]


@pytest.mark.parametrize("name", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "ICO", "AVIF"])
def test_a_picture_as_an_image_library_writes_it_is_known(name: str) -> None:
    """Hand-made beginnings could repeat our own mistake."""
    written = io.BytesIO()
    Image.new("RGB", (32, 32), "teal").save(written, name)
    sniffed = sniff(written.getvalue())
    assert sniffed is not None
    mime_types = {"ICO": "image/vnd.microsoft.icon"}
    assert (sniffed.kind, sniffed.mime_type) == (OutputKind.IMAGE, mime_types.get(name, f"image/{name.lower()}"))


def test_a_wave_file_is_known() -> None:
    """It shares its first four bytes with WebP and AVI."""
    sniffed = sniff(build_wave())
    assert sniffed is not None
    assert (sniffed.mime_type, sniffed.kind, sniffed.extension) == ("audio/wav", OutputKind.AUDIO, "wav")


@pytest.mark.parametrize(("head", "mime_type"), MEDIA)
def test_media_are_known_by_their_beginning(head: bytes, mime_type: str) -> None:
    """An app takes a picture, a video or sound, so the kind must be right before anything is paid."""
    sniffed = sniff(head)
    assert sniffed is not None
    assert (sniffed.mime_type, sniffed.kind.value) == (mime_type, mime_type.partition("/")[0])
    assert sniffed.is_media


@pytest.mark.parametrize(("head", "mime_type", "extension"), OTHERS)
def test_other_files_get_a_name_but_are_no_media(head: bytes, mime_type: str, extension: str) -> None:
    """SVG and HTML can carry scripts, so they are files whatever they call themselves."""
    sniffed = sniff(head)
    assert sniffed is not None
    assert (sniffed.mime_type, sniffed.extension, sniffed.kind) == (mime_type, extension, OutputKind.FILE)
    assert not sniffed.is_media


@pytest.mark.parametrize(("head", "mime_type", "extension"), TEXTS)
def test_text_is_text(head: bytes, mime_type: str, extension: str) -> None:
    """Keys and password files are text too, and must never pass for media."""
    sniffed = sniff(head)
    assert sniffed is not None
    assert (sniffed.mime_type, sniffed.extension, sniffed.kind) == (mime_type, extension, OutputKind.TEXT)
    assert not sniffed.is_media


@pytest.mark.parametrize("head", UNKNOWN)
def test_what_is_not_known_is_not_guessed(head: bytes) -> None:
    """A few bytes that look like a frame of sound occur in every large file."""
    assert sniff(head) is None


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([b"", *(head for head, _ in MEDIA), *(head for head, *_ in OTHERS), *UNKNOWN]),
    st.integers(0, 40),
    st.binary(max_size=64),
)
def test_nothing_that_a_file_begins_with_raises(head: bytes, kept: int, tail: bytes) -> None:
    """The bytes are untrusted, cut off or bent."""
    sniff(head[:kept] + tail)
    sniff(head + tail)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_only_the_head_decides(start: bytes, rest: bytes) -> None:
    """A caller may hand over the whole file or its first bytes."""
    head = start.ljust(MAX_HEAD_BYTES, b"x")
    assert sniff(head + rest) == sniff(head)


def test_the_table_of_formats_holds_together() -> None:
    """Every format that another refers to is there, and every pattern compiles."""
    for one in FORMATS.values():
        assert not one.sound or FORMATS[one.sound].kind is OutputKind.AUDIO
        assert not (one.is_sent and not one.is_media)
        assert bool(one.decoder) == (one.is_sent and one.kind is OutputKind.IMAGE)
        for pattern in one.patterns:
            re.compile(pattern, re.DOTALL)
