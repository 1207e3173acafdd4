"""Which of the many ways to name a file a text is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowport.domain.uris import ResultName, parse_result_name
from flowport.media.source_kinds import Spelling, get_mounted_path, get_spelling

SPELLINGS = [
    ("", Spelling.BLANK),
    (" \n\t", Spelling.BLANK),
    ("data:image/png;base64,iVBORw0KGgo=", Spelling.DATA_URI),
    ("DATA:,x", Spelling.DATA_URI),
    ("data:image/png;base64,iVBO\nRw0K", Spelling.DATA_URI),
    ("iVBORw0KGgo" + "A" * 80, Spelling.BASE64),
    ("/9j/4AAQSkZJRg" + "A" * 80 + "==", Spelling.BASE64),
    ("\n".join(["R0lGODlh" + "A" * 60] * 50), Spelling.BASE64),
    ("A" * 5000, Spelling.BASE64),
    ("cat\0.png", Spelling.GARBLED),
    ("/tmp/a\nb.png", Spelling.GARBLED),
    ("/tmp/\ud800.png", Spelling.GARBLED),
    ("https://example.com/\x07", Spelling.GARBLED),
    ("https://example.com/cat.png", Spelling.URL),
    (" HTTPS://example.com/cat.png\n", Spelling.URL),
    ("http://example.com/cat.png", Spelling.URL),
    ("https:cat.png", Spelling.URL),
    ("file:///tmp/cat.png", Spelling.FILE_URI),
    ("file:/tmp/cat.png", Spelling.FILE_URI),
    ("sandbox:/mnt/data/cat.png", Spelling.CHAT),
    ("attachment://cat.png", Spelling.CHAT),
    ("blob:https://chat.example/7f", Spelling.CHAT),
    ("cid:part1@example.com", Spelling.CHAT),
    ("ftp://example.com/cat.png", Spelling.OTHER_SCHEME),
    ("javascript:alert(1)", Spelling.OTHER_SCHEME),
    ("flowport://runs/run_1/outputs/1", Spelling.RESULT),
    ("Flowport://apps/sketch", Spelling.RESULT),
    ("run:run_ab2cd3ef4g", Spelling.RESULT),
    ("run_ab2cd3ef4g#2", Spelling.RESULT),
    ("last", Spelling.RESULT),
    ("LAST#2", Spelling.RESULT),
    ("last#x", Spelling.RESULT),
    ("last summer.png", Spelling.RELATIVE),
    ("run_away.png", Spelling.RELATIVE),
    ("run/fast", Spelling.RELATIVE),
    ("C:\\Users\\me\\cat.png", Spelling.WINDOWS_PATH),
    ("c:/Users/me/cat.png", Spelling.WINDOWS_PATH),
    ("\\\\server\\share\\cat.png", Spelling.NETWORK_PATH),
    ("//server/share/cat.png", Spelling.NETWORK_PATH),
    ("/home/me/cat.png", Spelling.PATH),
    ("/" + "home/me/" * 20 + "cat", Spelling.PATH),
    ("/9j/cat.png", Spelling.PATH),
    ("~", Spelling.PATH),
    ("~/cat.png", Spelling.PATH),
    ("~me/cat.png", Spelling.PATH),
    ("image.png", Spelling.RELATIVE),
    ("./cat.png", Spelling.RELATIVE),
    ("the picture above", Spelling.RELATIVE),
    ("C:cat.png", Spelling.RELATIVE),
]


@pytest.mark.parametrize(("value", "spelling"), SPELLINGS)
def test_each_way_to_name_a_file_is_told_apart(value: str, spelling: Spelling) -> None:
    """Each is answered differently, and none is opened to find out."""
    assert get_spelling(value, is_windows=False) is spelling


def test_a_drive_letter_is_a_path_on_windows() -> None:
    """It is the usual path there."""
    assert get_spelling("C:\\Users\\me\\cat.png", is_windows=True) is Spelling.PATH


def test_a_network_share_is_never_a_path() -> None:
    """Opening one on Windows sends the user's password hash to its server."""
    assert get_spelling("\\\\server\\share\\cat.png", is_windows=True) is Spelling.NETWORK_PATH


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=100))
def test_every_text_has_a_spelling(value: str) -> None:
    """Models write anything."""
    assert isinstance(get_spelling(value), Spelling)


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
    assert get_mounted_path("C:\\Users\\me\\a.png") == "/mnt/c/Users/me/a.png"
    assert get_mounted_path("d:/a.png") == "/mnt/d/a.png"
