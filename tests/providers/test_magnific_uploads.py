"""Magnific's places for files, and which texts look like its ids."""

import random
import re
import string
from typing import Any

import pytest

from flowport.domain.errors import Operation, ProviderBroken, ProviderRejected
from flowport.providers.interface import ApiRequest, UploadPlace
from flowport.providers.magnific.api import Magnific
from flowport.providers.magnific.files import is_creation_id
from tests.support.scripted import build_answer

FILE: dict[str, Any] = {
    "file_id": "f1",
    "upload_url": "https://storage.example/put?signature=s",
    "headers": {"x-goog-content-length-range": "0,1073741824", "Content-Type": "image/png"},
    "expires_in": 120,
    "asset_url": "https://storage.example/asset?token=t",
    "asset_url_expires_in": 86400,
}
PLACE = UploadPlace(
    put_url=FILE["upload_url"],
    headers=FILE["headers"],
    put_seconds=120.0,
    asset_url=FILE["asset_url"],
    asset_seconds=86400.0,
    provider_upload_id="f1",
)


def parse(**changes: Any) -> UploadPlace:
    """Return the place of an answer that differs from the documented one."""
    file = {key: value for key, value in (FILE | changes).items() if value is not ...}
    return Magnific().parse_upload(build_answer({"files": [file]}))


def test_the_request_names_the_type() -> None:
    """It is the same in both path families."""
    expected = ApiRequest(
        Operation.REQUEST_UPLOAD, "POST", "/v1/ai/uploads/request-url", {"files": [{"content_type": "image/png"}]}
    )
    assert Magnific().build_upload_request("image/png") == expected
    assert Magnific(styles=("apps",)).build_upload_request("image/png") == expected


def test_the_documented_answer_is_a_place() -> None:
    """Wrapped or not, as other answers are."""
    assert parse() == PLACE
    assert Magnific().parse_upload(build_answer({"data": {"files": [FILE]}}, 201)) == PLACE
    assert "signature" not in repr(PLACE)


def test_what_is_left_out_is_what_the_page_says() -> None:
    """And a longer life is not believed."""
    assert parse(expires_in=..., asset_url_expires_in="x", headers=..., file_id=...) == UploadPlace(
        put_url=FILE["upload_url"],
        headers={},
        put_seconds=120.0,
        asset_url=FILE["asset_url"],
        asset_seconds=86400.0,
        provider_upload_id="",
    )
    assert parse(expires_in=9e9, asset_url_expires_in=9e9) == PLACE
    assert parse(expires_in=-1, asset_url_expires_in=True) == PLACE


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "connection", "a b", "a\r\nb", ""])
def test_a_header_that_would_change_the_request_is_left_out(name: str) -> None:
    """Where it goes and how long it is are ours to say."""
    assert parse(headers={name: "x", "X-A": "1"}).headers == {"X-A": "1"}


def test_a_header_with_a_line_break_is_left_out() -> None:
    """What follows would be a header of its own."""
    assert parse(headers={"X-A": "1\r\nHost: evil.example"}).headers == {}


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"files": []},
        {"files": [FILE, FILE]},
        {"files": [FILE | {"upload_url": "javascript:1"}]},
        {"files": [FILE | {"upload_url": "https://user@storage.example/"}]},
        {"files": [FILE | {"asset_url": ""}]},
        {"files": [FILE | {"asset_url": None}]},
        {"files": [FILE | {"headers": {str(n): "x" for n in range(21)}}]},
        b"<html>",
    ],
)
def test_an_answer_without_a_usable_place_breaks_the_contract(body: Any) -> None:
    """Nothing is sent to a place that no one understood."""
    with pytest.raises(ProviderBroken):
        Magnific().parse_upload(build_answer(body))


def test_a_refusal_is_reported_as_one() -> None:
    """With the provider's words."""
    with pytest.raises(ProviderRejected) as caught:
        Magnific().parse_upload(build_answer({"message": "no"}, 404))
    assert (caught.value.operation, caught.value.status, caught.value.detail) == (Operation.REQUEST_UPLOAD, 404, "no")


@pytest.mark.parametrize(
    ("text", "is_id"),
    [
        ("uqzQLDr2Aw", True),
        ("vCrK3Aa47y", True),
        ("omps2OH829", True),
        ("9f86d081884c7d65", True),
        ("3f2b8c1e-0d4a-4f6b-9a51-7c2e8d9b0a1f", True),
        ("LSFgqqrswO", True),
        ("aBcdefghij", True),
        ("ABCDEFGHIj", True),
        ("photograph", False),
        ("Photograph", False),
        ("PHOTOGRAPH", False),
        ("myPhotoFile", False),
        ("MyPhotoFile", False),
        ("userImageURL", False),
        ("imgFromChat", False),
        ("photoFile2024", False),
        ("catPhoto", False),
        ("PhotoGraph", False),
        ("WhatsAppImage", False),
        ("thumbnailHD", False),
        ("JohnsPicture2", False),
        ("eBayPhoto", False),
        ("DSC00012", False),
        ("PXL20240101", False),
        ("img20240101", False),
        ("LSFgqqr", False),
        ("LSFgqqrswO ", False),
        ("LSFgqqrswÖ", False),
        ("image1", False),
        ("photo2024", False),
        ("Screenshot12", False),
        ("12345678", False),
        ("abc123", False),
        ("uqzQLDr2Aw.png", False),
        ("file-9f86d081884c7d65", False),
        ("a1" * 21, False),
        ("", False),
    ],
)
def test_an_id_is_reported_from_a_name_that_someone_made_up(text: str, is_id: bool) -> None:
    """A made-up name gets a sentence; an id goes to the provider."""
    assert is_creation_id(text) is is_id


def test_random_ids_are_ids_unless_their_case_is_that_of_a_word() -> None:
    """A sixth of them holds no digit; those in one case, or with a few digits at the end alone, cannot be reported from words."""
    choose = random.Random(14)
    ids = ["".join(choose.choices(string.ascii_letters + string.digits, k=10)) for _ in range(5000)]
    usual = re.compile(r"[A-Za-z][a-z]*[0-9]{0,4}|[A-Z]+|[0-9]+")
    refused = [text for text in ids if not is_creation_id(text)]
    assert all(usual.fullmatch(text) for text in refused)
    assert len(refused) < len(ids) / 100
