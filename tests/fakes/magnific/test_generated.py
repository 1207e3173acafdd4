"""Apps like those of others."""

from flowport.sandbox.apps import InputType
from flowport.sandbox.engine import produce
from tests.fakes.magnific.describing import build_definition
from tests.fakes.magnific.generated import draw_anything, generate_app

MANY = [generate_app(number) for number in range(300)]


def test_every_number_has_one_app_and_always_the_same() -> None:
    """A failing test must fail again."""
    assert [generate_app(number) for number in range(300)] == MANY
    assert len({app.id for app in MANY}) == 300
    assert {app.recipe for app in MANY} == {draw_anything}


def test_they_are_as_various_as_real_ones() -> None:
    """Every input type, namesakes, own apps and drafts."""
    assert {entry.type for app in MANY for entry in app.inputs} == set(InputType)
    assert len({app.name for app in MANY}) == 132
    assert {(app.is_published, app.is_own) for app in MANY} == {(True, False), (True, True), (False, True)}
    assert {len(app.inputs) for app in MANY} == {1, 2, 3, 4, 5}


def test_no_app_has_two_inputs_of_one_key() -> None:
    """The provider derives keys from names and numbers them."""
    for app in MANY:
        ids = [entry["id"] for entry in build_definition(app)["inputs"]]
        assert len(set(ids)) == len(app.inputs) == len({entry.key for entry in app.inputs})


def test_a_generated_app_makes_a_picture_of_whatever_it_is_reported() -> None:
    """Its inputs are of any kind and number."""
    nothing = produce(draw_anything, {})
    said = produce(draw_anything, {"a": "hills", "b": ("sea", "sky")})
    assert [product.mime_type for product in (*nothing.products, *said.products)] == ["image/png"] * 2
    assert nothing.products[0].data != said.products[0].data
