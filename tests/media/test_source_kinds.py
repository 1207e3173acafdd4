"""Which of the many ways to name a file a text is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowport.domain.uris import ResultName, parse_result_name
from flowport.media.source_kinds import SourceKind, build_mounted_path, get_source_kind

SPELLINGS = [
    ("", SourceKind.BLANK),
    (" \n\t", SourceKind.BLANK),
    ("data:image/png;base64,iVBORw0KGgo=", SourceKind.DATA_URI),
    ("DATA:,x", SourceKind.DATA_URI),
    ("data:image/png;base64,iVBO\nRw0K", SourceKind.DATA_URI),
    ("iVBORw0KGgo" + "A" * 80, SourceKind.BASE64),
    ("/9j/4AAQSkZJRg" + "A" * 80 + "==", SourceKind.BASE64),
    ("\n".join(["R0lGODlh" + "A" * 60] * 50), SourceKind.BASE64),
    ("A" * 5000, SourceKind.BASE64),
    ("cat\0.png", SourceKind.GARBLED),
    ("/tmp/a\nb.png", SourceKind.GARBLED),
    ("/tmp/\ud800.png", SourceKind.GARBLED),
    ("https://example.com/\x07", SourceKind.GARBLED),
    ("https://example.com/cat.png", SourceKind.URL),
    (" HTTPS://example.com/cat.png\n", SourceKind.URL),
    ("http://example.com/cat.png", SourceKind.URL),
    ("https:cat.png", SourceKind.URL),
    ("file:///tmp/cat.png", SourceKind.FILE_URI),
    ("file:/tmp/cat.png", SourceKind.FILE_URI),
    ("sandbox:/mnt/data/cat.png", SourceKind.CHAT),
    ("attachment://cat.png", SourceKind.CHAT),
    ("blob:https://chat.example/7f", SourceKind.CHAT),
    ("cid:part1@example.com", SourceKind.CHAT),
    ("ftp://example.com/cat.png", SourceKind.OTHER_SCHEME),
    ("javascript:alert(1)", SourceKind.OTHER_SCHEME),
    ("flowport://runs/run_1/outputs/1", SourceKind.RESULT),
    ("Flowport://apps/sketch", SourceKind.RESULT),
    ("run:run_ab2cd3ef4g", SourceKind.RESULT),
    ("run_ab2cd3ef4g#2", SourceKind.RESULT),
    ("last", SourceKind.RESULT),
    ("LAST#2", SourceKind.RESULT),
    ("last#x", SourceKind.RESULT),
    ("last summer.png", SourceKind.RELATIVE),
    ("run_away.png", SourceKind.RELATIVE),
    ("run/fast", SourceKind.RELATIVE),
    ("C:\\Users\\me\\cat.png", SourceKind.WINDOWS_PATH),
    ("c:/Users/me/cat.png", SourceKind.WINDOWS_PATH),
    ("\\\\server\\share\\cat.png", SourceKind.NETWORK_PATH),
    ("//server/share/cat.png", SourceKind.NETWORK_PATH),
    ("/home/me/cat.png", SourceKind.PATH),
    ("/" + "home/me/" * 20 + "cat", SourceKind.PATH),
    ("/9j/cat.png", SourceKind.PATH),
    ("~", SourceKind.PATH),
    ("~/cat.png", SourceKind.PATH),
    ("~me/cat.png", SourceKind.PATH),
    ("image.png", SourceKind.RELATIVE),
    ("./cat.png", SourceKind.RELATIVE),
    ("the picture above", SourceKind.RELATIVE),
    ("C:cat.png", SourceKind.RELATIVE),
]


@pytest.mark.parametrize(("value", "spelling"), SPELLINGS)
def test_each_way_to_name_a_file_is_reported_apart(value: str, spelling: SourceKind) -> None:
    """Each is answered differently, and none is opened to find out."""
    assert get_source_kind(value, is_windows=False) is spelling


def test_a_drive_letter_is_a_path_on_windows() -> None:
    """It is the usual path there."""
    assert get_source_kind("C:\\Users\\me\\cat.png", is_windows=True) is SourceKind.PATH


def test_a_network_share_is_never_a_path() -> None:
    """Opening one on Windows sends the user's password hash to its server."""
    assert get_source_kind("\\\\server\\share\\cat.png", is_windows=True) is SourceKind.NETWORK_PATH


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=100))
def test_every_text_has_a_spelling(value: str) -> None:
    """Models write anything."""
    assert isinstance(get_source_kind(value), SourceKind)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("last", ResultName("", None)),
        (" Last#3 ", ResultName("", 3)),
        ("run:run_ab2", ResultName("run_ab2", None)),
        ("run:AB2#12", ResultName("run_ab2", 12)),
        ("RUN:Run_ab2#1", ResultName("run_ab2", 1)),
        ("run_ab2", ResultName("run_ab2", None)),
        ("run_ab2#4", ResultName("run_ab2", 4)),
        ("flowport://runs/run_ab2", ResultName("run_ab2", None)),
        ("flowport://runs/run_ab2/outputs/4", ResultName("run_ab2", 4)),
        ("last#0", None),
        ("last#-1", None),
        ("last#1x", None),
        ("last#1234567", None),
        ("run:", None),
        ("run:../x", None),
        ("run:ab#1/../2", None),
        ("flowport://apps/sketch", None),
        ("flowport://runs/", None),
        ("flowport://runs/ab/outputs/", None),
        ("flowport://runs/ab/outputs/1?x", None),
    ],
)
def test_a_result_is_named_by_its_run_and_its_place(value: str, name: ResultName | None) -> None:
    """What is written otherwise is refused, and not guessed."""
    assert parse_result_name(value) == name


def test_a_windows_path_is_found_where_windows_mounts_its_drives() -> None:
    """Assistants of a Windows computer name its paths to a Flowport that runs in its Linux."""
    assert build_mounted_path("C:\\Users\\me\\a.png") == "/mnt/c/Users/me/a.png"
    assert build_mounted_path("d:/a.png") == "/mnt/d/a.png"
