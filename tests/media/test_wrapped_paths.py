"""Names of files as programs hand them over: wrapped, escaped, in Windows' words, or with letters that look the same."""

import base64
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowport.domain.errors import ArgumentsInvalid
from flowport.domain.models import InputKind
from flowport.media.input_files import FileMedia, MediaRules, UrlMedia, resolve_media
from flowport.media.source_kinds import iterate_unwrapped
from flowport.media.sources import DiskSource, HeldSource, find_similar_file
from tests.media.test_input_files import PNG


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that may be read, in a home folder, with a picture."""
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "Pictures"
    folder.mkdir()
    (folder / "my cat.png").write_bytes(PNG)
    return folder


def resolve(value: str, rules: MediaRules) -> FileMedia | UrlMedia:
    """Resolve an argument called photo."""
    return resolve_media(value, argument="photo", kind=InputKind.IMAGE, rules=rules)


def find(value: str, root: Path) -> Path:
    """Return the file that an argument names."""
    media = resolve(value, MediaRules((root,)))
    assert isinstance(media, FileMedia)
    assert isinstance(media.source, DiskSource)
    return media.source.path


def refuse(value: str, root: Path) -> str:
    """Return why an argument is refused."""
    with pytest.raises(ArgumentsInvalid) as caught:
        resolve(value, MediaRules((root,)))
    return str(caught.value.problems[0])


@pytest.mark.parametrize(
    "wrapped",
    [
        '"{path}"',
        "'{path}'",
        "`{path}`",
        "<{path}>",
        "\u201c{path}\u201d",
        "\u201e{path}\u201c",
        "\u00ab{path}\u00bb",
        "'\"{path}\"'",
        "({path})",
        "@{path}",
        '@"{path}"',
        "& '{path}'",
        "file: {path}",
        "image={path}",
        "![a cat]({path})",
        "[cat](<{path}>)",
        '![]({path} "a title")',
        "<img src='{uri}'>",
        "url('{path}')",
        "{path},",
        "{path}.",
        "{path}:12:3",
        '"{path}",',
        "{escaped}",
        "{percent}",
        "<file://{percent}>",
        '"file://{path}"',
        "/{path}",
        "$HOME/Pictures/my cat.png",
        '"${{HOME}}/Pictures/my cat.png"',
        "\u202a{path}\u202c",
        "\ufeff{path}",
        "MEDIA:{path}",
        "- {path}",
        "1. {path}",
        "**{path}**",
        "~~{path}~~",
        "<path>{path}</path>",
        '<img src="{path}" width=3>',
        "![[{path}|a cat]]",
        "PosixPath('{path}')",
        'r"{path}"',
        "[Image: source: {path}]",
        "[Image #1: {path}]",
        "#file:{path}",
        "vscode://file{path}",
        "vscode-file://vscode-app{path}",
        "\u300e{path}\u300f",
        "\uff08{path}\uff09",
        '\u201c{path}"',
        "'{path}",
        "&quot;{path}&quot;",
        '\\"{path}\\"',
    ],
)
def test_a_wrapped_path_is_the_path_inside(wrapped: str, root: Path) -> None:
    """File managers copy paths with quotes, terminals escape spaces, chats make links (anthropics/claude-code#16532)."""
    path = f"{root}/my cat.png"
    percent = path.replace(" ", "%20")
    value = wrapped.format(path=path, escaped=path.replace(" ", "\\ "), percent=percent, uri=f"file://{percent}")
    assert find(value, root) == Path(path)


@pytest.mark.parametrize(
    "name", ['"a".png', "a.png,", "a\\ b.png", "a%20b.png", "a.png'", "it's.png", "a (1).png", "@a.png"]
)
def test_a_file_that_is_really_called_so_comes_first(name: str, root: Path) -> None:
    """Its name is data."""
    (root / name).write_bytes(PNG)
    assert find(f"{root}/{name}", root) == root / name


@pytest.mark.parametrize("wrapped", ['"{}"', "<{}>", "![a]({})", "[a]({})", "'{}',", "url({})", "<img src={}>"])
def test_addresses_and_data_are_unwrapped_alike(wrapped: str, root: Path) -> None:
    """Whatever is named."""
    rules = MediaRules((root,))
    assert resolve(wrapped.format("https://example.com/cat.png?a=1"), rules) == UrlMedia(
        "https://example.com/cat.png?a=1"
    )


@pytest.mark.parametrize("wrapped", ['"{}"', "'{}'", "![a]({})"])
@pytest.mark.parametrize("padding", [0, 20_000])
def test_data_is_unwrapped_alike(wrapped: str, padding: int, root: Path) -> None:
    """A long text is not searched."""
    data = PNG + bytes(padding)
    media = resolve(wrapped.format("data:image/png;base64," + base64.b64encode(data).decode()), MediaRules((root,)))
    assert isinstance(media, FileMedia)
    assert media.source == HeldSource(data)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ('"{root}/gone.png"', "does not exist"),
        ('"/etc/passwd"', "no file in the folders"),
        ("<file:///etc/passwd>", "no file in the folders"),
        ("@/etc/passwd", "no file in the folders"),
        ('"image.png"', "means nothing outside the chat"),
        ('""', "means nothing outside the chat"),
        ("'//server/share/cat.png'", "network share"),
        ("//server/share/cat.png", "network share"),
    ],
)
def test_what_is_inside_is_judged_like_anything_else(value: str, problem: str, root: Path) -> None:
    """No wrapping leads out of the folders."""
    assert problem in refuse(value.format(root=root), root)


@pytest.mark.parametrize(
    "share",
    [
        "\\\\wsl.localhost\\Ubuntu{path}",
        "\\\\wsl$\\Ubuntu{path}",
        "\\\\WSL.LOCALHOST\\ubuntu{path}",
        "//wsl.localhost/Ubuntu{slashed}",
        "file://wsl.localhost/Ubuntu{slashed}",
        "\\\\?\\UNC\\wsl.localhost\\Ubuntu{path}",
        '"\\\\wsl.localhost\\Ubuntu{path}"',
    ],
)
def test_the_windows_name_of_a_file_of_this_linux_is_that_file(share: str, root: Path) -> None:
    """Windows' file manager copies it so (anomalyco/opencode#19473); other shares stay shares."""
    slashed = f"{root}/my cat.png"
    value = share.format(path=slashed.replace("/", "\\"), slashed=slashed)
    rules = MediaRules((root,), linux_name="Ubuntu")
    assert isinstance(resolve(value, rules), FileMedia)
    with pytest.raises(ArgumentsInvalid):
        resolve(value, replace(rules, linux_name="Debian"))
    with pytest.raises(ArgumentsInvalid, match="no file in the folders"):
        resolve(share.format(path="\\etc\\passwd", slashed="/etc/passwd"), rules)


@pytest.mark.parametrize("value", ["\\\\?\\C:\\Pictures\\my cat.png", "\\\\localhost\\c$\\Pictures\\my cat.png"])
def test_a_drive_in_a_shares_clothing_is_a_drive(value: str, root: Path, tmp_path: Path) -> None:
    """Programs write long paths so."""
    (tmp_path / "mnt").mkdir()
    (tmp_path / "mnt" / "c").symlink_to(tmp_path)
    assert isinstance(resolve(value, MediaRules((root,), mounts=tmp_path / "mnt")), FileMedia)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("Screenshot 2026-05-12 at 4.42.48\u202fPM.png", "Screenshot 2026-05-12 at 4.42.48 PM.png"),
        ("a\u00a0b.png", "a b.png"),
        ("a b.png", "a\u3000b.png"),
        ("cafe\u0301.png", "caf\u00e9.png"),
        ("caf\u00e9.png", "cafe\u0301.png"),
        ("it\u2019s.png", "it's.png"),
        ("it's.png", "it\u2019s.png"),
    ],
)
@pytest.mark.parametrize("is_uri", [True, False])
def test_a_name_that_looks_the_same_is_found_and_reported(name: str, given: str, is_uri: bool, root: Path) -> None:
    """A model writes plain spaces where a screen shows them (modelcontextprotocol/servers#1597, cline/cline#10691)."""
    (root / name).write_bytes(PNG)
    media = resolve(f"{'file://' * is_uri}{root}/{given}", MediaRules((root,)))
    assert isinstance(media, FileMedia)
    assert media.source == DiskSource(root / name, (root,))
    assert "was read from a file whose name only looks the same" in media.note


def test_a_folder_that_looks_the_same_is_reported(root: Path) -> None:
    """The picture may be that of another folder than the one that was meant."""
    (root / "Anna\u2019s").mkdir()
    (root / "Anna\u2019s" / "cup.png").write_bytes(PNG)
    media = resolve(f"{root}/Anna's/cup.png", MediaRules((root,)))
    assert isinstance(media, FileMedia)
    assert media.note == 'was read from a folder whose name only looks the same, "Anna\\u2019s"'


def test_the_exact_name_comes_first(root: Path) -> None:
    """Both are there, and one was named."""
    for name in ("a b.png", "a\u00a0b.png"):
        (root / name).write_bytes(PNG)
        media = resolve(f"{root}/{name}", MediaRules((root,)))
        assert isinstance(media, FileMedia)
        assert media.source == DiskSource(root / name, (root,))
        assert media.note == ""


def test_several_names_that_look_the_same_are_refused_and_named(root: Path) -> None:
    """A guess would send the wrong picture."""
    for name in ("a\u00a0b.png", "a\u202fb.png"):
        (root / name).write_bytes(PNG)
    problem = refuse(f"{root}/a b.png", root)
    assert (
        'a file that does not exist, and 2 look the same: "a\\xa0b.png", "a\\u202fb.png". Rename all but one' in problem
    )


@pytest.mark.parametrize(
    ("name", "given"), [("photo\u00b2.png", "photo2.png"), ("A.png", "a.png"), ("\ufb01.png", "fi.png")]
)
def test_other_letters_are_other_names(name: str, given: str, root: Path) -> None:
    """Compatibility is too wide, and so is case (droppyjs/droppy#72)."""
    (root / name).write_bytes(PNG)
    assert "does not exist" in refuse(f"{root}/{given}", root)


def test_a_folder_may_look_the_same_too(root: Path) -> None:
    """Its name is as hard to write."""
    folder = root / "May\u202f2026"
    folder.mkdir()
    (folder / "it\u2019s.png").write_bytes(PNG)
    assert find(f"{root}/May 2026/it's.png", root) == folder / "it\u2019s.png"


def test_no_look_leads_out_of_the_folders(root: Path, tmp_path: Path) -> None:
    """Only folders that may be read are listed, and links are followed as ever."""
    outside = tmp_path / "private"
    outside.mkdir()
    (outside / "a\u00a0b.png").write_bytes(PNG)
    (root / "to\u00a0outside").symlink_to(outside)
    assert "no file in the folders" in refuse(f"{outside}/a b.png", root)
    assert "no file in the folders" in refuse(f"{root}/../private/a b.png", root)
    assert "no file in the folders" in refuse(f"{root}/to outside/a\u00a0b.png", root)
    assert find_similar_file(outside / "a b.png", (root,)) is None


@given(st.text(max_size=60))
def test_no_text_takes_long_or_raises(text: str) -> None:
    """Whatever a model wraps."""
    found = list(iterate_unwrapped(text, linux_name="Ubuntu"))
    assert len(found) == len(set(found)) < 400
    assert unicodedata.is_normalized("NFC", "".join(found)) in {True, False}


@pytest.mark.parametrize(
    "text", ["/a" + " " * 9_900 + "b", "/a" + ":1" * 4_900 + "b", "'" * 9_999, "- " * 4_999, "\u200b" * 9_999]
)
def test_a_text_made_to_be_searched_long_has_few_readings(text: str) -> None:
    """Anyone who calls waits for it."""
    assert sum(1 for _ in iterate_unwrapped(text)) < 50


def test_a_shells_quoted_apostrophe_is_one(root: Path) -> None:
    """So a terminal writes a file that is dragged into it."""
    (root / "it's.png").write_bytes(PNG)
    assert find(f"'{root}/it'\\''s.png'", root) == root / "it's.png"


@pytest.mark.parametrize("start", ["\\\\?\\C:\\", "\\\\localhost\\c$\\"])
def test_a_drive_of_this_computer_is_not_a_share(start: str, root: Path) -> None:
    """To copy the file to this computer would be no help."""
    assert "is a Windows path" in refuse(f"{start}x.png", root)
    mounts = root / "mnt"
    (mounts / "c").mkdir(parents=True)
    (mounts / "c" / "x.png").write_bytes(PNG)
    media = resolve(f"{start}x.png", replace(MediaRules((root,)), mounts=mounts))
    assert isinstance(media, FileMedia)


@pytest.mark.parametrize(
    "form",
    [
        "file://///wsl.localhost/Ubuntu{}",
        "vscode-remote://wsl+Ubuntu{}",
        "vscode-remote://wsl%2Bubuntu{}",
        "\\\\\\\\wsl.localhost\\\\Ubuntu{}",
    ],
)
def test_other_names_of_a_file_of_this_linux_are_its_path(form: str, root: Path) -> None:
    """As editors and JSON write them; those of another Linux stay refused."""
    path = str(root / "my cat.png")
    rules = MediaRules((root,), linux_name="Ubuntu")
    media = resolve(form.format(path.replace("/", "\\\\") if form.startswith("\\") else path), rules)
    assert isinstance(media, FileMedia)
    with pytest.raises(ArgumentsInvalid):
        resolve(form.format(path), replace(rules, linux_name="Debian"))


@pytest.mark.parametrize(
    "form",
    [
        "dataurl:image/png;base64,{}",
        "src=data:image/png;base64,{}",
        "data=image/png;base64,{}",
        'data:image/png;base64,"{}"',
        "data:image/png;base64,b'{}'",
    ],
)
def test_a_wrong_beginning_of_data_means_one_thing(form: str, root: Path) -> None:
    """Models copy it from HTML and Python (code-yeongyu/senpi#1260)."""
    media = resolve(form.format(base64.b64encode(PNG).decode()), MediaRules((root,)))
    assert isinstance(media, FileMedia)
    assert media.source == HeldSource(PNG)


def test_an_address_without_its_beginning_is_called_so(root: Path) -> None:
    """It is not a path."""
    assert 'it lacks "https://"' in refuse("cdn.example.com/x.png", root)
