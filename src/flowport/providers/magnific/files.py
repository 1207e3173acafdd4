"""Magnific's files: the results of a run and how long their links live, places for uploads, ids of files that it has. Pure.

Source: the OpenAPI "Magnific API" 1.0.0, `webhook-result-item`, and the page `get-run`; for uploads the page `upload-files` of
docs.magnific.com, read through clients that implement it. The types and their largest size are second-hand; that a flow
takes a video or a sound that was uploaded so is inferred.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from flowport.domain.models import Output, OutputKind, RunState
from flowport.domain.text import clean_line
from flowport.providers.interface import UploadPlace
from flowport.providers.lost_runs import RecentOutput
from flowport.providers.parsing import is_usable_url, parse_instant, parse_state
from flowport.providers.result_items import (
    MAX_OUTPUTS,
    FoundItem,
    UnreadItem,
    build_output,
    guess_kind,
    iterate_items,
    read_file,
)

LINK_SECONDS: Final = 12 * 3600.0
"""How long a result's link lives (get-run: "temporary, 12 hours")."""


_EXPIRY: Final = re.compile(r"exp_(\d{9,11})(?!\d)")
"""The instant inside a result link's token, as the example of `get-run` shows it."""


def parse_outputs(result: Any, *, now: float) -> tuple[tuple[Output, ...], tuple[str, ...]]:
    """Return the files and texts of a result, numbered through their kinds, and the beginnings of what cannot be read.

    Args:
        result: The object of the documentation, or whatever stands in its place.
        now: When the answer came; a link that does not say how long it lives is counted from it.
    """
    outputs: list[Output] = []
    unread: list[str] = []
    for item in iterate_items(_wrap(result)):
        if isinstance(item, UnreadItem):
            unread.append(item.kept)
        elif len(outputs) < MAX_OUTPUTS:
            outputs.append(build_output(len(outputs) + 1, item, expires_at=_parse_expiry(item.url, now=now)))
    return tuple(outputs), tuple(unread[:MAX_OUTPUTS])


def _wrap(result: Any) -> Mapping[str, Any]:
    """Return the object of the documentation; a list or an address in its place is what it would hold."""
    if isinstance(result, Mapping):
        return result
    return {"items": result} if isinstance(result, list) or read_file(result, is_address=False) else {}


def _parse_expiry(url: str, *, now: float) -> float:
    """Return when the link stops working: as it says where that is plausible, else twelve hours from now."""
    found = _EXPIRY.search(url)
    stated = float(found.group(1)) if found else now + LINK_SECONDS
    # A clock that is wrong on either side must not make a fresh link look dead or immortal.
    return stated if now < stated <= now + 2 * LINK_SECONDS else now + LINK_SECONDS


BEGINNINGS: Final = frozenset({"initialized", "queued", "pending", "started", "running", "processing", "in_progress"})
"""The names of events of runs that are not over: `initialized` is documented, the others are inferred."""


def parse_recent_outputs(items: Any, *, since: float, now: float) -> tuple[RecentOutput, ...]:
    """Return the finished files of `creations/recent` that were made since a time, in their order.

    The page documents `creation.identifier`, `url` and `status`. When a file was made is not documented: where an item says
    it, an older one is left out.
    """
    found: list[RecentOutput] = []
    for item in items if isinstance(items, list) else ():
        output = _read_recent(item, len(found) + 1, now)
        if output is None:
            continue
        holders = [one for one in (item, item.get("creation")) if isinstance(one, Mapping)]
        made_at = next((at for one in holders for key in _MADE_KEYS if (at := parse_instant(one.get(key)))), None)
        if made_at is None or made_at >= since:
            found.append(RecentOutput(output, made_at))
    return tuple(found)


_MADE_KEYS: Final = ("created_at", "createdAt", "completed_at", "completedAt")


def _read_recent(item: Any, n: int, now: float) -> Output | None:
    """Return a file of the list; None for one that is not finished, or has no usable address."""
    if not isinstance(item, Mapping):
        return None
    inner = item.get("creation")
    creation: Mapping[str, Any] = inner if isinstance(inner, Mapping) else {}
    holders = (item, creation)
    status = next((one["status"] for one in holders if isinstance(one.get("status"), str)), "completed")
    url = next((one["url"] for one in holders if isinstance(one.get("url"), str)), "")
    identifier = next((one["identifier"] for one in (creation, item) if isinstance(one.get("identifier"), str)), "")
    if parse_state(status) is not RunState.SUCCEEDED or not is_usable_url(url):
        return None
    about = {**item, **creation, "id": identifier}
    kind = guess_kind(url, OutputKind.FILE)
    return build_output(n, FoundItem(kind, url, about=about), expires_at=_parse_expiry(url, now=now))


def parse_event(event: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """Return run id, name and metadata of a webhook event.

    The schema is not published: `run_id` is documented, its other spellings and the member with the name are inferred.
    """
    data = event.get("data")
    inner = data if isinstance(data, Mapping) else {}
    run_ids = (event.get("run_id"), event.get("workflow_run_identifier"), inner.get("run_id"))
    names = (event.get(key) for key in ("event", "type", "status"))
    return next(filter(None, run_ids), None), next(filter(None, names), None), None


UPLOAD_TYPES: Final = frozenset(
    {
        *("image/png", "image/jpeg", "image/webp"),
        *("video/mp4", "video/webm", "video/quicktime"),
        *("audio/mpeg", "audio/wav", "audio/mp4", "audio/webm", "audio/ogg"),
    }
)
MAX_UPLOAD_BYTES: Final = 1024**3
"""The end of the range that the place's headers allow."""

_MAX_PUT_SECONDS: Final = 120.0
_MAX_ASSET_SECONDS: Final = 86_400.0
_MAX_HEADERS: Final = 20
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e]{0,1000}")
_FORBIDDEN_HEADERS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection"})

_CREATION_ID: Final = re.compile(r"[A-Za-z0-9]{8,40}")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# A word with a number behind it is a made-up name; so is one in a usual case, or several joined by case.
_MADE_UP: Final = re.compile(r"[A-Za-z][a-z]*[0-9]{0,4}|[A-Z]+|[0-9]+")
_NUMBERED: Final = re.compile(r"([A-Za-z]+)[0-9]{0,4}")
_JOINED: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_OF_CAMERA: Final = re.compile(r"(?:IMG|MVIMG|DSC[NF]?|PXL|VID|MVI|GOPR|GX|DJI|SNAP|WA)[0-9]+", re.IGNORECASE)
"""What cameras and phones call their files."""
_CERTAIN_WORDS: Final = frozenset(
    {
        *("photo", "photos", "photograph", "picture", "pictures", "image", "images", "video", "videos", "movie"),
        *("film", "clip", "audio", "sound", "song", "voice", "file", "files", "screenshot", "logo", "portrait"),
        *("selfie", "poster", "sketch", "drawing", "artwork", "background", "thumbnail"),
    }
)
"""One of them among the parts is enough: an id has none by chance."""
_MEDIA_WORDS: Final = frozenset(
    {
        *("my", "your", "user", "the", "a", "an", "this", "that", "last", "first", "new", "old", "input", "output"),
        *("source", "target", "original", "uploaded", "attached", "pasted", "generated", "edited", "final"),
        *("result", "results", "photo", "photos", "photograph", "picture", "pictures", "image", "images", "img"),
        *("pic", "pics", "screenshot", "screen", "shot", "snap", "file", "files", "media", "video", "videos"),
        *("clip", "movie", "film", "audio", "sound", "song", "music", "voice", "recording", "logo", "icon"),
        *("avatar", "portrait", "selfie", "face", "profile", "cover", "poster", "banner", "background"),
        *("reference", "style", "sketch", "drawing", "art", "artwork", "product", "chat", "message", "attachment"),
        *("upload", "download", "downloads", "document", "documents", "desktop", "folder", "from", "of", "in"),
        *("on", "for", "with", "and", "name", "url", "path", "data", "base", "png", "jpg", "jpeg", "gif", "webp"),
        *("mp", "wav", "pdf", "id", "one", "two"),
    }
)
"""What made-up names of files are joined from, as in `myPhotoFile`."""


def _read_seconds(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None


_Seconds = Annotated[float | None, BeforeValidator(_read_seconds)]


class _Place(BaseModel):
    """One entry of `files` in the answer of `request-url`."""

    upload_url: str
    asset_url: str
    headers: dict[str, str] = Field(default_factory=dict, max_length=_MAX_HEADERS)
    file_id: str = ""
    expires_in: _Seconds = None
    asset_url_expires_in: _Seconds = None


class _Places(BaseModel):
    """The answer of `request-url`, as the page shows it or wrapped in `data` like most others."""

    files: Annotated[list[_Place], Field(min_length=1, max_length=1)]


def is_creation_id(text: str) -> bool:
    """Check whether a text looks like the identifier of a creation.

    Letters alone are an id by the case inside them: `LSFgqqrswO` of the specification is not a word.
    """
    if _UUID.fullmatch(text):
        return True
    if not _CREATION_ID.fullmatch(text) or _MADE_UP.fullmatch(text):
        return False
    numbered = _NUMBERED.fullmatch(text)
    if numbered is None:
        return not _OF_CAMERA.fullmatch(text)
    parts = [part.lower() for part in _JOINED.findall(numbered[1])]
    return not (all(part in _MEDIA_WORDS for part in parts) or any(part in _CERTAIN_WORDS for part in parts))


def parse_place(body: Any) -> UploadPlace:
    """Return the place that an answer names.

    Raises:
        ValueError: It names none that can be used.
    """
    wrapped = body.get("data") if isinstance(body, dict) else None
    try:
        (place,) = _Places.model_validate(wrapped if isinstance(wrapped, dict) else body).files
    except ValidationError as exc:
        raise ValueError("no place for the file") from exc
    if not is_usable_url(place.upload_url) or not is_usable_url(place.asset_url):
        raise ValueError("an unusable address")
    return UploadPlace(
        put_url=place.upload_url,
        headers={name: value for name, value in place.headers.items() if _is_usable_header(name, value)},
        # No longer than the page says, whatever the answer says.
        put_seconds=min(place.expires_in or _MAX_PUT_SECONDS, _MAX_PUT_SECONDS),
        asset_url=place.asset_url,
        asset_seconds=min(place.asset_url_expires_in or _MAX_ASSET_SECONDS, _MAX_ASSET_SECONDS),
        provider_upload_id=clean_line(place.file_id),
    )


def _is_usable_header(name: str, value: str) -> bool:
    is_ours = name.lower() in _FORBIDDEN_HEADERS
    return not is_ours and bool(_HEADER_NAME.fullmatch(name)) and bool(_HEADER_VALUE.fullmatch(value))
