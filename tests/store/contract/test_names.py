"""Names that are assigned once."""

from collections.abc import Callable
from pathlib import Path

from flowport.store.interface import Store
from tests.store.samples import finish_child, start_child

SCOPE = "magnific:api.example"


async def assign(store: Store, *app_ids: str, scope: str = SCOPE) -> dict[str, str]:
    """Name apps that are all called alike, as the catalogue does: read, build, assign, and repeat for what was taken."""
    names: dict[str, str] = {}
    while len(names) < len(set(app_ids)):
        assigned = await store.get_tool_names()
        own = {app_id: name for name, (owner, app_id) in assigned.items() if owner == scope}
        free = (name for n in range(1000) if (name := f"cat_{n}") not in assigned)
        wanted = {app_id: own.get(app_id) or next(free) for app_id in dict.fromkeys(app_ids)}
        names = await store.assign_tool_names(scope, wanted)
    return names


async def test_a_name_stays_with_its_app(store: Store) -> None:
    """A name that passed to another app would run, and bill, what was not meant."""
    await assign(store, "x")
    assert await assign(store, "y") == {"y": "cat_1"}
    assert await store.assign_tool_names(SCOPE, {"x": "other", "y": "cat_1"}) == {"x": "cat_0", "y": "cat_1"}


async def test_a_name_outlives_the_process(store: Store, open_store: Callable[[], Store]) -> None:
    """People have prompts that contain it."""
    await assign(store, "x")
    later = open_store()
    assert await later.get_tool_names() == {"cat_0": (SCOPE, "x")}
    assert await assign(later, "y", "x") == {"y": "cat_1", "x": "cat_0"}


async def test_two_scopes_share_the_names(store: Store) -> None:
    """All of them are in one list of tools, so the same id elsewhere is another app with another name."""
    await assign(store, "x")
    assert await store.assign_tool_names("magica:api.example", {"x": "cat_0"}) == {}
    assert await assign(store, "x", scope="magica:api.example") == {"x": "cat_1"}
    assert await store.get_tool_names() == {"cat_0": (SCOPE, "x"), "cat_1": ("magica:api.example", "x")}


async def test_of_two_apps_with_one_name_the_first_gets_it(store: Store) -> None:
    """One name for two tools would run the wrong app; the caller builds another name for the second."""
    assert await store.assign_tool_names(SCOPE, {"x": "same", "y": "same"}) == {"x": "same"}
    assert await store.assign_tool_names(SCOPE, {"y": "same"}) == {}


async def test_only_the_apps_that_were_asked_for_are_returned(store: Store) -> None:
    """An app may have disappeared from the list."""
    await assign(store, "x", "y")
    assert await store.assign_tool_names(SCOPE, {"y": "cat_1"}) == {"y": "cat_1"}
    assert await store.assign_tool_names(SCOPE, {}) == {}


async def test_inputs_are_named_app_by_app(store: Store) -> None:
    """Two apps may have the same property names, and an app may have none."""
    names = {"x": {"i": "i_name", "j": "j_name"}, "y": {"i": "i_name"}, "z": {}}
    assert await store.assign_property_names(SCOPE, names) == names
    assert await store.get_property_names(SCOPE, ["x", "y", "z", "other"]) == {**names, "other": {}}
    assert await store.get_property_names("magica:api.example", ["x"]) == {"x": {}}


async def test_a_property_keeps_its_first_name(store: Store) -> None:
    """A builder who renames a label must not break the prompts that people have saved."""
    await store.assign_property_names(SCOPE, {"x": {"i": "i_name"}})
    named = await store.assign_property_names(SCOPE, {"x": {"j": "new", "i": "renamed"}})
    assert named == {"x": {"i": "i_name", "j": "new"}}


async def test_a_taken_property_name_is_not_assigned(store: Store) -> None:
    """Two inputs under one name could not both be given, and the name of a removed input must not pass to another."""
    await store.assign_property_names(SCOPE, {"x": {"i": "i_name"}})
    assert await store.assign_property_names(SCOPE, {"x": {"j": "i_name"}}) == {"x": {"i": "i_name"}}


NAME_APPS = """
import asyncio, json, sys
from pathlib import Path
from store.contract.factories import FACTORIES
from store.contract.test_names import assign

async def main(kind, folder, app_ids):
    store = FACTORIES[kind](Path(folder))
    print("open", flush=True)
    sys.stdin.readline()
    named = await assign(store, *app_ids)
    await store.close()
    print(json.dumps(named, sort_keys=True))

asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3].split(",")))
"""


def test_two_processes_that_name_at_once_agree(store_kind: str, tmp_path: Path) -> None:
    """Claude Desktop and Cursor start together; the same tool must have the same name in both."""
    app_ids = [f"app{n}" for n in range(50)]
    children = [
        start_child(NAME_APPS, store_kind, tmp_path, ",".join(app_ids)),
        start_child(NAME_APPS, store_kind, tmp_path, ",".join(reversed(app_ids))),
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    first, second = map(finish_child, children)
    assert first == second
    assert first.count("cat_") == 50
