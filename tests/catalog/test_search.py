"""Finding apps by words, and the one app that a name means."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowport.catalog.listing import Listing
from flowport.catalog.search import Candidate, Found, Search, get_listing, search_apps
from flowport.domain.call_errors import AppAmbiguous, AppNotFound, Namesake
from flowport.domain.models import App, Input, InputKind
from tests.catalog.samples import build_listing

CAFE = build_listing("aB3", "Café au Lait", tool_name="cafe_au_lait", property_names={"in-1": "photo"})
SKETCH = build_listing("cD4", "Photo to Sketch", tool_name="photo_to_sketch")
TWIN = build_listing("eF5", "PHOTO TO SKETCH", tool_name="photo_to_sketch_1a2b3c4d")
NAMELESS = build_listing("gH6", "\u0301", tool_name="app_5e6f7a8b")
ALL = (CAFE, SKETCH, TWIN, NAMELESS)


def find(listings: Sequence[Listing], search: Search) -> tuple[tuple[Listing, ...], bool]:
    """Return the apps that a search shows, and whether they have all that was asked for."""
    found: Found = search_apps([Candidate(listing) for listing in listings], search)
    return tuple(listings[place] for place in found.places), found.is_exact


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("", ALL),
        ("   ", ALL),
        ("sketch photo", (SKETCH, TWIN)),
        ("SKETCH", (SKETCH, TWIN)),
        ("photo", (SKETCH, TWIN, CAFE)),
        ("cafe", (CAFE,)),
        ("CAFÉ lait", (CAFE,)),
        ("cafe\u0301", (CAFE,)),
        ("ef5", (TWIN,)),
    ],
)
def test_every_word_must_occur_somewhere_in_any_case_order_and_accent(words: str, found: tuple[object, ...]) -> None:
    """Models write words as they come: of the name, the tool, the id or an argument."""
    assert find(ALL, Search(words)) == (found, True)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("photo_to_sketch", SKETCH),
        ("eF5", TWIN),
        ("CAFE AU LAIT", CAFE),
        (" Café au lait ", CAFE),
    ],
)
def test_an_app_answers_to_its_tool_id_and_name(wanted: str, found: object) -> None:
    """People type names, models copy tool names and ids."""
    assert get_listing(ALL, wanted) is found


def test_a_name_that_several_apps_have_means_none_of_them() -> None:
    """Whichever was taken might be the wrong one, and is charged."""
    with pytest.raises(AppAmbiguous) as asked:
        get_listing(ALL, "photo to sketch")
    assert (asked.value.wanted, asked.value.namesakes) == (
        "photo to sketch",
        (
            Namesake("photo_to_sketch", "cD4", "magnific"),
            Namesake("photo_to_sketch_1a2b3c4d", "eF5", "magnific"),
        ),
    )


def test_an_id_that_several_apps_have_means_none_of_them() -> None:
    """Two providers count their apps without each other."""
    other = build_listing("aB3", "Another", tool_name="another")
    with pytest.raises(AppAmbiguous):
        get_listing((CAFE, other), "aB3")


def test_a_tool_name_goes_before_the_id_of_an_app_further_up() -> None:
    """It is ours and unique; ids are whatever the provider makes of them."""
    imposter = build_listing("photo_to_sketch", "Imposter", tool_name="imposter")
    assert get_listing((imposter, SKETCH), "photo_to_sketch") is SKETCH


def test_a_name_that_is_another_apps_tool_means_the_tool() -> None:
    """What is exact and unique goes before what people typed."""
    imposter = build_listing("zz", "photo_to_sketch", tool_name="photo_to_sketch_9")
    assert get_listing((imposter, SKETCH), "photo_to_sketch") is SKETCH


def test_an_unknown_name_is_answered_with_those_that_look_alike() -> None:
    """The model can correct itself only with the right names at hand."""
    with pytest.raises(AppNotFound) as lost:
        get_listing(ALL, "photo_to_skech")
    assert (lost.value.wanted, lost.value.nearest) == (
        "photo_to_skech",
        ("photo_to_sketch", "photo_to_sketch_1a2b3c4d"),
    )


@pytest.mark.parametrize("wanted", ["", " ", "\u0301", "x" * 10_000])
def test_nothing_and_nonsense_mean_no_app(wanted: str) -> None:
    """An empty name must not run, and charge for, an app whose own name is empty."""
    with pytest.raises(AppNotFound) as lost:
        get_listing(ALL, wanted)
    assert (lost.value.wanted, lost.value.nearest) == (wanted[:80], ())


@pytest.mark.parametrize("words", ["sketches", "Sketches", "sketch"])
def test_plurals_are_forgiven(words: str) -> None:
    """People ask for sketches, and the app is called a sketch."""
    listing = Listing(App("magnific", "x", "Pencil Sketch", is_own=False, price_credits=3.0), "pencil_sketch")
    assert find([listing], Search(words)) == ((listing,), True)


@pytest.mark.parametrize(
    ("search", "names"),
    [
        (Search(max_credits=3.0), ["cheap"]),
        (Search(takes=InputKind.IMAGE), ["cheap", "dear"]),
        (Search(takes=InputKind.IMAGE, max_credits=100.0), ["cheap", "dear"]),
    ],
)
def test_price_and_inputs_narrow_a_search(search: Search, names: list[str]) -> None:
    """An app of unknown price is above every price, and one that was not read has no input that is known."""
    image = Input("i", "photo", InputKind.IMAGE, "Photo", is_required=True)
    apps = [
        App("magnific", "cheap", "", is_own=False, price_credits=3.0, inputs=(image,)),
        App("magnific", "dear", "", is_own=False, price_credits=30.0, inputs=(image,)),
        App("magnific", "unknown", "", is_own=False, price_credits=None),
    ]
    found, is_exact = find([Listing(app, app.id) for app in apps], search)
    assert ([listing.tool_name for listing in found], is_exact) == (names, True)
    near, is_exact = find([Listing(app, app.id) for app in apps], Search(takes=InputKind.VIDEO))
    assert (len(near), is_exact) == (3, False)


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        ("sketch cafe", CAFE),
        ("skecth", SKETCH),
        ("ftoo to sketsh", SKETCH),
        ("please draw my picture with a pencil", SKETCH),
        ("convierte mi foto en un dibujo", SKETCH),
        ("Skizze von meinem Bild", SKETCH),
        ("un croquis de ma photo", SKETCH),
        ("zzzz", CAFE),
    ],
)
def test_a_search_shows_the_nearest_where_no_app_has_everything(words: str, nearest: Listing) -> None:
    """An answer without apps leads the model to say that there are none: typos, sentences and other languages find some."""
    found, _ = find(ALL, Search(words))
    assert found[0].app.name.casefold() == nearest.app.name.casefold() or words == "zzzz"


@given(st.text(max_size=200))
def test_every_query_shows_an_app(words: str) -> None:
    """Whatever is typed, a search in an account with apps shows at least one."""
    assert find(ALL, Search(words))[0]


def test_a_search_without_apps_finds_none() -> None:
    """There is nothing near."""
    assert search_apps([], Search("sketch")).places == ()
