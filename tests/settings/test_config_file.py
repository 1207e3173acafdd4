"""The configuration file as editors and shells write it: its bytes, its TOML, its keys."""

from pathlib import Path

import pytest

from tests.support.configuring import load, refuse


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Where a test writes its configuration file."""
    return tmp_path / "flowport.toml"


@pytest.mark.parametrize(
    ("content", "problem", "remedy"),
    [
        (b"= 1", "cannot be read: it is not TOML (line 1, column 1: Invalid statement)", "Correct that line."),
        (
            b"flowport_max_tools = 1\nflowport_wait_seconds 4\n",
            "cannot be read: it is not TOML (line 2, column 23: Expected '=' after a key in a key/value pair)",
            "Each line is a name, an equals sign and a value.",
        ),
        (
            b'flowport_home = "C:\\Users\\me"',
            "cannot be read: it is not TOML (line 1, column 22: Invalid hex value)",
            "In double quotes a backslash begins a code: write Windows paths between single quotes.",
        ),
        (
            b"flowport_home = /data",
            "cannot be read: it is not TOML (line 1, column 17: Invalid value)",
            "Texts and paths stand between quotes; lists between [ and ].",
        ),
        (
            b'magnific_api_key = "mk-secret\n',
            "cannot be read: it is not TOML (line 1, column 30: Illegal character '\\n')",
            "A quote is missing at the end of the line.",
        ),
        (
            b"flowport_max_tools = 1\nflowport_max_tools = 2\n",
            "cannot be read: it is not TOML (line 2, column 23: Cannot overwrite a value)",
            "The same name stands there twice: remove one.",
        ),
        (b"\xff", "cannot be read: line 1 holds a byte that is not UTF-8", "Save the file as UTF-8."),
        (b"\n# caf\xe9\n", "cannot be read: line 2 holds a byte that is not UTF-8", "Save the file as UTF-8."),
        (
            b"\xff\xfe\x00\xd8\x00\x00",
            "cannot be read: line 1 holds a byte that is not UTF-16-LE",
            "Save the file as UTF-8.",
        ),
        (b"a = " + b"[" * 100_000, "cannot be read: it is nested too deeply", "Write each setting on its own line."),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_its_line(
    config: Path, content: bytes, problem: str, remedy: str
) -> None:
    """The parser's words name keys and single characters; the line itself is not quoted, for it may hold the key."""
    config.write_bytes(content)
    error = refuse({}, config=config)
    assert (error.setting, error.problem, error.remedy) == (str(config), problem, remedy)


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (b"\xef\xbb\xbf", "utf-8"),
        (b"\xff\xfe", "utf-16-le"),
        (b"\xfe\xff", "utf-16-be"),
        (b"\xff\xfe\x00\x00", "utf-32-le"),
        (b"\x00\x00\xfe\xff", "utf-32-be"),
        (b"", "utf-16-le"),
        (b"", "utf-16-be"),
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_file_is_read_in_the_encoding_that_its_editor_chose(
    config: Path, tmp_path: Path, mark: bytes, encoding: str, line_end: str
) -> None:
    """Notepad puts a mark before UTF-8, and PowerShell's `>` writes UTF-16."""
    lines = ["flowport_max_tools = 5", f"flowport_home = '{tmp_path}/caf\N{LATIN SMALL LETTER E WITH ACUTE}'", ""]
    config.write_bytes(mark + line_end.join(lines).encode(encoding))
    assert (load(config=config).max_tools, load(config=config).home) == (
        5,
        tmp_path / "caf\N{LATIN SMALL LETTER E WITH ACUTE}",
    )


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("wait_seconds", "flowport_wait_seconds"),
        ("wait-seconds", "flowport_wait_seconds"),
        ("waitSeconds", "flowport_wait_seconds"),
        ("wait_second", "flowport_wait_seconds"),
        ("FLOWPORT_WAIT_SECONDS", "flowport_wait_seconds"),
        ("Flowport_Wait_Seconds", "flowport_wait_seconds"),
        ("flowport-wait-seconds", "flowport_wait_seconds"),
        ("flowport_wait", "flowport_wait_seconds"),
        ("max_tools", "flowport_max_tools"),
        ("home", "flowport_home"),
        ("api_key", "magnific_api_key"),
        ("base_url", "magnific_base_url"),
        ("cancel_path", "magica_cancel_path"),
        ("previews", "flowport_previews"),
        ("magnific_key", "magnific_api_key"),
    ],
)
def test_a_key_of_the_file_is_met_with_the_one_that_is_meant(config: Path, key: str, meant: str) -> None:
    """The flags have no prefix, so people leave it out here too."""
    config.write_text(f"{key} = 4")
    error = refuse({}, config=config)
    assert (error.problem, error.remedy) == ("is not a variable that Flowport knows", f"Did you mean {meant}?")


@pytest.mark.parametrize(
    ("content", "meant"),
    [
        ("[server]\nwait_seconds = 4", "flowport_wait_seconds"),
        ("[flowport]\nwait_seconds = 4", "flowport_wait_seconds"),
        ("[flowport]\nmax_tools = 4\nwait_seconds = 4", "flowport_max_tools"),
        ("flowport.wait_seconds = 4", "flowport_wait_seconds"),
        ("flowport = {home = '/data'}", "flowport_home"),
        ("[flowport]\nflowport_previews = false", "flowport_previews"),
        ("[tool.flowport]\nsource = 'own'", "flowport_source"),
        ("[[flowport]]\nsource = 'own'", "flowport_source"),
        ("[magnific]\napi_key = 'mk-012345'", "magnific_api_key"),
        ("[magica]\napi_key = 'gx_012345'", "magica_api_key"),
        ("magica.base-url = 'https://x.example'", "magica_base_url"),
        ("[env]\nMAGICA_API_KEY = 'gx_012345'", "magica_api_key"),
        ("[flowport]\n", "flowport_wait_seconds"),
        ("[server]\nport = 4", "flowport_wait_seconds"),
    ],
)
def test_settings_in_a_table_of_their_own_are_refused_with_the_way_to_write_them(
    config: Path, content: str, meant: str
) -> None:
    """Other programs keep theirs under a heading; the first that is meant is named, and no value, for it may be a key."""
    config.write_text(content)
    error = refuse({}, config=config)
    assert error.problem == "is not a variable that Flowport knows"
    assert error.remedy == f"Write each setting by itself before any heading, such as {meant}."
    assert "012345" not in str(error)
