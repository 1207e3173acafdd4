"""Which apps get a tool of their own."""

import pytest

from flowport.catalog.ranking import RankedTool, merge_tools, order_listings
from tests.catalog.samples import build_listing

STRANGE = build_listing("strange")
USED = build_listing("used", "Sketch to Realism", tool_name="sketch_to_realism")
OWN = build_listing("own", is_own=True)
OWN_USED = build_listing("own2", is_own=True)
LAST = build_listing("Last")
ALL = (STRANGE, USED, OWN, LAST, OWN_USED)


def order(*globs: str, used: frozenset[str] = frozenset({"used", "own2"})) -> list[str]:
    """Return the ids in their order."""
    return [listing.app.id for listing in order_listings(ALL, globs=globs, used_app_ids=used)]


def test_own_apps_come_before_used_ones_and_both_before_the_rest() -> None:
    """Users look for what they made or run; inside a group the provider's order stands."""
    assert order() == ["own", "own2", "used", "strange", "Last"]


@pytest.mark.parametrize("glob", ["sketch_*", "Sketch*", "SKETCH TO *", "sketch to realism", "us?d"])
def test_globs_mean_tool_names_names_and_ids_in_any_case(glob: str) -> None:
    """People copy what they see, and they see all three."""
    assert order(glob)[0] == "used"


def test_globs_rank_in_their_own_order_and_before_everything_else() -> None:
    """The list of the person's configuration is an order, not a set."""
    assert order("Last", "s*") == ["Last", "strange", "used", "own", "own2"]


def test_an_id_is_matched_in_its_own_case_too() -> None:
    """Ids differ by case."""
    assert order("L?st")[0] == "Last"


def test_nothing_is_lost_and_nothing_is_doubled() -> None:
    """An app that two globs name, or that is own and used, has one place."""
    assert sorted(order("*", "own*")) == sorted(listing.app.id for listing in ALL)


def test_catalogues_take_turns_within_a_rank() -> None:
    """A provider with many apps keeps no other's out, and what a person named goes before turns."""
    many = [RankedTool(0, {"name": "named"}), *(RankedTool(2, {"name": f"a{n}"}) for n in range(4))]
    few = [RankedTool(1, {"name": "own"}), RankedTool(2, {"name": "b0"})]
    merged = merge_tools([many, few], max_tools=5)
    assert [tool["name"] for tool in merged] == ["named", "own", "a0", "b0", "a1"]
    assert merge_tools([many], max_tools=9) == [one.tool for one in many]
    assert merge_tools([], max_tools=9) == []
