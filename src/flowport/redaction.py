"""Take out of foreign text what signs or authorises: whoever reads it could fetch, upload or pay with it. Pure.

It holds for the log and for everything that a provider writes: its words are kept on record and shown to models.
"""

import re
from typing import Final

HIDDEN: Final = "[hidden]"

# Of an address only what stands before its query may be shown; passwords in it neither.
# An address without a query is passed over as a whole, so that no text is scanned twice.
_QUERY: Final = re.compile(r"(https?:(?:\\?/){2}[^\s?\"'<>]+)(\?[^\s\"'<>]+)?", re.IGNORECASE)
_USERINFO: Final = re.compile(r"(https?:(?:\\?/){2})[^\s/?#\"'<>]+@", re.IGNORECASE)

_NAMES: Final = (
    r"(?:[\w-]{0,40}(?:token|signature|secret|password|passwd|hmac|credentials?|session_?id|jwt|otp)"
    r"|(?:[\w-]{0,40}[-_])?(?:sig|auth|pwd|cookie|session)|[\w-]{0,40}(?:api|access|private|secret|signing)[-_]?key(?:[-_]?id)?|key-pair-id"
    r"|(?:proxy-)?authorization)"
)
# As a header, a parameter (also escaped) or a member of JSON (also inside a string of JSON).
_ASSIGNED: Final = re.compile(
    rf"(\b{_NAMES}\\*[\"']?\s*(=|%3d|:)\s*\\*[\"']?)(?!(?:(?:bearer|basic|token|digest)\s+)?\[hidden\])((?:bearer|basic|token|digest)\s+)?([^\s\"'<>,;&\\{{}}()\[\]]+)",
    re.IGNORECASE,
)
_SCHEME: Final = re.compile(r"\b(bearer|basic)\s+([\w.~+/=:-]{8,})", re.IGNORECASE)
_SIGNED_TIME: Final = re.compile(r"(?:\bst[=_]\d+~)?\bexp[=_]\d+~[^\s\"'<>,;&\\]+", re.IGNORECASE)
_WEB_TOKEN: Final = re.compile(r"\beyJ[\w-]{5,}(?:\.[\w-]*){1,4}")
_KEY_BY_PREFIX: Final = re.compile(
    r"\b(?:sk-|gx_|FPSX|AKIA|ASIA|gh[opsu]_|github_pat_|whsec_|xox[abp]-|hf_|r8_|AIza)[\w-]{8,}"
)

_LONG: Final = 16
_DIGITS_OF_A_NUMBER: Final = 9


def redact(text: str) -> str:
    """Return the text with `[hidden]` in the place of what signs or authorises."""
    text = _USERINFO.sub(rf"\1{HIDDEN}@", text)
    text = _QUERY.sub(lambda found: f"{found[1]}?{HIDDEN}" if found[2] else found[0], text)
    text = _WEB_TOKEN.sub(HIDDEN, text)
    text = _SIGNED_TIME.sub(HIDDEN, text)
    text = _KEY_BY_PREFIX.sub(HIDDEN, text)
    text = _ASSIGNED.sub(_hide_assigned, text)
    return _SCHEME.sub(_hide_scheme, text)


def _hide_assigned(found: re.Match[str]) -> str:
    name, sign, scheme, value = found.groups()
    is_parameter = sign != ":"
    if scheme or (is_parameter and not value.isdigit()) or _is_secret(value):
        return f"{name}{scheme or ''}{HIDDEN}"
    return found[0]


def _hide_scheme(found: re.Match[str]) -> str:
    return f"{found[1]} {HIDDEN}" if _is_secret(found[2]) else found[0]


def _is_secret(value: str) -> bool:
    """Tell whether a value is no word of a sentence ("token: expired") and no count ("token: 512")."""
    if value.isdigit():
        return len(value) > _DIGITS_OF_A_NUMBER
    return len(value) >= _LONG or any(character.isdigit() for character in value)
