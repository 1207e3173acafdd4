"""The apps on offer, and how they change."""

from collections.abc import Callable

import pytest

from flowport.sandbox.apps import APPS
from flowport.sandbox.web import Refused
from tests.fakes.magnific.shelf import Shelf

FIRST, SECOND, THIRD = (app.id for app in APPS[:3])


@pytest.fixture
def shelf() -> Shelf:
    """Return the sandbox's own apps."""
    return Shelf()


def test_the_sandboxs_own_apps_are_there_at_first_and_again_after_a_reset(shelf: Shelf) -> None:
    """Each test begins with a sandbox as new."""
    assert shelf.apps == APPS
    shelf.add_generated(2)
    shelf.delete([FIRST])
    shelf.reset()
    assert shelf.apps == APPS


def test_generated_apps_come_behind_the_others_and_are_never_the_same(shelf: Shelf) -> None:
    """Adding twice must not add the same ones."""
    shelf.add_generated(2)
    shelf.add_generated(1)
    assert len({app.id for app in shelf.apps}) == len(APPS) + 3
    assert shelf.apps[: len(APPS)] == APPS


def test_one_app_is_changed_and_keeps_its_place(shelf: Shelf) -> None:
    """As when its builder edits it."""
    shelf.rename({SECOND: "Another name"})
    shelf.price({SECOND: 99})
    shelf.require({SECOND: "main_colour"})
    changed = shelf.apps[1]
    assert (changed.id, changed.name, changed.cost_credits) == (SECOND, "Another name", 99)
    assert [(entry.key, entry.label, entry.is_required) for entry in changed.inputs[-1:]] == [
        ("main_colour", "Main colour", True)
    ]
    assert (shelf.apps[0], *shelf.apps[2:]) == (APPS[0], *APPS[2:])


def test_apps_go_away_and_change_places(shelf: Shelf) -> None:
    """Others unpublish, and the provider sorts as it likes."""
    shelf.delete([SECOND, SECOND])
    shelf.reorder([THIRD])
    assert [app.id for app in shelf.apps] == [THIRD, FIRST, *(app.id for app in APPS[3:])]
    assert (shelf.get(SECOND), shelf.get(FIRST)) == (None, APPS[0])


@pytest.mark.parametrize(
    "change",
    [
        lambda shelf: shelf.rename({"x": "y"}),
        lambda shelf: shelf.price({"x": 1}),
        lambda shelf: shelf.require({"x": "y"}),
        lambda shelf: shelf.delete(["x"]),
        lambda shelf: shelf.reorder(["x"]),
    ],
)
def test_an_unknown_app_cannot_be_changed(shelf: Shelf, change: Callable[[Shelf], None]) -> None:
    """A test with a misspelt id must not pass by accident."""
    with pytest.raises(Refused) as caught:
        change(shelf)
    assert (caught.value.status, caught.value.message) == (400, "app: there is no app 'x'")
    assert shelf.apps == APPS
