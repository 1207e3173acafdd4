"""The definitions of the apps."""

import re

import pytest

from flowport.sandbox.apps import APPS, InputType, SandboxApp


def test_every_app_has_a_recipe_of_its_own() -> None:
    """Two apps that do the same would show nothing new."""
    assert len({app.recipe for app in APPS}) == len(APPS)


@pytest.mark.parametrize("app", APPS, ids=lambda app: app.name)
def test_an_app_is_reachable_by_an_id_like_the_providers(app: SandboxApp) -> None:
    """Ids are ten letters and digits, as the provider's are, and an app in no list could not be found."""
    assert re.fullmatch(r"[A-Za-z0-9]{10}", app.id)
    assert app.is_published or app.is_own


@pytest.mark.parametrize("app", APPS, ids=lambda app: app.name)
def test_a_default_is_one_of_the_options(app: SandboxApp) -> None:
    """A default that the app itself refuses would make every call without it fail."""
    for entry in app.inputs:
        if entry.type is InputType.SELECT and entry.default is not None:
            assert entry.default in [value for value, _ in entry.options]
