"""Parse an API key as people, shells and clients' configuration forms write it. Pure.

A value may be a placeholder that nothing filled in (`${SOME_API_KEY}`) or the text of an example (`your key`). A
placeholder is never a key: it is refused before anything is sent, and quoted only where its shape proves that it is not
a secret.
"""

import re
from functools import cache
from typing import Final

from flowport.domain.errors import ConfigurationError
from flowport.domain.text import format_quoted
from flowport.providers.registry import get_plugins
from flowport.settings.values import Variable, strip_quotes

_FOREIGN: Final = {
    "sk-ant-": "Anthropic",
    "sk-proj-": "OpenAI",
    "sk-svcacct-": "OpenAI",
    "sk-or-": "OpenRouter",
    "r8_": "Replicate",
    "hf_": "Hugging Face",
    "ghp_": "GitHub",
    "gho_": "GitHub",
    "github_pat_": "GitHub",
    "AIza": "Google",
    "AKIA": "Amazon",
    "xoxb-": "Slack",
    "xoxp-": "Slack",
}
"""Whose key it is, by its beginning; of services for which there is no provider."""

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
"""Words that mean no value when alone."""
_ASKING: Final = (
    *("your", "enter", "insert", "paste", "put", "replace", "change", "changeme", "fill", "here", "apikey"),
    *("placeholder", "example"),
)
"""Words of which each text that asks for a key contains one."""
_FORMER_NAMES: Final = ("freepik", "galaxy")
"""What two providers were once called."""
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
    *("not", "optional", "required", "hidden", "flowport", "for", "or"),
    *("sk", "gx", "mk", "fpsx", "user", "account", "dashboard", "copy", "get", "it", "use", "service", "provider"),
)
_SPELLING: Final = re.compile(r"[A-Za-z]+(?:[ _.:/-]{1,2}[A-Za-z]+)*(?:[ _.-]?[0-9]{1,4})?[.!?:]*")
_SENTENCE_STARTS: Final = frozenset({"your", "my", "enter", "insert", "paste", "put", "add", "replace", "copy", "get"})
_MAX_SHOWN: Final = 60
_MAX_DIGITS_SHOWN: Final = 3
"""Digits of a placeholder that is quoted; a secret has more."""


def parse_api_key(variable: Variable, text: str) -> str:
    """Return the key in a value; empty when it is empty.

    Raises:
        ConfigurationError: The value is a placeholder, another service's key, or nothing that a header can carry. A
            value that may be a secret is not in it.
    """
    key = strip_quotes(text)
    if not key:
        return ""
    name = variable.name
    source = next((plugin.key_source for plugin in get_plugins() if variable in plugin.settings), "your provider")
    where = f"Get a key at {source}, or remove the variable."
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
    _refuse_foreign(name, key, source)
    return key


def is_placeholder(text: str) -> bool:
    """Return whether a text is a placeholder for a key, by its shape or because it consists only of example words."""
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
    if _SPELLING.fullmatch(text.strip()) and _get_only_words().fullmatch(letters):
        return any(word in letters for word in (*_ASKING, *_get_names()))
    # A sentence, such as that of our own example: no key has spaces, and it asks for one.
    return len(words) > 1 and " " in text.strip() and words[0] in _SENTENCE_STARTS and "key" in words


def _refuse_foreign(name: str, key: str, source: str) -> None:
    for plugin in get_plugins():
        own = f"{plugin.prefix}API_KEY"
        if plugin.key_prefix and key.startswith(plugin.key_prefix) and own != name:
            problem = f"holds a key of {plugin.title}, since it begins with {plugin.key_prefix}"
            raise ConfigurationError(name, problem, f"Set {own} to it instead.")
    for prefix, owner in _FOREIGN.items():
        if key.startswith(prefix):
            problem = f"holds a key of {owner}, since it begins with {prefix}"
            raise ConfigurationError(name, problem, f"Get a key at {source}.")


@cache
def _get_names() -> tuple[str, ...]:
    return (*(plugin.name for plugin in get_plugins()), *_FORMER_NAMES)


@cache
def _get_only_words() -> re.Pattern[str]:
    """Return the pattern of a text that holds nothing but the words of examples."""
    words = sorted((*_ASKING, *_FILLING, *_get_names()), key=len, reverse=True)
    return re.compile(rf"(?:{'|'.join(words)})+[0-9]{{0,2}}")
