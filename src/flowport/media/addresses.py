"""Correct a web address whose flaw is obvious, as people and models write them. Pure.

Only what names no file of this computer is touched: every form here is refused as a path anyway.
"""

import re
from typing import Final

_MAX_ADDRESS: Final = 4_000
_HOST: Final = r"(?=[A-Za-z0-9](?:[A-Za-z0-9-]*\.)+[A-Za-z]{2,}(?:[:/?#\\]|$))"
_SCHEME_WITH_FLAW: Final = re.compile(rf"(?P<scheme>https?)(?:\s*[:;]\s*[/\\]+|[/\\]{{2,}}){_HOST}", re.IGNORECASE)
_MISSPELT: Final = re.compile(rf"(?!https?:)h{{0,2}}t{{1,3}}p{{1,3}}s{{0,3}}://{_HOST}", re.IGNORECASE)
_WITHOUT_SCHEME: Final = re.compile(rf"(?=www\.[a-z0-9-]+\.){_HOST}", re.IGNORECASE)
_RIGHT: Final = re.compile(rf"https?://{_HOST}", re.IGNORECASE)
_HIDING: Final = re.compile(r"[\s\\]")
_TWICE: Final = re.compile(r"(?:https?:/*){1,3}(?=https?://)", re.IGNORECASE)


def correct_address(text: str) -> str:
    """Return the address without its flaw; any other text as it is.

    A scheme that is misspelt, doubled or lacks a mark is written right, `www.` gets one, and then backslashes become
    slashes and spaces are encoded. Behind a scheme that is right they are left: there they may hide another host.
    """
    written = text.strip()
    if len(written) > _MAX_ADDRESS or "\n" in written:
        return text
    once = _TWICE.sub("", written, count=1) if _TWICE.match(written) else written
    if _RIGHT.match(once):
        scheme, _, rest = once.partition("://")
        return text if _HIDING.search(once) or "://" in rest else f"{scheme.lower()}://{rest}"
    if found := _SCHEME_WITH_FLAW.match(once):
        address = f"{found['scheme'].lower()}://{once[found.end() :]}"
    elif found := _MISSPELT.match(once):
        scheme = "https" if "s" in found[0].lower() else "http"
        address = f"{scheme}://{once[found.end() :]}"
    elif _WITHOUT_SCHEME.match(once):
        address = f"https://{once}"
    else:
        return text
    # Two addresses in one text are not one with a space in it.
    return text if "://" in address.partition("://")[2] else address.replace("\\", "/").replace(" ", "%20")
