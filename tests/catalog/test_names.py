"""Names of tools and of their arguments."""

import re
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowport.catalog.name_book import name_apps
from flowport.catalog.names import (
    MAX_NAME_LENGTH,
    MAX_PROPERTY_LENGTH,
    RESERVED_NAMES,
    build_property_names,
    build_tool_name,
    is_said_by,
)
from flowport.domain.models import App, Input, InputKind
from flowport.domain.text import MAX_WANTED_LENGTH, build_slug, get_nearest
from tests.support.app_builders import DISTINCT_INPUTS, WILD_TEXT, build_input

KEY = "magnific:api.magnific.com/uqzQLDr2Aw"
SCOPE = "magica:api.example"
NODE = "input-4050c3f3-8a26-4953-97a8-cb97bceb4816-1"
HASH = sha256(KEY.encode()).hexdigest()
NAME = re.compile(r"[a-z][a-z0-9_]*")


@pytest.mark.parametrize(
    ("app_name", "name"),
    [
        ("Sketch to Realism", "sketch_to_realism"),
        ("  Größe & Ærø — Łódź! ", "grosse_aero_lodz"),
        ("Crème\u0301 Brûlée", "creme_brulee"),
        ("\uff26\uff35\uff2c\uff2c ™", "full_tm"),
        ("3D Model", "app_3d_model"),
        ("日本 poster", "poster"),
        ("日本語", "ribenyu"),
        ("Создать постер", "sozdat_poster"),
        ("Постер 2", "poster_2"),
        ("Генератор логотипов AI", "generator_logotipov_ai"),
        ("Αφίσα", "afisa"),
        ("قالب", "qlb"),
        ("הדפס", "hdfs"),
        ("पोस्टर", "postr"),
        ("포스터", "poseuteo"),
        ("โปสเตอร์", "opsetor"),
        ("პლაკატი", "plakati"),
        ("Պաստառ", "pastarr"),
        ("Создать очень большой рекламный постер для магазина", "sozdat_ochen_bolshoy_reklamnyy_poster"),
        ("\U0001f680", f"app_{HASH[:8]}"),
        ("\U0001f680 Ракета", "raketa"),
        ("", f"app_{HASH[:8]}"),
        ("Product photography for large catalogues of shoes", "product_photography_for_large_catalogues"),
        ("Product photography for the large catalogue", "product_photography_for_the_large"),
        ("a" + "b" * 60, "a" + "b" * 39),
        ("x " + "b" * 60, "x_" + "b" * 38),
    ],
)
def test_an_app_is_named_by_its_readable_words(app_name: str, name: str) -> None:
    """Clients allow few characters in a name, and a model chooses by them."""
    assert build_tool_name(app_name, KEY, taken=()) == name


@pytest.mark.parametrize(
    ("app_name", "name"),
    [("3D Model", "sandbox_3d_model"), ("日本語", "sandbox_ribenyu"), ("", f"sandbox_app_{HASH[:8]}")],
)
def test_a_prefix_stands_before_every_name(app_name: str, name: str) -> None:
    """The sandbox must not be mistaken for the real thing."""
    assert build_tool_name(app_name, KEY, prefix="sandbox_", taken=()) == name


@pytest.mark.parametrize("app_name", ["Get Run", "run-app", "Taken"])
def test_a_name_in_use_gets_a_short_hash(app_name: str) -> None:
    """Two apps of one name, or one named like a tool of ours, must both be callable."""
    assert build_tool_name(app_name, KEY, taken={"taken"}) == f"{build_slug(app_name)}_{HASH[:8]}"


def test_a_hash_in_use_grows() -> None:
    """Eight digits can meet by chance or on purpose."""
    taken = {"a", f"a_{HASH[:8]}", f"a_{HASH[:9]}"}
    assert build_tool_name("A", KEY, taken=taken) == f"a_{HASH[:10]}"


def test_a_name_is_found_even_when_every_hash_of_the_app_is_taken() -> None:
    """The promise has no exception, however unlikely."""
    taken = {"a", *(f"a_{HASH[:length]}" for length in range(8, 65))}
    name = build_tool_name("A", KEY, taken=taken)
    assert name not in taken
    assert NAME.fullmatch(name)


@given(st.lists(st.tuples(WILD_TEXT, WILD_TEXT), max_size=12), st.sampled_from(["", "sandbox_"]))
@settings(deadline=None, max_examples=100)
def test_every_app_gets_a_valid_name_of_its_own(apps: list[tuple[str, str]], prefix: str) -> None:
    """Names are given one after the other and frozen permanently."""
    taken: list[str] = []
    for app_name, app_key in apps:
        name = build_tool_name(app_name, app_key, prefix=prefix, taken=taken)
        assert NAME.fullmatch(name)
        assert len(name) <= MAX_NAME_LENGTH
        assert name.startswith(prefix)
        assert name not in RESERVED_NAMES.union(taken)
        assert name == build_tool_name(app_name, app_key, prefix=prefix, taken=taken)
        taken.append(name)


@pytest.mark.parametrize(
    ("run_key", "label", "kind", "name"),
    [
        ("text_prompt", "Text #1", InputKind.TEXT, "text_prompt"),
        ("input-4050c3f3-8a26-4953-97a8-cb97bceb4816-1", "Text #1", InputKind.TEXT, "text_1"),
        ("1234", "Scène", InputKind.TEXT, "scene"),
        ("4050c3f38a26", "Scene", InputKind.TEXT, "scene"),
        ("face", "Your face", InputKind.IMAGE, "face"),
        ("17", "写真", InputKind.IMAGE, "image"),
        ("17", "", InputKind.ANY, "value"),
        ("17", "", InputKind.MEDIA, "file"),
        ("17", "", InputKind.SELECT, "choice"),
        ("3d_scale", "", InputKind.NUMBER, "input_3d_scale"),
        ("a_very_long_key_that_goes_on_and_on", "", InputKind.TEXT, "a_very_long_key_that_goes_on_and"),
    ],
)
def test_an_input_is_named_by_the_first_readable_thing(run_key: str, label: str, kind: InputKind, name: str) -> None:
    """Old definitions have only machine-made keys; new ones have good keys and poor labels."""
    item = build_input(kind, run_key, label=label)
    assert build_property_names([item]) == {item.id: name}


@pytest.mark.parametrize(
    ("run_key", "key", "name"),
    [(NODE, "text_prompt", "text_prompt"), (NODE, NODE, "text_1"), (NODE, "", "text_1"), ("face", "old", "face")],
)
def test_an_older_key_names_an_input_whose_run_key_is_unreadable(run_key: str, key: str, name: str) -> None:
    """Before `api_key` came, the readable key was only for showing."""
    item = build_input(InputKind.TEXT, run_key, label="Text #1", name=key)
    assert build_property_names([item]) == {item.id: name}


def test_inputs_of_one_name_are_numbered() -> None:
    """A flow often has two pictures without names."""
    inputs = [build_input(InputKind.IMAGE, key, label="Photo") for key in ("1", "2", "photo_2")]
    assert list(build_property_names(inputs).values()) == ["photo", "photo_2", "photo_2_2"]


def test_of_two_inputs_with_one_id_the_first_is_named() -> None:
    """Such a definition is refused later, where the reason can be reported."""
    item = build_input(InputKind.TEXT, "prompt")
    assert build_property_names([item, item]) == {item.id: "prompt"}


def test_frozen_names_stay_and_are_not_given_to_others() -> None:
    """A saved conversation must never mean another input after an edit of the app."""
    kept, new = build_input(InputKind.TEXT, "renamed"), build_input(InputKind.TEXT, "prompt")
    frozen = {kept.id: "old", "id-removed": "prompt"}
    assert build_property_names([new, kept], frozen=frozen) == {new.id: "prompt_2", kept.id: "old"}


@given(DISTINCT_INPUTS)
@settings(deadline=None, max_examples=100)
def test_argument_names_are_valid_distinct_and_keep_when_frozen(inputs: tuple[Input, ...]) -> None:
    """Names come from hostile text and live in a store."""
    names = build_property_names(inputs)
    assert len(set(names.values())) == len(inputs)
    assert all(NAME.fullmatch(name) and len(name) <= MAX_PROPERTY_LENGTH for name in names.values())
    assert build_property_names(inputs[::-1], frozen=names) == names


@pytest.mark.parametrize(
    ("label", "name", "is_said"),
    [
        ("Text #1", "text_1", True),
        ("Image", "image_2", True),
        ("", "image", True),
        ("Your photo", "image", False),
        ("写真", "image", False),
    ],
)
def test_a_label_is_repeated_only_where_it_says_more(label: str, name: str, *, is_said: bool) -> None:
    """Each byte of a schema is paid for in every list of tools."""
    assert is_said_by(label, name) is is_said


@pytest.mark.parametrize(
    ("wanted", "nearest"),
    [
        ("promt", ("prompt",)),
        ("SKETCH", ("sketch_to_realism", "stretch")),
        ("the_strength_value_of", ("strength",)),
        ("zzz", ()),
        ("", ()),
    ],
)
def test_the_nearest_names_come_first(wanted: str, nearest: tuple[str, ...]) -> None:
    """A misspelt name should cost one more call, not a search."""
    names = ["prompt", "sketch_to_realism", "stretch", "strength", "go"]
    assert get_nearest(wanted, names, limit=2)[: len(nearest)] == nearest
    assert bool(get_nearest(wanted, names)) is bool(nearest)


def test_what_is_longer_than_any_name_resembles_none() -> None:
    """To compare megabytes takes seconds, in which nothing else is answered."""
    assert get_nearest("a" * MAX_WANTED_LENGTH, ["a" * 80]) != ()
    assert get_nearest("a" * (MAX_WANTED_LENGTH + 1), ["a" * 80]) == ()


def test_apps_are_named_in_their_order_and_keep_their_names() -> None:
    """The provider's order decides which of two namesakes gets the plain name; pages of a list may overlap."""
    apps = [
        App("magica", app_id, name, is_own=False, price_credits=None)
        for app_id, name in (("x", "Cat"), ("a", "Cat"), ("x", "Cat"))
    ]
    named = name_apps(apps, {}, scope=SCOPE)
    assert (list(named), named["x"], named["a"].startswith("cat_")) == (["x", "a"], "cat", True)
    assigned = {name: (SCOPE, app_id) for app_id, name in named.items()}
    renamed = [replace(app, name="Dog") for app in reversed(apps)]
    assert name_apps(renamed, assigned, scope=SCOPE) == named


def test_a_name_of_another_provider_gets_the_providers_name_before_it() -> None:
    """All tools are in one list; a hash would say less."""
    app = App("magica", "x", "Cat", is_own=False, price_credits=None)
    assert name_apps([app], {"cat": ("magnific:api.example", "y")}, scope=SCOPE) == {"x": "magica_cat"}
    assert name_apps([app], {"cat": (SCOPE, "y")}, scope=SCOPE)["x"].startswith("cat_")
