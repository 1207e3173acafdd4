"""Magnific's places for files, and the ids of the files that it has. Pure.

Source: the page `upload-files` of docs.magnific.com, read through clients that implement it. The types and their largest
size are second-hand; that a flow takes a video or a sound that was uploaded so is inferred.
"""

import re
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from flowport.domain.text import clean_line
from flowport.providers.interface import UploadPlace
from flowport.providers.parsing import is_usable_url

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
_TELLING_WORDS: Final = frozenset(
    (
        *(
            "photo",
            "photos",
            "photograph",
            "picture",
            "pictures",
            "image",
            "images",
            "video",
            "videos",
            "movie",
            "film",
        ),
        *("clip", "audio", "sound", "song", "voice", "file", "files", "screenshot", "logo", "portrait", "selfie"),
        *("poster", "sketch", "drawing", "artwork", "background", "thumbnail"),
    )
)
"""One of them among the parts is enough: an id has none by chance."""
_MEDIA_WORDS: Final = frozenset(
    [
        "my",
        "your",
        "user",
        "the",
        "a",
        "an",
        "this",
        "that",
        "last",
        "first",
        "new",
        "old",
        "input",
        "output",
        "source",
        "target",
        "original",
        "uploaded",
        "attached",
        "pasted",
        "generated",
        "edited",
        "final",
        "result",
        "results",
        "photo",
        "photos",
        "photograph",
        "picture",
        "pictures",
        "image",
        "images",
        "img",
        "pic",
        "pics",
        "screenshot",
        "screen",
        "shot",
        "snap",
        "file",
        "files",
        "media",
        "video",
        "videos",
        "clip",
        "movie",
        "film",
        "audio",
        "sound",
        "song",
        "music",
        "voice",
        "recording",
        "logo",
        "icon",
        "avatar",
        "portrait",
        "selfie",
        "face",
        "profile",
        "cover",
        "poster",
        "banner",
        "background",
        "reference",
        "style",
        "sketch",
        "drawing",
        "art",
        "artwork",
        "product",
        "chat",
        "message",
        "attachment",
        "upload",
        "download",
        "downloads",
        "document",
        "documents",
        "desktop",
        "folder",
        "from",
        "of",
        "in",
        "on",
        "for",
        "with",
        "and",
        "name",
        "url",
        "path",
        "data",
        "base",
        "png",
        "jpg",
        "jpeg",
        "gif",
        "webp",
        "mp",
        "wav",
        "pdf",
        "id",
        "one",
        "two",
    ]
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
    return not (all(part in _MEDIA_WORDS for part in parts) or any(part in _TELLING_WORDS for part in parts))


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
