"""Items of results in the shapes in which services hand over files (kevva/download#177, runpod-workers/worker-comfyui#232)."""

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowport.domain.models import OutputKind
from flowport.providers.result_items import MAX_KEPT, FoundItem, UnreadItem, iterate_items

A, B, FILM, SMALL = "https://cdn.x/a.png", "https://cdn.x/b.png", "https://cdn.x/v.mp4", "https://cdn.x/small.jpg"
BASE64: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
DATA: Final = f"data:image/png;base64,{BASE64}"
IMAGE, VIDEO, FILE, TEXT = OutputKind.IMAGE, OutputKind.VIDEO, OutputKind.FILE, OutputKind.TEXT


def read(result: dict[str, Any]) -> list[tuple[OutputKind, str]]:
    """Return kind and address or text of what a result holds, all of which must be read."""
    items = list(iterate_items(result))
    assert all(isinstance(item, FoundItem) for item in items), items
    return [(item.kind, item.url or item.text) for item in items if isinstance(item, FoundItem)]


@pytest.mark.parametrize(
    ("item", "url"),
    [
        ({"url": "https://cdn.x/größe cup.png"}, "https://cdn.x/gr%C3%B6%C3%9Fe%20cup.png"),
        ({"url": "https://cdn.x/100% cup%20a.png"}, "https://cdn.x/100%25%20cup%20a.png"),
        ({"url": "https://größe.x/a.png?name=ü"}, "https://xn--grsse-kua.x/a.png?name=%C3%BC"),
        ({"url": f" {A}\n"}, A),
        ({"url": "//cdn.x/a.png"}, A),
        ("//cdn.x/a.png", A),
        (A, A),
        ("https://cdn.x/größe.png", "https://cdn.x/gr%C3%B6%C3%9Fe.png"),
        ([A], A),
        ({"href": A}, A),
        ({"image": {"url": A}}, A),
        ({"file": {"source": {"signed": A}}}, A),
        ({"image_url": A, "thumbnail_url": SMALL}, A),
        ({"picture": {"url": A}, "preview": {"url": SMALL}}, A),
        ({"url": A, "preview": SMALL}, A),
        ({"url": None, "src": A}, A),
        ({"url": DATA}, DATA),
        (DATA, DATA),
        ({"image": f"DATA:{DATA[5:]}"}, DATA),
        ({"b64_json": BASE64, "revised_prompt": "a cup"}, f"data:;base64,{BASE64}"),
        ({"filename": "a.png", "type": "base64", "data": BASE64}, f"data:;base64,{BASE64}"),
    ],
)
def test_a_file_is_found_however_its_item_names_it(item: object, url: str) -> None:
    """It was paid for."""
    assert read({"images": [item]}) == [(IMAGE, url)]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"images": [{"url": A}, {"url": B}]}, [(IMAGE, A), (IMAGE, B)]),
        ({"images": [{"url": [A, B]}]}, [(IMAGE, A), (IMAGE, B)]),
        ({"images": {"0": {"url": A}, "1": {"url": B}}}, [(IMAGE, A), (IMAGE, B)]),
        ({"images": [{"images": [{"url": A}, {"url": B}], "seed": 7}]}, [(IMAGE, A), (IMAGE, B)]),
        ({"images": {"url": A}}, [(IMAGE, A)]),
        ({"images": A}, [(IMAGE, A)]),
        ({"image": {"url": A}}, [(IMAGE, A)]),
        ({"output": [A, FILM]}, [(IMAGE, A), (VIDEO, FILM)]),
        ({"data": {"images": [{"url": A}], "videos": [{"url": "https://x/2"}]}}, [(IMAGE, A), (VIDEO, "https://x/2")]),
        ({"files": [{"url": "https://x/m.glb"}]}, [(FILE, "https://x/m.glb")]),
        ({"images": [{"url": A}], "output": {"url": A}, "model": "m", "seed": 7}, [(IMAGE, A)]),
        ({"images": [{"url": A}], "metadata": {"tags": ["x"], "steps": [1]}}, [(IMAGE, A)]),
        ({"text": "a poem"}, [(TEXT, "a poem")]),
        ({"texts": ["a", {"text": "b"}]}, [(TEXT, "a"), (TEXT, "b")]),
        ({"images": ["Nothing could be drawn."]}, [(TEXT, "Nothing could be drawn.")]),
    ],
)
def test_results_of_other_shapes_are_read(result: dict[str, Any], expected: list[tuple[OutputKind, str]]) -> None:
    """Wrapped, alone, by number, under other keys (huggingface/huggingface.js#1149); a repetition is one output."""
    assert read(result) == expected


def test_of_several_links_that_may_be_meant_none_is_fetched() -> None:
    """All are shown."""
    (item,) = iterate_items({"images": [{"one": A, "other": B}]})
    assert item == FoundItem(TEXT, text=f"Further link: {A} Further link: {B}")


def test_what_a_result_says_beside_its_files_is_not_missed() -> None:
    """Settings and counts are no results."""
    assert list(iterate_items({"seed": 7, "model": "m", "timings": {"total": 1.5, "steps": [1, 2]}})) == []


@given(
    st.dictionaries(
        st.sampled_from(["images", "videos", "text", "output", "seed"]),
        st.recursive(
            st.none()
            | st.booleans()
            | st.floats()
            | st.sampled_from([A, DATA, "//x", "https://[", "x" * 500])
            | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["url", "text", "a", "images"]), inner),
        ),
    )
)
def test_any_result_is_read_or_kept(result: dict[str, Any]) -> None:
    """Whatever a server sends becomes files, texts, or short remainders."""
    for item in iterate_items(result):
        match item:
            case UnreadItem(kept):
                assert 0 < len(kept) <= MAX_KEPT
            case FoundItem(kind=OutputKind.TEXT):
                assert item.text
            case FoundItem():
                assert item.url.startswith(("https://", "http://", "data:"))


def test_a_result_deeper_than_any_is_kept() -> None:
    """Its depth must not end in ours."""
    deep: Any = A
    for _ in range(500):
        deep = [deep]
    (item,) = iterate_items({"images": deep})
    assert item == UnreadItem("[" * MAX_KEPT)
