"""Single values as people, shells and clients' forms write them: keys, placeholders, booleans, quotes."""

import pytest

from flowport.domain.errors import ConfigurationError
from flowport.settings.api_keys import parse_api_key
from flowport.settings.values import Variable, parse_boolean, strip_quotes
from flowport.settings.variables import get_variables

NAME = "MAGNIFIC_API_KEY"


def find_row(name: str) -> Variable:
    """Return the row of the settings table."""
    return next(row for row in get_variables() if row.name == name)


PLACEHOLDERS = [
    # What shells and clients put in the place of a variable.
    *(
        "${MAGNIFIC_API_KEY}",
        "${env:MAGNIFIC_API_KEY}",
        "${input:magnific-key}",
        "${MAGNIFIC_API_KEY:-}",
        "$MAGNIFIC_API_KEY",
    ),
    *(
        "$(MAGNIFIC_API_KEY)",
        "$env:MAGNIFIC_API_KEY",
        "%MAGNIFIC_API_KEY%",
        "!MAGNIFIC_API_KEY!",
        "env:MAGNIFIC_API_KEY",
    ),
    *("{{MAGNIFIC_API_KEY}}", "{{ magnific.key }}", "{MAGNIFIC_API_KEY}", "${{ secrets.MAGNIFIC_API_KEY }}"),
    *("${user_config.api_key}", "${workspaceFolder}", "secrets.MAGNIFIC_KEY", "process.env.MAGNIFIC_API_KEY"),
    *("op://Private/Magnific/credential", "__MAGNIFIC_API_KEY__", "@MAGNIFIC_API_KEY@", "{env:MAGNIFIC_API_KEY}"),
    *("%(MAGNIFIC_API_KEY)s", "ENV[MAGNIFIC_API_KEY]", "os.environ['KEY']", "os.getenv(KEY)", "env('KEY')", "#KEY#"),
    *("~API_KEY~", "|KEY|", "keyring:magnific", "vault:secret/magnific", "aws-sm://magnific", "doppler://p/KEY"),
    # What examples say.
    *("your key; leave this line out to try the sandbox", "<your key>", "<YOUR_API_KEY>", "[your-key]", "(your key)"),
    *(
        "YOUR_API_KEY",
        "your-api-key",
        "yourApiKey",
        "your_key_here",
        "YOUR_MAGNIFIC_API_KEY",
        "MAGNIFIC_API_KEY",
        "API_KEY",
    ),
    *("my-api-key", "<api-key>", "api-key", "insert your key here", "PASTE_KEY_HERE", "Enter your API key", "changeme"),
    *(
        "CHANGE_ME",
        "replace-me",
        "placeholder",
        "example",
        "TODO",
        "null",
        "undefined",
        "None",
        "your_token",
        "Your Key",
    ),
    *(
        "add your key here",
        "<insert-api-key-here>",
        "gx_your_key",
        "sk-your-key-here",
        "YOUR_API_KEY_1",
        "your.api.key",
    ),
    *("[[key]]", "<token>", "<secret>", "KEY", "MAGNIFIC_KEY", "my_magnific_key", "N/A", "-", "?", "changeme123"),
    *("#{key}", "@env(KEY)", "%env.MAGNIFIC_API_KEY%", "$ENV{KEY}", "<%= key %>", "{env.KEY}", "${command:getKey}"),
    # What masks say.
    *("xxxx-xxxx-xxxx-xxxx", "00000000-0000-0000-0000-000000000000"),
    *(
        "sk-...",
        "sk-\N{HORIZONTAL ELLIPSIS}",
        "...",
        "\N{HORIZONTAL ELLIPSIS}",
        "xxx",
        "XXXXXXXX",
        "sk-xxxxxxxx",
        "gx_xxx",
        "FPSX...",
    ),
    *("mk-********", "****", "\N{BULLET}\N{BULLET}\N{BULLET}\N{BULLET}", "000000", "----", "sk-proj-xxxx", "<xxx>"),
]


@pytest.mark.parametrize("text", PLACEHOLDERS)
@pytest.mark.parametrize("around", ["{}", '"{}"', " '{}' "])
def test_a_placeholder_is_not_a_key_and_is_named(text: str, around: str) -> None:
    """A client that fills nothing in passes the text on as it stands; the provider would only call it a wrong key."""
    with pytest.raises(ConfigurationError) as caught:
        parse_api_key(find_row(NAME), around.format(text))
    error = caught.value
    assert error.setting == NAME
    assert error.problem == f'is the placeholder "{text}" and no key'
    assert error.remedy == "Get a key at https://www.magnific.com/developers/dashboard, or remove the variable."


@pytest.mark.parametrize(
    "key",
    [
        "mk-0123456789abcdef",
        "FPSX133bc1feeb7b6b1e8b40f7e2bba84e49",
        "k",
        "abc",
        "bench-key",
        "test-key",
        "a-key-of-the-crash-tests",
        "test-key-of-the-sandbox",
        "the-key",
        "12|pXJ0Zk3vYb4Wn9QmT1sR7uL2",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "3f2b9c0e-1d4a-4b7e-9c55-0a1b2c3d4e5f",
        "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4+/==",
        "yourselfNo9Kq2mZt7",
        "hereafter-7f3a9c",
    ],
)
@pytest.mark.parametrize("around", ["{}", ' "{}" ', "'{}'\n", "`{}`", "\ufeff{}\u200b", "\u00a0{}\t", "\"'{}'\""])
def test_a_key_is_taken_without_what_stands_around_it(key: str, around: str) -> None:
    """Env files and forms hand quotes, line breaks and marks that cannot be seen on with the key."""
    assert parse_api_key(find_row(NAME), around.format(key)) == key


@pytest.mark.parametrize("text", ["", " ", '""', "''", '" "', "\"''\"", "\u200b"])
def test_empty_quotes_are_no_key(text: str) -> None:
    """They count as not set, like an empty variable."""
    assert parse_api_key(find_row(NAME), text) == ""


@pytest.mark.parametrize(
    ("name", "key", "owner", "remedy"),
    [
        ("MAGNIFIC_API_KEY", "gx_3f9a2", "Magica", "Set MAGICA_API_KEY to it instead."),
        ("MAGICA_API_KEY", "FPSX133bc1feeb7b", "Magnific", "Set MAGNIFIC_API_KEY to it instead."),
        (
            "MAGNIFIC_API_KEY",
            "sk-ant-api03-9f",
            "Anthropic",
            "Get a key at https://www.magnific.com/developers/dashboard.",
        ),
        ("MAGNIFIC_API_KEY", "sk-proj-9fA0", "OpenAI", "Get a key at https://www.magnific.com/developers/dashboard."),
        (
            "MAGICA_API_KEY",
            "ghp_9fA0",
            "GitHub",
            "Get a key at the API keys page of your account at https://magica.com.",
        ),
    ],
)
def test_a_key_of_another_service_is_refused_with_its_owner(name: str, key: str, owner: str, remedy: str) -> None:
    """It would be handed to a service that must not have it, and refused there without a reason."""
    with pytest.raises(ConfigurationError) as caught:
        parse_api_key(find_row(name), key)
    error = caught.value
    assert error.problem.startswith(f"holds a key of {owner}, since it begins with ")
    assert (error.setting, error.remedy) == (name, remedy)
    assert key not in f"{error}{error!r}"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "MAGNIFIC_API_KEY=mk-0123456789abcdef",
            "x-magnific-api-key: mk-0123456789abcdef",
            "Bearer mk-0123456789abcdef",
        ),
        *("${mk_0123456789abcdef}", "$mk0123456789abcdef"),
        *(
            "<mk-0123456789abcdef>",
            "{mk 0123456789abcdef}",
            "mk-0123...cdef",
            "mk-****9abcdef",
            "mk-\N{BULLET}\N{BULLET}cdef",
        ),
        *(
            "mk-0123456789abcdef${KEY}",
            "mk-0123{{abcdef}}",
            "~/keys/mk-0123456789abcdef",
            "/run/secrets/mk-0123456789abcdef",
        ),
        *("https://api.magnific.com/?key=mk-0123456789abcdef", "https://me:mk-0123456789abcdef@api.magnific.com"),
        *("mk 0123456789abcdef", "mk-0123\n456789abcdef", "ключ"),
    ],
)
def test_what_may_be_a_secret_is_refused_without_being_quoted(text: str) -> None:
    """The sentence ends in logs and answers."""
    with pytest.raises(ConfigurationError) as caught:
        parse_api_key(find_row(NAME), text)
    assert text not in f"{caught.value}{caught.value!r}"
    assert "cdef" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["1", "true", "TRUE", "True", "yes", "Yes", "on", "ON", " on ", "y", "t", '"true"', "enabled"]
)
def test_every_usual_word_for_true(text: str) -> None:
    """Programs of every kind taught people these."""
    assert parse_boolean(text) is True


@pytest.mark.parametrize("text", ["0", "false", "FALSE", "no", "No", "off", "Off", "n", "f", "'false'", "disabled"])
def test_every_usual_word_for_false(text: str) -> None:
    """Likewise."""
    assert parse_boolean(text) is False


@pytest.mark.parametrize("text", ["", "2", "-1", "maybe", "truely", "yes no", "1.0"])
def test_other_words_are_neither(text: str) -> None:
    """A guess would turn something on that was to be off."""
    assert parse_boolean(text) is None


@pytest.mark.parametrize(
    ("text", "bare"),
    [('"a"', "a"), ("'a b'", "a b"), ('"a', '"a'), ('a"', 'a"'), ('"', '"'), ("\"a'", "\"a'"), ("'it's'", "it's")],
)
def test_only_a_pair_of_quotes_is_taken_off(text: str, bare: str) -> None:
    """Half a pair belongs to the value."""
    assert strip_quotes(text) == bare
