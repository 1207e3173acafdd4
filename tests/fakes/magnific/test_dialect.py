"""The forms of the API."""

from dataclasses import replace

import pytest

from tests.fakes.magnific.dialect import PLAIN, Family, Style


@pytest.mark.parametrize(
    ("style", "families"), [(Style.FLOWS, [Family.FLOWS]), (Style.APPS, [Family.APPS]), (Style.BOTH, [*Family])]
)
def test_a_style_has_the_paths_of_its_families(style: Style, families: list[Family]) -> None:
    """Which of them the real provider still answers is not published."""
    assert [family for family in Family if replace(PLAIN, style=style).speaks(family)] == families


def test_the_readable_key_belongs_to_the_newer_family_unless_said() -> None:
    """It came with the rename."""
    assert [PLAIN.shows_api_key(family) for family in (Family.FLOWS, Family.APPS)] == [True, False]
    assert not replace(PLAIN, has_api_key=False).shows_api_key(Family.FLOWS)
    assert replace(PLAIN, has_api_key=True).shows_api_key(Family.APPS)
