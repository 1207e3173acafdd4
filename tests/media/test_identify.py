"""What a file is, by all of it that reports: tracks, pages and what follows tags, whatever it is called."""

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowport.media.formats import RAW_PHOTO
from flowport.media.identify import find_fault, identify
from flowport.media.measure import measure
from tests.media.containers import box, element, mp4, webm
from tests.media.tiffs import DNG_VERSION, SENSOR, SHORT, TEXT, TiffPage, build_dng, build_raw, tiff

SAMPLES = Path(__file__).parent / "samples"

KNOWN = {
    "both.mp4": ("video/mp4", "mp4"),
    "film.mp4": ("video/mp4", "mp4"),
    "film.mov": ("video/quicktime", "mov"),
    "film.3gp": ("video/3gpp", "3gp"),
    "fragments.mp4": ("video/mp4", "mp4"),
    "film.mkv": ("video/x-matroska", "mkv"),
    "film.webm": ("video/webm", "webm"),
    "recorded.webm": ("video/webm", "webm"),
    "film.ogv": ("video/ogg", "ogv"),
    "film-vp8.ogv": ("video/ogg", "ogv"),
    "film.avi": ("video/x-msvideo", "avi"),
    "voice.m4a": ("audio/mp4", "m4a"),
    "voice-fragments.mp4": ("audio/mp4", "m4a"),
    "voice.mov": ("audio/mp4", "m4a"),
    "voice.3gp": ("audio/3gpp", "3gp"),
    "voice.mka": ("audio/x-matroska", "mka"),
    "voice.webm": ("audio/webm", "weba"),
    "voice-recorded.webm": ("audio/webm", "weba"),
    "voice.ogg": ("audio/ogg", "ogg"),
    "voice.opus": ("audio/ogg", "ogg"),
    "voice.oga": ("audio/ogg", "ogg"),
    "voice.spx": ("audio/ogg", "ogg"),
    "voice.avi": ("audio/x-msvideo", "avi"),
    "voice.wav": ("audio/wav", "wav"),
    "streamed.wav": ("audio/wav", "wav"),
    "voice.mp3": ("audio/mpeg", "mp3"),
    "voice.flac": ("audio/flac", "flac"),
    "voice.aac": ("audio/aac", "aac"),
}
UNSENT = {
    "film.wmv": ("video/x-ms-wmv", "Windows Media video"),
    "voice.wma": ("audio/x-ms-wma", "Windows Media sound"),
    "film.flv": ("video/x-flv", "Flash video"),
    "voice.flv": ("audio/x-flv", "sound in a Flash video"),
    "film.mpg": ("video/mpeg", "MPEG video (VOB, MPG or MOD)"),
    "voice.mpg": ("audio/mpeg", "sound in an MPEG stream"),
    "film.ts": ("video/mp2t", "MPEG transport stream (AVCHD, MTS or TS)"),
    "film.m2ts": ("video/mp2t", "MPEG transport stream (AVCHD, MTS or TS)"),
    "voice.ts": ("audio/mp2t", "sound in an MPEG transport stream"),
    "voice.aiff": ("audio/aiff", "AIFF sound"),
    "voice.au": ("audio/basic", "AU sound"),
    "voice.caf": ("audio/x-caf", "Core Audio sound (CAF)"),
    "voice.wv": ("audio/x-wavpack", "WavPack sound"),
    "voice.tta": ("audio/x-tta", "True Audio sound"),
    "voice.w64": ("audio/x-w64", "Wave64 sound"),
    "voice.ac3": ("audio/ac3", "Dolby Digital sound"),
    "picture.jp2": ("image/jp2", "JPEG 2000 picture"),
    "picture.jxl": ("image/jxl", "JPEG XL picture"),
    "picture.qoi": ("image/qoi", "QOI picture"),
    "picture.exr": ("image/x-exr", "OpenEXR picture"),
    "picture.pcx": ("image/x-pcx", "PCX picture"),
    "picture.ppm": ("image/x-portable-anymap", "Netpbm picture (PNM)"),
    "picture.sgi": ("image/x-sgi", "Silicon Graphics picture"),
    "picture.tga": ("image/x-tga", "Targa picture"),
    "picture.dpx": ("image/x-dpx", "DPX picture"),
    "picture.ras": ("image/x-sun-raster", "Sun raster picture"),
}

MADE_OTHERWISE = {"phone.heic", "phone.avif", "phone.webp"}


def identify_bytes(data: bytes) -> tuple[str, str, str]:
    """Return MIME type, extension and the name under which a file is refused."""
    sniffed = identify(io.BytesIO(data))
    assert sniffed is not None
    return sniffed.mime_type, sniffed.extension, "" if sniffed.is_sent else sniffed.name


def test_every_sample_is_in_a_table() -> None:
    """A sample that no test looks at proves nothing."""
    assert {path.name for path in SAMPLES.glob("*.*[!hy]")} - MADE_OTHERWISE == {*KNOWN, *UNSENT}


@pytest.mark.parametrize(("name", "reported"), KNOWN.items())
def test_a_container_is_what_its_tracks_say(name: str, reported: tuple[str, str]) -> None:
    """The container of a film that holds sound alone is a sound (h2non/filetype#112), and the other way round."""
    assert identify_bytes((SAMPLES / name).read_bytes()) == (*reported, "")


@pytest.mark.parametrize(("name", "reported"), UNSENT.items())
def test_what_is_known_and_not_sent_has_a_name(name: str, reported: tuple[str, str]) -> None:
    """Recorders, camcorders and picture programs write many formats that no provider takes (raullenchai/Rapid-MLX#2101)."""
    mime_type, _, unsent_name = identify_bytes((SAMPLES / name).read_bytes())
    assert (mime_type, unsent_name) == reported


@pytest.mark.parametrize("major", [b"hvc1", b"iso9", b"isml", b"dby1", b"XXXX", b"M4A "])
@pytest.mark.parametrize(("name", "kind"), [("film.mp4", "video"), ("voice.m4a", "audio")])
def test_no_brand_can_say_otherwise(major: bytes, name: str, kind: str) -> None:
    """New brands come with every camera (ucfopen/Materia#1527)."""
    data = (SAMPLES / name).read_bytes()
    length = int.from_bytes(data[:4], "big")
    renamed = box(b"ftyp", major, bytes(4), major).ljust(length, b"\0") + data[length:]
    renamed = length.to_bytes(4, "big") + renamed[4:]
    assert identify_bytes(renamed)[0] == f"{kind}/mp4"


def test_a_document_type_that_no_one_listed_is_still_matroska() -> None:
    """Its tracks can be read all the same."""
    data = (SAMPLES / "film.webm").read_bytes()
    assert identify_bytes(data.replace(b"webm", b"w3bm", 1))[0] == "video/x-matroska"
    assert identify(io.BytesIO(b"\x1aE\xdf\xa3" + bytes(100))) is None


def test_pictures_of_chapters_make_no_film() -> None:
    """A podcast shows one picture for each chapter, in a track of its own."""
    sound, pictures = (
        box(
            b"trak",
            box(b"tkhd", bytes(12), bytes([0, 0, 0, n]), bytes(68)),
            *parts,
            box(b"mdia", box(b"hdlr", bytes(8), kind, bytes(13))),
        )
        for n, kind, parts in ((1, b"soun", [box(b"tref", box(b"chap", bytes(3), b"\2"))]), (2, b"vide", []))
    )
    assert identify_bytes(mp4(sound, pictures))[0] == "audio/mp4"
    assert identify_bytes(mp4(pictures))[0] == "video/mp4"


def test_a_container_whose_tracks_cannot_be_read_is_what_it_is_called() -> None:
    """Results without an index are kept as what they were said to be."""
    assert identify_bytes(mp4())[0] == "video/mp4"
    assert identify_bytes(webm(ticks=1, width=4, height=4))[0] == "video/webm"
    assert identify_bytes(element(0x1A45DFA3, b"\x42\x82\x84webm"))[0] == "video/webm"


@pytest.mark.parametrize(
    "name",
    [
        *("voice.flac", "voice.aac", "voice.wav", "voice.ogg", "voice.aiff", "voice.mp3"),
        *("voice.m4a", "voice.3gp", "voice.webm", "voice.mka", "voice.wma", "film.mp4"),
    ],
)
@pytest.mark.parametrize("padding", [0, 7, 3000])
def test_what_follows_a_tag_is_the_sound(name: str, padding: int) -> None:
    """Taggers put the same tag before sound of any kind."""
    data = (SAMPLES / name).read_bytes()
    tags = b"ID3\4\0\0\0\0\2\1" + bytes(257) + b"ID3\4\0\x10\0\0\0\5" + bytes(15)
    tagged = io.BytesIO(tags + bytes(padding) + data)
    found = identify(tagged)
    assert found == identify(io.BytesIO(data))
    assert found is not None
    assert find_fault(tagged, found) == ""
    assert measure(tagged, found) == measure(io.BytesIO(data), found)


def build_frames(header: bytes, length: int) -> bytes:
    """Return two frames of sound."""
    return 2 * header.ljust(length, b"\0")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (build_frames(b"\xff\xfd\xa4\0", 576), "MPEG sound of an older kind (MP2)"),
        (build_frames(b"\xff\xf5\x84\0", 384), "MPEG sound of an older kind (MP2)"),
        (b"\0\0\0\1\x67\x42\xc0\x0a" + bytes(50), "video without a container (H.264)"),
        (b"\0\0\0\1\x40\1\x0c\1" + bytes(50), "video without a container (H.265)"),
        (b"\0\0\1\xb0\1\0\0\1\xb5" + bytes(50), "video without a container (MPEG-4)"),
        (b".RMF\0\0\0\x12" + bytes(20) + b"audio/x-pn-realaudio" + bytes(50), "RealAudio sound"),
        (b".RMF\0\0\0\x12" + bytes(20) + b"video/x-pn-realvideo" + bytes(50), "RealMedia video"),
        (b"ea3\3\0\0\0\0\x17v" + bytes(50), "ATRAC sound (OMA)"),
        (b"RIFF\x24\0\0\0CDDAfmt " + bytes(50), "entry of an audio CD, which holds no sound"),
        (b"CWS\x0a" + bytes(50), "Flash animation"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript drawing (EPS)"),
        (b"\xc5\xd0\xd3\xc6" + bytes(50), "PostScript drawing (EPS)"),
        (b"PK\3\4" + b"\7" * 26 + b"mimetypeapplication/x-kritaPK", "Krita document"),
        (b"PK\3\4" + b"\7" * 26 + b"mimetypeimage/openrasterPK", "OpenRaster document"),
    ],
)
def test_rarer_formats_of_recorders_and_programs_have_a_name(data: bytes, name: str) -> None:
    """A sentence that calls a recording no sound sends its owner looking for a mistake that is not there."""
    sniffed = identify(io.BytesIO(data))
    assert sniffed is not None
    assert (sniffed.name, sniffed.is_sent) == (name, False)
    assert find_fault(io.BytesIO(data), sniffed) == ""


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("make", "extension"),
    [
        (b"NIKON CORPORATION", "nef"),
        (b"Canon", "cr2"),
        (b"SONY", "arw"),
        (b"PENTAX", "pef"),
        (b"SAMSUNG", "srw"),
        (b"EASTMAN KODAK COMPANY", "dcr"),
        (b"SEIKO EPSON CORP.", "erf"),
        (b"Hasselblad", "3fr"),
        (b"Phase One", "iiq"),
        (b"Leaf", "mos"),
        (b"Mamiya", "mef"),
        (b"Somebody", "raw"),
    ],
)
def test_a_raw_photo_is_known_anyone_who_made_the_camera(make: bytes, extension: str, order: str) -> None:
    """Its first page is a small copy, which looks like a usual TIFF (python-pillow/Pillow#6482)."""
    _, found, unsent_name = identify_bytes(build_raw(make, order))
    assert (found, unsent_name) == (extension, RAW_PHOTO)


RAW = {
    "DNG": build_dng(),
    "DNG, big-endian": build_dng(">"),
    "DNG, BigTIFF": build_dng(version=43),
    "DNG whose first page is the photo": tiff(TiffPage(800, 600, 0, (DNG_VERSION,))),
    "DNG made linear": tiff(TiffPage(160, 120, 1, (), (TiffPage(800, 600, 0, ((262, SHORT, (34892,)),)),))),
    "CR2": build_raw(b"Canon", start=b"II*\0\0\0\0\0CR\2\0\0\0\0\0"),
    "CR2 without a sensor's page": tiff(TiffPage(800, 600), start=b"II*\0\0\0\0\0CR\2\0\0\0\0\0"),
    "NEF, compressed": tiff(TiffPage(160, 120, 1, (), (TiffPage(9, 9, 0, ((259, SHORT, (34713,)),)),)), order=">"),
    "ARW, compressed": tiff(TiffPage(160, 120, 1, (), (TiffPage(9, 9, 0, ((259, SHORT, (32767,)),)),))),
    "SRW, compressed": tiff(TiffPage(160, 120, 1, (), (TiffPage(9, 9, 0, ((259, SHORT, (32770,)),)),))),
    "PEF, compressed": tiff(TiffPage(160, 120, 1), TiffPage(9, 9, 0, ((259, SHORT, (65535,)),)), order=">"),
    "a sensor's page behind the first": tiff(TiffPage(160, 120), TiffPage(800, 600, 0, (SENSOR,))),
    "a sensor's page two below": tiff(TiffPage(9, 9, 1, (), (TiffPage(9, 9, 1, (), (TiffPage(9, 9, 0, (SENSOR,)),)),))),
    "IIQ": tiff(TiffPage(160, 120, 1, ((271, TEXT, b"Phase One\0"),)), start=b"II*\0\0\0\0\0IIII"),
    "IIQ, big-endian": b"MMMMRawT" + bytes(200),
    "ORF": b"IIRO\x08\0\0\0" + bytes(200),
    "ORF, newer": b"IIRS\x08\0\0\0" + bytes(200),
    "ORF, big-endian": b"MMOR\0\0\0\x08" + bytes(200),
    "RW2": b"IIU\0\x18\0\0\0" + bytes(200),
    "RAF": b"FUJIFILMCCD-RAW 0201FF383501" + bytes(200),
    "CRW": b"II\x1a\0\0\0HEAPCCDR" + bytes(200),
    "CR3": box(b"ftyp", b"crx ", b"\0\0\0\1", b"crx isom") + box(b"moov", box(b"uuid", bytes(30))),
    "MRW": b"\0MRM\0\1\2\3" + bytes(200),
    "X3F": b"FOVb\0\0\2\0" + bytes(200),
}


@pytest.mark.parametrize("data", RAW.values(), ids=RAW)
def test_a_raw_photo_is_known_in_every_clothing(data: bytes) -> None:
    """Makers have their own first bytes, orders, compressions and places for the small copies."""
    assert identify_bytes(data)[2] == RAW_PHOTO


def test_a_photograph_that_was_exported_is_not_a_raw_photo() -> None:
    """Its TIFF names the camera, too."""
    data = tiff(TiffPage(80, 60, 0, ((271, TEXT, b"NIKON CORPORATION\0"), (272, TEXT, b"D850\0"))))
    assert identify_bytes(data) == ("image/tiff", "tif", "")


@pytest.mark.parametrize(
    "text", [b"MAC addresses of all cameras", b"ARRIVALS\n", b"MP+ is a letter", b"DSD \n", b"FLIF\n", b"P5 is a prime"]
)
def test_words_that_begin_like_a_format_are_text(text: bytes) -> None:
    """No list of media is called a sound."""
    assert identify_bytes(text)[0] == "text/plain"


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([*RAW.values(), *((SAMPLES / name).read_bytes()[:3000] for name in KNOWN)]),
    st.integers(0, 3000),
    st.binary(max_size=80),
)
def test_nothing_in_a_file_raises(data: bytes, kept: int, tail: bytes) -> None:
    """Its offsets, lengths and counts are untrusted; it is at its beginning afterwards."""
    file = io.BytesIO(data[:kept] + tail + data[kept + len(tail) :])
    identify(file)
    assert file.tell() == 0
