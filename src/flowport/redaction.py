"""Take out of foreign text what signs or authorises: whoever reads it could fetch, upload or pay with it. Pure.

It holds for the log and for everything that a provider writes: its words are kept on record and shown to models.
"""

import re
from typing import Final

HIDDEN: Final = "[hidden]"

_SCHEMES: Final = r"\b(?:https?|wss?|ftps?|sftp|socks5h?|postgres(?:ql)?|rediss?|s3|gs)"
# Of an address only what stands before its query may be shown; passwords in it neither.
# An address without a query is passed over as a whole, so that no text is scanned twice.
_QUERY: Final = re.compile(rf"({_SCHEMES}:(?:\\?/){{2}}[^\s?\"'<>]+)(\?[^\s\"'<>]+)?", re.IGNORECASE)
_USERINFO: Final = re.compile(rf"({_SCHEMES}:(?:\\?/){{2}})[^\s/?#\"'<>]+@", re.IGNORECASE)

_NAMES: Final = (
    r"(?:[\w-]{0,40}(?:token|signature|secret|password|passwd|passphrase|hmac|credentials?|session_?id|jwt|otp)"
    r"|(?:[\w-]{0,40}[-_])?(?:sig|auth|pwd|pw|pass|csrf|xsrf|cookie|session)|[\w-]{0,40}(?:api|access|private|secret|signing)[-_]?key(?:[-_]?id)?|key-pair-id"
    r"|(?:proxy-)?authorization)"
)
# As a header, a parameter (also escaped) or a member of JSON (also inside a string of JSON).
_ASSIGNED: Final = re.compile(
    rf"(\b{_NAMES}\\*[\"']?\s*(=|%(?:25)?3d|\\u003d|&#(?:61|x3d);|:)\s*\\*[\"']?)(?!(?:(?:bearer|basic|token|digest)\s+)?\[hidden\])((?:bearer|basic|token|digest)\s+)?([^\s\"'<>,;&\\{{}}()\[\]]+)",
    re.IGNORECASE,
)
_SCHEME: Final = re.compile(r"\b(bearer|basic)(\s+|%20|:\s*)([\w.~+/=:-]{8,})", re.IGNORECASE)
_IN_WORDS: Final = re.compile(
    r"\b(token|signature|secret|password)(\s+(?:is\s+|was\s+|of\s+)?[\"'(\[\N{LEFT DOUBLE QUOTATION MARK}]?)([\w.~+/=-]{16,})",
    re.IGNORECASE,
)
_PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)"
)
_SIGNED_TIME: Final = re.compile(r"(?:\bst[=_]\d+~)?\bexp[=_]\d+~[^\s\"'<>,;&\\]+", re.IGNORECASE)
_WEB_TOKEN: Final = re.compile(r"\beyJ[\w-]{5,}(?:\.[\w-]*){1,4}")
_KEY_BY_PREFIX: Final = re.compile(
    r"\b(?:sk-|[sr]k_(?:live|test)_|gx_|FPSX|AKIA|ASIA|gh[opsu]_|github_pat_|glpat-|npm_|whsec_|xox[a-z]-|hf_|r8_|AIza|ya29\.)"
    r"[\w-]{8,}"
)

_LONG: Final = 16
_DIGITS_OF_A_NUMBER: Final = 9


def redact(text: str) -> str:
    """Return the text with `[hidden]` in the place of what signs or authorises."""
    text = _PRIVATE_KEY.sub(HIDDEN, text)
    text = _USERINFO.sub(rf"\1{HIDDEN}@", text)
    text = _QUERY.sub(lambda found: f"{found[1]}?{HIDDEN}" if found[2] else found[0], text)
    text = _WEB_TOKEN.sub(HIDDEN, text)
    text = _SIGNED_TIME.sub(HIDDEN, text)
    text = _KEY_BY_PREFIX.sub(HIDDEN, text)
    text = _ASSIGNED.sub(_hide_assigned, text)
    text = _SCHEME.sub(_hide_scheme, text)
    return _IN_WORDS.sub(_hide_mixed, text)


def _hide_assigned(found: re.Match[str]) -> str:
    name, sign, scheme, value = found.groups()
    is_parameter = sign != ":"
    if scheme or (is_parameter and not value.isdigit()) or _is_secret(value):
        return f"{name}{scheme or ''}{HIDDEN}"
    return found[0]


def _hide_scheme(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}{HIDDEN}" if _is_secret(found[3]) else found[0]


def _hide_mixed(found: re.Match[str]) -> str:
    """Hide what has both letters and digits: a long word and a number are none of a secret's."""
    value = found[3]
    is_mixed = any(character.isdigit() for character in value) and any(character.isalpha() for character in value)
    return f"{found[1]}{found[2]}{HIDDEN}" if is_mixed else found[0]


def _is_secret(value: str) -> bool:
    """Tell whether a value is no word of a sentence ("token: expired") and no count ("token: 512")."""
    if value.isdigit():
        return len(value) > _DIGITS_OF_A_NUMBER
    return len(value) >= _LONG or any(character.isdigit() for character in value)
