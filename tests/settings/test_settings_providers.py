"""What turns a provider on: its key, which nothing shows, its address, its paths."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowport.domain.errors import ConfigurationError
from flowport.providers.registry import ProviderSettings
from flowport.settings.settings import Settings
from tests.support.configuring import KEY, load, refuse


@pytest.mark.parametrize(
    "url",
    [
        "https://api.magnific.com",
        "https://proxy.example:8443/magnific",
        "HTTPS://api.magnific.com",
        "http://127.0.0.1:1",
        "http://localhost",
        "http://[::1]:8080",
    ],
)
def test_an_address_is_https_or_on_this_machine(url: str) -> None:
    """The key travels with every request."""
    (provider,) = load({"MAGNIFIC_API_KEY": KEY, "MAGNIFIC_BASE_URL": f" {url}// "}).providers
    assert provider.base_url == url


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://api.magnific.com", "is not https"),
        ("http://127.0.0.1.evil.example", "is not https"),
        ("http://0.0.0.0", "is not https"),
        ("ftp://localhost", "is not https"),
        ("api.magnific.com", "is not a plain URL"),
        ("https://", "is not a plain URL"),
        ("https:///v1", "is not a plain URL"),
        ("https://me@api.magnific.com", "is not a plain URL"),
        ("https://:secret@api.magnific.com", "is not a plain URL"),
        ("https://@api.magnific.com", "is not a plain URL"),
        ("https://api.magnific.com\\@evil.example", "is not a plain URL"),
        ("https://api.magnific.com?key=1", "is not a plain URL"),
        ("https://api.magnific.com/?", "is not a plain URL"),
        ("https://api.magnific.com#", "is not a plain URL"),
        ("https://api.mag nific.com", "is not a plain URL"),
        ("https://api.magnific.com/\nv1", "is not a plain URL"),
        ("https://api.mágnific.com", "is not a plain URL"),
        ("https://api.magnific.com:99999", "is not a URL"),
        ("https://api.magnific.com:x", "is not a URL"),
        ("https://[::1", "is not a URL"),
    ],
)
def test_any_other_address_is_refused_without_being_quoted(url: str, problem: str) -> None:
    """It may hold a password. It is refused without a key too, so that the mistake shows at once."""
    error = refuse({"MAGNIFIC_BASE_URL": url})
    assert (error.setting, error.problem) == ("MAGNIFIC_BASE_URL", problem)
    assert error.remedy in {"It looks like https://api.magnific.com.", "Only an address on this machine may be http."}


@pytest.mark.parametrize("key", ["a b", "a\nb", "a\x7fb", "ключ", "“quoted”", "a\u200bb"])
def test_a_key_with_a_character_that_no_key_has_is_refused_and_not_quoted(key: str) -> None:
    """A header could not carry it, and the library's error would show it."""
    error = refuse({"MAGNIFIC_API_KEY": key})
    assert error.problem == "holds a character that no key has"
    assert key not in f"{error}{error!r}"


@given(st.text(min_size=4).filter(str.strip))
@settings(deadline=None, max_examples=100)
def test_no_key_shows_in_what_a_log_could_print(key: str) -> None:
    """Settings end in logs and tracebacks, whether they are good or not."""
    marked = f"KEY{key}KEY"
    try:
        shown: Settings | ConfigurationError = load({"MAGNIFIC_API_KEY": marked})
    except ConfigurationError as exc:
        shown = exc
    assert marked not in f"{shown}{shown!r}{getattr(shown, 'providers', '')}"


def test_keys_are_distinguished_by_a_short_digest() -> None:
    """The store names accounts by it, so it must not change between versions, nor give the key away."""
    first, second = (ProviderSettings("magnific", "https://x", key).fingerprint for key in (KEY, KEY + "0"))
    assert first == "18f70304fec4"
    assert second != first
    assert len(first) == 12


def test_one_provider_s_key_turns_on_that_one(tmp_path: Path) -> None:
    """Each by itself, and neither needs the other."""
    assert [one.provider for one in load({"MAGICA_API_KEY": "gx_1"}).providers] == ["magica"]
    assert load({"MAGICA_API_KEY": "gx_1"}).providers[0].base_url == "https://api.magica.com/api"


@pytest.mark.parametrize("path", ["v1/{run_id}", "/v1/cancel", "/v1/{run_id}?x", "https://x/{run_id}", "/../{run_id}"])
def test_a_path_that_names_no_run_cancels_none(path: str) -> None:
    """It would be called with the key."""
    assert "MAGICA_CANCEL_PATH" in str(refuse({"MAGICA_CANCEL_PATH": path}))


@pytest.mark.parametrize("name", ["MAGNIFIC_API_KEY", "MAGICA_API_KEY"])
def test_a_key_with_a_character_that_no_key_has_is_named_without_itself(name: str) -> None:
    """It is a secret, and a quote or a line break came along when it was copied."""
    assert str(refuse({name: "a secret"})).startswith(f"{name} holds a character that no key has.")


def test_the_key_of_our_own_example_is_a_placeholder() -> None:
    """A user who copies the file and changes nothing learns it before anything is sent."""
    example = json.loads((Path(__file__).parents[2] / "mcp.json.example").read_text(encoding="utf-8"))
    error = refuse(example["mcpServers"]["flowport"]["env"])
    assert (error.setting, error.problem[:31]) == ("MAGNIFIC_API_KEY", 'is the placeholder "your key; l')


def test_a_key_under_the_other_provider_s_name_is_refused() -> None:
    """It must not reach a service that it does not belong to."""
    assert refuse({"MAGNIFIC_API_KEY": "gx_0f3b"}).remedy == "Set MAGICA_API_KEY to it instead."
    assert refuse({"MAGICA_API_KEY": "FPSX0f3b"}).remedy == "Set MAGNIFIC_API_KEY to it instead."


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("", ()),
        (" , ", ()),
        ("http://127.0.0.1:8080", ("http://127.0.0.1:8080",)),
        ("HTTP://NAS.lan:80/ , https://files.example.lan:443", ("http://nas.lan", "https://files.example.lan")),
        ("http://[::1]:8080,http://[::1]:8080", ("http://[::1]:8080",)),
        ("https://files.example.lan:8443", ("https://files.example.lan:8443",)),
    ],
)
@pytest.mark.parametrize(("key", "name"), [("MAGNIFIC_API_KEY", "MAGNIFIC"), ("MAGICA_API_KEY", "MAGICA")])
def test_origins_of_files_are_read_in_one_form(text: str, origins: tuple[str, ...], key: str, name: str) -> None:
    """The fetcher compares them letter by letter with those of links."""
    (provider,) = load({key: "gx_1" if name == "MAGICA" else KEY, f"{name}_FILE_ORIGINS": text}).providers
    assert provider.file_origins == frozenset(origins)


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:8080",
        "nas.lan",
        "ftp://nas.lan",
        "file:///srv",
        "http://",
        "http://nas.lan/files",
        "http://nas.lan?x",
        "http://nas.lan#x",
        "http://me:secret@nas.lan",
        "http://nas.lan:0",
        "http://nas.lan:99999",
        "http://nas.lan:x",
        "http://*.lan",
        "http://na s.lan",
        "http://nás.lan",
        "http://[::1",
        "*",
        "http://127.0.0.1:1,nas",
        "${ORIGINS}",
    ],
)
@pytest.mark.parametrize("name", ["MAGNIFIC_FILE_ORIGINS", "MAGICA_FILE_ORIGINS"])
def test_what_is_not_an_origin_is_refused_without_being_quoted(text: str, name: str) -> None:
    """A part that matches nothing would leave files unreachable, and it may hold a password."""
    error = refuse({name: text})
    assert (error.setting, error.problem) == (name, "holds something that is not an origin")
    assert "secret" not in f"{error}{error!r}"


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("http://10.0.0.5:8188", {"http://10.0.0.5:8188"}),
        (" HTTP://LocalHost:80/ , https://files.example:443,", {"http://localhost", "https://files.example"}),
        ("http://[::1]:8188", {"http://[::1]:8188"}),
        (",", set[str]()),
    ],
)
def test_origins_of_files_are_read_as_addresses_are_compared(text: str, origins: set[str]) -> None:
    """In lower case, without a slash at the end and without a default port."""
    (provider,) = load({"MAGNIFIC_API_KEY": KEY, "MAGNIFIC_FILE_ORIGINS": text}).providers
    assert provider.file_origins == origins


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.5:8188",
        "*",
        "file:///etc",
        "ftp://10.0.0.5",
        "http://",
        "http://10.0.0.5/files",
        "http://10.0.0.5?x",
        "http://10.0.0.5#x",
        "http://me:secret@10.0.0.5",
        "http://10.0.0.5:99999",
        "http://[::1",
        "http://10.0.0.5;http://10.0.0.6",
        "https://ok.example,nonsense",
    ],
)
def test_anything_else_than_an_origin_is_refused_without_being_quoted(text: str) -> None:
    """A setting that opens this machine's network must mean exactly what a person wrote, and may hold a password."""
    error = refuse({"MAGICA_FILE_ORIGINS": text})
    assert (error.setting, error.problem) == ("MAGICA_FILE_ORIGINS", "holds something that is not an origin")
