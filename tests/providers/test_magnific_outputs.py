"""Magnific's results, and everything that a server may send in their place."""

import json
from typing import Any, Final

import pytest

from flowport.domain.models import Output
from flowport.providers.magnific.files import LINK_SECONDS, parse_outputs
from flowport.providers.result_items import MAX_KEPT, MAX_OUTPUTS

NOW = 1_772_020_920.0  # 2026-02-25T12:02:00Z
DATA: Final = "data:image/png;base64,iVBORw0KGgo="
RENDER: Final = "https://pikaso.cdnpk.net/private/production/1234567890/render.png?token=exp_1234567890~hmac_abc123"


def read_outputs(*images: object, **result: object) -> tuple[Output, ...]:
    """Return the outputs of a result."""
    return parse_outputs({"images": list(images), **result}, now=NOW)[0]


def test_outputs_are_numbered_through_their_kinds() -> None:
    """Pictures, films, sounds, whatever order the provider's JSON has."""
    kinds = {"audios": "a.mp3", "videos": "v.mp4", "images": "i.png"}
    found = parse_outputs({key: [{"url": f"https://x/{name}"}] for key, name in kinds.items()}, now=NOW)[0]
    assert [(o.n, o.kind.value, o.mime_type) for o in found] == [
        (1, "image", "image/png"),
        (2, "video", "video/mp4"),
        (3, "audio", "audio/mpeg"),
    ]


@pytest.mark.parametrize(
    "item",
    [
        {"url": None},
        {"url": ""},
        {"url": "no URL"},
        {"id": "x", "width": 640},
        7,
        True,
        "javascript:alert(1)",
        {"url": "ftp://x/a.png"},
        {"url": "file:///etc/passwd"},
        {"url": "data:image/png;base64,"},
        {"url": "javascript:alert(1)"},
        {"url": "https://"},
        {"url": "https://me:pw@x/a.png"},
        {"url": "https://@x/a.png"},
        {"url": "https://x/a\n.png"},
        {"url": "https://x/" + "a" * 4096},
        {"url": "https://[::1"},
    ],
)
def test_an_item_without_a_usable_link_is_counted_and_kept(item: object) -> None:
    """Its link must not be fetched, its neighbours keep their numbers without a gap, and it was paid for."""
    outputs, unread = parse_outputs({"images": [item, {"url": "https://x/a.png"}]}, now=NOW)
    assert [(output.n, output.url) for output in outputs] == [(1, "https://x/a.png")]
    (kept,) = unread
    assert 0 < len(kept) <= MAX_KEPT
    assert json.dumps(item, ensure_ascii=False, separators=(",", ":")).startswith(kept)


@pytest.mark.parametrize("images", [None, [], {}, "", [None], [{}], [[], "", None]])
def test_what_is_empty_is_not_an_item(images: object) -> None:
    """Services list what an app could have made."""
    assert parse_outputs({"images": images, "seed": 7, "videos": []}, now=NOW) == ((), ())


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"width": 640, "height": 480.9}, (640, 480, None)),
        ({"width": 0, "height": -1}, (None, None, None)),
        ({"width": "640", "height": True}, (None, None, None)),
        ({"width": 10**400, "height": float("nan"), "duration": float("inf")}, (None, None, None)),
        ({"width": 10**7, "duration": 10**7}, (None, None, None)),
        ({"duration": 4.5}, (None, None, 4.5)),
        ({"duration": 0}, (None, None, 0.0)),
        ({"duration": -1}, (None, None, None)),
        ({"duration": [1]}, (None, None, None)),
    ],
)
def test_an_odd_measure_costs_no_output(fields: dict[str, Any], expected: tuple[object, ...]) -> None:
    """The file is what was paid for."""
    (output,) = read_outputs({"url": RENDER, **fields})
    assert (output.width, output.height, output.duration_seconds) == expected


@pytest.mark.parametrize(
    ("id_", "expected"), [("a\nb", "a b"), (None, ""), (7, ""), ({}, ""), ("x" * 99, "x" * 79 + "…")]
)
def test_an_odd_id_costs_no_output(id_: object, expected: str) -> None:
    """Nor does it become the text "None"."""
    assert [output.provider_output_id for output in read_outputs({"url": RENDER, "id": id_})] == [expected]


@pytest.mark.parametrize(
    ("token", "expires_at"),
    [
        (f"exp_{NOW + 3600:.0f}~hmac_1", NOW + 3600),
        (f"exp_{NOW + 24 * 3600:.0f}", NOW + 24 * 3600),
        (f"exp_{NOW + 24 * 3600 + 1:.0f}", NOW + LINK_SECONDS),
        (f"exp_{NOW:.0f}", NOW + LINK_SECONDS),
        ("exp_1234567890~hmac_abc123", NOW + LINK_SECONDS),
        (f"exp_{NOW * 1000:.0f}", NOW + LINK_SECONDS),
        ("exp_soon", NOW + LINK_SECONDS),
        ("", NOW + LINK_SECONDS),
    ],
)
def test_a_links_own_word_on_its_end_is_taken_when_it_can_be_true(token: str, expires_at: float) -> None:
    """A clock that is wrong on either side must not make a fresh link look dead or immortal."""
    (output,) = read_outputs({"url": f"https://x/a.png?token={token}"})
    assert output.expires_at == expires_at


@pytest.mark.parametrize(
    "result", [None, {}, {"images": {}}, {"images": None}, {"pictures": [{}]}, {"seed": 7}, "x", 7]
)
def test_a_result_of_another_shape_holds_no_outputs(result: object) -> None:
    """The run is over all the same."""
    assert parse_outputs(result, now=NOW) == ((), ())


def test_what_an_item_says_of_its_file_is_kept_with_it() -> None:
    """A caption and further links are shown, and only the file is fetched."""
    item = {"url": RENDER, "caption": "a cup", "thumbnail": "https://x/small.jpg", "width": 640}
    (output,) = read_outputs(item)
    assert (output.url, output.text, output.width) == (RENDER, "a cup Further link: https://x/small.jpg", 640)


def test_a_file_inside_the_answer_has_no_link_that_could_expire() -> None:
    """Its data is kept until it is saved, and is not an address."""
    (output,) = read_outputs({"url": DATA, "id": "c1"})
    assert (output.url, output.link, output.expires_at, output.mime_type) == (DATA, None, None, "")


def test_outputs_have_an_end() -> None:
    """A provider gone mad must not fill the store."""
    found = read_outputs(*[{"url": RENDER}] * (MAX_OUTPUTS + 1), videos=[{"url": RENDER}])
    assert [output.n for output in found] == list(range(1, MAX_OUTPUTS + 1))
