"""Read single values as people, shells and clients' configuration forms really write them. Pure.

A value may arrive between quotes that nothing took off (`docker --env-file`), as a placeholder that nothing filled in
(`${MAGNIFIC_API_KEY}`), or as the text of an example (`your key`). A placeholder is never a key: it is refused before
anything is sent, and it is quoted only where its shape proves that it is no secret.
"""

import re
from typing import Final
from urllib.parse import urlsplit

from flowport.domain.errors import ConfigurationError
from flowport.domain.text import format_quoted

BOOLEANS: Final = {
    **dict.fromkeys(("true", "yes", "on", "1", "y", "t", "enabled", "enable"), True),
    **dict.fromkeys(("false", "no", "off", "0", "n", "f", "disabled", "disable"), False),
}
"""By spelling in lower case."""

KEY_PLACES: Final = {
    "MAGNIFIC_API_KEY": "https://www.magnific.com/developers/dashboard",
    "MAGICA_API_KEY": "the API keys page of your account at https://magica.com",
}
"""Where a person gets each key."""

KEY_ADVICE: Final = "set " + " or ".join(f"{name} (from {place})" for name, place in KEY_PLACES.items())
"""What to do about having none, as a clause."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_EDGES: Final = " \t\r\n\f\v\N{NO-BREAK SPACE}\N{ZERO WIDTH SPACE}\N{WORD JOINER}\N{ZERO WIDTH NO-BREAK SPACE}"
_QUOTES: Final = frozenset("\"'`")

_OWNERS: Final = (
    ("gx_", "Magica", "MAGICA_API_KEY"),
    ("FPSX", "Magnific", "MAGNIFIC_API_KEY"),
    *(
        (prefix, owner, "")
        for owner, prefixes in {
            "Anthropic": ("sk-ant-",),
            "OpenAI": ("sk-proj-", "sk-svcacct-"),
            "OpenRouter": ("sk-or-",),
            "Replicate": ("r8_",),
            "Hugging Face": ("hf_",),
            "GitHub": ("ghp_", "gho_", "github_pat_"),
            "Google": ("AIza",),
            "Amazon": ("AKIA",),
            "Slack": ("xoxb-", "xoxp-"),
        }.items()
        for prefix in prefixes
    ),
)
"""What a key begins with, whose it is, and our variable for it; empty when we have none."""

# Names of variables and inputs inside the marks of shells, clients and templates: no secret looks like one.
_NAME: Final = r"[A-Za-z_][\w .:/?@-]*?"
_UNFILLED: Final = re.compile(
    rf"\$\{{\{{?\s*{_NAME}\s*\}}?\}}"  # ${VAR}, ${env:VAR}, ${input:key}, ${VAR:-}, ${{ secrets.VAR }}
    r"|\$\([\w :.-]+\)"  # $(VAR)
    r"|\$[A-Za-z_]\w*|\$env:\w+"  # $VAR, PowerShell's $env:VAR
    r"|%[A-Za-z_]\w*%"  # %VAR%
    r"|![A-Za-z_]\w*!"  # !VAR!
    rf"|\{{\{{\s*{_NAME}\s*\}}\}}"  # {{VAR}}
    r"|(?:env|input|secrets?|process\.env|keyring|keychain|vault|sops)[:.][\w./-]+"  # env:VAR, secrets.VAR
    r"|(?:[a-z]+\.)?(?:env|environ|ENV|getenv)[\[(][\"']?\w+[\"']?[\])]"  # ENV[VAR], os.environ['VAR']
    r"|%\(\w+\)s|[#~|^+=:]{1,2}[A-Z][A-Z0-9_]+[#~|^+=:]{1,2}"  # %(VAR)s, #VAR#
    r"|(?:op|vault|keychain|keyring|bw|doppler|infisical|akv|gcpsm|aws-?\w*|gcp-?\w*|azure-?\w*|ref\+\w+)://\S+"  # a secret manager's reference that nothing resolved
    r"|__[A-Z][A-Z0-9_]*__|@[A-Z][A-Z0-9_]*@|%[\w.]+%|#\{[\w.]+\}|@?env\(\w+\)|\$ENV\{\w+\}|<%=?\s*[\w.]+\s*%>"
    # The name of a variable in the place of its value.
    r"|(?:[A-Z]+_)*(?:KEY|TOKEN|SECRET)|[A-Za-z]+_API_(?:KEY|TOKEN)"
    r"|[!-/:-@\[-_`{-~]+|[nN]/[aA]",
    re.ASCII,
)
_UNFILLED_INSIDE: Final = re.compile(r"\$\{\w|\{\{|\$\(\w|%[A-Z_]{3,}%|\$[A-Z_]{4,}\b", re.ASCII)
_PATH: Final = re.compile(
    r"(?:~|\.{1,2})?[/\\](?:run|etc|home|var|root|usr|opt|tmp|Users|secrets)[/\\].*|~[/\\].*|file:.*|[A-Za-z]:[/\\].*"
)
_ADDRESS: Final = re.compile(r"[A-Za-z][\w+.-]{0,20}://")
_BRACKETS: Final = re.compile(r"<(.*)>|\[(.*)\]|\((.*)\)|\{(.*)\}")
_BARE: Final = re.compile(r"\s*(?:key|token|secret|password|value)\s*", re.IGNORECASE)
_MASK: Final = re.compile(
    r"(.)\1{2,}|[0x*.-]{3,}|(?:[a-z]{1,6}[-_]?){0,3}(?:x{3,}|\.{2,}|\*{2,}|\N{HORIZONTAL ELLIPSIS}|#{3,}|\?{3,})",
    re.IGNORECASE,
)
_MASKED_INSIDE: Final = re.compile(r"\.{3}|\*{3}|\N{HORIZONTAL ELLIPSIS}|\N{BULLET}{2}|x{6}$", re.IGNORECASE)

_EMPTY_WORDS: Final = frozenset(
    {
        "none",
        "null",
        "nil",
        "undefined",
        "unset",
        "todo",
        "tbd",
        "fixme",
        "redacted",
        "placeholder",
        "example",
        "sample",
    }
)
"""Words that stand for no value, by themselves."""
_TELLING: Final = (
    *("your", "enter", "insert", "paste", "put", "replace", "change", "changeme", "fill", "here", "apikey"),
    *("placeholder", "example"),
)
"""Words of which one is in each text that asks for a key."""
_PROVIDERS: Final = ("magnific", "magica", "freepik")
_FILLING: Final = (
    *("my", "the", "an", "this", "real", "actual", "own", "valid", "secret", "private", "personal", "access", "api"),
    *("keys", "key", "token", "password", "credential", "credentials", "value", "string", "text", "env", "var", "goes"),
    *(
        "add",
        "set",
        "with",
        "in",
        "from",
        "of",
        "me",
        "to",
        "and",
        "is",
        "changed",
        "dummy",
        "fake",
        "empty",
        "missing",
    ),
    *("not", "optional", "required", "hidden", "magnific", "magica", "freepik", "galaxy", "flowport", "for", "or"),
    *("sk", "gx", "mk", "fpsx", "user", "account", "dashboard", "copy", "get", "it", "use", "service", "provider"),
)
_ONLY_WORDS: Final = re.compile(rf"(?:{'|'.join(sorted((*_TELLING, *_FILLING), key=len, reverse=True))})+[0-9]{{0,2}}")
_SPELLING: Final = re.compile(r"[A-Za-z]+(?:[ _.:/-]{1,2}[A-Za-z]+)*(?:[ _.-]?[0-9]{1,4})?[.!?:]*")
_SENTENCE_STARTS: Final = frozenset({"your", "my", "enter", "insert", "paste", "put", "add", "replace", "copy", "get"})
_MAX_SHOWN: Final = 60
_MAX_DIGITS_SHOWN: Final = 3
"""Digits of a placeholder that is quoted; a secret has more."""


def strip_quotes(text: str) -> str:
    """Return the text without white space around it and without pairs of quotes around the whole of it."""
    text = text.strip(_EDGES)
    while len(text) > 1 and text[0] in _QUOTES and text[0] == text[-1]:
        text = text[1:-1].strip(_EDGES)
    return text


def parse_boolean(text: str) -> bool | None:
    """Return what the word means; None when it means neither."""
    return BOOLEANS.get(strip_quotes(text).lower())


def parse_api_key(name: str, text: str) -> str:
    """Return the key in a value; empty when there is none.

    Raises:
        ConfigurationError: The value is a placeholder, another service's key, or nothing that a header can carry. A
            value that may be a secret is not in it.
    """
    key = strip_quotes(text)
    if not key:
        return ""
    where = f"Get a key at {KEY_PLACES[name]}, or remove the variable."
    if is_placeholder(key):
        # A person may have put the key itself where a name belongs.
        is_plain = len(re.findall(r"\d", key)) <= _MAX_DIGITS_SHOWN or not key.strip("0123456789.-_ ")
        shown = f"the placeholder {format_quoted(key, limit=_MAX_SHOWN)}" if is_plain else "a placeholder"
        raise ConfigurationError(name, f"is {shown} and no key", where)
    if _UNFILLED_INSIDE.search(key):
        raise ConfigurationError(name, "holds a placeholder that nothing has filled in", where)
    if _ADDRESS.match(key):
        raise ConfigurationError(name, "is an address", "Give the key itself.")
    if _PATH.fullmatch(key):
        raise ConfigurationError(name, "is the path of a file", "Give the key itself.")
    if (inside := _BRACKETS.fullmatch(key)) and any(inside.groups()):
        raise ConfigurationError(name, "stands between brackets", "Give the key without them.")
    own_name = re.match(r"(?:export\s+)?[A-Za-z_-]*API[_-]?KEY\s*[=:]|authorization\s*:|bearer\s", key, re.IGNORECASE)
    if own_name:
        problem = "holds more than the key: it begins with a name, as a line of a file or a header does"
        raise ConfigurationError(name, problem, "Give the key alone.")
    if not key.isascii() or not key.isprintable() or " " in key:
        problem = "holds a character that no key has"
        raise ConfigurationError(name, problem, "Copy the key again, without quotes or line breaks.")
    if _MASKED_INSIDE.search(key):
        problem = "is a key with its middle or end left out, as a website shows it"
        raise ConfigurationError(name, problem, f"Copy the whole key. {where}")
    _refuse_foreign(name, key)
    return key


def parse_origins(name: str, text: str) -> tuple[str, ...]:
    """Return the origins of a list, separated by commas, each in lower case and without a default port.

    Raises:
        ConfigurationError: A part is no origin. It is not quoted, since an address may hold a password.
    """
    parts = (strip_quotes(part).rstrip("/") for part in text.split(","))
    return tuple(dict.fromkeys(_parse_origin(name, part) for part in parts if part))


def _parse_origin(name: str, text: str) -> str:
    try:
        parts = urlsplit(text.lower())
        origin = f"{parts.scheme}://{parts.netloc}"
        is_plain = text.isascii() and text.isprintable() and not set(text) & set(" \\@*%")
        is_origin = is_plain and bool(parts.hostname) and origin == text.lower() and parts.port != 0
    except ValueError:
        is_origin = False
    if not is_origin or parts.scheme not in _DEFAULT_PORTS:
        raise ConfigurationError(
            name, "holds a part that is no origin", "It looks like http://127.0.0.1:8080,https://files.example.lan."
        )
    return origin.removesuffix(f":{_DEFAULT_PORTS[parts.scheme]}").rstrip(":")


def is_placeholder(text: str) -> bool:
    """Tell whether a text stands for a key and is none, by its shape or because it holds nothing but words of examples."""
    if _UNFILLED.fullmatch(text) or _MASK.fullmatch(text):
        return True
    inside = _BRACKETS.fullmatch(text)
    if inside and any(_BARE.fullmatch(part) or is_placeholder(part) for part in inside.groups() if part):
        return True
    return _is_instruction(text)


def _is_instruction(text: str) -> bool:
    words = re.findall(r"[a-z]+", text.lower())
    letters = "".join(words)
    if len(words) == 1 and letters in _EMPTY_WORDS and _SPELLING.fullmatch(text.strip()):
        return True
    if _SPELLING.fullmatch(text.strip()) and _ONLY_WORDS.fullmatch(letters):
        return any(word in letters for word in (*_TELLING, *_PROVIDERS))
    # A sentence, such as that of our own example: no key has spaces, and it asks for one.
    return len(words) > 1 and " " in text.strip() and words[0] in _SENTENCE_STARTS and "key" in words


def _refuse_foreign(name: str, key: str) -> None:
    for prefix, owner, variable in _OWNERS:
        if key.startswith(prefix) and variable != name:
            remedy = f"Set {variable} to it instead." if variable else f"Get a key at {KEY_PLACES[name]}."
            raise ConfigurationError(name, f"holds a key of {owner}, since it begins with {prefix}", remedy)
