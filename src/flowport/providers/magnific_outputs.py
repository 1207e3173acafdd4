"""Magnific's results: the files of a run, and how long their links live. Pure.

Source: the OpenAPI "Magnific API" 1.0.0, `webhook-result-item` and the page `get-run`.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from flowport.labels import clean_line
from flowport.model import Output, OutputKind
from flowport.providers.lenient import LenientNumber, LenientText
from flowport.providers.links import guess_mime_type, is_usable_url

LINK_SECONDS: Final = 12 * 3600.0
"""How long a result's link lives (get-run: "temporary, 12 hours")."""

MAX_OUTPUTS: Final = 1000

_EXPIRY: Final = re.compile(r"exp_(\d{9,11})(?!\d)")
"""The instant inside a result link's token, as the example of `get-run` shows it."""


class _ResultItem(BaseModel):
    """`webhook-result-item`, which run results share."""

    url: str
    id: LenientText = None
    duration: LenientNumber = None
    width: LenientNumber = None
    height: LenientNumber = None


def parse_outputs(result: Mapping[str, Any], *, now: float) -> tuple[Output, ...]:
    """Return the files of a result, numbered through their kinds; an item that cannot be read is dropped by itself.

    Args:
        now: When the answer came; a link that does not say how long it lives is counted from it.
    """
    outputs: list[Output] = []
    for key, kind in (("images", OutputKind.IMAGE), ("videos", OutputKind.VIDEO), ("audios", OutputKind.AUDIO)):
        items = result.get(key)
        for item in items if isinstance(items, list) else []:
            output = _parse_output(item, kind, n=len(outputs) + 1, now=now)
            if output is not None and len(outputs) < MAX_OUTPUTS:
                outputs.append(output)
    return tuple(outputs)


def _parse_output(item: Any, kind: OutputKind, *, n: int, now: float) -> Output | None:
    try:
        found = _ResultItem.model_validate(item)
    except ValidationError:
        return None
    if not is_usable_url(found.url):
        return None
    return Output(
        n=n,
        kind=kind,
        url=found.url,
        provider_output_id=clean_line(found.id or ""),
        mime_type=guess_mime_type(found.url),
        width=_parse_pixels(found.width),
        height=_parse_pixels(found.height),
        duration_seconds=found.duration if found.duration is not None and 0 <= found.duration < 1e6 else None,  # noqa: PLR2004
        expires_at=_parse_expiry(found.url, now=now),
    )


def _parse_pixels(value: float | None) -> int | None:
    return int(value) if value is not None and 0 < value < 1e6 else None  # noqa: PLR2004


def _parse_expiry(url: str, *, now: float) -> float:
    """Return when the link stops working: its own word where it is believable, else twelve hours from now."""
    found = _EXPIRY.search(url)
    stated = float(found.group(1)) if found else now + LINK_SECONDS
    # A clock that is wrong on either side must not make a fresh link look dead or immortal.
    return stated if now < stated <= now + 2 * LINK_SECONDS else now + LINK_SECONDS
